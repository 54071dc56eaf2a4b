"""Results of a scan as they come: one line for each susceptibility and fold.

A command that is repeated after an interruption finds what was finished. The first line holds a
hash of settings and data; under another hash the file is begun anew.
"""

import json
import logging
import os
from pathlib import Path

from mace_smile.atomic_write import complete_or_absent

logger = logging.getLogger(__name__)

Errors = list[tuple[int, int, float]]
"""Errors of left-out frames: frame, Cartesian axis, error in e A."""


class ScanStore:
    """The file of finished results.

    :param path: of the file, in JSON lines.
    :param key: hash of settings and data.
    """

    def __init__(self, path: Path, key: str) -> None:
        self.path = path
        self.results: dict[tuple[str, float, int], Errors] = {}
        path.parent.mkdir(parents=True, exist_ok=True)
        lines = _complete_lines(path)
        self.is_continued = bool(lines) and lines[0].get("key") == key
        if self.is_continued:
            for line in lines[1:]:
                errors = [(int(n), int(axis), float(error)) for n, axis, error in line["errors"]]
                self.results[line["model"], line["chi"], line["fold"]] = errors
            logger.info("Going on with %d finished results of %s", len(self.results), path)
        elif lines:
            logger.info("Settings or data have changed since %s was written: starting anew", path)
        self._rewrite(key)

    def _rewrite(self, key: str) -> None:
        """Write what is known, without the half line of an interruption."""
        with complete_or_absent(self.path) as unfinished, unfinished.open("w") as stream:
            stream.write(json.dumps({"key": key}) + "\n")
            for place, errors in self.results.items():
                stream.write(_line(place, errors))

    def add(self, model: str, chi: float, fold: int, errors: Errors) -> None:
        """Keep a result.

        :param model: which of the compared models.
        :param chi: susceptibility.
        :param fold: that was left out.
        """
        place = (model, chi, fold)
        self.results[place] = errors
        with self.path.open("a") as stream:
            stream.write(_line(place, errors))
            stream.flush()
            os.fsync(stream.fileno())


def _line(place: tuple[str, float, int], errors: Errors) -> str:
    """One result as a line."""
    model, chi, fold = place
    return json.dumps({"model": model, "chi": chi, "fold": fold, "errors": errors}) + "\n"


def _complete_lines(path: Path) -> list[dict]:  # type: ignore[type-arg]
    """All lines that are whole."""
    lines = []
    if path.is_file():
        for text in path.read_text().splitlines():
            try:
                lines.append(json.loads(text))
            except ValueError:
                break
    return lines
