"""Other fields in an exported file, without MACE: all or nothing, and consistent throughout."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from metatomic.torch import AtomisticModel, ModelCapabilities, ModelMetadata, load_atomistic_model

from exported import FIELDS, forces, run, to_system, write_model
from helpers import STRUCTURES, make_model
from mace_smile.cli.set_field import main
from metatensor_models.set_field import NewFields, set_fields

CHI = 0.4
BORN = "mace_smile::born_effective_charges"


@pytest.fixture(scope="module")
def file(tmp_path_factory) -> Path:
    """A slab with two fields."""
    torch.set_default_dtype(torch.float64)
    folder = tmp_path_factory.mktemp("exported")
    return write_model(folder, make_model(susceptibility=CHI), boundary="slab")


def acts(model: AtomisticModel, name: str, field: np.ndarray) -> None:
    """The forces of a variant are those without field and Z^T E."""
    atoms = STRUCTURES["slab"]()
    born = run(model, [to_system(model, atoms)], [BORN], "atom")[BORN].numpy()
    found = forces(model, atoms, f"energy/{name}") - forces(model, atoms)
    assert np.abs(found).max() > 1e-4
    np.testing.assert_allclose(found, np.einsum("iab,a->ib", born, field), atol=1e-13)


def variants(model: AtomisticModel) -> set[str]:
    return {name for name in model.capabilities().outputs if name.startswith("energy/")}


def test_fields_are_replaced_everywhere(file, tmp_path):
    main([str(file), "-o", str(tmp_path / "new.pt"), "--field", "a=0,0.1,0", "b=0,0,-1", "c=1,1,1"])
    old, new = load_atomistic_model(file), load_atomistic_model(tmp_path / "new.pt")
    assert variants(new) == {"energy/a", "energy/b", "energy/c"}
    acts(new, "a", np.array([0.0, 0.1, 0.0]))
    acts(new, "c", np.ones(3))
    np.testing.assert_array_equal(
        forces(new, STRUCTURES["slab"]()), forces(old, STRUCTURES["slab"]())
    )
    extra, before = new.metadata().extra, old.metadata().extra
    assert json.loads(extra["fields"]) == {"a": [0, 0.1, 0], "b": [0, 0, -1], "c": [1, 1, 1]}
    for key in set(extra) - {"fields", "units"}:
        assert extra[key] == before[key]
    assert set(json.loads(extra["units"])) == set(new.capabilities().outputs) - {"charges"}
    assert "c (1.0, 1.0, 1.0)" in new.metadata().description
    assert "tilted" not in new.metadata().description
    assert new.metadata().references == old.metadata().references
    for what in ("interaction_range", "atomic_types", "dtype", "length_unit", "supported_devices"):
        assert getattr(new.capabilities(), what) == getattr(old.capabilities(), what)
    assert set(new.capabilities().outputs) - variants(new) == (
        set(old.capabilities().outputs) - variants(old)
    )
    assert "(0, 0.1, 0) V/A" in new.capabilities().outputs["energy/a"].description
    assert len(new.requested_neighbor_lists()) == len(old.requested_neighbor_lists())


def test_add_keeps_the_fields_of_other_names_and_the_file_may_be_its_own_output(file, tmp_path):
    path = tmp_path / "own.pt"
    path.write_bytes(file.read_bytes())
    main(
        [str(path), "-o", str(path), "--overwrite", "--add", "--field", "z05=0,0,0.5", "new=1,0,0"]
    )
    model = load_atomistic_model(path)
    assert variants(model) == {"energy/z05", "energy/tilted", "energy/new"}
    acts(model, "z05", np.array([0, 0, 0.5]))
    acts(model, "tilted", np.array(FIELDS["tilted"]))
    assert [entry.name for entry in tmp_path.iterdir()] == ["own.pt"]


def test_a_vacuum_field_stays_vacuum(tmp_path):
    old = write_model(
        tmp_path, make_model(susceptibility=CHI), boundary="slab", field_kind="vacuum"
    )
    main([str(old), "-o", str(tmp_path / "new.pt"), "--field", "out=0.2,0,1"])
    model = load_atomistic_model(tmp_path / "new.pt")
    assert model.metadata().extra["field_kind"] == "vacuum"
    assert "vacuum" in model.capabilities().outputs["energy/out"].description
    acts(model, "out", np.array([0.2, 0, 1 / (1 + CHI)]))


def test_a_file_without_fields_gets_some_of_either_kind(tmp_path):
    old = write_model(tmp_path, make_model(susceptibility=CHI), boundary="slab", fields={})
    assert variants(load_atomistic_model(old)) == set()
    for kind, strength in (("macroscopic", 1.0), ("vacuum", 1 / (1 + CHI))):
        path = tmp_path / f"{kind}.pt"
        main([str(old), "-o", str(path), "--field", "z=0,0,1", "--field_kind", kind])
        acts(load_atomistic_model(path), "z", np.array([0, 0, strength]))


def test_voltage_over_a_length_is_minus_v_by_l_along_the_normal(file, tmp_path):
    main([str(file), "-o", str(tmp_path / "v.pt"), "--voltage", "2", "up=-1", "--length", "20"])
    model = load_atomistic_model(tmp_path / "v.pt")
    acts(model, "voltage", np.array([0, 0, -0.1]))
    acts(model, "up", np.array([0, 0, 0.05]))
    assert json.loads(model.metadata().extra["voltages"]) == {"voltage": [2, 20], "up": [-1, 20]}


def test_second_order_stays_and_reaches_further(tmp_path):
    local = {"charge_head": "none", "electrostatics": "none", "polarizability_head": "local"}
    old = write_model(tmp_path, make_model(**local), fields={})
    assert load_atomistic_model(old).capabilities().interaction_range == 8.0
    new = set_fields(old, tmp_path / "new.pt", NewFields(fields={"z": (0.0, 0.0, 0.3)}))
    model = load_atomistic_model(new)
    assert model.capabilities().interaction_range == 16.0
    assert "1/2 grad(E alpha E)" in model.metadata().description


@pytest.fixture(scope="module")
def strangers(file, tmp_path_factory) -> Path:
    """Files whose fields cannot be set."""
    folder = tmp_path_factory.mktemp("strangers")
    write_model(folder, make_model(screening="none"), fields={}).rename(folder / "no_born.pt")
    model = load_atomistic_model(file)
    capabilities = ModelCapabilities(
        outputs={"energy": model.capabilities().outputs["energy"]},
        atomic_types=[1, 8, 10],
        interaction_range=8.0,
        length_unit="angstrom",
        supported_devices=["cpu"],
        dtype="float64",
    )
    foreign = AtomisticModel(model.module, ModelMetadata(name="stranger"), capabilities)
    foreign.save(folder / "stranger.pt")
    (folder / "text.pt").write_text("no model")
    (folder / "periodic.pt").write_bytes(b"")
    write_model(folder, make_model(), boundary="periodic").rename(folder / "periodic.pt")
    return folder


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["no_born.pt", "--field", "z=0,0,1"], "has no Born effective charges"),
        (["stranger.pt", "--field", "z=0,0,1"], "that mace-smile did not write"),
        (["text.pt", "--field", "z=0,0,1"], "cannot be read as an exported model"),
        (["nowhere.pt", "--field", "z=0,0,1"], "there is no exported model"),
        (["periodic.pt"], "no field was given"),
        (["periodic.pt", "--field", "z=0,0"], "three finite numbers"),
        (["periodic.pt", "--field", "z=0,0,1", "--field_kind", "vacuum"], "needs a slab"),
        (["periodic.pt", "--voltage", "1", "--length", "10"], "boundary is 'periodic'"),
        (["periodic.pt", "--voltage", "1"], "add --length L"),
        (["periodic.pt", "--field", "z=0,0,1", "--length", "1"], "no effect without --voltage"),
        (["periodic.pt", "--field", "z=0,0,1", "--frame", "no.xyz"], "there is no file 'no.xyz'"),
    ],
)
def test_bad_input_ends_in_one_sentence(strangers, capsys, monkeypatch, arguments, message):
    monkeypatch.chdir(strangers)
    before = sorted(strangers.iterdir())
    with pytest.raises(SystemExit) as stopped:
        main([*arguments, "-o", "new.pt"])
    error = capsys.readouterr().err
    assert stopped.value.code == 2
    assert message in error
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert sorted(strangers.iterdir()) == before


def test_existing_output_is_kept_unless_overwrite(file, tmp_path, capsys):
    (tmp_path / "new.pt").write_text("mine")
    with pytest.raises(SystemExit):
        main([str(file), "-o", str(tmp_path / "new.pt"), "--field", "z=0,0,1"])
    assert "add --overwrite" in capsys.readouterr().err
    assert (tmp_path / "new.pt").read_text() == "mine"


def test_neither_mace_nor_the_code_of_the_model_is_imported(file, tmp_path):
    code = (
        "import sys\n"
        "from mace_smile.cli.set_field import main\n"
        f"main([{str(file)!r}, '-o', {str(tmp_path / 'new.pt')!r}, '--field', 'z=0,0,1'])\n"
        "from mace_smile.cli.inspect import main\n"
        f"main([{str(tmp_path / 'new.pt')!r}])\n"
        "unwanted = ('mace', 'e3nn', 'mace_smile.training', 'mace_smile.model', "
        "'mace_smile.structures')\n"
        "found = [name for name in sys.modules if name.startswith(tuple(u + '.' for u in unwanted))"
        " or name in unwanted]\n"
        "assert not found, found\n"
    )
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "energy/z" in done.stdout
