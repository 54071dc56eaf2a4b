"""From any order to the one of training, phonopy and i-PI: the command and its files."""

import sys

import ase.io
import numpy as np
import pytest

from born_outputs import bent_molecule, born_charges, dipole, force_by_field
from mace_smile.cli import convert_born_charges as command
from mace_smile.errors import UserError
from mace_smile.io.born_conversion import convert_born_charges, write_converted
from mace_smile.io.born_order import displacement_first
from mace_smile.io.ipi import write_ipi_born_charges
from mace_smile.io.phonopy import write_phonopy_born

POSITIONS = bent_molecule().positions
TENSORS = born_charges(POSITIONS)


def frame(tensors=TENSORS, key="becs"):
    """The molecule with tensors as they are given, as another code has written them."""
    atoms = bent_molecule()
    atoms.arrays[key] = np.reshape(tensors, (-1, 9))
    atoms.info["REF_dipole"] = dipole(POSITIONS)
    return atoms


def run(monkeypatch, *arguments):
    """Run the command."""
    words = ["mace_smile_convert_born_charges", *map(str, arguments)]
    monkeypatch.setattr(sys, "argv", words)
    command.main()


@pytest.mark.parametrize("order", ["auto", "displacement_first"])
def test_command_writes_the_field_first(order, tmp_path, monkeypatch, capsys):
    unlabelled = bent_molecule()
    frames = [frame(displacement_first(TENSORS)), unlabelled]
    ase.io.write(tmp_path / "in.xyz", frames)
    out = tmp_path / "out.xyz"
    flags = ["--becs_key", "becs", "--becs_order", order]
    run(monkeypatch, tmp_path / "in.xyz", "-o", out, *flags)
    printed = capsys.readouterr().out
    assert "read as displacement_first" in printed
    assert "rotational sum rule, labelled dipole, residual / e A" in printed
    converted, rest = ase.io.read(out, ":")
    np.testing.assert_allclose(converted.arrays["REF_becs"].reshape(-1, 3, 3), TENSORS, atol=1e-7)
    assert "becs" not in converted.arrays
    assert "REF_becs" not in rest.arrays
    run(monkeypatch, out, "-o", tmp_path / "again.xyz")  # a second time changes nothing
    again = ase.io.read(tmp_path / "again.xyz", 0)
    np.testing.assert_allclose(again.arrays["REF_becs"], converted.arrays["REF_becs"], atol=1e-7)


def test_command_ends_in_a_sentence(tmp_path, monkeypatch, capsys):
    atoms = frame()
    atoms.cell, atoms.pbc = [9, 9, 9], True
    ase.io.write(tmp_path / "in.xyz", atoms)
    flags = [tmp_path / "in.xyz", "-o", tmp_path / "out.xyz", "--becs_key", "becs"]
    with pytest.raises(SystemExit) as caught:
        run(monkeypatch, *flags)
    assert caught.value.code == 2
    assert "error: the order of the indices of 'becs' cannot be told" in capsys.readouterr().err
    assert not (tmp_path / "out.xyz").exists()
    with pytest.raises(SystemExit):
        run(monkeypatch, *flags, "--becs_order", "field_first", "--frame", 1)
    assert "`--frame 1` is not in the file, which has 1 frames" in capsys.readouterr().err


def test_tables_of_ipi_have_rows_of_displacements(tmp_path):
    """i-PI multiplies the table by the field: F[3 i + b] = sum_a table[3 i + b, a] E_a."""
    write_ipi_born_charges(tmp_path / "bec.txt", TENSORS)
    table = np.loadtxt(tmp_path / "bec.txt")
    assert table.shape == (9, 3)
    for atom in range(3):
        force = (table @ [0.0, 1.0, 0.0]).reshape(3, 3)[atom]
        np.testing.assert_allclose(force, force_by_field(POSITIONS, atom, 1), atol=1e-9)


