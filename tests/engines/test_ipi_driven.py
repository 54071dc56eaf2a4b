"""i-PI's driven dynamics with Born charges of our driver, against our own integration."""

import importlib.util

import numpy as np
import pytest
import torch

from exported import FIELDS, LOCAL
from helpers import bulk_water, make_model, open_water, slab_water
from ipi_runs import TIME_STEP, driven, masses, nve, simulation, state, write_start
from metatensor_models.export import build_atomistic_model
from metatensor_models.options import ExportOptions

pytestmark = [
    pytest.mark.engine,
    pytest.mark.skipif(
        importlib.util.find_spec("ipi") is None, reason="the package ipi is not installed"
    ),
]


FIELD = "tilted"
FEMTOSECOND = 41.341373  # atomic units, i-PI's
V_PER_A = 0.019446903811441516  # atomic units, i-PI's
ANGULAR_THZ = 1.5198298e-4  # 2 pi THz in atomic units, i-PI's
AMPLITUDE = np.array([0.3, -0.2, 0.4])  # V/A
FREQUENCY, PHASE, PEAK, WIDTH = 60.0, 0.4, 1.5, 0.8  # THz, rad, fs, fs
STATIC = f'<amp units="v/ang"> {AMPLITUDE.tolist()} </amp>'
OSCILLATING = f'{STATIC} <freq units="thz"> {FREQUENCY} </freq> <phase> {PHASE} </phase>'
PULSED = (
    f'{OSCILLATING} <peak units="femtosecond"> {PEAK} </peak> '
    f'<sigma units="femtosecond"> {WIDTH} </sigma>'
)


@pytest.fixture(autouse=True)
def _plain_torchscript():
    """Without TorchScript's optimiser, whose first calls take longer than these runs."""
    with torch.jit.optimized_execution(False):
        yield


def fields_at(kind: str, time: float) -> np.ndarray:
    """What the three inputs above mean, in atomic units; the time too."""
    value = V_PER_A * AMPLITUDE
    if kind != STATIC:
        value = value * np.cos(ANGULAR_THZ * FREQUENCY * time + PHASE)
    if kind == PULSED:
        value = value * np.exp(-0.5 * ((time / FEMTOSECOND - PEAK) / WIDTH) ** 2)
    return value


class Case:
    """A structure, its exported model, and drivers of it that are loaded once."""

    def __init__(self, folder, atoms, boundary: str, **options) -> None:
        from metatensor_models.ipi_driver import SmileDriver

        torch.set_default_dtype(torch.float64)
        self.folder = folder
        self.model = folder / "model.pt"
        exported = ExportOptions(fields=FIELDS, boundary=boundary)
        build_atomistic_model(make_model(**options), exported).save(self.model)
        self.start = write_start(folder, atoms)
        self.driver = SmileDriver(template=self.start, model=self.model)
        self.unchanged = SmileDriver(
            template=self.start, model=self.model, acoustic_sum_rule="none"
        )
        self.in_field = SmileDriver(
            template=self.start, model=self.model, energy_variant=FIELD, born_charges=False
        )


@pytest.fixture(scope="module")
def bulk(tmp_path_factory) -> Case:
    return Case(tmp_path_factory.mktemp("bulk"), bulk_water(), "periodic", **LOCAL)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory) -> Case:
    folder = tmp_path_factory.mktemp("cluster")
    return Case(folder, open_water(), "open", screening="local")


def run(case: Case, motion: str, n_steps: int, driver=None, **options) -> np.ndarray:

    with simulation(motion, driver or case.driver, case.folder, **options) as ipi:
        ipi.run(n_steps)
        return state(ipi)


def test_a_static_field_gives_the_velocities_of_the_field_in_the_file(bulk):
    vector = list(FIELDS[FIELD])
    motion = driven(f'<amp units="v/ang"> {vector} </amp>').replace(
        "<bec", "<asr_threshold> 10 </asr_threshold> <bec"
    )
    by_ipi = run(bulk, motion, 6, bulk.unchanged)
    in_file = run(bulk, nve(), 6, bulk.in_field)
    without = run(bulk, nve(), 6)
    moved = np.abs(by_ipi - without).max(axis=(1, 2))
    difference = np.abs(by_ipi - in_file).max(axis=(1, 2))
    # i-PI's own volt per angstrom has eight digits where it is a force.
    assert np.all(difference < 2e-8 * moved)
    assert np.all(moved > 1e-6)


@pytest.mark.parametrize("kind", [STATIC, OSCILLATING, PULSED], ids=["static", "cos", "pulse"])
def test_fields_act_as_in_our_own_velocity_verlet(bulk, kind):
    n_steps, step = 8, TIME_STEP * FEMTOSECOND
    with simulation(driven(kind), bulk.driver, bulk.folder) as ipi:
        positions, momenta = state(ipi)[:, 0]
        mass, cell = masses(ipi), np.array(ipi.syslist[0].cell.h)
        ipi.run(n_steps)
        found = state(ipi)[:, 0]

    def forces(positions: np.ndarray, time: float) -> np.ndarray:
        """Field by the variant-free energy and Z of ASE, in atomic units."""
        _, own, born = ase_values(bulk, positions.reshape(-1, 3), cell)
        return own.ravel() + np.einsum("iab,a->ib", born, fields_at(kind, time)).ravel()

    now = forces(positions, 0.0)
    for number in range(n_steps):
        momenta = momenta + 0.5 * step * now
        positions = positions + step * momenta / mass
        now = forces(positions, (number + 1) * step)
        momenta = momenta + 0.5 * step * now
    np.testing.assert_allclose(found[0], positions, atol=1e-8, rtol=0)
    np.testing.assert_allclose(found[1], momenta, atol=1e-8 * np.abs(momenta).max(), rtol=0)


