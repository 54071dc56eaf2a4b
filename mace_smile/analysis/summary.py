"""What a potential profile says: mean and error over structures, steps, slopes, deviations."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mace_smile.analysis.averages import block_error, macroscopic_average
from mace_smile.analysis.profile import PotentialProfile
from mace_smile.analysis.reference import ReferenceProfile, rmse

#: Part of the film, around its middle, over which the slope of the potential is taken.
INNER_FILM = 2.0 / 3.0


@dataclass(frozen=True)
class MeanProfile:
    """Averages over structures; ``n_points`` numbers an array, errors are standard errors."""

    points: np.ndarray
    """Heights in A."""
    potential: np.ndarray
    """Mean phi(z) in V."""
    potential_error: np.ndarray
    """In V; nan for a single structure."""
    density: np.ndarray
    """Mean charge density, not screened, in e/A^3."""
    density_error: np.ndarray
    """In e/A^3."""
    macroscopic: np.ndarray | None
    """Macroscopic average of the potential in V."""
    macroscopic_error: np.ndarray | None
    """In V."""
    reference: np.ndarray | None
    """Mean reference potential in V."""
    counted: np.ndarray | None
    """True where the reference counts."""
    numbers: dict[str, float]
    """``step``, ``step_error`` (V), ``dipole`` (e A), ``field_in_film`` and its error (V/A);
    with a reference ``rmse``, ``rmse_of_mean``, ``rmse_of_step`` and, with windows,
    ``rmse_macroscopic`` (V), and ``reference_field_in_film`` (V/A)."""


def inner_film(points: np.ndarray, film: np.ndarray) -> np.ndarray:
    """Which points are in the inner part of the film.

    :param points: heights in A.
    :param film: lower and upper edge in A, ``(2,)``.
    :return: bool, shape of ``points``.
    """
    half = 0.5 * INNER_FILM * (film[1] - film[0])
    inside = np.abs(points - film.mean()) <= half
    if inside.sum() < 2:
        inside[np.argsort(np.abs(points - film.mean()))[:2]] = True
    return inside


def fields_in_film(points: np.ndarray, potentials: np.ndarray, film: np.ndarray) -> np.ndarray:
    """Minus the slopes of straight lines through the potentials in the inner film.

    :param points: heights in A, ``(n_points,)``.
    :param potentials: in V, ``(n_frames, n_points)``.
    :param film: edges in A, ``(n_frames, 2)``.
    :return: in V/A, ``(n_frames,)``.
    """
    fields = []
    for row, edges in zip(potentials, film, strict=True):
        inside = inner_film(points, edges)
        fields.append(-np.polyfit(points[inside], row[inside], 1)[0])
    return np.array(fields)


def summarize(
    profile: PotentialProfile,
    n_blocks: int,
    windows: Sequence[float] = (),
    reference: ReferenceProfile | None = None,
    counted: np.ndarray | None = None,
) -> MeanProfile:
    """Averages of a profile over its structures, and how far a reference is.

    :param profile: from :func:`mace_smile.analysis.profile.compute_profile`.
    :param n_blocks: blocks of successive structures the errors come from.
    :param windows: of the macroscopic average in A.
    :param reference: on the points of the profile.
    :param counted: where the reference counts, bool ``(n_points,)``.
    """
    points = profile.points
    fields = fields_in_film(points, profile.potentials, profile.film)
    numbers = {
        "n_frames": float(len(profile.potentials)),
        "dipole": float(profile.dipoles.mean()),
        "step": float(profile.steps.mean()),
        "step_error": float(block_error(profile.steps, n_blocks)),
        "field_in_film": float(fields.mean()),
        "field_in_film_error": float(block_error(fields, n_blocks)),
    }
    macroscopic = None
    if windows:
        macroscopic = macroscopic_average(points, profile.potentials, windows)
    mean_reference = None
    if reference is not None and counted is not None:
        rows = np.broadcast_to(reference.potentials, profile.potentials.shape)
        mean_reference = rows.mean(axis=0)
        numbers |= {
            "rmse_of_mean": rmse(profile.potentials.mean(axis=0)[counted], mean_reference[counted]),
            "reference_field_in_film": float(fields_in_film(points, rows, profile.film).mean()),
            "reference_step": float(rows[:, -1].mean()),
        }
        if not reference.is_mean:
            numbers |= {
                "rmse": rmse(profile.potentials[:, counted], rows[:, counted]),
                "rmse_of_step": rmse(profile.steps, rows[:, -1]),
            }
        if macroscopic is not None:
            averaged = macroscopic_average(points, mean_reference, windows)
            mean = macroscopic.mean(axis=0)
            numbers["rmse_macroscopic"] = rmse(mean[counted], averaged[counted])
    return MeanProfile(
        points=points,
        potential=profile.potentials.mean(axis=0),
        potential_error=block_error(profile.potentials, n_blocks),
        density=profile.densities.mean(axis=0),
        density_error=block_error(profile.densities, n_blocks),
        macroscopic=None if macroscopic is None else macroscopic.mean(axis=0),
        macroscopic_error=None if macroscopic is None else block_error(macroscopic, n_blocks),
        reference=mean_reference,
        counted=counted,
        numbers=numbers,
    )


def describe(mean: MeanProfile, profile: PotentialProfile) -> str:
    """A few lines for people."""
    numbers = mean.numbers

    def with_error(name: str, unit: str, digits: int) -> str:
        error = numbers[f"{name}_error"]
        band = "" if np.isnan(error) else f" +- {error:.{digits}f}"
        return f"{numbers[name]:.{digits}f}{band} {unit}"

    lines = [
        f"structures           {numbers['n_frames']:.0f}",
        f"dipole               {numbers['dipole']:.4f} e A",
        f"step of potential    {with_error('step', 'V', 4)}",
        f"mean field in film   {with_error('field_in_film', 'V/A', 5)}",
    ]
    if profile.permittivity is not None:
        lower, upper = profile.film.mean(axis=0)
        lines.append(
            f"dielectric film      {lower:.2f} to {upper:.2f} A, eps_film "
            f"{profile.permittivity:.3f}"
        )
    for name, title, unit in (
        ("reference_step", "reference: step", "V"),
        ("reference_field_in_film", "reference: field", "V/A"),
        ("rmse_of_mean", "RMSE of mean phi", "V"),
        ("rmse", "RMSE of each phi", "V"),
        ("rmse_of_step", "RMSE of steps", "V"),
        ("rmse_macroscopic", "RMSE, macroscopic", "V"),
    ):
        if name in numbers:
            lines.append(f"{title:20s} {numbers[name]:.5f} {unit}")
    return "\n".join(lines)
