"""Heads of a model of ours in the model that continues it: their weights, and what they give."""

import dataclasses
from pathlib import Path

import ase
import numpy as np
import pytest
import torch
from mace.modules import ScaleShiftMACE
from mace.tools import AtomicNumberTable
from mace.tools.finetuning_utils import load_foundations_elements
from mace.tools.scripts_utils import extract_config_mace_model

from helpers import ELEMENTS, evaluate, make_model
from mace_smile.errors import UserError
from mace_smile.model.element_axes import element_axes
from mace_smile.model.files import load_model
from mace_smile.model.options import SmileOptions
from mace_smile.model.smile_mace import SmileMACE
from mace_smile.training.fine_tuning import copy_heads, with_smile_models
from training_data import frames, run, write

DATA = Path(__file__).parents[1] / "data"
OUTPUTS = (
    "energy",
    "forces",
    "stress",
    "charges",
    "atomic_dipoles",
    "macro_dipole",
    "electrostatic_potential",
    "born_effective_charges",
    "polarizability",
)
#: All heads there are, in two models: Born charges are a readout, or derivatives.
EVERYTHING = {
    "dipole_head": "local",
    "dipoles_in_energy": True,
    "polarizability_head": "local",
    "long_range_readout": "learned",
    "long_range_channels": 2,
    "coulomb_terms": "long_range",
    "smearing": 1.1,
    "learn_susceptibility": True,
}
EVERY_HEAD = {
    "uncoupled": {**EVERYTHING, "screening": "uncoupled"},
    "local": {
        **EVERYTHING,
        "screening": "local",
        "learn_given_susceptibility": True,
        "screening_value": -1.2,
    },
    "global": {"screening": "global", "screening_value": -1.2, "learn_screening_value": True},
}


def every_head(hidden_irreps: str = "4x0e+4x1o", **options) -> SmileMACE:
    """A model of which no parameter is what it is by default."""
    model = make_model(hidden_irreps, **options)
    torch.manual_seed(3)
    with torch.no_grad():
        for parameter in model.charge_heads.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return model


def of_elements(model: SmileMACE, elements: list[int], seed: int = 7) -> SmileMACE:
    """A model of some elements that MACE's fine-tuning would start from another one with."""
    torch.manual_seed(seed)
    chosen = [ELEMENTS.index(z) for z in elements]
    config = extract_config_mace_model(model.backbone)
    energies = model.backbone.atomic_energies_fn.atomic_energies[:, chosen]
    config.update(atomic_numbers=elements, num_elements=len(elements))
    config["atomic_energies"] = energies.numpy()
    backbone = load_foundations_elements(
        ScaleShiftMACE(**config),
        model.backbone,
        AtomicNumberTable(elements),
        load_readout=True,
        max_L=model.backbone.products[0].linear.irreps_out.lmax,
    )
    return SmileMACE(backbone, model.options)


def cluster(elements: list[int]) -> ase.Atoms:
    """Eight atoms at random places in a periodic cell."""
    rng = np.random.default_rng(4)
    places = np.stack(np.meshgrid([0, 1], [0, 1], [0, 1]), axis=-1).reshape(-1, 3) * 2.4
    positions = places + rng.uniform(-0.3, 0.3, (8, 3))
    return ase.Atoms(np.resize(elements, 8), positions, cell=[9.0, 9.2, 9.4], pbc=True)


def assert_same_outputs(model: SmileMACE, foundation: SmileMACE, atoms: ase.Atoms) -> None:
    """All outputs of the two are the same."""
    expected = evaluate(foundation, atoms, compute_stress=True)
    found = evaluate(model, atoms, compute_stress=True)
    for name in OUTPUTS:
        assert (expected[name] is None) == (found[name] is None), name
        if expected[name] is not None:
            error = (found[name] - expected[name]).abs().max()
            assert error < 1e-10 * (1.0 + expected[name].abs().max()), name


