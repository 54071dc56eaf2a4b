"""Files that are complete whenever they exist under their name."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

#: How the names of unfinished files begin.
UNFINISHED = ".incomplete."


@contextmanager
def complete_or_absent(path: str | Path) -> Iterator[Path]:
    """A name to write under, in the same folder; the file gets its own name in the end.

    It replaces a file of that name. When the block fails, nothing is left and nothing is
    replaced; when the process is killed, a hidden file may be left that the next call overwrites.

    :param path: of the file that is wanted; its folder must exist.
    :return: path with the same extension.
    """
    path = Path(path)
    temporary = path.with_name(f"{UNFINISHED}{path.name}")
    try:
        yield temporary
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
