"""Born effective charges from forces of CP2K in finite fields."""

import sys

import ase.io
import numpy as np
import pytest

from born_outputs import (
    FIELD_IN_V_BY_A,
    FORCES_AT_ZERO,
    bent_molecule,
    born_charges,
    dipole,
    write_calculation,
    write_finite_fields,
)
from mace_smile.cli import finite_field_labels
from mace_smile.errors import UserError
from mace_smile.io.cp2k_input import FIELD_UNIT, read_cp2k_input
from mace_smile.io.finite_field import read_finite_field_labels
from mace_smile.io.finite_field_report import read_all_labels

TENSORS = born_charges(bent_molecule().positions)


@pytest.fixture
def folder(tmp_path):
    return write_finite_fields(tmp_path / "w1")


def edit(path, old, new):
    """Replace text in a file, which must be there."""
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def test_forces_in_fields_give_born_charges(folder):
    """A positive charge is pushed along the field; names of files say nothing of it."""
    labels = read_finite_field_labels(folder)
    tensors = labels.frame.arrays["REF_becs"].reshape(3, 3, 3)
    np.testing.assert_allclose(tensors, TENSORS, atol=2e-5)  # forces have eight decimals
    assert np.trace(tensors[1]) > 0 > np.trace(tensors[0])
    assert labels.acoustic_sum < 2e-5
    right, exchanged = labels.rotational_residuals
    assert right < 1e-4 < 0.1 < exchanged


def test_calculation_without_field_gives_the_other_labels(folder):
    frame = read_finite_field_labels(folder).frame
    hartree, bohr = ase.units.Hartree, ase.units.Bohr
    assert frame.info["REF_energy"] == pytest.approx(-17.25 * hartree)
    expected = FORCES_AT_ZERO * hartree / bohr
    np.testing.assert_allclose(frame.arrays["REF_forces"], expected, atol=1e-6)
    positions = bent_molecule().positions
    np.testing.assert_allclose(frame.info["REF_dipole"], dipole(positions), atol=1e-6)
    np.testing.assert_allclose(frame.positions, positions - positions.mean(axis=0), atol=1e-7)
    assert not frame.pbc.any()
    assert frame.info["structure_id"] == "w1"


def test_molecule_across_the_boundary_is_made_whole(tmp_path):
    folder = write_finite_fields(tmp_path / "cut", shift=-4.5)
    frame = read_finite_field_labels(folder).frame
    positions = bent_molecule().positions
    np.testing.assert_allclose(frame.positions, positions - positions.mean(axis=0), atol=1e-7)


def test_filled_cells_are_periodic_and_have_no_dipole(tmp_path):
    labels = read_finite_field_labels(write_finite_fields(tmp_path / "bulk", cell=3.0))
    assert labels.frame.pbc.all()
    np.testing.assert_allclose(labels.frame.cell.lengths(), 3.0)
    assert "REF_dipole" not in labels.frame.info
    assert labels.rotational_residuals is None
    np.testing.assert_allclose(labels.frame.arrays["REF_becs"], TENSORS.reshape(3, 9), atol=2e-5)


def test_results_in_the_main_output_are_read_too(folder):
    for path in folder.glob("*.inp"):
        stem = path.stem
        edit(path, f"FILENAME ={stem}.frc", "")
        edit(path, f"FILENAME ={stem}.mom", "")
        output = path.with_suffix(".out")
        moments, forces = (path.with_suffix(ending).read_text() for ending in (".mom", ".frc"))
        head, energy = output.read_text().split(" ENERGY|")
        output.with_suffix(".log").write_text(f"{head}{moments} ENERGY|{energy}{forces}")
        for ending in (".out", ".mom", ".frc"):
            path.with_suffix(ending).unlink()
    frame = read_finite_field_labels(folder).frame
    np.testing.assert_allclose(frame.arrays["REF_becs"], TENSORS.reshape(3, 9), atol=2e-5)
    positions = bent_molecule().positions
    np.testing.assert_allclose(frame.info["REF_dipole"], dipole(positions), atol=1e-6)


