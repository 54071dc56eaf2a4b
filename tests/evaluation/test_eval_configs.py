"""mace_smile_eval_configs: what it writes, what it counts, what it refuses."""

import sys

import ase.io
import numpy as np
import pytest
import torch

from born_outputs import bent_molecule, born_charges, dipole
from helpers import GIVEN, STRUCTURES, evaluate, make_model
from mace_smile.cli.eval_configs import main


@pytest.fixture
def folder(tmp_path):
    """A model, and labelled frames of all boundaries in one file."""
    model = make_model(**GIVEN, susceptibility=0.4)
    torch.save(model, tmp_path / "small.model")
    frames = []
    for boundary, build in STRUCTURES.items():
        atoms = build()
        output = evaluate(model, atoms, compute_stress=True)
        atoms.info["REF_energy"] = output["energy"].item() + 0.001 * len(atoms)
        atoms.arrays["REF_forces"] = output["forces"].detach().numpy() + 0.002
        if boundary != "periodic":
            atoms.info["REF_dipole"] = output["macro_dipole"][0].detach().numpy() + 0.1
        if boundary == "open":
            born = output["born_effective_charges"].detach().numpy().copy()
            born[:, 0, 1] += 0.3
            atoms.arrays["REF_becs"] = born.reshape(-1, 9)
        frames.append(atoms)
    ase.io.write(tmp_path / "in.xyz", frames)
    return tmp_path


def run(monkeypatch, folder, *extra, configs="in.xyz", output="out.xyz"):
    arguments = ["--model", str(folder / "small.model"), "--configs", str(folder / configs)]
    arguments += ["--output", str(folder / output), *extra]
    monkeypatch.setattr(sys, "argv", ["mace_smile_eval_configs", *arguments])
    main()


def test_outputs_are_written_beside_the_labels(monkeypatch, folder, capsys):
    run(monkeypatch, folder)
    model = torch.load(folder / "small.model", weights_only=False)
    frames = ase.io.read(folder / "out.xyz", ":")
    assert len(frames) == len(STRUCTURES)
    for atoms, build in zip(frames, STRUCTURES.values(), strict=True):
        expected = evaluate(model, build(), compute_stress=True, compute_local_electric_field=True)
        for name in ("short_range_energy", "electrostatic_energy"):
            assert atoms.info[f"MACE_{name}"] == pytest.approx(expected[name].item())
        assert atoms.info["MACE_energy"] == pytest.approx(expected["energy"].item())
        for name in ("macro_dipole", "response_dipole"):
            np.testing.assert_allclose(
                atoms.info[f"MACE_{name}"], expected[name][0].detach(), atol=1e-10
            )
        born = expected["born_effective_charges"].detach().numpy().reshape(-1, 9)
        np.testing.assert_allclose(atoms.arrays["MACE_born_effective_charges"], born, atol=1e-7)
        for name in ("forces", "charges", "electrostatic_potential", "local_electric_field"):
            np.testing.assert_allclose(
                atoms.arrays[f"MACE_{name}"], expected[name].detach(), atol=1e-7
            )
        assert ("MACE_stress" in atoms.info) == bool(atoms.pbc.any())
        if atoms.pbc.any():
            stress = np.reshape(atoms.info["MACE_stress"], (3, 3))
            np.testing.assert_allclose(stress, expected["stress"][0].detach(), atol=1e-10)
        assert "REF_energy" in atoms.info


def test_a_model_without_electrostatics_writes_none(monkeypatch, folder):
    torch.save(make_model(electrostatics="none"), folder / "small.model")
    run(monkeypatch, folder)
    for atoms in ase.io.read(folder / "out.xyz", ":"):
        written = {key for key in (*atoms.info, *atoms.arrays) if key.startswith("MACE_")}
        assert {"MACE_energy", "MACE_charges"} <= written
        assert not [key for key in written if "electr" in key or "short_range" in key]


def test_the_table_counts_labels_only(monkeypatch, folder, capsys):
    run(monkeypatch, folder)
    rows = {}
    for line in capsys.readouterr().out.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(cells) == 5 and cells[0] != "quantity":
            rows[cells[0]] = cells[1:]
    assert rows["energy per atom"] == ["meV", "3", "1.0000", "1.0000"]
    assert rows["forces"] == ["meV/A", "3", "2.0000", "2.0000"]
    # dipoles: three axes of the open structure, the normal of the slab
    assert rows["macro dipole"] == ["e A", "2", "0.1000", "0.1000"]
    assert rows["Born charges"][:3] == ["e", "1", "0.0333"]
    assert rows["Born charges, diagonal"][2:] == ["0.0000", "0.0000"]
    assert rows["Born charges, off-diagonal"][2] == "0.0500"
    assert {"Born charges, O", "Born charges, H"} <= set(rows)


