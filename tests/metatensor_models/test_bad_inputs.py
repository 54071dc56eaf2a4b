"""Bad inputs of the commands, the calculators and the exported model: one clear sentence each."""

import ase
import numpy as np
import pytest
import torch
from metatomic.torch import ModelOutput
from metatomic_ase import MetatomicCalculator

from bad_files import NOT_EXPORTED, NOT_TRAINED, write_bad_exported, write_bad_files
from exported import FIELDS
from helpers import bulk_water, make_backbone, make_model, open_water, slab_water
from mace_smile.calculator import SmileCalculator
from mace_smile.cli import export, inspect, set_field
from mace_smile.errors import UserError
from metatensor_models.evaluator import Evaluator, ModelFailure, last_line
from metatensor_models.export import build_atomistic_model
from metatensor_models.options import ExportOptions

FIELD = ["--field", "z=0,0,0.1"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Good files and bad ones."""
    torch.set_default_dtype(torch.float64)
    folder = tmp_path_factory.mktemp("bad")
    model, charges = make_model(), make_model(screening="none")
    for name, source, options in (
        ("good", model, {"fields": FIELDS}),
        ("slab", model, {"boundary": "slab"}),
        ("periodic", charges, {"boundary": "periodic"}),
    ):
        build_atomistic_model(source, ExportOptions(**options)).save(folder / f"{name}.pt")
    torch.save(model, folder / "good.model")
    torch.save(charges, folder / "charges.model")
    torch.save(make_backbone(), folder / "mace.model")
    (folder / "exported.model").write_bytes((folder / "good.pt").read_bytes())
    write_bad_files(folder, folder / "good.model", ".model")
    write_bad_exported(folder, folder / "good.pt", model)
    return folder


def one_sentence(error: str) -> str:
    """What a command wrote to stderr, which must be one line that begins with ``error:``."""
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert len(error) < 500
    return error


def fails(command, arguments: list[str], capsys) -> str:
    with pytest.raises(SystemExit) as caught:
        command.main(arguments)
    assert caught.value.code == 2
    return one_sentence(capsys.readouterr().err)


@pytest.mark.parametrize("name", NOT_TRAINED)
@pytest.mark.parametrize("command", [export, inspect])
def test_commands_refuse_what_is_no_trained_model(command, name, folder, capsys):
    path = str(folder / f"{name}.model")
    error = fails(command, [path], capsys)
    assert NOT_TRAINED[name] in error
    assert path in error
    assert not (folder / f"{name}.pt").is_file() or name in NOT_EXPORTED


@pytest.mark.parametrize("name", NOT_EXPORTED)
@pytest.mark.parametrize("command", [set_field, inspect])
def test_commands_refuse_what_is_no_exported_model(command, name, folder, tmp_path, capsys):
    path = str(folder / f"{name}.pt")
    flags = [] if command is inspect else ["-o", str(tmp_path / "new.pt"), *FIELD]
    error = fails(command, [path, *flags], capsys)
    assert NOT_EXPORTED[name] in error
    assert path in error
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["charges.model", *FIELD], "no Born effective charges"),
        (["good.model", "--field", "z=0,0"], "three finite numbers"),
        (["good.model", "--field", "z=0,0,nan"], "three finite numbers"),
        (["good.model", "--field", "z=0,0,a"], "three finite numbers"),
        (["good.model", "--field", "0,0,1"], "NAME=ex,ey,ez"),
        (["good.model", "--slab_axis", "0"], "--boundary slab"),
        (["good.model", "--field_kind", "vacuum"], "name a field"),
        (["good.model", *FIELD, "--field_kind", "vacuum", "--boundary", "open"], "needs a slab"),
        (["good.model", "--head", "other"], "heads Default"),
        (["good.model", "--total_charge", "nan"], "must be finite"),
        (["good.model", "--given_charges", "nowhere.xyz"], "--given_charges_key"),
        (["good.model", "-o", "good.model"], "input `model`"),
        (["good.model", "-o", "slab.pt"], "--overwrite"),
        (["good.model", "-o", "nowhere/x.pt"], "does not exist"),
    ],
)
def test_export_refuses_flags_that_make_no_sense(arguments, message, folder, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    output = [] if "-o" in arguments else ["-o", "new.pt"]
    assert message in fails(export, [*arguments, *output], capsys)
    assert not (folder / "new.pt").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["good.pt"], "no field was given"),
        (["periodic.pt", *FIELD], "no Born effective charges"),
        (["good.pt", "--field", "z=0,0"], "three finite numbers"),
        (["good.pt", *FIELD, "--frame", "nowhere.xyz"], "there is no file"),
        (["good.pt", *FIELD, "--frame", "text.pt"], "cannot be read as a structure"),
        (["good.pt", *FIELD, "--acoustic_tolerance", "1"], "no effect without --frame"),
    ],
)
def test_set_field_refuses_what_makes_no_sense(arguments, message, folder, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    assert message in fails(set_field, [*arguments, "-o", "new.pt"], capsys)
    assert not (folder / "new.pt").exists()


@pytest.mark.parametrize("name", NOT_TRAINED)
def test_calculator_refuses_what_is_no_trained_model(name, folder):
    with pytest.raises(UserError, match=NOT_TRAINED[name]):
        SmileCalculator(folder / f"{name}.model")


@pytest.mark.parametrize("name", NOT_EXPORTED)
def test_evaluator_refuses_what_is_no_exported_model(name, folder):
    with pytest.raises(UserError, match=NOT_EXPORTED[name]) as caught:
        Evaluator(folder / f"{name}.pt")
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize("name", NOT_EXPORTED)
def test_ase_refuses_what_is_no_exported_model(name, folder):
    """The words are metatomic's."""
    with pytest.raises((RuntimeError, ValueError, OSError), match="exist|zip archive|metatomic"):
        MetatomicCalculator(str(folder / f"{name}.pt"))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda f: SmileCalculator(f / "good.model", device="tpu"), "device 'tpu' cannot be used"),
        (lambda f: SmileCalculator(make_model(), device="tpu"), "device 'tpu' cannot be used"),
        (
            lambda f: SmileCalculator(f / "good.model", default_dtype="float16"),
            "must be float32 or float64",
        ),
        (
            lambda f: SmileCalculator(f / "good.model", electric_field=[0, 1]),
            "three finite numbers",
        ),
        (
            lambda f: SmileCalculator(f / "good.model", electric_field=[0, 0, np.nan]),
            "three finite numbers",
        ),
        (
            lambda f: SmileCalculator(f / "charges.model", electric_field=[0, 0, 1]),
            "no Born effective charges",
        ),
        (lambda f: SmileCalculator(f / "good.model", field_order=2), "polarizability"),
        (lambda f: Evaluator(f / "good.pt", variant="other"), "its variants are z05, tilted"),
        (lambda f: Evaluator(f / "periodic.pt", variant="z"), "it has no variants"),
        (lambda f: Evaluator(f / "good.pt", device="tpu"), "device 'tpu' cannot be used"),
        (lambda f: Evaluator(f / "good.pt").ask_for(["spin"]), "no output spin"),
    ],
)
def test_settings_that_do_not_fit_are_refused(make, message, folder):
    with pytest.raises(UserError, match=message):
        make(folder)


