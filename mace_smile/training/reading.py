"""Structures of a file of any kind: extended XYZ and what else ASE reads, HDF5, LMDB."""

from collections.abc import Hashable, Iterator
from typing import Any

import ase
import ase.io
from mace.data import Configuration, KeySpecification, config_from_atoms

from mace_smile import quantities
from mace_smile.errors import UserError
from mace_smile.training.databases import as_atoms, is_database, read_database
from mace_smile.training.labels import check_config_weight, without_labels

#: Labels that MACE takes out of ASE's calculator results when their key is this very name.
RESERVED = (quantities.ENERGY, quantities.FORCES, quantities.STRESS)


def read_structures(
    path: str, head: str, keys: KeySpecification
) -> Iterator[tuple[Configuration, ase.Atoms]]:
    """The structures of a file, for the batch and for ASE.

    :param head: the head they train.
    :param keys: where their labels are, in extended XYZ files.
    :raises UserError: for files that cannot be read, or hold no structures.
    """
    number = -1
    if is_database(path):
        wanted = {*keys.info_keys, *keys.arrays_keys}
        for number, config in enumerate(read_database(path, head)):
            _check_group(f"{path}, frame {number}", config.config_type, config.weight)
            config = without_labels(config, set(config.properties) - wanted)
            yield config, as_atoms(config, keys)
    else:
        for number, atoms in enumerate(_read(path)):
            info = atoms.info
            _check_group(
                f"{path}, frame {number}", info.get("config_type"), info.get("config_weight", 1.0)
            )
            yield _configuration(atoms, keys), atoms
    if number < 0:
        raise UserError(f"'{path}' holds no structures")


def _check_group(place: str, config_type: Any, weight: Any) -> None:
    """Check what MACE weighs a structure by.

    :raises UserError: with the place.
    """
    if not isinstance(config_type, Hashable):
        raise UserError(f"{place}: config_type is {list(config_type)} but must be one word")
    try:
        check_config_weight(weight)
    except UserError as error:
        raise UserError(f"{place}: {error}") from error


def _read(path: str) -> list[ase.Atoms]:
    """All frames of a file."""
    try:
        frames = list(ase.io.iread(path, index=":"))
    except Exception as error:  # ASE raises many kinds of exceptions for broken files
        raise UserError(
            f"'{path}' cannot be read as structures ({type(error).__name__}: {error}); give an "
            "extended XYZ file"
        ) from error
    return frames


def _configuration(atoms: ase.Atoms, keys: KeySpecification) -> Configuration:
    """MACE's configuration of a frame, with the labels it takes out of ASE's results."""
    config = config_from_atoms(atoms, key_specification=keys)
    specified = {**keys.info_keys, **keys.arrays_keys}
    results = getattr(atoms.calc, "results", {})
    for name in RESERVED:
        if specified[name] == name and name in results:
            config.properties[name] = results[name]
            config.property_weights[name] = 1.0
    return config
