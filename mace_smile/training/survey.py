"""A look at all frames before training starts, so that bad input ends in one sentence.

Every frame of the training, validation and test files is read and checked the way training
will do it. What is kept of a frame is small: its elements and the labels it carries.
"""

import argparse
import copy
import dataclasses
from dataclasses import dataclass, field
from typing import Any

import ase
import numpy as np
from mace.data import Configuration, KeySpecification, update_keyspec_from_kwargs

from mace_smile import quantities
from mace_smile.errors import UserError
from mace_smile.io.born_files import sample_frames
from mace_smile.model.given_charges import TOLERANCE
from mace_smile.model.net_charge import BackgroundEnergy
from mace_smile.structures import StructureSettings, prepare_configuration
from mace_smile.training.databases import COMMAND, is_database
from mace_smile.training.dipole_labels import is_screened, is_unscreened
from mace_smile.training.input_files import files_by_head, heads_of
from mace_smile.training.labels import (
    LabelSettings,
    add_label_keys,
    check_labels,
    complete_labels,
)
from mace_smile.training.reading import read_structures

TRAIN, VALID, TEST = "train_file", "valid_file", "test_file"

#: Number of frames with Born effective charges of a file that are held at once.
MOST_KEPT = 4000


@dataclass(frozen=True)
class Frame:
    """What is kept of one frame."""

    elements: frozenset[int]
    """Atomic numbers."""
    present: frozenset[str]
    """Labels it carries."""
    weighted: frozenset[str]
    """Labels it carries with a weight above zero (dipoles: along some axis)."""
    head: str = "Default"
    """Name of the head it trains."""
    role: str = TRAIN
    """``train_file``, ``valid_file`` or ``test_file``."""
    is_isolated: bool = False
    """Whether MACE takes it for the energy of an isolated atom and trains on the others."""
    is_periodic_dipole: bool = False
    """Whether it has a dipole label along a periodic axis, modulo the dipole quantum."""
    is_screened: bool = False
    """Whether it is a slab with a dipole label along its normal."""
    tells_scale: bool = False
    """Whether its dipole label tells how large learned charges are, whatever chi is: along an
    axis that is not screened, or of a film with a net charge."""
    has_given_charges: bool = False
    """Whether it has given charges other than zero."""
    background_energy: BackgroundEnergy | None = None
    """What a net charge costs in a periodic cell; None without one."""


@dataclass(frozen=True)
class Survey:
    """What the files hold."""

    frames: tuple[Frame, ...]
    """All frames, in the order of the files."""
    keys: frozenset[str]
    """Keys of information and columns in the training files."""
    reserved: frozenset[str]
    """Keys in the training files that ASE moves into its calculator results."""
    columns: frozenset[str] = frozenset()
    """Those of the keys that are columns of the atoms."""
    born_frames: dict[str, dict[str, list[ase.Atoms]]] = field(default_factory=dict)
    """Frames in which Born effective charges have a weight, by head and file; of many a sample."""
    databases: tuple[str, ...] = ()
    """Training files that are databases."""
    without_total_charge: frozenset[str] = frozenset()
    """HDF5 files that do not say which total charges their structures have."""

    def remedy(self, label: str, key: str) -> str:
        """What to do where a label is in no training frame under its key."""
        if self.databases:
            return (
                f"'{self.databases[0]}' is a database, which has the labels that were put into it: "
                f"write it with {COMMAND} (and the keys of the labels), which keeps ours."
            )
        for name in {key, label} & self.reserved:
            return (
                f"ASE reads a column called '{name}' as the result of a calculator, where labels "
                f"are not looked for: rename it, for example to REF_{name}."
            )
        if key in self.columns:
            return f"'{key}' is a column of the atoms there, but must be an entry of the headers."
        if key in self.keys:
            return (
                f"'{key}' is an entry of the headers there, but must be columns of the atoms: "
                f"`atoms.arrays['{key}'] = values.reshape(len(atoms), -1)` in ASE."
            )
        return "Give the key that has it, or add the label."

    def select(self, role: str) -> list[Frame]:
        """Frames of one role that are trained on or evaluated."""
        return [frame for frame in self.frames if frame.role == role and not frame.is_isolated]

    def count(self, role: str, label: str) -> int:
        """Number of frames of one role in which a label has a weight above zero."""
        return sum(label in frame.weighted for frame in self.select(role))


def key_specification(args: argparse.Namespace, head: str) -> KeySpecification:
    """Where the labels of one head are found; the keys of labels must be filled in."""
    # MACE has not yet turned the text of --embedding_specs into a dictionary.
    common = {name: value for name, value in vars(args).items() if name != "embedding_specs"}
    keys = add_label_keys(update_keyspec_from_kwargs(KeySpecification(), common), common)
    settings = heads_of(args).get(head, {})
    keys = add_label_keys(update_keyspec_from_kwargs(copy.deepcopy(keys), settings), settings)
    return keys.update(
        info_keys=settings.get("info_keys", {}), arrays_keys=settings.get("arrays_keys", {})
    )


def labels_not_asked_for(args: argparse.Namespace) -> frozenset[str]:
    """Labels that a database may hold and that no head has a key of."""
    optional = {quantities.POLARIZATION, quantities.GIVEN_CHARGES, quantities.GIVEN_MASK}
    for head in files_by_head(args):
        keys = key_specification(args, head)
        optional -= {*keys.info_keys, *keys.arrays_keys}
    return frozenset(optional)


