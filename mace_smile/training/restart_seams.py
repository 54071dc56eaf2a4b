"""What stands in place of the names of MACE that write and load checkpoints.

See :mod:`~mace_smile.training.progress` for what they add to MACE's way.
"""

import argparse
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mace_smile.atomic_write import UNFINISHED, complete_or_absent
from mace_smile.training.checkpoint_content import copies, load_average, rehearse
from mace_smile.training.checkpoints import write_atomically
from mace_smile.training.plan import TrainingPlan

logger = logging.getLogger(__name__)


def with_complete_checkpoints(save: Callable[..., Any], plan: TrainingPlan) -> Callable[..., Any]:
    """A checkpoint is complete whenever it exists, and only a better one replaces it.

    MACE's method is replaced as a whole: it deletes the old file first.
    """

    def save_complete(self: Any, checkpoint: Any, epochs: int, keep_last: bool = False) -> None:
        is_stage_two = self.swa_start is not None and epochs >= self.swa_start
        if not (plan.progress.improves(is_stage_two) or plan.saves_all_checkpoints):
            return
        path = Path(self.directory) / self._get_checkpoint_filename(epochs, self.swa_start)
        result = {
            "loss": plan.progress.loss[is_stage_two],
            "validation_loss": plan.progress.validation_loss,
            **plan.progress.common(plan.progress.model),
        }
        write_atomically({**checkpoint, **result}, path)
        for leftover in path.parent.glob(f"{UNFINISHED}{self.tag}_*"):
            leftover.unlink(missing_ok=True)  # of a run that was killed
        if self.old_path and Path(self.old_path) != path and not (self.keep or keep_last):
            Path(self.old_path).unlink(missing_ok=True)
        self.old_path = str(path)

    return save_complete


def with_complete_models(save: Callable[..., Any], plan: TrainingPlan) -> Callable[..., Any]:
    """A model is complete whenever it exists, where MACE writes into the file that is there."""

    def save_complete(*args: Any, **named: Any) -> None:
        if len(args) < 2 or not isinstance(args[1], str | Path):
            return save(*args, **named)
        with complete_or_absent(args[1]) as unfinished, unfinished.open("wb") as opened:
            save(args[0], opened, *args[2:], **named)
        return None

    return save_complete


def with_restart_file(load_latest: Callable[..., Any], plan: TrainingPlan) -> Callable[..., Any]:
    """A restart continues from the restart file where that is newer than the checkpoint."""

    def load_newest(self: Any, swa: bool | None = False, device: Any = None) -> Any:
        restart = plan.progress.restart
        if restart is None:
            return load_latest(self, swa=swa, device=device)
        logger.info("Continuing at epoch %d from %s", restart["epoch"], plan.progress.path)
        return restart, restart["epoch"]

    return load_newest


def with_stored_average(average: Callable[..., Any], plan: TrainingPlan) -> Callable[..., Any]:
    """The running average of the weights continues too."""

    def make_average(*args: Any, **named: Any) -> Any:
        ema = average(*args, **named)
        restart = plan.progress.restart
        if restart is not None and restart["ema"] is not None:
            load_average(plan.progress.path, restart["ema"], ema)
        return ema

    return make_average


def with_known_scheduler(scheduler: Callable[..., Any], plan: TrainingPlan) -> Callable[..., Any]:
    """The scheduler of the learning rate goes into the restart file.

    That of a run that is continued is tried with its optimizer before MACE loads it.
    """

    def make_scheduler(optimizer: Any, args: argparse.Namespace) -> Any:
        if plan.progress.source is not None:
            tried = copies(optimizer, plan.progress.model, args)
            rehearse(*plan.progress.source, tried, lambda one: scheduler(one, args))
        plan.progress.lr_scheduler = scheduler(optimizer, args)
        return plan.progress.lr_scheduler

    return make_scheduler


def with_stored_progress(
    train_one_epoch: Callable[..., Any], plan: TrainingPlan
) -> Callable[..., Any]:
    """The state before each epoch goes into the restart file."""

    def store_and_train(**named: Any) -> Any:
        plan.progress.check_start(named["epoch"])
        generator = named["data_loader"].generator
        plan.progress.continue_sampling(generator)
        if not named["rank"]:
            plan.progress.store(
                named["epoch"], named["model"], named["optimizer"], named["ema"], generator
            )
        return train_one_epoch(**named)

    return store_and_train
