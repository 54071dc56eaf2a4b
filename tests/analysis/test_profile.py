"""Profiles of slabs: where they are, what they add up to, what is refused."""

import logging

import ase
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from helpers import slab_water
from mace_smile.analysis.charges import slabs_of_arrays
from mace_smile.analysis.profile import compute_profile
from mace_smile.analysis.settings import ProfileSettings
from mace_smile.analysis.slabs import align_slabs, film_edges, read_slab, walls
from mace_smile.analysis.summary import fields_in_film, summarize
from mace_smile.errors import UserError
from mace_smile.physics.poisson import INVERSE_VACUUM_PERMITTIVITY


def charged(height: float = 24.0, seed: int = 0) -> ase.Atoms:
    """A film of water with charges that add up to zero, between charged walls."""
    atoms = slab_water(height)
    rng = np.random.default_rng(seed)
    charges = np.where(atoms.numbers == 8, -0.8, 0.4) + 0.02 * rng.normal(size=len(atoms))
    given = atoms.arrays["electrode"] != 0
    charges[given] = atoms.arrays["electrode_charge"][given]
    charges[~given] -= charges.sum() / (~given).sum()
    atoms.arrays["q"] = charges
    return atoms


def profile_of(*frames: ase.Atoms, points=None, slab_axis=None, **settings):
    names = [f"frame {number}" for number in range(len(frames))]
    slabs = slabs_of_arrays(frames, names, "q", "electrode", slab_axis)
    return compute_profile(slabs, ProfileSettings(**settings), points)


SCREENED = [
    {"screening": "none"},
    {"screening": "uniform", "susceptibility": 0.4},
    {"screening": "profile", "susceptibility": 0.4},
    {"screening": "profile", "susceptibility": 0.4, "film_permittivity": 1.9},
    {"screening": "profile", "susceptibility": 0.4, "film_edges": (4.0, 11.0)},
]


@pytest.mark.parametrize("settings", SCREENED)
def test_the_step_is_the_dipole_of_the_cell(settings):
    atoms = charged()
    profile = profile_of(atoms, **settings)
    area = np.linalg.norm(np.cross(*atoms.cell[:2]))
    dipole = atoms.arrays["q"] @ atoms.positions[:, 2] / (1.0 + settings.get("susceptibility", 0.0))
    assert profile.dipoles[0] == pytest.approx(dipole, rel=1e-9)
    row = profile.potentials[0]
    assert row[0] == pytest.approx(0.0, abs=1e-6)
    assert row[-1] == pytest.approx(INVERSE_VACUUM_PERMITTIVITY * dipole / area, rel=1e-6)
    assert row[-1] == pytest.approx(profile.steps[0], rel=1e-6)


@pytest.mark.parametrize("settings", SCREENED[1:3])
def test_nothing_depends_on_the_cell_height_or_on_where_atoms_are_stored(settings):
    points = np.linspace(-2.0, 18.0, 101)
    expected = profile_of(charged(24.0), points=points, **settings)
    taller = profile_of(charged(60.0), points=points, **settings)
    np.testing.assert_allclose(taller.potentials, expected.potentials, atol=1e-10)
    stored = charged(24.0)
    stored.positions[::3] += stored.cell[2]
    stored.positions[1::3] -= 2 * stored.cell[2] + stored.cell[0]
    found = profile_of(stored, points=points, **settings)
    np.testing.assert_allclose(found.potentials, expected.potentials, atol=1e-9)
    without = charged(24.0)
    without.cell[2] = 0.0
    found = profile_of(without, points=points, **settings)
    np.testing.assert_allclose(found.potentials, expected.potentials, atol=1e-9)


def test_the_profile_turns_with_the_slab_and_moves_with_it():
    settings = {"screening": "profile", "susceptibility": 0.4}
    points = np.linspace(-2.0, 18.0, 101)
    expected = profile_of(charged(), points=points, **settings).potentials
    turned = charged()
    rotation = Rotation.from_euler("xyz", [20, 50, 70], degrees=True)
    turned.set_cell(rotation.apply(turned.cell))
    turned.positions = rotation.apply(turned.positions)
    found = profile_of(turned, points=points, **settings).potentials
    np.testing.assert_allclose(found, expected, atol=1e-9)
    # vacuum along the first axis
    other = charged()
    other.set_cell(other.cell[[2, 0, 1]])
    other.pbc = [False, True, True]
    found = profile_of(other, points=points, **settings).potentials
    np.testing.assert_allclose(found, expected, atol=1e-9)
    # left-handed: z is still towards the cell vector across
    left = charged()
    left.set_cell(left.cell[[1, 0, 2]])
    found = profile_of(left, points=points, **settings).potentials
    np.testing.assert_allclose(found, expected, atol=1e-9)
    moved = charged()
    moved.positions[:, 2] += 1.7
    found = profile_of(moved, points=points + 1.7, **settings).potentials
    np.testing.assert_allclose(found, expected, atol=1e-9)


