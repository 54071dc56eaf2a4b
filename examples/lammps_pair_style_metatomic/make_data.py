"""Write the LAMMPS data file of a structure: ``python make_data.py FRAME.xyz``."""

import sys

import ase.io

from metatensor_models.lammps import write_lammps_data

atoms = ase.io.read(sys.argv[1])
elements = sorted(set(atoms.get_chemical_symbols()))
boundary = write_lammps_data("start.data", atoms, elements)
print(f"start.data: atom types {', '.join(elements)}; {boundary}")
