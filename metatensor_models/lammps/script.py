"""LAMMPS input files with the command ``mace_smile`` in them.

It stands where box and atoms exist, on a line of its own, outside loops and included files::

    mace_smile water.pt elements H O variant z05
    mace_smile water.pt elements H O field "0, 0, 0.05*sin(2*pi*t/100)" per_atom charge born
    mace_smile water.pt elements H O field_variables Ex Ey Ez field_kind vacuum device cpu

What precedes and follows is LAMMPS' own. The words are the arguments of
:meth:`~metatensor_models.lammps.instance.MetatomicLammps.attach_model`; ``${name}`` stands for a
LAMMPS variable, ``&`` continues a line, ``#`` starts a comment.
"""

import re
import shlex
import tempfile
from pathlib import Path
from typing import Any

from ase.data import atomic_numbers

from mace_smile.errors import UserError
from metatensor_models.lammps.instance import MetatomicLammps

COMMAND = "mace_smile"
#: Keywords of the command, and whether several words may follow.
KEYWORDS = {
    "elements": True,
    "variant": False,
    "field": False,
    "field_variables": True,
    "field_kind": False,
    "device": False,
    "per_atom": True,
}


def run_script(lmp: MetatomicLammps, path: str | Path) -> None:
    """Run an input file.

    :raises UserError: for a file that is not there, one without the command, and what
        ``attach_model`` refuses.
    """
    if not Path(path).is_file():
        raise UserError(f"there is no input file '{path}'")
    parts = split_script(Path(path).read_text())
    if not any(is_command for is_command, _ in parts):
        raise UserError(
            f"'{path}' has no line `{COMMAND} MODEL.pt elements ...`, so no model would act; add "
            "it after the atoms are read"
        )
    with tempfile.TemporaryDirectory() as folder:
        for number, (is_command, text) in enumerate(parts):
            if is_command:
                lmp.attach_model(**read_command(expand(lmp, text)))
            else:
                # A file, so that LAMMPS' own loops (jump SELF) work within the part.
                part = Path(folder) / f"part{number}.in"
                part.write_text(text)
                lmp.file(part)


def split_script(text: str) -> list[tuple[bool, str]]:
    """Parts of an input file in order: commands of ours (True), and what is LAMMPS' own."""
    parts: list[tuple[bool, str]] = []
    lines = iter(text.splitlines())
    for line in lines:
        if line.split()[:1] == [COMMAND]:
            while line.rstrip().endswith("&"):
                line = line.rstrip()[:-1] + " " + next(lines, "")
            parts.append((True, line))
        elif parts and not parts[-1][0]:
            parts[-1] = (False, f"{parts[-1][1]}{line}\n")
        else:
            parts.append((False, f"{line}\n"))
    return parts


def expand(lmp: MetatomicLammps, line: str) -> str:
    """A line with the values of LAMMPS' variables in it.

    :raises UserError: for a variable that does not exist.
    """

    def value(match: re.Match[str]) -> str:
        name = match.group(1)
        if name not in lmp.available_ids("variable"):
            raise UserError(f"`{line.strip()}` names ${{{name}}}, a variable LAMMPS does not have")
        return str(lmp.extract_variable(name))

    return re.sub(r"\$\{(\w+)\}", value, line)


def read_command(line: str) -> dict[str, Any]:
    """Arguments of ``attach_model`` in a line.

    :raises UserError: for quotes that do not close, unknown or missing words.
    """
    try:
        words = shlex.split(line, comments=True)[1:]
    except ValueError as error:
        raise UserError(f"`{line.strip()}` cannot be read ({error}); check its quotes") from error
    if not words or words[0] in KEYWORDS:
        raise UserError(f"`{line.strip()}` must name the model first: `{COMMAND} MODEL.pt ...`")
    arguments: dict[str, Any] = {"model": words[0]}
    keyword = ""
    for word in words[1:]:
        if word in KEYWORDS and word not in arguments:
            keyword = word
            arguments[keyword] = []
        elif not keyword or (arguments[keyword] and not KEYWORDS[keyword]):
            raise UserError(
                f"`{line.strip()}` has the word '{word}', which is not known there; the keywords "
                f"are {', '.join(KEYWORDS)}, and a field goes in quotes"
            )
        else:
            arguments[keyword].append(word)
    strange = [word for word in arguments.get("elements", []) if word not in atomic_numbers]
    if strange:
        raise UserError(
            f"`{line.strip()}` has the word '{strange[0]}' among the elements, which is neither "
            f"one nor a keyword; the keywords are {', '.join(KEYWORDS)}"
        )
    empty = [name for name, values in arguments.items() if not values]
    if empty or "elements" not in arguments:
        raise UserError(
            f"`{line.strip()}` gives no {', '.join(empty) or 'elements'}; write e.g. "
            f"`{COMMAND} {words[0]} elements H O variant z05`"
        )
    return {
        name: values[0] if name in KEYWORDS and not KEYWORDS[name] else values
        for name, values in arguments.items()
    }