def test_a_slab_that_drifts_across_the_boundary_is_averaged_as_one():
    """Its middle is at the boundary of the cell; half of the frames are on the other side."""
    frames = []
    for shift in (-0.2, 0.2, -0.1, 0.1):
        atoms = charged()
        heights = atoms.positions[:, 2]
        atoms.positions[:, 2] += shift - 0.5 * (heights.min() + heights.max())
        atoms.wrap(pbc=True)
        frames.append(atoms)
    profile = profile_of(*frames)
    assert np.ptp(profile.film.mean(axis=1)) < 0.5
    assert profile.extent[1] - profile.extent[0] < 12.0
    np.testing.assert_allclose(profile.steps, profile.steps[0], rtol=1e-9)


def test_three_periodic_axes_and_a_slab_axis_are_a_slab():
    atoms = charged()
    atoms.pbc = True
    found = profile_of(atoms, slab_axis=2)
    np.testing.assert_allclose(found.steps, profile_of(charged()).steps)


def test_one_permittivity_serves_all_frames_and_the_film_follows_its_walls():
    narrow, wide = charged(), charged()
    wide.positions[wide.numbers == 10, 2] += [-0.2, 0.2]
    profile = profile_of(narrow, wide, screening="profile", susceptibility=0.4)
    distances = profile.walls[:, 1] - profile.walls[:, 0]
    np.testing.assert_allclose(np.diff(distances), 0.4)
    thickness = profile.film[:, 1] - profile.film[:, 0]
    gaps = distances - thickness
    np.testing.assert_allclose(distances / (gaps + thickness / profile.permittivity), 1.4)
    edges = np.array(
        [
            film_edges(slab)
            for slab in slabs_of_arrays([narrow, wide], ["a", "b"], "q", "electrode", None)
        ]
    )
    assert thickness.mean() == pytest.approx(np.ptp(edges, axis=1).mean(), rel=1e-6)


def test_films_end_a_covalent_radius_beyond_their_outermost_atoms():
    atoms = charged()
    slab = slabs_of_arrays([atoms], ["a"], "q", "electrode", None)[0]
    lower, upper = film_edges(slab)
    film = atoms[atoms.numbers != 10]
    radii = np.where(film.numbers == 8, 0.66, 0.31)
    assert lower == pytest.approx((film.positions[:, 2] - radii).min())
    assert upper == pytest.approx((film.positions[:, 2] + radii).max())
    assert walls(slab, 7.0) == pytest.approx((2.8, 12.4))


def test_rounded_charges_are_made_neutral_and_others_refused():
    rounded = charged()
    rounded.arrays["q"] = rounded.arrays["q"].round(3)
    profile = profile_of(rounded)
    row = profile.potentials[0]
    np.testing.assert_allclose(row[-5:], row[-1], atol=1e-9)
    bad = charged()
    bad.arrays["q"][0] += 0.1
    with pytest.raises(UserError, match="frame 0 add up to 0.1000 e but must add up to 0"):
        profile_of(bad)


def test_given_charges_on_several_layers_are_told(caplog):
    atoms = charged()
    atoms += ase.Atoms("Ne", [[3.0, 3.0, 1.3]])
    atoms.arrays["electrode"][-1] = 1
    atoms.arrays["q"][-1] = 0.5
    atoms.arrays["q"][atoms.numbers == 10] -= [0.3, 0.0, 0.2]
    with caplog.at_level(logging.WARNING):
        profile_of(atoms, screening="uniform", susceptibility=0.4)
    assert not caplog.records
    with caplog.at_level(logging.WARNING):
        profile_of(atoms, screening="profile", susceptibility=0.4)
    assert "do not lie on one plane on each side" in caplog.text


def test_field_in_the_film_and_errors_of_the_mean():
    """Two frames that differ by the walls' charge: the field is the mean, the error known."""
    frames = [charged(), charged()]
    for atoms, q in zip(frames, (0.1, 0.3), strict=True):
        atoms.arrays["q"][:] = 0.0
        atoms.arrays["q"][-2:] = [q, -q]
    profile = profile_of(*frames, width=0.2)
    area = np.linalg.norm(np.cross(*frames[0].cell[:2]))
    unit = INVERSE_VACUUM_PERMITTIVITY / area
    fields = fields_in_film(profile.points, profile.potentials, profile.film)
    np.testing.assert_allclose(fields, [0.1 * unit, 0.3 * unit], rtol=1e-6)
    mean = summarize(profile, 10, [2.0])
    assert mean.numbers["field_in_film"] == pytest.approx(0.2 * unit, rel=1e-6)
    assert mean.numbers["field_in_film_error"] == pytest.approx(0.1 * unit, rel=1e-6)
    assert mean.potential_error[0] == pytest.approx(0.0, abs=1e-9)
    assert mean.potential_error[-1] == pytest.approx(0.1 * unit * 9.6, rel=1e-6)
    change = profile.minus(1)
    np.testing.assert_allclose(change.steps, profile.steps[:1] - profile.steps[1:])
    assert change.potentials.shape == (1, len(profile.points))


