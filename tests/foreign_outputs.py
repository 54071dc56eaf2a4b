"""Outputs of other codes, written by hand in their formats for a water molecule along +z.

Lines that neither our readers nor ASE look at are left out.
"""

import ase
import ase.build
import numpy as np
from ase.units import Bohr

#: Dipole of a water molecule in e A, as any reasonable calculation gives it.
WATER_DIPOLE = 0.39


def water_along_z() -> ase.Atoms:
    """A water molecule whose hydrogens are above its oxygen: mu_z > 0, mu_x = mu_y = 0."""
    atoms = ase.build.molecule("H2O")
    atoms.rotate(180, "x")
    atoms.cell = [7.0, 7.0, 15.0]
    atoms.center()
    assert atoms.positions[1:, 2].min() > atoms.positions[0, 2]
    return ase.Atoms(atoms.symbols, atoms.positions, cell=atoms.cell, pbc=True)


def outcar_step(atoms, lines, is_converged=True, energy=-14.2):
    """One ionic step of an OUTCAR, with some lines after its electronic steps."""
    loop = "aborting loop because EDIFF is reached" if is_converged else "aborting loop EDIFF was"
    rows = np.hstack([atoms.positions, np.zeros((len(atoms), 3))])
    cell = np.hstack([atoms.cell.array, np.linalg.inv(atoms.cell.array).T])

    def table(array):
        return "\n".join("  ".join(f"{value:14.9f}" for value in row) for row in array)

    return f"""
----------------------------------- Iteration      1(  12)  -----------------------------------

----------------------------------------- {loop} -----------------------------------------
{lines}
  volume of cell :      735.00
      direct lattice vectors                 reciprocal lattice vectors
{table(cell)}

 POSITION                                       TOTAL-FORCE (eV/Angst)
 -----------------------------------------------------------------------------------
{table(rows)}
 -----------------------------------------------------------------------------------

  FREE ENERGIE OF THE ION-ELECTRON SYSTEM (eV)
  ---------------------------------------------------
  free  energy   TOTEN  = {energy:18.8f} eV

  energy  without entropy= {energy:18.8f}  energy(sigma->0) = {energy:18.8f}
"""


def dipole_lines(z, unit="electrons x Angstroem", charged=0.0, field=0.0):
    """What the dipole correction of VASP prints along z in one electronic step."""
    return f"""
 DIPCOR: dipole corrections for dipol
 direction  3 min pos   120,
 dipolmoment           0.000000      0.000000 {z:13.6f} {unit}
 Tr[quadrupol]         5.100000

 energy correction for charged system  {charged:15.6f} eV
 dipol+quadrupol energy correction            0.000132 eV
 added-field ion interaction  {field:15.6f} eV  (added to PSCEN)
"""


def berry_lines(ionic, electronic, unit="|e| Angst"):
    """What LCALCPOL prints."""

    def vector(values):
        return " ".join(f"{value:11.5f}" for value in values)

    return f"""
            Ionic dipole moment: p[ion]=( {vector(ionic)} ) {unit}

 Total electronic dipole moment: p[elc]=( {vector(electronic)} ) {unit}
"""


def write_outcar(path, *steps, idipol="3", ldipol="T"):
    """Write an OUTCAR of ionic steps."""
    header = f""" vasp.6.4.2 20Jul23 (build by hand)
 POTCAR:    PAW_PBE O 08Apr2002
 POTCAR:    PAW_PBE H 15Jun2001
 POTCAR:    PAW_PBE O 08Apr2002
 POTCAR:    PAW_PBE H 15Jun2001
   ions per type =               1   2
   ISPIN  =      1    spin polarized calculation?
   LDIPOL =      {ldipol}    correct potential (dipole corrections)
   IDIPOL =      {idipol}    1-x, 2-y, 3-z, 4-all directions
"""
    path.write_text(header + "".join(steps) + "\n General timing and accounting\n")
    return path


def write_cp2k_output(path, *steps, periodicity="XYZ", converged=(), tables=(), unit="[a.u.]:"):
    """Write an output of CP2K of ionic steps; its own lines of each come before its energy."""
    text = f" CELL_TOP| Periodicity    XYZ\n CELL| Periodicity          {periodicity}\n"
    for index, lines in enumerate(steps):
        is_converged = converged[index] if converged else True
        text += f"""
  *** SCF run {"" if is_converged else "NOT "}converged in    11 steps ***
{lines}
 ENERGY| Total FORCE_EVAL ( QS ) energy {unit}    {-17.25 - index:20.12f}

{tables[index] if tables else ""}
"""
    path.write_text(text)
    return path


def surface_lines(z, charge=1.0e-6):
    """What the surface dipole correction of CP2K prints at the end of a cycle."""
    return f"""
  Total dipole moment perpendicular to
  the slab [electrons-Angstroem]:   {z:23.10f}
  Total charge density on r-space grids:  {charge:16.10f}
  Total charge density g-space grids:     {charge:16.10f}
"""


