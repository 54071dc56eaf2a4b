"""Figure of a potential profile: phi(z) above, the charge density below."""

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from mace_smile.analysis.profile import PotentialProfile
from mace_smile.analysis.summary import MeanProfile


def _band(axes: Axes, points: np.ndarray, error: np.ndarray, middle: np.ndarray) -> None:
    """The standard error around a line, where there is one."""
    if np.isfinite(error).all():
        axes.fill_between(
            points,
            middle - error,
            middle + error,
            color="C0",
            alpha=0.3,
            lw=0,
            label="standard error",
        )


def _mark_places(axes: Axes, profile: PotentialProfile) -> None:
    """Shade the film and draw the walls, at their mean places."""
    lower, upper = profile.film.mean(axis=0)
    title = "film"
    if profile.permittivity is not None:
        title = f"film, $\\epsilon$ = {profile.permittivity:.2f}"
    axes.axvspan(lower, upper, color="C9", alpha=0.12, lw=0, label=title)
    if profile.walls is not None:
        for number, height in enumerate(profile.walls.mean(axis=0)):
            label = "given charges" if number == 0 else None
            axes.axvline(height, color="0.4", ls=":", lw=1.2, label=label)


def draw_profile(
    path: Path, mean: MeanProfile, profile: PotentialProfile, title: str, is_change: bool
) -> None:
    """Write the figure.

    :param path: of the file; its ending chooses the format.
    :param mean: what to draw.
    :param profile: where film and walls are.
    :param title: settings in a line.
    :param is_change: the curves are changes between two sets of structures.
    """
    figure = Figure(figsize=(7.5, 7.0), layout="constrained")
    FigureCanvasAgg(figure)
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(2, 1))
    points = mean.points
    for axes in (upper, lower):
        _mark_places(axes, profile)
        axes.axhline(0.0, color="0.8", lw=0.8, zorder=0)
    _band(upper, points, mean.potential_error, mean.potential)
    upper.plot(points, mean.potential, color="C0", label="model")
    if mean.macroscopic is not None:
        upper.plot(points, mean.macroscopic, color="C1", lw=2, label="macroscopic average")
    if mean.reference is not None:
        upper.plot(points, mean.reference, color="black", ls="--", lw=1.2, label="reference")
    _band(lower, points, mean.density_error, mean.density)
    lower.plot(points, mean.density, color="C0")
    potential, density = "Potential (V)", "Charge density (e/Å³)"
    if is_change:
        potential, density = "Change of potential (V)", "Change of charge\ndensity (e/Å³)"
    upper.set(ylabel=potential, title=title)
    lower.set(xlabel="Height along the normal, z (Å)", ylabel=density)
    lower.set_xlim(points[0], points[-1])
    upper.legend(fontsize="small")
    figure.savefig(path, dpi=150)
