"""Charge density and potential of slabs along their normal, structure by structure."""

import dataclasses
import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from mace_smile.analysis.settings import ProfileSettings
from mace_smile.analysis.slabs import ChargedSlab, align_slabs, film_edges, walls
from mace_smile.errors import UserError
from mace_smile.physics.dielectric_film import (
    DielectricFilm,
    film_permittivity,
    place_film,
    screen_by_film,
    screen_uniformly,
)
from mace_smile.physics.poisson import (
    planar_charge_density,
    potential_step,
    slab_potential,
)

logger = logging.getLogger(__name__)

#: Vacuum in A that is shown on both sides of the slab, where the cell has as much.
SHOWN_VACUUM = 5.0
#: Relative difference of the step from mu / (eps0 A) above which it is told.
STEP_TOLERANCE = 0.01


@dataclass(frozen=True)
class PotentialProfile:
    """Profiles of ``n_frames`` slabs at ``n_points`` heights, and where things are."""

    points: np.ndarray
    """Heights z along the normal in A, ``(n_points,)``."""
    densities: np.ndarray
    """Planar average of the response charges, not screened, in e/A^3, ``(n_frames, n_points)``."""
    potentials: np.ndarray
    """phi(z) in V, zero below the slab, ``(n_frames, n_points)``."""
    dipoles: np.ndarray
    """mu^tot along the normal in e A, ``(n_frames,)``."""
    steps: np.ndarray
    """mu^tot / (eps0 A) in V, ``(n_frames,)``."""
    film: np.ndarray
    """Lower and upper edge of the film in A, ``(n_frames, 2)``."""
    walls: np.ndarray | None
    """Heights of the given charges below and above in A, ``(n_frames, 2)``; None without."""
    permittivity: float | None
    """eps_film; None without a film that screens."""
    extent: tuple[float, float]
    """Lowest and highest atom of all slabs in A."""
    cell_height: float | None
    """In A; None where the cell has none."""

    def minus(self, n_first: int) -> "PotentialProfile":
        """The change from the last slabs to the first ``n_first`` ones, one by one."""
        first, last = slice(None, n_first), slice(n_first, None)

        def change(values: np.ndarray) -> np.ndarray:
            return values[first] - values[last]

        return dataclasses.replace(
            self,
            densities=change(self.densities),
            potentials=change(self.potentials),
            dipoles=change(self.dipoles),
            steps=change(self.steps),
            film=self.film[first],
            walls=None if self.walls is None else self.walls[first],
        )


def choose_films(slabs: Sequence[ChargedSlab], settings: ProfileSettings) -> list[DielectricFilm]:
    """The dielectric film of each slab: one permittivity for all, thick as its walls ask for.

    :param slabs: with given atoms on both sides of the film.
    :param settings: with ``screening`` profile.
    :raises UserError: for films that cannot be.
    """
    edges = np.array([settings.film_edges or film_edges(slab) for slab in slabs])
    centres = edges.mean(axis=1)
    places = np.array([walls(slab, centre) for slab, centre in zip(slabs, centres, strict=True)])
    if (
        settings.film_edges is not None
        and ((edges[:, 0] <= places[:, 0]) | (edges[:, 1] >= places[:, 1])).any()
    ):
        raise UserError(
            f"--film_edges are {settings.film_edges[0]} and {settings.film_edges[1]} A but must "
            f"lie between the given charges, at {places[:, 0].max():.2f} and "
            f"{places[:, 1].min():.2f} A"
        )
    chi = settings.susceptibility_of_given
    distance = float((places[:, 1] - places[:, 0]).mean())
    try:
        permittivity = settings.film_permittivity
        if permittivity is None:
            thickness = float((edges[:, 1] - edges[:, 0]).mean())
            permittivity = film_permittivity(thickness, distance, chi)
        return [
            place_film(float(centre), permittivity, float(lower), float(upper), chi)
            for centre, (lower, upper) in zip(centres, places, strict=True)
        ]
    except ValueError as error:
        raise UserError(f"--screening profile: {error}") from error


