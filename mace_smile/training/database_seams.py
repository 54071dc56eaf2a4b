"""What stands in place of the names of MACE that read HDF5 and LMDB files."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import ase
from mace.data import Configuration
from torch.utils.data import ConcatDataset

from mace_smile.training.databases import lmdb_keys, sets_of_folder
from mace_smile.training.plan import TrainingPlan


def with_lmdb_keys(
    config_from_atoms: Callable[..., Configuration], plan: TrainingPlan
) -> Callable[..., Configuration]:
    """Structures of LMDB files have our labels too."""

    def config_with_labels(atoms: ase.Atoms, **_: Any) -> Configuration:
        return config_from_atoms(atoms, key_specification=lmdb_keys())

    return config_with_labels


def with_test_sets(
    get_files_with_suffix: Callable[..., list[str]], plan: TrainingPlan
) -> Callable[..., list[str]]:
    """All test sets in a folder are found, whatever the names of their files.

    MACE looks for a suffix that its own preparation does not write. The names of files are those
    of the sets; :func:`with_joined_files` reads a set of several files.
    """

    def get_test_sets(folder: str, suffix: str) -> list[str]:
        return [str(Path(folder) / f"{name}.h5") for name in sets_of_folder(folder)]

    return get_test_sets


def with_joined_files(dataset: Callable[..., Any], plan: TrainingPlan) -> Callable[..., Any]:
    """A test set may consist of several HDF5 files."""

    def read_one_or_several(file_path: str, *args: Any, **named: Any) -> Any:
        path = Path(file_path)
        if path.exists():
            return dataset(file_path, *args, **named)
        files = sets_of_folder(str(path.parent))[path.stem]
        return ConcatDataset([dataset(str(file), *args, **named) for file in files])

    return read_one_or_several
