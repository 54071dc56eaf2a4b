"""What a dipole out of another code is, and what its readers share.

Dipoles here are in e A and point from minus to plus, ``mu = sum_i Z_i r_i - int r n(r) dr`` with
ions of positive charge Z_i and a density n of electrons. A water molecule whose hydrogens are above
its oxygen has ``mu_z > 0``, and the potential above a slab with ``mu_z > 0`` exceeds that below.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mace_smile.errors import UserError

AXES = "xyz"
#: A number as Fortran prints it, in one group.
NUMBER = r"([-+]?\d+\.\d*(?:[EeDd][-+]?\d+)?)"
#: Net charge in e above which the dipole of a cell depends on the origin too much to be a label.
SMALLEST_NET_CHARGE = 0.01


@dataclass(frozen=True)
class Dipole:
    """The total dipole of one cell, from minus to plus."""

    vector: np.ndarray
    """Shape (3,), in e A; zero along the axes that are not known."""
    axes: str
    """Cartesian axes along which it is known: ``z`` for a slab along z, ``xyz`` otherwise."""
    source: str
    """The code and the line of its output it was read from."""
    quantum: float | None = None
    """For a cell periodic along all axes, in e: the dipole is known up to whole multiples of this
    times the cell vectors. None for slabs and open structures."""
    converged: bool = True
    """Whether the self-consistent cycle of its ionic step was converged."""

    @property
    def boundary(self) -> str:
        """What it is the dipole of: ``periodic``, ``slab`` or ``open``."""
        if self.quantum is not None:
            return "periodic"
        return "open" if self.axes == AXES else "slab"


def along(axis: str, value: float) -> np.ndarray:
    """A vector along a Cartesian axis.

    :param axis: ``x``, ``y`` or ``z``.
    :param value: its component.
    :return: shape ``(3,)``.
    :raises UserError: for another name of the axis.
    """
    if len(axis) != 1 or axis not in AXES:
        raise UserError(f"the axis of the slab is '{axis}' but must be x, y or z")
    return value * (np.arange(3) == AXES.index(axis))


def number(text: str) -> float:
    """A number as Fortran prints it, with its exponent in E or D."""
    return float(text.upper().replace("D", "E"))


def read_output(path: str | Path) -> str:
    """The text of an output file.

    :raises UserError: for a path that is no file.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"there is no file '{path}'")
    return path.read_text(errors="replace")


def ionic_steps(path: str | Path, text: str, end: str, code: str) -> list[str]:
    """The text of each finished ionic step.

    :param path: of the output, for messages.
    :param text: of the output.
    :param end: what the code prints once at the end of each ionic step.
    :param code: its name, for messages.
    :return: one text a step; what follows the last end is left out, since the dipoles in it
        belong to a step that is not finished.
    :raises UserError: where no step is finished.
    """
    steps = text.split(end)[:-1]
    if not steps:
        raise UserError(
            f"'{path}' has no finished ionic step (no line '{end}'); give the main output of a "
            f"{code} run that came to its end"
        )
    return steps