def moments_lines(z, operator="Berry", charge=0.0):
    """What &MOMENTS of CP2K prints, in Debye."""
    berry = """  Dipole vectors are based on the periodic (Berry phase) operator.
  They are defined modulo integer multiples of the cell matrix [Debye].
  [X] [   33.62243296     0.00000000     0.00000000 ] [i]
  [Y]=[    0.00000000    33.62243296     0.00000000 ]*[j]
  [Z] [    0.00000000     0.00000000    72.04807063 ] [k]"""
    traditional = "  Dipoles are based on the traditional operator."
    return f"""
 ELECTRIC/MAGNETIC MOMENTS
  Reference Point [Bohr]              0.00000000      0.00000000      0.00000000
  Charges
    Electronic=      8.00000000    Core=    -8.00000000    Total=  {charge:14.8f}
{berry if operator == "Berry" else traditional}
  Dipole moment [Debye]
    X=  0.60642742E-11 Y= -0.12663721E-10 Z= {z:15.8E}   Total= {abs(z):14.8f}
"""


def correction_lines(debye, edir=3, field=None):
    """What the dipole correction of pw.x prints in one electronic step, in Debye."""
    amplitude = "" if field is None else f"        E field amplitude [Ha a.u.]: {field:11.4E}\n"
    return f"""
     Computed dipole along edir({edir}) :
        Elec. dipole         -0.0118 Ry au,         -0.0300 Debye
        Ion. dipole          -0.0081 Ry au,         -0.0206 Debye
        Dipole      {debye / 2.541746:15.4f} Ry au, {debye:15.4f} Debye
        Dipole field          0.0037 Ry au,

{amplitude}        Potential amp.       -0.1326 Ry
        Total length         17.9524 bohr
"""


def write_pw_output(path, atoms, *steps, electrons=8.0):
    """Write an output of pw.x of ionic steps, each with some lines before its energy."""
    alat = atoms.cell[0, 0]
    cell, positions = atoms.cell.array / alat, atoms.positions / alat
    symbols = atoms.get_chemical_symbols()
    axes = [f"               a({i + 1}) = ( {_row(cell[i])} )" for i in range(3)]
    sites = [
        f"   {i + 1:7d}           {symbols[i]}   tau({i + 1:4d}) = ( {_row(positions[i])} )"
        for i in range(len(atoms))
    ]
    forces = [
        f"     atom {i + 1:4d} type  1   force = {_row([0, 0, 0])}" for i in range(len(atoms))
    ]
    moved = [f"{symbols[i]} {_row(atoms.positions[i])}" for i in range(len(atoms))]
    text = f"""
     Program PWSCF v.6.7MaX starts on  1Jan2025 at  0: 0: 0
     number of atoms/cell      = {len(atoms):12d}
     number of electrons       = {electrons:12.2f}
     celldm(1)= {alat / Bohr:11.6f}  celldm(2)=   0.000000  celldm(3)=   0.000000

     crystal axes: (cart. coord. in units of alat)
{_lines(axes)}

     atomic species   valence    mass     pseudopotential
        O              6.00    16.00000     O ( 1.00)
        H              1.00     1.00000     H ( 1.00)

     site n.     atom                  positions (alat units)
{_lines(sites)}

     number of k points=     1
                       cart. coord. in units 2pi/alat
        k(    1) = (   0.0000000   0.0000000   0.0000000), wk =   2.0000000

"""
    for index, lines in enumerate(steps):
        text += f"""{lines}
     End of self-consistent calculation

          k = 0.0000 0.0000 0.0000 (  2566 PWs)   bands (ev):

   -24.9721 -12.8977  -8.9259  -7.0258

     highest occupied level (ev):    -7.0258

!    total energy              = {-34.1 - index:16.8f} Ry

     convergence has been achieved in  12 iterations

     Forces acting on atoms (cartesian axes, Ry/au):

{_lines(forces)}

     Total force =     0.000000     Total SCF correction =     0.000000

ATOMIC_POSITIONS (angstrom)
{_lines(moved)}

"""
    path.write_text(text + correction_lines(0.0))  # of a step that is not finished
    return path


def write_berry_output(path, gdir, direction, value, modulus=1):
    """Write what pw.x prints with lberry: P times the volume in e bohr along a lattice vector."""
    x, y, z = direction
    path.write_text(f"""
                          TOTAL PHASE:  0.04004 MOD_TOT: {modulus}

        The calculation of phases done along the direction of vector {gdir}
        of the reciprocal lattice gives the following contribution to
        the polarization vector (in different units, and being Omega
        the volume of the unit cell):

           P = {value:11.7f}  (mod  18.8972612)  (e/Omega).bohr

           P =   0.0003114  (mod   0.0077786)  e/bohr^2

        The polarization direction is:  ({x:8.5f} ,{y:8.5f} ,{z:8.5f} )
""")
    return path


def _row(values):
    """Numbers in a row."""
    return " ".join(f"{value:12.7f}" for value in values)


def _lines(rows):
    """Rows below each other."""
    return "\n".join(rows)
