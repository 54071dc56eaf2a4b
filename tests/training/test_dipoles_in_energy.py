"""A run whose atomic dipoles enter the energy: trained by energies and forces alone."""

import ase.io
import numpy as np
import pytest
from metatomic.torch import load_atomistic_model

from exported import forces
from helpers import STRUCTURES, energy_of, evaluate
from mace_smile.cli.eval_configs import build_parser
from mace_smile.errors import UserError
from mace_smile.evaluation.files import evaluate_file
from mace_smile.model.files import load_model
from mace_smile.training.plan import plan_training
from metatensor_models.export import export_model
from metatensor_models.options import ExportOptions
from training_data import frames, parse, run, validation, write

FLAGS = ["--dipole_head=local", "--max_num_epochs=3", "--lr=0.02", "--num_interactions=1"]


def unlabelled():
    """Frames with energies and forces alone."""
    structures = frames(6)
    for atoms in structures:
        del atoms.info["REF_dipole"], atoms.arrays["REF_becs"]
    return structures


def test_dipoles_in_the_energy_are_trained_evaluated_and_exported(tmp_path):
    path = write(tmp_path, unlabelled())
    run(tmp_path, *FLAGS, "--dipoles_in_energy=True")
    entries = validation(tmp_path)
    assert entries[-1]["rmse_f"] < 0.9 * entries[0]["rmse_f"]
    model = load_model(tmp_path / "water.model")
    atoms = STRUCTURES["periodic"]()
    output = evaluate(model, atoms)
    assert float(output["atomic_dipoles"].detach().norm(dim=1).max()) > 1e-3
    assert (model.charge_heads["dipole_hardness"].relative != 1.0).any()

    moved, step = atoms.copy(), 1e-3
    energies = []
    for sign in (1, -1):
        moved.positions = atoms.positions
        moved.positions[3, 1] += sign * step
        energies.append(energy_of(model, moved))
    slope = (energies[0] - energies[1]) / (2 * step)
    assert -slope == pytest.approx(float(output["forces"][3, 1].detach()), rel=1e-4, abs=1e-4)

    exported = export_model(model, tmp_path / "water.pt", ExportOptions())
    loaded = load_atomistic_model(exported)
    assert loaded.metadata().extra["dipoles_in_energy"] == "True"
    expected = output["forces"].detach().numpy()
    np.testing.assert_allclose(forces(loaded, atoms), expected, rtol=1e-9, atol=1e-9)

    flags = f"--model {tmp_path / 'water.model'} --configs {path} --output {tmp_path / 'out.xyz'}"
    evaluate_file(build_parser().parse_args(flags.split()))
    for frame in ase.io.read(tmp_path / "out.xyz", ":"):
        parts = frame.info["MACE_short_range_energy"] + frame.info["MACE_electrostatic_energy"]
        assert parts == pytest.approx(frame.info["MACE_energy"], abs=1e-6)
        assert frame.arrays["MACE_electrostatic_potential"].any()


def test_without_labels_dipoles_need_their_energy(tmp_path):
    write(tmp_path, unlabelled())
    with pytest.raises(UserError, match="nothing trains the atomic dipoles.*--dipoles_in_energy T"):
        plan_training(parse(tmp_path, *FLAGS))
    assert plan_training(parse(tmp_path, *FLAGS, "--dipoles_in_energy=True")).options
