"""HDF5 and LMDB files with our labels give the numbers of the extended XYZ they were made from."""

import json

import ase.io
import h5py
import numpy as np
import pytest

from mace_smile.errors import UserError
from mace_smile.training.databases import read_database, sets_of_folder
from mace_smile.training.mace_bridge import prepare
from mace_smile.training.mace_parser import build_preparation_parser
from parity import E0S, TINY, prepare_hdf5
from training_data import frames, log_of, logging_restored, run_arguments, validation, write
from training_data import parse as parse_training

LABELS = "--screening=uncoupled --charges_weight=1 --polarizability_head=local"
STATISTICS = "--statistics_file"
GIVEN = "--given_charges_key=electrode --given_mask_key=is_electrode"


@pytest.fixture
def data(tmp_path, monkeypatch):
    """Frames with every label of ours, some of them in some frames only."""
    structures = frames(6)
    for number, atoms in enumerate(structures):
        atoms.info["REF_polarizability"] = 0.1 * number * np.eye(3).ravel()
        atoms.info["total_charge"] = 0.1 * number
        atoms.arrays["electrode"] = np.full(len(atoms), 0.05)
        atoms.arrays["is_electrode"] = (np.arange(len(atoms)) == number).astype(float)
        atoms.info["config_dipole_weight"] = [1.0, 0.5, 0.0]
    del structures[0].arrays["REF_becs"], structures[1].info["REF_dipole"]
    del structures[2].arrays["electrode"], structures[2].arrays["is_electrode"]
    del structures[3].info["REF_polarizability"], structures[1].info["total_charge"]
    write(tmp_path, structures[:4], "first.xyz")
    write(tmp_path, structures[3:], "last.xyz")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run_preparation(*flags):
    common = ["--train_file=first.xyz", "--valid_file=last.xyz", "--shuffle=False", "--r_max=3.0"]
    args = build_preparation_parser().parse_args([*common, "--num_process=1", *flags])
    with logging_restored():
        return prepare(args)


def losses(directory, *flags):
    args = parse_training(directory, *TINY.split(), *LABELS.split(), *flags)
    args.work_dir = str(directory)
    run_arguments(args)
    return [
        {key: value for key, value in entry.items() if isinstance(value, float) and key != "time"}
        for entry in validation(directory)
    ]


def same(ours, theirs):
    assert len(ours) == len(theirs) == 3
    for mine, entry in zip(ours, theirs, strict=True):
        assert mine == pytest.approx(entry, rel=1e-9)
        assert {"rmse_born_effective_charges", "rmse_macro_dipole", "rmse_charges"} <= mine.keys()


@pytest.mark.parametrize("kind", ["hdf5", "lmdb"])
def test_prepared_files_give_the_numbers_of_extended_xyz(data, kind):
    for line in run_preparation(f"--format={kind}", *GIVEN.split(), "--h5_prefix=out/"):
        assert "becs" not in line or "3 of 4 frames of the train file" in line
    train, valid = {
        "hdf5": ("out/train", "out/val"),
        "lmdb": ("out/train.aselmdb", "out/val.aselmdb"),
    }[kind]
    flags = (E0S, "--atomic_numbers=[1,8]", *GIVEN.split())
    wanted = losses(data / "a", "--train_file=first.xyz", "--valid_file=last.xyz", *flags)
    same(losses(data / "b", f"--train_file={train}", f"--valid_file={valid}", *flags), wanted)
    assert "do not hold total charges" not in log_of(data / "b")


def test_given_charges_that_are_not_asked_for_are_left_out(data):
    run_preparation(*GIVEN.split(), "--h5_prefix=out/")
    flags = (E0S, "--atomic_numbers=[1,8]")
    wanted = losses(data / "a", "--train_file=first.xyz", "--valid_file=last.xyz", *flags)
    same(losses(data / "b", "--train_file=out/train", "--valid_file=out/val", *flags), wanted)


