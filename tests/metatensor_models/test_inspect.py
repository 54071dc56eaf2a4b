"""``mace_smile_inspect``: what a file says about itself, as text and JSON."""

import json
from pathlib import Path

import pytest
import torch

from exported import write_model
from helpers import make_model
from mace_smile.cli.inspect import main
from mace_smile.model.smile_mace import SmileMACE
from metatensor_models.voltages import Voltage

LABELS = ("energy", "forces", "born_effective_charges")


@pytest.fixture(scope="module")
def model() -> SmileMACE:
    torch.set_default_dtype(torch.float64)
    return make_model(susceptibility=0.4, training_labels=LABELS)


@pytest.fixture(scope="module")
def file(model, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("inspected")
    return write_model(
        folder,
        model,
        boundary="slab",
        fields={"z05": (0.0, 0.0, 0.05), "bias": (0.0, 0.0, -0.1)},
        voltages={"bias": Voltage(2.0, 20.0)},
    )


def report_of(path: Path, capsys) -> dict:
    main([str(path), "--json"])
    return json.loads(capsys.readouterr().out)


def test_report_of_an_exported_file_is_complete(file, capsys):
    report = report_of(file, capsys)
    assert report["elements"] == ["H", "O", "Ne"]
    assert report["dtype"] == "float64"
    assert report["interaction_range"] == "infinite"
    assert report["training_labels"] == list(LABELS)
    assert report["outputs"]["mace_smile::macro_dipole"]["unit"] == "e*A"
    assert report["outputs"]["charge"]["of each"] == "atom"
    assert report["fields"]["z05"] == {"V/A": [0, 0, 0.05], "kind": "macroscopic"}
    assert report["fields"]["bias"]["voltage in V"] == 2.0
    assert report["settings"]["susceptibility"] == "0.4"
    assert report["settings"]["screening"] == "uncoupled"
    assert report["settings"]["boundary"] == "slab"
    assert report["settings"]["format_version"] == "7"
    assert report["exported"]["date"]
    assert any("MACE" in text for text in report["references"]["architecture"])
    lines = report["engines"]["z05"]
    assert lines["ASE"] == f'MetatomicCalculator("{file}", variants={{"energy": "z05"}})'
    assert lines["i-PI"].endswith(f"model={file},device=cpu,energy_variant=z05")
    assert 'elements=["H", "O", "Ne"], variant="z05")' in lines["LAMMPS, Python"]
    assert lines["LAMMPS, pair style"] == f"pair_style metatomic {file} device cpu variant z05"
    assert "variant" not in report["engines"]["no field"]["ASE"]


def test_text_has_a_line_for_everything(file, capsys):
    main([str(file)])
    text = capsys.readouterr().out
    for expected in (
        "elements           H, O, Ne",
        "training_labels    energy, forces, born_effective_charges",
        "mace_smile::born_effective_charges   e           atom    Z[i, a, b]",
        "V/A 0, 0, -0.1, kind macroscopic, voltage in V 2, length in A 20",
        "energy_variant=bias",
        "susceptibility                0.4",
    ):
        assert expected in text


def test_report_of_a_model_tells_what_an_export_would_have(model, tmp_path, capsys):
    torch.save(model, tmp_path / "water.model")
    report = report_of(tmp_path / "water.model", capsys)
    assert report["format_version"] == 7
    assert report["training_labels"] == list(LABELS)
    assert "mace_smile::born_effective_charges" in report["outputs"]
    assert report["settings"]["susceptibility"] == 0.4
    main([str(tmp_path / "water.model")])
    assert "trained model (.model)" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("none.pt", "there is no exported model"),
        ("none.model", "there is no model file"),
        ("text.pt", "cannot be read as an exported model"),
        ("text.model", "cannot be read as a model"),
    ],
)
def test_strangers_end_in_one_sentence(tmp_path, capsys, name, message):
    if name.startswith("text"):
        (tmp_path / name).write_text("no model")
    with pytest.raises(SystemExit) as stopped:
        main([str(tmp_path / name)])
    error = capsys.readouterr().err
    assert stopped.value.code == 2
    assert message in error
    assert error.count("\n") == 1
