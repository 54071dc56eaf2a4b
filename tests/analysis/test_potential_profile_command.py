"""``mace_smile_potential_profile``: its files and its numbers."""

from pathlib import Path

import ase.io
import matplotlib.image
import numpy as np
import pytest
import torch

from helpers import GIVEN, evaluate, make_model
from mace_smile.cli.potential_profile import build_parser
from mace_smile.physics.poisson import INVERSE_VACUUM_PERMITTIVITY
from profile_data import BARE, failure, result, run, slabs

AREA = 6.2 * 6.4
ROOT = Path(__file__).resolve().parent.parent.parent


@pytest.mark.parametrize("screening", ["uniform", "profile", "none"])
def test_the_step_is_the_macro_dipole_of_the_model(monkeypatch, folder, capsys, screening):
    run(monkeypatch, folder, "--screening", screening, "--batch_size", 3)
    arrays, settings, numbers = result(folder)
    model = torch.load(folder / "small.model", weights_only=False)
    name = "response_dipole" if screening == "none" else "macro_dipole"
    dipoles = [evaluate(model, atoms)[name][0, 2].item() for atoms in slabs()]
    np.testing.assert_allclose(arrays["dipole_frames"], dipoles, rtol=1e-5)
    steps = INVERSE_VACUUM_PERMITTIVITY * np.array(dipoles) / AREA
    np.testing.assert_allclose(arrays["phi_frames"][:, -1], steps, rtol=1e-5)
    np.testing.assert_allclose(arrays["phi"], arrays["phi_frames"].mean(axis=0))
    assert np.ptp(steps) > 0.1
    assert numbers["step"] == pytest.approx(steps.mean(), rel=1e-5)
    assert settings["screening"] == screening
    assert settings["susceptibility"] == pytest.approx(0.0 if screening == "none" else 0.4)
    image = matplotlib.image.imread(folder / "out.png")
    assert image.shape[0] > 500
    assert image[..., :3].std() > 0.05
    assert "step of potential" in capsys.readouterr().out


def test_atomic_dipoles_are_in_the_potential(monkeypatch, folder):
    model = make_model(**GIVEN, susceptibility=0.4, dipole_head="local")
    torch.save(model, folder / "dipoles.model")
    run(monkeypatch, folder, model="dipoles.model")
    arrays, _, _ = result(folder)
    outputs = [evaluate(model, atoms) for atoms in slabs()]
    assert max(output["atomic_dipoles"].abs().max() for output in outputs) > 1e-3
    dipoles = np.array([output["macro_dipole"][0, 2].item() for output in outputs])
    steps = INVERSE_VACUUM_PERMITTIVITY * dipoles / AREA
    np.testing.assert_allclose(arrays["phi_frames"][:, -1], steps, rtol=1e-5)


def test_a_trajectory_without_arrays_takes_the_given_charges_of_a_frame(
    monkeypatch, folder, capsys
):
    frames = slabs()
    charged = frames[2]
    ase.io.write(folder / "frame.xyz", charged)
    for atoms in frames:
        atoms.arrays["electrode_charge"] = charged.arrays["electrode_charge"]
    ase.io.write(folder / "all.xyz", frames)
    for atoms in frames:
        for name in ("electrode", "electrode_charge", "zero"):
            del atoms.arrays[name]
    ase.io.write(folder / "trajectory.traj", frames)
    flags = ["--given_charges", folder / "frame.xyz", "--screening", "profile"]
    run(monkeypatch, folder, *flags, configs="trajectory.traj")
    run(monkeypatch, folder, "--screening", "profile", configs="all.xyz", output="other")
    found, expected = result(folder)[0], result(folder, "other")[0]
    np.testing.assert_allclose(found["phi_frames"], expected["phi_frames"], atol=1e-5)
    assert np.abs(found["step_frames"]).max() > 0.1
    flags = ["--given_charges", folder / "in.xyz"]
    ase.io.write(folder / "other.xyz", [atoms[::-1] for atoms in frames])
    error = failure(monkeypatch, folder, capsys, *flags, configs="other.xyz", output="new")
    assert "must be the same in the same order" in error
    flags = ["--given_charges", folder / "trajectory.traj"]
    error = failure(monkeypatch, folder, capsys, *flags, output="new")
    assert "--given_charges has no array 'electrode_charge'" in error
    torch.save(make_model(), folder / "bare.model")
    error = failure(monkeypatch, folder, capsys, *flags, model="bare.model", output="new")
    assert "the model was trained without given charges" in error