def ase_values(case: Case, positions: np.ndarray, cell: np.ndarray):
    """Energy, forces and Z by ASE, in i-PI's atomic units; positions and cell in them too."""
    import ase.io
    from ipi.utils.units import unit_to_internal, unit_to_user
    from metatomic.torch import ModelOutput
    from metatomic_ase import MetatomicCalculator

    name = "mace_smile::born_effective_charges"
    if not hasattr(case, "calculator"):
        case.calculator = MetatomicCalculator(
            case.model, additional_outputs={name: ModelOutput(sample_kind="atom")}
        )
    atoms = ase.io.read(case.start)
    atoms.set_cell(unit_to_user("length", "angstrom", cell).T)
    atoms.positions = unit_to_user("length", "angstrom", positions)
    atoms.calc = case.calculator
    energy = unit_to_internal("energy", "electronvolt", atoms.get_potential_energy())
    forces = unit_to_internal("force", "ev/ang", atoms.get_forces())
    values = case.calculator.additional_outputs[name].block().values
    # All of the mean goes, as in the driver: i-PI refuses what is left of a sum rule.
    born = values.squeeze(-1).detach().numpy()
    return energy, forces, born - born.mean(axis=0)


def test_enthalpy_of_an_open_system_is_conserved_and_energy_is_not(cluster):
    drifts, works = [], []
    for halved in (1, 2):
        motion = driven(STATIC, 0.1 / halved)
        with simulation(motion, cluster.driver, cluster.folder) as ipi:
            energies, enthalpies = [], []
            for _ in range(6):
                energies.append(ipi.properties("conserved"))
                enthalpies.append(energies[-1] - ipi.properties("interaction_energy"))
                ipi.run(5 * halved, write_outputs=False)
        drifts.append(np.abs(np.array(enthalpies) - enthalpies[0]).max())
        works.append(abs(energies[-1] - energies[0]))
    # i-PI's interaction_energy is +mu E; what is left falls with the square of the time step.
    assert works[0] > 1e-4
    assert drifts[0] < 2e-3 * works[0]
    assert drifts[1] < 0.3 * drifts[0]


def test_dipole_and_field_are_reported_in_atomic_units(cluster):
    with simulation(driven(OSCILLATING), cluster.driver, cluster.folder) as ipi:
        ipi.run(3)
        system = ipi.syslist[0]
        field, _, _ = system.properties["Efield"]
        dipole, _, _ = system.properties["dipole"]
        time = system.ensemble.time
        before = np.array(dipole)
        born = np.array(system.motion.Born_Charges.bec)[0]
        step = 1e-4
        system.beads.q[0, 4] += step
        change = (np.array(system.properties["dipole"][0]) - before) / step
    np.testing.assert_allclose(field, fields_at(OSCILLATING, time), atol=1e-12)
    np.testing.assert_allclose(change, born[4], atol=1e-3 * np.abs(born).max())


class Counting:
    """A driver that counts the calls of its model and the structures in each."""

    def __init__(self, driver) -> None:
        self.driver = driver
        self.calls: list[int] = []

    def __call__(self, cell, pos):
        model = self.driver.models[0]
        self.driver.models[0] = lambda systems, *rest, **named: self.count(
            model, systems, *rest, **named
        )
        try:
            return self.driver(cell, pos)
        finally:
            self.driver.models[0] = model

    def count(self, model, systems, *rest, **named):
        self.calls.append(len(systems))
        return model(systems, *rest, **named)


def test_all_beads_go_through_the_model_in_one_call(bulk):
    counting = Counting(bulk.driver)
    beads = run(bulk, driven(STATIC), 2, counting, n_beads=4)
    assert set(counting.calls) == {4}
    assert len(counting.calls) in (3, 4)  # the start, and one a step
    assert np.ptp(beads[0], axis=0).max() > 1e-4
    assert np.isfinite(beads).all()


@pytest.mark.parametrize("n_beads", [1, 3])
def test_a_restarted_run_equals_the_uninterrupted_one(bulk, n_beads):
    with simulation(driven(PULSED), bulk.driver, bulk.folder, n_beads=n_beads) as ipi:
        ipi.run(4)
        restart = (bulk.folder / "RESTART").read_text()
        ipi.run(4)
        expected, time = state(ipi), ipi.syslist[0].ensemble.time
    with simulation(restart, bulk.driver, bulk.folder) as ipi:
        assert 0 < ipi.syslist[0].ensemble.time < time
        ipi.run(4)
        found = state(ipi)
        assert ipi.syslist[0].ensemble.time == pytest.approx(time, rel=1e-14)
    np.testing.assert_allclose(found, expected, rtol=1e-13, atol=1e-13)


def test_wrapped_atoms_of_a_slab_feel_the_same_field(tmp_path):
    case = Case(tmp_path, slab_water(), "slab", **LOCAL)
    motion = driven(STATIC)

    results = []
    for is_wrapped in (False, True):
        with simulation(motion, case.driver, case.folder, pbc=is_wrapped) as ipi:
            ipi.run(5)
            results.append(state(ipi))
    np.testing.assert_allclose(results[1], results[0], rtol=0, atol=1e-9)
