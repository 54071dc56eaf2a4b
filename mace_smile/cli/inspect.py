"""``mace_smile_inspect``: what a ``.pt`` or ``.model`` file says about itself."""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

from mace_smile.cli.errors import run_command
from metatensor_models.exported_file import open_exported
from metatensor_models.inspection import report_exported
from metatensor_models.inspection_text import report_text


def build_parser() -> argparse.ArgumentParser:
    """Parser of ``mace_smile_inspect``."""
    parser = argparse.ArgumentParser(
        prog="mace_smile_inspect",
        description="Print what a model file says about itself: outputs with units, fields and how "
        "each engine selects them, settings, labels of the training, references.",
    )
    parser.add_argument("file", help=".pt of mace_smile_export, or .model of mace_smile_run_train")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument(
        "--trust", action="store_true", help="run whatever code the .model file holds"
    )
    return parser


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the report of a file.

    :param arguments: of the command line; None takes them from the process.
    """
    parsed: argparse.Namespace = build_parser().parse_args(arguments)
    run_command(lambda: print_report(parsed.file, parsed.json, parsed.trust))


def print_report(file: str, as_json: bool, trust: bool = False) -> None:
    """Print the report of a file, as text or JSON."""
    if Path(file).suffix == ".model":
        from metatensor_models.model_inspection import report_model  # it needs MACE

        report = report_model(file, trust)
    else:
        report = report_exported(open_exported(file))
    print(json.dumps(report, indent=1) if as_json else report_text(report))


if __name__ == "__main__":
    main()