@pytest.mark.parametrize("elements", [ELEMENTS, [1, 8], [8, 10]])
@pytest.mark.parametrize(
    ("screening", "hidden_irreps"),
    [("uncoupled", "4x0e"), ("uncoupled", "4x0e+4x1o"), ("local", "4x0e"), ("global", "4x0e")],
)
def test_all_outputs_stay_when_a_model_is_continued(screening, elements, hidden_irreps):
    foundation = every_head(hidden_irreps, **EVERY_HEAD[screening])
    model = of_elements(foundation, elements)
    copy_heads(model, foundation)
    assert_same_outputs(model, foundation, cluster(elements))


def test_the_models_of_the_test_above_have_every_output_and_head():
    models = [every_head(**options) for options in EVERY_HEAD.values()]
    outputs = [evaluate(model, cluster([1, 8]), compute_stress=True) for model in models]
    for name in OUTPUTS:
        assert any(output[name] is not None and output[name].any() for output in outputs), name
    names = {name for model in models for name in model.charge_heads}
    assert len(names) == 12


def test_every_axis_of_elements_is_declared():
    """Shapes of models of three and of two elements differ where a head says so."""
    for options in EVERY_HEAD.values():
        foundation = make_model("4x0e", **options)
        model = of_elements(foundation, [1, 8])
        for name, head in foundation.charge_heads.items():
            declared = {
                (id(getattr(module, one.name)), one.axis) for module, one in element_axes(head)
            }
            other = model.charge_heads[name].state_dict(keep_vars=True)
            differing = {
                (id(value), axis)
                for key, value in head.state_dict(keep_vars=True).items()
                for axis in range(value.dim())
                if value.shape[axis] != other[key].shape[axis]
            }
            assert differing == declared, name


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


def test_a_model_is_continued_with_data_of_fewer_elements(tmp_path):
    """The foundation model knows neon, the frames do not."""
    foundation = every_head(screening="uncoupled")
    torch.save(foundation, tmp_path / "foundation.model")
    write(tmp_path, frames(4))
    flags = ("--name=tuned", "--max_num_epochs=1", "--lr=0", "--valid_fraction=0.5")
    run(tmp_path, *flags, f"--foundation_model={tmp_path}/foundation.model", "--loss=weighted")
    tuned = load_model(tmp_path / "tuned.model")
    assert tuned.atomic_numbers.tolist() == [1, 8]
    assert_same_outputs(tuned, foundation, frames(1)[0])


@pytest.mark.parametrize("elements", [ELEMENTS, [1, 8]])
def test_a_head_of_an_older_version_stays_in_its_form(elements):
    foundation = load_model(DATA / "format_1.model")
    assert not foundation.charge_heads["born_effective_charges"].has_neighbour_vectors
    model = of_elements(foundation, elements)
    copy_heads(model, foundation)
    assert not model.charge_heads["born_effective_charges"].has_neighbour_vectors
    assert_same_outputs(model, foundation, cluster(elements))


def test_a_learned_factor_keeps_its_sign():
    foundation = every_head(**EVERY_HEAD["global"])
    options = dataclasses.replace(foundation.options, screening_value=None)
    model = SmileMACE(foundation.backbone, options)
    copy_heads(model, foundation)
    assert model.scale_value() == foundation.scale_value() < 0


def test_heads_keep_the_factor_of_their_sums_over_neighbours():
    foundation = every_head(screening="uncoupled")
    model = of_elements(foundation, [1, 8])
    for module in foundation.charge_heads.modules():
        if hasattr(module, "normalization"):
            module.normalization *= 1.1
    copy_heads(model, foundation)
    assert_same_outputs(model, foundation, cluster([1, 8]))


def test_heads_of_another_size_are_refused():
    with pytest.raises(UserError, match=r"no weights that fit `charge_heads.charges.hidden.weig"):
        copy_heads(make_model(charge_channels=8), make_model())
    older = load_model(DATA / "format_1.model")
    options = SmileOptions(screening="uncoupled", born_channels=8)
    with pytest.raises(UserError, match=r"no weights that fit `charge_heads.born_effective_charg"):
        copy_heads(SmileMACE(older.backbone, options), older)


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
