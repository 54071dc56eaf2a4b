"""Ions on springs in place of an exported model: fields whose work is known, at no cost."""

import json
from types import SimpleNamespace

import numpy as np

from mace_smile import quantities
from metatensor_models.evaluator import Evaluation

SPRING = 4.0  # eV/A^2
SITES = np.array([[0.0, 2.0, 3.0], [4.0, 0.0, 5.0], [7.0, 6.0, 1.0]])
VARIABLES = ["Ex equal 0.2", "Ey equal 0.1*cos(time*1000/3)", "Ez equal 0.3*sin(2*PI*time/0.02)"]
POLARIZED = 3.0  # e^2 A/eV, growth of the polarizability with each ion's z
BORN = quantities.BY_NAME[quantities.BORN_EFFECTIVE_CHARGES].metatomic
CHARGE = quantities.BY_NAME[quantities.CHARGES].metatomic
POLARIZABILITY = quantities.BY_NAME[quantities.POLARIZABILITY].metatomic
DIPOLE = quantities.BY_NAME[quantities.RESPONSE_DIPOLE].metatomic


class HarmonicIons:
    """What :class:`metatensor_models.evaluator.Evaluator` offers; atomic numbers 1, 8 and 10.

    The Born charges of each ion change along x, and are not symmetric; the polarizability of all
    grows along z. A variant has its forces, to the ``field_order`` of the file.

    :param extra: metadata of the file.
    """

    output = "energy"
    device = "cpu"
    atomic_types = (1, 8, 10)

    def __init__(self, path="ions.pt", variant=None, device=None, extra=None, has_born=True):
        extra = extra or {}
        outputs = ["energy", CHARGE, DIPOLE, POLARIZABILITY] + ([BORN] if has_born else [])
        self.order = int(extra.get("field_order", 1))
        self.vector = np.array(json.loads(extra.get("fields", "{}")).get(variant, np.zeros(3)))
        self.path = path
        self.capabilities = SimpleNamespace(outputs=dict.fromkeys(outputs))
        self.model = SimpleNamespace(
            metadata=lambda: SimpleNamespace(extra=extra), module=SimpleNamespace()
        )
        self.sites = None

    def ask_for(self, names):
        self.extras = list(names)

    def evaluate(self, numbers, positions, cell, pbc) -> Evaluation:
        if self.sites is None:
            self.sites = np.round(positions)
        moved = positions - self.sites
        moved -= np.where(pbc, np.round(moved @ np.linalg.inv(cell)), 0.0) @ cell
        charges = np.where(numbers == 1, 1.0, -0.7)
        born = charges[:, None, None] * np.array([[1.0, 0.2, 0], [0, 1.1, 0], [0, -0.1, 0.9]])
        born = born * (1.0 + 0.3 * np.sin(moved[:, :1, None]))
        forces = -SPRING * moved + np.einsum("a,iab->ib", self.vector, born)
        if self.order == 2:
            forces[:, 2] += 0.5 * POLARIZED * self.vector[2] ** 2
        polarizability = POLARIZED * moved[:, 2].sum() * np.diag([0.0, 0.0, 1.0])
        extras = {BORN: born, CHARGE: charges, DIPOLE: charges @ moved}
        extras[POLARIZABILITY] = polarizability
        return Evaluation(
            0.5 * SPRING * float((moved**2).sum()),
            forces,
            -SPRING * moved.T @ moved,
            {name: extras[name] for name in self.extras},
        )


def start_ions(monkeypatch, tmp_path):
    """For a fixture: a function that starts LAMMPS with three ions, with no model so far."""
    from metatensor_models.lammps import MetatomicLammps, instance

    monkeypatch.setattr(instance, "Evaluator", HarmonicIons)
    monkeypatch.chdir(tmp_path)
    opened = []

    def start(restart: str | None = None, extra: dict[str, str] | None = None, **options):
        if extra is not None or options:
            monkeypatch.setattr(
                instance,
                "Evaluator",
                lambda path, variant, device: HarmonicIons(
                    path, variant, device, extra=extra, **options
                ),
            )
        lmp = MetatomicLammps(["-log", "none", "-screen", "none"])
        opened.append(lmp)
        lmp.commands_list(["units metal", "atom_style atomic", "boundary p p p"])
        if restart:
            lmp.command(f"read_restart {restart}")
        else:
            lmp.commands_list(["region box prism 0 8 0 8 0 8 1 0.5 -1", "create_box 2 box"])
            positions = (SITES + np.random.default_rng(0).normal(0, 0.2, (3, 3))).flatten()
            lmp.create_atoms(3, [1, 2, 3], [1, 2, 1], positions.tolist())
            lmp.commands_list(["mass 1 1.0", "mass 2 16.0", "velocity all create 300 7"])
        lmp.commands_list(["pair_style zero 3.0", "pair_coeff * *", "fix nve all nve"])
        lmp.commands_list(["timestep 0.0005", "thermo 1"])
        return lmp

    yield start
    for lmp in opened:
        lmp.close()


def vector(lmp, index: int) -> float:
    return lmp.extract_fix("mace_smile", 0, 1, index - 1)


def enthalpy(lmp) -> float:
    return lmp.get_thermo("etotal") - vector(lmp, 4)


def positions_by_id(lmp) -> np.ndarray:
    return lmp.numpy.extract_atom("x")[:3][np.argsort(lmp.numpy.extract_atom("id")[:3])].copy()


def forces_by_id(lmp) -> np.ndarray:
    return lmp.numpy.extract_atom("f")[:3][np.argsort(lmp.numpy.extract_atom("id")[:3])].copy()
