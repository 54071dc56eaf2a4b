"""Fields as variants of the energy: forces F0 + Z^T E, and nothing else changes."""

import numpy as np
import pytest
import torch
from metatomic.torch import AtomisticModel, ModelEvaluationOptions, ModelOutput, System

from exported import FIELDS, build, forces, run, to_system
from helpers import STRUCTURES, make_model
from mace_smile.errors import UserError
from metatensor_models.export import check_request
from metatensor_models.fields import parse_fields
from metatensor_models.options import ExportOptions

CHI = 0.4


@pytest.fixture(scope="module")
def exported() -> AtomisticModel:
    torch.set_default_dtype(torch.float64)
    return build(make_model(susceptibility=CHI))


def born_charges(exported: AtomisticModel, atoms) -> np.ndarray:
    name = "mace_smile::born_effective_charges"
    return run(exported, [to_system(exported, atoms)], [name], "atom")[name].detach().numpy()


@pytest.mark.parametrize("boundary", STRUCTURES)
@pytest.mark.parametrize("field", FIELDS)
def test_force_of_a_field_is_born_charges_times_field(exported, boundary, field):
    atoms = STRUCTURES[boundary]()
    found = forces(exported, atoms, f"energy/{field}") - forces(exported, atoms)
    expected = np.einsum("iab,a->ib", born_charges(exported, atoms), FIELDS[field])
    assert np.abs(expected).max() > 1e-4
    np.testing.assert_allclose(found, expected, atol=1e-14)


@pytest.mark.parametrize("boundary", STRUCTURES)
def test_energy_does_not_change_in_a_field(exported, boundary):
    names = ["energy", *(f"energy/{field}" for field in FIELDS)]
    energies = run(exported, [to_system(exported, STRUCTURES[boundary]())], names)
    for name in names:
        assert energies[name].item() == energies["energy"].item()


@pytest.mark.parametrize("boundary", ["periodic", "slab"])
def test_stress_does_not_change_in_a_field(exported, boundary):
    atoms = STRUCTURES[boundary]()
    stresses = []
    for output in ("energy", "energy/tilted"):
        system = to_system(exported, atoms)
        strain = torch.eye(3, requires_grad=True)
        strained = System(system.types, system.positions @ strain, system.cell @ strain, system.pbc)
        for options in system.known_neighbor_lists():
            strained.add_neighbor_list(options, system.get_neighbor_list(options))
        energy = run(exported, [strained], [output])[output].sum()
        stresses.append(torch.autograd.grad(energy, strain)[0].numpy())
    in_plane = slice(0, 3 if boundary == "periodic" else 2)
    np.testing.assert_allclose(
        stresses[1][in_plane, in_plane], stresses[0][in_plane, in_plane], atol=1e-13
    )


def test_vacuum_field_acts_divided_by_one_plus_chi_along_the_normal():
    model = make_model(susceptibility=CHI)
    exported = build(model, field_kind="vacuum")
    atoms = STRUCTURES["slab"]()
    field = np.array(FIELDS["tilted"])
    acting = field / [1.0, 1.0, 1.0 + CHI]
    expected = np.einsum("iab,a->ib", born_charges(exported, atoms), acting)
    found = forces(exported, atoms, "energy/tilted") - forces(exported, atoms)
    np.testing.assert_allclose(found, expected, atol=1e-14)


def test_vacuum_field_needs_a_slab():
    exported = build(field_kind="vacuum")
    with pytest.raises(torch.jit.Error, match="field in vacuum .* which only a slab has"):
        forces(exported, STRUCTURES["periodic"](), "energy/z05")
    with pytest.raises(UserError, match="needs a slab but `--boundary` is 'periodic'"):
        ExportOptions(boundary="periodic", field_kind="vacuum", fields=FIELDS)


def test_field_acts_on_each_structure_of_a_batch(exported):
    systems = [to_system(exported, create()) for create in STRUCTURES.values()]
    output = ModelEvaluationOptions(outputs={"energy/tilted": ModelOutput()})
    energy = exported(systems, output, check_consistency=True)["energy/tilted"].block().values
    gradients = torch.autograd.grad(energy.sum(), [system.positions for system in systems])
    for create, gradient in zip(STRUCTURES.values(), gradients, strict=True):
        alone = forces(exported, create(), "energy/tilted")
        np.testing.assert_allclose(-gradient.numpy(), alone, atol=1e-12)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"screening": "none"}, "charges but no Born effective charges.*--screening global"),
        ({"screening": "none", "charge_head": "none"}, "neither charges nor Born effective"),
    ],
)
def test_field_without_born_charges_is_refused(options, message):
    with pytest.raises(UserError, match=message):
        check_request(make_model(**options), ExportOptions(fields=FIELDS))


def test_fields_are_read_from_the_command_line():
    assert parse_fields(["z05=0,0,0.05", "m.1=-1e-2,0,2"]) == {
        "z05": (0.0, 0.0, 0.05),
        "m.1": (-0.01, 0.0, 2.0),
    }


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (["0,0,0.05"], "must read NAME=ex,ey,ez"),
        (["a/b=0,0,1"], "letters, digits"),
        (["z=0,0"], "three finite numbers in V/A"),
        (["z=0,0,nan"], "three finite numbers in V/A"),
        (["z=0,0,x"], "three finite numbers in V/A"),
        (["z=0,0,1", "z=0,0,2"], "names 'z' twice"),
    ],
)
def test_malformed_fields_are_refused(texts, message):
    with pytest.raises(UserError, match=message):
        parse_fields(texts)
