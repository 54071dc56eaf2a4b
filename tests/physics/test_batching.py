"""Structures of a batch do not see each other, and the module is one function of its input."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from coulomb import BOUNDARIES, OPEN, PERIODIC, SLAB, Charged, batch_of, potential, random_cell
from mace_smile.physics.electrostatics import Electrostatics
from mace_smile.physics.parameters import METHODS, TERMS, CoulombParameters, choose_parameters

#: Agreement of one sum done in two ways, relative to the largest potential.
ROUNDING = {torch.float64: 1e-12, torch.float32: 2e-5}


def parameters_of(method: str, terms: str) -> CoulombParameters:
    """Parameters with a mesh for the largest structures of the mixed batch, where auto has one."""
    return replace(choose_parameters(method, terms, cutoff=4.5), ewald_atoms=20)


def turned_slab(axis: int, seed: int) -> Charged:
    """A charged slab with its normal along a Cartesian axis and a cell vector."""
    slab = random_cell(9, seed, net_charge=0.4, periodic=SLAB, n_channels=2)
    order = [(row - axis - 1) % 3 for row in range(3)]
    return slab.change(
        positions=slab.positions[:, order],
        cell=slab.cell[order][:, order],
        periodic=tuple(row != axis for row in range(3)),
    )


def mixed() -> list[Charged]:
    """Structures of all kinds and sizes, two channels each."""
    small = random_cell(2, 1, n_channels=2)
    one = Charged(torch.tensor([[0.7, -0.2]]), torch.ones((1, 3)), 5.0 * torch.eye(3))
    return [
        turned_slab(0, 2),
        random_cell(40, 3, net_charge=0.3, n_channels=2),
        one.change(periodic=OPEN),
        small,
        random_cell(7, 4, net_charge=1.0, periodic=OPEN, n_channels=2),
        turned_slab(2, 5),
        random_cell(30, 6, n_channels=2),
        small.change(cell=small.cell[[1, 0, 2]]),
        one,
        random_cell(5, 7, periodic=OPEN, n_channels=2),
        turned_slab(1, 8),
    ]


def differentiated(module: torch.nn.Module, structures: list[Charged]) -> list[torch.Tensor]:
    """Potential, and the derivatives of the energy by charges, positions and cells."""
    is_full = bool(module.is_full)
    arguments = batch_of(structures, module.real_space.cutoff if is_full else None)
    inputs = [arguments[name].requires_grad_(True) for name in ("charges", "positions", "cells")]
    values = module(**arguments)
    energies = (values * arguments["charges"]).sum()
    # cells are not used where all structures are open
    gradients = torch.autograd.grad(energies, inputs, allow_unused=True, materialize_grads=True)
    return [values.detach(), *gradients]


def assert_same(value: torch.Tensor, expected: torch.Tensor) -> None:
    """Equal but for rounding, on the scale of the largest element."""
    assert value.dtype == expected.dtype
    scale = float(expected.abs().max())
    torch.testing.assert_close(value, expected, rtol=0, atol=ROUNDING[value.dtype] * scale)


@pytest.mark.parametrize("dtype", ROUNDING)
@pytest.mark.parametrize("terms", TERMS)
@pytest.mark.parametrize("method", METHODS)
def test_batch_is_one_structure_at_a_time(method, terms, dtype):
    module = Electrostatics(parameters_of(method, terms)).to(dtype)
    structures = [structure.to(dtype) for structure in mixed()]
    batched = differentiated(module, structures)
    alone = [differentiated(module, [structure]) for structure in structures]
    for number, value in enumerate(batched):
        assert_same(value, torch.cat([results[number] for results in alone]))


def test_mixed_batch_uses_every_way_of_summing():
    """Or the test above would show less than it says."""
    module = Electrostatics(parameters_of("auto", "long_range"))
    sizes = [len(structure.positions) for structure in mixed()]
    assert any(size > module.ewald_atoms for size in sizes)
    numbers = module.mesh.mesh_numbers(torch.stack([structure.cell for structure in mixed()]))
    assert len(torch.unique(numbers)) > 4


@pytest.mark.parametrize("terms", TERMS)
@pytest.mark.parametrize("method", METHODS)
def test_channels_are_independent(method, terms):
    module = Electrostatics(parameters_of(method, terms))
    together = potential(module, *mixed())
    for channel in (0, 1):
        alone = [one.change(charges=one.charges[:, [channel]]) for one in mixed()]
        assert_same(potential(module, *alone), together[:, [channel]])


@pytest.mark.parametrize("terms", TERMS)
@pytest.mark.parametrize("method", METHODS)
def test_scripted_module_is_the_eager_one(method, terms):
    module = Electrostatics(parameters_of(method, terms))
    scripted = torch.jit.script(module)
    expected = differentiated(module, mixed())
    for _ in range(3):  # the second and third call are optimised
        for value, reference in zip(differentiated(scripted, mixed()), expected, strict=True):
            assert_same(value, reference)


@pytest.mark.parametrize("terms", TERMS)
@pytest.mark.parametrize("method", METHODS)
def test_order_of_the_atoms_does_not_matter(method, terms):
    module = Electrostatics(parameters_of(method, terms))
    rng = np.random.default_rng(0)
    orders = [rng.permutation(len(one.positions)) for one in mixed()]
    shuffled = [
        one.change(charges=one.charges[order], positions=one.positions[order])
        for one, order in zip(mixed(), orders, strict=True)
    ]
    before = [potential(module, one)[order] for one, order in zip(mixed(), orders, strict=True)]
    assert_same(potential(module, *shuffled), torch.cat(before))


@pytest.mark.parametrize("terms", TERMS)
@pytest.mark.parametrize("method", METHODS)
def test_any_image_of_an_atom_serves(method, terms):
    module = Electrostatics(parameters_of(method, terms))
    structure = random_cell(25, net_charge=0.3)
    images = torch.tensor(np.random.default_rng(0).integers(-3, 4, (25, 3)).astype(float))
    moved = structure.change(positions=structure.positions + images @ structure.cell)
    expected = potential(module, structure)
    difference = potential(module, moved) - expected
    assert float(difference.abs().max()) < 1e-10 * float(expected.abs().max())


@pytest.mark.parametrize("boundary", BOUNDARIES)
@pytest.mark.parametrize("terms", TERMS)
@pytest.mark.parametrize("method", METHODS)
def test_field_at_the_atoms_is_the_force_on_a_probe(method, terms, boundary):
    """The gradient by the targets, against moving a probe without charge."""
    charged = random_cell(8, net_charge=0.4, periodic=BOUNDARIES[boundary])
    module = Electrostatics(replace(parameters_of(method, terms), ewald_atoms=3))
    charges = charged.charges.clone()
    charges[5] = 0.0
    with_probe = charged.change(charges=charges)
    targets = with_probe.positions.clone().requires_grad_(True)
    (gradient,) = torch.autograd.grad(potential(module, with_probe, targets=targets).sum(), targets)
    step = 1e-4
    for axis in range(3):
        values = []
        for sign in (-1, 1):
            positions = with_probe.positions.clone()
            positions[5, axis] += sign * step
            values.append(float(potential(module, with_probe.change(positions=positions))[5]))
        slope = (values[1] - values[0]) / (2 * step)
        # the probe moves the cell a slab is done in, which a mesh feels a little
        assert float(gradient[5, axis]) == pytest.approx(slope, abs=1e-5)


@pytest.mark.parametrize("periodic", [PERIODIC, SLAB, OPEN])
@pytest.mark.parametrize("terms", TERMS)
def test_force_is_charge_times_field(terms, periodic):
    structure = random_cell(8, net_charge=0.4, periodic=periodic)
    module = Electrostatics(choose_parameters("ewald", terms, accuracy=1e-9))
    targets = structure.positions.clone().requires_grad_(True)
    values = potential(module, structure, targets=targets)
    torch.testing.assert_close(values.detach(), potential(module, structure))
    (field,) = torch.autograd.grad(-values.sum(), targets)
    positions = structure.positions.clone().requires_grad_(True)
    energy = 0.5 * (structure.charges * potential(module, structure.change(positions=positions)))
    (forces,) = torch.autograd.grad(-energy.sum(), positions)
    torch.testing.assert_close(structure.charges * field, forces, rtol=0, atol=1e-6)


def test_structures_of_one_call_are_alike(monkeypatch):
    """Filled up to the largest of all, a molecule in a box would cost as much as a liquid."""
    module = Electrostatics(parameters_of("ewald", "long_range"))
    filled = []
    forward = type(module.ewald).forward

    def counted(self, charges, positions, targets, cells, volumes, slots, size, dipoles):
        filled.append((len(charges), cells.shape[0] * size))
        return forward(self, charges, positions, targets, cells, volumes, slots, size, dipoles)

    monkeypatch.setattr(type(module.ewald), "forward", counted)
    structures = [random_cell(60), random_cell(64), random_cell(100), random_cell(3)]
    potential(module, *structures)
    assert sum(atoms for atoms, _ in filled) == 227
    assert all(places <= 2 * atoms for atoms, places in filled)


def test_equal_structures_go_through_one_call(monkeypatch):
    module = Electrostatics(parameters_of("ewald", "long_range"))
    calls = []
    forward = type(module.ewald).forward
    monkeypatch.setattr(
        type(module.ewald), "forward", lambda *args: calls.append(1) or forward(*args)
    )
    potential(module, *[random_cell(20) for _ in range(16)])
    assert len(calls) == 1
