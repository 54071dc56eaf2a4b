"""Heads that are trained while the energy of a model stays as it is (`--freeze 7`)."""

import json

import numpy as np
import pytest
import torch

from foundations import OUTPUTS, of_calculator, outputs_of, store, tune, tuned_args, two_heads
from helpers import bulk_water, make_backbone, make_batch, make_model
from mace_smile.errors import UserError
from mace_smile.model import smile_mace
from mace_smile.model.files import load_model
from mace_smile.model.options import SmileOptions
from mace_smile.model.smile_mace import SmileMACE
from mace_smile.training.foundation import find_start
from mace_smile.training.kept_energy import keep_energy, make_kept_model
from mace_smile.training.plan import plan_training
from training_data import frames, parse, run_arguments, write


def test_a_frozen_mace_gains_born_charges_and_keeps_its_energy(tmp_path, monkeypatch):
    dtype = torch.float32
    backbone = make_backbone().to(dtype)  # knows neon, which the frames do not contain
    asked = []
    get_outputs = smile_mace.get_outputs

    def recorded(**named):
        if named["training"]:
            asked.append(named["compute_force"])
        return get_outputs(**named)

    monkeypatch.setattr(smile_mace, "get_outputs", recorded)
    tuned = tune(tmp_path, backbone, "--freeze=7", "--screening=uncoupled", "--charge_head=local")
    assert asked
    assert not any(asked)
    before, after = outputs_of(backbone), outputs_of(tuned)
    for name in OUTPUTS:
        assert after[name].dtype == dtype
        assert torch.equal(before[name], after[name]), name
    assert not tuned.options.has_electrostatics
    assert (after["born_effective_charges"].abs() > 0).any()
    start = make_kept_model(backbone, tuned.options)
    new = dict(tuned.charge_heads.named_parameters())
    assert any(not torch.equal(p, new[name]) for name, p in start.charge_heads.named_parameters())


@pytest.mark.filterwarnings("ignore:To copy construct from a tensor")  # MACE, choosing a head
@pytest.mark.parametrize("is_ours", [False, True])
def test_all_heads_of_the_energy_stay(tmp_path, is_ours):
    model = two_heads()
    if is_ours:
        model = SmileMACE(model, SmileOptions(smearing=1.2))
    labelled = frames(4)
    args = tuned_args(tmp_path, model, "--freeze=7", "--screening=uncoupled")
    with pytest.raises(UserError, match="has the heads mol, solid, all of which stay; say by --f"):
        run_arguments(args)
    args = tuned_args(
        tmp_path, model, "--freeze=7", "--screening=uncoupled", "--foundation_head=solid"
    )
    of_solid = SmileMACE(model, SmileOptions(charge_head="none")) if not is_ours else model
    for atoms in labelled:
        batch = make_batch([atoms], of_solid)
        batch["head"] = torch.tensor([1])
        atoms.info["REF_energy"] = of_solid(batch)["energy"].item()
    write(tmp_path, labelled)
    run_arguments(args)
    torch.set_default_dtype(torch.float64)
    assert load_model(tmp_path / "tuned.model").heads == ["mol", "solid"]
    for head in ("mol", "solid"):
        before, after = (
            of_calculator(tmp_path / f"{name}.model", head, bulk_water())
            for name in ("foundation", "tuned")
        )
        for name, one, other in zip(OUTPUTS, before, after, strict=True):
            assert np.array_equal(one, other), (head, name)
    lines = (tmp_path / "results" / "tuned_run-1_train.txt").read_text().splitlines()
    errors = [json.loads(line) for line in lines]
    assert all(one["rmse_e_per_atom"] < 1e-10 for one in errors if one["mode"] == "eval")


def test_an_old_file_without_names_of_heads_gains_born_charges():
    backbone = make_backbone()
    del backbone.heads
    assert make_kept_model(backbone, SmileOptions(screening="uncoupled")).heads == ["Default"]


@pytest.mark.parametrize("screening", ["global", "local"])
def test_a_frozen_mace_gains_charges_whose_derivatives_are_born_charges(tmp_path, screening):
    backbone = make_backbone()
    tuned = tune(
        tmp_path, backbone, "--freeze=7", f"--screening={screening}", "--charge_head=local"
    )
    before, after = outputs_of(backbone), outputs_of(tuned)
    for name in OUTPUTS:
        assert torch.equal(before[name], after[name]), name
    assert (after["born_effective_charges"].abs() > 0).any()
    start = make_kept_model(backbone, tuned.options)
    assert not torch.equal(
        start.charge_heads["charges"].hidden.weight, tuned.charge_heads["charges"].hidden.weight
    )


def test_another_precision_than_that_of_the_model_is_told(tmp_path):
    path = store(tmp_path, make_backbone().to(torch.float32))
    flags = (f"--foundation_model={path}", "--freeze=7", "--default_dtype=float64")
    args = parse(tmp_path, *flags)
    args.E0s = None
    start = keep_energy(args, find_start(args))
    assert args.default_dtype == "float32"
    assert "have float32, whatever --default_dtype says (here float64)" in start.warnings[0]
    write(tmp_path, frames(4))
    args.screening, args.charge_head = "uncoupled", "none"
    assert start.warnings[0] in plan_training(args, start).warnings


def test_a_model_of_ours_gains_a_head_and_keeps_those_it_has(tmp_path):
    model = make_model(electrostatics="none", dipole_head="local", susceptibility=0.3)
    labelled = frames(4)
    for atoms in labelled:
        atoms.info["REF_polarizability"] = [0.1, 0, 0, 0, 0.1, 0, 0, 0, 0.1]
        del atoms.info["REF_dipole"], atoms.arrays["REF_becs"]
    args = tuned_args(tmp_path, model, "--freeze=7", "--polarizability_head=local")
    write(tmp_path, labelled)
    run_arguments(args)
    torch.set_default_dtype(torch.float64)
    tuned = load_model(tmp_path / "tuned.model")
    assert tuned.options.has_polarizability
    assert (tuned.options.susceptibility, tuned.options.screening) == (0.3, "uncoupled")
    for name, parameter in model.charge_heads.named_parameters():
        assert torch.equal(parameter, tuned.charge_heads.get_parameter(name)), name
    before, after = outputs_of(model), outputs_of(tuned)
    for name in (*OUTPUTS, "charges", "macro_dipole", "born_effective_charges"):
        assert torch.equal(before[name], after[name]), name


def test_charges_that_are_in_the_energy_stay(tmp_path):
    model = make_model(screening="none", smearing=1.2)
    kept = make_kept_model(model, SmileOptions(smearing=1.2, screening="uncoupled"))
    free = {name for name, p in kept.named_parameters() if p.requires_grad}
    assert free
    assert all("born_effective_charges" in name for name in free)
    args = tuned_args(tmp_path, model, "--freeze=7", "--screening=uncoupled", "--smearing=1.5")
    with pytest.raises(UserError, match="--smearing would change the energy of the foundation"):
        run_arguments(args)
