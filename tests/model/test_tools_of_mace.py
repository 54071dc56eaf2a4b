"""MACE's own tools on our files: they work, or say what to use instead."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from mace.calculators import MACECalculator

from helpers import STRUCTURES, make_model
from mace_smile.calculator import SmileCalculator
from mace_smile.model.files import load_model
from mace_smile.model.tools_of_mace import REFUSED


@pytest.mark.filterwarnings("ignore:Environment variable TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD")
@pytest.mark.parametrize("boundary", STRUCTURES)
def test_the_calculator_of_mace_gives_our_energies(tmp_path, boundary):
    path = tmp_path / "small.model"
    torch.save(make_model(), path)
    atoms = STRUCTURES[boundary]()
    ours, of_mace = atoms.copy(), atoms.copy()
    ours.calc = SmileCalculator(path)
    of_mace.calc = MACECalculator(str(path), default_dtype="float64")
    assert of_mace.get_potential_energy() == pytest.approx(ours.get_potential_energy(), abs=1e-10)
    np.testing.assert_allclose(of_mace.get_forces(), ours.get_forces(), atol=1e-10)
    assert "charges" in of_mace.calc.results


@pytest.mark.parametrize("command", REFUSED)
def test_commands_that_cannot_use_our_files_say_what_can(tmp_path, command, monkeypatch):
    path = tmp_path / "small.model"
    torch.save(make_model("4x0e", 1), path)
    monkeypatch.setattr(sys, "argv", [f"/somewhere/bin/{command}", str(path)])
    with pytest.raises(SystemExit, match=r"error: .*mace_smile_"):
        torch.load(path, weights_only=False)
    monkeypatch.setattr(sys, "argv", ["/somewhere/bin/mace_smile_eval_configs"])
    load_model(path)


def test_a_command_of_mace_ends_with_the_sentence(tmp_path):
    path = tmp_path / "small.model"
    torch.save(make_model("4x0e", 1), path)
    command = Path(sys.executable).with_name("mace_select_head")
    result = subprocess.run(
        [command, path, "--head_name", "Default"], capture_output=True, text=True, check=False
    )
    assert result.returncode == 1
    assert result.stderr.splitlines()[-1].startswith("error: a SmileMACE keeps all its heads")
    assert "Traceback" not in result.stderr
    assert list(tmp_path.iterdir()) == [path]