def test_ipi_reads_the_table(tmp_path):
    inputs = pytest.importorskip("ipi.inputs.motion.driven_dynamics")
    xml = pytest.importorskip("ipi.utils.io.inputs.io_xml")
    path = tmp_path / "bec.txt"
    write_ipi_born_charges(path, TENSORS)
    text = f'<bec mode="file" shape="(9, 3)"> {path} </bec>'
    section = inputs.InputBEC()
    section.parse(xml.xml_parse_string(text).fields[0][1])
    bec = np.asarray(section.fetch()._bec)
    assert bec.shape == (9, 3)
    field = np.array([0.3, -0.2, 0.1])
    forces = np.einsum("a,iab->ib", field, TENSORS)
    np.testing.assert_allclose((bec @ field).reshape(3, 3), forces, atol=1e-9)


def test_phonopy_file_says_where_the_dielectric_tensor_is_not_known(tmp_path, caplog):
    write_phonopy_born(tmp_path / "BORN", TENSORS)
    lines = (tmp_path / "BORN").read_text().splitlines()
    assert "NOT calculated" in lines[0]
    assert "unit tensor as dielectric tensor" in caplog.text
    assert len(lines) == 2 + 3
    for word in lines[0].split()[:3]:  # phonopy takes numbers there as parameters
        with pytest.raises(ValueError, match="could not convert"):
            float(word)
    row = np.array(lines[2].split(), dtype=float)
    np.testing.assert_allclose(row[:3], force_by_field(POSITIONS, 0, 0), atol=1e-8)
    caplog.clear()
    write_phonopy_born(tmp_path / "BORN", TENSORS, 2 * np.eye(3), overwrite=True)
    assert not caplog.text
    assert "NOT" not in (tmp_path / "BORN").read_text()


@pytest.mark.parametrize(("form", "shape"), [("phonopy", (4, 9)), ("ipi", (9, 3))])
def test_command_writes_files_of_other_codes(form, shape, tmp_path, monkeypatch):
    ase.io.write(tmp_path / "in.xyz", [frame(), frame()])
    flags = [tmp_path / "in.xyz", "-o", tmp_path / "out", "--becs_key", "becs", "--format", form]
    epsilon = ["--dielectric", 2, 0, 0, 0, 2, 0, 0, 0, 2] if form == "phonopy" else []
    run(monkeypatch, *flags, "--frame", -1, *epsilon)
    assert np.loadtxt(tmp_path / "out").shape == shape


def test_large_acoustic_sums_are_told(caplog):
    assert len(convert_born_charges([frame()], "becs").frames) == 1
    assert not caplog.text
    ion = frame(TENSORS + np.eye(3) / 3)
    ion.info["total_charge"] = 1.0
    convert_born_charges([ion], "becs", "field_first")
    assert not caplog.text
    ion.info.pop("total_charge")
    convert_born_charges([ion], "becs", "field_first")
    assert "sum_i Z_i - Q 1 is up to 1.0000 e" in caplog.text


def test_wrong_requests_are_refused(tmp_path):
    with pytest.raises(UserError, match="no frame has 'z'; its columns are becs, numbers, posit"):
        convert_born_charges([frame()], "z")
    frames = convert_born_charges([frame(), frame()], "becs").frames
    out = tmp_path / "out"
    with pytest.raises(UserError, match="ipi takes one structure but 2 frames have.*--frame"):
        write_converted(frames, out, "ipi")
    with pytest.raises(UserError, match="format is 'vasp' but must be one of extxyz, phonopy"):
        write_converted(frames, out, "vasp")
    with pytest.raises(UserError, match="--dielectric. has no place in ipi"):
        write_converted(frames, out, "ipi", [1.0] * 9)
    with pytest.raises(UserError, match=r"dielectric tensor has shape \(2, 2\) but must"):
        write_phonopy_born(out, TENSORS, np.eye(2))
    write_converted(frames[:1], out, "ipi")
    with pytest.raises(UserError, match="exists; give another name, or --overwrite"):
        write_converted(frames[:1], out, "ipi")