def _set(key, value):
    return lambda atoms: setattr(atoms, key, value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_set("pbc", True), "frame 0 is periodic along all three axes, and a potential profile"),
        (_set("pbc", False), "frame 0 has pbc .* needs a slab"),
        (_set("pbc", [True, False, False]), "frame 0 has pbc .* needs a slab"),
        (lambda atoms: atoms.cell.__setitem__(2, [0, 0, 12.0]), "frame 0: .* no vacuum gap"),
        (lambda atoms: atoms.cell.__setitem__(2, [1.0, 0, 24.0]), "is not perpendicular"),
        (lambda atoms: atoms.arrays.pop("q"), "frame 0 has no array 'q' [(]--charges_key"),
        (lambda atoms: atoms.arrays.pop("electrode"), "no array 'electrode' [(]--given_mask_key"),
        (lambda atoms: atoms.set_array("q", atoms.positions, shape=(3,)), "one number an atom"),
        (lambda atoms: atoms.arrays["q"].__setitem__(0, np.nan), "not finite numbers"),
    ],
)
def test_structures_without_a_profile_are_refused(change, message):
    atoms = charged()
    if "one number" in message:
        del atoms.arrays["q"]
    change(atoms)
    with pytest.raises(UserError, match=message):
        profile_of(atoms)


def test_a_slab_axis_that_contradicts_the_structure_is_refused():
    with pytest.raises(UserError, match="all cell axes but 2, while the slab axis is 0"):
        profile_of(charged(), slab_axis=0)
    with pytest.raises(UserError, match="has no atoms"):
        read_slab(ase.Atoms(cell=[5, 5, 20], pbc=[True, True, False]), None, "frame 0")


def test_cells_of_different_size_are_not_averaged():
    other = charged()
    other.cell[0] *= 1.05
    with pytest.raises(UserError, match="the area of the cells of frame 0 and frame 1 are"):
        profile_of(charged(), other)
    with pytest.raises(UserError, match="the height of the cells of frame 0 and frame 1 are"):
        profile_of(charged(24.0), charged(25.0))
    flat = charged()
    flat.cell[2] = 0.0
    with pytest.raises(UserError, match="24.000 A and none"):
        profile_of(charged(), flat)
    slabs = [read_slab(charged(height), None, "x") for height in (24.0, 24.1)]
    assert len(align_slabs(slabs)) == 2


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"screening": "all"}, "must be one of uniform, profile, none"),
        ({"susceptibility": -1.0}, "--susceptibility is -1.0 but must be above -1"),
        ({"given_susceptibility": -2.0}, "--given_susceptibility is -2.0"),
        ({"width": 0.0}, "--width is 0.0 but must be positive"),
        ({"spacing": -1.0}, "--spacing is -1.0"),
        ({"film_permittivity": 1.6}, "serve --screening profile only"),
        (
            {"screening": "profile", "film_permittivity": 1.6, "film_edges": (1.0, 2.0)},
            "one follows from the other",
        ),
        ({"screening": "profile", "film_edges": (2.0, 1.0)}, "the lower and the upper one"),
        ({"screening": "profile"}, "must be positive for a dielectric film"),
        (
            {"screening": "profile", "susceptibility": 0.4, "film_permittivity": 1.2},
            "must be at least 1 [+] chi = 1.400",
        ),
        (
            {"screening": "profile", "susceptibility": 0.4, "film_edges": (1.0, 11.0)},
            "must lie between the given charges, at 2.80 and 12.40 A",
        ),
        (
            {"screening": "profile", "susceptibility": 0.4, "film_edges": (5.0, 7.0)},
            "give wider film edges",
        ),
    ],
)
def test_settings_that_cannot_be_are_refused(settings, message):
    with pytest.raises(UserError, match=message):
        profile_of(charged(), **settings)


def test_profile_screening_needs_walls_on_both_sides():
    atoms = charged()
    atoms.arrays["electrode"][-1] = 0
    with pytest.raises(UserError, match="no atoms with given charges on both sides"):
        profile_of(atoms, screening="profile", susceptibility=0.4)
