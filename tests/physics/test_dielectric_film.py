"""A dielectric film between walls: what it screens, and how it is tied to chi."""

import pytest
import torch

from mace_smile.physics.dielectric_film import (
    DielectricFilm,
    film_permittivity,
    film_thickness,
    place_film,
    screen_by_film,
    screen_uniformly,
    split_net_charge,
)
from mace_smile.physics.poisson import INVERSE_VACUUM_PERMITTIVITY, slab_potential

AREA, CHI, PERMITTIVITY = 60.84, 0.41, 1.65
LOWER, UPPER = 5.0, 17.0
POINTS = torch.linspace(-5.0, 27.0, 6401, dtype=torch.float64)


def potential(heights, charges, dipoles, width=0.05, points=POINTS):
    return slab_potential(points, heights, charges, dipoles, width, AREA)


def density_of(heights, charges, width):
    """Planar average of Gaussian charges in e/A^3, written out."""
    norm = width * (2 * torch.pi) ** 0.5 * AREA
    return torch.exp(-0.5 * ((POINTS[:, None] - heights) / width) ** 2) @ charges / norm


def solved(density: torch.Tensor, permittivity: torch.Tensor) -> torch.Tensor:
    """d/dz (eps dphi/dz) = -rho / eps0 by sums over the points, D = 0 below; rho in e/A^3."""
    displacement = torch.cumulative_trapezoid(density, POINTS)
    displacement = torch.cat([torch.zeros(1), displacement])
    field = INVERSE_VACUUM_PERMITTIVITY * displacement / permittivity
    return torch.cat([torch.zeros(1), -torch.cumulative_trapezoid(field, POINTS)])


def permittivities(film: DielectricFilm) -> torch.Tensor:
    inside = (film.lower < POINTS) & (film.upper > POINTS)
    return torch.where(inside, film.permittivity, 1.0)


def film_of_molecules(seed: int, net: float, centre: float = 11.0):
    """Walls and a film: heights, charges, dipoles and mask; all charges add up to zero."""
    generator = torch.Generator().manual_seed(seed)
    n_film = 30
    heights = torch.cat(
        [
            torch.tensor([LOWER, UPPER]),
            centre + 7.0 * (torch.rand(n_film, generator=generator) - 0.5),
        ]
    )
    charges = torch.randn(n_film, generator=generator)
    charges = charges - charges.mean() + net / n_film
    charges = torch.cat([torch.tensor([0.05 - 0.7 * net, -0.05 - 0.3 * net]), charges])
    dipoles = torch.cat([torch.zeros(2), 0.2 * torch.randn(n_film, generator=generator)])
    is_given = torch.arange(n_film + 2) < 2
    return heights, charges, dipoles, is_given


def step_of(heights, charges, dipoles):
    return INVERSE_VACUUM_PERMITTIVITY / AREA * float(charges @ heights + dipoles.sum())


def test_field_inside_a_film_is_the_external_one_by_its_permittivity():
    film = place_film(11.0, PERMITTIVITY, LOWER, UPPER, CHI)
    heights, charges = torch.tensor([LOWER, UPPER]), torch.tensor([0.05, -0.05])
    given = torch.tensor([True, True])
    screened, dipoles, places = screen_by_film(charges, torch.zeros(2), heights, given, CHI, film)
    bare = potential(heights, charges, torch.zeros(2))
    profile = potential(places, screened, dipoles)
    for low, high, ratio in (
        (film.lower + 0.5, film.upper - 0.5, 1.0 / PERMITTIVITY),
        (LOWER + 0.5, film.lower - 0.5, 1.0),
        (film.upper + 0.5, UPPER - 0.5, 1.0),
    ):
        part = (low < POINTS) & (high > POINTS)
        assert part.sum() > 10
        torch.testing.assert_close(
            torch.diff(profile[part]), ratio * torch.diff(bare[part]), rtol=1e-6, atol=1e-12
        )
    # The walls together are screened by 1 + chi.
    assert float(profile[-1]) == pytest.approx(float(bare[-1]) / (1.0 + CHI), rel=1e-10)
    assert float(profile[0]) == pytest.approx(0.0, abs=1e-10)


def test_given_charges_are_screened_as_poissons_equation_with_eps_of_z_says():
    """Also with a wall charge inside the film."""
    film = DielectricFilm(7.0, 15.0, PERMITTIVITY, 11.0)
    heights = torch.tensor([LOWER, 9.0, UPPER])
    charges = torch.tensor([0.05, 0.03, -0.08])
    given = torch.ones(3, dtype=torch.bool)
    screened, dipoles, places = screen_by_film(charges, torch.zeros(3), heights, given, CHI, film)
    width = 0.05
    density = density_of(heights, charges, width)
    expected = solved(density, permittivities(film))
    # The kinks at the edges are smoothed in one and sharp in the other.
    torch.testing.assert_close(potential(places, screened, dipoles), expected, rtol=0, atol=2e-3)
    assert expected.abs().max() > 0.5


def test_the_true_density_of_a_film_is_the_learned_one_by_the_two_screenings():
    """Learned under 1 / (1 + chi), screened by eps: times eps / (1 + chi) gives the dipole."""
    film = place_film(11.0, PERMITTIVITY, LOWER, UPPER, CHI)
    inside = torch.tensor([9.0, 10.5, 12.0])
    learned = torch.tensor([0.4, -0.7, 0.3])
    width = 0.2
    density = density_of(inside, learned, width)
    step = INVERSE_VACUUM_PERMITTIVITY / AREA * float(learned @ inside) / (1.0 + CHI)
    scaled = solved(density * film.permittivity / (1.0 + CHI), permittivities(film))
    assert float(scaled[-1]) == pytest.approx(step, rel=1e-4)
    unscaled = solved(density, permittivities(film))
    assert float(unscaled[-1]) == pytest.approx(step * (1.0 + CHI) / PERMITTIVITY, rel=1e-4)
    # and it is what screen_by_film does
    given = torch.zeros(3, dtype=torch.bool)
    sources = screen_by_film(learned, torch.zeros(3), inside, given, CHI, film)
    found = potential(sources[2], sources[0], sources[1], width)
    torch.testing.assert_close(found, scaled, rtol=0, atol=1e-4)


