"""Born effective charges out of VASP, Quantum ESPRESSO and phonopy: which index is which."""

import sys

import ase.io
import numpy as np
import pytest

from born_outputs import bent_molecule, born_charges, espresso_block, vasp_block
from foreign_outputs import outcar_step, write_outcar
from mace_smile.cli import add_born_charges
from mace_smile.errors import UserError
from mace_smile.io.born_frames import read_born_frames
from mace_smile.io.espresso_born import read_espresso_born_charges
from mace_smile.io.phonopy import read_phonopy_born, write_phonopy_born
from mace_smile.io.vasp_born import read_vasp_born_charges

POSITIONS = bent_molecule().positions
TENSORS = born_charges(POSITIONS)


def crystal(cell=(3.2, 3.3, 3.4)):
    """The molecule in a periodic cell that it fills."""
    atoms = bent_molecule()
    atoms.cell, atoms.pbc = cell, True
    atoms.center()
    return atoms


def write_vasp(path, blocks, header="", steps=None):
    """An OUTCAR with blocks of Born effective charges behind its ionic steps."""
    steps = [outcar_step(crystal(), "")] if steps is None else steps
    write_outcar(path, *steps)
    path.write_text(header + path.read_text() + blocks)
    return path


def write_ph(path, *blocks):
    """An output of ph.x with blocks of effective charges."""
    path.write_text("     Program PHONON v.7.2 starts on  1Jan2025\n\n" + "\n".join(blocks))
    return path


def test_vasp_rows_are_fields(tmp_path):
    """The wiki of VASP: the first index of the block is the field, the second the force."""
    path = write_vasp(tmp_path / "OUTCAR", vasp_block(POSITIONS))
    np.testing.assert_allclose(read_vasp_born_charges(path), TENSORS, atol=6e-6)


def test_vasp_block_with_local_fields_counts_and_the_last_one(tmp_path):
    block = vasp_block(POSITIONS)
    without = vasp_block(POSITIONS[[1, 0, 2]]).replace("including", "excluding")
    old = vasp_block(POSITIONS[[0, 2, 1]]).replace(
        "(including local field effects) (in |e|", "(in e"
    )
    path = write_vasp(tmp_path / "OUTCAR", old + block + without)
    np.testing.assert_allclose(read_vasp_born_charges(path), TENSORS, atol=6e-6)


@pytest.mark.parametrize("ibrion", [5, 8])
def test_vasp_runs_that_displace_ions_are_refused(tmp_path, ibrion):
    header = f"   IBRION =     {ibrion}    ionic relax: 0-MD 1-quasi-New 2-CG\n"
    path = write_vasp(tmp_path / "OUTCAR", vasp_block(POSITIONS), header)
    with pytest.raises(UserError, match=f"IBRION = {ibrion}, which displaces ions.*IBRION = -1"):
        read_vasp_born_charges(path)


def test_espresso_field_block_has_rows_of_fields(tmp_path):
    """(d Force / dE): row Ex is the force in a field along x."""
    path = write_ph(tmp_path / "ph.out", espresso_block(POSITIONS, "force"))
    np.testing.assert_allclose(read_espresso_born_charges(path), TENSORS, atol=6e-6)


def test_espresso_displacement_block_has_rows_of_polarizations(tmp_path):
    """(d P / du): row Px is the polarization along x of displacements along x, y, z."""
    path = write_ph(tmp_path / "ph.out", espresso_block(POSITIONS, "polarization"))
    np.testing.assert_allclose(read_espresso_born_charges(path), TENSORS, atol=6e-6)


def test_espresso_dynamical_matrix_has_rows_of_displacements(tmp_path):
    """U-E: Z_{s,alpha}{beta} begins with the displacement, so it is exchanged."""
    path = write_ph(tmp_path / "h2o.dyn", espresso_block(POSITIONS, "dyn"))
    np.testing.assert_allclose(read_espresso_born_charges(path), TENSORS, atol=1e-11)


def test_espresso_tensors_are_those_before_the_acoustic_sum_rule(tmp_path):
    without = espresso_block(POSITIONS, "force", " without acoustic sum rule applied (asr)")
    applied = espresso_block(POSITIONS * 1.1, "force", " with asr applied:")
    other = espresso_block(POSITIONS * 1.2, "polarization")
    path = write_ph(tmp_path / "ph.out", other, without, applied)
    np.testing.assert_allclose(read_espresso_born_charges(path), TENSORS, atol=6e-6)


def test_phonopy_rows_contract_with_a_field(tmp_path):
    """Phonopy multiplies q with the first index: q . Z is the force in a field along q."""
    write_phonopy_born(tmp_path / "BORN", TENSORS, np.diag([2.0, 3.0, 4.0]))
    dielectric, tensors = read_phonopy_born(tmp_path / "BORN", 3)
    np.testing.assert_allclose(dielectric, np.diag([2.0, 3.0, 4.0]))
    np.testing.assert_allclose(tensors, TENSORS, atol=1e-8)
    by_hand = "14.4\n" + "1 0 0 0 1 0 0 0 1\n" + "0 1 2 3 4 5 6 7 8\n"
    (tmp_path / "hand").write_text(by_hand)
    tensors = read_phonopy_born(tmp_path / "hand", 1)[1]
    field = np.array([1.0, 0.0, 0.0])
    np.testing.assert_allclose(np.dot(field, tensors)[0], [0, 1, 2])  # xx xy xz: forces