def test_a_susceptibility_of_the_given_charges_is_that_of_the_model(monkeypatch, folder):
    torch.save(
        make_model(**GIVEN, susceptibility=0.6, given_susceptibility=0.4), folder / "two.model"
    )
    run(monkeypatch, folder, model="two.model")
    _, settings, _ = result(folder)
    assert settings["susceptibility"] == pytest.approx(0.6)
    assert settings["given_susceptibility"] == pytest.approx(0.4)
    run(monkeypatch, folder, "--susceptibility", 0.2, model="two.model", output="other")
    assert result(folder, "other")[1]["given_susceptibility"] == pytest.approx(0.2)


def test_batches_and_precision_do_not_change_the_result(monkeypatch, folder):
    run(monkeypatch, folder)
    run(monkeypatch, folder, "--batch_size", 1, output="single")
    run(monkeypatch, folder, "--default_dtype", "float32", output="float32")
    expected = result(folder)[0]["phi_frames"]
    np.testing.assert_allclose(result(folder, "single")[0]["phi_frames"], expected, atol=1e-9)
    np.testing.assert_allclose(result(folder, "float32")[0]["phi_frames"], expected, atol=1e-3)


def test_a_model_for_slabs_takes_structures_that_are_periodic_along_three_axes(monkeypatch, folder):
    frames = slabs()
    torch.save(
        make_model(**GIVEN, susceptibility=0.4, boundary="slab", slab_axis=2),
        folder / "slab.model",
    )
    for atoms in frames:
        atoms.pbc = True
        atoms.positions[::2] += atoms.cell[2]
    ase.io.write(folder / "periodic.xyz", frames)
    run(monkeypatch, folder, configs="periodic.xyz", model="slab.model")
    run(monkeypatch, folder, model="small.model", output="two")
    found, expected = result(folder)[0], result(folder, "two")[0]
    # The slab is whole in another image of the cell, perhaps.
    np.testing.assert_allclose(found["step_frames"], expected["step_frames"], rtol=1e-6)


def test_charges_of_an_array_are_not_screened_unless_asked(monkeypatch, folder):
    run(monkeypatch, folder, *BARE, model=None)
    bare, settings, _ = result(folder)
    assert settings["screening"] == "none"
    field = 0.2 * INVERSE_VACUUM_PERMITTIVITY / AREA
    np.testing.assert_allclose(
        bare["step_frames"], -9.6 * field * np.arange(4) / 2, rtol=1e-9, atol=1e-12
    )
    flags = ["--screening", "profile", "--susceptibility", 0.4, "--film_permittivity", 2.0]
    flags += ["--width", 0.2]
    run(monkeypatch, folder, *BARE, *flags, model=None, output="film")
    film, settings, numbers = result(folder, "film")
    np.testing.assert_allclose(film["step_frames"], bare["step_frames"] / 1.4, rtol=1e-9)
    assert numbers["field_in_film"] == pytest.approx(0.75 * field / 2.0, rel=1e-4)
    assert np.ptp(film["film_edges"]) == pytest.approx(9.6 * 0.4 / 1.4 / 0.5)
    np.testing.assert_allclose(film["walls"], [2.8, 12.4])


def test_windows_and_errors_are_written(monkeypatch, folder):
    run(monkeypatch, folder, "--window", 2.0, 3.0, "--blocks", 2, "--width", 0.3)
    arrays, settings, numbers = result(folder)
    blocks = arrays["phi_frames"].reshape(2, 2, -1).mean(axis=1)
    np.testing.assert_allclose(
        arrays["phi_error"], blocks.std(axis=0, ddof=1) / np.sqrt(2), atol=1e-12
    )
    assert numbers["step_error"] == pytest.approx(arrays["phi_error"][-1], rel=1e-4)
    smooth = arrays["phi_macroscopic"]
    assert np.abs(np.diff(smooth, 2)).max() < 0.3 * np.abs(np.diff(arrays["phi"], 2)).max()
    assert settings["window"] == [2.0, 3.0]
    assert np.abs(arrays["rho"]).max() > 1e-3
    assert arrays["rho"].sum() == pytest.approx(0.0, abs=1e-6)


