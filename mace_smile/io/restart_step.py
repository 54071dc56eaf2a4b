"""The step of a restart file."""

import re
import struct
import xml.etree.ElementTree as ElementTree
from pathlib import Path

from mace_smile.errors import UserError

#: How binary restart files of LAMMPS begin, and end when they are complete.
LAMMPS = b"LammpS RestartT"
#: Entries of their head by number: texts, whole numbers of four bytes, the step (eight bytes).
_TEXTS, _SHORT, _STEP = (0, 4), (1, 2, 3, 48), 5


def step_of_restart(path: str | Path) -> int:
    """The step at which a run goes on from a restart file.

    :param path: ``RESTART`` or a checkpoint of i-PI, or a restart file of LAMMPS.
    :raises UserError: for a file that is not there, not complete or of another kind.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"there is no restart file '{path}'")
    with path.open("rb") as file:
        beginning = file.read(256)
    if beginning.startswith(LAMMPS):
        step = step_of_head(beginning)
        if step is None:
            return step_of_name(path)
        if not path.read_bytes().endswith(LAMMPS + b"\0"):
            raise UserError(f"'{path}' is not a complete restart file; take an earlier one")
        return step
    if b"<" in beginning:
        return step_of_ipi(path)
    raise UserError(
        f"'{path}' is a restart file neither of i-PI nor of LAMMPS; give the step itself (--step)"
    )


def step_of_head(head: bytes) -> int | None:
    """The step in the head of a restart file of LAMMPS; None where it is written otherwise."""
    place = len(LAMMPS) + 9  # a zero, the order of bytes, the revision
    try:
        while True:
            (entry,) = struct.unpack_from("<i", head, place)
            place += 4
            if entry == _STEP:
                return int(struct.unpack_from("<q", head, place)[0])
            if entry in _TEXTS:
                place += struct.unpack_from("<i", head, place)[0]
            elif entry not in _SHORT:
                return None
            place += 4
    except struct.error:
        return None


def step_of_name(path: Path) -> int:
    """The one whole number in the name of a restart file of LAMMPS."""
    numbers = re.findall(r"(?<![A-Za-z0-9])\d+(?![A-Za-z0-9])", path.name)
    if len(numbers) != 1:
        raise UserError(
            f"the name of '{path}' does not tell one step; write restart files with a star in the "
            "name (`restart 1000 film.*.restart`), or give --step"
        )
    return int(numbers[0])


def step_of_ipi(path: Path) -> int:
    """The element ``step`` of a checkpoint of i-PI."""
    try:
        root = ElementTree.parse(path).getroot()
    except ElementTree.ParseError as error:
        raise UserError(
            f"'{path}' is not a complete checkpoint of i-PI ({error}); take an earlier one"
        ) from error
    step = root.findtext("step") if root.tag == "simulation" else None
    if step is None or not step.strip().isdigit():
        raise UserError(f"'{path}' is XML, but no checkpoint of i-PI with a step")
    return int(step)
