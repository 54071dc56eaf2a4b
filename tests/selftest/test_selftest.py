"""A good model passes its self-test; a broken one fails the row that tells how it is broken."""

import json
import sys

import ase.io
import numpy as np
import pytest
import torch

from helpers import (
    GIVEN,
    STRUCTURES,
    bulk_water,
    evaluate,
    make_model,
    open_water,
    slab_water,
)
from mace_smile.cli.selftest import main
from mace_smile.errors import UserError
from mace_smile.model.smile_mace import SmileMACE
from mace_smile.selftest.checks import CHECKS, run_checks
from mace_smile.selftest.finding import compare, worst_of_each
from mace_smile.selftest.settings import SelftestSettings
from mace_smile.selftest.subject import Subject

SHORT = SelftestSettings(steps=20, samples=1)
STATIC = [name for name in CHECKS if not name.startswith("nve")]


class ScaledForces(SmileMACE):
    """Forces that are not the derivative of the energy."""

    def forward(self, data, **kwargs):
        output = super().forward(data, **kwargs)
        if output["forces"] is not None:
            output["forces"] = 1.01 * output["forces"]
        return output


class ScaledStress(SmileMACE):
    """A stress with another volume."""

    def forward(self, data, **kwargs):
        output = super().forward(data, **kwargs)
        if output["stress"] is not None:
            output["stress"] = 1.1 * output["stress"]
        return output


class TransposedBornCharges(SmileMACE):
    """Born charges with the displacement index first."""

    def forward(self, data, **kwargs):
        output = super().forward(data, **kwargs)
        if output["born_effective_charges"] is not None:
            output["born_effective_charges"] = output["born_effective_charges"].transpose(1, 2)
        return output


class NegativeBornCharges(SmileMACE):
    """Born charges with the other sign."""

    def forward(self, data, **kwargs):
        output = super().forward(data, **kwargs)
        if output["born_effective_charges"] is not None:
            output["born_effective_charges"] = -output["born_effective_charges"]
        return output


class PlacedCharges(SmileMACE):
    """Charges that depend on where an atom is."""

    def forward(self, data, **kwargs):
        output = super().forward(data, **kwargs)
        output["charges"] = output["charges"] + 1e-3 * data["positions"][:, 2].detach()
        return output


class NumberedCharges(SmileMACE):
    """Charges that depend on the number of an atom."""

    def forward(self, data, **kwargs):
        output = super().forward(data, **kwargs)
        output["charges"] = output["charges"] + 1e-3 * torch.arange(len(output["charges"]))
        return output


class FirstNeighbour(SmileMACE):
    """Charges that depend on which edge comes first."""

    def forward(self, data, **kwargs):
        output = super().forward(data, **kwargs)
        output["charges"] = output["charges"] + 1e-3 * data["edge_index"][1, 0]
        return output


class CountedEnergy(SmileMACE):
    """An energy that is not extensive."""

    def forward(self, data, **kwargs):
        output = super().forward(data, **kwargs)
        output["energy"] = output["energy"] + 1e-3 * len(data["positions"]) ** 2
        return output


class Friction(SmileMACE):
    """Forces much larger than the slope of the energy."""

    def forward(self, data, **kwargs):
        output = super().forward(data, **kwargs)
        if output["forces"] is not None:
            output["forces"] = 3.0 * output["forces"]
        return output


def failures(model, atoms, checks=STATIC, settings=SHORT):
    """The rows that fail."""
    findings = worst_of_each(run_checks(Subject(model), [atoms], settings, checks))
    return {(row.check, row.quantity) for row in findings if row.result == "FAIL"}


def coupled(**options):
    """A model whose Born charges are derivatives, of ordinary size."""
    model = make_model(**{"screening": "local", "dipole_head": "local", **options})
    with torch.no_grad():
        model.charge_heads["charges"].output.weight.mul_(5.0)
        if "atomic_dipoles" in model.charge_heads:
            model.charge_heads["atomic_dipoles"].gates.weight.mul_(30.0)
    return model


