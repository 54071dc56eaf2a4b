import json

import ase
import numpy as np
import pytest

from helpers import slab_water
from mace_smile.errors import UserError
from mace_smile.model.files import load_model
from mace_smile.training.mace_parser import build_parser
from training_data import (
    frames,
    log_of,
    parse,
    run,
    run_arguments,
    validation,
    write,
)


def test_losses_fall_with_ema_and_stage_two(tmp_path):
    write(tmp_path, frames())
    write(tmp_path, frames(3), "test.xyz")
    flags = "--screening=uncoupled --ema --ema_decay=0.9 --start_swa=6 --max_num_epochs=8 --lr=0.02"
    weights = "--macro_dipole_weight=100 --swa_macro_dipole_weight=200"
    run(tmp_path, *flags.split(), *weights.split(), f"--test_file={tmp_path}/test.xyz")
    entries = validation(tmp_path)
    for name in ("rmse_macro_dipole", "rmse_born_effective_charges", "rmse_f"):
        assert entries[-1][name] < 0.8 * entries[0][name]
    log = log_of(tmp_path)
    assert "+ MacroDipole(weight=100.000, per_atom) + BornEffectiveCharges(weight=1.000)" in log
    assert "Loss of stage two: WeightedEnergyForcesLoss(energy_weight=1000.000" in log
    assert "MacroDipole(weight=200.000, per_atom)" in log
    assert "RMSE dipole / me A" in log
    assert "Label REF_becs (born_effective_charges): 8 of 8 frames of the train file" in log
    for name in ("water.model", "water_stagetwo.model", "water_stagetwo_compiled.model"):
        assert (tmp_path / name).is_file()
    model = load_model(tmp_path / "water_stagetwo.model")
    assert model.options.screening == "uncoupled"


def test_yaml_file_gives_the_same_arguments_and_trains(tmp_path):
    write(tmp_path, frames(4))
    arguments = parse(tmp_path, "--screening=uncoupled", "--max_num_epochs=1", "--ema")
    defaults = vars(build_parser().parse_args(["--name=x"]))
    given = {name: value for name, value in vars(arguments).items() if value != defaults[name]}
    config = tmp_path / "config.yaml"
    config.write_text("\n".join(f"{name}: {json.dumps(value)}" for name, value in given.items()))
    from_file = build_parser().parse_args([f"--config={config}"])
    from_file.config = None
    assert vars(from_file) == vars(arguments)
    run_arguments(from_file)
    assert "rmse_born_effective_charges" in validation(tmp_path)[-1]


def test_all_boundaries_isolated_atoms_and_few_labels_train_together(tmp_path):
    structures = frames(6)
    for atoms in structures[:3]:
        del atoms.arrays["REF_becs"]
    del structures[0].info["REF_dipole"]
    structures[4].set_cell([9.0, 9.0, 9.0])
    structures[4].pbc = True
    isolated = []
    for symbol, energy in (("H", -1.0), ("O", -2.0), ("Ne", 0.0)):
        atom = ase.Atoms(symbol)
        atom.info.update(config_type="IsolatedAtom", REF_energy=energy)
        isolated.append(atom)
    slab = slab_water()
    slab.info["REF_energy"] = -30.0
    slab.arrays["REF_forces"] = np.zeros((len(slab), 3))
    slab.info["REF_dipole"] = np.array([0.0, 0.0, 0.3])
    flags = (
        "--screening=uncoupled --keep_isolated_atoms=True --max_num_epochs=2 --batch_size=3 "
        "--given_charges_key=electrode_charge --given_mask_key=electrode --susceptibility=0.4 "
        "--loss=universal --compute_stress=True"
    )
    write(tmp_path, [*isolated, *structures, slab, slab.copy()])
    run(tmp_path, *flags.split())
    assert "RMSE_stress" in log_of(tmp_path)
    assert "Using isolated atom energies from training file" in log_of(tmp_path)
    assert np.isfinite([entry["rmse_macro_dipole"] for entry in validation(tmp_path)]).all()