def survey_files(args: argparse.Namespace, settings: LabelSettings) -> Survey:
    """Read and check all frames.

    :param args: with the keys of labels filled in.
    :param settings: the labels that are wanted.
    :raises UserError: for the first frame that cannot be used, naming file and frame.
    """
    frames: list[Frame] = []
    born_frames: dict[str, dict[str, list[ase.Atoms]]] = {}
    keys: set[str] = set()
    reserved: set[str] = set()
    columns: set[str] = set()
    databases: list[str] = []
    neutral: set[str] = set()
    for head, files in files_by_head(args).items():
        specification = key_specification(args, head)
        for role, paths in files.items():
            for path in paths:
                of_file: list[Frame] = []
                with_tensors: list[ase.Atoms] = []
                if role == TRAIN and is_database(path):
                    databases.append(path)
                for number, (config, atoms) in enumerate(
                    read_structures(path, head, specification)
                ):
                    place = f"{path}, frame {number} ({atoms.symbols})"
                    is_isolated = role == TRAIN and not is_database(path) and _is_isolated(atoms)
                    is_used = not is_isolated or args.keep_isolated_atoms
                    structure = settings.structure if is_used else StructureSettings()
                    frame = _check_frame(config, specification, settings, structure, place)
                    is_labelled = quantities.BORN_EFFECTIVE_CHARGES in frame.weighted
                    if settings.born_effective_charges and is_labelled:
                        with_tensors.append(atoms)
                        if len(with_tensors) > MOST_KEPT:
                            with_tensors = sample_frames(with_tensors)
                    of_file.append(
                        dataclasses.replace(frame, head=head, role=role, is_isolated=is_isolated)
                    )
                    if role == TRAIN:
                        keys |= (set(atoms.info) | set(atoms.arrays)) - {"numbers", "positions"}
                        columns |= set(atoms.arrays)
                        reserved |= set(getattr(atoms.calc, "results", {}))
                    if is_database(path) and quantities.TOTAL_CHARGE not in config.properties:
                        neutral.add(path)
                _check_usable(path, of_file, specification)
                if with_tensors:
                    born_frames.setdefault(head, {})[path] = sample_frames(with_tensors)
                frames += of_file
    return Survey(
        tuple(frames),
        frozenset(keys),
        frozenset(reserved),
        frozenset(columns),
        born_frames,
        tuple(databases),
        frozenset(neutral),
    )


def _is_isolated(atoms: ase.Atoms) -> bool:
    """MACE's own rule for frames that give the energy of an isolated atom."""
    return len(atoms) == 1 and atoms.info.get("config_type") == "IsolatedAtom"


def _check_frame(
    config: Configuration,
    keys: KeySpecification,
    settings: LabelSettings,
    structure: StructureSettings,
    place: str,
) -> Frame:
    """Do with a frame what training will do with it; an error says the place."""
    specified: dict[str, Any] = {**keys.info_keys, **keys.arrays_keys}
    try:
        check_labels(config)
        completed = complete_labels(prepare_configuration(config, structure), settings)
    except UserError as error:
        message = str(error)
        for name, key in specified.items():
            message = message.replace(f"`{name}`", f"`{name}` (key {key})")
        raise UserError(f"{place}: {message}") from error
    present = {name for name, value in config.properties.items() if value is not None}
    if quantities.POLARIZATION in present:
        present.add(quantities.DIPOLE)
    weights = completed.property_weights
    counted = np.asarray(weights.get(quantities.DIPOLE, 0.0)) > 0
    total_charge = config.properties.get(quantities.TOTAL_CHARGE)
    counted = np.broadcast_to(counted, 3)
    film_charge = _learned_net_charge(completed.properties, structure)
    return Frame(
        elements=frozenset(int(z) for z in config.atomic_numbers),
        present=frozenset(present),
        weighted=frozenset(
            name for name in present if np.any(np.asarray(weights.get(name, 1.0)) > 0)
        ),
        is_periodic_dipole=bool(np.any(completed.properties[quantities.DIPOLE_QUANTUM])),
        is_screened=is_screened(completed, structure, counted),
        tells_scale=is_unscreened(completed, structure, counted)
        or bool(counted.any() and abs(film_charge) > TOLERANCE),
        has_given_charges=bool(_given_charges(completed.properties).any()),
        background_energy=structure.net_charge.background_energy(
            total_charge, completed.cell, completed.pbc
        ),
    )


def _given_charges(properties: dict[str, Any]) -> np.ndarray:
    """Charges of the atoms where they are given, in e; empty where none are."""
    given, mask = (properties.get(n) for n in (quantities.GIVEN_CHARGES, quantities.GIVEN_MASK))
    if given is None or mask is None:
        return np.zeros(0)
    return np.asarray(given, dtype=float)[np.asarray(mask) != 0]


def _learned_net_charge(properties: dict[str, Any], structure: StructureSettings) -> float:
    """What the learned charges of a structure must add up to in e; 0 where nothing says so."""
    if not (structure.fixes_total_charge and structure.has_learned_charges):
        return 0.0
    total = float(properties.get(quantities.TOTAL_CHARGE) or 0.0)
    return total - float(_given_charges(properties).sum())


def _check_usable(path: str, frames: list[Frame], keys: KeySpecification) -> None:
    """MACE's own rule: a file must have energies, forces or dipoles (no polarizations alone)."""
    wanted = {
        quantities.ENERGY: keys.info_keys[quantities.ENERGY],
        quantities.FORCES: keys.arrays_keys[quantities.FORCES],
        quantities.DIPOLE: keys.info_keys[quantities.DIPOLE],
    }
    of_mace = [
        frame.present - ({quantities.DIPOLE} if quantities.POLARIZATION in frame.present else set())
        for frame in frames
    ]
    if not any(present & set(wanted) for present in of_mace):
        raise UserError(
            f"'{path}' has none of the labels {', '.join(wanted.values())} in any frame; give "
            "their keys with --energy_key, --forces_key and --dipole_key"
        )
