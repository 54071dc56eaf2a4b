"""From a model and a file of structures to a verdict: ``mace_smile_selftest``."""

import argparse
import sys
from dataclasses import asdict
from pathlib import Path

import torch

from mace_smile.errors import UserError
from mace_smile.evaluation.files import check_output
from mace_smile.io.structure_files import read_structures
from mace_smile.model.files import load_model
from mace_smile.selftest.arguments import settings_of
from mace_smile.selftest.checks import CHECKS, run_checks
from mace_smile.selftest.report import has_failed, summary_of, table_of, write_json
from mace_smile.selftest.subject import Subject


def chosen_checks(names: list[str] | None) -> list[str]:
    """The checks to run, in their order.

    :raises UserError: for names that are none.
    """
    unknown = sorted(set(names or ()) - set(CHECKS))
    if unknown:
        raise UserError(f"--checks has {', '.join(unknown)} but knows {', '.join(CHECKS)}")
    return [name for name in CHECKS if names is None or name in names]


def selftest(args: argparse.Namespace) -> bool:
    """Run the checks, print their table, and write it where that is asked for.

    :param args: the flags of the command.
    :return: whether nothing failed.
    :raises UserError: for flags, files, structures and models that cannot be used.
    """
    names, settings = chosen_checks(args.checks), settings_of(args)
    if args.json is not None:
        check_output(Path(args.json), args.overwrite)
    frames = read_structures(args.configs, index=args.index)
    for atoms in frames:
        atoms.set_constraint()
        atoms.calc = None
    dtype = None if args.default_dtype is None else getattr(torch, args.default_dtype)
    subject = Subject(load_model(args.model, args.device, dtype, args.trust))
    findings = run_checks(subject, frames, settings, names, sys.stderr.isatty())
    precision = str(subject.dtype).removeprefix("torch.")
    facts = {
        "model": args.model,
        "configs": args.configs,
        "precision": precision,
        "settings": asdict(settings),
    }
    if args.json is not None:
        write_json(args.json, findings, facts)
    print(f"{args.model} in {precision} on {len(frames)} structures of {args.configs}")
    print(table_of(findings))
    print(summary_of(findings))
    return not has_failed(findings)
