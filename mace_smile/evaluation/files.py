"""From a file of structures and a model to a file with outputs and a table of errors."""

import argparse
import os
import sys
from pathlib import Path

import ase.io
import torch
from mace.data import KeySpecification

from mace_smile import quantities
from mace_smile.errors import UserError
from mace_smile.evaluation.error_table import ErrorTable
from mace_smile.evaluation.evaluator import ModelEvaluator, annotate
from mace_smile.model.files import load_model


def check_output(path: Path, overwrite: bool) -> None:
    """Refuse an output that exists, or whose folder does not.

    :raises UserError: with the remedy.
    """
    if path.exists() and not overwrite:
        raise UserError(f"'{path}' exists; give another name, or --overwrite to replace it")
    if not path.parent.is_dir():
        raise UserError(f"there is no folder '{path.parent}' to write '{path.name}' into")


def label_keys(args: argparse.Namespace) -> KeySpecification:
    """Where the labels are, from the ``--..._key`` flags."""
    return KeySpecification(
        info_keys={
            quantities.ENERGY: args.energy_key,
            quantities.STRESS: args.stress_key,
            quantities.DIPOLE: args.dipole_key,
        },
        arrays_keys={
            quantities.FORCES: args.forces_key,
            quantities.CHARGES: args.charges_key,
            quantities.BORN_EFFECTIVE_CHARGES: args.becs_key,
        },
    )


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
    if args.batch_size < 1:
        raise UserError(f"`--batch_size` is {args.batch_size} but must be at least 1")
    if not Path(args.configs).is_file():
        raise UserError(f"there is no file '{args.configs}'")
    if args.device.startswith("cuda") and not torch.cuda.is_available():
        raise UserError("`--device cuda` was given but no CUDA device is available; use cpu")
    dtype = None if args.default_dtype is None else getattr(torch, args.default_dtype)
    model = load_model(args.model, args.device, dtype)
    evaluator = ModelEvaluator(model, label_keys(args), args.head)
    try:
        frames = ase.io.read(args.configs, ":")
    except Exception as error:  # ASE's readers raise anything
        raise UserError(f"'{args.configs}' cannot be read as structures: {error}") from error
    if not frames:
        raise UserError(f"'{args.configs}' holds no structures")

    table = ErrorTable()
    temporary = output.with_name(f".{output.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("w") as stream:
            results = evaluator.outputs(frames, args.batch_size, progress=sys.stderr.isatty())
            for atoms, (data, outputs) in zip(frames, results, strict=True):
                table.add(data, outputs, atoms)
                ase.io.write(stream, annotate(atoms, outputs, args.info_prefix), format="extxyz")
        os.replace(temporary, output)
    finally:
        temporary.unlink(missing_ok=True)
    if table.rows:
        print(table)
    print(f"{len(frames)} structures written to {output}")
