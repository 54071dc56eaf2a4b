"""Starting from another model: what stays of it, and what the new heads learn."""

import copy
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from mace.cli import run_train
from mace.modules.lora import (
    LoRADenseLinear,
    LoRAFCLayer,
    LoRAO3Linear,
    inject_LoRAs,
    merge_lora_weights,
)
from mace.tools.scripts_utils import get_params_options

from foundations import (
    OUTPUTS,
    SHORT,
    outputs_of,
    store,
    tune,
    tuned_args,
    two_heads,
)
from helpers import make_backbone, make_model
from mace_smile.errors import UserError
from mace_smile.model.options import SmileOptions
from mace_smile.training import foundation
from mace_smile.training.fine_tuning_seams import with_lora_in_backbone
from mace_smile.training.foundation import ALIASES, find_start, inherit_options
from mace_smile.training.labels import LabelSettings
from mace_smile.training.plan import TrainingPlan
from mace_smile.training.progress import Progress
from mace_smile.training.seams import with_head_parameters
from training_data import frames, parse, run_arguments, write

LORA = (LoRADenseLinear, LoRAFCLayer, LoRAO3Linear)


@pytest.mark.parametrize("freeze", [(), ("--freeze=7", "--screening=uncoupled")])
def test_a_head_the_foundation_model_lacks_is_refused(tmp_path, freeze):
    args = tuned_args(tmp_path, two_heads(), "--E0s=foundation", *freeze, "--foundation_head=no")
    with pytest.raises(UserError, match="--foundation_head is 'no' but .* mol, solid"):
        run_arguments(args)


def test_the_head_that_is_not_replayed_is_that_of_the_frames(tmp_path):
    model = two_heads()
    model.heads = ["pt_head", "Default"]
    store(tmp_path, model)
    args = parse(tmp_path, f"--foundation_model={tmp_path}/foundation.model")
    assert find_start(args).head == "Default"
    assert args.foundation_head == "Default"


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:To copy construct from a tensor")
def test_frames_are_replayed_beside_labels_of_ours(tmp_path):
    """Of two heads of the foundation model one is taken over, for replayed frames without ours."""
    replayed = frames(4)
    for atoms in replayed:
        del atoms.info["REF_dipole"], atoms.arrays["REF_becs"]
    write(tmp_path, replayed, "replay.xyz")
    flags = (f"--pt_train_file={tmp_path}/replay.xyz", "--E0s=foundation", "--screening=uncoupled")
    heads = ("--foundation_head=solid", "--force_mh_ft_lr=True")
    tuned = tune(tmp_path, two_heads(), *flags, *heads, "--multiheads_finetuning=True")
    assert tuned.heads == ["pt_head", "Default"]
    assert tuned.atomic_numbers.tolist() == [1, 8]
    assert torch.equal(
        tuned.backbone.atomic_energies_fn.atomic_energies, torch.tensor([[-1.5, -1.0]] * 2)
    )


def test_lora_is_in_the_mace_alone_and_is_merged():
    model = make_model()
    before = outputs_of(model)
    plan = TrainingPlan(model.options, LabelSettings(), Progress(Path("restart.pt")))
    injected = with_lora_in_backbone(inject_LoRAs, plan)(copy.deepcopy(model), rank=2, alpha=1)
    free = [name for name, p in injected.named_parameters() if p.requires_grad]
    heads = [f"charge_heads.{name}" for name, _ in model.charge_heads.named_parameters()]
    assert [name for name in free if "lora_" not in name] == heads
    assert all(name.startswith("backbone.") for name in free if "lora_" in name)
    with torch.no_grad():
        for name, parameter in injected.named_parameters():
            if "lora_" in name:
                parameter.normal_()
    changed = outputs_of(injected)
    merged = outputs_of(merge_lora_weights(injected))
    assert injected.state_dict().keys() == model.state_dict().keys()
    assert not torch.allclose(changed["energy"], before["energy"])
    for name in (*OUTPUTS, "charges", "born_effective_charges"):
        torch.testing.assert_close(merged[name], changed[name])


@pytest.mark.slow
def test_lora_trains_restarts_and_is_merged(tmp_path):
    backbone = make_backbone()
    flags = ("--lora=True", "--lora_rank=2", "--E0s=foundation", "--screening=uncoupled")
    tuned = tune(tmp_path, backbone, *flags)
    assert not [m for m in tuned.modules() if isinstance(m, LORA)]
    args = tuned_args(tmp_path, backbone, *flags, "--restart_latest")
    args.max_num_epochs = 2
    run_arguments(args)
    assert "Epoch 1:" in (tmp_path / "logs" / "tuned_run-1.log").read_text()
    path = tmp_path / "checkpoints" / "tuned_run-1_restart.pt"
    restart = torch.load(path, weights_only=False)["model"]
    assert any(value.abs().max() > 0 for name, value in restart.items() if "lora_B" in name)


