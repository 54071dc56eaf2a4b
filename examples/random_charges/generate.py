"""Frames of random point charges, +1 on Na and -1 on Cl, with a short-range repulsion.

``python generate.py FOLDER`` writes ``train.xyz``, ``valid.xyz`` and ``unseen.xyz``: 64 Na and 64
Cl at random places of a periodic cell, no two closer than 2 A, with ``REF_energy`` (eV) and
``REF_forces`` (eV/A) of

    U = 1/2 sum_ij q_i q_j / r_ij  +  sum_{i<j} u(r_ij),    u(r) = A (1 - r / r_0)^3 for r < r_0

the first over all images, by a well converged Ewald sum. The charges themselves are not written: a
model has to find them in the energies and forces.
"""

import argparse
from pathlib import Path

import ase.io
import numpy as np
import torch
from ase import Atoms
from torchpme import EwaldCalculator
from torchpme.potentials import CoulombPotential
from torchpme.prefactors import eV_A
from vesin import NeighborList

N_PAIRS = 64  # atoms of each species
LENGTH = 18.0  # A, edge of the cubic cell
SMALLEST_DISTANCE = 2.0  # A
REPULSION = 60.0  # eV, A above
REPULSION_RANGE = 3.5  # A, r_0 above
CUTOFF = 9.0  # A, of the real-space part of the Ewald sum
SMEARING = 1.4  # A; erfc(9 / (1.4 sqrt 2)) = 1e-10
# torch-pme's own box of wave vectors ends at pi / wavelength along each axis.
LR_WAVELENGTH = 0.6  # A; exp(-(pi 1.4 / 0.6)^2 / 2) = 2e-12
FRAMES = {"train": 30, "valid": 4, "unseen": 10}
CHARGES = {"Na": 1.0, "Cl": -1.0}  # e


def random_positions(rng: np.random.Generator) -> np.ndarray:
    """Place the atoms one after the other, each at random where it is not too close to another.

    :return: shape ``(2 * N_PAIRS, 3)``, in A.
    """
    positions = np.empty((0, 3))
    while len(positions) < 2 * N_PAIRS:
        position = rng.uniform(0.0, LENGTH, 3)
        vectors = positions - position
        vectors -= LENGTH * np.round(vectors / LENGTH)
        if np.all(np.linalg.norm(vectors, axis=1) > SMALLEST_DISTANCE):
            positions = np.vstack([positions, position])
    return positions


def energy_and_forces(atoms: Atoms, charges: np.ndarray) -> tuple[float, np.ndarray]:
    """Coulomb sum and repulsion.

    :param charges: shape ``(n_atoms,)``, in e.
    :return: energy in eV, and forces ``(n_atoms, 3)`` in eV/A.
    """
    first, second, shifts = NeighborList(cutoff=CUTOFF, full_list=False).compute(
        points=atoms.positions, box=atoms.cell.array, periodic=True, quantities="ijS"
    )
    pairs = torch.tensor(np.stack([first, second], axis=1).astype(np.int64))
    offsets = torch.tensor(shifts @ atoms.cell.array)
    positions = torch.tensor(atoms.positions, requires_grad=True)
    charge_column = torch.tensor(charges).unsqueeze(1)
    distances = torch.linalg.norm(
        positions[pairs[:, 1]] - positions[pairs[:, 0]] + offsets, dim=1
    )  # (n_pairs,)
    calculator = EwaldCalculator(
        CoulombPotential(smearing=SMEARING, prefactor=eV_A), lr_wavelength=LR_WAVELENGTH
    ).to(dtype=torch.float64)
    # torch-pme counts each pair once in the potential: no factor of one half.
    half_potential = calculator(
        charge_column, torch.tensor(atoms.cell.array), positions, pairs, distances
    )
    overlap = torch.clamp(1 - distances / REPULSION_RANGE, min=0.0)
    energy = (charge_column * half_potential).sum() + REPULSION * (overlap**3).sum()
    (gradient,) = torch.autograd.grad(energy, positions)
    return float(energy.detach()), -gradient.numpy()


def frame(rng: np.random.Generator) -> Atoms:
    """Return a random frame with its labels."""
    symbols = [name for name in CHARGES for _ in range(N_PAIRS)]
    atoms = Atoms(symbols, random_positions(rng), cell=[LENGTH] * 3, pbc=True)
    energy, forces = energy_and_forces(atoms, np.array([CHARGES[name] for name in symbols]))
    atoms.info["REF_energy"] = energy
    atoms.arrays["REF_forces"] = forces
    return atoms


def main() -> None:
    """Write the frames of all parts."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(arguments.seed)
    for part, n_frames in FRAMES.items():
        frames = [frame(rng) for _ in range(n_frames)]
        ase.io.write(arguments.folder / f"{part}.xyz", frames)
        forces = np.concatenate([atoms.arrays["REF_forces"] for atoms in frames])
        print(
            f"{part}.xyz: {n_frames} frames of {len(frames[0])} atoms, "
            f"root mean square force {np.sqrt(np.mean(forces**2)):.2f} eV/A"
        )


if __name__ == "__main__":
    main()
