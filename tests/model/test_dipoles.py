"""Atomic dipoles and susceptibilities: symmetry, scales, and the macro-dipole relation."""

import copy

import numpy as np
import pytest
import torch
from e3nn import o3
from e3nn.util.jit import compile as compile_model

from helpers import (
    GIVEN,
    STRUCTURES,
    TOLERANCE,
    evaluate,
    make_batch,
    make_model,
    slab_water,
    water,
)
from mace_smile.calculator import SmileCalculator
from mace_smile.errors import UserError
from mace_smile.model.files import load_model
from mace_smile.model.options import SmileOptions
from mace_smile.model.smile_mace import SmileMACE

DIPOLES = {"charge_head": "none", "dipole_head": "local", "screening": "none"}


def make_dipole_model(*shape, **options):
    """A model whose atomic dipoles are of ordinary size."""
    model = make_model(*shape, **{"dipole_head": "local", **options})
    with torch.no_grad():
        model.charge_heads["atomic_dipoles"].gates.weight.mul_(30.0)
        for name in ("susceptibility", "given_susceptibility"):
            if name in model.charge_heads:
                start = 0.4 if name == "susceptibility" else 0.2
                model.charge_heads[name].log_screening.fill_(np.log1p(start))
    return model


@pytest.mark.parametrize("hidden_irreps", ["4x0e", "4x0e+4x1o", "4x0e+4x1o+4x2e"])
@pytest.mark.parametrize("n_layers", [1, 2])
def test_atomic_dipoles_turn_with_the_structure(hidden_irreps, n_layers):
    """Also under inversion, and whatever the hidden irreps are."""
    model = make_dipole_model(hidden_irreps, n_layers)
    atoms = water(3)
    dipoles = evaluate(model, atoms)["atomic_dipoles"].detach()
    assert dipoles.shape == (9, 3)
    assert (dipoles.norm(dim=1) > 1e-3).all()
    rotation = o3.rand_matrix()
    for matrix in (rotation, -rotation):
        turned = atoms.copy()
        turned.positions = atoms.positions @ matrix.numpy().T
        result = evaluate(model, turned)["atomic_dipoles"].detach()
        torch.testing.assert_close(result, dipoles @ matrix.T, rtol=0, atol=1e-10)


def test_dipoles_are_carried_by_the_chosen_elements():
    model = make_dipole_model(dipole_elements=("O",))
    atoms = slab_water()
    dipoles = evaluate(model, atoms)["atomic_dipoles"].detach()
    is_oxygen = torch.tensor(atoms.numbers == 8)
    assert (dipoles[is_oxygen].norm(dim=1) > 1e-3).all()
    assert (dipoles[~is_oxygen] == 0).all()
    with pytest.raises(ValueError, match="names Fe, which the model does not know"):
        make_model(dipole_head="local", dipole_elements=("O", "Fe"))


@pytest.mark.parametrize("boundary", STRUCTURES)
def test_the_dipole_is_that_of_charges_and_of_atomic_dipoles(boundary):
    model = make_dipole_model(susceptibility=0.4)
    atoms = STRUCTURES[boundary]()
    output = evaluate(model, atoms)
    charges, dipoles = output["response_charges"], output["atomic_dipoles"]
    expected = charges @ torch.tensor(atoms.positions) + dipoles.sum(dim=0)
    torch.testing.assert_close(output["response_dipole"][0], expected)
    # The same model without its dipole head: they enter no energy.
    other = make_model(susceptibility=0.4)
    other.load_state_dict(
        {name: value for name, value in model.state_dict().items() if "atomic_dipoles" not in name}
    )
    without = evaluate(other, atoms)
    for name in ("energy", "forces", "charges"):
        assert torch.equal(output[name], without[name]), name


def test_translation_changes_no_dipole_of_neutral_molecules():
    for options in ({}, DIPOLES):
        model = make_dipole_model(**options)
        atoms = water(3)
        moved = atoms.copy()
        moved.translate([3.0, -2.0, 1.0])
        first, second = (evaluate(model, one)["macro_dipole"] for one in (atoms, moved))
        torch.testing.assert_close(second, first, rtol=0, atol=1e-10)


def test_dipoles_alone_need_no_whole_molecules():
    """Without learned charges the dipole of a periodic cell has one branch only."""
    model = make_dipole_model(**DIPOLES)
    atoms = STRUCTURES["periodic"]()
    moved = atoms.copy()
    moved.translate([2.0, 3.0, 1.0])
    moved.wrap()
    first, second = (evaluate(model, one) for one in (atoms, moved))
    torch.testing.assert_close(second["macro_dipole"], first["macro_dipole"], rtol=0, atol=1e-10)
    assert first["charges"] is None
    assert first["electrostatic_energy"].item() == 0.0


