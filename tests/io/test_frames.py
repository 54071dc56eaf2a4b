"""Frames with labels out of other codes, as training reads them, and the command."""

import sys

import ase.io
import ase.units
import numpy as np
import pytest
from ase.calculators.singlepoint import SinglePointCalculator
from mace.data import KeySpecification, config_from_atoms, update_keyspec_from_kwargs

from foreign_outputs import (
    WATER_DIPOLE,
    berry_lines,
    correction_lines,
    dipole_lines,
    outcar_step,
    surface_lines,
    water_along_z,
    write_cp2k_output,
    write_outcar,
    write_pw_output,
)
from mace_smile.cli import add_dipoles
from mace_smile.errors import UserError
from mace_smile.io.dipole import Dipole
from mace_smile.io.frames import label_frame, read_labelled_frames, write_frames
from mace_smile.structures import prepare_configuration
from mace_smile.training.labels import LabelSettings, complete_labels

SLAB = Dipole(np.array([0.0, 0.0, WATER_DIPOLE]), "z", "test")
KEYS = {"energy_key": "REF_energy", "forces_key": "REF_forces", "dipole_key": "REF_dipole"}


def cp2k_run(folder, *steps, structures=None, **options):
    """Output and structures of a run of CP2K."""
    frames = [water_along_z() for _ in steps] if structures is None else structures
    ase.io.write(folder / "structures.xyz", frames)
    return write_cp2k_output(folder / "cp2k.out", *steps, **options), folder / "structures.xyz"


def run_of(code, folder):
    """Output and structures of a code, of two ionic steps with mu_z of 0.39 and 0.40 e A."""
    dipoles, water = (WATER_DIPOLE, 0.40), water_along_z()
    if code == "vasp":
        steps = [outcar_step(water, dipole_lines(-dipole)) for dipole in dipoles]
        return write_outcar(folder / "OUTCAR", *steps), None
    if code == "qe":
        steps = [correction_lines(dipole * 4.80320471) for dipole in dipoles]
        return write_pw_output(folder / "pw.out", water, *steps), None
    return cp2k_run(folder, *(surface_lines(-dipole) for dipole in dipoles))


@pytest.mark.parametrize("code", ["vasp", "cp2k", "qe"])
def test_command_writes_frames_that_training_takes(code, tmp_path, monkeypatch, capsys):
    output, structures = run_of(code, tmp_path)
    arguments = ["--code", code, str(output), "-o", str(tmp_path / "frames.xyz")]
    arguments += [] if structures is None else ["--structures", str(structures)]
    monkeypatch.setattr(sys, "argv", ["mace_smile_add_dipoles", *arguments])
    add_dipoles.main()
    assert "2 structures written" in capsys.readouterr().out
    frames = ase.io.read(tmp_path / "frames.xyz", ":")
    keys = update_keyspec_from_kwargs(KeySpecification(), KEYS)
    for frame, dipole in zip(frames, (WATER_DIPOLE, 0.40), strict=True):
        np.testing.assert_allclose(frame.positions, water_along_z().positions, atol=1e-5)
        np.testing.assert_allclose(frame.cell.lengths(), [7, 7, 15], atol=1e-5)
        config = prepare_configuration(config_from_atoms(frame, key_specification=keys))
        labels = complete_labels(config, LabelSettings())
        np.testing.assert_allclose(labels.properties["dipole"], [0, 0, dipole], atol=2e-5)
        assert labels.property_weights["dipole"].tolist() == [0, 0, 1]
        assert labels.pbc == (True, True, False)
        assert np.isfinite(labels.properties["energy"])
    if code != "cp2k":  # its forces were not printed
        assert frames[0].arrays["REF_forces"].shape == (3, 3)


def test_command_ends_in_a_sentence(tmp_path, monkeypatch, capsys):
    output, _ = run_of("vasp", tmp_path)
    arguments = ["--code", "qe", str(output), "-o", str(tmp_path / "frames.xyz")]
    monkeypatch.setattr(sys, "argv", ["mace_smile_add_dipoles", *arguments])
    with pytest.raises(SystemExit) as end:
        add_dipoles.main()
    assert end.value.code == 2
    assert "no finished ionic step" in capsys.readouterr().err
    assert not (tmp_path / "frames.xyz").exists()


def test_energies_and_forces_belong_together(tmp_path):
    """The free energy is the one whose derivative the forces are."""
    atoms = water_along_z()
    results = {"energy": -14.0, "free_energy": -14.1, "forces": np.ones((3, 3))}
    atoms.calc = SinglePointCalculator(atoms, **results, stress=np.arange(6.0))
    frame = label_frame(atoms, SLAB)
    assert frame.info["REF_energy"] == -14.1
    assert frame.arrays["REF_forces"].tolist() == np.ones((3, 3)).tolist()
    assert "REF_stress" not in frame.info  # of a cell with vacuum
    assert frame.calc is None
    assert atoms.calc is not None


