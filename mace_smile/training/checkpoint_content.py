"""What a checkpoint or restart file must hold, checked before anything of it is used.

MACE ignores every error when it loads a checkpoint, and would start at epoch 0 with half of it
and replace the files. Here each entry is checked when the file is read, and what optimizer,
scheduler and running average hold is tried on copies of them before MACE loads it.
"""

import argparse
import copy
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch

from mace_smile.errors import UserError
from mace_smile.training.literals import is_number

#: Entries that MACE reads, and those of restart files.
WANTED = ("model", "optimizer", "lr_scheduler")
WANTED_OF_RESTARTS = (*WANTED, "epoch", "ema")


def _is_text_map(value: Any) -> bool:
    """Whether a value is a dictionary of texts."""
    return isinstance(value, dict) and all(
        isinstance(one, str) for item in value.items() for one in item
    )


def _is_weights(value: Any) -> bool:
    """Whether a value is the state of a model."""
    return (
        isinstance(value, dict)
        and bool(value)
        and all(isinstance(name, str) for name in value)
        and all(isinstance(weight, torch.Tensor) for weight in value.values())
    )


def _is_optimizer(value: Any) -> bool:
    """Whether a value has the form of the state of an optimizer."""
    if not isinstance(value, dict):
        return False
    groups, state = value.get("param_groups"), value.get("state")
    if not (isinstance(groups, list) and groups and isinstance(state, dict)):
        return False
    if not all(isinstance(one, dict) for one in (*groups, *state.values())):
        return False
    lists = [one.get("params") for one in groups]
    if not all(isinstance(one, list) for one in lists):
        return False
    numbers = [number for one in lists for number in one]
    return numbers == list(range(len(numbers)))  # torch counts the parameters


def _is_sampling(value: Any) -> bool:
    """Whether a value is the state of a random number generator."""
    try:
        torch.Generator().set_state(value)
    except (TypeError, RuntimeError):
        return False
    return True