def test_without_the_calculation_at_zero_only_tensors_are_labels(folder, caplog):
    (folder / "a.inp").unlink()
    frame = read_finite_field_labels(folder).frame
    assert "no calculation without a field" in caplog.text
    assert "REF_energy" not in frame.info
    assert "REF_forces" not in frame.arrays
    np.testing.assert_allclose(frame.arrays["REF_becs"], TENSORS.reshape(3, 9), atol=2e-5)


def test_acoustic_sum_above_the_threshold_is_told(folder, caplog):
    read_finite_field_labels(folder)
    assert not caplog.text
    path = folder / "b.frc"  # a force of 1e-4 Hartree by bohr along x on the oxygen: 0.05 e
    lines = path.read_text().splitlines()
    value = float(lines[3].split()[3])
    lines[3] = lines[3].replace(f"{value:.8f}", f"{value + 2e-4:.8f}")
    path.write_text("\n".join(lines))
    labels = read_finite_field_labels(folder)
    assert labels.acoustic_sum == pytest.approx(0.1, abs=1e-4)
    assert "sum_i Z_i - Q 1 is up to 0.1000 e, above 0.0500 e" in caplog.text


def test_units_of_the_field():
    assert pytest.approx(0.0514220675, rel=1e-7) == FIELD_IN_V_BY_A  # CODATA
    assert pytest.approx(51.4220675, rel=1e-7) == FIELD_UNIT


def test_unusable_sets_are_refused(folder):
    (folder / "c.inp").unlink()
    (folder / "g.inp").unlink()
    with pytest.raises(UserError, match="no calculation with the field along -x, -z; plus and min"):
        read_finite_field_labels(folder)
    write_calculation(folder, "c", (-1, 0, 0))
    write_calculation(folder, "g", (0, 1, 0))
    with pytest.raises(UserError, match="d.inp' and .*g.inp' both have the field .y; keep one"):
        read_finite_field_labels(folder)
    write_calculation(folder, "g", (0, 0, -1), intensity=0.002)
    with pytest.raises(UserError, match="not equally strong .*-z: 0.102844.; use one INTENSITY"):
        read_finite_field_labels(folder)
    write_calculation(folder, "g", (0, 0, -1), shift=0.001)
    with pytest.raises(UserError, match="'a.inp' and 'g.inp' .*positions differ by up to 0.001000"):
        read_finite_field_labels(folder)
    write_calculation(folder, "g", (0, 0, -1), cell=9.5, shift=-0.25)
    with pytest.raises(UserError, match="different geometries .atoms, cell or charge"):
        read_finite_field_labels(folder)


@pytest.mark.parametrize(
    ("name", "old", "new", "message"),
    [
        ("d.out", "run converged", "run NOT converged", "SCF cycle of .*d.out' is not converged"),
        ("d.out", "ENERGY| Total", "ENERGY| No", "has 0 energies but must have one; it is not fin"),
        (
            "d.out",
            "1.000000E-03",
            "2.000000E-03",
            "says a field of 0.102844 V/A but its input 0.05",
        ),
        ("d.frc", "      3      1", "", "forces of .*d.inp' are of 2 atoms but must be of 3"),
        ("d.frc", "ATOMIC FORCES", "", "forces of .*d.inp' are none but must be of 3 atoms"),
    ],
)
def test_unusable_outputs_are_refused(folder, name, old, new, message):
    edit(folder / name, old, new)
    with pytest.raises(UserError, match=message):
        read_finite_field_labels(folder)