@pytest.mark.parametrize("centre", [11.0, 10.2])
def test_a_neutral_film_has_one_potential_in_both_pictures(centre):
    heights, charges, dipoles, is_given = film_of_molecules(1, 0.0, centre)
    charges = torch.where(is_given, 0.0, charges)
    film = place_film(centre, PERMITTIVITY, LOWER, UPPER, CHI)
    sources = screen_by_film(charges, dipoles, heights, is_given, CHI, film)
    uniform = screen_uniformly(charges, dipoles, heights, is_given, CHI, CHI)
    torch.testing.assert_close(
        potential(sources[2], sources[0], sources[1]), potential(heights, *uniform)
    )


@pytest.mark.parametrize("net", [0.0, 2.0, -1.0])
@pytest.mark.parametrize("centre", [11.0, 10.2, 12.5])
def test_the_step_is_the_dipole_by_one_plus_chi_in_both_pictures(net, centre):
    heights, charges, dipoles, is_given = film_of_molecules(2, net, centre)
    film = place_film(centre, PERMITTIVITY, LOWER, UPPER, CHI)
    screened, moments, places = screen_by_film(charges, dipoles, heights, is_given, CHI, film)
    expected = step_of(heights, charges, dipoles) / (1.0 + CHI)
    assert float(screened.sum()) == pytest.approx(0.0, abs=1e-12)
    assert step_of(places, screened, moments) == pytest.approx(expected, rel=1e-10)
    assert float(potential(places, screened, moments)[-1]) == pytest.approx(expected, rel=1e-8)
    uniform = screen_uniformly(charges, dipoles, heights, is_given, CHI, CHI)
    torch.testing.assert_close(uniform[0], charges / (1.0 + CHI))
    assert step_of(heights, *uniform) == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize("net", [0.0, 1.0])
def test_two_susceptibilities_leave_no_field_outside_and_do_not_depend_on_the_origin(net):
    heights, charges, dipoles, is_given = film_of_molecules(3, net)
    steps = []
    for shift in (0.0, 30.0):
        screened, moments = screen_uniformly(
            charges, dipoles, heights + shift, is_given, 0.65, 0.41
        )
        assert float(screened.sum()) == pytest.approx(0.0, abs=1e-12)
        steps.append(step_of(heights + shift, screened, moments))
    assert steps[1] == pytest.approx(steps[0], rel=1e-9)
    if net == 0.0:
        of_film = float(charges[~is_given] @ heights[~is_given] + dipoles.sum()) / 1.65
        of_walls = float(charges[is_given] @ heights[is_given]) / 1.41
        expected = INVERSE_VACUUM_PERMITTIVITY / AREA * (of_film + of_walls)
        assert steps[0] == pytest.approx(expected, rel=1e-10)


def test_permittivity_thickness_and_susceptibility_are_tied():
    thickness = film_thickness(PERMITTIVITY, 12.0, CHI)
    assert film_permittivity(thickness, 12.0, CHI) == pytest.approx(PERMITTIVITY)
    assert 12.0 / (12.0 - thickness + thickness / PERMITTIVITY) == pytest.approx(1.0 + CHI)
    # without gaps the film is all there is
    assert film_thickness(1.0 + CHI, 12.0, CHI) == pytest.approx(12.0)


def test_a_film_that_would_reach_over_a_wall_touches_it():
    film = place_film(6.0, PERMITTIVITY, LOWER, UPPER, CHI)
    assert film.lower == pytest.approx(LOWER)
    assert film.balance_point == pytest.approx(LOWER)
    middle = place_film(11.0, PERMITTIVITY, LOWER, UPPER, CHI)
    assert middle.balance_point == pytest.approx(11.0)


@pytest.mark.parametrize(
    ("function", "arguments", "message"),
    [
        (film_permittivity, (12.5, 12.0, CHI), "must fit between the walls"),
        (film_permittivity, (0.0, 12.0, CHI), "must fit between the walls"),
        (film_permittivity, (3.0, 12.0, CHI), "even as a metal; give wider film edges"),
        (film_permittivity, (9.0, 12.0, 0.0), "must be positive for a dielectric film"),
        (film_thickness, (1.3, 12.0, CHI), "must be at least 1 [+] chi = 1.410"),
        (film_thickness, (1.65, 12.0, 0.0), "must be positive for a dielectric film"),
    ],
)
def test_films_that_cannot_be_are_refused(function, arguments, message):
    with pytest.raises(ValueError, match=message):
        function(*arguments)


def test_a_net_charge_is_spread_over_the_film_around_a_centre():
    heights, charges, _, is_given = film_of_molecules(4, 2.0)
    spread = split_net_charge(charges, heights, is_given, 9.7)
    assert float(spread.sum()) == pytest.approx(2.0)
    assert float(spread @ heights) == pytest.approx(2.0 * 9.7)
    assert not spread[is_given].any()
    flat = torch.full_like(heights, 3.0)
    assert float(split_net_charge(charges, flat, is_given, 9.7) @ flat) == pytest.approx(6.0)
    nothing = split_net_charge(charges, heights, torch.ones_like(is_given), None)
    assert not nothing.any()
