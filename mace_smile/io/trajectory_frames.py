"""Where the frames of a trajectory file begin and end, and the step each belongs to.

Nothing is interpreted beyond that, so frames can be kept or dropped byte for byte. A frame at the
end of a file that is not complete, as a killed run leaves it, is told apart; anything else that is
not understood is refused.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from mace_smile.errors import UserError

#: ``step=10`` (ASE), ``Step:  10`` (i-PI) and ``Timestep: 10`` (LAMMPS) in a comment line.
STEP = re.compile(r"(?:^|[\s\"])(?:step|timestep)\s*[:=]\s*\"?(\d+)\b", re.IGNORECASE)


@dataclass(frozen=True)
class Frame:
    """One frame of a file."""

    step: int
    start: int
    """First byte."""
    stop: int
    """Byte after the last."""


@dataclass(frozen=True)
class Frames:
    """The frames of a file, in its order."""

    kind: str
    """What the file is, in words."""
    frames: list[Frame]
    head: int
    """Bytes before the first frame, which always stay."""
    tail: int
    """Bytes after the last complete frame: part of one that was being written."""
    repeats_restart: bool = False
    """Whether a run that goes on from a restart writes the frame of that step again."""


@dataclass(frozen=True)
class Line:
    """A line with its place in the file."""

    number: int
    start: int
    stop: int
    text: str
    is_whole: bool
    """Whether it ends as a line does; the last one of a killed run may not."""


def read_lines(path: Path) -> Iterator[Line]:
    """The lines of a file.

    :raises UserError: for bytes that are no text.
    """
    start = 0
    with path.open("rb") as file:
        for number, raw in enumerate(file, start=1):
            try:
                text = raw.decode()
            except UnicodeDecodeError as error:
                raise UserError(f"'{path}' is not text at line {number}") from error
            yield Line(number, start, start + len(raw), text, raw.endswith(b"\n"))
            start += len(raw)


def not_understood(path: Path, line: Line, wanted: str) -> UserError:
    """The error for a line that is something else than it should be."""
    return UserError(
        f"line {line.number} of '{path}' is '{line.text.strip()[:60]}' but should be {wanted}; was "
        "the file continued after a frame that is not complete? It was left as it is"
    )


def step_of(path: Path, line: Line) -> int:
    """The step a comment line tells.

    :raises UserError: where it tells none, or several.
    """
    found = {int(number) for number in STEP.findall(line.text)}
    if len(found) != 1:
        what = "no step" if not found else "several steps"
        raise UserError(
            f"line {line.number} of '{path}' tells {what}, so its frames cannot be cut at one; "
            "write the step into each frame (atoms.info['step'] in ASE)"
        )
    return found.pop()


def finished(
    kind: str, path: Path, frames: list[Frame], head: int, repeats_restart: bool = False
) -> Frames:
    """The frames found, with what is left at the end of the file."""
    end = frames[-1].stop if frames else head
    return Frames(kind, frames, head, path.stat().st_size - end, repeats_restart)


def scan_xyz(path: Path) -> Frames:
    """Frames of an XYZ file: extended, of i-PI or of LAMMPS."""
    frames: list[Frame] = []
    lines = read_lines(path)
    repeats = False
    for first in lines:
        if not first.text.strip().isdigit():
            raise not_understood(path, first, "the number of atoms of a frame")
        n_atoms = int(first.text)
        comment = next(lines, None)
        if comment is None or not comment.is_whole:
            break
        n_words, n_read = 0, 0
        last = comment
        while n_read < n_atoms:
            line = next(lines, None)
            if line is None or not line.is_whole:
                break
            words = len(line.text.split())
            n_words = n_words or words
            if words != n_words or words < 4:
                raise not_understood(path, line, f"atom {n_read + 1} of {n_atoms}")
            n_read, last = n_read + 1, line
        if n_read < n_atoms:
            break
        repeats = comment.text.startswith("Atoms. Timestep:")
        frames.append(Frame(step_of(path, comment), first.start, last.stop))
    return finished("XYZ", path, frames, 0, repeats)


def scan_lammps_dump(path: Path) -> Frames:
    """Frames of a text dump of LAMMPS: styles atom, custom and local."""
    frames: list[Frame] = []
    lines = read_lines(path)
    line = next(lines, None)
    while line is not None:
        start, step, n_rows = line.start, -1, -1
        while True:
            if line is None or not line.is_whole:
                return finished("LAMMPS dump", path, frames, 0, True)
            if not line.text.startswith("ITEM: "):
                raise not_understood(path, line, "an ITEM of a dump")
            item = line.text.removeprefix("ITEM: ").strip()
            if item.startswith(("ATOMS", "ENTRIES")):
                break
            length = 3 if item.startswith("BOX BOUNDS") else 1
            block = [entry for entry in (next(lines, None) for _ in range(length)) if entry]
            if len(block) < length or not block[-1].is_whole:
                return finished("LAMMPS dump", path, frames, 0, True)
            if item == "TIMESTEP" or item.startswith("NUMBER OF"):
                if not block[0].text.strip().isdigit():
                    raise not_understood(path, block[0], "a whole number")
                if item == "TIMESTEP":
                    step = int(block[0].text)
                else:
                    n_rows = int(block[0].text)
            line = next(lines, None)
        if step < 0 or n_rows < 0:
            raise not_understood(path, line, "after a TIMESTEP and a NUMBER OF ATOMS")
        n_words, last = len(item.split()) - 1, line
        for row in range(n_rows):
            line = next(lines, None)
            if line is None or not line.is_whole:
                return finished("LAMMPS dump", path, frames, 0, True)
            if len(line.text.split()) != n_words:
                raise not_understood(path, line, f"row {row + 1} of {n_rows}")
            last = line
        frames.append(Frame(step, start, last.stop))
        line = next(lines, None)
    return finished("LAMMPS dump", path, frames, 0, True)