def test_screening_and_the_acoustic_sum_need_no_labels(monkeypatch, folder, capsys):
    model = make_model(screening="local", screening_value=-1.3)
    with torch.no_grad():
        model.charge_heads["screening"].element_factors[1] = 0.2
    torch.save(model, folder / "small.model")
    frames = [build() for build in STRUCTURES.values()]
    ase.io.write(folder / "in.xyz", frames)
    run(monkeypatch, folder)
    text = capsys.readouterr().out
    written = ase.io.read(folder / "out.xyz", ":")
    residuals = [np.ravel(atoms.info["MACE_acoustic_residual"]) for atoms in written]
    born = [atoms.arrays["MACE_born_effective_charges"] for atoms in written]
    np.testing.assert_allclose(residuals, [rows.sum(axis=0) for rows in born], atol=1e-6)
    row = rows_of(text)["Born charges, acoustic sum"]
    assert row[:3] == ["e", "3", f"{np.abs(residuals).mean():.4f}"]
    assert float(row[3]) == pytest.approx(np.sqrt(np.mean(np.square(residuals))), abs=6e-5)
    symbols = np.concatenate([atoms.get_chemical_symbols() for atoms in written])
    factors = np.concatenate([atoms.arrays["MACE_screening"] for atoms in written])
    oxygen = factors[symbols == "O"]
    np.testing.assert_allclose(oxygen, -1.3 * np.exp(0.2), rtol=1e-6)
    assert f"| O            |    {len(oxygen)} | {oxygen.mean():.4f} | 0.0000 |" in text


def test_batches_do_not_change_the_result(monkeypatch, folder):
    run(monkeypatch, folder, "--batch_size", "1", output="single.xyz")
    run(monkeypatch, folder, "--batch_size", "3", "--prefix", "X_", output="together.xyz")
    for one, other in zip(
        ase.io.read(folder / "single.xyz", ":"),
        ase.io.read(folder / "together.xyz", ":"),
        strict=True,
    ):
        np.testing.assert_allclose(one.arrays["MACE_forces"], other.arrays["X_forces"], atol=1e-7)


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        ({"configs": "none.xyz"}, "there is no file"),
        ({"output": "none/out.xyz"}, "there is no folder"),
        ({"output": "in.xyz"}, "exists; give another name, or --overwrite"),
        ({"configs": "small.model"}, "cannot be read as structures"),
    ],
)
def test_bad_files_end_in_one_sentence(monkeypatch, folder, capsys, extra, message):
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    with pytest.raises(SystemExit) as stop:
        run(monkeypatch, folder, **extra)
    assert stop.value.code == 2
    error = capsys.readouterr().err.strip().splitlines()
    assert len(error) == 1
    assert message in error[0]
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_a_label_key_that_no_frame_has_is_refused(monkeypatch, folder, capsys):
    with pytest.raises(SystemExit) as stop:
        run(monkeypatch, folder, "--becs_key", "nope")
    assert stop.value.code == 2
    assert "no frame has the key 'nope' (--becs_key); the frames have" in capsys.readouterr().err


@pytest.mark.parametrize("flag", ["model", "configs"])
def test_an_input_is_not_overwritten_as_the_output(monkeypatch, folder, capsys, flag):
    name = {"model": "small.model", "configs": "in.xyz"}[flag]
    before = (folder / name).read_bytes()
    with pytest.raises(SystemExit):
        run(monkeypatch, folder, "--overwrite", output=name)
    assert f"is the input `--{flag}`" in capsys.readouterr().err
    assert (folder / name).read_bytes() == before


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda atoms: atoms.numbers.__setitem__(0, 6), "frame 1: .*elements C"),
        (lambda atoms: atoms.info.__setitem__("REF_dipole", [1.0, 2.0]), "frame 1: `dipole`"),
        (lambda atoms: atoms.set_pbc([True, False, False]), "one axis only"),
    ],
)
def test_bad_frames_are_named_and_leave_no_file(monkeypatch, folder, capsys, change, message):
    import re

    frames = ase.io.read(folder / "in.xyz", ":")
    change(frames[1])
    ase.io.write(folder / "bad.xyz", frames)
    with pytest.raises(SystemExit) as stop:
        run(monkeypatch, folder, configs="bad.xyz")
    assert stop.value.code == 2
    assert re.search(message, capsys.readouterr().err)
    assert not (folder / "out.xyz").exists()
    assert not list(folder.glob(".*tmp"))


