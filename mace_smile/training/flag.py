"""What one command-line flag of ours is, and how its text becomes a value."""

from argparse import ArgumentTypeError
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from mace_smile.training.requirements import Requirement

#: Value beside numbers of what may be learned.
LEARNED_VALUE = "learned"


@dataclass(frozen=True)
class Flag:
    """One command-line flag of the group "charges"."""

    name: str
    """Name without dashes; also the key in YAML files."""
    help: str
    """What it means, its unit and what holds when it is absent."""
    type: Callable[[str], Any] = str
    """Conversion of the text."""
    choices: tuple[Any, ...] | None = None
    """Allowed values, if few."""
    needs: tuple[Requirement, ...] = ()
    """Conditions without which it has no effect."""
    off: Any = None
    """A value that asks for nothing, and is therefore never refused."""


def learned_or_number(text: str) -> str | float:
    """Number, or ``learned``."""
    try:
        return text if text == LEARNED_VALUE else float(text)
    except ValueError as error:
        raise ArgumentTypeError(f"'{text}' is neither a number nor {LEARNED_VALUE}") from error


def auto_learned_or_number(text: str) -> str | float | None:
    """Number, ``learned``, or None for ``auto``."""
    return None if text == "auto" else learned_or_number(text)


def true_or_false(text: str) -> bool:
    """A switch, written as MACE's are."""
    values = {"true": True, "false": False}
    if text.lower() not in values:
        raise ArgumentTypeError(f"'{text}' is neither True nor False")
    return values[text.lower()]
