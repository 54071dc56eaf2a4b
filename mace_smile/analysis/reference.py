"""Reference potentials, e.g. of DFT: read, brought to the slab, zero in the vacuum below it.

A planar average in a cell that repeats has a jump where the code puts its dipole correction,
in the vacuum. The outer thirds of the vacuum, next to the slab, are taken as they are; in the
middle third, where the jump is, the potential stays what it is at the end of the outer third.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from zipfile import BadZipFile

import numpy as np

from mace_smile.analysis.averages import smooth
from mace_smile.errors import UserError


@dataclass(frozen=True)
class ReferenceProfile:
    """Potentials of a reference on the points of a file."""

    name: str
    """File it came from, for messages."""
    points: np.ndarray
    """Evenly spaced heights along the normal in A, ascending, ``(n_points,)``."""
    potentials: np.ndarray
    """In V, ``(n_frames, n_points)``, or ``(1, n_points)`` for one mean profile."""

    @property
    def is_mean(self) -> bool:
        """Whether there is one profile only."""
        return len(self.potentials) == 1


def _read_arrays(path: str | Path) -> tuple[np.ndarray, np.ndarray]:
    """The arrays ``z`` and ``phi`` of a ``.npz`` file.

    :raises UserError: for another file.
    """
    if not Path(path).is_file():
        raise UserError(f"there is no reference '{path}'")
    remedy = "write it with numpy.savez(path, z=..., phi=...)"
    try:
        with Path(path).open("rb") as stream:
            arrays = np.load(stream)
            if not isinstance(arrays, np.lib.npyio.NpzFile):
                raise UserError(f"the reference '{path}' holds one array; {remedy}")
            missing = sorted({"z", "phi"} - set(arrays.files))
            if missing:
                raise UserError(
                    f"the reference '{path}' has no {' and no '.join(missing)}; it must have z (A) "
                    f"and phi (V), and has {', '.join(arrays.files)}"
                )
            return np.array(arrays["z"], dtype=float), np.array(arrays["phi"], dtype=float)
    except UserError:
        raise
    except (OSError, ValueError, EOFError, BadZipFile) as error:
        raise UserError(f"the reference '{path}' cannot be read ({error}); {remedy}") from error


def read_reference(path: str | Path, n_frames: int) -> ReferenceProfile:
    """Read a ``.npz`` file with ``z`` and ``phi``.

    :param path: its ``z`` ``(n_points,)`` in A is along the normal, from the origin of the
        cell; its ``phi`` in V is ``(n_points,)`` or ``(n_frames, n_points)``.
    :param n_frames: number of structures.
    :raises UserError: for another file, other shapes, or another number of profiles.
    """
    points, potentials = _read_arrays(path)
    potentials = np.atleast_2d(potentials)
    if points.ndim != 1 or len(points) < 2 or potentials.shape[1:] != points.shape:
        raise UserError(
            f"the reference '{path}' has z of shape {points.shape} and phi of shape "
            f"{potentials.shape}, but phi must have one number for each z, in each row"
        )
    if len(potentials) not in (1, n_frames):
        raise UserError(
            f"the reference '{path}' has {len(potentials)} profiles but there are {n_frames} "
            "structures; give one for each, or one mean profile"
        )
    steps = np.diff(points)
    if not np.isfinite(potentials).all() or np.ptp(steps) > 1e-3 * abs(steps[0]) or steps[0] <= 0:
        raise UserError(
            f"the reference '{path}' must have finite potentials at evenly spaced, ascending z"
        )
    return ReferenceProfile(str(path), points, potentials)


def place_reference(
    reference: ReferenceProfile,
    extent: tuple[float, float],
    cell_height: float | None,
    width: float,
) -> tuple[ReferenceProfile, np.ndarray]:
    """A reference around the slab, zero in the vacuum below it, smoothed.

    :param reference: from :func:`read_reference`.
    :param extent: lowest and highest atom in A.
    :param cell_height: of the cell in A; None if the reference is not folded into a cell.
    :param width: of the Gaussian that smooths it in A; 0 for none.
    :return: the reference, and where its points count, bool ``(n_points,)``.
    :raises UserError: for a reference that does not cover the slab and the vacuum next to it.
    """
    points, potentials = reference.points, reference.potentials
    lower, upper = points[0], points[-1]
    if cell_height is not None:
        gap = cell_height - (extent[1] - extent[0])
        start = extent[0] - 0.5 * gap
        # A hair above the seam, so that a point at it stays where it is.
        images = np.floor((points - start) / cell_height + 1e-6)
        points = points - images * cell_height
        order = np.argsort(points)
        points, potentials = points[order], potentials[:, order]
        lower, upper = extent[0] - gap / 3.0, extent[1] + gap / 3.0
    spacing = float(np.median(np.diff(points)))
    covered = points[0] <= lower + spacing and points[-1] >= upper - spacing
    if (
        not covered
        or lower >= extent[0]
        or upper <= extent[1]
        or np.diff(points).max() > (1.5 * spacing)
    ):
        raise UserError(
            f"the reference '{reference.name}' covers {points[0]:.2f} to {points[-1]:.2f} A, but "
            f"the slab is at {extent[0]:.2f} to {extent[1]:.2f} A; its z must be along the normal, "
            "from the origin of the cell, and cover the slab and the vacuum on both sides"
        )
    even = np.linspace(points[0], points[-1], len(points))
    inside = np.clip(even, lower, upper)
    rows = np.stack([np.interp(inside, points, row) for row in potentials])
    plateau = (even >= lower) & (even <= lower + 0.25 * (extent[0] - lower))
    zero = rows[:, plateau].mean(axis=1) if plateau.any() else rows[:, 0]
    rows = rows - zero[:, None]
    if width > 0.0:
        rows = smooth(even, rows, width)
    placed = ReferenceProfile(reference.name, even, rows)
    return placed, (even >= lower) & (even <= upper)


def subtract(first: ReferenceProfile, second: ReferenceProfile) -> ReferenceProfile:
    """The change from the second reference to the first.

    :raises UserError: for references on other points, or of other numbers of profiles.
    """
    same = first.points.shape == second.points.shape and np.allclose(first.points, second.points)
    if not same or first.potentials.shape != second.potentials.shape:
        raise UserError(
            f"the references '{first.name}' and '{second.name}' have different points or numbers "
            "of profiles; they must agree to be subtracted"
        )
    return ReferenceProfile(first.name, first.points, first.potentials - second.potentials)


def rmse(potentials: Sequence[np.ndarray] | np.ndarray, references: np.ndarray) -> float:
    """Root mean square difference of profiles on the same points, in V."""
    return float(np.sqrt(np.mean((np.asarray(potentials) - references) ** 2)))
