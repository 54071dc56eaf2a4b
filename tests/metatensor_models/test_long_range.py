"""Electrostatics of exported models: outputs, methods, and a neighbour list of their own."""

import numpy as np
import pytest
import torch
from metatensor.torch import Labels
from metatomic.torch import AtomisticModel, System

from exported import build, forces, run, to_system, write_model
from helpers import R_MAX, STRUCTURES, bulk_water, evaluate, make_model, slab_water
from mace_smile import quantities
from mace_smile.model.options import SmileOptions
from mace_smile.model.smile_mace import SmileMACE
from metatensor_models.evaluator import Evaluator
from metatensor_models.metadata import electrostatics_settings
from metatensor_models.outputs import ELECTROSTATIC_OUTPUTS

COULOMB_CUTOFF = 5.5
#: Every method, both terms, both neighbour lists and both readouts.
MODELS = {
    "ewald, list of MACE": {"electrostatics": "ewald", "coulomb_terms": "full"},
    "pme, learned": {
        "electrostatics": "pme",
        "long_range_readout": "learned",
        "long_range_channels": 3,
    },
    "p3m, own list": {
        "electrostatics": "p3m",
        "coulomb_terms": "full",
        "coulomb_cutoff": COULOMB_CUTOFF,
    },
    "auto": {},
    "dipoles": {"dipole_head": "local", "dipoles_in_energy": True, "coulomb_terms": "full"},
}
POTENTIAL = "mace_smile::electrostatic_potential"
LOCAL_FIELD = "mace_smile::local_electric_field"


def small_model(**options) -> SmileMACE:
    return make_model(n_layers=1, screening="none", **options)


@pytest.fixture(scope="module", params=MODELS)
def pair(request) -> tuple[SmileMACE, AtomisticModel]:
    """A model, and the same exported."""
    torch.set_default_dtype(torch.float64)
    model = small_model(**MODELS[request.param])
    return model, build(model, fields={})


@pytest.fixture(scope="module")
def own_list() -> tuple[SmileMACE, AtomisticModel]:
    """A model with a second neighbour list, exported for engines that know no slabs.

    With the Ewald sum: on a mesh the energy of a shifted slab is another by some 1e-6 eV.
    """
    torch.set_default_dtype(torch.float64)
    model = small_model(**{**MODELS["p3m, own list"], "electrostatics": "ewald"})
    return model, build(model, fields={}, boundary="slab")


def outputs(exported: AtomisticModel, atoms) -> dict[str, torch.Tensor]:
    """All outputs of the electrostatics, under our names."""
    values = {}
    system = to_system(exported, atoms)
    for name in ELECTROSTATIC_OUTPUTS:
        quantity = quantities.BY_NAME[name]
        kind = "atom" if quantity.per_atom else "system"
        values[name] = run(exported, [system], [quantity.metatomic], kind)[quantity.metatomic]
    return values


def gradients(exported: AtomisticModel, atoms) -> tuple[torch.Tensor, ...]:
    """Derivatives of the energy by positions and strain, as engines take them."""
    system = to_system(exported, atoms)
    strain = torch.eye(3, requires_grad=True)
    strained = System(system.types, system.positions @ strain, system.cell @ strain, system.pbc)
    for options in system.known_neighbor_lists():
        strained.add_neighbor_list(options, system.get_neighbor_list(options))
    energy = run(exported, [strained], ["energy"])["energy"].sum()
    return torch.autograd.grad(energy, (system.positions, strain))


def check(found: dict, expected: dict) -> None:
    for name in ELECTROSTATIC_OUTPUTS:
        assert expected[name].abs().max() > 1e-3
        torch.testing.assert_close(found[name], expected[name], rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("boundary", STRUCTURES)
def test_exported_outputs_are_those_of_the_model(pair, boundary):
    model, exported = pair
    atoms = STRUCTURES[boundary]()
    expected = evaluate(model, atoms, compute_local_electric_field=True)
    check(outputs(exported, atoms), expected)
    np.testing.assert_allclose(
        forces(exported, atoms), expected["forces"].detach(), rtol=1e-10, atol=1e-10
    )


def test_several_structures_come_in_order(pair):
    exported = pair[1]
    frames = [create() for create in STRUCTURES.values()]
    systems = [to_system(exported, atoms) for atoms in frames]
    together = run(exported, systems, [POTENTIAL, LOCAL_FIELD], "atom")
    alone = [run(exported, [system], [POTENTIAL, LOCAL_FIELD], "atom") for system in systems]
    for name, values in together.items():
        torch.testing.assert_close(values, torch.cat([one[name] for one in alone]))


def test_an_engine_without_gradients_gets_the_local_field(pair):
    system = to_system(pair[1], bulk_water())
    expected = run(pair[1], [system], [LOCAL_FIELD], "atom")[LOCAL_FIELD]
    with torch.jit.optimized_execution(True), torch.no_grad():
        fresh = build(pair[0], fields={})
        for _ in range(3):  # TorchScript's optimiser sets in after the first calls
            found = run(fresh, [system], [LOCAL_FIELD], "atom")[LOCAL_FIELD]
            torch.testing.assert_close(found, expected)
            assert not torch.is_grad_enabled()


def test_gradients_stay_those_of_the_first_call(pair):
    """As in a simulation: from the second call on TorchScript has derivatives of its own."""
    atoms = bulk_water()
    with torch.jit.optimized_execution(True):
        fresh = build(pair[0], fields={})  # a model keeps how it was run first
        first = gradients(fresh, atoms)
        for _ in range(2):
            for found, expected in zip(gradients(fresh, atoms), first, strict=True):
                torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10)