def test_reduced_list_of_phonopy_is_refused(tmp_path):
    write_phonopy_born(tmp_path / "BORN", TENSORS[:2], np.eye(3))
    with pytest.raises(UserError, match="tensors of 2 atoms but the structure has 3; phonopy wri"):
        read_phonopy_born(tmp_path / "BORN", 3)
    (tmp_path / "BORN").write_text("14.4\n1 0 0 0 1 0 0 0 1\n1 2 3\n")
    with pytest.raises(UserError, match="not a BORN file.*must have nine numbers"):
        read_phonopy_born(tmp_path / "BORN", 1)


@pytest.mark.parametrize("code", ["vasp", "qe", "phonopy"])
def test_command_writes_frames_with_the_field_first(code, tmp_path, monkeypatch, capsys):
    structures = []
    if code == "vasp":
        output = write_vasp(tmp_path / "OUTCAR", vasp_block(POSITIONS))
    else:
        structures = ["--structures", str(tmp_path / "crystal.xyz")]
        ase.io.write(tmp_path / "crystal.xyz", crystal())
        output = tmp_path / "output"
        if code == "qe":
            write_ph(output, espresso_block(POSITIONS, "force"))
        else:
            write_phonopy_born(output, TENSORS, np.eye(3))
    result = tmp_path / "frames.xyz"
    arguments = ["--code", code, str(output), *structures, "-o", str(result)]
    monkeypatch.setattr(sys, "argv", ["mace_smile_add_born_charges", *arguments])
    add_born_charges.main()
    assert "1 structures written" in capsys.readouterr().out
    frame = ase.io.read(result)
    np.testing.assert_allclose(frame.arrays["REF_becs"].reshape(3, 3, 3), TENSORS, atol=6e-6)
    np.testing.assert_allclose(frame.positions, crystal().positions, atol=1e-5)
    assert frame.pbc.all()
    assert frame.info["becs_order"] == "field_first"
    if code == "vasp":
        assert frame.info["REF_energy"] == pytest.approx(-14.2)
        assert frame.arrays["REF_forces"].shape == (3, 3)


def test_molecules_in_a_box_become_open_and_whole(tmp_path):
    atoms = crystal((12, 12, 12))
    atoms.positions -= atoms.positions[0]  # the box cuts the molecule
    atoms.wrap()
    ase.io.write(tmp_path / "box.xyz", atoms)
    write_ph(tmp_path / "ph.out", espresso_block(POSITIONS, "force"))
    (frame,) = read_born_frames("qe", [tmp_path / "ph.out"], [tmp_path / "box.xyz"])
    assert not frame.pbc.any()
    assert frame.cell.rank == 0
    np.testing.assert_allclose(frame.positions, POSITIONS - POSITIONS.mean(axis=0), atol=1e-6)
    arguments = ("qe", [tmp_path / "ph.out"], [tmp_path / "box.xyz"], "periodic")
    (frame,) = read_born_frames(*arguments)
    assert frame.pbc.all()
    atoms.cell = [12, 3.3, 12]
    ase.io.write(tmp_path / "box.xyz", atoms)
    with pytest.raises(UserError, match="gaps of .* neither a molecule.*--boundary periodic"):
        read_born_frames(*arguments[:3])
    with pytest.raises(UserError, match="open structure must have at least 4 A on all sides"):
        read_born_frames(*arguments[:3], "open")
    with pytest.raises(UserError, match="boundary is 'slab' but must be one of auto, open"):
        read_born_frames(*arguments[:3], "slab")


def test_what_does_not_fit_is_refused(tmp_path):
    ph, xyz = tmp_path / "ph.out", tmp_path / "crystal.xyz"
    outcar = write_vasp(tmp_path / "OUTCAR", "")
    with pytest.raises(UserError, match="no 'BORN EFFECTIVE CHARGES.*LEPSILON = .TRUE."):
        read_born_frames("vasp", [outcar])
    write_vasp(outcar, "\n".join(vasp_block(POSITIONS).splitlines()[:8]))
    with pytest.raises(UserError, match="end within atom 2; give the complete output"):
        read_born_frames("vasp", [outcar])
    moved = crystal()
    moved.positions[0] += 0.1
    steps = [outcar_step(atoms, "") for atoms in (crystal(), moved)]
    write_vasp(outcar, vasp_block(POSITIONS), steps=steps)
    with pytest.raises(UserError, match="move through 2 steps.*NSW = 0"):
        read_born_frames("vasp", [outcar])
    write_vasp(outcar, vasp_block(POSITIONS[:3]).replace(" ion    3", " end"))
    with pytest.raises(UserError, match="of 2 atoms but its structure has 3"):
        read_born_frames("vasp", [outcar])
    write_ph(ph, "")
    ase.io.write(xyz, crystal())
    with pytest.raises(UserError, match="no 'Effective charges'; run ph.x at q = 0 with epsil"):
        read_born_frames("qe", [ph], [xyz])
    write_ph(ph, "\n".join(espresso_block(POSITIONS, "force").splitlines()[:5]))
    with pytest.raises(UserError, match="effective charges in .* end within atom 1"):
        read_born_frames("qe", [ph], [xyz])
    with pytest.raises(UserError, match="1 structures but 2 outputs"):
        read_born_frames("qe", [ph, ph], [xyz])
    with pytest.raises(UserError, match="--structures. gives the structures of ph.x"):
        read_born_frames("qe", [ph])
    with pytest.raises(UserError, match="code is 'siesta' but must be one of vasp, qe, phonopy"):
        read_born_frames("siesta", [ph])
