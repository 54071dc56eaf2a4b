"""Structures and models that tests build in code, and the tolerances they share."""

import ase
import numpy as np
import torch
from ase.build import molecule
from e3nn import o3
from mace import modules
from mace.data import KeySpecification
from mace.tools import AtomicNumberTable, torch_geometric

from mace_smile.model.options import SmileOptions
from mace_smile.model.smile_mace import SmileMACE
from mace_smile.structures import StructureSettings, atomic_data, input_keys

ELEMENTS = [1, 8, 10]
R_MAX = 4.0
#: Relative tolerance of finite differences and of float32 results, by precision.
TOLERANCE = {torch.float64: 1e-6, torch.float32: 1e-4}


def make_backbone(
    hidden_irreps: str = "4x0e+4x1o", n_layers: int = 2, r_max: float = R_MAX, seed: int = 0
) -> modules.ScaleShiftMACE:
    """A small MACE with random weights."""
    torch.manual_seed(seed)
    blocks = modules.interaction_classes
    return modules.ScaleShiftMACE(
        r_max=r_max,
        num_bessel=4,
        num_polynomial_cutoff=5,
        max_ell=2,
        interaction_cls=blocks["RealAgnosticResidualInteractionBlock"],
        interaction_cls_first=blocks["RealAgnosticInteractionBlock"],
        num_interactions=n_layers,
        num_elements=len(ELEMENTS),
        hidden_irreps=o3.Irreps(hidden_irreps),
        MLP_irreps=o3.Irreps("8x0e"),
        atomic_energies=np.array([[-1.0, -2.0, -3.0]]),
        avg_num_neighbors=8.0,
        atomic_numbers=ELEMENTS,
        correlation=2,
        gate=torch.nn.functional.silu,
        atomic_inter_scale=0.7,
        atomic_inter_shift=0.1,
        radial_MLP=[16, 16],
        heads=["Default"],
    )


def make_model(hidden_irreps: str = "4x0e+4x1o", n_layers: int = 2, **options) -> SmileMACE:
    """A small SmileMACE with random heads of ordinary size: charges of some 0.5 e."""
    backbone = make_backbone(hidden_irreps, n_layers)
    model = SmileMACE(backbone, SmileOptions(**{"screening": "uncoupled", **options}))
    with torch.no_grad():
        if model.has_charges:
            head = model.charge_heads["charges"]
            head.output.weight.mul_(10.0)
            head.element_charges.copy_(torch.tensor([0.3, -0.6, 0.1]))
    return model


def water(n_molecules: int, seed: int = 0, spacing: float = 3.1) -> ase.Atoms:
    """Water molecules, turned at random, on a simple cubic grid; open boundary."""
    rng = np.random.default_rng(seed)
    side = int(np.ceil(n_molecules ** (1 / 3)))
    atoms = ase.Atoms()
    for number in range(n_molecules):
        one = molecule("H2O")
        one.euler_rotate(*rng.uniform(0, 360, 3), center="COM")
        place = np.array(np.unravel_index(number, (side, side, side)))
        one.translate(spacing * place + 0.1 * rng.normal(size=3))
        atoms += one
    atoms.calc = None
    return ase.Atoms(atoms.symbols, atoms.positions)


def open_water() -> ase.Atoms:
    """Three water molecules."""
    return water(3, seed=1)


def bulk_water() -> ase.Atoms:
    """Eight water molecules in a triclinic periodic cell."""
    atoms = water(8, seed=2)
    atoms.set_cell([[6.2, 0, 0], [0.7, 6.3, 0], [-0.4, 0.5, 6.1]])
    atoms.pbc = True
    return atoms


def slab_water(height: float = 18.0) -> ase.Atoms:
    """Eight water molecules between two layers of neon, periodic along x and y."""
    atoms = water(8, seed=3)
    atoms.positions[:, 2] += 6.0
    walls = ase.Atoms("Ne2", [[1.0, 1.0, 2.8], [1.0, 1.0, 12.4]])
    atoms += walls
    atoms.set_cell([[6.2, 0, 0], [0.8, 6.4, 0], [0, 0, height]])
    atoms.pbc = [True, True, False]
    atoms.arrays["electrode"] = np.zeros(len(atoms))
    atoms.arrays["electrode"][-2:] = 1
    atoms.arrays["electrode_charge"] = np.zeros(len(atoms))
    atoms.arrays["electrode_charge"][-2:] = [0.2, -0.2]
    return atoms


STRUCTURES = {"open": open_water, "periodic": bulk_water, "slab": slab_water}
GIVEN = {"given_charges_key": "electrode_charge", "given_mask_key": "electrode"}


def make_batch(
    frames: list[ase.Atoms], model: SmileMACE, keys: KeySpecification | None = None
) -> dict[str, torch.Tensor]:
    """The batch dictionary of some structures for a model."""
    table = AtomicNumberTable([int(z) for z in model.atomic_numbers])
    keys = keys or input_keys(model.options)
    settings = StructureSettings(coulomb_cutoff=model.options.second_cutoff)
    data = [
        atomic_data(atoms, table, float(model.r_max), keys, settings=settings) for atoms in frames
    ]
    return torch_geometric.Batch.from_data_list(data).to_dict()


def evaluate(model: SmileMACE, atoms: ase.Atoms, **kwargs) -> dict[str, torch.Tensor]:
    """Outputs of a model for one structure."""
    return model(make_batch([atoms], model), **kwargs)


def energy_of(model: SmileMACE, atoms: ase.Atoms) -> float:
    """Energy of one structure in eV."""
    return evaluate(model, atoms, compute_force=False)["energy"].item()