def _is_epoch(value: Any) -> bool:
    """Whether a value is the number of an epoch."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


#: What entries may be, and that in words. Those beside :data:`WANTED` may be absent.
KINDS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "model": (_is_weights, "a dictionary from names to tensors"),
    "optimizer": (_is_optimizer, "the state of an optimizer, with groups of parameters"),
    "lr_scheduler": (lambda value: isinstance(value, dict), "a dictionary"),
    "ema": (lambda value: value is None or isinstance(value, dict), "a dictionary or None"),
    "epoch": (_is_epoch, "a whole number, zero or positive"),
    "sampling": (_is_sampling, "the state of a random number generator"),
    "flags": (_is_text_map, "a dictionary of texts"),
    "optimizer_flags": (_is_text_map, "a dictionary of texts"),
    "avg_num_neighbors": (lambda value: is_number(value) and value > 0, "a number above zero"),
    "finished": (lambda value: isinstance(value, bool), "True or False"),
    "loss": (lambda value: isinstance(value, str), "a text"),
    "validation_loss": (lambda value: isinstance(value, float), "a number"),
}


def check_content(path: Path, content: Any) -> None:
    """Check each entry by itself.

    :param content: of the file.
    :raises UserError: naming the file and the entry.
    """
    if not isinstance(content, dict):
        raise _refused(path, f"holds a {type(content).__name__}, no dictionary")
    wanted = list(WANTED_OF_RESTARTS if is_restart_file(path) else WANTED)
    wanted += ["loss"] if "validation_loss" in content else []
    missing = [name for name in wanted if name not in content]
    if missing:
        raise _refused(path, f"lacks {', '.join(missing)}")
    for name, (fits, kind) in KINDS.items():
        if name in content and not fits(content[name]):
            text = repr(content[name])
            raise _refused(
                path,
                f"has an entry {name} that is {text[:60]}{'...' * (len(text) > 60)}, not {kind}",
            )
    for name in ("model", "optimizer", "ema"):
        for tensor in _tensors(content.get(name)):
            if not torch.isfinite(tensor).all():
                raise _refused(path, f"has numbers in {name} that are NaN or infinite")


def is_restart_file(path: Path) -> bool:
    """Whether a file is one that a run writes at the start of each epoch, by its name."""
    return path.name.endswith("_restart.pt")


def check_epochs_left(path: Path, content: dict[str, Any], max_num_epochs: int) -> None:
    """Refuse a restart file that leaves no epoch to train.

    :raises UserError: with both numbers.
    """
    if content["epoch"] >= max_num_epochs:
        raise UserError(
            f"the restart file '{path}' is at epoch {content['epoch']}, and --max_num_epochs "
            f"{max_num_epochs} leaves no epoch to train; give more, or remove the file to evaluate "
            "the last checkpoint"
        )


def rehearse(
    path: Path,
    content: dict[str, Any],
    optimizers: list[torch.optim.Optimizer],
    make_scheduler: Callable[[torch.optim.Optimizer], Any],
) -> None:
    """Load the state of optimizer and scheduler, and take a step with them.

    :param optimizers: copies of those that the state may be of.
    :param make_scheduler: the scheduler of an optimizer.
    :raises UserError: when it cannot be loaded, or no step can be taken.
    """
    errors: list[Exception] = []
    for optimizer in optimizers:
        try:
            scheduler = make_scheduler(optimizer)
            state = copy.deepcopy(content["optimizer"])  # steps change what is loaded
            optimizer.load_state_dict(state)
            scheduler.load_state_dict(copy.deepcopy(content["lr_scheduler"]))
            _take_step(optimizer)
            scheduler.step(metrics=float("inf"))  # no improvement
            return
        except Exception as error:  # optimizers raise many kinds for a state that is not theirs
            errors.append(error)
    what = "an optimizer or scheduler with which no step can be taken"
    raise _refused(path, f"holds {what} ({_short(errors[-1])})") from errors[-1]


def _take_step(optimizer: Any) -> None:
    """Take one step with a loss that is the sum of squares of all parameters.

    :raises ValueError: when it leads to weights that are NaN or infinite.
    """
    parameters = [one for group in optimizer.param_groups for one in group["params"]]

    def closure() -> float:
        for parameter in parameters:
            parameter.grad = 2.0 * parameter.detach()
        return sum(float(parameter.detach().square().sum()) for parameter in parameters)

    if hasattr(optimizer, "train"):  # schedule-free ones
        optimizer.train()
    optimizer.step(closure)
    if not all(bool(torch.isfinite(parameter).all()) for parameter in parameters):
        raise ValueError("it makes weights NaN or infinite")


def copies(
    optimizer: torch.optim.Optimizer, model: torch.nn.Module, args: argparse.Namespace
) -> list[torch.optim.Optimizer]:
    """Copies of the optimizers a checkpoint may be of: with `--lbfgs` MACE tries two.

    :param optimizer: the first of them.
    :param model: whose parameters it changes.
    """
    found = [copy.deepcopy(optimizer)]
    if args.lbfgs:
        found.append(torch.optim.LBFGS([copy.deepcopy(one) for one in model.parameters()]))
    return found


def load_average(path: Path, state: dict[str, Any], average: Any) -> None:
    """Load the running average of the weights.

    :param state: of the file.
    :param average: of the weights of the model; is changed.
    :raises UserError: when it is not one of this model.
    """
    try:
        shapes = [parameter.shape for parameter in average.shadow_params]
        average.load_state_dict(state)
        for name in ("shadow_params", "collected_params"):
            stored = getattr(average, name)
            if stored is not None and [one.shape for one in stored] != shapes:
                raise ValueError(f"{name} have other shapes than the weights")
    except Exception as error:  # keys that are missing, types, assertions
        raise _refused(
            path, f"has an entry ema that is no running average of this model ({_short(error)})"
        ) from error


def _tensors(value: Any) -> Iterator[torch.Tensor]:
    """All tensors in nested dictionaries and lists."""
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, dict | list | tuple):
        for one in value.values() if isinstance(value, dict) else value:
            yield from _tensors(one)


def _short(error: Exception) -> str:
    """Kind and beginning of an error, in one line."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:160]}"


def _refused(path: Path, fault: str) -> UserError:
    """The error for a file that cannot be used."""
    kind = "restart file" if is_restart_file(path) else "checkpoint"
    return UserError(
        f"the {kind} '{path}' {fault}; remove it to continue from another one, or train anew with "
        "--overwrite"
    )
