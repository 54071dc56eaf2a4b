"""Trajectories of a killed run cut back to the restart it goes on from.

A run writes frames after its last restart; when it goes on from there, it writes them again. Cut
back first, each step is in the file once. All files are understood before any is changed, and a
file gets its new content whole or not at all.
"""

import shutil
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import ase.io.ulm

from mace_smile.atomic_write import complete_or_absent
from mace_smile.errors import UserError
from mace_smile.io.ipi_frames import scan_ipi_binary, scan_ipi_extras, scan_table
from mace_smile.io.trajectory_frames import Frame, Frames, scan_lammps_dump, scan_xyz

#: How files of ASE's module ulm begin, such as a ``.traj``.
ULM = b"- of Ulm"
ASE_TRAJECTORY = "ASE trajectory"
KNOWN = (
    "(extended) XYZ, .traj of ASE, tables, extras and binary trajectories of i-PI, text dumps of "
    "LAMMPS"
)


@dataclass(frozen=True)
class Cut:
    """What stays of a file."""

    path: Path
    found: Frames
    kept: list[Frame]

    @property
    def is_needed(self) -> bool:
        """Whether anything goes."""
        return self.found.tail > 0 or len(self.kept) < len(self.found.frames)

    def describe(self) -> str:
        """One sentence."""
        n_frames = len(self.found.frames)
        text = f"{self.path} ({self.found.kind}): {len(self.kept)} of {n_frames} frames kept"
        text += f", the last of step {self.kept[-1].step}"
        if self.found.tail > 0:
            text += "; one that was not complete is dropped"
        gap = missing_step(self.kept)
        return text if gap is None else f"{text}; none between the steps {gap[0]} and {gap[1]}"


def missing_step(frames: list[Frame]) -> tuple[int, int] | None:
    """The first two steps that are farther apart than the first two frames."""
    steps = [frame.step for frame in frames]
    for before, after in zip(steps, steps[1:], strict=False):
        if after - before > steps[1] - steps[0]:
            return before, after
    return None


def cut_trajectories(
    paths: Iterable[str | Path], step: int | None, before: bool = False, mend: bool = False
) -> list[Cut]:
    """Cut files back to a step, in place; all of them or none.

    :param paths: of trajectories, each in one of the formats of :data:`KNOWN`.
    :param step: of the restart; later frames go. None: none goes for its step.
    :param before: the frame of that step goes too, for a run that writes it again. So it always
        is for dumps of LAMMPS.
    :param mend: where steps go back, because a run was continued without a cut, earlier frames of
        the repeated steps go; without it such files are refused.
    :return: what was done to each file.
    :raises UserError: for files that are not there or not understood, and where nothing would
        stay. No file is changed then.
    """
    resolved = dict.fromkeys(Path(path).resolve() for path in paths)
    cuts = [plan_cut(path, step, before, mend) for path in resolved]
    with ExitStack() as stack:
        for cut in cuts:
            if cut.is_needed:
                unfinished = stack.enter_context(complete_or_absent(cut.path))
                write_kept(cut, unfinished)
                shutil.copymode(cut.path, unfinished)
    return cuts


def plan_cut(path: Path, step: int | None, before: bool, mend: bool) -> Cut:
    """What stays of one file; see :func:`cut_trajectories`."""
    found = scan(path)
    if not found.frames:
        raise UserError(f"'{path}' has no complete frame; remove it yourself if it may go")
    kept: list[Frame] = []
    for frame in found.frames:
        if kept and frame.step <= kept[-1].step and not mend:
            raise UserError(
                f"the steps of '{path}' go back from {kept[-1].step} to {frame.step}, so a run was "
                "continued without a cut; add --mend to drop the frames that were repeated"
            )
        while kept and frame.step <= kept[-1].step:
            kept.pop()
        kept.append(frame)
    if step is not None:
        last = step - 1 if before or found.repeats_restart else step
        kept = [frame for frame in kept if frame.step <= last]
        if not kept:
            raise UserError(
                f"all frames of '{path}' belong to step {found.frames[0].step} or later, so none "
                f"would stay for a restart at step {step}; is this the right one?"
            )
    return Cut(path, found, kept)


def scan(path: Path) -> Frames:
    """The frames of a file, whatever its format.

    :raises UserError: for a file that is not there, or of another format.
    """
    if not path.is_file():
        raise UserError(f"there is no file '{path}'")
    with path.open("rb") as file:
        beginning = file.read(256)
    if not beginning:
        raise UserError(f"'{path}' is empty; remove it yourself if it may go")
    if beginning.startswith(ULM):
        return scan_ase_trajectory(path)
    if path.suffix == ".bin":
        return scan_ipi_binary(path)
    words = beginning.split()
    if beginning.startswith(b"ITEM: "):
        return scan_lammps_dump(path)
    if words and words[0].startswith(b"#EXTRAS"):
        return scan_ipi_extras(path)
    if beginning.startswith(b"#"):
        return scan_table(path)
    if words and words[0].isdigit() and beginning.split(b"\n")[0].strip() == words[0]:
        return scan_xyz(path)
    raise UserError(f"'{path}' has a format that is not known; known are {KNOWN}")


def scan_ase_trajectory(path: Path) -> Frames:
    """Frames of a ``.traj``: bytes are indices here; ASE counts complete frames only."""
    frames: list[Frame] = []
    try:
        with ase.io.ulm.open(path) as reader:
            for index in range(len(reader)):
                step = (reader[index].get("info") or {}).get("step")
                if not isinstance(step, int):
                    raise UserError(
                        f"frame {index} of '{path}' tells no step, so its frames cannot be cut at "
                        "one; set atoms.info['step'] before it is written"
                    )
                frames.append(Frame(step, index, index + 1))
    except (ase.io.ulm.InvalidULMFileError, OSError, ValueError, KeyError, IndexError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f"'{path}' cannot be read as a trajectory of ASE ({error})") from error
    return Frames(ASE_TRAJECTORY, frames, 0, 0)


def write_kept_of_ase(cut: Cut, path: Path) -> None:
    """Copy the items of a ``.traj`` that stay.

    :raises UserError: when the first does not, which holds the elements of all.
    """
    if cut.kept[0].start != 0:
        raise UserError(
            f"the steps of '{cut.path}' go back to its first frame, which holds the elements of "
            "all; remove the file and start again"
        )
    with (
        ase.io.ulm.open(cut.path) as reader,
        ase.io.ulm.open(path, "w", tag=reader.get_tag()) as writer,
    ):
        for frame in cut.kept:
            ase.io.ulm.copy(reader[frame.start], writer)
            writer.sync()


def write_kept(cut: Cut, path: Path) -> None:
    """Write what stays under another name."""
    if cut.found.kind == ASE_TRAJECTORY:
        write_kept_of_ase(cut, path)
        return
    with cut.path.open("rb") as source, path.open("wb") as target:
        target.write(source.read(cut.found.head))
        for frame in cut.kept:
            source.seek(frame.start)
            target.write(source.read(frame.stop - frame.start))
