"""Files of the training and of each head: which they are, and what must be given with them."""

import argparse
import multiprocessing
from pathlib import Path
from typing import Any

from mace_smile.errors import UserError
from mace_smile.training.databases import (
    check_database,
    is_database,
    is_lmdb,
    sets_of_folder,
)
from mace_smile.training.literals import read_literal
from mace_smile.training.statistics_files import check_statistics

#: Replay data that MACE downloads by itself.
DOWNLOADED = ("mp", "omat", "matpes_pbe", "matpes_r2scan")
#: Foundation models that MACE replays the frames of without being asked.
REPLAYED = ("small", "medium", "large")
FILES = ("train_file", "valid_file", "test_file")


def files_by_head(args: argparse.Namespace) -> dict[str, dict[str, list[str]]]:
    """Training, validation and test files of each head.

    :return: head name to role (``train_file``, ``valid_file``, ``test_file``) to paths. Replay
        data that MACE downloads itself is not among them.
    :raises UserError: when a head has no training file.
    """
    heads = heads_of(args) or {"Default": {}}
    files: dict[str, dict[str, list[str]]] = {}
    for head, settings in heads.items():
        files[head] = {}
        for role in FILES:
            # MACE takes the test file of a head from its own dictionary only.
            common = None if heads_of(args) and role == "test_file" else getattr(args, role)
            paths = settings.get(role, common)
            if not paths and role == "train_file":
                raise UserError(f"head '{head}' has no training file; use --train_file")
            files[head][role] = [paths] if isinstance(paths, str) else list(paths or [])
        folder = head_setting(args, head, "test_dir")
        if folder is not None and Path(folder).is_dir():
            files[head]["test_file"] += [
                str(f) for of_set in sets_of_folder(folder).values() for f in of_set
            ]
    if args.foundation_model is not None and args.multiheads_finetuning and args.pt_train_file:
        replay = {"train_file": args.pt_train_file, "valid_file": args.pt_valid_file}
        files["pt_head"] = {
            role: [path] for role, path in replay.items() if path and path not in DOWNLOADED
        }
    return files


def replays(args: argparse.Namespace) -> bool:
    """Whether frames of the foundation model's own training are among those of the run."""
    is_wanted = args.foundation_model is not None and args.multiheads_finetuning
    return is_wanted and (args.pt_train_file is not None or args.foundation_model in REPLAYED)


def heads_of(args: argparse.Namespace) -> dict[str, dict[str, Any]]:
    """The dictionary of `--heads`; empty when there is none.

    :raises UserError: when its text is no dictionary of dictionaries.
    """
    if args.heads is None:
        return {}
    try:
        heads = read_literal(args.heads) if isinstance(args.heads, str) else args.heads
    except ValueError as error:
        raise UserError(f"--heads cannot be read as a dictionary: {error}") from error
    if not isinstance(heads, dict) or not all(isinstance(head, dict) for head in heads.values()):
        raise UserError("--heads must be a dictionary from the name of a head to its settings")
    return heads


def head_setting(args: argparse.Namespace, head: str, name: str) -> Any:
    """A setting of a head: its own, or the one of the command line.

    Test sets of a head are those of its own dictionary only, as in MACE.
    """
    heads = heads_of(args)
    common = None if heads and name.startswith("test_") else getattr(args, name)
    return heads.get(head, {}).get(name, common)


def check_files(args: argparse.Namespace) -> None:
    """Refuse files that are missing, and databases that MACE would stop at or skip.

    :raises UserError: naming the file and the remedy.
    """
    for head, files in files_by_head(args).items():
        for role, paths in files.items():
            for path in paths:
                place = f"{role} of head '{head}'"
                if is_database(path):
                    check_database(path, place)
                elif not Path(path).is_file():
                    raise UserError(f"{role} '{path}' of head '{head}' does not exist")
        if head != "pt_head":
            _check_test_sets(args, head, files)
            statistics = head_setting(args, head, "statistics_file")
            if statistics is not None:
                # A foundation model brings its own cutoff.
                check_statistics(statistics, args.r_max if args.foundation_model is None else None)
        if any(is_database(path) for path in files["train_file"]):
            _check_training_database(args, head, files)


def _check_test_sets(args: argparse.Namespace, head: str, files: dict[str, list[str]]) -> None:
    """Test sets are where MACE looks for them."""
    folder = head_setting(args, head, "test_dir")
    given = head_setting(args, head, "test_file") or []
    for path in [given] if isinstance(given, str) else given:
        if is_database(path):
            raise UserError(
                f"--test_file '{path}' is a database, which MACE does not read as a test set; give "
                "the folder of HDF5 files as --test_dir"
            )
        if any(is_database(one) for one in files["train_file"]):
            raise UserError(
                f"--test_file '{path}' would not be read, because the training files of head "
                f"'{head}' are databases; give a folder of HDF5 files as --test_dir"
            )
    if folder is None:
        return
    if not Path(folder).is_dir() or not sets_of_folder(folder):
        raise UserError(
            f"--test_dir '{folder}' of head '{head}' is no folder with HDF5 files (.h5, .hdf5)"
        )


def _check_training_database(
    args: argparse.Namespace, head: str, files: dict[str, list[str]]
) -> None:
    """What MACE finds out from extended XYZ must be given with a database."""
    path = next(one for one in files["train_file"] if is_database(one))
    if not files["valid_file"]:
        raise UserError(
            f"train_file '{path}' of head '{head}' is a database, of which MACE sets nothing aside "
            "for validation; give --valid_file"
        )
    statistics = head_setting(args, head, "statistics_file")
    if statistics is None and head != "pt_head":
        if head_setting(args, head, "atomic_numbers") is None:
            raise UserError(
                f"train_file '{path}' of head '{head}' is a database, whose elements MACE must be "
                "told: give --statistics_file of its preparation, or --atomic_numbers such as "
                "[1, 8]"
            )
        energies = head_setting(args, head, "E0s")
        if energies is None or str(energies).lower() in ("average", "estimated"):
            raise UserError(
                f"train_file '{path}' of head '{head}' is a database, to which no energies of "
                "isolated atoms are fitted: give --statistics_file of its preparation, or --E0s as "
                "a dictionary"
            )
    starts = multiprocessing.get_start_method()
    if args.num_workers > 0 and starts != "fork":
        kind = "LMDB" if is_lmdb(path) else "HDF5"
        raise UserError(
            f"--num_workers {args.num_workers} with {kind} files needs processes that are forked, "
            f"but here they start by '{starts}'; use --num_workers 0"
        )