def test_missing_output_is_refused(folder):
    (folder / "d.out").unlink()
    with pytest.raises(
        UserError, match="d.inp' has no output beside it; its main output must be d"
    ):
        read_finite_field_labels(folder)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("POLARISATION 0 1 0", "POLARISATION 1 1 0", "INTENSITY in a.u. and POLARISATION 1 0 0"),
        ("POLARISATION 0 1 0", "POLARISATION 0 2 0", "POLARISATION 0 2 0; it must have"),
        ("POLARISATION 0 1 0", "", "POLARISATION missing; it must have INTENSITY"),
        ("INTENSITY", "DISPLACEMENT_FIELD T\nINTENSITY", "has DISPLACEMENT_FIELD, INTENSITY"),
        ("PERIODIC_EFIELD", "EFIELD", "has &EFIELD, which is no homogeneous field"),
        ("ABC 9.000000", "ABC [bohr] 9.000000", "must have a cell in A in &CELL"),
        ("ABC 9", "ALPHA_BETA_GAMMA 90 90 60\nABC 9", "must have a cell in A in &CELL"),
        ("&COORD\n", "&COORD\nSCALED\n", "must have coordinates in A"),
        ("&COORD\n", "&COORD\nQ1 0.0 0.0 0.0\n", "atoms of the kind 'Q', which is no element"),
        ("&GLOBAL", "@SET L 9\n&GLOBAL", "preprocessor line '@SET L 9', which is not read"),
        ("FILENAME =d.frc", "FILENAME d.frc", "FILENAME d.frc, to which CP2K adds parts"),
    ],
)
def test_inputs_that_would_be_read_wrongly_are_refused(folder, old, new, message):
    edit(folder / "d.inp", old, new)
    with pytest.raises(UserError, match=message):
        read_cp2k_input(folder / "d.inp")


def test_other_forms_of_inputs_are_read(folder):
    path = folder / "d.inp"
    edit(path, "ABC 9.000000 9.000000 9.000000", "A 9. 0. 0. ! a\n B 1. 8. 0.\n C 0. 0. 7.")
    edit(path, "&DFT", "&DFT\n CHARGE -1")
    edit(path, "INTENSITY 0.001000", "intensity -1.0E-3")
    atoms = bent_molecule()
    ase.io.write(folder / "s.xyz", atoms, format="xyz")
    text = path.read_text()
    start, end = text.index("    &COORD"), text.index("&END COORD")
    topology = "&TOPOLOGY\n COORD_FILE_FORMAT XYZ\n COORD_FILE_NAME s.xyz\n &END TOPOLOGY"
    path.write_text(text[:start] + topology + text[end + len("&END COORD") :])
    setup = read_cp2k_input(path)
    np.testing.assert_allclose(setup.atoms.cell, [[9, 0, 0], [1, 8, 0], [0, 0, 7]])
    np.testing.assert_allclose(setup.atoms.positions, atoms.positions)
    np.testing.assert_allclose(setup.electric_field, [0, -FIELD_IN_V_BY_A, 0])
    assert setup.total_charge == -1
    assert setup.atoms.pbc.all()


def test_command_reads_folders_of_folders(folder, monkeypatch, capsys, caplog):
    broken = write_finite_fields(folder.parent / "w0")
    (broken / "b.out").unlink()
    out = folder.parent / "frames.xyz"
    words = ["mace_smile_finite_field_labels", str(folder.parent), "-o", str(out)]
    monkeypatch.setattr(sys, "argv", words)
    with pytest.raises(SystemExit) as caught:
        finite_field_labels.main()
    assert caught.value.code == 2
    assert "w0/b.inp' has no output beside it" in capsys.readouterr().err
    monkeypatch.setattr(sys, "argv", [*words, "--skip_failed"])
    finite_field_labels.main()
    printed = capsys.readouterr().out
    assert "1 structures written" in printed
    assert "| H / e |  O / e |" in printed
    assert "left out: " in caplog.text
    (frame,) = ase.io.read(out, ":")
    assert frame.info["becs_order"] == "field_first"
    (folder / "b.out").unlink()
    with pytest.raises(UserError, match="none of the structures in .* can be used"):
        read_all_labels([folder.parent], skip_failed=True)
    with pytest.raises(UserError, match="must be a folder with the inputs .*inp. of one structure"):
        read_all_labels([folder.parent / "nowhere"])
