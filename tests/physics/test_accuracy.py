"""What the parameters promise: the accuracy asked for, and an energy smooth in the cell."""

import re

import numpy as np
import pytest
import torch
from ase.build import molecule

from coulomb import Charged, energy, energy_and_forces, potential, random_cell
from mace_smile.physics.electrostatics import Electrostatics
from mace_smile.physics.parameters import METHODS, TERMS, choose_parameters

CUTOFF = 5.0


@pytest.fixture(scope="module", params=range(3))
def ionic_crystal(request) -> tuple[Charged, dict[str, torch.Tensor]]:
    """Random charges in a triclinic cell, and their forces from converged Ewald sums."""
    torch.set_default_dtype(torch.float64)
    structure = random_cell(48, seed=request.param)
    converged = {
        "long_range": choose_parameters("ewald", lr_wavelength=0.6),
        "full": choose_parameters("ewald", "full", cutoff=8.0, accuracy=1e-10),
    }
    return structure, {
        terms: energy_and_forces(parameters, structure)[1]
        for terms, parameters in converged.items()
    }


@pytest.mark.parametrize("accuracy", [1e-3, 1e-4, 1e-5, 1e-6])
@pytest.mark.parametrize("terms", TERMS)
@pytest.mark.parametrize("method", METHODS)
def test_accuracy_is_reached(ionic_crystal, method, terms, accuracy):
    structure, references = ionic_crystal
    parameters = choose_parameters(method, terms, cutoff=CUTOFF, accuracy=accuracy)
    _, forces = energy_and_forces(parameters, structure)
    reference = references[terms]
    assert float((forces - reference).norm() / reference.norm()) < accuracy


@pytest.mark.parametrize("accuracy", [1e-3, 1e-5])
@pytest.mark.parametrize("method", ["pme", "p3m"])
def test_accuracy_is_not_bought_twice(ionic_crystal, method, accuracy):
    """A mesh much finer than needed costs time: the error is within 10 of what was asked."""
    structure, references = ionic_crystal
    _, forces = energy_and_forces(choose_parameters(method, accuracy=accuracy), structure)
    reference = references["long_range"]
    assert float((forces - reference).norm() / reference.norm()) > 0.1 * accuracy


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"method": "fmm"}, "`method` is 'fmm' but must be one of auto, ewald, pme, p3m"),
        ({"terms": "short"}, "`terms` is 'short' but must be one of long_range, full"),
        ({"accuracy": 0.0}, "is 0.0 but must be positive and below 0.1"),
        ({"accuracy": 0.5}, "is 0.5 but must be positive and below 0.1"),
        (
            {"terms": "full", "smearing": 2.0, "accuracy": 1e-6},
            "cannot be reached with `smearing` 2 A and a cutoff of 5 A.*use a smearing of at most",
        ),
        (
            {"method": "ewald", "lr_wavelength": 3.0, "accuracy": 1e-6},
            "cannot be reached with `lr_wavelength` 3 A.*use a wavelength of at most",
        ),
        (
            {"method": "p3m", "mesh_spacing": 0.9, "accuracy": 1e-6},
            "cannot be reached with `mesh_spacing` 0.9 A.*use a spacing of at most",
        ),
        (
            {"method": "p3m", "accuracy": 1e-10},
            "cannot be reached with `electrostatics` p3m.*use `electrostatics` ewald",
        ),
    ],
)
def test_what_cannot_be_reached_is_refused_with_the_remedy(arguments, message):
    with pytest.raises(ValueError, match=message):
        choose_parameters(**arguments)


