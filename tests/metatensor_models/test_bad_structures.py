"""Structures no simulation should be in end in one sentence of the exported model."""

import ase
import numpy as np
import pytest
import torch
from metatomic.torch import AtomisticModel, ModelEvaluationOptions, ModelOutput, System

from exported import build, to_system
from helpers import bulk_water, make_model, water
from mace_smile.calculator import SmileCalculator
from mace_smile.errors import UserError

OPTIONS = ModelEvaluationOptions(length_unit="angstrom", outputs={"energy": ModelOutput(unit="eV")})


@pytest.fixture(scope="module")
def exported() -> AtomisticModel:
    torch.set_default_dtype(torch.float64)
    return build(make_model(electrostatics="none"))


def sentence(exported: AtomisticModel, system: System) -> str:
    """What the model says to a structure, as engines call it: without metatomic's checks."""
    with pytest.raises((torch.jit.Error, RuntimeError, ValueError)) as refused:
        exported([system], OPTIONS, check_consistency=False)
    return str(refused.value).strip().splitlines()[-1]


def changed(exported: AtomisticModel, atoms: ase.Atoms, **parts: torch.Tensor) -> System:
    """A system with its neighbour list, and other parts in place of its own."""
    system = to_system(exported, atoms)
    own = {name: getattr(system, name) for name in ("types", "positions", "cell", "pbc")}
    result = System(**{**own, **parts})
    for options in system.known_neighbor_lists():
        result.add_neighbor_list(options, system.get_neighbor_list(options))
    return result


def test_two_atoms_at_one_place_are_named_with_their_distance(exported):
    atoms = water(3)
    atoms.positions[7] = atoms.positions[2] + [0.0, 0.003, 0.0]
    found = sentence(exported, to_system(exported, atoms))
    assert "the atoms 2 and 7 are at one place, 0.003 A apart" in found
    with pytest.raises(UserError, match=r"atoms 2 and 7 are at the same place, 0.003000 A apart"):
        SmileCalculator(make_model()).calculate(atoms)


def test_an_atom_on_its_image_is_refused(exported):
    atoms = ase.Atoms("O2", [[0, 0, 0], [5, 0, 0]], cell=[5, 6, 7], pbc=True)
    assert "the atoms 0 and 1 are at one place" in sentence(exported, to_system(exported, atoms))


def test_atoms_that_are_merely_close_are_not_refused(exported):
    atoms = ase.Atoms("OH", [[0, 0, 0], [0.3, 0, 0]])
    exported([to_system(exported, atoms)], OPTIONS, check_consistency=False)


def test_positions_that_are_no_numbers_are_refused(exported):
    atoms = bulk_water()
    positions = torch.tensor(atoms.positions)
    positions[3, 1] = torch.nan
    system = changed(exported, atoms, positions=positions)
    assert "positions or cell vectors that are not finite" in sentence(exported, system)


def test_flat_cells_are_refused_and_left_handed_ones_are_not(exported):
    atoms = bulk_water()
    cell = torch.tensor(atoms.cell.array)
    flat = changed(exported, atoms, cell=cell[[0, 1, 1]])
    assert "lie in one plane, so the cell has no volume" in sentence(exported, flat)
    mirrored = atoms.copy()
    mirrored.set_cell(atoms.cell.array[[1, 0, 2]])
    energies = [
        exported([to_system(exported, each)], OPTIONS, check_consistency=False)["energy"][0].values
        for each in (atoms, mirrored)
    ]
    torch.testing.assert_close(*energies)


def test_a_structure_without_atoms_is_refused(exported):
    system = System(
        torch.zeros(0, dtype=torch.int32),
        torch.zeros((0, 3)),
        torch.zeros((3, 3)),
        torch.zeros(3, dtype=torch.bool),
    )
    assert "a structure without atoms" in sentence(exported, system)


def test_another_precision_is_refused(exported):
    system = to_system(exported, water(2)).to(dtype=torch.float32)
    found = sentence(exported, system)
    assert "another precision than that of the model, float64" in found


def test_a_missing_neighbour_list_is_refused(exported):
    own = to_system(exported, water(2))
    system = System(own.types, own.positions, own.cell, own.pbc)
    assert "gave no full neighbour list with the cutoff 4 A" in sentence(exported, system)


def test_unknown_elements_are_refused(exported):
    for symbol in ("Au", "He"):  # beyond the largest number the model knows, and between
        atoms = water(2)
        atoms.symbols[4] = symbol
        number = str(atoms.numbers[4])
        assert f"does not support the atomic type '{number}'" in sentence(
            exported, to_system(exported, atoms)
        )


def test_one_bad_structure_of_a_batch_is_refused(exported):
    good, bad = water(2), water(2)
    bad.positions[1] = bad.positions[0]
    systems = [to_system(exported, atoms) for atoms in (good, bad)]
    with pytest.raises(torch.jit.Error, match="the atoms 0 and 1 are at one place, 0 A apart"):
        exported(systems, OPTIONS, check_consistency=False)


def test_single_atoms_have_an_energy(exported):
    system = to_system(exported, ase.Atoms("O", [[0.0, 0.0, 0.0]]))
    energy = exported([system], OPTIONS, check_consistency=False)["energy"][0].values
    assert np.isfinite(energy.item())