def test_dipoles_alone_with_given_charges():
    model = make_dipole_model(**DIPOLES, **GIVEN, susceptibility=0.4)
    atoms = slab_water()
    output = evaluate(model, atoms)
    given = atoms.arrays["electrode_charge"] @ atoms.positions
    assert output["response_charges"].tolist() == atoms.arrays["electrode_charge"].tolist()
    expected = torch.tensor(given) + output["atomic_dipoles"].sum(dim=0)
    torch.testing.assert_close(output["response_dipole"][0], expected)
    assert output["macro_dipole"][0, 2].item() == pytest.approx(expected[2].item() / 1.4)


def charged_slabs(size):
    atoms = slab_water()
    atoms.arrays["electrode_charge"] *= size
    return atoms


@pytest.mark.parametrize("chi", [-0.3, 0.0, 0.41, 2.0])
def test_change_of_the_dipole_with_given_charges_measures_the_susceptibility(chi):
    """(1 + chi) d mu_z = d sum over given charges of Q z, at fixed geometry (S0 eq. 4)."""
    model = make_dipole_model(**GIVEN, susceptibility=chi, electrostatics="none")
    first, second = (evaluate(model, charged_slabs(size)) for size in (1.0, 3.0))
    change = (second["macro_dipole"] - first["macro_dipole"])[0, 2].item()
    atoms = slab_water()
    given = 2.0 * (atoms.arrays["electrode_charge"] @ atoms.positions)[2]
    assert (1.0 + chi) * change == pytest.approx(given, rel=1e-10)


@pytest.mark.parametrize("learned", [False, True])
def test_given_charges_may_have_a_susceptibility_of_their_own(learned):
    """mu_z = mu_learned / (1 + chi) + mu_given / (1 + chi_given)."""
    options = {"susceptibility": 0.4, "given_susceptibility": 0.2}
    if learned:
        options = {"learn_susceptibility": True, "learn_given_susceptibility": True}
    model = make_dipole_model(**GIVEN, **options, electrostatics="none")
    assert model.susceptibility_value() == pytest.approx(0.4)
    assert model.given_susceptibility_value() == pytest.approx(0.2)
    atoms = slab_water()
    output = evaluate(model, atoms)
    given = (atoms.arrays["electrode_charge"] @ atoms.positions)[2]
    total = output["response_dipole"][0, 2].item()
    expected = (total - given) / 1.4 + given / 1.2
    assert output["macro_dipole"][0, 2].item() == pytest.approx(expected)
    second = evaluate(model, charged_slabs(2.0))
    change = (second["macro_dipole"] - output["macro_dipole"])[0, 2].item()
    assert 1.2 * change == pytest.approx(given, rel=1e-10)
    for axis in (0, 1):
        assert output["macro_dipole"][0, axis] == output["response_dipole"][0, axis]


def test_a_learned_susceptibility_stays_above_minus_one_and_the_scale_follows():
    model = make_model(learn_susceptibility=True)
    theta = model.charge_heads["susceptibility"].log_screening
    for value in (-5.0, 0.0, 1.2):
        theta.data.fill_(value)
        assert model.susceptibility_value() == pytest.approx(np.expm1(value))
        assert model.susceptibility_value() > -1.0
        assert model.scale_value() == pytest.approx(np.exp(0.5 * value))
    theta.data.fill_(np.log(1.44))
    output = evaluate(model, water(2))
    torch.testing.assert_close(output["response_charges"], 1.2 * output["charges"])
    fixed = make_model(learn_susceptibility=True, screening_value=1.1)
    fixed.charge_heads["susceptibility"].log_screening.data.fill_(1.0)
    assert fixed.scale_value() == 1.1


def test_a_learned_susceptibility_equals_a_fixed_one():
    learned, fixed = make_dipole_model(learn_susceptibility=True), make_model(susceptibility=0.4)
    names = dict(fixed.named_parameters()).keys()
    fixed.load_state_dict({n: v for n, v in learned.state_dict().items() if n in names}, False)
    atoms = slab_water()
    first, second = evaluate(learned, atoms), evaluate(fixed, atoms)
    for name in ("energy", "forces", "charges"):
        torch.testing.assert_close(first[name], second[name])


