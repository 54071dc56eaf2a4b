"""Frames with Born effective charges in any order, to the order that is wanted.

``REF_becs`` with the field first is what training reads; BORN files are for phonopy, tables with
the displacement first for i-PI. Shape, acoustic sum rule and order are checked on the way.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import ase
import numpy as np
from prettytable import PrettyTable

from mace_smile import quantities
from mace_smile.errors import UserError
from mace_smile.io.born_detection import DIPOLE_KEY, DetectedOrder, resolve_order
from mace_smile.io.born_order import (
    ACOUSTIC_SUM_THRESHOLD,
    KEY,
    ORDERS,
    acoustic_sum,
    born_charges_of,
    field_first,
    has_born_charges,
    set_born_charges,
)
from mace_smile.io.frames import write_frames
from mace_smile.io.ipi import write_ipi_born_charges
from mace_smile.io.phonopy import write_phonopy_born
from mace_smile.io.structure_files import KEYS

logger = logging.getLogger(__name__)

#: What ``--format`` takes.
FORMATS = ("extxyz", "phonopy", "ipi")


@dataclass(frozen=True)
class Conversion:
    """Frames in the order of this package, and what was found in them."""

    frames: list[ase.Atoms]
    """Copies of all frames; those that had tensors have ``REF_becs``, field first."""
    order: str
    """The order they were in."""
    detected: DetectedOrder
    """What the data say about it."""
    acoustic_sums: np.ndarray
    """Largest component of ``sum_i Z_i - Q 1`` of each frame with tensors, in e."""


def convert_born_charges(
    frames: Sequence[ase.Atoms],
    key: str = KEY,
    order: str = "auto",
    dipole_key: str = DIPOLE_KEY,
) -> Conversion:
    """Put the Born effective charges of frames into the order of this package.

    :param frames: of one file, all in one order; frames without tensors stay as they are.
    :param key: of the nine columns, removed in the result unless it is ``REF_becs``.
    :param order: of the nine columns: one of the two, or ``auto``.
    :param dipole_key: of dipoles in e A, from - to +, which tell the order.
    :raises UserError: for no tensors at all, wrong shapes, an order that cannot be told, or one
        that contradicts the data.
    """
    if not any(has_born_charges(atoms, key) for atoms in frames):
        columns = sorted({name for atoms in frames for name in atoms.arrays})
        raise UserError(
            f"no frame has '{key}'; its columns are {', '.join(columns) or 'none'}: give the one "
            "with the Born effective charges as `--becs_key`"
        )
    known, detected = resolve_order(frames, order, key, dipole_key)
    converted, sums = [], []
    for atoms in frames:
        frame = atoms.copy()
        frame.calc = atoms.calc
        if has_born_charges(frame, key):
            tensors = field_first(born_charges_of(frame, key), known)
            charge = float(frame.info.get(KEYS[quantities.TOTAL_CHARGE], 0.0))
            sums.append(np.abs(acoustic_sum(tensors, charge)).max())
            set_born_charges(frame, tensors, key)
        converted.append(frame)
    if max(sums) > ACOUSTIC_SUM_THRESHOLD:
        logger.warning(
            "sum_i Z_i - Q 1 is up to %.4f e (above %.2f e in %d of %d frames); converge the "
            "calculations further, and check `total_charge` of ions",
            max(sums),
            ACOUSTIC_SUM_THRESHOLD,
            sum(value > ACOUSTIC_SUM_THRESHOLD for value in sums),
            len(sums),
        )
    return Conversion(converted, known, detected, np.array(sums))


def conversion_table(conversion: Conversion) -> str:
    """What was found, as a small table: residuals of both orders, acoustic sum, asymmetry."""
    table = PrettyTable(["check", "frames", *ORDERS])
    table.align = "r"
    table.align["check"] = "l"
    for test in conversion.detected.tests:
        values = [f"{test.residuals[o]:.4f}" if test.n_frames else "-" for o in ORDERS]
        table.add_row([f"{test.name}, residual / e A", test.n_frames, *values])
    sums, n_frames = conversion.acoustic_sums, len(conversion.acoustic_sums)
    for name, value in (
        ("sum_i Z_i - Q 1, largest / e", sums.max()),
        ("sum_i Z_i - Q 1, median over frames / e", np.median(sums)),
        ("Z - Z^T, root mean square / e", conversion.detected.asymmetry),
    ):
        table.add_row([name, n_frames, f"{value:.4f}", f"{value:.4f}"])
    return str(table)


def write_converted(
    frames: Sequence[ase.Atoms],
    path: str | Path,
    form: str = "extxyz",
    dielectric: Sequence[float] | None = None,
    overwrite: bool = False,
) -> None:
    """Write frames with ``REF_becs``, or the tensors of the one frame for another code.

    :param frames: from :func:`convert_born_charges`.
    :param path: to write.
    :param form: ``extxyz``; ``phonopy`` (BORN) or ``ipi`` for one frame with tensors.
    :param dielectric: nine numbers, for ``phonopy``; None: the unit tensor, with a note.
    :param overwrite: whether an existing file may be replaced.
    :raises UserError: for another format, several frames where one is wanted, a dielectric
        tensor that has no place, and a file that exists.
    """
    if form not in FORMATS:
        raise UserError(f"the format is '{form}' but must be one of {', '.join(FORMATS)}")
    if dielectric is not None and form != "phonopy":
        raise UserError(f"`--dielectric` has no place in {form}; leave it out")
    if form == "extxyz":
        write_frames(list(frames), path, overwrite)
        return
    tensors = [born_charges_of(atoms) for atoms in frames if has_born_charges(atoms)]
    if len(tensors) != 1:
        raise UserError(
            f"{form} takes one structure but {len(tensors)} frames have Born effective charges; "
            "choose one by `--frame`"
        )
    if form == "ipi":
        write_ipi_born_charges(path, tensors[0], overwrite)
        return
    epsilon = None if dielectric is None else np.reshape(dielectric, (3, 3))
    write_phonopy_born(path, tensors[0], epsilon, overwrite)