def test_potential_and_field_are_not_added_up(pair):
    exported = pair[1]
    for name in (POTENTIAL, LOCAL_FIELD):
        with pytest.raises(torch.jit.Error, match=f"{name}.*with the sample kind 'atom'"):
            run(exported, [to_system(exported, bulk_water())], [name])


def test_parts_of_the_energy_are_not_taken_apart(pair):
    exported = pair[1]
    name = "mace_smile::electrostatic_energy"
    with pytest.raises(ValueError, match="only globally"):
        run(exported, [to_system(exported, bulk_water())], [name], "atom")


def test_a_selection_of_atoms_is_refused(pair):
    exported = pair[1]
    selected = Labels(["system", "atom"], torch.tensor([[0, 0]]))
    with pytest.raises(torch.jit.Error, match="use one domain"):
        run(exported, [to_system(exported, bulk_water())], [POTENTIAL], "atom", selected)


def test_a_cutoff_of_its_own_asks_for_a_second_list(pair):
    model, exported = pair
    cutoffs = [R_MAX, COULOMB_CUTOFF] if model.options.second_cutoff else [R_MAX]
    requests = exported.requested_neighbor_lists()
    assert sorted(request.cutoff for request in requests) == cutoffs
    assert all(request.full_list and request.strict for request in requests)
    assert exported.capabilities().interaction_range == float("inf")


@pytest.mark.parametrize("shift", [0.0, 5.0, 11.3])
def test_both_lists_belong_to_a_slab_made_whole(own_list, shift):
    model, exported = own_list
    slab = slab_water()
    cut = slab.copy()
    cut.positions[:, 2] += shift
    cut.pbc = True
    cut.wrap()
    expected = evaluate(model, slab, compute_local_electric_field=True)
    check(outputs(exported, cut), expected)
    np.testing.assert_allclose(forces(exported, cut), expected["forces"].detach(), atol=1e-10)


def test_the_vacuum_must_be_wider_than_both_cutoffs(own_list):
    exported = own_list[1]
    extent = np.ptp(slab_water().positions[:, 2])
    for gap, is_wide in ((R_MAX + 0.2, False), (COULOMB_CUTOFF + 0.2, True)):
        slab = slab_water(extent + gap)
        slab.pbc = True
        slab.wrap()
        if is_wide:
            assert np.isfinite(forces(exported, slab)).all()
        else:
            with pytest.raises(torch.jit.Error, match="must exceed 5.5"):
                forces(exported, slab)


def test_a_written_file_serves_engines_with_both_lists(own_list, tmp_path):
    model = own_list[0]
    path = write_model(tmp_path, model, fields={}, boundary="slab")  # checked before it is written
    slab = slab_water()
    expected = evaluate(model, slab)
    result = Evaluator(path, device="cpu").evaluate(
        slab.numbers, slab.positions, np.array(slab.cell), np.ones(3, dtype=bool)
    )
    assert result.energy == pytest.approx(expected["energy"].item(), rel=1e-12)
    np.testing.assert_allclose(result.forces, expected["forces"].detach(), atol=1e-10)


@pytest.mark.parametrize(
    ("options", "used"),
    [
        ({"electrostatics": "ewald"}, {"lr_wavelength"}),
        ({"electrostatics": "pme", "smearing": 1.5}, {"mesh_spacing"}),
        (
            {"coulomb_terms": "full", "coulomb_cutoff": 6.0, "net_charge": "error"},
            {"lr_wavelength", "mesh_spacing", "ewald_atoms", "coulomb_cutoff"},
        ),
    ],
)
def test_metadata_hold_the_numbers_behind_defaults(options, used):
    smile = SmileOptions(**options)
    settings = electrostatics_settings(smile, R_MAX)
    assert set(settings) - used == {
        "electrostatics",
        "coulomb_terms",
        "smearing",
        "long_range_readout",
        "long_range_channels",
        "dipoles_in_energy",
        "net_charge",
    }
    parameters = smile.coulomb_parameters(R_MAX)
    assert settings["coulomb_terms"] == parameters.terms
    assert settings["net_charge"] == smile.net_charge
    assert settings["smearing"] == parameters.smearing > 0
    for name in used - {"coulomb_cutoff"}:
        assert settings[name] == getattr(parameters, name) > 0
    assert settings.get("coulomb_cutoff") == smile.coulomb_cutoff
