"""Trajectories that can be cut back to where a restart file was written.

A mark says how long a trajectory was then: bytes of an extended XYZ file, frames of a ``.traj``.
What a killed run wrote after it is cut off, half a frame included, before the run goes on.
"""

import os
from pathlib import Path
from typing import Protocol

import ase
import ase.io
from ase.io.trajectory import Trajectory

from mace_smile.atomic_write import complete_or_absent
from mace_smile.errors import UserError


class RunTrajectory(Protocol):
    """A trajectory that a run writes."""

    def cut(self, mark: int) -> None:
        """Cut the file back to a mark, 0 for a new one."""

    def write(self, atoms: ase.Atoms) -> None:
        """Add a frame."""

    def mark(self) -> int:
        """How long it is; all of it is in the file."""


class ExtxyzTrajectory:
    """Extended XYZ, a mark in bytes."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def cut(self, mark: int) -> None:
        """Cut the file back."""
        length = self.path.stat().st_size if self.path.exists() else 0
        if length < mark:
            raise _too_short(self.path, length, mark, "bytes")
        if length > mark:
            os.truncate(self.path, mark)

    def write(self, atoms: ase.Atoms) -> None:
        """Add a frame."""
        with self.path.open("a", encoding="utf-8") as file:
            ase.io.write(file, atoms, format="extxyz")

    def mark(self) -> int:
        """Bytes in the file, which are on the disk."""
        return _synchronised(self.path)


class AseTrajectory:
    """ASE's own format, a mark in frames."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.frames = 0

    def cut(self, mark: int) -> None:
        """Copy the frames that stay, where there are others."""
        self.frames = mark
        if mark == 0:
            self.path.unlink(missing_ok=True)
            return
        length = 0
        if self.path.exists():
            with Trajectory(self.path) as stored:
                length = len(stored)
        if length < mark:
            raise _too_short(self.path, length, mark, "frames")
        if length == mark:
            return
        with (
            complete_or_absent(self.path) as unfinished,
            Trajectory(self.path) as stored,
            Trajectory(unfinished, "w") as kept,
        ):
            for number in range(mark):
                kept.write(stored[number])

    def write(self, atoms: ase.Atoms) -> None:
        """Add a frame."""
        with Trajectory(self.path, "a") as file:
            file.write(atoms)
        self.frames += 1

    def mark(self) -> int:
        """Number of frames, which are on the disk."""
        _synchronised(self.path)
        return self.frames


def trajectory_of(path: str | Path) -> RunTrajectory:
    """The trajectory for a file name.

    :raises UserError: for another extension than .xyz, .extxyz or .traj.
    """
    path = Path(path)
    kinds: dict[str, type[ExtxyzTrajectory] | type[AseTrajectory]] = {
        ".xyz": ExtxyzTrajectory,
        ".extxyz": ExtxyzTrajectory,
        ".traj": AseTrajectory,
    }
    if path.suffix not in kinds:
        raise UserError(f"the trajectory '{path}' must end in {', '.join(kinds)}")
    return kinds[path.suffix](path)


def _synchronised(path: Path) -> int:
    """Length in bytes of a file, once it is on the disk; 0 where there is none yet."""
    if not path.exists():
        return 0
    with path.open("rb") as file:
        os.fsync(file.fileno())
    return path.stat().st_size


def _too_short(path: Path, length: int, mark: int, unit: str) -> UserError:
    return UserError(
        f"the trajectory '{path}' has {length} {unit} but had {mark} when the restart file was "
        "written; put it back, or begin a new run under other names"
    )
