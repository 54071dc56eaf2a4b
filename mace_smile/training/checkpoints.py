"""Checkpoints that survive a kill, and restarts that never start over in silence.

MACE deletes the old checkpoint before it writes the new one in place, ignores every error
when a checkpoint is loaded, and loads weights whose names do not match without a word. Here
a checkpoint is written to a temporary file first and takes its name when it is complete, and
a restart compares names before MACE loads anything.
"""

import argparse
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from mace_smile.errors import UserError

_CHECKPOINT = re.compile(r"(?P<tag>.+)_epoch-(?P<epoch>\d+)(?P<stage_two>_swa)?\.pt")


def find_checkpoints(args: argparse.Namespace) -> list[Path]:
    """Checkpoints of this run, the one MACE restarts from last.

    MACE takes those of stage two before all others, and among them the highest epoch.

    :param args: with ``name``, ``seed`` and the directories.
    """
    directory = Path(args.checkpoints_dir or Path(args.work_dir) / "checkpoints")
    tag = f"{args.name}_run-{args.seed}"
    found: list[tuple[bool, int, Path]] = []
    for path in directory.glob("*.pt"):
        match = _CHECKPOINT.fullmatch(path.name)
        if match is not None and match["tag"] == tag:
            found.append((match["stage_two"] is not None, int(match["epoch"]), path))
    return [path for _, _, path in sorted(found)]


def find_models(args: argparse.Namespace) -> list[Path]:
    """Model files that a run of this name writes, as far as they exist."""
    directory = Path(args.model_dir or args.work_dir)
    stages = ("", "_stagetwo")
    names = [f"{args.name}{stage}{kind}.model" for stage in stages for kind in ("", "_compiled")]
    return [directory / name for name in names if (directory / name).exists()]


def prepare_outputs(args: argparse.Namespace) -> None:
    """Protect the files of an earlier run of this name.

    Checkpoints count: MACE would evaluate the highest epoch of both runs at the end.

    :raises UserError: when there are any and neither ``--restart_latest`` nor ``--overwrite``
        says what to do with them.
    """
    if args.restart_latest and args.overwrite:
        raise UserError("--restart_latest and --overwrite contradict each other; use one of them")
    if args.dry_run:
        return
    existing = [*find_models(args), *find_checkpoints(args)]
    if args.overwrite:
        if any(_is_same(args.foundation_model, path) for path in existing):
            raise UserError(
                f"--overwrite would remove the foundation model '{args.foundation_model}'; choose "
                "another --name"
            )
        for path in existing:
            path.unlink(missing_ok=True)
    elif existing and not args.restart_latest:
        raise UserError(
            f"'{existing[0]}' of an earlier run exists; continue that run with --restart_latest, "
            "train anew with --overwrite, or choose another --name"
        )


def _is_same(name: str | None, path: Path) -> bool:
    """Whether a name given by the user, or none, is the path."""
    return name is not None and Path(name).resolve() == path.resolve()


def read_latest_checkpoint(args: argparse.Namespace) -> tuple[Path, dict[str, Any]] | None:
    """The checkpoint MACE will restart from, or None when there is none.

    :raises UserError: when it cannot be read.
    """
    paths = find_checkpoints(args)
    if not paths:
        return None
    try:
        checkpoint = torch.load(paths[-1], map_location="cpu", weights_only=False)
        parts = {name: checkpoint[name] for name in ("model", "optimizer", "lr_scheduler")}
    except Exception as error:  # torch.load raises many kinds of exceptions for broken files
        raise UserError(
            f"the checkpoint '{paths[-1]}' cannot be read ({type(error).__name__}: {error}); "
            "remove it to continue from an older one, or train anew with --overwrite"
        ) from error
    return paths[-1], parts


def check_model_fits(args: argparse.Namespace, model: torch.nn.Module) -> None:
    """Compare the weights in the latest checkpoint with those of the model.

    :raises UserError: with both lists of names when they differ.
    """
    latest = read_latest_checkpoint(args)
    if latest is None:
        return
    path, checkpoint = latest
    stored = {name: tuple(value.shape) for name, value in checkpoint["model"].items()}
    wanted = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    if stored != wanted:
        raise UserError(
            f"the checkpoint '{path}' does not fit the model: restart with the flags it was "
            "trained with, or train anew with --overwrite; "
            f"only in the checkpoint: {_difference(stored, wanted)}; "
            f"only in the model: {_difference(wanted, stored)}"
        )


def check_groups_fit(args: argparse.Namespace, groups: list[dict[str, Any]]) -> None:
    """Compare the parameter groups in the latest checkpoint with those of the optimizer.

    :param groups: of the optimizer, each with ``name`` and a list ``params``.
    :raises UserError: with both lists of groups when they differ.
    """
    latest = read_latest_checkpoint(args)
    if latest is None:
        return
    path, checkpoint = latest
    stored = [
        (group.get("name", "unnamed"), len(group["params"]))
        for group in checkpoint["optimizer"]["param_groups"]
    ]
    wanted = [(group["name"], len(group["params"])) for group in groups]
    if stored != wanted:
        raise UserError(
            f"the checkpoint '{path}' does not fit the optimizer: restart with the flags it was "
            "trained with, or train anew with --overwrite; "
            f"groups (name, number of parameters) in the checkpoint: {stored}; "
            f"in the optimizer: {wanted}"
        )


def _difference(ours: dict[str, tuple[int, ...]], theirs: dict[str, tuple[int, ...]]) -> str:
    """Names, with shapes, that the other side lacks or has in another shape."""
    names = [f"{name} {shape}" for name, shape in ours.items() if theirs.get(name) != shape]
    return ", ".join(names) or "nothing"


def write_atomically(content: Any, path: Path) -> None:
    """Write a file that is complete whenever it exists under its name.

    :param content: anything ``torch.save`` takes.
    :param path: is replaced if it exists.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(path.name + ".incomplete")
    with temporary.open("wb") as file:
        torch.save(content, file)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def with_complete_files(save: Callable[..., None]) -> Callable[..., None]:
    """``CheckpointIO.save`` that deletes the old checkpoint only when the new one is complete.

    :param save: MACE's method; it is replaced as a whole.
    """
    del save

    def save_complete(self: Any, checkpoint: Any, epochs: int, keep_last: bool = False) -> None:
        path = Path(self.directory) / self._get_checkpoint_filename(epochs, self.swa_start)
        write_atomically(checkpoint, path)
        for leftover in path.parent.glob(f"{self.tag}_epoch-*.incomplete"):
            leftover.unlink(missing_ok=True)  # of a run that was killed
        if self.old_path and Path(self.old_path) != path and not (self.keep or keep_last):
            Path(self.old_path).unlink(missing_ok=True)
        self.old_path = str(path)

    return save_complete
