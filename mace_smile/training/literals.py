"""Python literals and JSON in flags and files, read with one kind of error."""

import ast
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ase.data import chemical_symbols


def read_literal(text: Any) -> Any:
    """The value of a Python literal.

    :raises ValueError: for what is none, in one line.
    """
    if not isinstance(text, str):
        raise ValueError(f"{text!r} is no text")
    try:
        return ast.literal_eval(text.strip())
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError) as error:
        raise ValueError(f"'{text}' cannot be read") from error


def is_number(value: Any) -> bool:
    """Whether a value is a finite number."""
    is_numeric = isinstance(value, int | float) and not isinstance(value, bool)
    return is_numeric and math.isfinite(value)


def read_elements(text: Any) -> set[int]:
    """Atomic numbers in a list such as ``[1, 8]``.

    :raises ValueError: for what is none.
    """
    values = read_literal(text)
    known = range(1, len(chemical_symbols))
    if not isinstance(values, list) or not all(
        isinstance(value, int) and value in known for value in values
    ):
        raise ValueError(f"'{text}' is no list of atomic numbers")
    return set(values)


def read_energies(text: Any) -> dict[int, float]:
    """Energies of isolated atoms in eV, in a dictionary or the JSON file of one.

    :raises ValueError: for what is none, and energies that are no finite numbers.
    """
    if isinstance(text, str) and text.endswith(".json"):
        content = json.loads(Path(text).read_text(encoding="utf-8"))
        values: Any = content
        if isinstance(content, dict):  # JSON knows no numbers as keys
            values = {int(element): energy for element, energy in content.items()}
    else:
        values = read_literal(text)
    if not isinstance(values, dict):
        raise ValueError(f"{values!r} is no dictionary")
    for element, energy in values.items():
        if not isinstance(element, int):
            raise ValueError(f"{element!r} is no atomic number")
        if not is_number(energy):
            raise ValueError(f"the energy of element {element} is {energy!r}, no number")
    return values


def read_weights(text: Any) -> Mapping[str, float]:
    """Weights of kinds of frames in a dictionary such as ``{"Default": 1.0}``.

    :raises ValueError: for what is none, and weights that are negative or no finite numbers.
    """
    values = read_literal(text)
    if not isinstance(values, dict):
        raise ValueError(f"'{text}' is no dictionary")
    for name, weight in values.items():
        if not is_number(weight) or weight < 0:
            raise ValueError(f"the weight of {name!r} is {weight!r}")
    return values
