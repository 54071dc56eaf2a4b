"""HDF5 and LMDB files with our labels, written by MACE's own preparation of data.

MACE reads the frames, splits them, writes HDF5 files and computes the statistics; here the frames
are checked as a training would, our labels are kept, and Born effective charges are turned to
field first. LMDB files are written from the HDF5 files.
"""

import argparse
import multiprocessing
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mace.tools.fairchem_dataset.lmdb_dataset_tools import LMDBDatabase

from mace_smile import quantities
from mace_smile.errors import UserError
from mace_smile.io.born_order import DISPLACEMENT_FIRST, field_first
from mace_smile.model.options import SmileOptions
from mace_smile.training.argument_checks import fill_label_keys
from mace_smile.training.data_checks import check_data
from mace_smile.training.databases import (
    HDF5_SUFFIXES,
    as_atoms,
    count_structures,
    hdf5_files,
    is_database,
    lmdb_keys,
    read_database,
)
from mace_smile.training.input_files import check_files
from mace_smile.training.labels import LabelSettings
from mace_smile.training.plan import TrainingPlan
from mace_smile.training.progress import Progress
from mace_smile.training.screening_plan import with_order
from mace_smile.training.survey import (
    TEST,
    TRAIN,
    VALID,
    Survey,
    labels_not_asked_for,
    survey_files,
)

FOLDERS = ("train", "val", "test")
#: Labels of ours, with the flags of their keys.
OURS = {
    quantities.DIPOLE: "dipole_key",
    quantities.POLARIZATION: "polarization_key",
    quantities.BORN_EFFECTIVE_CHARGES: "becs_key",
    quantities.CHARGES: "charges_key",
    quantities.POLARIZABILITY: "polarizability_key",
    quantities.TOTAL_CHARGE: "total_charge_key",
    quantities.GIVEN_CHARGES: "given_charges_key",
}


@dataclass(frozen=True)
class Preparation:
    """What is to be written."""

    plan: TrainingPlan
    """The labels of the structures."""
    survey: Survey
    """The frames."""
    summary: tuple[str, ...]
    """How many frames carry each label."""


def plan_preparation(args: argparse.Namespace) -> Preparation:
    """Check flags, frames and outputs. The keys of labels are filled in, in ``args``.

    :raises UserError: for anything the user can mend.
    """
    if args.heads is not None:
        raise UserError(
            "--heads has no effect here: prepare the files of each head by a run of their own, and "
            "name them in --heads of the training"
        )
    if args.num_process < 1:
        raise UserError(f"--num_process is {args.num_process} but must be at least 1")
    if (args.given_charges_key is None) != (args.given_mask_key is None):
        raise UserError(
            "--given_charges_key and --given_mask_key belong together: give both, or neither"
        )
    asked = [label for label, flag in OURS.items() if getattr(args, flag) is not None]
    if args.becs_order is not None:
        asked.append(quantities.BORN_EFFECTIVE_CHARGES)
    fill_label_keys(args)
    of_training = _as_training(args)
    for path in (args.train_file, args.valid_file, args.test_file):
        if path is not None and is_database(path):
            raise UserError(f"'{path}' is a database already; give an extended XYZ file")
    check_files(of_training)
    labels = LabelSettings(
        born_effective_charges=True,
        given_charges=args.given_charges_key is not None,
        ignored=labels_not_asked_for(of_training),
    )
    survey = survey_files(of_training, labels)
    if args.compute_statistics:
        check_data(of_training, survey, SmileOptions())
    for label in asked:
        if not any(label in frame.present for frame in survey.frames):
            key = getattr(args, OURS[label])
            raise UserError(
                f"no frame has the label `{label}` under the key '{key}' (--{OURS[label]}); the "
                f"frames have {', '.join(sorted(survey.keys))}. {survey.remedy(label, key)}"
            )
    labels = with_order(of_training, survey, labels)
    args.num_process = min(args.num_process, *_sizes(of_training, survey))
    _protect_outputs(args)
    plan = TrainingPlan(SmileOptions(), labels, Progress(Path(args.work_dir)))
    return Preparation(plan, survey, _summary(args, survey))


def _as_training(args: argparse.Namespace) -> argparse.Namespace:
    """The flags as those of a training that reads the same files."""
    flags = {
        "foundation_model": None,
        "foundation_model_elements": False,
        "multiheads_finetuning": False,
        "keep_isolated_atoms": False,
        "test_dir": None,
        "num_workers": 0,
        "lbfgs": False,
        "distributed": False,
        "batch_size": 1,
        "statistics_file": None,
    }
    return argparse.Namespace(**{**vars(args), **flags})


def _sizes(args: argparse.Namespace, survey: Survey) -> tuple[int, int]:
    """Numbers of structures to train and to validate on."""
    n_train, n_valid = len(survey.select(TRAIN)), len(survey.select(VALID))
    if n_valid == 0:
        n_kept = min(n_train - int(args.valid_fraction * n_train), n_train - 1)
        return n_kept, n_train - n_kept
    return n_train, n_valid