def test_boundary_is_that_of_the_dipole(tmp_path):
    vector = np.array([0.1, 0.2, WATER_DIPOLE])
    crystal = label_frame(water_along_z(), Dipole(vector, "xyz", "test", quantum=2.0))
    assert crystal.pbc.all()
    assert crystal.info["dipole_quantum"] == 2.0
    molecule = label_frame(water_along_z(), Dipole(vector, "xyz", "test"))
    assert not molecule.pbc.any()
    assert "dipole_quantum" not in molecule.info
    for frame in (crystal, molecule):
        assert frame.info["REF_dipole"].tolist() == vector.tolist()
        assert frame.info["config_dipole_weight"].tolist() == [1, 1, 1]


def test_periodic_cells_keep_their_stress(tmp_path):
    step = outcar_step(water_along_z(), berry_lines([1, 1, 60], [-1, -1, -59]))
    path = write_outcar(tmp_path / "OUTCAR", step, idipol="0", ldipol="F")
    (frame,) = read_labelled_frames("vasp", [path])
    assert frame.pbc.all()
    np.testing.assert_allclose(frame.info["REF_dipole"], [0, 0, 1])
    atoms = water_along_z()
    atoms.calc = SinglePointCalculator(atoms, energy=-14.0, stress=np.arange(6.0))
    stress = label_frame(atoms, Dipole(np.zeros(3), "xyz", "test", 1.0)).info["REF_stress"]
    np.testing.assert_allclose(stress, atoms.get_stress(voigt=False))


def test_tilted_slabs_are_refused():
    atoms = water_along_z()
    atoms.cell[0] = [7.0, 0.0, 1.0]
    with pytest.raises(UserError, match="dipole is along z but.*perpendicular to z: rotate"):
        label_frame(atoms, SLAB)
    atoms = water_along_z()
    atoms.set_cell(atoms.cell[[2, 0, 1]])  # the normal is z but it is the second vector
    with pytest.raises(UserError, match="must be perpendicular to z"):
        label_frame(atoms, SLAB)


def test_steps_without_convergence_are_left_out(tmp_path, caplog):
    lines = surface_lines(-WATER_DIPOLE)
    output, structures = cp2k_run(tmp_path, lines, lines, lines, converged=(True, False, True))
    frames = read_labelled_frames("cp2k", [output], structures)
    energies = [frame.info["REF_energy"] / ase.units.Hartree for frame in frames]
    np.testing.assert_allclose(energies, [-17.25, -19.25])
    assert "is not converged and is left out" in caplog.text


def test_inputs_that_do_not_fit_are_refused(tmp_path):
    lines = surface_lines(-WATER_DIPOLE)
    output, structures = cp2k_run(tmp_path, lines, lines, structures=[water_along_z()])
    with pytest.raises(UserError, match="1 structures but 2 dipoles.*one structure for each"):
        read_labelled_frames("cp2k", [output], structures)
    with pytest.raises(UserError, match="`--structures`.*give it with cp2k, and with no other"):
        read_labelled_frames("cp2k", [output])
    with pytest.raises(UserError, match="`--structures`.*give it with cp2k, and with no other"):
        read_labelled_frames("vasp", [output], structures)
    with pytest.raises(UserError, match="code is 'siesta' but must be one of vasp, cp2k, qe"):
        read_labelled_frames("siesta", [output])
    with pytest.raises(UserError, match="there is no file 'missing.xyz'"):
        read_labelled_frames("cp2k", [output], "missing.xyz")
    without_cell = water_along_z()
    without_cell.cell, without_cell.pbc = None, False
    ase.io.write(structures, [without_cell, without_cell])
    with pytest.raises(UserError, match="structures without a cell; write them as extended XYZ"):
        read_labelled_frames("cp2k", [output], structures)
    structures.write_text("this is no structure\n")
    with pytest.raises(UserError, match="cannot be read as structures"):
        read_labelled_frames("cp2k", [output], structures)


def test_forces_of_another_structure_are_refused(tmp_path):
    table = " ATOMIC FORCES in [a.u.]\n      1      1      O   0.00000000  0.00000000 -0.01800000\n"
    output, structures = cp2k_run(tmp_path, surface_lines(-0.3), tables=(table,))
    with pytest.raises(UserError, match="structure 0 has 3 atoms but the output.*forces of 1"):
        read_labelled_frames("cp2k", [output], structures)


def test_files_are_not_replaced_unasked(tmp_path):
    frame, path = label_frame(water_along_z(), SLAB), tmp_path / "frames.xyz"
    with pytest.raises(UserError, match="no converged ionic step was found"):
        write_frames([], path)
    write_frames([frame], path)
    with pytest.raises(UserError, match="exists; give another name, or --overwrite"):
        write_frames([frame, frame], path)
    write_frames([frame, frame], path, overwrite=True)
    assert len(ase.io.read(path, ":")) == 2
    assert [file.name for file in tmp_path.iterdir()] == ["frames.xyz"]
