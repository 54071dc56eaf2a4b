"""Files of a run: checkpoints and models found, protected, read, compared, written whole.

MACE ignores every error when a checkpoint is loaded, and loads weights whose names do not
match without a word; here names and shapes are compared before MACE loads anything. A file
takes its name when it is complete, so no kill leaves half a file.
"""

import argparse
import os
import pickle
import re
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import torch

from mace_smile.atomic_write import complete_or_absent
from mace_smile.errors import UserError
from mace_smile.model.graph_code import ForeignContent
from mace_smile.model.options import SmileOptions
from mace_smile.model.pickles import KnownPickle, is_script
from mace_smile.training.acceleration_checks import wants_cuequivariance
from mace_smile.training.checkpoint_content import check_content

#: Flags of MACE that change its model without changing the shape of a weight.
FLAGS_OF_MACE = (
    "E0s",
    "r_max",
    "radial_type",
    "num_cutoff_basis",
    "distance_transform",
    "interaction",
    "interaction_first",
    "gate",
    "avg_num_neighbors",
    "apply_cutoff",
    "use_reduced_cg",
    "use_so3",
    "use_agnostic_product",
    "optimizer",
)
#: Flags that come back with the state of the optimizer and its schedulers, whatever is given.
FLAGS_OF_OPTIMIZER = (
    "lr",
    "lr_params_factors",
    "weight_decay",
    "amsgrad",
    "beta",
    "swa_lr",
    "scheduler",
    "lr_factor",
    "scheduler_patience",
    "lr_scheduler_gamma",
)
#: Names of weights in a message; the rest is counted.
MOST_NAMES = 4
_CHECKPOINT = re.compile(r"(?P<tag>.+)_epoch-(?P<epoch>\d+)(?P<stage_two>_swa)?\.pt")


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint file of MACE: the best model of one stage so far."""

    is_stage_two: bool
    """Whether it belongs to stage two."""
    epoch: int
    """The epoch after which it was written."""
    path: Path
    """The file."""


def checkpoints_directory(args: argparse.Namespace) -> Path:
    """Where checkpoints are, before MACE has filled in its defaults."""
    return Path(args.checkpoints_dir or Path(args.work_dir) / "checkpoints")


def restart_file(args: argparse.Namespace) -> Path:
    """The file with the present state of the run, for a restart."""
    return checkpoints_directory(args) / f"{args.name}_run-{args.seed}_restart.pt"


def find_checkpoints(args: argparse.Namespace) -> list[Checkpoint]:
    """Checkpoints of this run, the one MACE restarts from last.

    MACE takes those of stage two before all others, and among them the highest epoch.

    :param args: with ``name``, ``seed`` and the directories.
    """
    tag = f"{args.name}_run-{args.seed}"
    found = []
    for path in checkpoints_directory(args).glob("*.pt"):
        match = _CHECKPOINT.fullmatch(path.name)
        if match is not None and match["tag"] == tag:
            found.append(Checkpoint(match["stage_two"] is not None, int(match["epoch"]), path))
    return sorted(found, key=lambda checkpoint: (checkpoint.is_stage_two, checkpoint.epoch))


def find_models(args: argparse.Namespace) -> list[Path]:
    """Model files that a run of this name writes, as far as they exist."""
    directory = Path(args.model_dir or args.work_dir)
    stages = ("", "_stagetwo")
    names = [f"{args.name}{stage}{kind}.model" for stage in stages for kind in ("", "_compiled")]
    return [directory / name for name in names if (directory / name).exists()]


def prepare_outputs(args: argparse.Namespace) -> tuple[Path, ...]:
    """Protect the files of an earlier run of this name.

    Checkpoints count: MACE would evaluate the highest epoch of both runs at the end.

    :return: files to remove when the training begins, as ``--overwrite`` says.
    :raises UserError: when there are any and neither ``--restart_latest`` nor ``--overwrite``
        says what to do with them.
    """
    if args.restart_latest and args.overwrite:
        raise UserError("--restart_latest and --overwrite contradict each other; use one of them")
    if args.dry_run:
        return ()
    existing = [*find_models(args), *(checkpoint.path for checkpoint in find_checkpoints(args))]
    existing += [path for path in (restart_file(args),) if path.exists()]
    if args.overwrite:
        if any(_is_same(args.foundation_model, path) for path in existing):
            raise UserError(
                f"--overwrite would remove the foundation model '{args.foundation_model}'; choose "
                "another --name"
            )
        return tuple(existing)
    if args.restart_latest:
        if find_models(args) and not restart_file(args).exists() and not find_checkpoints(args):
            raise UserError(
                f"--restart_latest finds no checkpoint of '{args.name}' with seed {args.seed} in "
                f"'{checkpoints_directory(args)}', but '{find_models(args)[0]}' exists and would "
                "be replaced; give the --seed of that run, or train anew with --overwrite"
            )
    elif existing:
        raise UserError(
            f"'{existing[0]}' of an earlier run exists; continue that run with --restart_latest, "
            "train anew with --overwrite, or choose another --name"
        )
    return ()


def _is_same(name: str | None, path: Path) -> bool:
    """Whether a name given by the user, or none, is the path."""
    return name is not None and Path(name).resolve() == path.resolve()


def read_checkpoint(path: Path, trust: bool = False) -> dict[str, Any]:
    """Content of a checkpoint or restart file.

    :param trust: run whatever code the file holds.
    :raises UserError: when it cannot be read, or holds more or less than checkpoints do.
    """
    module: Any = pickle if trust else KnownPickle
    try:
        _check_sums(path)
        if is_script(path):
            raise ValueError("it is a compiled model")
        content: dict[str, Any] = torch.load(
            path, map_location="cpu", weights_only=False, pickle_module=module
        )
    except ForeignContent as error:
        raise UserError(
            f"the checkpoint '{path}' {error}: loading it may run the code of whoever made it. If "
            "you trust them, add --trust"
        ) from error
    except Exception as error:  # torch.load raises many kinds of exceptions for broken files
        reason = " ".join(str(error).split()).split(". ")[0]  # torch adds paragraphs
        raise UserError(
            f"the checkpoint '{path}' cannot be read ({type(error).__name__}: {reason}); remove it "
            "to continue from an older one, or train anew with --overwrite"
        ) from error
    check_content(path, content)
    return content


def _check_sums(path: Path) -> None:
    """Compare the content of a file with its check sums, which torch writes and never reads.

    :raises ValueError: when they differ.
    """
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
        if damaged is not None:
            raise ValueError(f"its entry {damaged} is damaged")


def flags_of_model(args: argparse.Namespace, options: SmileOptions) -> dict[str, str]:
    """The flags that make up a model beside the sizes of its weights, with their values in words.

    :param args: before MACE has changed them.
    :param options: of the model.
    """
    values = {name: str(getattr(args, name)) for name in FLAGS_OF_MACE}
    values["enable_cueq"] = str(wants_cuequivariance(args))
    for field in fields(options):
        name, value = field.name, str(getattr(options, field.name))
        if name.startswith("learn_"):
            if getattr(options, name):
                name = name.removeprefix("learn_")
                values[name] = f"learned from {values[name]}"
        elif name != "training_labels":
            values[name] = value
    return values


def flags_of_optimizer(args: argparse.Namespace) -> dict[str, str]:
    """Flags that a restart does not change, with their values in words."""
    return {name: str(getattr(args, name)) for name in FLAGS_OF_OPTIMIZER}


def conditions_of_validation(args: argparse.Namespace, n_train: int, n_valid: int) -> str:
    """What a validation loss depends on beside the loss: MACE adds up the means of batches.

    :param n_train: frames of the training files, of which a fraction may be validated.
    :param n_valid: frames of the validation files.
    """
    files = f"{args.valid_file} ({n_valid} frames)"
    fraction = f"{args.valid_fraction} of {n_train} frames"
    return (
        f"validated on {files if args.valid_file else fraction} in batches of "
        f"{args.valid_batch_size} on {os.environ.get('WORLD_SIZE', '1')} ranks; weights "
        f"{args.config_type_weights}; {'L-BFGS' if args.lbfgs else args.optimizer}"
    )


def check_flags_fit(path: Path, checkpoint: dict[str, Any], flags: Mapping[str, str]) -> None:
    """Compare the flags in a checkpoint with those of this run.

    :param flags: from :func:`flags_of_model`; a checkpoint of an earlier version has none, and one
        that lacks some is compared in the rest.
    :raises UserError: with every flag that differs, and both of its values.
    """
    stored = checkpoint.get("flags", {})
    changed = [
        f"--{name} was {stored[name]} and is now {value}"
        for name, value in flags.items()
        if stored.get(name, value) != value
    ]
    if changed:
        raise UserError(
            f"the checkpoint '{path}' is of another model: {', '.join(changed)}; restart with the "
            "flags it was trained with, or train anew with --overwrite"
        )


def check_model_fits(path: Path, checkpoint: dict[str, Any], model: torch.nn.Module) -> None:
    """Compare the weights in a checkpoint with those of the model.

    :raises UserError: with both lists of names when they differ.
    """
    stored = {name: tuple(value.shape) for name, value in checkpoint["model"].items()}
    wanted = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    if stored != wanted:
        raise UserError(
            f"the checkpoint '{path}' does not fit the model: restart with the flags it was "
            "trained with, or train anew with --overwrite; "
            f"only in the checkpoint: {_difference(stored, wanted)}; "
            f"only in the model: {_difference(wanted, stored)}"
        )


def check_groups_fit(path: Path, checkpoint: dict[str, Any], groups: list[dict[str, Any]]) -> None:
    """Compare the parameter groups in a checkpoint with those of the optimizer.

    :param groups: of the optimizer, each with ``name`` and a list ``params``.
    :raises UserError: with both lists of groups when they differ.
    """
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
    more = [f"and {len(names) - MOST_NAMES} more"] if len(names) > MOST_NAMES else []
    return ", ".join(names[:MOST_NAMES] + more) or "nothing"


def write_atomically(content: Any, path: Path) -> None:
    """Write a file that is complete whenever it exists under its name.

    :param content: anything ``torch.save`` takes.
    :param path: is replaced if it exists.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with complete_or_absent(path) as unfinished, unfinished.open("wb") as file:
        torch.save(content, file)
