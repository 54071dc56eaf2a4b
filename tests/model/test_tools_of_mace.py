"""MACE's own tools on our files: they work, or say what to use instead."""

import copy
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


@pytest.mark.filterwarnings("ignore:Environment variable TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD")
@pytest.mark.parametrize("wanted", [{"compile_mode": "default"}, {"enable_cueq": True}])
@pytest.mark.parametrize("as_file", [True, False])
def test_what_the_calculator_of_mace_cannot_do_is_said(tmp_path, wanted, as_file):
    if "enable_cueq" in wanted:
        pytest.importorskip("cuequivariance_torch")
    path = tmp_path / "small.model"
    torch.save(make_model("4x0e", 1), path)
    model = {"model_paths": str(path)} if as_file else {"models": [load_model(path)]}
    with pytest.raises(TypeError, match=r"leave out compile_mode, enable_cueq .*mace_smile_export"):
        MACECalculator(**model, default_dtype="float64", **wanted)


@pytest.mark.filterwarnings("ignore:Environment variable TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD")
@pytest.mark.filterwarnings("ignore:To copy construct from a tensor")
@pytest.mark.filterwarnings("ignore:cuequivariance_ops_torch is not available")
def test_the_calculator_of_mace_still_converts_plain_models(tmp_path):
    pytest.importorskip("cuequivariance_torch")
    model = make_model("4x0e", 1)
    torch.save(model, tmp_path / "small.model")
    load_model(tmp_path / "small.model")
    atoms = STRUCTURES["open"]()
    energies = []
    for wanted in ({}, {"enable_cueq": True}):
        atoms.calc = MACECalculator(
            models=[copy.deepcopy(model.backbone)], default_dtype="float64", **wanted
        )
        energies.append(atoms.get_potential_energy())
    assert energies[1] == pytest.approx(energies[0], abs=1e-8)


@pytest.mark.parametrize("command", REFUSED)
def test_commands_that_cannot_use_our_files_say_what_can(tmp_path, command, monkeypatch):
    path = tmp_path / "small.model"
    torch.save(make_model("4x0e", 1), path)
    monkeypatch.setattr(sys, "argv", [f"/somewhere/bin/{command}", str(path)])
    with pytest.raises(SystemExit, match=r"error: .*mace_smile_"):
        torch.load(path, weights_only=False)
    monkeypatch.setattr(sys, "argv", ["/somewhere/bin/mace_smile_eval_configs"])
    load_model(path)


@pytest.mark.parametrize(
    "options",
    [
        {"given_charges_key": "given", "given_mask_key": "mask"},
        {"coulomb_terms": "full", "coulomb_cutoff": 3.0, "electrostatics": "ewald"},
    ],
    ids=["given charges", "neighbour list"],
)
@pytest.mark.filterwarnings("ignore:Environment variable TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD")
def test_inputs_that_tools_of_mace_do_not_give_are_missed(tmp_path, monkeypatch, options):
    path = tmp_path / "small.model"
    torch.save(make_model("4x0e", 1, **options), path)
    atoms = STRUCTURES["open"]()
    atoms.calc = MACECalculator(str(path), default_dtype="float64")
    if "given_mask_key" in options:
        with pytest.warns(UserWarning, match=r"given charges 'given'.*SmileCalculator"):
            atoms.get_potential_energy()
    else:
        with pytest.raises(ValueError, match=r"neighbour list of its own.*SmileCalculator"):
            atoms.get_potential_energy()
    monkeypatch.setattr(sys, "argv", ["/somewhere/bin/mace_eval_configs"])
    with pytest.raises(SystemExit, match="error: .*mace_smile_eval_configs"):
        torch.load(path, weights_only=False)


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