@pytest.mark.parametrize("boundary", STRUCTURES)
@pytest.mark.parametrize(
    ("options", "dtype"),
    [
        ({"acoustic_sum_rule": "subtract"}, torch.float64),
        ({"total_charge_constraint": "none", "acoustic_sum_rule": "subtract"}, torch.float32),
        (
            {"screening": "global", "born_charge_method": "phase", "phase_harmonics": 2},
            torch.float64,
        ),
        (
            {"screening": "uncoupled", "dipole_head": "none", "acoustic_sum_rule": "subtract"},
            torch.float32,
        ),
    ],
    ids=["local", "local raw float32", "phase", "uncoupled float32"],
)
def test_good_models_pass(boundary, options, dtype):
    extra = {**GIVEN, "susceptibility": 0.4} if boundary == "slab" else {}
    model = coupled(**options, **extra).to(dtype)
    settings = SelftestSettings(samples=1, acoustic_tolerance=1.0)
    assert failures(model, STRUCTURES[boundary](), settings=settings) == set()


@pytest.mark.parametrize("build", [open_water, bulk_water, slab_water])
def test_energy_is_conserved_in_a_field(build):
    rows = run_checks(Subject(coupled()), [build()], SHORT, ["nve", "nve_field"])
    assert [row.result for row in rows] == ["pass", "pass"]
    assert ("dipole of the model" in rows[1].note) == (build is open_water)


@pytest.mark.parametrize(
    ("broken", "build", "rows"),
    [
        (ScaledForces, bulk_water, {("forces", "finite differences")}),
        (ScaledStress, bulk_water, {("stress", "finite differences")}),
        (ScaledStress, slab_water, {("stress", "finite differences")}),
        *(
            (
                TransposedBornCharges,
                build,
                {
                    ("born_charges", "finite differences"),
                    ("field_forces", "finite differences"),
                },
            )
            for build in (open_water, bulk_water, slab_water)
        ),
        (
            PlacedCharges,
            bulk_water,
            {(name, "charges") for name in ("rotation", "translation", "wrapping", "supercell")},
        ),
        (NumberedCharges, bulk_water, {("permutation", "charges"), ("supercell", "charges")}),
        (FirstNeighbour, open_water, {("neighbours", "charges"), ("permutation", "charges")}),
        (CountedEnergy, bulk_water, {("supercell", "energy per atom")}),
    ],
)
def test_broken_models_fail_their_rows(broken, build, rows):
    model = coupled(n_layers=1)
    model.__class__ = broken
    found = failures(model, build())
    if broken is FirstNeighbour:  # what else depends on the first edge is chance
        assert ("neighbours", "charges") in found
    else:
        assert found == rows


@pytest.mark.parametrize("screening", ["global", "uncoupled"])
@pytest.mark.parametrize("broken", [NegativeBornCharges, TransposedBornCharges])
def test_labels_tell_sign_and_order(broken, screening):
    """Those of uncoupled charges nothing else in the model tells."""
    model, atoms = coupled(screening=screening, n_layers=1), open_water()
    born = evaluate(model, atoms)["born_effective_charges"].detach().numpy()
    noise = 0.03 * np.random.default_rng(0).normal(size=born.shape) * np.abs(born).mean()
    atoms.arrays["REF_becs"] = (born + noise).reshape(-1, 9)
    assert failures(model, atoms, ["labels"]) == set()
    model.__class__ = broken
    assert failures(model, atoms, ["labels"]) == {("labels", "sign and order of Born charges")}
    del atoms.arrays["REF_becs"]
    (row,) = run_checks(Subject(model), [atoms], SHORT, ["labels"])
    assert row.result == "skipped"


def test_negative_born_charges_fail_without_labels():
    model = coupled(screening="global", n_layers=1)
    model.__class__ = NegativeBornCharges
    rows = {("born_charges", "finite differences"), ("field_forces", "finite differences")}
    assert failures(model, bulk_water()) == rows


@pytest.mark.parametrize("spacing", [1 / 6, 1 / 2])
def test_jumps_of_pme_are_allowed_by_the_error_of_its_mesh(spacing):
    model = make_model("4x0e", 1, electrostatics="pme", mesh_spacing=spacing, screening="none")
    settings = SelftestSettings(samples=5)
    (row,) = run_checks(Subject(model), [bulk_water()], settings, ["forces"])
    assert row.result == "pass"
    assert row.tolerance == pytest.approx(50 * 0.08 * spacing**6 * 0.757, rel=1e-2)
    model.__class__ = ScaledForces
    if spacing < 0.2:
        assert failures(model, bulk_water(), ["forces"]) == {("forces", "finite differences")}


