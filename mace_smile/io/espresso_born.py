"""Born effective charges in an output of ph.x, or in a file of dynamical matrices, of QE.

ph.x knows two ways and prints them differently (``summarize_zeu``, ``summarize_zue``,
``sym_and_write_zue`` of its source):

- ``(d Force / dE)``, from the response to a field: rows ``Ex Ey Ez``, columns the force;
- ``(d P / du)``, from the response to displacements (``zue``): rows ``Px Py Pz``, columns the
  displacement;
- ``E-U: Z_{alpha}{s,beta}`` (files ``.dyn``): the first of these; rows are the field;
- ``U-E: Z_{s,alpha}{beta}`` (files ``.dyn``, and old outputs): the second, but there **rows are the
  displacement** and columns the polarization.
"""

import re
from pathlib import Path

import numpy as np

from mace_smile.errors import UserError
from mace_smile.io.born_order import DISPLACEMENT_FIRST, FIELD_FIRST, field_first
from mace_smile.io.dipole import NUMBER, number, read_output

#: Headings from the most to the least wanted, with the order of what is below: the response to
#: a field comes from few perturbations of high precision, and is what most runs have.
HEADINGS = (
    (r"Effective charges \(d Force / dE\) in cartesian axis(?! with asr)", FIELD_FIRST),
    (r"Effective [Cc]harges E-U", FIELD_FIRST),
    (r"Effective charges \(d Force / dE\) in cartesian axis with asr", FIELD_FIRST),
    (r"Effective charges \(d P / du\) in cartesian axis(?! with asr)", FIELD_FIRST),
    (r"Effective [Cc]harges U-E", DISPLACEMENT_FIRST),
    (r"Effective charges \(d P / du\) in cartesian axis with asr", FIELD_FIRST),
)
ATOM = re.compile(r"\s*atom\s*#?\s*(\d+)\b.*")
ROW = re.compile(rf"\s*(?:[EP][xyz])?\s*\(?\s*{NUMBER}\s+{NUMBER}\s+{NUMBER}\s*\)?\s*")


def read_espresso_born_charges(path: str | Path) -> np.ndarray:
    """Born effective charges of Quantum ESPRESSO, before its acoustic sum rule where it has both.

    :param path: of an output of ph.x at q = 0 with ``epsil`` (or ``zue``), or of its ``.dyn`` file.
    :return: ``Z[i, a, b]``, shape ``(n_atoms, 3, 3)``, in e, field index first.
    :raises UserError: for a file without them, or with a block that ends early.
    """
    text = read_output(path)
    for heading, order in HEADINGS:
        found = list(re.finditer(heading, text))
        if found:
            return field_first(_read_block(path, text[found[-1].end() :]), order)
    raise UserError(
        f"'{path}' has no 'Effective charges'; run ph.x at q = 0 with epsil = .true. (and zeu, "
        "its default then), or with zue = .true."
    )


def _read_block(path: str | Path, text: str) -> np.ndarray:
    """The rows of all atoms below a heading, shape ``(n_atoms, 3, 3)``, as they stand there.

    :raises UserError: for atoms with fewer than three rows.
    """
    rows: list[list[float]] = []
    n_atoms = 0
    for line in text.splitlines()[1:]:
        if not line.strip() and not n_atoms:
            continue
        row, atom = ROW.fullmatch(line), ATOM.fullmatch(line)
        if row is not None and len(rows) < 3 * n_atoms:
            rows.append([number(value) for value in row.groups()])
        elif atom is not None and int(atom[1]) == n_atoms + 1 and len(rows) == 3 * n_atoms:
            n_atoms += 1
        else:
            break
    if not rows or len(rows) != 3 * n_atoms:
        raise UserError(
            f"the effective charges in '{path}' end within atom {max(n_atoms, 1)}; give the "
            "complete output of a run that came to its end"
        )
    return np.array(rows).reshape(n_atoms, 3, 3)
