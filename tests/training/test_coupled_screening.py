"""Runs whose Born effective charges are derivatives of charges and atomic dipoles."""

import numpy as np
import pytest

from helpers import bulk_water, evaluate
from mace_smile.model.files import load_model
from training_data import frames, log_of, run, validation, write

BORN = "rmse_born_effective_charges"


@pytest.mark.parametrize("method", ["unfolded", "phase", "minimum_image"])
def test_born_charges_of_local_screening_are_learned(tmp_path, method):
    structures = frames()
    del structures[0].arrays["REF_becs"]
    write(tmp_path, structures)
    flags = "--screening=local --dipole_head=local --max_num_epochs=6 --lr=0.02 --ema --swa"
    weights = "--born_effective_charges_weight=100 --start_swa=4"
    run(tmp_path, *flags.split(), *weights.split(), f"--born_charge_method={method}")
    entries = validation(tmp_path)
    assert entries[-1][BORN] < 0.8 * entries[0][BORN]
    model = load_model(tmp_path / "water.model")
    if method == "minimum_image":  # the frames are molecules, this cell is too small
        return
    factors = evaluate(model, bulk_water().copy(), compute_force=False)["screening"].detach()
    assert (factors > 0).all()
    assert float(factors.std()) > 1e-4


def test_a_learned_factor_is_in_the_log_and_goes_on_after_a_restart(tmp_path):
    write(tmp_path, frames())
    flags = ["--screening=global", "--screening_value=learned", "--lr=0.02"]
    flags.append("--born_effective_charges_weight=100")
    run(tmp_path, *flags, "--max_num_epochs=2")
    first = load_model(tmp_path / "water.model").scale_value()
    assert first != 1.0
    assert f"screening_value={first:.4f}" in log_of(tmp_path)
    run(tmp_path, *flags, "--max_num_epochs=4", "--restart_latest")
    assert len(validation(tmp_path)) > 2
    assert load_model(tmp_path / "water.model").scale_value() != first


def test_a_given_factor_without_labels_trains_energies_and_forces(tmp_path):
    structures = frames(4)
    for atoms in structures:
        del atoms.arrays["REF_becs"]
    write(tmp_path, structures)
    flags = ["--screening=global", "--screening_value=-1.33", "--max_num_epochs=1"]
    run(tmp_path, *flags)
    assert BORN not in validation(tmp_path)[-1]
    model = load_model(tmp_path / "water.model")
    output = evaluate(model, structures[0])
    assert np.allclose(output["screening"].detach(), -1.33)
    assert output["born_effective_charges"] is not None


def test_a_coupled_model_can_be_fine_tuned(tmp_path):
    write(tmp_path, frames(4))
    flags = ["--screening=local", "--max_num_epochs=1"]
    run(tmp_path, *flags)
    foundation = tmp_path / "water.model"
    other = tmp_path / "tuned"
    other.mkdir()
    tuned = [f"--foundation_model={foundation}", "--multiheads_finetuning=False"]
    run(other, *flags, *tuned, train_file=tmp_path / "train.xyz")
    model = load_model(other / "water.model")
    assert model.options.screening == "local"
