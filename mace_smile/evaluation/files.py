"""From a file of structures and a model to a file with outputs and a table of errors."""

import argparse
import logging
import sys
from pathlib import Path

import ase
import ase.io
import torch
from mace.data import KeySpecification

from mace_smile import quantities
from mace_smile.atomic_write import complete_or_absent
from mace_smile.errors import UserError
from mace_smile.evaluation.error_table import ErrorTable
from mace_smile.evaluation.evaluator import ModelEvaluator, annotate
from mace_smile.evaluation.screening_table import ScreeningTable
from mace_smile.io.born_files import counts, order_of_frames, put_field_first
from mace_smile.io.born_order import FIELD_FIRST
from mace_smile.io.structure_files import read_structures
from mace_smile.model.files import load_model

logger = logging.getLogger(__name__)


def check_output(path: Path, overwrite: bool) -> None:
    """Refuse an output that exists, that is a folder, or whose folder does not exist.

    :raises UserError: with the remedy.
    """
    if path.is_dir():
        raise UserError(f"the output '{path}' is a folder; give the name of a file in it")
    if path.exists() and not overwrite:
        raise UserError(f"'{path}' exists; give another name, or --overwrite to replace it")
    if not path.parent.is_dir():
        raise UserError(f"there is no folder '{path.parent}' to write '{path.name}' into")


#: Labels and the flags that name their keys, of structures and of atoms.
INFO_LABELS = {
    quantities.ENERGY: "energy",
    quantities.STRESS: "stress",
    quantities.DIPOLE: "dipole",
    quantities.POLARIZATION: "polarization",
    quantities.POLARIZABILITY: "polarizability",
}
ARRAY_LABELS = {
    quantities.FORCES: "forces",
    quantities.CHARGES: "charges",
    quantities.BORN_EFFECTIVE_CHARGES: "becs",
}


def label_keys(args: argparse.Namespace, frames: list[ase.Atoms]) -> KeySpecification:
    """Where the labels are, from the ``--..._key`` flags; ``REF_...`` where none is given.

    :raises UserError: for a key that was given and is in no frame.
    """
    found = {key for atoms in frames for key in (*atoms.info, *atoms.arrays)}
    for flag in (*INFO_LABELS.values(), *ARRAY_LABELS.values()):
        key = getattr(args, f"{flag}_key")
        if key is not None and key not in found:
            raise UserError(
                f"no frame has the key '{key}' (--{flag}_key); the frames have "
                f"{', '.join(sorted(found))}"
            )

    if args.polarization_key is not None and args.dipole_quantum == 0:
        raise UserError(
            "--polarization_key has no effect without --dipole_quantum 1 (or 2, where all "
            "electrons are paired): a polarization is defined only modulo a quantum"
        )

    def keys(labels: dict[str, str]) -> dict[str, str]:
        return {
            name: getattr(args, f"{flag}_key") or f"REF_{flag}" for name, flag in labels.items()
        }

    specification = KeySpecification(info_keys=keys(INFO_LABELS), arrays_keys=keys(ARRAY_LABELS))
    if args.polarization_key is None:
        del specification.info_keys[quantities.POLARIZATION]
    return specification


def put_labels_field_first(
    args: argparse.Namespace, frames: list[ase.Atoms], keys: KeySpecification
) -> None:
    """Put the labels of Born effective charges into the order of the outputs, in place.

    :param args: with ``becs_order`` and the name of the file.
    :param keys: of the labels.
    :raises UserError: for labels of a wrong shape, an order that contradicts the data, and one
        that is given although there are no labels.
    """
    key = keys.arrays_keys[quantities.BORN_EFFECTIVE_CHARGES]
    if not any(counts(atoms, key) for atoms in frames):
        if args.becs_order is not None:
            raise UserError(
                f"--becs_order {args.becs_order} has no effect here: no frame has Born effective "
                f"charges under the key '{key}' that count; give their key as --becs_key"
            )
        return
    order = args.becs_order or FIELD_FIRST
    dipole_key = keys.info_keys[quantities.DIPOLE]
    order = order_of_frames({args.configs: frames}, order, key, dipole_key)
    put_field_first(frames, key, order)


def evaluate_file(args: argparse.Namespace) -> None:
    """Evaluate the frames of ``args.configs`` and write them to ``args.output``.

    The output is written beside its place and moved there when it is complete. The table of
    errors goes to standard output.

    :param args: the flags of ``mace_smile_eval_configs``.
    :raises UserError: for files that cannot be read or must not be replaced, and what the
        model refuses.
    """
    output = Path(args.output)
    check_output(output, args.overwrite)
    for name in ("model", "configs"):
        if Path(getattr(args, name)).resolve() == output.resolve():
            raise UserError(f"the output '{output}' is the input `--{name}`; choose another name")
    if args.batch_size < 1:
        raise UserError(f"`--batch_size` is {args.batch_size} but must be at least 1")
    frames = read_structures(args.configs)
    if not frames:
        raise UserError(f"'{args.configs}' holds no structures")
    dtype = None if args.default_dtype is None else getattr(torch, args.default_dtype)
    model = load_model(args.model, args.device, dtype, args.trust)

    keys = label_keys(args, frames)
    if model.options.has_born_charges:
        put_labels_field_first(args, frames, keys)
    evaluator = ModelEvaluator(model, keys, args.head, args.dipole_axes, args.dipole_quantum)
    key = model.options.given_charges_key
    if key is not None and not any(key in atoms.arrays for atoms in frames):
        logger.warning(
            "the model was trained with given charges '%s', which no frame has: all charges are "
            "predicted",
            key,
        )
    table, screening = ErrorTable(), ScreeningTable()
    with complete_or_absent(output) as unfinished, unfinished.open("w") as stream:
        results = evaluator.outputs(frames, args.batch_size, progress=sys.stderr.isatty())
        for atoms, (data, outputs) in zip(frames, results, strict=True):
            table.add(data, outputs, atoms)
            screening.add(outputs, atoms)
            ase.io.write(stream, annotate(atoms, outputs, args.info_prefix), format="extxyz")
    if table.rows:
        print(table)
    if model.options.has_local_screening:
        print(screening)
    print(f"{len(frames)} structures written to {output}")
