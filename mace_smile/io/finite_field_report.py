"""Finite-field labels of many structures, and how good they are, in one table."""

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from prettytable import PrettyTable

from mace_smile.errors import UserError
from mace_smile.io.born_order import ACOUSTIC_SUM_THRESHOLD, born_charges_of
from mace_smile.io.finite_field import (
    FiniteFieldLabels,
    read_finite_field_labels,
    structure_folders,
)

logger = logging.getLogger(__name__)


def read_all_labels(
    folders: Sequence[str | Path],
    boundary: str = "auto",
    threshold: float = ACOUSTIC_SUM_THRESHOLD,
    skip_failed: bool = False,
) -> list[FiniteFieldLabels]:
    """The labels of all structures in folders.

    :param folders: of one structure each, or of such folders.
    :param boundary: ``auto``, ``open`` or ``periodic``.
    :param threshold: component of the acoustic sum in e above which a warning tells it.
    :param skip_failed: whether structures that cannot be used are left out with a warning.
    :raises UserError: for the first structure that cannot be used, unless they are left out, and
        where none is left.
    """
    labels = []
    for folder in structure_folders(folders):
        try:
            labels.append(read_finite_field_labels(folder, boundary, threshold))
        except UserError as error:
            if not skip_failed:
                raise UserError(f"{error}; `--skip_failed` leaves such structures out") from error
            logger.warning("left out: %s", error)
    if not labels:
        raise UserError(f"none of the structures in {', '.join(map(str, folders))} can be used")
    return labels


def labels_table(labels: Sequence[FiniteFieldLabels]) -> str:
    """One row a structure: sum rules, and the mean charge ``tr Z / 3`` of each element."""
    elements = sorted({symbol for label in labels for symbol in label.frame.symbols})
    header = ["structure", "atoms", "boundary", "|sum Z - Q|", "rotational", "transposed"]
    table = PrettyTable([*header, *(f"{element} / e" for element in elements)])
    table.align = "r"
    for label in labels:
        frame = label.frame
        charges = np.trace(born_charges_of(frame), axis1=1, axis2=2) / 3
        rotational = ["-", "-"]
        if label.rotational_residuals is not None:
            rotational = [f"{value:.4f}" for value in label.rotational_residuals]
        means = [
            f"{charges[frame.symbols == element].mean():.3f}" if element in frame.symbols else "-"
            for element in elements
        ]
        boundary = "periodic" if all(frame.pbc) else "open"
        table.add_row(
            [
                frame.info["structure_id"],
                len(frame),
                boundary,
                f"{label.acoustic_sum:.4f}",
                *rotational,
                *means,
            ]
        )
    return str(table)