def test_every_parameter_has_a_gradient_in_every_batch():
    """Also where no structure is a slab or has given charges, as several ranks want it."""
    model = make_dipole_model(
        **GIVEN,
        screening="none",
        learn_susceptibility=True,
        learn_given_susceptibility=True,
        dipole_elements=("O",),
    )
    for build, is_slab in ((lambda: water(3), False), (slab_water, True)):
        model.zero_grad()
        output = model(make_batch([build()], model), training=True)
        (output["energy"].sum() + output["macro_dipole"].pow(2).sum()).backward()
        for name, parameter in model.charge_heads.named_parameters():
            assert parameter.grad is not None, name
            if is_slab:
                assert parameter.grad.abs().sum() > 0, name


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize(
    "options",
    [
        {"susceptibility": 0.4, "given_susceptibility": 0.2, "dipole_elements": ("O",)},
        {"learn_susceptibility": True, "learn_given_susceptibility": True},
        {**DIPOLES, "learn_susceptibility": True},
    ],
)
def test_scripted_model_equals_eager(dtype, options, tmp_path):
    torch.set_default_dtype(dtype)
    model = make_dipole_model("4x0e", 1, **GIVEN, **options)
    frames = [build() for build in STRUCTURES.values()]
    expected = model(make_batch(frames, model))
    path = tmp_path / "scripted.pt"
    torch.jit.save(compile_model(copy.deepcopy(model)), path)
    output = torch.jit.load(path)(make_batch(frames, model))
    for name, value in expected.items():
        if value is None:
            assert output[name] is None
        else:
            torch.testing.assert_close(output[name], value, rtol=TOLERANCE[dtype], atol=1e-6)


def test_polarize_gives_from_node_features_what_forward_gives():
    model = make_dipole_model(**GIVEN, susceptibility=0.4)
    frames = [build() for build in STRUCTURES.values()]
    batch = make_batch(frames, model)
    output = model(batch)
    batch = make_batch(frames, model)
    features = output["node_feats"].detach()
    cells = batch["cell"].view(-1, 3, 3)
    polarized = model.polarize(features, batch, batch["positions"], cells)
    for name in ("charges", "response_charges", "atomic_dipoles", "macro_dipole"):
        assert torch.equal(polarized[name], output[name]), name
    assert polarized["periodic"].sum(dim=1).tolist() == [0, 3, 2]
    assert torch.equal(polarized["whole_positions"], batch["positions"])


def test_a_stored_model_keeps_what_it_has_learned(tmp_path):
    model = make_dipole_model(learn_susceptibility=True)
    torch.save(model, tmp_path / "learned.model")
    loaded = load_model(tmp_path / "learned.model")
    assert loaded.susceptibility_value() == pytest.approx(0.4)
    atoms = slab_water()
    for name in ("energy", "macro_dipole", "atomic_dipoles"):
        assert torch.equal(evaluate(loaded, atoms)[name], evaluate(model, atoms)[name])


def calculated(model, atoms):
    """Outputs of the calculator, which checks its structures as training does."""
    calculator = SmileCalculator(model)
    calculator.calculate(atoms)
    return calculator.outputs


def test_given_charges_on_all_atoms_must_give_the_total_charge():
    model = make_model(**GIVEN)
    atoms = slab_water()
    atoms.arrays["electrode"][:] = 1
    calculated(model, atoms)  # they add up to zero
    atoms.info["total_charge"] = 1.0
    message = r"add up to 0 e but the total charge is 1 e, and no atom is left.*correct the given"
    with pytest.raises(UserError, match=message):
        calculated(model, atoms)
    free = make_model(**GIVEN, total_charge_constraint="none")
    assert calculated(free, atoms)["predicted_total_charge"] == pytest.approx(0.0)
    atoms.arrays["electrode"][0] = 0  # one atom makes up the difference
    assert calculated(model, atoms)["predicted_total_charge"] == pytest.approx(1.0)


def test_given_charges_beside_dipoles_alone_must_give_the_total_charge():
    model = make_dipole_model(**DIPOLES, **GIVEN)
    atoms = slab_water()
    atoms.arrays["electrode_charge"][-1] = 0.0
    with pytest.raises(UserError, match=r"add up to 0.2 e .*the model predicts no charges to make"):
        calculated(model, atoms)
    atoms.info["total_charge"] = 0.2
    outputs = calculated(model, atoms)
    assert outputs["predicted_total_charge"] == pytest.approx(0.2)
    assert outputs["atomic_dipoles"].shape == (len(atoms), 3)


def test_options_of_susceptibilities_are_checked():
    with pytest.raises(ValueError, match="`given_susceptibility` is -1.5 but must be above -1"):
        SmileOptions(given_susceptibility=-1.5)
    with pytest.raises(ValueError, match="`dipole_head` is 'global' but must be one of none, loc"):
        SmileOptions(dipole_head="global")
    assert isinstance(make_model(dipole_head="local"), SmileMACE)
