"""Runs that are killed and resumed are, bit by bit, those that were not."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import ase
import ase.io
import ase.units as units
import numpy as np
import pytest
from ase.md.andersen import Andersen
from ase.md.bussi import Bussi
from ase.md.langevin import Langevin
from ase.md.nose_hoover_chain import NoseHooverChainNVT
from ase.md.nptberendsen import NPTBerendsen
from ase.md.nvtberendsen import NVTBerendsen
from ase.md.verlet import VelocityVerlet

from harmonic import Springs
from mace_smile.dynamics import ConstantDisplacement, FiniteField, ResumableRun
from mace_smile.errors import UserError
from mace_smile.physics.driving_fields import FieldExpression

STEP = 0.5 * units.fs
INTEGRATORS = {
    "nve": lambda atoms: VelocityVerlet(atoms, STEP),
    "langevin": lambda atoms: Langevin(
        atoms,
        STEP,
        temperature_K=300.0,
        friction=0.01 / units.fs,
        fixcm=False,
        rng=np.random.default_rng(3),
    ),
    "legacy": lambda atoms: Andersen(
        atoms, STEP, temperature_K=300.0, andersen_prob=0.1, rng=np.random.RandomState(3)
    ),
    "bussi": lambda atoms: Bussi(
        atoms, STEP, temperature_K=300.0, taut=20 * units.fs, rng=np.random.default_rng(3)
    ),
    "berendsen": lambda atoms: NVTBerendsen(
        atoms, STEP, temperature_K=300.0, taut=20 * units.fs, fixcm=False
    ),
    "chain": lambda atoms: NoseHooverChainNVT(
        atoms, STEP, temperature_K=300.0, tdamp=20 * units.fs
    ),
}
FIELDS = {
    "none": lambda: None,
    "static": lambda: [0.0, 0.0, 0.3],
    "changing": lambda: FieldExpression("0, 0, 0.3*sin(0.1*t)"),
    "displacement": lambda: ConstantDisplacement(0.5, 2.0),
}


def start() -> ase.Atoms:
    atoms = ase.Atoms("Ne3", [[1.0, 1.0, 1.0], [3.0, 1.0, 1.0], [1.0, 3.0, 2.0]])
    atoms.set_cell([5.0, 5.0, 5.0])
    atoms.pbc = True
    atoms.calc = Springs(atoms.positions, slope=0.4)
    atoms.set_momenta(np.random.default_rng(1).normal(size=(3, 3)))
    return atoms


def script(folder: Path, integrator: str, field: str, suffix: str = "extxyz") -> ResumableRun:
    """What a user's script does, at the start and when it resumes."""
    atoms = start()
    given = FIELDS[field]()
    if given is not None:
        atoms.calc = FiniteField(atoms.calc, given)
    dynamics = INTEGRATORS[integrator](atoms)
    if given is not None:
        atoms.calc.follow(dynamics)
    return ResumableRun(
        dynamics, folder / "run.restart", folder / f"run.{suffix}", stride=3, restart_stride=10
    )


def final(run: ResumableRun) -> np.ndarray:
    values = [run.atoms.positions.ravel(), run.atoms.get_momenta().ravel()]
    if run.field is not None:
        values += [[run.field.work, run.field.time, run.field.enthalpy], run.field.dipole_change]
    return np.concatenate(values)


def steps_of(path: Path) -> list[int]:
    return [frame.info["step"] for frame in ase.io.read(path, ":")]


class Killed(Exception):
    pass


def interrupted(
    folder: Path, integrator: str, field: str, stops: list[int], suffix: str
) -> ResumableRun:
    """A run of 60 steps that breaks off at some steps, each time to be made anew."""

    def stop_at(run: ResumableRun, step: int) -> None:
        if run.dynamics.nsteps == step:
            raise Killed

    for step in stops:
        run = script(folder, integrator, field, suffix)
        run.dynamics.attach(stop_at, 1, run, step)
        with pytest.raises(Killed):
            run.run(60)
    run = script(folder, integrator, field, suffix)
    run.run(60)
    return run