def test_charges_know_nothing_of_the_mesh():
    model = coupled(electrostatics="p3m", n_layers=1)
    rows = run_checks(Subject(model), [bulk_water()], SHORT, ["translation"])
    allowed = {row.quantity: row.tolerance for row in rows}
    assert allowed["forces"] >= 1e-3
    assert allowed["charges"] < 1e-5


def test_forces_without_an_energy_drift():
    model = coupled(n_layers=1)
    model.__class__ = Friction
    settings = SelftestSettings(steps=50, temperature=3000.0)
    assert failures(model, open_water(), ["nve"], settings) == {("nve", "drift")}


def test_born_charges_that_do_not_add_up_fail():
    model = coupled(screening="uncoupled")
    settings = SelftestSettings(acoustic_tolerance=1e-9)
    assert failures(model, bulk_water(), ["acoustic_sum"], settings) == {
        ("acoustic_sum", "mean of Z - Q/N")
    }


def test_numbers_that_are_none_fail():
    row = compare("forces", "all", "eV/A", np.array([np.nan]), np.zeros(1), 1.0)
    assert row.result == "FAIL"
    good = compare("forces", "all", "eV/A", np.zeros(1), np.zeros(1), 1.0)
    assert worst_of_each([good, row, good]) == [row]


def run(monkeypatch, *flags):
    """The command; its exit code."""
    monkeypatch.setattr(sys, "argv", ["mace_smile_selftest", *map(str, flags)])
    try:
        main()
    except SystemExit as end:
        return end.code
    return 0


@pytest.fixture
def files(tmp_path):
    """A model and structures."""
    torch.save(coupled(), tmp_path / "good.model")
    ase.io.write(tmp_path / "frames.xyz", [open_water(), bulk_water()])
    return tmp_path


def test_the_command_tells_numbers_and_a_verdict(files, monkeypatch, capsys):
    flags = [files / "good.model", files / "frames.xyz", "--checks", "forces", "supercell"]
    flags += ["--samples", 1, "--json", files / "out.json"]
    assert run(monkeypatch, *flags) == 0
    assert "7 passed, 0 failed, 1 skipped" in capsys.readouterr().out
    told = json.loads((files / "out.json").read_text())
    assert told["passed"]
    assert told["precision"] == "float64"
    rows = [(row["frame"], row["check"], row["result"]) for row in told["findings"]]
    assert rows[0] == (0, "forces", "pass")
    assert (0, "supercell", "skipped") in rows
    assert (1, "supercell", "pass") in rows
    assert run(monkeypatch, *flags) == 2
    assert "out.json' exists" in capsys.readouterr().err


def test_the_command_fails_with_a_failing_row(files, monkeypatch, capsys):
    flags = ["--checks", "acoustic_sum", "--acoustic_tolerance", "1e-9"]
    assert run(monkeypatch, files / "good.model", files / "frames.xyz", *flags) == 1
    assert "FAIL" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--checks", "force"], "--checks has force but knows forces, stress"),
        (["--steps", "1"], "--steps is 1 but must be at least 10"),
        (["--field", "0", "0", "0"], "--field is 0.0 0.0 0.0 but must be three finite"),
        (["--timestep", "nan"], "--timestep is nan but must be positive"),
        (["--index", "7:"], "holds no structures with --index 7:"),
    ],
)
def test_bad_flags_end_in_a_sentence(files, monkeypatch, capsys, flags, message):
    assert run(monkeypatch, files / "good.model", files / "frames.xyz", *flags) == 2
    assert message in capsys.readouterr().err


def test_structures_that_are_refused_are_named(files, monkeypatch, capsys):
    ase.io.write(files / "iron.xyz", ase.Atoms("Fe"))
    assert run(monkeypatch, files / "good.model", files / "iron.xyz", "--checks", "forces") == 2
    assert "frame 0, forces: the structure Fe has the elements Fe" in capsys.readouterr().err
    with pytest.raises(UserError, match="frame 0, forces"):
        run_checks(Subject(coupled()), [ase.Atoms("Fe")], SHORT, ["forces"])


def test_large_supercells_are_skipped_and_say_so():
    settings = SelftestSettings(max_atoms=100)
    rows = run_checks(Subject(coupled()), [bulk_water()], settings, ["born_charges", "supercell"])
    assert [row.result for row in rows] == ["skipped", "skipped"]
    assert "supercell has 192 atoms; raise --max_atoms" in rows[1].note
