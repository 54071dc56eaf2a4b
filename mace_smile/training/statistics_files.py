"""The statistics.json of MACE's preparation of data: every entry is one that MACE can use."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mace_smile.errors import UserError
from mace_smile.training.databases import COMMAND
from mace_smile.training.literals import is_number, read_elements, read_energies

WANTED = ("atomic_energies", "atomic_numbers", "avg_num_neighbors", "mean", "std")


@dataclass(frozen=True)
class Statistics:
    """What is kept of a statistics file."""

    elements: frozenset[int]
    """Atomic numbers."""
    r_max: float | None
    """Cutoff in A for which neighbours were counted; None where the file does not say it."""


def read_statistics(path: str) -> Statistics:
    """Read and check a statistics file.

    :raises UserError: for a file that is none, naming it and the entry.
    """
    try:
        return _checked(json.loads(Path(path).read_text(encoding="utf-8")))
    except (OSError, ValueError, RecursionError, TypeError) as error:
        raise UserError(
            f"--statistics_file '{path}' cannot be used ({error}); give the statistics.json that "
            f"{COMMAND} --compute_statistics writes"
        ) from error


def check_statistics(path: str, r_max: float | None) -> None:
    """Refuse a file that is none, or of another cutoff, which has another number of neighbours.

    :param r_max: of the run, in A; None where that number is not taken from the file.
    :raises UserError: with both cutoffs.
    """
    counted = read_statistics(path).r_max
    if None not in (counted, r_max) and counted != r_max:
        raise UserError(
            f"--statistics_file '{path}' counts neighbours within {counted:g} A, but --r_max is "
            f"{r_max:g}; give that --r_max, or prepare the data again"
        )


def _checked(content: Any) -> Statistics:
    """What is kept of the content.

    :raises ValueError: naming the entry that cannot be used.
    """
    if not isinstance(content, dict):
        raise ValueError("it holds no dictionary")
    missing = [name for name in WANTED if name not in content]
    if missing:
        raise ValueError(f"it lacks {', '.join(missing)}")
    for name in ("avg_num_neighbors", "mean", "std", "r_max"):
        value = content.get(name, 1.0)
        if not is_number(value) or (name != "mean" and value <= 0):
            kind = "a number" if name == "mean" else "a number above zero"
            raise ValueError(f"its {name} is {value!r}, not {kind}")
    elements = _entry(content, "atomic_numbers", read_elements)
    energies = _entry(content, "atomic_energies", _energies_as_mace_reads_them)
    without = sorted(elements - set(energies))
    if without:
        raise ValueError(f"its atomic_energies lack the elements {without} of its atomic_numbers")
    return Statistics(frozenset(elements), content.get("r_max"))


def _entry(content: dict[str, Any], name: str, read: Any) -> Any:
    """One entry, read.

    :raises ValueError: naming it.
    """
    try:
        return read(content[name])
    except ValueError as error:
        raise ValueError(f"its {name}: {error}") from error


def _energies_as_mace_reads_them(text: Any) -> dict[int, float]:
    """Energies in a text; MACE takes the text of a JSON file in its place.

    :raises ValueError: for what is none.
    """
    if isinstance(text, str) and text.endswith(".json"):
        text = json.loads(Path(text).read_text(encoding="utf-8"))
    return read_energies(text)
