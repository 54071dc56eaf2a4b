"""Domain decomposition: halves add up where outputs are local, and are refused elsewhere."""

import itertools

import ase
import numpy as np
import pytest
import torch
from metatensor.torch import Labels
from metatomic.torch import AtomisticModel

from exported import LOCAL, build, run, to_system
from helpers import make_model, water


def labels(atoms: list[int]) -> Labels:
    return Labels(["system", "atom"], torch.tensor([[0, atom] for atom in atoms]))


@pytest.fixture(scope="module")
def local() -> AtomisticModel:
    torch.set_default_dtype(torch.float64)
    return build(make_model(**LOCAL))


@pytest.mark.parametrize("output", ["energy", "energy/tilted"])
def test_energies_and_forces_of_two_halves_add_up(local, output):
    atoms = water(27, spacing=3.0)
    atoms.set_cell([9.0, 9.2, 9.1])
    atoms.pbc = True
    system = to_system(local, atoms)
    whole = run(local, [system], [output])[output].sum()
    whole_gradient = torch.autograd.grad(whole, system.positions)[0]
    left = np.flatnonzero(atoms.positions[:, 0] < 4.0).tolist()
    right = sorted(set(range(len(atoms))) - set(left))
    energy, gradient = 0.0, torch.zeros_like(whole_gradient)
    for half in (left, right):
        part = run(local, [system], [output], selected_atoms=labels(half))[output].sum()
        gradient += torch.autograd.grad(part, system.positions)[0]
        energy += part.item()
    assert energy == pytest.approx(whole.item(), abs=1e-10)
    torch.testing.assert_close(gradient, whole_gradient, rtol=0, atol=1e-10)


def test_a_domain_with_its_ghosts_needs_nothing_else(local):
    """What LAMMPS does: open boundary, images of atoms within the interaction range."""
    atoms = water(8, spacing=3.0)
    atoms.set_cell([6.1, 6.2, 6.0])
    atoms.pbc = True
    system = to_system(local, atoms)
    whole = run(local, [system], ["energy/z05"])["energy/z05"].sum()
    gradient = torch.autograd.grad(whole, system.positions)[0]

    images = [(i, j, k) for i in range(-2, 3) for j in range(-2, 3) for k in range(-2, 3)]
    images.sort(key=lambda image: image != (0, 0, 0))  # the domain itself comes first
    cluster = atoms.copy()
    cluster.pbc = False
    for image in images[1:]:
        ghosts = atoms.copy()
        ghosts.positions += np.array(image) @ atoms.cell
        cluster += ghosts
    domain = to_system(local, cluster)
    selected = labels(list(range(len(atoms))))
    energy = run(local, [domain], ["energy/z05"], selected_atoms=selected)["energy/z05"].sum()
    assert energy.item() == pytest.approx(whole.item(), abs=1e-10)
    parts = torch.autograd.grad(energy, domain.positions)[0]
    folded = parts.reshape(len(images), len(atoms), 3).sum(dim=0)  # ghosts give back
    torch.testing.assert_close(folded, gradient, rtol=0, atol=1e-10)


def with_ghosts(atoms, domain: list[int], reach: float) -> tuple[ase.Atoms, list[int]]:
    """A domain as LAMMPS builds it: its atoms, then images of all others within the range.

    :return: an open structure, the domain first; and the atom in the cell that each is an image of.
    """
    inside = atoms.positions[domain]
    owners, places = list(domain), [inside]
    n_images = int(np.ceil(reach / atoms.cell.lengths().min())) + 1
    for image in itertools.product(range(-n_images, n_images + 1), repeat=3):
        moved = atoms.positions + np.array(image) @ atoms.cell.array
        near = np.linalg.norm(moved[:, None] - inside[None], axis=2).min(axis=1) < reach
        if image == (0, 0, 0):
            near[domain] = False
        owners += np.flatnonzero(near).tolist()
        places.append(moved[near])
    return ase.Atoms(atoms.numbers[owners], np.concatenate(places)), owners


@pytest.mark.parametrize("options", [{**LOCAL, "charge_head": "none"}, LOCAL], ids=str)
def test_two_halves_each_with_its_ghosts_add_up(options):
    """What LAMMPS does on two ranks: forces on ghosts go back to the atoms they are images of."""
    exported = build(make_model(**options))
    atoms = water(8, spacing=4.1)
    atoms.set_cell([8.2, 8.3, 8.4])
    atoms.pbc = True
    reach = exported.capabilities().interaction_range
    assert reach == 8.0
    left = np.flatnonzero(atoms.positions[:, 0] < 3.0).tolist()
    right = sorted(set(range(len(atoms))) - set(left))
    system = to_system(exported, atoms)
    names = ["energy", "energy/tilted"]
    whole = run(exported, [system], names)
    energies = dict.fromkeys(names, 0.0)
    gradients = {name: np.zeros((len(atoms), 3)) for name in names}
    for half in (left, right):
        cluster, owners = with_ghosts(atoms, half, reach)
        assert len(cluster) > 2 * len(half)
        domain = to_system(exported, cluster)
        parts = run(exported, [domain], names, selected_atoms=labels(list(range(len(half)))))
        for name, energy in parts.items():
            gradient = torch.autograd.grad(energy.sum(), domain.positions, retain_graph=True)[0]
            np.add.at(gradients[name], owners, gradient.numpy())
            energies[name] += energy.sum().item()
    for name in names:
        gradient = torch.autograd.grad(whole[name].sum(), system.positions, retain_graph=True)[0]
        assert energies[name] == pytest.approx(whole[name].item(), abs=1e-10)
        np.testing.assert_allclose(gradients[name], gradient.numpy(), rtol=0, atol=1e-10)
    of_field = gradients["energy/tilted"] - gradients["energy"]
    assert np.abs(of_field).max() > 1e-4


def test_all_atoms_are_no_selection():
    """LAMMPS' pair style selects all atoms of its domain, which in one domain are all there are."""
    exported = build(make_model(acoustic_sum_rule="subtract"))
    system = to_system(exported, water(3))
    names = ["energy", "energy/z05"]
    whole = run(exported, [system], names)
    selected = run(exported, [system], names, selected_atoms=labels(list(range(9))))
    for name in names:
        torch.testing.assert_close(selected[name], whole[name], rtol=0, atol=0)


def test_charges_of_the_selection_come_in_its_order(local):
    system = to_system(local, water(3))
    everything = run(local, [system], ["charge"], "atom")["charge"]
    some = run(local, [system], ["charge"], "atom", labels([4, 1]))["charge"]
    torch.testing.assert_close(some, everything[[4, 1]])


def test_dipole_of_a_selection_is_refused(local):
    system = to_system(local, water(3))
    with pytest.raises(torch.jit.Error, match="a dipole belongs to all atoms"):
        run(local, [system], ["mace_smile::macro_dipole"], selected_atoms=labels([0]))


def test_selection_with_long_range_is_refused():
    for options in ({}, {"electrostatics": "none"}):
        exported = build(make_model(**options))
        with pytest.raises(torch.jit.Error, match="depend on all atoms .* use one domain"):
            run(exported, [to_system(exported, water(3))], ["energy"], selected_atoms=labels([0]))
