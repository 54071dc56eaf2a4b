"""Dipoles in an OUTCAR of VASP.

Two quantities, and two signs. The line ``dipolmoment ... electrons x Angstroem`` of the dipole
correction (IDIPOL, LDIPOL) counts electrons as positive, so its sign is turned here. The lines of
the Berry phase (LCALCPOL) say it in their unit: ``electrons Angst`` (VASP 5 and early 6) counts
electrons as positive and is turned, ``|e| Angst`` (later VASP 6) is physical and stays. In the
example of VASP's own manual a fluoride ion goes up and the sum of the latter lines in ``electrons
Angst`` rises by 0.995 times the displacement, as it must where electrons are positive.
"""

import logging
import re
from pathlib import Path

import numpy as np

from mace_smile.errors import UserError
from mace_smile.io.dipole import AXES, NUMBER, Dipole, along, ionic_steps, number, read_output

logger = logging.getLogger(__name__)

STEP_END = "FREE ENERGIE OF THE ION-ELECTRON SYSTEM"
DIPOLMOMENT = re.compile(rf"dipolmoment\s+{NUMBER}\s*{NUMBER}\s*{NUMBER}\s+(\S.*\S)\s*$", re.M)
BERRY = r"dipole moment:\s*p\[{part}\]=\(\s*" + rf"{NUMBER}\s*{NUMBER}\s*{NUMBER}" + r"\s*\)\s*(.*)"
IONIC = re.compile(BERRY.format(part="ion"))
ELECTRONIC = re.compile(BERRY.format(part="elc"))
#: Sign that makes a Berry-phase dipole physical, by the unit printed behind it.
BERRY_SIGNS = {"electrons Angst": -1.0, "|e| Angst": 1.0}
#: Lines that must say zero, and what it means where they do not.
FORBIDDEN = {
    "energy correction for charged system": "the cell has a net charge, so its dipole depends on "
    "the origin; make it neutral",
    "added-field ion interaction": "the electrons are polarized by an external field (EFIELD), "
    "which no charge of the cell explains; leave EFIELD out",
}


def read_vasp_dipoles(path: str | Path) -> list[Dipole]:
    """Dipoles of an OUTCAR, one an ionic step, of whichever of the two kinds it has.

    :param path: of the OUTCAR.
    :raises UserError: where it has neither, and what the readers of the two refuse.
    """
    text = read_output(path)
    if DIPOLMOMENT.search(text):
        return read_vasp_correction_dipoles(path)
    if IONIC.search(text):
        return read_vasp_berry_dipoles(path)
    raise UserError(
        f"'{path}' has neither a line 'dipolmoment' nor 'Ionic dipole moment: p[ion]='; run VASP "
        "again with LDIPOL = .TRUE. and IDIPOL = 3 for a slab along z, with IDIPOL = 4 for a "
        "molecule, or with LCALCPOL = .TRUE. for a crystal or a liquid"
    )


def read_vasp_correction_dipoles(path: str | Path) -> list[Dipole]:
    """Dipoles of the dipole correction: the last ``dipolmoment`` of each ionic step.

    :param path: of an OUTCAR with IDIPOL 1 to 3 and LDIPOL (slab: one axis is known), or with
        IDIPOL 4 (molecule: all axes).
    :return: one an ionic step, in the order and number of the frames of ``ase.io.read``.
    :raises UserError: for a missing line, a slab without LDIPOL, another unit, a net charge or
        an external field.
    """
    text = read_output(path)
    axes = _corrected_axes(path, text)
    dipoles = []
    for index, step in enumerate(ionic_steps(path, text, STEP_END, "VASP")):
        found = DIPOLMOMENT.findall(step)
        if not found:
            raise UserError(
                f"ionic step {index} of '{path}' has no line 'dipolmoment'; run VASP with IDIPOL "
                "and LDIPOL = .TRUE. through all steps"
            )
        *values, unit = found[-1]
        if not unit.startswith("electrons"):
            raise UserError(
                f"the dipole in '{path}' is in '{unit}' but this reader knows the sign of "
                "'electrons x Angstroem' only; look up the sign for your version of VASP"
            )
        for line, reason in FORBIDDEN.items():
            correction = re.findall(rf"{line}\s+{NUMBER}", step)
            if correction and number(correction[-1]) != 0.0:
                raise UserError(f"ionic step {index} of '{path}' has '{line}': {reason}")
        vector = -np.array([number(value) for value in values])
        if axes != AXES:
            vector = along(axes, vector[AXES.index(axes)])
        dipoles.append(Dipole(vector, axes, "VASP dipolmoment", converged=_is_converged(step)))
    return dipoles


def read_vasp_berry_dipoles(path: str | Path) -> list[Dipole]:
    """Dipoles of the Berry phase, ionic plus electronic, with LCALCPOL = .TRUE.

    :param path: of the OUTCAR of a cell that is periodic along all axes.
    :return: one an ionic step, known up to e times the cell vectors.
    :raises UserError: for missing lines, one without the other, or an unknown unit.
    """
    text = read_output(path)
    steps = ionic_steps(path, text, STEP_END, "VASP")
    ionic, electronic = IONIC.findall(text), ELECTRONIC.findall(text)
    if not len(ionic) == len(electronic) == len(steps):
        raise UserError(
            f"'{path}' has {len(ionic)} lines of p[ion] and {len(electronic)} of p[elc] but "
            f"{len(steps)} ionic steps, and must have one of each a step; run VASP with "
            "LCALCPOL = .TRUE., one structure a run"
        )
    dipoles = []
    for step, *parts in zip(steps, ionic, electronic, strict=True):
        vector = np.zeros(3)
        for *values, unit in parts:
            unit = " ".join(unit.split())
            if unit not in BERRY_SIGNS:
                raise UserError(
                    f"the dipole in '{path}' is in '{unit}' but must be in "
                    f"{' or '.join(repr(name) for name in BERRY_SIGNS)}; use LCALCPOL, not LBERRY"
                )
            vector = vector + BERRY_SIGNS[unit] * np.array([number(value) for value in values])
        source = "VASP p[ion] + p[elc]"
        dipoles.append(Dipole(vector, AXES, source, 1.0, _is_converged(step)))
    return dipoles


def _corrected_axes(path: str | Path, text: str) -> str:
    """Cartesian axes along which the dipole correction gives the dipole.

    :raises UserError: where IDIPOL is not there, and for a slab without LDIPOL.
    """
    kind = re.findall(r"IDIPOL\s*=\s*(\d)", text)
    if not kind or kind[-1] not in "1234":
        raise UserError(
            f"'{path}' does not say IDIPOL = 1, 2, 3 or 4; run VASP with LDIPOL = .TRUE. and "
            "IDIPOL = 3 for a slab along z"
        )
    is_corrected = re.findall(r"LDIPOL\s*=\s*\.?([TF])", text)[-1:] == ["T"]
    if kind[-1] == "4":
        if not is_corrected:
            logger.warning(
                "'%s' was run without LDIPOL: periodic images polarize the molecule a little", path
            )
        return AXES
    if not is_corrected:
        raise UserError(
            f"'{path}' was run with IDIPOL = {kind[-1]} but without LDIPOL, so the field of its "
            "periodic images polarizes the slab; run it again with LDIPOL = .TRUE."
        )
    return AXES[int(kind[-1]) - 1]


def _is_converged(step: str) -> bool:
    """Whether the electrons of an ionic step were converged."""
    return "aborting loop because EDIFF is reached" in step