def test_statistics_and_shards_are_those_of_mace(data):
    run_preparation("--compute_statistics", "--num_process=2", E0S, "--h5_prefix=out/")
    prepare_hdf5(data, "--shuffle=False", "--batch_size=16")
    ours, theirs = (
        json.loads((data / name).read_text()) for name in ("out/statistics.json", "statistics.json")
    )
    assert ours.keys() == theirs.keys()
    assert ours["avg_num_neighbors"] == pytest.approx(theirs["avg_num_neighbors"])
    assert ours["mean"] == pytest.approx(theirs["mean"])
    assert ours["std"] == pytest.approx(theirs["std"])
    assert len(list((data / "out" / "train").iterdir())) == 2
    flags = ("--statistics_file=out/statistics.json", "--batch_size=1")
    entries = losses(data / "a", "--train_file=out/train", "--valid_file=out/val", *flags)
    assert "rmse_born_effective_charges" in entries[-1]


def test_born_charges_are_written_field_first(data):
    structures = ase.io.read("first.xyz", ":")
    for atoms in structures[1:]:
        born = atoms.arrays["REF_becs"].reshape(-1, 3, 3)
        born[:, 0, 1] += 0.1
        atoms.arrays["REF_becs"] = born.transpose(0, 2, 1).reshape(-1, 9)
        atoms.info.pop("REF_dipole", None)  # nothing but the flag tells the order
    write(data, structures, "first.xyz")
    write(data, structures[1:], "last.xyz")
    run_preparation("--becs_order=displacement_first")
    stored = [config.properties["born_effective_charges"] for config in read_database("train", "a")]
    assert stored[0] is None
    turned = structures[1].arrays["REF_becs"].reshape(-1, 3, 3).transpose(0, 2, 1)
    np.testing.assert_allclose(stored[1], turned)


def test_files_of_plain_mace_lack_labels_that_are_asked_for(data):
    prepare_hdf5(data)
    files = ("--train_file=train", "--valid_file=val", "--statistics_file=statistics.json")
    with pytest.raises(UserError, match="`born_effective_charges`.*mace_smile_prepare_data"):
        losses(data / "a", *files)
    args = parse_training(data / "b", *TINY.split(), *files, f"--work_dir={data}/b", "--dry_run")
    run_arguments(args)
    assert "mace_prepare_data leaves them out" in log_of(data / "b")


def test_all_test_sets_of_a_folder_are_evaluated(data):
    structures = ase.io.read("last.xyz", ":")
    for number, atoms in enumerate(structures):
        atoms.info["config_type"] = "even" if number % 2 == 0 else "odd"
    write(data, structures, "test.xyz")
    run_preparation("--test_file=test.xyz", "--num_process=2", "--h5_prefix=out/")
    assert sorted(sets_of_folder("out/test")) == ["even_", "odd_"]
    files = ("--train_file=out/train", "--valid_file=out/val", E0S, "--atomic_numbers=[1,8]")
    losses(data / "a", *files, "--test_dir=out/test", "--multi_processed_test=True")
    table = log_of(data / "a").split("Error-table on TEST")[1]
    assert "even_" in table
    assert "odd_" in table
    assert "RMSE Born charges / me" in table


