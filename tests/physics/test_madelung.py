"""The energy of known crystals.

Constants of the cubic crystals: Sakamoto 1958, 10.1063/1.1744060; of ideal wurtzite: Zucker 1991,
J. Phys. A 24, 873; of one charge in a uniform background: Coldwell-Horsfall and Maradudin 1960,
10.1063/1.1703670.
"""

import numpy as np
import pytest
import torch

from coulomb import Charged, energy_of, random_rotation
from mace_smile.physics.electrostatics import COULOMB_CONSTANT
from mace_smile.physics.parameters import choose_parameters

FCC = [[0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]]
BCC = [[-0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0.5, 0.5, -0.5]]
CUBIC = np.eye(3)
C = np.sqrt(8 / 3)  # ideal ratio of hexagonal lengths
HEXAGONAL = [[1, 0, 0], [-0.5, np.sqrt(0.75), 0], [0, 0, C]]
HEXAGONAL_SITES = [[1 / 3, 2 / 3, 0], [2 / 3, 1 / 3, 0.5]]


def sphere_radius(volume: float) -> float:
    """Radius r_s of a sphere with the volume of one charge."""
    return (3 * volume / (4 * np.pi)) ** (1 / 3)


# cell and fractional positions in units of the lattice constant, charges in e, and the energy
# of the cell in units of k_e e^2 over the lattice constant
CRYSTALS = {
    "NaCl": (FCC, [[0, 0, 0], [0.5, 0.5, 0.5]], [1, -1], -2 * 1.747564594633182),
    "CsCl": (CUBIC, [[0, 0, 0], [0.5] * 3], [1, -1], -2 / np.sqrt(3) * 1.762674773070988),
    "zincblende": (FCC, [[0, 0, 0], [0.25] * 3], [1, -1], -4 / np.sqrt(3) * 1.638055053388789),
    "wurtzite": (
        HEXAGONAL,
        HEXAGONAL_SITES + [[x, y, z + 3 / 8] for x, y, z in HEXAGONAL_SITES],
        [1, 1, -1, -1],
        -2 * 1.64132162737 / (3 / 8 * C),
    ),
    "fluorite": (FCC, [[0, 0, 0], [0.25] * 3, [0.75] * 3], [2, -1, -1], -11.6365752270768),
    "cuprite": (
        CUBIC,
        [
            [0, 0, 0],
            [0.5, 0.5, 0.5],
            [0.25, 0.25, 0.25],
            [0.25, 0.75, 0.75],
            [0.75, 0.25, 0.75],
            [0.75, 0.75, 0.25],
        ],
        [-2, -2, 1, 1, 1, 1],
        -2 * 10.2594570330750,
    ),
    "simple cubic charges": (CUBIC, [[0, 0, 0]], [1], -0.880059442 / sphere_radius(1.0)),
    "face-centred charges": (FCC, [[0, 0, 0]], [1], -0.895873615 / sphere_radius(0.25)),
    "body-centred charges": (BCC, [[0, 0, 0]], [1], -0.895929256 / sphere_radius(0.5)),
}
#: Other descriptions of the same lattice: rows of whole numbers of determinant 1 and -1.
SHEARED = torch.tensor([[1.0, 1.0, 0.0], [0.0, 1.0, -1.0], [1.0, 1.0, 1.0]], dtype=torch.float64)
LATTICE_CONSTANT = 5.0
CUTOFF = 8.0


def crystal(name: str) -> tuple[Charged, float]:
    """A crystal and its energy in eV."""
    cell, fractional, charges, constant = CRYSTALS[name]
    cell = LATTICE_CONSTANT * torch.as_tensor(np.array(cell, dtype=float))
    positions = torch.as_tensor(np.array(fractional, dtype=float)) @ cell
    # in no special place relative to a mesh
    positions = positions + torch.tensor([0.13, 0.37, 0.71])
    charges = torch.as_tensor(np.array(charges, dtype=float))[:, None]
    return Charged(charges, positions, cell), COULOMB_CONSTANT * constant / LATTICE_CONSTANT


def described(structure: Charged, description: str) -> Charged:
    """The same crystal, described in another way."""
    if description == "rotated":
        return structure.turned(random_rotation(3))
    if description == "sheared":
        return structure.change(cell=SHEARED @ structure.cell)
    if description == "left-handed":
        return structure.change(cell=structure.cell[[1, 0, 2]])
    return structure


@pytest.mark.parametrize("description", ["plain", "rotated", "sheared", "left-handed"])
@pytest.mark.parametrize("name", CRYSTALS)
@pytest.mark.parametrize(("method", "tolerance"), [("ewald", 1e-6), ("pme", 1e-4), ("p3m", 1e-4)])
def test_energy_is_that_of_the_crystal(method, tolerance, name, description):
    structure, expected = crystal(name)
    parameters = choose_parameters(method, "full", cutoff=CUTOFF)
    value = energy_of(parameters, described(structure, description))
    assert value == pytest.approx(expected, rel=tolerance)


@pytest.mark.parametrize("name", ["NaCl", "wurtzite", "cuprite"])
def test_charges_that_do_not_overlap_act_as_points(name):
    """With ``long_range`` terms: Gaussians much narrower than their distances."""
    structure, expected = crystal(name)
    parameters = choose_parameters("ewald", smearing=0.25)
    assert energy_of(parameters, structure) == pytest.approx(expected, rel=1e-7)
