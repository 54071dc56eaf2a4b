"""Text files for other codes, written complete or not at all."""

from pathlib import Path

from mace_smile.atomic_write import complete_or_absent
from mace_smile.errors import UserError


def write_text(path: str | Path, text: str, overwrite: bool = False) -> None:
    """Write a file, complete or not at all.

    :raises UserError: for a file that exists and may not be replaced.
    """
    path = Path(path)
    if path.exists() and not overwrite:
        raise UserError(f"'{path}' exists; give another name, or --overwrite to replace it")
    with complete_or_absent(path) as unfinished:
        unfinished.write_text(text)