def test_penalty_brings_the_charges_to_the_total_charge(tmp_path):
    structures = frames(4)
    for atoms in structures:
        atoms.info["total_charge"] = 1.0
    write(tmp_path, structures)
    flags = "--total_charge_constraint=penalty --total_charge_weight=1000 --max_num_epochs=5"
    run(tmp_path, *flags.split(), "--charges_weight=1", "--lr=0.05", "--valid_fraction=0.5")
    entries = validation(tmp_path)
    assert entries[-1]["rmse_total_charge"] < 0.5 * entries[0]["rmse_total_charge"]
    assert "rmse_charges" in entries[-1]


def test_two_heads_one_without_our_labels(tmp_path):
    write(tmp_path, frames(6), "full.xyz")
    poor = frames(4)
    for atoms in poor:
        del atoms.arrays["REF_becs"], atoms.info["REF_dipole"]
    write(tmp_path, poor, "poor.xyz")
    heads = {
        name: {"train_file": f"{tmp_path}/{name}.xyz", "valid_fraction": 0.5}
        for name in ("full", "poor")
    }
    run(tmp_path, f"--heads={heads}", "--screening=uncoupled", "--max_num_epochs=1")
    by_head = {entry["head"]: entry for entry in validation(tmp_path)}
    assert "rmse_born_effective_charges" in by_head["full"]
    assert "rmse_born_effective_charges" not in by_head["poor"]


def test_one_layer_without_vectors_trains(tmp_path):
    write(tmp_path, frames(4))
    flags = "--screening=uncoupled --max_L=0 --num_interactions=1 --max_num_epochs=1"
    run(tmp_path, *flags.split(), "--valid_fraction=0.5", "--charge_head=none")
    entry = validation(tmp_path)[-1]
    assert "rmse_born_effective_charges" in entry
    assert "rmse_macro_dipole" not in entry


def test_dry_run_checks_our_labels_and_writes_no_model(tmp_path):
    structures = frames(4)
    write(tmp_path, structures)
    run(tmp_path, "--screening=uncoupled", "--dry_run")
    assert "DRY RUN mode enabled" in log_of(tmp_path)
    assert "Label REF_becs (born_effective_charges): 4 of 4 frames" in log_of(tmp_path)
    assert not [*tmp_path.rglob("*.model"), *tmp_path.rglob("*.pt")]
    structures[3].arrays["REF_becs"][0, 0] = np.nan
    write(tmp_path, structures)
    with pytest.raises(UserError, match="frame 3 .*REF_becs.* holds 1 values that are NaN"):
        run(tmp_path, "--screening=uncoupled", "--dry_run")


def test_finished_model_is_not_overwritten_unasked(tmp_path):
    write(tmp_path, frames(4))
    flags = ("--max_num_epochs=1", "--valid_fraction=0.5")
    run(tmp_path, *flags)
    written = (tmp_path / "water.model").read_bytes()
    with pytest.raises(UserError, match="water.model' of an earlier run exists; continue"):
        run(tmp_path, *flags)
    assert (tmp_path / "water.model").read_bytes() == written
    with pytest.raises(UserError, match="contradict each other"):
        run(tmp_path, *flags, "--overwrite", "--restart_latest")
    with pytest.raises(UserError, match="would remove the foundation model"):
        run(tmp_path, *flags, "--overwrite", f"--foundation_model={tmp_path}/water.model")
    with pytest.raises(UserError, match="finds no checkpoint of 'water' with seed 9"):
        run(tmp_path, *flags, "--restart_latest", "--seed=9")
    assert (tmp_path / "water.model").read_bytes() == written
    run(tmp_path, *flags, "--overwrite", "--lr=0.02")
    assert (tmp_path / "water.model").read_bytes() != written
