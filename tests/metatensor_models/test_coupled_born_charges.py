"""Exported models whose Born effective charges are derivatives of charges and dipoles."""

import copy

import numpy as np
import pytest
import torch
from metatensor.torch import Labels

from exported import FIELDS, LOCAL, build, forces, run, to_system, write_model
from helpers import STRUCTURES, bulk_water, evaluate, make_model
from mace_smile.errors import UserError
from metatensor_models.export import check_request, declared_range
from metatensor_models.options import ExportOptions

BORN = "mace_smile::born_effective_charges"
OPTIONS = [
    {"screening": "local", "screening_value": -1.3, "dipole_head": "local"},
    {"screening": "global", "born_charge_method": "phase", "phase_harmonics": 2},
]


def born_charges(exported, atoms) -> np.ndarray:
    return run(exported, [to_system(exported, atoms)], [BORN], "atom")[BORN].detach().numpy()


@pytest.mark.parametrize("options", OPTIONS)
def test_exported_model_equals_eager_and_feels_the_field(options):
    model = make_model(susceptibility=0.2, **options)
    exported = build(model)
    for create in STRUCTURES.values():
        atoms = create()
        expected = evaluate(model, atoms)["born_effective_charges"].numpy()
        born = born_charges(exported, atoms)
        np.testing.assert_allclose(born, expected, rtol=0, atol=1e-10)
        for name, field in FIELDS.items():
            found = forces(exported, atoms, f"energy/{name}") - forces(exported, atoms)
            np.testing.assert_allclose(found, np.einsum("iab,a->ib", born, field), atol=1e-12)


def test_an_engine_may_have_switched_gradients_off():
    exported = build(make_model(screening="global"))
    system = to_system(exported, bulk_water())
    with torch.no_grad():
        born = run(exported, [system], [BORN], "atom")[BORN]
    np.testing.assert_allclose(born.detach().numpy(), born_charges(exported, bulk_water()))


def test_atoms_wrapped_by_an_engine_have_the_same_born_charges():
    exported = build(make_model(screening="local", dipole_head="local"))
    atoms = bulk_water()
    wrapped = atoms.copy()
    wrapped.positions += np.array([0.4, 0.3, 0.1]) @ atoms.cell.array
    wrapped.wrap()
    np.testing.assert_allclose(
        born_charges(exported, wrapped), born_charges(exported, atoms), rtol=0, atol=1e-10
    )


def test_a_written_model_passes_its_check_and_says_what_it_is(tmp_path):
    from metatomic.torch import load_atomistic_model

    path = write_model(tmp_path, make_model(acoustic_sum_rule="subtract", **OPTIONS[1]))
    metadata = load_atomistic_model(path).metadata()
    extra = metadata.extra
    assert extra["screening"] == "global"
    assert float(extra["screening_value"]) == 1.0
    assert extra["born_charge_method"] == "phase"
    assert extra["phase_harmonics"] == "2"
    assert extra["acoustic_sum_rule"] == "subtract"
    assert "Born effective charges (global 1, phase)" in metadata.description


def test_minimum_image_is_not_exported():
    model = make_model(screening="global", born_charge_method="minimum_image")
    with pytest.raises(UserError, match="works in Python only .* unfolded or phase"):
        check_request(model, ExportOptions())


@pytest.mark.parametrize(
    "options", [{"screening": "global"}, {"acoustic_sum_rule": "subtract"}], ids=str
)
def test_a_selection_of_atoms_is_refused(options):
    model = make_model(**LOCAL, **options)
    exported = build(model)
    system = to_system(exported, bulk_water())
    selected = Labels(["system", "atom"], torch.tensor([[0, 0], [0, 1]]))
    assert run(exported, [system], ["energy"], selected_atoms=selected)["energy"].numel() > 0
    for name in (BORN, "energy/z05"):
        with pytest.raises(torch.jit.Error, match="depends on the charges of others"):
            run(exported, [system], [name], selected_atoms=selected)


def test_born_charges_reach_twice_as_far_as_charges():
    options = ExportOptions()
    assert declared_range(make_model(**LOCAL), options) == 8.0
    assert declared_range(make_model(**LOCAL, screening="global"), options) == 16.0


def test_only_what_needs_born_charges_computes_them():
    model = make_model(**LOCAL, screening="global")
    exported = build(model)
    system = to_system(exported, bulk_water())
    energy = run(exported, [system], ["energy"])["energy"].sum()
    (gradient,) = torch.autograd.grad(energy, system.positions)
    expected = evaluate(copy.deepcopy(model), bulk_water())["forces"]
    torch.testing.assert_close(-gradient, expected, rtol=0, atol=1e-10)
