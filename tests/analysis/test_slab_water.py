"""Profiles of the embedded slab data: the change of phi(z) between two wall charges, against DFT.

At fixed geometry learned charges stay, so the given charges alone make the change; chi is that
of the data (pairs of equal geometry), and nothing here is fitted to phi.
"""

from pathlib import Path

import ase.io
import numpy as np
import pytest

from mace_smile.analysis.charges import slabs_of_arrays
from mace_smile.analysis.profile import compute_profile
from mace_smile.analysis.reference import place_reference, read_reference, rmse
from mace_smile.analysis.settings import ProfileSettings
from mace_smile.analysis.summary import fields_in_film
from mace_smile.physics.poisson import potential_step

DATA = Path(__file__).resolve().parent.parent.parent / "examples" / "data" / "slab_water"
CHI = 0.41


@pytest.fixture(scope="module")
def frames():
    return ase.io.read(DATA / "slab_water_train.xyz", ":")


@pytest.fixture(scope="module")
def pairs(frames):
    """Frames with one geometry, and charges of the walls 0.03 e or more apart."""
    names = [atoms.info["geometry_id"] for atoms in frames]
    charges = [atoms.info["wall_charge"] for atoms in frames]
    return np.array(
        [
            (i, j)
            for i in range(len(frames))
            for j in range(i)
            if names[i] == names[j] and abs(charges[i] - charges[j]) > 0.03
        ]
    ).T


def slabs(frames, key="core_correction"):
    return slabs_of_arrays(frames, [str(k) for k in range(len(frames))], key, "wall", None)


def change(values, pairs):
    return values[pairs[0]] - values[pairs[1]]


@pytest.mark.parametrize(
    ("screening", "mean", "every", "error"),
    [("profile", 0.03, 0.10, 0.025), ("uniform", 0.25, 0.30, 0.06), ("none", 0.70, 0.80, 0.6)],
)
def test_change_of_the_potential_between_two_wall_charges(
    frames, pairs, screening, mean, every, error
):
    found = slabs(frames)
    reference = read_reference(DATA / "slab_water_train_potential.npz", len(frames))
    extent = (
        min(slab.heights.min() for slab in found),
        max(slab.heights.max() for slab in found),
    )
    reference, counted = place_reference(reference, extent, found[0].cell_height, 0.5)
    chi = 0.0 if screening == "none" else CHI
    settings = ProfileSettings(screening=screening, susceptibility=chi, width=0.5)
    profile = compute_profile(found, settings, reference.points)
    model, wanted = change(profile.potentials, pairs), change(reference.potentials, pairs)
    film = profile.film[pairs[0]]
    slopes = fields_in_film(profile.points, model, film) / fields_in_film(
        profile.points, wanted, film
    )
    assert slopes.mean() == pytest.approx(1.0, abs=mean)
    np.testing.assert_allclose(slopes, 1.0, atol=every)
    assert rmse(model[:, counted], wanted[:, counted]) < error
    # Between the two vacua nothing but the dipole counts.
    np.testing.assert_allclose(model[:, -1], change(profile.steps, pairs), rtol=1e-9)
    if screening == "none":
        assert slopes.mean() == pytest.approx(1.65, abs=0.05)
    else:
        dipoles = np.array([atoms.info["REF_dipole"][2] for atoms in frames])
        steps = potential_step(1.0, found[0].area) * change(dipoles, pairs)
        ratios = change(profile.steps, pairs) / steps
        assert ratios.mean() == pytest.approx(1.0, abs=0.01)
        np.testing.assert_allclose(ratios, 1.0, atol=0.03)


def test_permittivity_of_the_film_follows_from_its_atoms_and_the_susceptibility(frames):
    """The response of DFT inside the film is 1.64 +- 0.05 (README of the data)."""
    settings = ProfileSettings(screening="profile", susceptibility=CHI)
    whole = compute_profile(slabs(frames), settings).permittivity
    assert whole == pytest.approx(1.65, abs=0.05)
    runs = sorted({atoms.info["geometry_id"][:11] for atoms in frames})
    for gap in (12.0, 12.375):
        some = [atoms for atoms in frames if abs(atoms.info["wall_gap"] - gap) < 0.01]
        assert compute_profile(slabs(some), settings).permittivity == pytest.approx(1.65, abs=0.1)
    for run in runs:
        some = [atoms for atoms in frames if atoms.info["geometry_id"].startswith(run)]
        assert compute_profile(slabs(some), settings).permittivity == pytest.approx(1.65, abs=0.2)


def test_partitioned_charges_miss_the_steps_of_dft(frames):
    """Hirshfeld charges already hold the polarisation, and still miss the dipole."""
    profile = compute_profile(slabs(frames, "REF_hirshfeld"), ProfileSettings(screening="none"))
    wanted = np.array([atoms.info["phi_step"] for atoms in frames])
    error = rmse(profile.steps, wanted)
    assert error == pytest.approx(potential_step(0.16, 60.84), rel=0.05)
    assert np.corrcoef(profile.steps, wanted)[0, 1] > 0.97
