import pytest
import torch

from helpers import make_model
from mace_smile.errors import UserError
from mace_smile.model.files import load_model
from mace_smile.training.fine_tuning import copy_heads, with_smile_models
from training_data import frames, run, write


def test_model_of_ours_is_continued_with_its_heads(tmp_path):
    write(tmp_path, frames(4))
    run(tmp_path, "--screening=uncoupled", "--max_num_epochs=2", "--valid_fraction=0.5")
    first = load_model(tmp_path / "water.model")
    foundation = f"--foundation_model={tmp_path}/water.model"
    flags = ("--name=tuned", "--max_num_epochs=1", "--lr=0", "--valid_fraction=0.5", foundation)
    run(tmp_path, "--screening=uncoupled", *flags)
    tuned = load_model(tmp_path / "tuned.model")
    for name, parameter in first.charge_heads.named_parameters():
        assert torch.equal(parameter, tuned.charge_heads.get_parameter(name)), name
    for name, parameter in first.backbone.interactions.named_parameters():
        torch.testing.assert_close(parameter, tuned.backbone.interactions.get_parameter(name))


def test_heads_are_copied_to_a_model_of_fewer_elements():
    foundation = make_model()
    model = make_model()
    model.charge_heads["charges"].element_charges = torch.nn.Parameter(torch.zeros(2))
    model.atomic_numbers = torch.tensor([1, 10])
    born = model.charge_heads["born_effective_charges"]
    born.element_charges = torch.nn.Parameter(torch.zeros(2))
    given = foundation.charge_heads["born_effective_charges"].sender_weights.weight
    born.sender_weights = torch.nn.Linear(given.shape[1] - 1, given.shape[0], bias=False)
    copy_heads(model, foundation)
    charges = foundation.charge_heads["charges"].element_charges
    assert torch.equal(model.charge_heads["charges"].element_charges, charges[[0, 2]])
    assert torch.equal(born.sender_weights.weight, torch.cat([given[:, [0]], given[:, 2:]], dim=1))


def test_heads_of_another_size_are_refused():
    with pytest.raises(UserError, match=r"no weights that fit `charge_heads.charges.hidden.weig"):
        copy_heads(make_model(charge_channels=8), make_model())


def test_heads_the_foundation_lacks_stay_as_they_are():
    model = make_model()
    before = model.charge_heads["born_effective_charges"].gates.weight.detach().clone()
    copy_heads(model, make_model(screening="none"))
    assert torch.equal(model.charge_heads["born_effective_charges"].gates.weight, before)


def test_choice_of_one_head_keeps_our_heads():
    model = make_model()
    reduced = with_smile_models(lambda backbone, head: backbone)(model, "Default")
    assert reduced is not model
    for name, parameter in model.charge_heads.named_parameters():
        assert torch.equal(parameter, reduced.charge_heads.get_parameter(name))
    assert with_smile_models(lambda model, head: "of MACE")(model.backbone, "a") == "of MACE"


def test_one_head_of_a_model_with_born_charges_by_derivatives_is_whole():
    model = make_model(screening="local")
    reduced = with_smile_models(lambda backbone, head: backbone)(model, "Default")
    assert reduced.state_dict().keys() == model.state_dict().keys()
