"""Many small systems in one call of torch-sim are those of ASE, one by one."""

import ase
import ase.units as units
import numpy as np
import pytest
import torch
from ase.md.verlet import VelocityVerlet
from ase.stress import voigt_6_to_full_3x3_stress
from metatomic.torch import ModelOutput
from metatomic_ase import MetatomicCalculator

from exported import write_model
from helpers import make_model, slab_water, water

pytestmark = pytest.mark.engine

FIELD = "tilted"
TOLERANCE = 1e-8  # eV, eV/A, A
BORN_CHARGES = "mace_smile::born_effective_charges"
TIME_STEP = 0.5 * units.fs
REASON = "torch-sim is not installed: pip install 'mace-smile[torchsim]', with Python 3.12"


@pytest.fixture(autouse=True)
def _unoptimized():
    """Let TorchScript run as it is: optimizing it for each shape takes longer than the runs."""
    with torch.jit.optimized_execution(False):
        yield


@pytest.fixture(scope="module")
def engine():
    """torch-sim, and its model class for exported files."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONWARNINGS", "ignore")
        torch_sim = pytest.importorskip("torch_sim", reason=REASON)
        adapter = pytest.importorskip("metatomic_torchsim", reason=REASON)
    return torch_sim, adapter.MetatomicModel


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    torch.set_default_dtype(torch.float64)  # before conftest.py does
    model = make_model("2x0e+2x1o", n_layers=1)
    return write_model(tmp_path_factory.mktemp("model"), model, boundary="auto")


def small_systems() -> list[ase.Atoms]:
    """Eight periodic cells of one to four water molecules, with velocities."""
    systems = []
    for number in range(8):
        atoms = water(1 + number % 4, seed=number)
        atoms.set_cell([[6.2, 0, 0], [0.7, 6.0 + 0.1 * number, 0], [-0.4, 0.5, 6.1]])
        atoms.pbc = True
        drawn = np.random.default_rng(number).normal(size=(len(atoms), 3))
        atoms.set_momenta(0.3 * drawn)
        systems.append(atoms)
    return systems


def to_state(engine, systems: list[ase.Atoms]):
    """One state of many systems, with their momenta."""
    torch_sim, _ = engine
    state = torch_sim.io.atoms_to_state(systems, torch.device("cpu"), torch.float64)
    momenta = np.concatenate([atoms.get_momenta() for atoms in systems])
    return torch_sim.integrators.MDState.from_state(
        state,
        momenta=torch.as_tensor(momenta),
        energy=torch.zeros(len(systems)),
        forces=torch.zeros(len(momenta), 3),
    )


def split(values: torch.Tensor, systems: list[ase.Atoms]) -> list[np.ndarray]:
    """Values of atoms, system by system."""
    parts = torch.split(values, [len(atoms) for atoms in systems])
    return [part.detach().numpy() for part in parts]


def variants(field: str | None) -> dict[str, str]:
    return {} if field is None else {"energy": field}


@pytest.mark.parametrize("field", [None, FIELD])
def test_batch_has_the_energies_and_forces_of_ase(engine, path, field):
    systems = small_systems()
    model = engine[1](
        path,
        device="cpu",
        variants=variants(field),
        additional_outputs={BORN_CHARGES: ModelOutput(sample_kind="atom")},
    )
    found = model(to_state(engine, systems))
    born = model.additional_outputs[BORN_CHARGES].block().values.squeeze(-1)
    calculator = MetatomicCalculator(
        path,
        device="cpu",
        variants=variants(field),
        additional_outputs={BORN_CHARGES: ModelOutput(sample_kind="atom")},
    )
    for number, atoms in enumerate(systems):
        forces = calculator.get_forces(atoms)
        energy = calculator.get_potential_energy(atoms)
        stress = voigt_6_to_full_3x3_stress(calculator.get_stress(atoms))
        expected = calculator.additional_outputs[BORN_CHARGES].block().values.squeeze(-1)
        assert abs(found["energy"][number].item() - energy) < TOLERANCE
        np.testing.assert_allclose(
            split(found["forces"], systems)[number], forces, atol=TOLERANCE, rtol=0
        )
        np.testing.assert_allclose(found["stress"][number].numpy(), stress, atol=TOLERANCE, rtol=0)
        np.testing.assert_allclose(
            split(born, systems)[number], expected.detach().numpy(), atol=TOLERANCE, rtol=0
        )


@pytest.mark.parametrize("field", [None, FIELD])
def test_nve_of_a_batch_is_that_of_ase(engine, path, field):
    torch_sim, model_class = engine
    systems = small_systems()
    model = model_class(path, device="cpu", variants=variants(field))
    state = torch_sim.nve_init(to_state(engine, systems), model, kT=0.0)
    for _ in range(10):
        state = torch_sim.nve_step(state, model, dt=TIME_STEP)
    calculator = MetatomicCalculator(path, device="cpu", variants=variants(field))
    for number, atoms in enumerate(systems):
        start = atoms.get_positions()
        atoms.calc = calculator
        VelocityVerlet(atoms, TIME_STEP).run(10)
        assert np.abs(atoms.positions - start).max() > 0.01
        found = split(state.positions, systems)[number]
        np.testing.assert_allclose(found, atoms.positions, atol=TOLERANCE, rtol=0)
        found = split(state.momenta, systems)[number]
        np.testing.assert_allclose(found, atoms.get_momenta(), atol=TOLERANCE, rtol=0)
        assert abs(state.energy[number].item() - atoms.get_potential_energy()) < TOLERANCE


def test_nvt_of_a_batch_ends_with_the_forces_of_ase(engine, path):
    torch_sim, model_class = engine
    systems = small_systems()
    model = model_class(path, device="cpu", variants=variants(FIELD))
    state = torch_sim.integrate(
        system=[
            ase.Atoms(atoms.symbols, atoms.positions, cell=atoms.cell, pbc=True)
            for atoms in systems
        ],
        model=model,
        integrator=torch_sim.Integrator.nvt_langevin,
        n_steps=10,
        temperature=300.0,
        timestep=0.0005,
    )
    calculator = MetatomicCalculator(path, device="cpu", variants=variants(FIELD))
    temperatures = torch_sim.calc_kT(
        masses=state.masses, momenta=state.momenta, system_idx=state.system_idx
    )
    assert (temperatures / units.kB < 3000).all()
    for number, atoms in enumerate(state.to_atoms()):
        assert np.abs(atoms.positions - systems[number].positions).max() > 1e-3
        found = split(state.forces, systems)[number]
        np.testing.assert_allclose(found, calculator.get_forces(atoms), atol=TOLERANCE, rtol=0)


def test_slabs_of_a_batch_take_their_boundary_from_the_file(engine, tmp_path):
    model = make_model("2x0e+2x1o", n_layers=1)
    path = write_model(tmp_path, model, boundary="slab")
    systems = []
    for height in (18.0, 20.0):
        atoms = slab_water(height)
        atoms = ase.Atoms(atoms.symbols, atoms.positions, cell=atoms.cell, pbc=True)
        systems.append(atoms)
    found = engine[1](path, device="cpu", variants=variants(FIELD))(to_state(engine, systems))
    calculator = MetatomicCalculator(path, device="cpu", variants=variants(FIELD))
    for number, atoms in enumerate(systems):
        expected = calculator.get_forces(atoms)
        found_forces = split(found["forces"], systems)[number]
        np.testing.assert_allclose(found_forces, expected, atol=TOLERANCE, rtol=0)
    assert found["energy"][0].item() == pytest.approx(found["energy"][1].item(), abs=1e-6)
