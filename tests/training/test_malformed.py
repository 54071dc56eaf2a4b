import re
import subprocess
import sys

import pytest

from mace_smile.cli.run_train import main
from mace_smile.training.mace_parser import build_parser
from mace_smile.training.number_checks import RANGES, check_numbers
from malformed import CASES, Folder
from malformed_more import GOOD, MORE, SAYS
from training_data import logging_restored

ALL = (*CASES, *MORE, *GOOD)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """The folder of all cases."""
    return tmp_path_factory.mktemp("malformed")


def made(case, root):
    """The folder of a case, and the content of its files; logs may grow."""
    folder = Folder(root / case.name.replace(" ", "_"), ALL.index(case))
    case.make(folder)
    return folder, contents(folder)


def contents(folder):
    files = [path for path in folder.path.rglob("*") if path.is_file() and path.suffix != ".log"]
    return {path: path.read_bytes() for path in files}


def check_sentence(text):
    """The last line is a sentence of use, and there is no traceback."""
    assert "Traceback" not in text
    assert text.splitlines()[-1].startswith("error: ")
    assert len(text.splitlines()[-1]) < 1000


def test_there_are_sixty_cases_with_names_of_their_own():
    assert len(CASES) == 60
    assert len({case.name for case in ALL}) == len(ALL)


@pytest.mark.filterwarnings("default")  # of torch, for files that are not its own
@pytest.mark.parametrize("case", [*CASES, *MORE], ids=lambda case: case.name)
def test_malformed_input_ends_in_one_sentence_and_changes_no_file(case, root, capsys):
    folder, before = made(case, root)
    capsys.readouterr()
    with logging_restored(), pytest.raises(SystemExit, match="2"):
        main(folder.command())
    said = capsys.readouterr()
    check_sentence(said.err)
    assert re.search(SAYS.get(case.name, "error: "), said.err.splitlines()[-1])
    assert "this must not be printed" not in said.out
    after = contents(folder)
    assert {path: after.get(path) for path in before} == before


@pytest.mark.parametrize("case", GOOD, ids=lambda case: case.name)
def test_input_that_is_not_spoilt_is_accepted(case, root):
    folder, _ = made(case, root)
    with logging_restored():
        main([*folder.command(), "--dry_run"])


@pytest.mark.slow
@pytest.mark.parametrize("case", [*CASES, *MORE], ids=lambda case: case.name)
def test_command_refuses_malformed_input(case, tmp_path):
    folder, before = made(case, tmp_path)
    command = [sys.executable, "-m", "mace_smile.cli.run_train", *folder.command()]
    ended = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert ended.returncode == 2
    check_sentence(ended.stderr)
    after = contents(folder)
    assert {path: after.get(path) for path in before} == before


@pytest.mark.parametrize("name", RANGES)
def test_defaults_are_in_range(name):
    args = build_parser().parse_args(["--name=x"])
    assert hasattr(args, name)
    check_numbers(args)