def test_frames_without_the_given_charges_of_the_training_are_told(monkeypatch, folder, caplog):
    frames = ase.io.read(folder / "in.xyz", ":")
    for atoms in frames:
        for key in ("electrode", "electrode_charge"):
            atoms.arrays.pop(key, None)
    ase.io.write(folder / "bare.xyz", frames)
    run(monkeypatch, folder, configs="bare.xyz")
    assert "trained with given charges 'electrode_charge', which no frame has" in caplog.text
    caplog.clear()
    run(monkeypatch, folder, output="given.xyz")
    assert "no frame has" not in caplog.text


def rows_of(text):
    """Rows of the printed table, by the name of the quantity."""
    cells = [line.split("|")[1:-1] for line in text.splitlines() if line.startswith("|")]
    return {row[0].strip(): [cell.strip() for cell in row[1:]] for row in cells}


def test_dipoles_along_periodic_axes_count_modulo_the_quantum(monkeypatch, folder, capsys):
    """Labels that are off by two quanta have the error that was put in, and no other."""
    model = make_model(dipole_head="local")
    torch.save(model, folder / "small.model")
    atoms = STRUCTURES["periodic"]()
    dipole = evaluate(model, atoms)["macro_dipole"][0].detach().numpy() + 0.1
    atoms.info["REF_dipole"] = dipole + 2 * (atoms.cell.array[0] - atoms.cell.array[2])
    other = STRUCTURES["periodic"]()
    other.info["REF_P"] = dipole / other.get_volume()
    ase.io.write(folder / "in.xyz", [atoms, other])
    asked = ("--dipole_axes=xyz", "--polarization_key=REF_P")
    run(monkeypatch, folder, *asked, "--dipole_quantum=2")
    row = rows_of(capsys.readouterr().out)["macro dipole"]
    assert row == ["e A", "2", "0.1000", "0.1000"]
    written = ase.io.read(folder / "out.xyz", 0).arrays["MACE_atomic_dipoles"]
    expected = evaluate(model, atoms)["atomic_dipoles"].detach()
    np.testing.assert_allclose(written, expected, atol=1e-7)
    with pytest.raises(SystemExit):
        run(monkeypatch, folder, *asked, output="other.xyz")
    assert "--polarization_key has no effect without --dipole_quantum 1" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        run(monkeypatch, folder, "--dipole_axes=xyz", output="other.xyz")
    assert "say which quantum with --dipole_quantum 1" in capsys.readouterr().err


def test_total_charges_that_given_charges_contradict_are_refused(monkeypatch, folder, capsys):
    frames = ase.io.read(folder / "in.xyz", ":")
    frames[2].arrays["electrode"][:] = 1
    frames[2].info["total_charge"] = 1.0
    ase.io.write(folder / "in.xyz", frames)
    with pytest.raises(SystemExit) as stop:
        run(monkeypatch, folder)
    assert stop.value.code == 2
    message = capsys.readouterr().err
    assert "frame 2: " in message
    assert "add up to 0 e but the total charge is 1 e, and no atom is left" in message


def test_labels_with_the_other_index_first(monkeypatch, folder, capsys):
    """Errors do not depend on the order of the file, and a wrong order is refused."""
    atoms = bent_molecule()
    atoms.info["REF_dipole"] = dipole(atoms.positions)
    tensors = born_charges(atoms.positions)
    tables = []
    for order in ("field_first", "displacement_first"):
        columns = tensors if order == "field_first" else tensors.transpose(0, 2, 1)
        atoms.arrays["REF_becs"] = columns.reshape(-1, 9)
        ase.io.write(folder / f"{order}.xyz", atoms)
        run(monkeypatch, folder, "--becs_order", order, "--overwrite", configs=f"{order}.xyz")
        lines = capsys.readouterr().out.splitlines()
        tables.append([line for line in lines if "Born charges" in line])
        written = ase.io.read(folder / "out.xyz")
        np.testing.assert_allclose(written.arrays["REF_becs"], tensors.reshape(-1, 9), atol=1e-7)
    assert tables[0] == tables[1] != []
    run(monkeypatch, folder, "--becs_order", "auto", "--overwrite", configs=f"{order}.xyz")
    with pytest.raises(SystemExit):
        run(monkeypatch, folder, configs=f"{order}.xyz", output="new.xyz")
    error = capsys.readouterr().err
    assert "is contradictory: `--becs_order` is field_first, the data say displacement" in error
    ase.io.write(folder / "bare.xyz", bent_molecule())
    with pytest.raises(SystemExit):
        run(monkeypatch, folder, "--becs_order", order, configs="bare.xyz", output="new.xyz")
    assert "has no effect here: no frame has Born effective charges" in capsys.readouterr().err
