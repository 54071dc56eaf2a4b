"""The log of a command: standard output and a file, as MACE's training script has them."""

import argparse
import contextlib
import logging
from collections.abc import Iterator
from pathlib import Path

from mace.tools import setup_logger


def log_directory(args: argparse.Namespace) -> Path:
    """Where logs go, before MACE has filled in its defaults."""
    return Path(args.log_dir or Path(args.work_dir) / "logs")


@contextlib.contextmanager
def without_handlers() -> Iterator[None]:
    """Take all handlers off the root logger, and put them back afterwards.

    Handlers and filters that others add within the block are closed and removed.
    """
    root = logging.getLogger()
    handlers, filters, level = list(root.handlers), list(root.filters), root.level
    root.handlers = []
    try:
        yield
    finally:
        for handler in root.handlers:
            handler.close()
        root.handlers, root.filters[:] = handlers, filters
        root.setLevel(level)


@contextlib.contextmanager
def logging_of(args: argparse.Namespace, tag: str) -> Iterator[None]:
    """Log to standard output and ``TAG.log`` until the end of the block.

    :param args: with ``log_level`` and the directories.
    """
    with without_handlers():
        setup_logger(args.log_level, tag, str(log_directory(args)))
        yield
