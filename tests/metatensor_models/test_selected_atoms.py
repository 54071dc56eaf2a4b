"""Domain decomposition: halves add up where outputs are local, and are refused elsewhere."""

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
