"""``mace_smile_export``: what it writes, and one sentence for what the user can mend."""

import ase.io
import pytest
import torch
from metatomic.torch import load_atomistic_model

from helpers import GIVEN, make_backbone, make_model, slab_water
from mace_smile.cli.export import main

FRAME = ["--given_charges", "electrode.xyz"]
SLAB = ["--boundary", "slab"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    torch.set_default_dtype(torch.float64)
    folder = tmp_path_factory.mktemp("models")
    torch.save(make_model(susceptibility=0.4, **GIVEN), folder / "water.model")
    torch.save(make_model(screening="none"), folder / "charges.model")
    torch.save(make_backbone(), folder / "plain.model")
    (folder / "text.model").write_text("no model")
    ase.io.write(folder / "electrode.xyz", slab_water())
    return folder


def test_command_writes_a_file_that_carries_every_flag(folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    main(
        [str(folder / "water.model"), "-o", "water.pt", "--boundary", "slab", "--slab_axis", "2"]
        + ["--field", "z05=0,0,0.05", "x=-0.1,0,0", "--field", "y=0,1,0"]
        + ["--field_kind", "vacuum", "--dtype", "float32"]
        + ["--given_charges", str(folder / "electrode.xyz")]
    )
    model = load_atomistic_model("water.pt")
    extra = model.metadata().extra
    assert {"energy/z05", "energy/x", "energy/y"} <= set(model.capabilities().outputs)
    assert model.capabilities().dtype == "float32"
    assert extra["boundary"] == "slab"
    assert extra["field_kind"] == "vacuum"
    assert extra["n_given_charges"] == "2"
    assert model.metadata().name == "water"


def test_output_takes_its_name_from_the_model(folder, tmp_path):
    (tmp_path / "water.model").symlink_to(folder / "water.model")
    main([str(tmp_path / "water.model")])
    assert (tmp_path / "water.pt").is_file()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere.model"], "there is no model file"),
        (["text.model"], "cannot be read as a model"),
        (["plain.model"], "holds a ScaleShiftMACE but a SmileMACE is wanted"),
        (["charges.model", "--field", "z=0,0,1"], "--screening uncoupled"),
        (["water.model", "--field", "z=0,0"], "three finite numbers"),
        (["water.model", "-o", "text.model"], "exists; choose another -o, or add --overwrite"),
        (["water.model", "-o", "water.model", "--overwrite"], "is the input `model`"),
        (["water.model", *FRAME, "-o", "electrode.xyz", "--overwrite"], "`given_charges`"),
        (["water.model", "--given_charges", "text.model"], "cannot be read as a structure"),
        (["water.model", "-o", "no/where.pt"], "of the output does not exist"),
        (["water.model", "--slab_axis", "1"], "no effect without --boundary slab"),
        (["water.model", "--field_kind", "vacuum"], "no effect without --field"),
        (["water.model", "--given_charges", "no.xyz"], "there is no file 'no.xyz'"),
        (["water.model", "--given_mask_key", "wall"], "no effect without --given_charges"),
        (["charges.model", *FRAME], "add --given_charges_key"),
        (["water.model", "--head", "other"], "the model has the heads Default; name one"),
        (["water.model", "--total_charge", "inf"], "`--total_charge` is inf"),
        (["water.model", "--voltage", "1"], "add --length L"),
        (["water.model", "--voltage", "1", "--length", "9"], "the boundary is 'auto'"),
        (["water.model", "--voltage", "x", "--length", "9"], "a finite number in V"),
        (["charges.model", "--acoustic_sum_rule", "subtract"], "without Born effective charges"),
        (["water.model", "--frame", "text.model"], "`--frame`: 'text.model' cannot be read"),
        (["water.model", "--acoustic_tolerance", "1"], "no effect without --frame"),
        (
            ["water.model", *SLAB, "--voltage", "z=1", "--length", "9", "--field", "z=1,0,0"],
            "both name 'z'",
        ),
    ],
)
def test_bad_input_ends_in_one_sentence(folder, capsys, monkeypatch, arguments, message):
    monkeypatch.chdir(folder)
    before = sorted(folder.iterdir())
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    error = capsys.readouterr().err
    assert stopped.value.code == 2
    assert message in error
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert sorted(folder.iterdir()) == before
