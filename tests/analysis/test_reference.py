"""Reference potentials: brought to the slab, their zero, and files that are refused."""

import numpy as np
import pytest

from mace_smile.analysis.reference import (
    ReferenceProfile,
    place_reference,
    read_reference,
    rmse,
    subtract,
)
from mace_smile.errors import UserError

HEIGHT, EXTENT = 24.0, (6.0, 14.0)


def potential(points: np.ndarray, start: float = 6.0, zero: float = 2.5) -> np.ndarray:
    """A ramp between two vacua, with the jump of a dipole correction far from the slab."""
    inside = (points - start) % HEIGHT
    return zero + np.where(inside < 16.0, np.clip(inside, 0.0, 8.0) * 0.2, 0.0)


def reference(start: float = 6.0) -> ReferenceProfile:
    points = np.arange(240) * HEIGHT / 240
    return ReferenceProfile("ref.npz", points, potential(points, start)[None])


def test_the_zero_is_in_the_vacuum_below_and_the_jump_is_gone():
    placed, counted = place_reference(reference(), EXTENT, HEIGHT, 0.0)
    row = placed.potentials[0]
    np.testing.assert_allclose(row[placed.points < 6.0], 0.0, atol=1e-12)
    np.testing.assert_allclose(row[placed.points > 14.05], 1.6, atol=1e-12)
    assert placed.points[counted].min() == pytest.approx(6.0 - 16.0 / 3, abs=0.11)
    assert placed.points[counted].max() == pytest.approx(14.0 + 16.0 / 3, abs=0.11)


@pytest.mark.parametrize("shift", [4.0, 11.0, -8.0, -15.0])
def test_a_slab_across_the_boundary_of_the_cell_finds_its_reference(shift):
    here, _ = place_reference(reference(), EXTENT, HEIGHT, 0.3)
    extent = (EXTENT[0] + shift, EXTENT[1] + shift)
    there, counted = place_reference(reference(6.0 + shift), extent, HEIGHT, 0.3)
    found = np.interp(there.points[counted] - shift, here.points, here.potentials[0])
    np.testing.assert_allclose(there.potentials[0][counted], found, atol=1e-9)


def test_smoothing_does_not_reach_the_vacuum():
    placed, counted = place_reference(reference(), EXTENT, HEIGHT, 0.5)
    assert abs(placed.potentials[0][counted][0]) < 1e-9
    assert placed.potentials[0][counted][-1] == pytest.approx(1.6, abs=1e-9)
    sharp, _ = place_reference(reference(), EXTENT, HEIGHT, 0.0)
    assert rmse(placed.potentials, sharp.potentials) > 1e-3


def test_without_a_cell_the_points_are_as_they_are():
    placed, counted = place_reference(reference(), EXTENT, None, 0.0)
    assert counted.all()
    np.testing.assert_allclose(placed.points, reference().points, atol=1e-12)


def test_a_reference_that_misses_the_slab_is_refused():
    one = reference()
    cut = ReferenceProfile("ref.npz", one.points[:100], one.potentials[:, :100])
    with pytest.raises(UserError, match="covers .* but the slab is at 6.00 to 14.00 A"):
        place_reference(cut, EXTENT, HEIGHT, 0.0)
    with pytest.raises(UserError, match="covers"):
        place_reference(cut, EXTENT, None, 0.0)


def test_files_are_read_with_one_profile_or_one_for_each(tmp_path):
    points = np.linspace(0.0, 10.0, 11)
    np.savez(tmp_path / "one.npz", z=points, phi=points)
    np.savez(tmp_path / "each.npz", z=points, phi=np.stack([points, 2 * points]))
    assert read_reference(tmp_path / "one.npz", 5).is_mean
    each = read_reference(tmp_path / "each.npz", 2)
    assert each.potentials.shape == (2, 11)
    other = ReferenceProfile("other", points, np.ones((2, 11)))
    np.testing.assert_allclose(subtract(each, other).potentials, each.potentials - 1.0)
    with pytest.raises(UserError, match="different points or numbers of profiles"):
        subtract(each, read_reference(tmp_path / "one.npz", 5))
    with pytest.raises(UserError, match="has 2 profiles but there are 3 structures"):
        read_reference(tmp_path / "each.npz", 3)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"z": np.arange(5.0)}, "has no phi; it must have z"),
        ({"z": np.arange(5.0), "phi": np.ones(4)}, "one number for each z"),
        ({"z": np.arange(5.0)[::-1], "phi": np.ones(5)}, "evenly spaced, ascending"),
        ({"z": np.arange(5.0) ** 2, "phi": np.ones(5)}, "evenly spaced, ascending"),
        ({"z": np.arange(5.0), "phi": np.full(5, np.nan)}, "finite potentials"),
    ],
)
def test_bad_files_are_refused(tmp_path, arrays, message):
    np.savez(tmp_path / "bad.npz", **arrays)
    with pytest.raises(UserError, match=message):
        read_reference(tmp_path / "bad.npz", 1)


def test_files_that_are_no_npz_are_refused(tmp_path):
    (tmp_path / "text.npz").write_text("0 1\n")
    with pytest.raises(UserError, match="cannot be read"):
        read_reference(tmp_path / "text.npz", 1)
    np.save(tmp_path / "array.npy", np.ones(3))
    with pytest.raises(UserError, match="holds one array"):
        read_reference(tmp_path / "array.npy", 1)
    (tmp_path / "cut.npz").write_bytes(b"PK\x03\x04 and nothing else")
    with pytest.raises(UserError, match="cannot be read"):
        read_reference(tmp_path / "cut.npz", 1)
    with pytest.raises(UserError, match="there is no reference"):
        read_reference(tmp_path / "none.npz", 1)