@pytest.mark.parametrize(
    ("arguments", "name", "remedy"),
    [
        ({"terms": "full", "smearing": 2.0}, "smearing", r"smearing of at most ([\d.]+) A"),
        ({"terms": "full", "smearing": 2.0}, "cutoff", r"`coulomb_cutoff` of at least ([\d.]+) A"),
        ({"lr_wavelength": 3.0}, "lr_wavelength", r"wavelength of at most ([\d.]+) A"),
        ({"method": "pme", "mesh_spacing": 0.9}, "mesh_spacing", r"spacing of at most ([\d.]+) A"),
    ],
)
def test_the_remedy_helps(arguments, name, remedy):
    """Up to the digits of the message."""
    with pytest.raises(ValueError, match=remedy) as caught:
        choose_parameters(**arguments, accuracy=1e-5)
    value = float(re.search(remedy, str(caught.value)).group(1))
    margin = 1.01 if name == "cutoff" else 0.99
    choose_parameters(**{**arguments, name: margin * value}, accuracy=1e-5)


def water_box() -> Charged:
    """54 water molecules in a triclinic cell, about as dense as the liquid; fixed charges."""
    rng = np.random.default_rng(0)
    cell = np.array([[1.02, 0, 0], [0.1, 0.98, 0], [-0.08, 0.05, 1.0]])
    cell *= (54 * 29.9 / np.linalg.det(cell)) ** (1 / 3)
    positions = []
    for number in np.ndindex(3, 3, 3):
        for offset in (0.0, 0.5):
            one = molecule("H2O")
            one.euler_rotate(*rng.uniform(0, 360, 3), center="COM")
            place = (np.array(number) + offset) / 3 @ cell + 0.15 * rng.normal(size=3)
            positions.append(one.positions - one.get_center_of_mass() + place)
    charges = np.tile([-0.8476, 0.4238, 0.4238], 54)[:, None]  # SPC/E
    return Charged(
        torch.as_tensor(charges),
        torch.as_tensor(np.concatenate(positions)),
        torch.as_tensor(cell),
    )


def largest_jump(energies: list[float] | np.ndarray) -> float:
    """Largest deviation of the steps of a curve from a smooth function of the place."""
    steps = np.diff(energies)
    places = np.linspace(-1, 1, len(steps))
    smooth = np.polynomial.Chebyshev.fit(places, steps, 6)(places)
    return float(abs(steps - smooth).max())


@pytest.mark.parametrize(
    ("method", "terms"),
    [
        ("auto", "long_range"),
        ("auto", "full"),
        ("p3m", "long_range"),
        ("p3m", "full"),
        ("pme", "long_range"),
    ],
)
def test_energy_is_smooth_in_the_cell(method, terms):
    """200 steps of isotropic strain: numbers of vectors and mesh points change on the way."""
    module = Electrostatics(choose_parameters(method, terms, cutoff=5.5))
    water = water_box()
    scales = np.linspace(0.99, 1.01, 201)
    ends = torch.stack([scale * water.cell for scale in scales[[0, -1]]])
    lengths = torch.linalg.norm(ends, dim=-1) / module.ewald.lr_wavelength
    resolution = torch.floor(lengths) if method == "auto" else module.mesh.mesh_sizes(ends)
    assert bool((resolution[0] != resolution[1]).any())
    with torch.no_grad():
        energies = [
            float(energy(module, water.change(positions=x * water.positions, cell=x * water.cell)))
            for x in scales
        ]
    assert largest_jump(energies) < 1e-5


def test_a_jump_would_be_seen():
    smooth = 3.0 * np.linspace(0.99, 1.01, 201) ** 2
    jumped = smooth + np.where(np.arange(201) > 120, 2e-5, 0.0)
    assert largest_jump(smooth) < 1e-12
    assert largest_jump(jumped) > 1e-5


def test_auto_is_ewald_for_small_structures_and_p3m_for_large():
    modules = {
        name: Electrostatics(choose_parameters(name, mesh_spacing=0.4))
        for name in ("auto", "ewald", "p3m")
    }
    limit = modules["auto"].ewald_atoms
    for n_atoms, expected in ((limit, "ewald"), (limit + 1, "p3m")):
        structure = random_cell(n_atoms)
        values = {name: potential(module, structure) for name, module in modules.items()}
        assert torch.equal(values["auto"], values[expected])
        assert not torch.equal(values["ewald"], values["p3m"])
