"""MACE's parsers with our flags, apart from the bridge: `--help` need not load the training.

Models, sums and MACE's training script take a second to import; flags need none of them.
"""

import argparse
import difflib
import re
from typing import Any, NoReturn

from mace.tools.arg_parser import build_default_arg_parser, build_preprocess_arg_parser

from mace_smile.errors import UserError
from mace_smile.training.arguments import add_arguments
from mace_smile.training.preparation_arguments import add_preparation_arguments


def build_parser() -> argparse.ArgumentParser:
    """MACE's parser, which also reads YAML files (`--config`), with our flags added.

    Its errors are :class:`~mace_smile.errors.UserError` instead of the usage of 200 flags.
    """
    parser: argparse.ArgumentParser = build_default_arg_parser()
    add_arguments(parser)
    return _with_sentences(parser)


def build_preparation_parser() -> argparse.ArgumentParser:
    """The parser of MACE's preparation of data, with the flags of our labels added."""
    parser: argparse.ArgumentParser = build_preprocess_arg_parser()
    add_preparation_arguments(parser)
    return _with_sentences(parser)


def _with_sentences(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    """The parser, whose errors are one sentence that names what may have been meant."""

    def refuse(message: str) -> NoReturn:
        if not message.startswith("unrecognized arguments"):
            raise UserError(message)
        known = [text for action in parser._actions for text in action.option_strings]
        unknown = re.findall(r"--\w+", message)
        close = [name for flag in unknown for name in difflib.get_close_matches(flag, known, 2)]
        hint = f"; did you mean {' or '.join(close)}?" if close else ""
        raise UserError(f"{message} (on the command line or in the file of --config){hint}")

    parser.error = refuse  # type: ignore[method-assign]
    _refuse_strange_keys(parser)
    return parser


def _refuse_strange_keys(parser: Any) -> None:
    """Let the parser refuse keys of YAML files that are no text, in place.

    :param parser: of configargparse, or of argparse, which reads no files.
    """
    reader = getattr(parser, "_config_file_parser", None)
    if reader is None:
        return
    read = reader.parse

    def parse(stream: Any) -> Any:
        items = read(stream)
        strange = [key for key in items if not isinstance(key, str)]
        if strange:
            raise UserError(
                f"the file of --config has the key {strange[0]!r} but keys must be names of flags"
            )
        return items

    reader.parse = parse