def test_a_reference_of_its_own_profile_has_no_error(monkeypatch, folder, capsys):
    run(monkeypatch, folder, "--spacing", 0.1)
    arrays, _, _ = result(folder)
    middle_of_vacuum = 0.5 * (2.8 + 12.4) - 12.0
    heights = (np.arange(240) * 0.1 - middle_of_vacuum) % 24.0 + middle_of_vacuum
    phi = np.stack([np.interp(heights, arrays["z"], row) for row in arrays["phi_frames"]])
    np.savez(folder / "own.npz", z=np.arange(240) * 0.1, phi=phi + 1.3)
    np.savez(folder / "mean.npz", z=np.arange(240) * 0.1, phi=phi.mean(axis=0) - 2.0)
    capsys.readouterr()
    flags = ["--reference_is_smooth", "--window", 2.0]
    run(monkeypatch, folder, "--reference", folder / "own.npz", *flags, output="each")
    numbers = result(folder, "each")[2]
    for name in ("rmse", "rmse_of_mean", "rmse_of_step", "rmse_macroscopic"):
        assert numbers[name] < 5e-3
    assert numbers["reference_field_in_film"] == pytest.approx(numbers["field_in_film"], abs=1e-3)
    assert "RMSE of each phi" in capsys.readouterr().out
    run(monkeypatch, folder, "--reference", folder / "mean.npz", *flags, output="one")
    numbers = result(folder, "one")[2]
    assert numbers["rmse_of_mean"] < 5e-3
    assert "rmse" not in numbers
    # A second Gaussian smooths it once too often.
    run(monkeypatch, folder, "--reference", folder / "own.npz", output="twice")
    assert result(folder, "twice")[2]["rmse"] > 0.02


def test_the_change_between_two_sets_of_structures(monkeypatch, folder):
    """At one geometry learned charges are equal, so the change is that of the walls."""
    others = slabs()
    for atoms in others:
        atoms.arrays["electrode_charge"] += (
            0.1 * np.sign(atoms.positions[:, 2] - 7.0) * (atoms.arrays["electrode"] != 0)
        )
    ase.io.write(folder / "other.xyz", others)
    np.savez(folder / "minus.npz", z=np.arange(240) * 0.1, phi=np.zeros((4, 240)))
    flags = ["--reference", folder / "reference.npz", "--minus_reference", folder / "minus.npz"]
    run(monkeypatch, folder, "--minus", folder / "other.xyz", "--screening", "profile", *flags)
    arrays, _, numbers = result(folder)
    field = 0.1 * INVERSE_VACUUM_PERMITTIVITY / AREA
    np.testing.assert_allclose(arrays["step_frames"], -9.6 * field / 1.4, rtol=1e-6)
    assert numbers["rmse_of_step"] == pytest.approx(9.6 * field / 1.4, rel=1e-6)
    assert numbers["n_frames"] == 4
    assert len(arrays["phi_frames"]) == 4


def test_an_index_chooses_frames(monkeypatch, folder):
    run(monkeypatch, folder, "--index", "1::2")
    assert len(result(folder)[0]["phi_frames"]) == 2
    run(monkeypatch, folder, "--index", "-1", output="last")
    arrays, _, numbers = result(folder, "last")
    assert len(arrays["phi_frames"]) == 1
    assert np.isnan(arrays["phi_error"]).all()
    assert np.isnan(numbers["step_error"])


def test_the_documentation_names_every_flag():
    text = (ROOT / "docs" / "potential_profile.md").read_text()
    flags = [action.option_strings[-1] for action in build_parser()._actions]
    assert [flag for flag in flags if flag != "--help" and f"`{flag}`" not in text] == []