def _outputs(args: argparse.Namespace) -> list[Path]:
    """Files of an earlier run with this prefix."""
    files = [
        file
        for name in FOLDERS
        if Path(args.h5_prefix + name).is_dir()
        for file in hdf5_files(args.h5_prefix + name)
        if file.suffix in HDF5_SUFFIXES
    ]
    single = [Path(f"{args.h5_prefix}{name}.aselmdb") for name in FOLDERS]
    single.append(Path(f"{args.h5_prefix}statistics.json"))
    return files + [file for file in single if file.exists()]


def _protect_outputs(args: argparse.Namespace) -> None:
    """Refuse to mix the files of two runs: MACE reads whatever is in a folder.

    :raises UserError: when there are any and ``--overwrite`` is not given.
    """
    existing = _outputs(args)
    if existing and not args.overwrite:
        raise UserError(
            f"'{existing[0]}' of an earlier run exists; choose another --h5_prefix (a folder, with "
            "a slash at the end), or replace it with --overwrite"
        )
    for file in existing:
        file.unlink()


def _summary(args: argparse.Namespace, survey: Survey) -> tuple[str, ...]:
    """How many frames carry each label."""
    lines = []
    for label, flag in OURS.items():
        counts = {role: survey.count(role, label) for role in (TRAIN, VALID, TEST)}
        totals = {role: len(survey.select(role)) for role in counts}
        text = ", ".join(
            f"{counts[role]} of {totals[role]} frames of the {role.replace('_', ' ')}"
            for role in counts
            if totals[role]
        )
        if any(counts.values()):
            lines.append(f"Label {getattr(args, flag)} ({label}): {text}")
    return tuple(lines)


def write_databases(args: argparse.Namespace, found: Preparation, run: Callable[..., Any]) -> None:
    """Write the files.

    :param run: MACE's preparation, with the names it looks up replaced.
    :raises UserError: where a process of MACE has died.
    """
    if args.format == "hdf5":
        _write_hdf5(args, found, run)
        return
    with tempfile.TemporaryDirectory() as folder:
        hdf5 = argparse.Namespace(**{**vars(args), "h5_prefix": f"{folder}/"})
        _write_hdf5(hdf5, found, run)
        Path(f"{args.h5_prefix}train.aselmdb").parent.mkdir(parents=True, exist_ok=True)
        for name in FOLDERS[:2]:
            _write_lmdb(Path(folder) / name, Path(f"{args.h5_prefix}{name}.aselmdb"))
        if args.compute_statistics:
            shutil.move(f"{folder}/statistics.json", f"{args.h5_prefix}statistics.json")
        if args.test_file is not None:  # MACE reads test sets from HDF5 only
            shutil.move(f"{folder}/test", f"{args.h5_prefix}test")


def _write_hdf5(args: argparse.Namespace, found: Preparation, run: Callable[..., Any]) -> None:
    """Let MACE write, and see that everything is there."""
    run(args)
    written = 0
    for name in FOLDERS:
        for file in hdf5_files(args.h5_prefix + name):
            count = count_structures(file)
            written += count
            if count == 0:  # of a set with fewer structures than processes
                file.unlink()
    wanted = sum(len(found.survey.select(role)) for role in (TRAIN, VALID, TEST))
    if written != wanted:
        raise UserError(
            f"only {written} of {wanted} structures were written, because a process has died; see "
            "its message above, and try --num_process 1"
        )


def _write_lmdb(folder: Path, path: Path) -> None:
    """The structures of HDF5 files as an LMDB file."""
    with LMDBDatabase(path) as database:
        for config in read_database(str(folder), "Default"):
            # A dictionary of its own: the default one would keep the labels of earlier structures.
            database.write(as_atoms(config, lmdb_keys()), data={})
    Path(f"{path}-lock").unlink(missing_ok=True)


def with_field_first(get_dataset: Callable[..., Any], plan: TrainingPlan) -> Callable[..., Any]:
    """Born effective charges of the frames have the field index first."""

    def get_field_first(*args: Any, **named: Any) -> Any:
        frames, energies = get_dataset(*args, **named)
        if plan.labels.displacement_first_heads:
            name = quantities.BORN_EFFECTIVE_CHARGES
            tests = [config for _, of_type in frames.tests for config in of_type]
            for config in (*frames.train, *frames.valid, *tests):
                label = config.properties.get(name)
                if label is not None:
                    config.properties[name] = field_first(label, DISPLACEMENT_FIRST)
        return frames, energies

    return get_field_first


def with_forked_processes(module: Any, plan: TrainingPlan) -> Any:
    """The processes that compute statistics are forked, so that names stay replaced in them."""
    return multiprocessing.get_context("fork")