def not_a_number(atoms: ase.Atoms) -> None:
    atoms.positions[1, 2] = np.nan


def infinite(atoms: ase.Atoms) -> None:
    atoms.positions[1, 2] = np.inf


def no_cell(atoms: ase.Atoms) -> None:
    atoms.cell[:] = 0.0


def zero_vector(atoms: ase.Atoms) -> None:
    atoms.cell[1] = 0.0


def flat_cell(atoms: ase.Atoms) -> None:
    atoms.cell[2] = atoms.cell[0] + atoms.cell[1]


def broken_cell(atoms: ase.Atoms) -> None:
    atoms.cell[2, 2] = np.nan


def one_place(atoms: ase.Atoms) -> None:
    atoms.positions[4] = atoms.positions[0]


def one_place_in_an_image(atoms: ase.Atoms) -> None:
    atoms.positions[4] = atoms.positions[0] + atoms.cell[1]


def other_element(atoms: ase.Atoms) -> None:
    atoms.numbers[3] = 79


def no_element(atoms: ase.Atoms) -> None:
    atoms.numbers[3] = 0


def one_axis(atoms: ase.Atoms) -> None:
    atoms.pbc = [False, False, True]


def no_atoms(atoms: ase.Atoms) -> None:
    del atoms[:]


#: What is done to a structure; words of SmileCalculator; words of an exported model in ASE. None:
#: the neighbour list of ASE's calculator breaks before the model is asked.
STRUCTURES = [
    (not_a_number, "not finite", "not finite|non-finite"),
    (infinite, "not finite", "not finite|non-finite"),
    (no_cell, "cell vector is zero", "not invertible|cell vector of zero"),
    (zero_vector, "cell vector is zero", "not invertible|cell vector of zero"),
    (flat_cell, "in one plane", "not invertible|in one plane"),
    (broken_cell, "not finite", None),
    (one_place, "atoms 0 and 4 .* same place", "atoms 0 and 4 are at one place"),
    (one_place_in_an_image, "atoms 0 and 4 .* same place", "atoms 0 and 4 are at one place"),
    (other_element, "elements Au but the model knows only H, O, Ne", "atomic type '79'"),
    (no_element, "elements X but the model knows only H, O, Ne", "atomic type '0'"),
    (one_axis, "along one axis only", "along one axis only"),
    (no_atoms, "no atoms", None),
]


