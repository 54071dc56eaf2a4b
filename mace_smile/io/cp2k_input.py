"""What an input of CP2K says of one calculation: structure, field, and where results go.

Read are what finite-field labels need: ``&COORD`` or a coordinate file in XYZ, ``&CELL``, CHARGE,
``&PERIODIC_EFIELD`` and the file names of forces and moments. Whatever would be read wrongly
(variables, scaled coordinates, other units, other kinds of fields) is refused.
"""

from dataclasses import dataclass
from pathlib import Path

import ase
import ase.io
import numpy as np
from ase.units import Bohr, Hartree

from mace_smile.errors import UserError
from mace_smile.io.dipole import number, read_output

#: Atomic unit of the electric field in V/A, eV and A from ASE's CODATA.
FIELD_UNIT = Hartree / Bohr
#: Sections by which other fields act than the one that is read here.
OTHER_FIELDS = ("EFIELD", "EXTERNAL_POTENTIAL")


@dataclass(frozen=True)
class Cp2kInput:
    """One calculation, as its input describes it."""

    path: Path
    """Of the input."""
    atoms: ase.Atoms
    """The structure, periodic or not as ``&CELL`` says; positions in A."""
    electric_field: np.ndarray
    """Shape (3,), in V/A; zero without ``&PERIODIC_EFIELD``."""
    total_charge: float
    """CHARGE, in e."""
    forces: Path | None
    """Where forces are printed; None: into the main output."""
    moments: Path | None
    """Where moments are printed; None: into the main output."""


def read_cp2k_input(path: str | Path) -> Cp2kInput:
    """Read an input of CP2K.

    :param path: of the input, without variables (``@SET``, ``${}``).
    :raises UserError: for what this reader does not know, with the remedy.
    """
    path = Path(path)
    sections = _sections(path, read_output(path))
    for name in OTHER_FIELDS:
        if f"FORCE_EVAL/DFT/{name}" in sections:
            raise UserError(
                f"'{path}' has &{name}, which is no homogeneous field in a periodic cell; use "
                "&PERIODIC_EFIELD with INTENSITY and POLARISATION"
            )
    charge = _keyword(sections, "FORCE_EVAL/DFT", "CHARGE") or ["0"]
    return Cp2kInput(
        path,
        _structure(path, sections),
        _field(path, sections.get("FORCE_EVAL/DFT/PERIODIC_EFIELD")),
        float(charge[0]),
        _printed(path, sections, "FORCE_EVAL/PRINT/FORCES"),
        _printed(path, sections, "FORCE_EVAL/DFT/PRINT/MOMENTS"),
    )


def _sections(path: Path, text: str) -> dict[str, list[list[str]]]:
    """The words of each line of each section, by the path of the section in upper case.

    :raises UserError: for variables and included files.
    """
    sections: dict[str, list[list[str]]] = {}
    stack: list[str] = []
    for line in text.splitlines():
        words = line.split("!")[0].split("#")[0].split()
        if not words:
            continue
        if words[0].startswith("@") or "${" in line:
            raise UserError(
                f"'{path}' has the preprocessor line '{line.strip()}', which is not read; give "
                "the input with its variables and included files filled in"
            )
        if words[0].upper().startswith("&END"):
            stack = stack[:-1]
        elif words[0].startswith("&"):
            stack = [*stack, words[0][1:].upper()]
            sections.setdefault("/".join(stack), [])
        else:
            sections.setdefault("/".join(stack), []).append(words)
    return sections


def _keyword(sections: dict[str, list[list[str]]], section: str, key: str) -> list[str] | None:
    """The values of a keyword, or None where it is not there."""
    found = [words[1:] for words in sections.get(section, []) if words[0].upper() == key]
    return found[-1] if found else None


