"""The check on a structure of the user's: what it reports, and what it refuses to write."""

import json

import ase.io
import numpy as np
import pytest
import torch
from metatomic.torch import load_atomistic_model

from exported import LOCAL, forces, run, to_system
from helpers import bulk_water, make_model, slab_water
from mace_smile.cli.export import main
from mace_smile.errors import UserError
from mace_smile.model.smile_mace import SmileMACE
from metatensor_models.export import export_model
from metatensor_models.frame_check import FrameCheck, read_frame
from metatensor_models.options import ExportOptions

BORN = "mace_smile::born_effective_charges"


@pytest.fixture(scope="module")
def model() -> SmileMACE:
    torch.set_default_dtype(torch.float64)
    return make_model(**LOCAL)


def field(x: float, y: float, z: float) -> ExportOptions:
    return ExportOptions(fields={"E": (x, y, z)})


def test_sum_rule_is_reported_and_refused_beyond_the_tolerance(model, tmp_path, caplog):
    frame = bulk_water()
    options = field(0, 0, 0.1)
    with caplog.at_level("INFO"):
        path = export_model(
            model, tmp_path / "a.pt", options, frame=FrameCheck(frame, "frame.xyz", 10.0)
        )
    exported = load_atomistic_model(path)
    born = run(exported, [to_system(exported, frame)], [BORN], "atom")[BORN]
    residual = float(born.sum(dim=0).abs().max()) / len(frame)
    assert residual > 1e-3
    assert f"acoustic sum rule: residual {residual:.2g} e an atom, allowed 10" in caplog.text
    assert "checked on frame.xyz (24 atoms)" in caplog.text
    check = FrameCheck(frame, "frame.xyz", 0.9 * residual)
    with pytest.raises(UserError, match=r"miss the acoustic sum rule .* --acoustic_sum_rule sub"):
        export_model(model, tmp_path / "b.pt", options, frame=check)
    assert not (tmp_path / "b.pt").exists()


def test_subtracted_born_charges_add_up_and_reach_all_atoms(model, tmp_path):
    frame = bulk_water()
    options = ExportOptions(fields={"E": (0.0, 0.3, 0.1)}, acoustic_sum_rule="subtract")
    check = FrameCheck(frame, "frame.xyz", 1e-8)
    exported = load_atomistic_model(export_model(model, tmp_path / "a.pt", options, frame=check))
    assert model.options.acoustic_sum_rule == "none"
    assert exported.metadata().extra["acoustic_sum_rule"] == "subtract"
    assert exported.capabilities().interaction_range == float("inf")
    pushed = forces(exported, frame, "energy/E") - forces(exported, frame)
    assert np.abs(pushed).max() > 1e-3
    np.testing.assert_allclose(pushed.sum(axis=0), 0.0, atol=1e-12)


def test_a_rule_of_the_training_can_be_left_out(tmp_path):
    trained = make_model(acoustic_sum_rule="subtract", **LOCAL)
    options = ExportOptions(fields={"E": (0.0, 0.0, 0.1)}, acoustic_sum_rule="none")
    exported = load_atomistic_model(export_model(trained, tmp_path / "a.pt", options))
    assert exported.capabilities().interaction_range == 8.0
    frame = bulk_water()
    pushed = forces(exported, frame, "energy/E") - forces(exported, frame)
    assert np.abs(pushed.sum(axis=0)).max() > 1e-4


def test_a_field_that_does_nothing_is_refused(tmp_path):
    inert = make_model(**LOCAL)
    with torch.no_grad():
        for parameter in inert.charge_heads["born_effective_charges"].parameters():
            parameter.zero_()
    check = FrameCheck(bulk_water(), "frame.xyz")
    with pytest.raises(UserError, match="the field 'E' of 0.1 V/A does nothing"):
        export_model(inert, tmp_path / "a.pt", field(0, 0, 0.1), frame=check)
    assert list(tmp_path.iterdir()) == []


def test_a_frame_the_model_refuses_is_told(model, tmp_path):
    stranger = bulk_water()
    stranger.symbols[0] = "Au"
    apart = bulk_water()
    apart.positions[1] = apart.positions[0]
    for frame, message in ((stranger, "atomic type '79'"), (apart, "atoms 0 and 1 are at one")):
        with pytest.raises(UserError, match=f"`--frame f.xyz`: .*{message}"):
            export_model(model, tmp_path / "a.pt", field(0, 0, 1), frame=FrameCheck(frame, "f.xyz"))


def test_command_takes_normal_and_check_from_the_frame(model, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save(model, "water.model")
    angle = 0.2
    turn = np.array(
        [[1, 0, 0], [0, np.cos(angle), -np.sin(angle)], [0, np.sin(angle), np.cos(angle)]]
    )
    frame = slab_water()
    frame.positions = frame.positions @ turn.T
    frame.set_cell(frame.cell.array @ turn.T)
    ase.io.write("frame.xyz", frame)
    main(
        ["water.model", "-o", "a.pt", "--boundary", "slab", "--voltage", "bias=3"]
        + ["--length", "15", "--frame", "frame.xyz", "--acoustic_tolerance", "9"]
    )
    exported = load_atomistic_model("a.pt")
    stored = json.loads(exported.metadata().extra["fields"])["bias"]
    np.testing.assert_allclose(stored, -0.2 * turn @ [0, 0, 1], atol=1e-12)
    assert np.isfinite(forces(exported, frame, "energy/bias")).all()


def test_frames_that_are_none_are_refused(tmp_path):
    (tmp_path / "text.xyz").write_text("no structure")
    with pytest.raises(UserError, match="cannot be read as a structure"):
        read_frame(tmp_path / "text.xyz")