def test_each_head_trains_on_its_own_database(data):
    run_preparation("--h5_prefix=one/")
    run_preparation("--h5_prefix=two/")
    heads = {
        name: {"train_file": f"{name}/train", "valid_file": f"{name}/val"}
        for name in ("one", "two")
    }
    text = json.dumps(heads).replace(" ", "")
    wanted = {
        name: {"train_file": "first.xyz", "valid_file": "last.xyz"} for name in ("one", "two")
    }
    flags = (E0S, "--atomic_numbers=[1,8]", "--max_num_epochs=1")
    entries = losses(data / "a", f"--heads={text}", *flags)
    expected = losses(data / "b", f"--heads={json.dumps(wanted).replace(' ', '')}", *flags)
    assert [one["loss"] for one in entries] == pytest.approx([one["loss"] for one in expected])


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ("--train_file=out/train", "is a database, of which MACE sets nothing aside"),
        ("--train_file=out/train --valid_file=last.xyz", "whose elements MACE must be told"),
        (
            "--train_file=out/train --valid_file=last.xyz --atomic_numbers=[1,8] --E0s=average",
            "to which no energies of isolated atoms are fitted",
        ),
        ("--train_file=first.xyz --test_file=out/train", "is a database, which MACE does not read"),
        (
            "--train_file=out/train --valid_file=out/val --test_file=last.xyz",
            "would not be read, because the training files",
        ),
        (
            f"--train_file=out/train --valid_file=out/val {STATISTICS}=nowhere.json",
            "--statistics_file 'nowhere.json' cannot be used .*No such file",
        ),
        (
            f"--train_file=out/train --valid_file=out/val {STATISTICS}=few.json",
            "--statistics_file 'few.json' cannot be used .it lacks atomic_energies, avg_num_neigh",
        ),
        (
            f"--train_file=out/train --valid_file=out/val {STATISTICS}=other.json",
            "contain H, which --atomic_numbers None .or --statistics_file. does not list",
        ),
        ("--train_file=first.xyz --test_dir=nowhere", "is no folder with HDF5 files"),
        ("--train_file=nowhere.h5", "'nowhere.h5' does not exist"),
        ("--train_file=mixed", "the folder 'mixed' holds notes.txt, but a folder must hold HDF5"),
        ("--train_file=empty", "the folder 'empty' is empty, but a folder must hold HDF5"),
        (
            f"--train_file=broken.h5 --valid_file=last.xyz --atomic_numbers=[1,8] {E0S}",
            "'broken.h5' cannot be read as a database .*write it with mace_smile_prepare_data",
        ),
        (
            f"--train_file=broken.lmdb --valid_file=last.xyz --atomic_numbers=[1,8] {E0S}",
            "'broken.lmdb' cannot be read as a database",
        ),
        (
            f"--train_file=nan.h5 --valid_file=last.xyz --atomic_numbers=[1,8] {E0S}",
            "nan.h5, frame 0 .*`forces`.*holds 18 values that are NaN",
        ),
    ],
)
def test_databases_that_cannot_be_used_are_one_sentence(data, flags, message):
    run_preparation("--h5_prefix=out/")
    for name in ("mixed", "empty"):
        (data / name).mkdir()
    (data / "mixed" / "notes.txt").touch()
    (data / "few.json").write_text('{"atomic_numbers": "[1, 8]", "mean": 0.0, "std": 1.0}')
    numbers = {"atomic_energies": "{8: -2.0}", "atomic_numbers": "[8]", "avg_num_neighbors": 4.0}
    (data / "other.json").write_text(json.dumps({**numbers, "mean": 0.0, "std": 1.0}))
    for name in ("broken.h5", "broken.lmdb"):
        (data / name).write_text("nothing of the kind")
    (data / "nan.h5").write_bytes((data / "out" / "train" / "train_0.h5").read_bytes())
    with h5py.File("nan.h5", "a") as file:
        file["config_batch_0/config_0/properties/forces"][...] = np.nan
    with pytest.raises(UserError, match=message):
        losses(data / "a", *flags.split(), "--dry_run")


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ("--heads={}", "--heads has no effect here"),
        ("--num_process=0", "--num_process is 0 but must be at least 1"),
        ("--given_charges_key=electrode", "belong together"),
        ("--becs_key=Z", "no frame has the label `born_effective_charges` under the key 'Z'"),
        ("--train_file=out/train", "'out/train' is a database already"),
        ("--compute_statistics", "there are no energies of isolated atoms"),
        ("--h5_prefix=out/", "of an earlier run exists; choose another --h5_prefix"),
        ("--frmat=lmdb", "did you mean --format"),
    ],
)
def test_preparations_that_cannot_work_change_nothing(data, flags, message):
    run_preparation("--h5_prefix=out/")
    before = {path: path.stat().st_mtime_ns for path in data.rglob("*")}
    with pytest.raises(UserError, match=message):
        run_preparation("--h5_prefix=new/", *flags.split())
    assert {path: path.stat().st_mtime_ns for path in data.rglob("*")} == before


def test_old_files_are_replaced_as_a_whole(data):
    run_preparation("--num_process=2")
    run_preparation("--overwrite")
    assert [path.name for path in (data / "train").iterdir()] == ["train_0.h5"]
