"""HDF5 and LMDB files of structures: which paths are such files, and what they hold.

HDF5 files hold MACE's configurations, with labels under our names of them, whatever their keys
were in the files they were prepared from. LMDB files hold ASE structures with labels under fixed
keys: MACE's own, and our defaults.
"""

import contextlib
import dataclasses
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ase
import numpy as np
from ase.data import chemical_symbols
from mace.data import Configuration, HDF5Dataset, KeySpecification, config_from_atoms
from mace.tools.fairchem_dataset import AseDBDataset

from mace_smile import quantities
from mace_smile.errors import UserError

HDF5_SUFFIXES = (".h5", ".hdf5")
LMDB_SUFFIXES = (".lmdb", ".aselmdb")
#: Name of the command that writes both.
COMMAND = "mace_smile_prepare_data"
#: Labels that are columns of the atoms, with their keys in LMDB files.
LMDB_ARRAYS = {
    quantities.FORCES: quantities.BY_NAME[quantities.FORCES].key,
    quantities.CHARGES: quantities.BY_NAME[quantities.CHARGES].key,
    quantities.BORN_EFFECTIVE_CHARGES: quantities.BY_NAME[quantities.BORN_EFFECTIVE_CHARGES].key,
    quantities.GIVEN_CHARGES: "REF_given_charges",
    quantities.GIVEN_MASK: "REF_given_mask",
}
#: Labels of structures that MACE has no key for, or another one.
LMDB_INFO = {
    quantities.DIPOLE: quantities.BY_NAME[quantities.MACRO_DIPOLE].key,
    quantities.POLARIZABILITY: quantities.BY_NAME[quantities.POLARIZABILITY].key,
    quantities.POLARIZATION: "REF_polarization",
}
#: Reads each page of an LMDB file.
_READ_LMDB = """
import sys, zlib, lmdb
with lmdb.open(sys.argv[1], subdir=False, readonly=True, lock=False) as file:
    with file.begin(buffers=True) as content:
        for key, value in content.cursor():
            zlib.crc32(value)
"""


def lmdb_keys() -> KeySpecification:
    """Where labels are in the structures of LMDB files."""
    return KeySpecification.from_defaults().update(info_keys=LMDB_INFO, arrays_keys=LMDB_ARRAYS)


def is_hdf5(path: str) -> bool:
    """Whether MACE reads a path as an HDF5 file, or as a folder of them."""
    return is_database(path) and not is_lmdb(path)


def is_lmdb(path: str) -> bool:
    """Whether MACE reads a path as an LMDB file, or as a folder of them."""
    folder = Path(path)
    if folder.is_dir():
        inside = any(one.suffix in LMDB_SUFFIXES for one in folder.iterdir())
        return inside or folder.name.endswith("_lmdb")
    return folder.suffix in LMDB_SUFFIXES


def is_database(path: str) -> bool:
    """Whether MACE reads a path as a database and not with ASE."""
    return Path(path).is_dir() or Path(path).suffix in HDF5_SUFFIXES + LMDB_SUFFIXES


def check_database(path: str, place: str) -> None:
    """Refuse a path that is no database, or a folder with other files in it.

    :param path: for which :func:`is_database` holds.
    :param place: what it was given for, for messages.
    :raises UserError: saying what is wanted.
    """
    for one in path.split(":") if is_lmdb(path) else [path]:  # MACE's list of LMDB files
        if not Path(one).exists():
            raise UserError(f"{place}: '{one}' does not exist")
    if not Path(path).is_dir():
        return
    suffixes = LMDB_SUFFIXES if is_lmdb(path) else HDF5_SUFFIXES
    files = [one for one in sorted(Path(path).iterdir()) if not one.name.endswith("-lock")]
    others = [one.name for one in files if one.suffix not in suffixes]
    if not files or others:
        found = f"holds {', '.join(others[:3])}" if others else "is empty"
        raise UserError(
            f"{place}: the folder '{path}' {found}, but a folder must hold HDF5 files (.h5, .hdf5) "
            f"or LMDB files (.lmdb, .aselmdb) alone, as {COMMAND} writes them"
        )


def read_database(path: str, head: str) -> Iterator[Configuration]:
    """The structures of a database, one after the other.

    :param path: that passed :func:`check_database`.
    :param head: name of the head they train.
    :raises UserError: for files that cannot be read.
    """
    read = _read_lmdb if is_lmdb(path) else _read_hdf5
    try:
        for config in read(path):
            _check_atoms(config)
            yield from_database(config, head)
    except UserError:
        raise
    except Exception as error:  # h5py, lmdb and ASE raise many kinds for broken files
        raise UserError(
            f"'{path}' cannot be read as a database ({type(error).__name__}: {error}); write it "
            f"with {COMMAND}"
        ) from error


def _check_atoms(config: Configuration) -> None:
    """Numbers and positions must be those of atoms.

    :raises ValueError: when they are not.
    """
    numbers, positions = np.asarray(config.atomic_numbers), np.asarray(config.positions)
    if positions.shape != (len(numbers), 3):
        raise ValueError(f"{len(numbers)} atoms have positions of shape {positions.shape}")
    if not np.isin(numbers, range(1, len(chemical_symbols))).all():
        raise ValueError(f"the atomic numbers {sorted(set(numbers.tolist()))} are not elements")


