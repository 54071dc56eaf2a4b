"""Water in periodic cells, as batches for models or in files: structures of the benchmarks."""

from pathlib import Path

import ase
import ase.build
import ase.io
import numpy as np
import torch
from mace.tools import AtomicNumberTable, torch_geometric

from mace_smile.structures import atomic_data

ELEMENTS = [1, 8]


def water_cell(n_molecules: int = 54, length: float = 9.31, seed: int = 0) -> ase.Atoms:
    """Randomly turned water molecules on a grid.

    The default, 162 atoms, has twice the density of ambient water.

    :param length: of the cubic cell in A; 11.74 with 54 molecules is ambient water.
    """
    rng = np.random.default_rng(seed)
    n_side = int(np.ceil(n_molecules ** (1 / 3)))
    grid = np.stack(np.meshgrid(*[np.arange(n_side)] * 3, indexing="ij"), -1).reshape(-1, 3)
    atoms = ase.Atoms(cell=[length] * 3, pbc=True)
    for place in grid[rng.permutation(n_side**3)[:n_molecules]]:
        one = ase.build.molecule("H2O")
        one.euler_rotate(*rng.uniform(0, 360, 3))
        one.positions += place * length / n_side - one.get_center_of_mass()
        atoms += one
    return atoms


def make_batch(frames: list[ase.Atoms], r_max: float, device: str) -> dict[str, torch.Tensor]:
    """The batch dictionary of some structures, with neighbours within ``r_max`` in A."""
    data = [atomic_data(atoms, AtomicNumberTable(ELEMENTS), r_max) for atoms in frames]
    return torch_geometric.Batch.from_data_list(data).to(device).to_dict()


def write_frames(path: Path, n_molecules: int, length: float) -> None:
    """Eight cells with random labels, for trainings in which it does not matter what is learned.

    :param length: of the cubic cells in A.
    """
    rng = np.random.default_rng(0)
    frames = []
    for seed in range(8):
        atoms = water_cell(n_molecules, length, seed)
        atoms.info["REF_energy"] = -4.0 * len(atoms) / 3 + rng.normal(scale=0.1)
        atoms.arrays["REF_forces"] = rng.normal(size=(len(atoms), 3))
        atoms.arrays["REF_becs"] = rng.normal(size=(len(atoms), 9))
        frames.append(atoms)
    ase.io.write(path, frames, format="extxyz")