@pytest.mark.parametrize(
    ("freeze", "frozen", "free"),
    [(1, "node_embedding", "interactions"), (5, "interactions", "products")],
)
def test_a_part_of_the_mace_is_frozen(tmp_path, freeze, frozen, free):
    model = make_model()
    plan = TrainingPlan(model.options, LabelSettings(), Progress(Path("restart.pt")))
    with_head_parameters(get_params_options, plan)(parse(tmp_path, f"--freeze={freeze}"), model)
    moves = {
        name: any(p.requires_grad for p in getattr(model, name).parameters())
        for name in (frozen, free)
    }
    assert moves == {frozen: False, free: True}
    assert all(p.requires_grad for p in model.charge_heads.parameters())


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (
            ("--freeze=7", "--electrostatics=ewald"),
            "--electrostatics ewald would add to the energy",
        ),
        (("--freeze=7", "--E0s=average"), "--E0s has no effect here"),
        (("--freeze=7", "--lora=True"), "--lora has no effect here"),
        (("--freeze=7",), "no other label is trained"),
        (("--freeze=7", "--pt_train_file=train.xyz"), "heads of the energy and replayed frames"),
        (("--freeze=-1",), "--freeze -1 does nothing"),
        ((), "or take --E0s foundation"),
        (("--E0s=foundation", "--batch_size=8"), "only 2 training frames"),
    ],
)
def test_flags_that_do_not_go_together_are_refused(tmp_path, flags, message):
    with pytest.raises(UserError, match=message):
        run_arguments(tuned_args(tmp_path, make_backbone(), *flags))
    assert not (tmp_path / "tuned.model").exists()


def test_elements_the_foundation_model_does_not_know_are_refused(tmp_path):
    args = tuned_args(tmp_path, make_backbone(), "--freeze=7", "--screening=uncoupled")
    strange = frames(4)
    strange[1].symbols[0] = "S"
    write(tmp_path, strange)
    with pytest.raises(UserError, match=r"contain S, which --foundation_model .* does not know"):
        run_arguments(args)


def test_options_that_are_not_given_are_those_of_the_foundation_model(tmp_path):
    options = SmileOptions(
        dipole_head="local",
        dipole_elements=("O",),
        smearing=1.3,
        screening="global",
        screening_value=-1.2,
        learn_screening_value=True,
        born_channels=8,
    )
    args = parse(tmp_path, "--polarizability_head=local", "--smearing=1.1")
    taken = inherit_options(args, options)
    assert {"dipole_head", "dipole_elements", "screening", "screening_value"} <= taken
    assert (args.dipole_elements, args.screening_value, args.born_channels) == ("O", "learned", 8)
    assert (args.smearing, args.polarizability_head) == (1.1, "local")
    local = parse(tmp_path, "--screening=local")
    inherit_options(local, options, scale=-1.4)
    assert local.screening_value == -1.4
    slab = parse(tmp_path)
    inherit_options(slab, SmileOptions(boundary="slab", training_labels=("energy",)))
    assert (slab.boundary, slab.slab_axis) == ("slab", 2)
    without = parse(tmp_path, "--charge_head=none", "--dipole_head=none")
    assert "smearing" not in inherit_options(without, options)
    assert without.dipole_elements is None


NAMES = ("small", "mace-mpa-0", "mace_off", "mace_omol")


@pytest.mark.parametrize("name", NAMES)
def test_names_of_foundation_models_reach_the_loaders_of_mace(tmp_path, name, monkeypatch):
    """Ours to look at the model first, and MACE's own in its training script."""
    asked = []

    def loader(function):
        def load(model=None, return_raw_model=False, **_):
            asked.append((function, model))
            backbone = make_backbone()
            return backbone if return_raw_model else SimpleNamespace(models=[backbone])

        return load

    for function in ("mace_mp", "mace_off", "mace_omol"):
        monkeypatch.setattr(foundation.foundations_models, function, loader(function))
        monkeypatch.setattr(run_train, function, loader(function))
    write(tmp_path, frames(4))
    flags = ("--freeze=7", "--screening=uncoupled", "--dry_run", f"--foundation_model={name}")
    args = parse(tmp_path, *SHORT, *flags)
    args.E0s = None
    run_arguments(args)
    of_mace = ALIASES.get(name, name)
    function = {"mace_omol": "mace_omol"}.get(
        of_mace, "mace_off" if of_mace.endswith("_off") else "mace_mp"
    )
    assert len(asked) == 2
    assert {one for one, _ in asked} == {function}
    wanted = None if function == "mace_omol" else of_mace.removesuffix("_off")
    assert {model for _, model in asked} == {wanted}


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("smal", "is no file and no name of a foundation model"),
        ("polar-1-s", "charges of MACE.s own kind"),
    ],
)
def test_names_that_cannot_be_used_are_refused(tmp_path, name, message):
    args = parse(tmp_path, f"--foundation_model={name}")
    with pytest.raises(UserError, match=message):
        find_start(args)


def test_a_download_that_fails_is_one_sentence(tmp_path, monkeypatch):
    def fail(**_):
        raise RuntimeError("Model download failed and no local model found")

    monkeypatch.setattr(foundation.foundations_models, "mace_mp", fail)
    with pytest.raises(UserError, match=r"could not load its foundation model 'small'.*network"):
        find_start(parse(tmp_path, "--foundation_model=small"))