@pytest.fixture(scope="module")
def calculators(folder):
    return {
        "smile": SmileCalculator(folder / "good.model"),
        "metatomic": MetatomicCalculator(
            str(folder / "good.pt"),
            additional_outputs={"charge": ModelOutput(sample_kind="atom")},
        ),
    }


@pytest.mark.parametrize(("change", "message"), [(row[0], row[1]) for row in STRUCTURES])
def test_calculator_refuses_structures(change, message, calculators):
    atoms = bulk_water()
    change(atoms)
    with pytest.raises(UserError, match=message):
        calculators["smile"].get_potential_energy(atoms)


@pytest.mark.parametrize(("change", "message"), [(row[0], row[2]) for row in STRUCTURES if row[2]])
def test_exported_model_refuses_structures_in_ase(change, message, calculators):
    atoms = bulk_water()
    change(atoms)
    with pytest.raises((RuntimeError, ValueError, torch.jit.Error), match=message):
        calculators["metatomic"].get_potential_energy(atoms)


def test_evaluator_refuses_a_cell_that_is_no_number(folder):
    """The neighbour list would kill the process."""
    atoms = bulk_water()
    broken_cell(atoms)
    with pytest.raises(ModelFailure, match="the cell vectors are not finite numbers"):
        Evaluator(folder / "good.pt").evaluate(
            atoms.numbers, atoms.positions, atoms.cell.array, atoms.pbc
        )


def slab_without_vacuum() -> ase.Atoms:
    atoms = slab_water(height=11.0)
    atoms.pbc = True
    return atoms


@pytest.mark.parametrize(
    ("name", "create", "message"),
    [
        ("slab", open_water, "exported with the boundary 'slab', but"),
        ("slab", slab_without_vacuum, "no vacuum gap"),
        ("periodic", slab_water, "exported with the boundary 'periodic', but"),
    ],
)
def test_boundaries_that_do_not_fit_are_refused(name, create, message, folder):
    with pytest.raises(torch.jit.Error) as caught:
        MetatomicCalculator(str(folder / f"{name}.pt")).get_potential_energy(create())
    assert message in last_line(caught.value)


def test_a_field_that_is_not_in_the_file_is_refused_in_ase(folder):
    with pytest.raises(ValueError, match="variant 'other' for output 'energy' not found"):
        MetatomicCalculator(str(folder / "good.pt"), variants={"energy": "other"})
