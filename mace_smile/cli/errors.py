"""How every command ends: quietly, or with one sentence and exit code 2, never a traceback."""

import sys
from collections.abc import Callable

from mace_smile.errors import UserError
from mace_smile.memory import keep_freed_memory


def run_command(command: Callable[[], None]) -> None:
    """Run a command; what the user can mend ends in one sentence on stderr and exit code 2.

    A missing file, a directory in its place or a file that may not be read or written count
    as the user's to mend. Any other exception is a bug and keeps its traceback.

    :param command: the command, without arguments.
    """
    keep_freed_memory()
    try:
        command()
    except UserError as error:
        _fail(str(error))
    except OSError as error:
        if error.filename is None:
            raise
        _fail(f"cannot use the file '{error.filename}': {error.strerror}")


def _fail(message: str) -> None:
    """Print the sentence and leave with exit code 2."""
    sentence = " ".join(message.split())
    print(f"error: {sentence}", file=sys.stderr)
    raise SystemExit(2) from None