def hdf5_files(path: str) -> list[Path]:
    """The file, or the files of a folder in the order of their numbers."""
    if not Path(path).is_dir():
        return [Path(path)]
    return sorted(Path(path).iterdir(), key=lambda file: (len(file.name), file.name))


def count_structures(file: Path) -> int:
    """Number of structures in an HDF5 file."""
    dataset = HDF5Dataset(str(file), r_max=0.0, z_table=None)
    with contextlib.closing(dataset.file):
        return len(dataset)


class _AsStored:
    """In place of MACE's class of graphs: the configuration itself."""

    @staticmethod
    def from_config(config: Configuration, **_: Any) -> Configuration:
        """The configuration as it is."""
        return config


def _read_hdf5(path: str) -> Iterator[Configuration]:
    """Configurations of HDF5 files, read by MACE."""
    for file in hdf5_files(path):
        dataset = HDF5Dataset(str(file), r_max=0.0, z_table=None, atomic_dataclass=_AsStored)
        with contextlib.closing(dataset.file):
            yield from (dataset[number] for number in range(len(dataset)))


def _check_lmdb(file: Path) -> None:
    """Read an LMDB file in another process.

    LMDB maps a file into memory and trusts it: one that is cut off or damaged ends the process
    that reads it, without an exception.

    :raises ValueError: when it cannot be read.
    """
    command = [sys.executable, "-c", _READ_LMDB, str(file)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    if ended.returncode != 0:
        reason = ended.stderr.strip().splitlines()[-1:] if ended.returncode > 0 else []
        raise ValueError(f"{file.name} is cut off or damaged" + "".join(f": {r}" for r in reason))


def _read_lmdb(path: str) -> Iterator[Configuration]:
    """Configurations of LMDB files, as MACE's data set makes them."""
    for one in map(Path, path.split(":")):
        for file in sorted(one.iterdir()) if one.is_dir() else [one]:
            if file.suffix in LMDB_SUFFIXES:
                _check_lmdb(file)
    dataset = AseDBDataset(config={"src": path.split(":")})
    defaults = KeySpecification.from_defaults()
    for number in dataset.ids:
        atoms = dataset.get_atoms(number)
        results = getattr(atoms.calc, "results", {})
        for name in (quantities.ENERGY, quantities.STRESS):
            if name in results:
                atoms.info[defaults.info_keys[name]] = results[name]
        if quantities.FORCES in results:
            atoms.arrays[defaults.arrays_keys[quantities.FORCES]] = results[quantities.FORCES]
        yield config_from_atoms(atoms, key_specification=lmdb_keys())


def from_database(config: Configuration, head: str | None) -> Configuration:
    """A configuration of a database as one from extended XYZ would be.

    MACE leaves ``pbc`` an array, and does not say which head the structures of an HDF5 file train.

    :param head: the head they train; None where the configuration says it.
    """
    pbc = None if config.pbc is None else tuple(bool(flag) for flag in np.asarray(config.pbc))
    return dataclasses.replace(config, pbc=pbc, head=config.head if head is None else head)


def as_atoms(config: Configuration, keys: KeySpecification) -> ase.Atoms:
    """The structure of a configuration with its labels under some keys.

    :param keys: of the labels that are wanted; others are left out.
    """
    atoms = ase.Atoms(
        numbers=config.atomic_numbers, positions=config.positions, cell=config.cell, pbc=config.pbc
    )
    atoms.info["config_type"] = config.config_type
    atoms.info["config_weight"] = float(config.weight)
    for name, key in keys.info_keys.items():
        if config.properties.get(name) is not None:
            atoms.info[key] = config.properties[name]
    for name, key in keys.arrays_keys.items():
        if config.properties.get(name) is not None:
            atoms.arrays[key] = np.asarray(config.properties[name])
    for name, weight in config.property_weights.items():
        if config.properties.get(name) is not None:
            weights = np.asarray(weight, dtype=float).tolist()
            atoms.info[f"config_{name}_weight"] = weights
    return atoms


def sets_of_folder(folder: str) -> dict[str, list[Path]]:
    """HDF5 files of the test sets in the folder of `--test_dir`.

    As MACE has it, files called ``NAME_test.h5`` if there are any. Else what is there: files
    ``NAME_0.h5``, ``NAME_1.h5``, ... of one set together, and folders of files.

    :param folder: that exists.
    :return: name of the set to its files.
    """
    files = sorted(file for file in Path(folder).iterdir() if file.suffix in HDF5_SUFFIXES)
    named = [file for file in files if file.name.endswith("_test.h5")]
    if named:
        return {file.stem: [file] for file in named}
    sets: dict[str, list[Path]] = {}
    for file in files:
        stem, _, number = file.stem.rpartition("_")
        sets.setdefault(stem if number.isdigit() and stem else file.stem, []).append(file)
    for inner in sorted(one for one in Path(folder).iterdir() if one.is_dir()):
        sets[inner.name] = hdf5_files(str(inner))
    return sets
