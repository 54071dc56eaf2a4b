"""Born effective charges in an OUTCAR of VASP, from LEPSILON or LCALCEPS.

The rows of the block ``BORN EFFECTIVE CHARGES`` are the directions of the field and its columns
those of the force (VASP wiki, Born effective charges), in units of |e|, positive on cations: field
first, as here. Files of py4vasp and ``vaspout.h5`` have the transpose. Where the ions move too
(IBRION 5 to 8), rows are reported to be displacements, so those runs are refused.
"""

import re
from pathlib import Path

import numpy as np

from mace_smile.errors import UserError
from mace_smile.io.born_order import FIELD_FIRST, field_first
from mace_smile.io.dipole import NUMBER, number, read_output

HEADING = re.compile(r"BORN EFFECTIVE CHARGES \((?!excluding).*output\)")
ION = re.compile(r"\s*ion\s+(\d+).*")
ROW = re.compile(rf"\s*([123])\s+{NUMBER}\s+{NUMBER}\s+{NUMBER}\s*$")
#: Values of IBRION that displace ions to get force constants.
DISPLACING = ("5", "6", "7", "8")


def read_vasp_born_charges(path: str | Path) -> np.ndarray:
    """The last Born effective charges of an OUTCAR, local field effects included.

    :param path: of the OUTCAR of one structure, with LEPSILON or LCALCEPS.
    :return: ``Z[i, a, b]``, shape ``(n_atoms, 3, 3)``, in e, field index first.
    :raises UserError: for no block, a block that ends early, and ions that are displaced.
    """
    text = read_output(path)
    ibrion = re.findall(r"IBRION\s*=\s*(-?\d+)", text)[-1:]
    if ibrion and ibrion[0] in DISPLACING:
        raise UserError(
            f"'{path}' was run with IBRION = {ibrion[0]}, which displaces ions: rows of its Born "
            "effective charges may then be displacements; run LEPSILON or LCALCEPS with fixed ions "
            "(IBRION = -1), or put the tensors into an extended XYZ file yourself and give "
            "`mace_smile_convert_born_charges` their `--becs_order`"
        )
    headings = list(HEADING.finditer(text))
    if not headings:
        raise UserError(
            f"'{path}' has no 'BORN EFFECTIVE CHARGES (including local field effects)'; run VASP "
            "with LEPSILON = .TRUE. (or LCALCEPS = .TRUE.) and without LRPA"
        )
    rows: list[list[float]] = []
    n_ions = 0
    for line in text[headings[-1].end() :].splitlines()[2:]:
        row, ion = ROW.fullmatch(line), ION.fullmatch(line)
        if row is not None and len(rows) < 3 * n_ions:
            rows.append([number(value) for value in row.groups()[1:]])
        elif ion is not None and int(ion[1]) == n_ions + 1 and len(rows) == 3 * n_ions:
            n_ions += 1
        else:
            break
    if not rows or len(rows) != 3 * n_ions:
        raise UserError(
            f"the Born effective charges in '{path}' end within atom {max(n_ions, 1)}; give the "
            "complete output of a run that came to its end"
        )
    return field_first(np.array(rows).reshape(n_ions, 3, 3), FIELD_FIRST)
