"""Polarizabilities in mace_smile_eval_configs and mace_smile_selftest."""

import sys

import ase.io
import numpy as np
import pytest
import torch

from helpers import STRUCTURES, evaluate, make_model
from mace_smile.calculator import SmileCalculator
from mace_smile.cli.eval_configs import main
from mace_smile.selftest.checks import run_checks
from mace_smile.selftest.settings import SelftestSettings
from mace_smile.selftest.subject import Subject


@pytest.fixture(scope="module")
def model():
    torch.set_default_dtype(torch.float64)
    return make_model(polarizability_head="local", screening="local", electrostatics="none")


def run(monkeypatch, folder, *flags) -> list[ase.Atoms]:
    arguments = ["--model", f"{folder}/small.model", "--configs", f"{folder}/in.xyz"]
    arguments += ["--output", f"{folder}/out.xyz", *flags]
    monkeypatch.setattr(sys, "argv", ["mace_smile_eval_configs", *arguments])
    main()
    return ase.io.read(folder / "out.xyz", ":")


def row(text: str, name: str) -> list[str]:
    lines = [line for line in text.splitlines() if line.startswith(f"| {name} ")]
    assert len(lines) == 1
    return [cell.strip() for cell in lines[0].strip("|").split("|")]


def test_errors_are_split_into_isotropic_and_anisotropic_part(monkeypatch, tmp_path, capsys, model):
    torch.save(model, tmp_path / "small.model")
    frames = []
    for boundary, build in STRUCTURES.items():
        atoms = build()
        alpha = evaluate(model, atoms, compute_force=False)["polarizability"][0].detach().numpy()
        error = len(atoms) * (0.002 * np.eye(3) + 0.001 * np.diag([1.0, -1.0, 0.0]))
        if boundary != "slab":
            atoms.info["alpha"] = (alpha - error).ravel()
        frames.append(atoms)
    ase.io.write(tmp_path / "in.xyz", frames)
    for atoms, build in zip(
        run(monkeypatch, tmp_path, "--polarizability_key", "alpha"),
        STRUCTURES.values(),
        strict=True,
    ):
        expected = evaluate(model, build(), compute_force=False)["polarizability"][0]
        found = np.reshape(atoms.info["MACE_polarizability"], (3, 3))
        np.testing.assert_allclose(found, expected.detach(), atol=1e-7)
    text = capsys.readouterr().out
    name = "polarizability per atom"
    rmse = 1e3 * np.sqrt((0.003**2 + 0.001**2 + 0.002**2) / 9)
    assert row(text, name)[1:3] == ["me A^2/V", "2"]
    assert float(row(text, name)[4]) == pytest.approx(rmse, abs=1e-3)
    assert float(row(text, f"{name}, isotropic")[3]) == pytest.approx(2.0, abs=1e-3)
    rmse = 1e3 * np.sqrt(2 * 0.001**2 / 9)
    assert float(row(text, f"{name}, anisotropic")[4]) == pytest.approx(rmse, abs=1e-3)


@pytest.mark.parametrize("boundary", ["open", "periodic"])
def test_the_selftest_knows_the_second_order(boundary, model):
    settings = SelftestSettings(steps=30, samples=1, field=(0.3, -0.1, 0.4))
    names = ["field_forces", "second_order", "rotation", "supercell", "nve_field"]
    findings = run_checks(Subject(model), [STRUCTURES[boundary]()], settings, names)
    done = [finding for finding in findings if finding.result != "skipped"]
    assert all(finding.result == "pass" for finding in done)
    assert {"field_forces", "second_order", "rotation", "nve_field"} <= {f.check for f in done}
    assert any(finding.quantity == "polarizability per atom" for finding in done)


def test_the_selftest_finds_a_wrong_second_order(monkeypatch, model):
    """A model whose forces in a field lack the second order."""
    calculate = SmileCalculator.calculate

    def without_second_order(self, *args, **named):
        self.field_order = 1
        calculate(self, *args, **named)

    monkeypatch.setattr(SmileCalculator, "calculate", without_second_order)
    settings = SelftestSettings(samples=1)
    findings = run_checks(Subject(model), [STRUCTURES["open"]()], settings, ["second_order"])
    assert [finding.result for finding in findings] == ["FAIL"]