@pytest.mark.parametrize(
    ("integrator", "field"),
    [(name, "none") for name in INTEGRATORS]
    + [("nve", name) for name in FIELDS if name != "none"]
    + [("langevin", name) for name in FIELDS if name != "none"],
)
def test_resumed_run_is_the_unbroken_run_bit_by_bit(tmp_path, integrator, field):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    whole = script(tmp_path / "a", integrator, field)
    whole.run(60)
    broken = interrupted(tmp_path / "b", integrator, field, [4, 14, 37, 38], "extxyz")
    np.testing.assert_array_equal(final(broken), final(whole))
    written = (tmp_path / "b" / "run.extxyz").read_bytes()
    assert written == (tmp_path / "a" / "run.extxyz").read_bytes()
    assert steps_of(tmp_path / "b" / "run.extxyz") == list(range(0, 61, 3))


def test_ase_trajectory_has_each_frame_once(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    script(tmp_path / "a", "langevin", "static", "traj").run(60)
    interrupted(tmp_path / "b", "langevin", "static", [4, 14, 37], "traj")
    whole, broken = (ase.io.read(tmp_path / name / "run.traj", ":") for name in "ab")
    assert steps_of(tmp_path / "b" / "run.traj") == list(range(0, 61, 3))
    for first, second in zip(whole, broken, strict=True):
        np.testing.assert_array_equal(first.positions, second.positions)
        np.testing.assert_array_equal(first.get_momenta(), second.get_momenta())
        np.testing.assert_array_equal(first.get_forces(), second.get_forces())
        assert first.calc.results["free_energy"] == second.calc.results["free_energy"]
        assert first.info["enthalpy"] == second.info["enthalpy"]


def test_finished_run_is_left_alone_and_can_be_prolonged(tmp_path):
    script(tmp_path, "nve", "none").run(30)
    before = (tmp_path / "run.extxyz").read_bytes()
    script(tmp_path, "nve", "none").run(30)
    assert (tmp_path / "run.extxyz").read_bytes() == before
    script(tmp_path, "nve", "none").run(60)
    assert steps_of(tmp_path / "run.extxyz") == list(range(0, 61, 3))


SCRIPT = """
import sys, time
from pathlib import Path
sys.path.insert(0, {tests!r})
from test_resumable import script
run = script(Path({folder!r}), "langevin", "changing", {suffix!r})
run.dynamics.attach(lambda: time.sleep(0.002), 1)
print("ready", flush=True)
run.run(300)
"""


@pytest.mark.slow
@pytest.mark.parametrize("suffix", ["extxyz", "traj"])
def test_kill_at_random_moments(tmp_path, suffix):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    whole = script(tmp_path / "a", "langevin", "changing", suffix)
    whole.run(300)
    tests = str(Path(__file__).parent)
    text = SCRIPT.format(tests=tests, folder=str(tmp_path / "b"), suffix=suffix)
    environment = {**os.environ, "PYTHONPATH": str(Path(tests).parent), "OMP_NUM_THREADS": "1"}
    rng = np.random.default_rng(5)
    for _ in range(5):
        process = subprocess.Popen(
            [sys.executable, "-c", text], env=environment, stdout=subprocess.PIPE
        )
        process.stdout.readline()
        time.sleep(rng.uniform(0.0, 0.4))
        process.send_signal(signal.SIGKILL)
        process.communicate()
    run = script(tmp_path / "b", "langevin", "changing", suffix)
    run.run(300)
    np.testing.assert_array_equal(final(run), final(whole))
    assert steps_of(tmp_path / "b" / f"run.{suffix}") == list(range(0, 301, 3))


def test_half_a_frame_after_the_restart_is_cut_off(tmp_path):
    script(tmp_path, "nve", "none").run(30)
    whole = (tmp_path / "run.extxyz").read_bytes()
    with (tmp_path / "run.extxyz").open("a") as file:
        file.write("3\nLattice=")
    script(tmp_path, "nve", "none").run(30)
    assert (tmp_path / "run.extxyz").read_bytes() == whole


def test_files_of_another_run_are_refused(tmp_path):
    script(tmp_path, "nve", "none").run(20)
    with pytest.raises(
        UserError, match="with the integrator VelocityVerlet and is resumed with Lan"
    ):
        script(tmp_path, "langevin", "none")
    with pytest.raises(UserError, match="written without a field and is resumed with"):
        script(tmp_path, "nve", "static")
    with pytest.raises(UserError, match="written with a trajectory and is resumed without"):
        ResumableRun(VelocityVerlet(start(), STEP), tmp_path / "run.restart")
    with pytest.raises(UserError, match="with the time step"):
        ResumableRun(VelocityVerlet(start(), 2 * STEP), tmp_path / "run.restart")
    other = start()
    other.numbers[0] = 2
    with pytest.raises(UserError, match="a structure with other elements"):
        ResumableRun(VelocityVerlet(other, STEP), tmp_path / "run.restart")
    (tmp_path / "run.extxyz").write_text("short")
    with pytest.raises(UserError, match="has 5 bytes but had"):
        script(tmp_path, "nve", "none")
    (tmp_path / "run.restart").unlink()
    with pytest.raises(UserError, match="exists, but not the restart file"):
        script(tmp_path, "nve", "none")
    (tmp_path / "run.restart").write_text("nothing")
    with pytest.raises(UserError, match="is no restart file of mace_smile"):
        script(tmp_path, "nve", "none")


def test_another_static_field_is_refused(tmp_path, monkeypatch):
    script(tmp_path, "nve", "static").run(10)
    monkeypatch.setitem(FIELDS, "static", lambda: [0.0, 0.0, 0.1])
    with pytest.raises(UserError, match=r"in the field \[0. +0. +0.3\] and is resumed in"):
        script(tmp_path, "nve", "static")


def test_other_random_numbers_are_refused(tmp_path):
    script(tmp_path, "langevin", "none").run(10)

    def langevin(rng) -> Langevin:
        return Langevin(start(), STEP, temperature_K=300.0, friction=0.01, fixcm=False, rng=rng)

    for rng in (np.random.RandomState(1), np.random.Generator(np.random.MT19937(1))):
        with pytest.raises(UserError, match="give the integrator the same `rng`"):
            ResumableRun(langevin(rng), tmp_path / "run.restart", tmp_path / "run.extxyz")


def test_random_numbers_of_numpy_itself_are_kept(tmp_path):
    def run() -> ResumableRun:
        dynamics = Langevin(start(), STEP, temperature_K=300.0, friction=0.01, fixcm=False)
        return ResumableRun(dynamics, tmp_path / "run.restart", restart_stride=10)

    np.random.seed(1)  # noqa: NPY002
    run().run(10)
    first = run()
    first.run(20)
    second = ResumableRun(
        Langevin(start(), STEP, temperature_K=300.0, friction=0.01, fixcm=False),
        tmp_path / "again",
    )
    np.random.seed(1)  # noqa: NPY002
    second.run(20)
    np.testing.assert_array_equal(final(first), final(second))


def test_integrators_and_trajectories_that_cannot_be_resumed_are_refused(tmp_path):
    dynamics = NPTBerendsen(
        start(), STEP, temperature_K=300.0, pressure_au=0.0, compressibility_au=4.5e-5
    )
    with pytest.raises(UserError, match="a run with NPTBerendsen cannot be resumed exactly"):
        ResumableRun(dynamics, tmp_path / "run.restart")
    with pytest.raises(UserError, match=r"must end in .xyz, .extxyz, .traj"):
        ResumableRun(VelocityVerlet(start(), STEP), tmp_path / "r", tmp_path / "run.nc")
    with pytest.raises(UserError, match="`stride` is 0"):
        ResumableRun(VelocityVerlet(start(), STEP), tmp_path / "r", stride=0)
    atoms = start()
    atoms.calc = FiniteField(atoms.calc, [0.0, 0.0, 0.1])
    with pytest.raises(UserError, match=r"call field.follow\(dynamics\)"):
        ResumableRun(VelocityVerlet(atoms, STEP), tmp_path / "r")


def test_a_run_that_explodes_keeps_its_last_good_restart(tmp_path):
    run = script(tmp_path, "nve", "none")
    run.run(10)
    before = (tmp_path / "run.restart").read_bytes()
    run.atoms.positions[0] = np.nan
    with pytest.raises(UserError, match="positions or momenta are no numbers any more at step 20"):
        run.run(20)
    assert (tmp_path / "run.restart").read_bytes() == before
    assert json.loads(str(np.load(tmp_path / "run.restart")["run"]))["integrator"]["step"] == 10
