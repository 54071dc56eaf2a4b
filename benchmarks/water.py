"""Water in periodic cells, as batches for models: the structures of the benchmarks."""

import ase
import ase.build
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
