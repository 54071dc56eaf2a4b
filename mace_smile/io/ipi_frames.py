"""Frames of what i-PI writes beside XYZ: tables of properties, extras, binary trajectories."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np

from mace_smile.errors import UserError
from mace_smile.io.trajectory_frames import (
    Frame,
    Frames,
    Line,
    finished,
    not_understood,
    read_lines,
    step_of,
)

#: The property ``step`` in the head of a table of i-PI, with the number of its column.
COLUMN = re.compile(r"#\s*column\s+(\d+)\s+-->\s*step\b")
EXTRAS = re.compile(r"\s*#EXTRAS[^#]*#\s*Step:\s*(\d+)")


def scan_table(path: Path) -> Frames:
    """Rows of a table: the properties of i-PI, or columns named in a line that begins with ``#``.

    Comments and empty lines between rows, as LAMMPS writes them when it appends, stay with the row
    above.
    """
    frames: list[Frame] = []
    column, n_words, head = -1, 0, 0
    for line in read_lines(path):
        if not line.is_whole:
            break
        words = line.text.split()
        if not words or words[0].startswith("#"):
            named = step_column(line.text)
            if frames and named is not None and named != column:
                raise not_understood(path, line, "the head that the table began with")
            if frames:
                frames[-1] = replace(frames[-1], stop=line.stop)
            else:
                head = line.stop
                column = column if named is None else named
            continue
        if column < 0:
            raise UserError(
                f"the head of the table '{path}' does not name a column `step`, so its rows cannot "
                "be cut at one; add `step` to the properties"
            )
        n_words = n_words or len(words)
        if len(words) != n_words or column >= n_words:
            raise not_understood(path, line, f"a row of {n_words} numbers")
        try:
            step = float(words[column])
        except ValueError as error:
            raise not_understood(path, line, "a row of numbers") from error
        if not step.is_integer():
            raise not_understood(path, line, f"a row with a step in column {column + 1}")
        frames.append(Frame(int(step), line.start, line.stop))
    return finished("table", path, frames, head)


def step_column(text: str) -> int | None:
    """The column of the step, counted from 0, where a line of a head names it."""
    found = COLUMN.match(text.strip())
    if found:
        return int(found.group(1)) - 1
    names = text.strip().lstrip("#").lower().split()
    if "-->" in names:
        return None
    return next((names.index(name) for name in ("step", "timestep") if name in names), None)


def scan_ipi_extras(path: Path) -> Frames:
    """Frames of an extras file of i-PI: a head with the step, then lines of data."""
    lines = list(read_lines(path))
    is_torn = bool(lines) and not lines[-1].is_whole
    if is_torn:
        lines.pop()
    found = [(index, EXTRAS.match(line.text)) for index, line in enumerate(lines)]
    starts = [(index, int(head.group(1))) for index, head in found if head]
    ends = [index for index, _ in starts[1:]] + [len(lines)]
    frames = [
        Frame(step, lines[index].start, lines[end - 1].stop)
        for (index, step), end in zip(starts, ends, strict=True)
    ]
    lengths = [end - index for (index, _), end in zip(starts, ends, strict=True)]
    # A head without data, fewer lines than the first frame, or nothing to compare with.
    if frames and (lengths[-1] < max(2, lengths[0]) or (is_torn and len(frames) == 1)):
        frames.pop()
    return finished("i-PI extras", path, frames, 0)


def scan_ipi_binary(path: Path) -> Frames:
    """Frames of a trajectory of i-PI in the format ``bin``.

    A frame is the cell (9 numbers), the number of atoms, their coordinates, the length of their
    names, the names, and a title that ends with the unit of the cell; text is UTF-32.
    """
    data = np.memmap(path, dtype=np.uint8, mode="r")
    frames: list[Frame] = []
    start = 0
    while True:
        length = binary_frame_length(data, start)
        if length is None:
            break
        n_atoms = int(data[start + 72 : start + 80].view(np.int64)[0])
        title = start + 80 + 24 * n_atoms
        title += 8 + 4 * int(data[title : title + 8].view(np.int64)[0])
        words = data[title : start + length].tobytes().decode("utf-32-le")
        frames.append(Frame(step_of(path, Line(0, 0, 0, words, True)), start, start + length))
        start += length
    if not frames or len(data) - start >= frames[-1].stop - frames[-1].start:
        raise UserError(
            f"'{path}' is not understood as a binary trajectory of i-PI from byte {start} on; it "
            "was left as it is"
        )
    return finished("i-PI binary trajectory", path, frames, 0)


def binary_frame_length(data: np.ndarray, start: int) -> int | None:
    """Bytes of a frame of i-PI's format ``bin``, or None where it is not complete."""
    position = start + 80
    if position > len(data):
        return None
    n_atoms = int(data[position - 8 : position].view(np.int64)[0])
    position += 24 * n_atoms + 8
    if n_atoms < 1 or position > len(data):
        return None
    position += 4 * int(data[position - 8 : position].view(np.int64)[0])
    n_closed = 0  # the title ends with the second unit in braces
    while n_closed < 2:
        if position + 4 > len(data):
            return None
        n_closed += int(data[position : position + 4].view(np.uint32)[0]) == ord("}")
        position += 4
    return position - start
