"""A molecule with charges that flow, whose dipole is known, and outputs of codes that treat it.

Tensors of the outputs are not copied from one array: each number is the force in a field, or the
dipole change of a displacement, that the code says it is. Lines no reader looks at are left out.
"""

import ase
import numpy as np
from ase.units import Bohr, Debye, Hartree

#: Field of the calculations in atomic units.
FIELD = 0.001
FIELD_IN_V_BY_A = FIELD * Hartree / Bohr


def bent_molecule() -> ase.Atoms:
    """An open water molecule without any symmetry in its orientation and bond lengths."""
    positions = [[0.10, -0.05, 0.02], [0.85, 0.60, -0.10], [-0.60, 0.45, 0.75]]
    return ase.Atoms("OHH", positions)


def dipole(positions: np.ndarray) -> np.ndarray:
    """Dipole in e A, from - to +: charge flows from O to one H as the bond of the other grows.

    Each bond then changes a dipole along the other one, so the tensors are not symmetric.
    """
    bonds = positions[1:] - positions[0]
    lengths = np.linalg.norm(bonds, axis=1)
    charges = 0.35 + np.array([0.30, 0.42]) * (lengths[::-1] - 0.97)
    return charges @ bonds


def born_charges(positions: np.ndarray) -> np.ndarray:
    """``Z[i, a, b] = d mu_a / d r_ib`` by central differences, field first, ``(n_atoms, 3, 3)``."""
    tensors = np.zeros((len(positions), 3, 3))
    for atom in range(len(positions)):
        for b in range(3):
            tensors[atom, :, b] = dipole_change(positions, atom, b)
    return tensors


def dipole_change(positions: np.ndarray, atom: int, axis: int, step: float = 1e-5) -> np.ndarray:
    """Change of the dipole by a displacement of one atom, by its length; shape ``(3,)``, in e."""
    moved = np.zeros_like(positions)
    moved[atom, axis] = step
    return (dipole(positions + moved) - dipole(positions - moved)) / (2 * step)


def force_by_field(positions: np.ndarray, atom: int, direction: int) -> np.ndarray:
    """Force on an atom by a field, by its strength; shape ``(3,)``, in e.

    The energy of a dipole in a field is ``-E . mu``, so the force is the gradient of ``mu_a``.
    """
    return np.array([dipole_change(positions, atom, b)[direction] for b in range(3)])


def numbers(values, form="{:12.5f}"):
    """Numbers in a row."""
    return "".join(form.format(value) for value in values)


def vasp_block(positions):
    """What LEPSILON prints: row a is the force in a field along a."""
    rows = [
        " BORN EFFECTIVE CHARGES (including local field effects) (in |e|, cummulative output)",
        " " + "-" * 81,
    ]
    for atom in range(len(positions)):
        rows.append(f" ion {atom + 1:4d}")
        rows += [f"{a + 1:5d}{numbers(force_by_field(positions, atom, a))}" for a in range(3)]
    return "\n".join(rows) + "\n " + "-" * 81 + "\n"


def espresso_block(positions, kind, suffix=""):
    """What ph.x prints of one kind: ``force``, ``polarization``, or ``dyn`` (U-E)."""
    heading = {
        "force": "          Effective charges (d Force / dE) in cartesian axis",
        "polarization": "          Effective charges (d P / du) in cartesian axis",
        "dyn": "     Effective Charges U-E: Z_{s,alpha}{beta}",
    }[kind]
    rows = [heading + suffix, ""]
    for atom in range(len(positions)):
        changes = [dipole_change(positions, atom, b) for b in range(3)]  # [displacement, a]
        if kind == "dyn":
            rows.append(f"     atom # {atom + 1:4d}")
            rows += [numbers(change, "{:24.12f}") for change in changes]
            continue
        rows.append(f"           atom {atom + 1:6d} {'OHH'[atom]:>4} Mean Z*: {0.1:12.5f}")
        for a in range(3):
            values = [change[a] for change in changes]
            if kind == "force":
                values = force_by_field(positions, atom, a)
            label = ("E" if kind == "force" else "P") + "xyz"[a]
            rows.append(f"      {label}  ({numbers(values, '{:15.5f}')} )")
    return "\n".join(rows) + "\n\n     Diagonalizing the dynamical matrix\n"


