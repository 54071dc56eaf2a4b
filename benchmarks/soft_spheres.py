"""A small model and structure that run fast and never blow up: neon atoms that repel each other.

The pair repulsion of MACE keeps the atoms apart; the network has random weights and adds some
meV. Nothing of it is neon but the mass.
"""

from pathlib import Path

import ase
import ase.io
import numpy as np
import torch

import mace_smile  # noqa: F401  (before e3nn is imported)

# isort: split
from e3nn import o3
from mace import modules

from mace_smile.model.options import SmileOptions
from mace_smile.model.smile_mace import SmileMACE
from metatensor_models.export import export_model
from metatensor_models.options import ExportOptions

SPACING = 1.7  # A
NEON = 10


def make_model() -> SmileMACE:
    """The model, with uncoupled Born effective charges; the same weights in every call."""
    torch.manual_seed(0)
    block = modules.interaction_classes["RealAgnosticInteractionBlock"]
    backbone = modules.ScaleShiftMACE(
        r_max=3.0,
        num_bessel=4,
        num_polynomial_cutoff=5,
        max_ell=1,
        interaction_cls=block,
        interaction_cls_first=block,
        num_interactions=1,
        num_elements=1,
        hidden_irreps=o3.Irreps("4x0e"),
        MLP_irreps=o3.Irreps("4x0e"),
        atomic_energies=np.zeros((1, 1)),
        avg_num_neighbors=8.0,
        atomic_numbers=[NEON],
        correlation=2,
        gate=torch.nn.functional.silu,
        atomic_inter_scale=0.02,
        atomic_inter_shift=0.0,
        pair_repulsion=True,
        heads=["Default"],
    )
    return SmileMACE(backbone, SmileOptions(charge_head="none", screening="uncoupled"))


def write_soft_spheres(folder: Path, n_side: int = 2) -> tuple[Path, Path]:
    """Export the model in double precision and write a structure of ``n_side**3`` atoms.

    :return: the two files.
    """
    torch.set_default_dtype(torch.float64)
    folder.mkdir(parents=True, exist_ok=True)
    options = ExportOptions(boundary="periodic", fields={"z05": (0.0, 0.0, 0.05)})
    model = export_model(make_model().double(), folder / "soft_spheres.pt", options, overwrite=True)
    grid = np.array(list(np.ndindex(n_side, n_side, n_side)), dtype=float)
    positions = SPACING * grid + np.random.default_rng(0).uniform(-0.1, 0.1, grid.shape)
    atoms = ase.Atoms(["Ne"] * len(grid), positions, cell=3 * [SPACING * n_side], pbc=True)
    frame = folder / "soft_spheres.xyz"
    ase.io.write(frame, atoms)
    return model, frame