def compute_profile(
    slabs: Sequence[ChargedSlab], settings: ProfileSettings, points: np.ndarray | None = None
) -> PotentialProfile:
    """Charge density and potential of slabs along their normal.

    :param slabs: of cells of one size.
    :param settings: how.
    :param points: heights in A, ascending; None covers the slabs and some vacuum.
    :raises UserError: for cells of different sizes, and films that cannot be.
    """
    moved = [slab for slab in align_slabs(slabs) if isinstance(slab, ChargedSlab)]
    films = choose_films(moved, settings) if settings.screening == "profile" else []
    extent = (
        min(float(slab.heights.min()) for slab in moved),
        max(float(slab.heights.max()) for slab in moved),
    )
    if points is None:
        points = default_points(extent, moved[0].cell_height, settings)
    screened = [
        _screen(slab, settings, films[number] if films else None)
        for number, slab in enumerate(moved)
    ]
    grid = torch.from_numpy(np.asarray(points, dtype=float))
    potentials = [
        slab_potential(grid, heights, charges, dipoles, settings.width, slab.area).numpy()
        for slab, (charges, dipoles, heights) in zip(moved, screened, strict=True)
    ]
    densities = [
        planar_charge_density(grid, *_bare(slab), settings.width, slab.area).numpy()
        for slab in moved
    ]
    references = [film.balance_point for film in films] or [_film_centre(slab) for slab in moved]
    dipoles = np.array(
        [observed_dipole(slab, settings, z) for slab, z in zip(moved, references, strict=True)]
    )
    steps = np.array(
        [potential_step(mu, slab.area) for mu, slab in zip(dipoles, moved, strict=True)]
    )
    _check_steps(screened, dipoles)
    has_walls = all(_has_walls(slab) for slab in moved)
    edges = [(film.lower, film.upper) for film in films] or [film_edges(slab) for slab in moved]
    return PotentialProfile(
        points=np.asarray(points, dtype=float),
        densities=np.stack(densities),
        potentials=np.stack(potentials),
        dipoles=dipoles,
        steps=steps,
        film=np.array(edges),
        walls=np.array([walls(slab, slab.middle) for slab in moved]) if has_walls else None,
        permittivity=films[0].permittivity if films else None,
        extent=extent,
        cell_height=moved[0].cell_height,
    )


def default_points(
    extent: tuple[float, float], cell_height: float | None, settings: ProfileSettings
) -> np.ndarray:
    """Heights that cover the slabs and some vacuum on both sides, in A."""
    margin = max(SHOWN_VACUUM, 5.0 * settings.width)
    if cell_height is not None:
        margin = min(margin, max(0.0, 0.5 * (cell_height - (extent[1] - extent[0]))))
    length = extent[1] - extent[0] + 2.0 * margin
    return np.linspace(
        extent[0] - margin, extent[1] + margin, max(2, math.ceil(length / settings.spacing) + 1)
    )


def observed_dipole(slab: ChargedSlab, settings: ProfileSettings, reference: float) -> float:
    """mu^tot along the normal in e A: what the step of the potential must be.

    :param slab: with its charges.
    :param settings: for the susceptibilities.
    :param reference: height in A that the dipoles of film and given charges refer to. It matters
        only with two susceptibilities and a net charge of the film.
    """
    if settings.screening == "none":
        return float(slab.charges @ slab.heights + slab.dipoles.sum())
    chi, given = settings.susceptibility, settings.susceptibility_of_given
    film = ~slab.is_given
    moments = slab.charges * (slab.heights - reference)
    of_film = float(moments[film].sum() + slab.dipoles.sum())
    return of_film / (1.0 + chi) + float(moments[slab.is_given].sum()) / (1.0 + given)


def _film_centre(slab: ChargedSlab) -> float:
    """Mean height of the atoms whose charges are not given in A; 0 where all are given."""
    film = ~slab.is_given
    return float(slab.heights[film].mean()) if film.any() else 0.0


def _bare(slab: ChargedSlab) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Heights in A, charges in e and dipoles in e A of a slab, as tensors."""
    heights, charges, dipoles = (
        torch.from_numpy(np.array(values, dtype=float))
        for values in (slab.heights, slab.charges, slab.dipoles)
    )
    return heights, charges, dipoles


def _screen(
    slab: ChargedSlab, settings: ProfileSettings, film: DielectricFilm | None
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Charges in e, dipoles in e A and heights in A whose bare potential is the screened one."""
    heights, charges, dipoles = _bare(slab)
    is_given = torch.from_numpy(slab.is_given)
    chi = settings.susceptibility
    if settings.screening == "none":
        return charges, dipoles, heights
    if film is not None:
        return screen_by_film(charges, dipoles, heights, is_given, chi, film)
    given_chi = settings.susceptibility_of_given
    screened = screen_uniformly(charges, dipoles, heights, is_given, chi, given_chi)
    return (*screened, heights)


def _has_walls(slab: ChargedSlab) -> bool:
    """Whether given charges are on both sides of the middle of the slab."""
    heights = slab.heights[slab.is_given]
    return bool((heights < slab.middle).any() and (heights > slab.middle).any())


def _check_steps(
    screened: Sequence[tuple[torch.Tensor, torch.Tensor, torch.Tensor]], dipoles: np.ndarray
) -> None:
    """Tell where screening by a film does not give the dipole of the cell.

    That happens when given charges do not lie on two planes, one on each side.
    """
    found = np.array([float(q @ z + d.sum()) for q, d, z in screened])
    size = float(np.sqrt(np.mean(dipoles**2)))
    worst = float(np.abs(found - dipoles).max())
    if worst > STEP_TOLERANCE * size and worst > 1e-6:
        logger.warning(
            "the step of the potential differs from mu / (eps0 A) by up to %.1f percent of its "
            "root mean square: the given charges do not lie on one plane on each side of the "
            "film; --screening uniform has no such error",
            100.0 * worst / size,
        )