INPUT = """&GLOBAL
  RUN_TYPE ENERGY_FORCE
&END GLOBAL
&FORCE_EVAL
  &DFT
    {field}
    &SCF
      EPS_SCF 5.0E-7
    &END SCF
    &PRINT
      &MOMENTS
        PERIODIC .TRUE.
        FILENAME ={stem}.mom
      &END MOMENTS
    &END PRINT
  &END DFT
  &SUBSYS
    &CELL
      ABC {cell} {cell} {cell}
    &END CELL
    &COORD
{coordinates}
    &END COORD
  &END SUBSYS
  &PRINT
    &FORCES
      FILENAME ={stem}.frc
    &END FORCES
  &END PRINT
&END FORCE_EVAL
"""
FORCES_AT_ZERO = np.array([[0.02, -0.01, 0.005], [-0.015, 0.02, 0.0], [-0.005, -0.01, -0.005]])


def write_calculation(folder, stem, field=(0, 0, 0), cell=9.0, shift=0.0, intensity=FIELD):
    """Input and outputs of CP2K for the molecule in a field along an axis, in a.u."""
    atoms = bent_molecule()
    positions = atoms.positions + cell / 2 + shift
    direction = np.array(field, dtype=float)
    lines = ""
    printed = ""
    if direction.any():
        x, y, z = field
        lines = f"&PERIODIC_EFIELD\n      INTENSITY {intensity:.6f}\n      POLARISATION {x} {y} {z}"
        lines += "\n    &END PERIODIC_EFIELD"
        printed = f" PERIODIC_EFIELD| Intensity [a.u.]:           {intensity:20.6E}\n"
    text = INPUT.format(
        field=lines,
        stem=stem,
        cell=f"{cell:.6f}",
        coordinates="\n".join(
            f"      {symbol} {numbers(row, '{:14.8f}')}"
            for symbol, row in zip(atoms.get_chemical_symbols(), positions, strict=True)
        ),
    )
    (folder / f"{stem}.inp").write_text(text)
    forces = FORCES_AT_ZERO.copy()
    for atom in range(3):
        for a in range(3):
            forces[atom] += intensity * direction[a] * force_by_field(atoms.positions, atom, a)
    rows = "\n".join(
        f"{i + 1:7d}{1:7d}      {symbol}   {numbers(row, '{:14.8f}')}"
        for i, (symbol, row) in enumerate(zip("OHH", forces, strict=True))
    )
    table = f" ATOMIC FORCES in [a.u.]\n\n # Atom   Kind   Element  X  Y  Z\n{rows}\n"
    total = numbers(forces.sum(axis=0), "{:14.8f}")
    (folder / f"{stem}.frc").write_text(f"{table} SUM OF ATOMIC FORCES {total}    0.0\n")
    (folder / f"{stem}.out").write_text(
        f"{printed}  *** SCF run converged in     8 steps ***\n\n"
        " ENERGY| Total FORCE_EVAL ( QS ) energy [a.u.]:              -17.250000000000000\n"
    )
    x, y, z = (dipole(atoms.positions) + np.array([0, cell, 0])) / Debye  # one quantum off
    (folder / f"{stem}.mom").write_text(f"""  Reference Point [Bohr]  0.00000000  0.0  0.0
  Charges
    Electronic=      8.00000000    Core=    -8.00000000    Total=      0.00000000
  Dipole vectors are based on the periodic (Berry phase) operator.
  Dipole moment [Debye]
    X= {x:15.8E} Y= {y:15.8E} Z= {z:15.8E}   Total=     1.85000000
""")


def write_finite_fields(folder, stems=("a", "b", "c", "d", "e", "f", "g"), **options):
    """Seven calculations in a folder, in names that say nothing of the field."""
    folder.mkdir(parents=True, exist_ok=True)
    fields = [(0, 0, 0)]
    for axis in range(3):
        for sign in (1, -1):
            fields.append(tuple(sign * int(axis == i) for i in range(3)))
    for stem, field in zip(stems, fields, strict=True):
        write_calculation(folder, stem, field, **options)
    return folder