def _structure(path: Path, sections: dict[str, list[list[str]]]) -> ase.Atoms:
    """The structure of an input.

    :raises UserError: for a cell or coordinates in a form this reader does not know.
    """
    subsys = "FORCE_EVAL/SUBSYS"
    cell = _cell(path, sections.get(f"{subsys}/CELL", []))
    periodic = (_keyword(sections, f"{subsys}/CELL", "PERIODIC") or ["XYZ"])[0].upper()
    pbc = [axis in periodic.replace("NONE", "") for axis in "XYZ"]
    rows = sections.get(f"{subsys}/COORD")
    name = _keyword(sections, f"{subsys}/TOPOLOGY", "COORD_FILE_NAME")
    if rows is None and name is not None:
        atoms: ase.Atoms = ase.io.read(path.parent / name[0], format="xyz")
        return ase.Atoms(atoms.symbols, atoms.positions, cell=cell, pbc=pbc)
    if not rows or any(row[0].upper() in ("UNIT", "SCALED") or len(row) < 4 for row in rows):
        raise UserError(
            f"'{path}' must have coordinates in A: lines 'O x y z' in &COORD (no UNIT, no SCALED), "
            "or COORD_FILE_NAME of an XYZ file in &TOPOLOGY"
        )
    # Names of kinds may carry numbers or suffixes, as in O1 or H_2.
    symbols = ["".join(c for c in row[0].split("_")[0] if c.isalpha()).title() for row in rows]
    positions = [[number(value) for value in row[1:4]] for row in rows]
    try:
        return ase.Atoms(symbols, positions, cell=cell, pbc=pbc)
    except KeyError as error:
        raise UserError(
            f"'{path}' has atoms of the kind {error}, which is no element; name kinds by their "
            "element (O, O1, O_wall)"
        ) from error


def _cell(path: Path, rows: list[list[str]]) -> np.ndarray:
    """The cell vectors, shape ``(3, 3)`` in rows, in A.

    :raises UserError: for other forms than ABC of a right-angled cell, or A, B and C.
    """
    values = {row[0].upper(): row[1:] for row in rows}
    try:
        if set(values) >= {"A", "B", "C"}:
            return np.array([[number(x) for x in values[name][:3]] for name in "ABC"])
        if "ABC" in values and "ALPHA_BETA_GAMMA" not in values:
            return np.diag([number(x) for x in values["ABC"][:3]])
    except ValueError:  # a unit in square brackets
        pass
    raise UserError(
        f"'{path}' must have a cell in A in &CELL: three numbers ABC of a right-angled one, or the "
        "vectors A, B and C (no units, no angles, no file)"
    )


def _field(path: Path, rows: list[list[str]] | None) -> np.ndarray:
    """The field of ``&PERIODIC_EFIELD``, shape ``(3,)``, in V/A.

    :raises UserError: for other settings than INTENSITY and a POLARISATION along an axis.
    """
    if rows is None:
        return np.zeros(3)
    values = {row[0].upper(): row[1:] for row in rows}
    others = set(values) - {"INTENSITY", "POLARISATION"}
    direction = np.array([number(x) for x in values.get("POLARISATION", ())])
    along = sorted(np.abs(direction)) == [0.0, 0.0, 1.0]
    if others or not along or len(values.get("INTENSITY", ())) != 1:
        raise UserError(
            f"&PERIODIC_EFIELD of '{path}' has {', '.join(sorted(values)) or 'nothing'}, "
            f"POLARISATION {' '.join(values.get('POLARISATION', ['missing']))}; it must have "
            "INTENSITY in a.u. and POLARISATION 1 0 0, 0 1 0 or 0 0 1 (or minus these), and no "
            "other setting"
        )
    return number(values["INTENSITY"][0]) * FIELD_UNIT * direction


def _printed(path: Path, sections: dict[str, list[list[str]]], section: str) -> Path | None:
    """The file a print section writes to, or None for the main output.

    :raises UserError: for a name to which CP2K adds its own parts.
    """
    name = _keyword(sections, section, "FILENAME")
    if name is None or name[0] == "__STD_OUT__":
        return None
    if not name[0].startswith("="):
        raise UserError(
            f"'{path}' prints to FILENAME {name[0]}, to which CP2K adds parts; write 'FILENAME "
            f"={name[0]}', or leave FILENAME out to print into the main output"
        )
    return path.parent / name[0][1:]
