"""Fields to second order in exported models: forces, the output, and what is refused."""

from pathlib import Path

import numpy as np
import pytest
import torch
from metatensor.torch import Labels
from metatomic.torch import AtomisticModel

from exported import FIELDS, LOCAL, build, forces, run, to_system, write_model
from helpers import STRUCTURES, make_model, water
from mace_smile.calculator import SmileCalculator
from mace_smile.errors import UserError
from metatensor_models.evaluator import Evaluator
from metatensor_models.export import check_request, declared_range
from metatensor_models.options import ExportOptions

NAME = "mace_smile::polarizability"


def polarizable(**options):
    return make_model(polarizability_head="local", **options)


@pytest.fixture(scope="module")
def exported() -> AtomisticModel:
    torch.set_default_dtype(torch.float64)
    return build(polarizable(screening="local", dipole_head="local"))


@pytest.fixture(scope="module")
def local(tmp_path_factory) -> Path:
    """A file that has passed the check of the export."""
    torch.set_default_dtype(torch.float64)
    return write_model(tmp_path_factory.mktemp("local"), polarizable(**LOCAL))


@pytest.mark.parametrize("boundary", STRUCTURES)
def test_forces_and_polarizability_are_those_of_the_calculator(exported, boundary):
    atoms = STRUCTURES[boundary]()
    model = polarizable(screening="local", dipole_head="local")
    for field, vector in FIELDS.items():
        calculator = SmileCalculator(model, electric_field=vector)
        expected = calculator.get_forces(atoms)
        np.testing.assert_allclose(forces(exported, atoms, f"energy/{field}"), expected, atol=1e-10)
        first = SmileCalculator(model, electric_field=vector, field_order=1)
        assert np.abs(first.get_forces(atoms) - expected).max() > 1e-6
    found = run(exported, [to_system(exported, atoms)], [NAME])[NAME].detach().numpy()
    np.testing.assert_allclose(found, calculator.outputs["polarizability"], atol=1e-12)


def test_several_fields_at_once_and_without_gradients(exported):
    """Each variant has its own second order; the energy stays that without a field."""
    atoms = STRUCTURES["open"]()
    names = ["energy", "energy/tilted", "energy/z05"]
    systems = [to_system(exported, atoms), to_system(exported, STRUCTURES["periodic"]())]
    energies = run(exported, systems, names)
    for name in names[1:]:
        gradient = torch.autograd.grad(
            energies[name].sum(), systems[0].positions, retain_graph=True
        )[0]
        np.testing.assert_allclose(-gradient.numpy(), forces(exported, atoms, name), atol=1e-12)
        torch.testing.assert_close(energies[name], energies["energy"], atol=0.0, rtol=0.0)
    system = to_system(exported, atoms)
    with torch.no_grad():
        found = run(exported, [system], ["energy/tilted"])["energy/tilted"]
    assert float(found[0].detach()) == pytest.approx(
        float(energies["energy"][0].detach()), abs=1e-12
    )


def test_interaction_range_grows_with_the_order():
    """The gradient of a polarizability reaches as far again as the polarizability."""
    model = polarizable(**LOCAL)
    for options, expected in (
        ({}, 8.0),
        ({"fields": FIELDS}, 16.0),
        ({"fields": FIELDS, "field_order": 1}, 8.0),
    ):
        assert declared_range(model, ExportOptions(**options)) == expected


def test_first_order_can_be_chosen_and_is_stored(exported):
    model = polarizable(screening="local", dipole_head="local")
    first = build(model, field_order=1)
    atoms = STRUCTURES["open"]()
    calculator = SmileCalculator(model, electric_field=FIELDS["tilted"], field_order=1)
    expected = calculator.get_forces(atoms)
    np.testing.assert_allclose(forces(first, atoms, "energy/tilted"), expected, atol=1e-12)
    assert first.metadata().extra["field_order"] == "1"
    assert exported.metadata().extra["field_order"] == "2"
    assert "F0 + Z^T E + 1/2 grad(E alpha E)" in exported.metadata().description


@pytest.mark.parametrize("boundary", ["periodic", "slab"])
def test_engines_feel_the_second_order_in_forces_alone(local, boundary):
    """As LAMMPS evaluates it, the positions being strained; the virial is that without a field."""
    atoms = STRUCTURES[boundary]()
    given = (atoms.numbers, atoms.positions, atoms.cell.array, atoms.pbc)
    found = Evaluator(local, "tilted").evaluate(*given)
    calculator = SmileCalculator(polarizable(**LOCAL), electric_field=FIELDS["tilted"])
    np.testing.assert_allclose(found.forces, calculator.get_forces(atoms), atol=1e-10)
    without = Evaluator(local).evaluate(*given)
    in_plane = slice(0, 3 if boundary == "periodic" else 2)
    np.testing.assert_allclose(
        found.virial[in_plane, in_plane], without.virial[in_plane, in_plane], atol=1e-12
    )


@pytest.mark.parametrize("field_order", [None, 1])
def test_a_selection_of_atoms_feels_the_first_order_only(field_order):
    exported = build(polarizable(**LOCAL), field_order=field_order)
    system = to_system(exported, water(3))
    some = Labels(["system", "atom"], torch.tensor([[0, 0], [0, 1]]))
    if field_order == 1:
        assert run(exported, [system], ["energy/z05"], "atom", some)["energy/z05"].shape == (2,)
    else:
        with pytest.raises(torch.jit.Error, match="--field_order 1"):
            run(exported, [system], ["energy/z05"], "atom", some)
    with pytest.raises(torch.jit.Error, match="as does a polarizability"):
        run(exported, [system], [NAME], "system", some)


@pytest.mark.parametrize(
    ("model", "options", "message"),
    [
        ({}, {"field_order": 2}, "`field_order` is 2 but the model has no polarizability"),
        ({"polarizability_head": "local"}, {"field_kind": "vacuum"}, "add --field_order 1"),
        ({}, {"field_order": 1, "fields": {}}, "`--field_order` has no effect without --field"),
    ],
)
def test_orders_that_cannot_be_had_are_refused(model, options, message):
    with pytest.raises(UserError, match=message):
        check_request(make_model(**model), ExportOptions(**{"fields": FIELDS, **options}))
    check_request(polarizable(), ExportOptions(fields=FIELDS, field_kind="vacuum", field_order=1))
