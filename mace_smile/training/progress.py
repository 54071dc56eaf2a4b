"""The state of a run that survives a kill.

MACE writes a checkpoint only when the validation loss improves, and a restarted run knows
nothing of the loss before: its first checkpoint replaces a better one, and the epochs since
the last improvement are lost. Here each checkpoint carries its validation loss, which a later
one must beat, and the state at the start of the present epoch is kept in a restart file. Both
hold the flags that make up the model: those without weights of their own would change unseen.
"""

import argparse
import logging
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch.distributed import get_rank, is_initialized

from mace_smile.errors import UserError
from mace_smile.model.edge_vectors import EdgeVectorHead, factor_of_sums
from mace_smile.model.neighbour_vectors import NeighbourVectors
from mace_smile.training.checkpoint_content import check_epochs_left
from mace_smile.training.checkpoints import (
    check_flags_fit,
    check_groups_fit,
    check_model_fits,
    find_checkpoints,
    read_checkpoint,
    restart_file,
    write_atomically,
)

logger = logging.getLogger(__name__)


class Progress:
    """What one run has reached; made once a run.

    :param path: the restart file.
    :param flags: that make up the model, and their values in words.
    :param optimizer_flags: that a restart takes from the optimizer it continues with.
    :param conditions: what a validation loss depends on beside the loss, in words.
    """

    def __init__(
        self,
        path: Path,
        flags: Mapping[str, str] | None = None,
        optimizer_flags: Mapping[str, str] | None = None,
        conditions: str = "",
    ) -> None:
        self.path = path
        self.flags = dict(flags or {})
        self.optimizer_flags = dict(optimizer_flags or {})
        self.conditions = conditions
        #: Validation loss of the last head, which MACE selects models by.
        self.validation_loss = math.inf
        #: Errors on the validation set of each head, and on the set that was evaluated last.
        self.errors: dict[str, dict[str, Any]] = {}
        self.final_errors: dict[str, Any] = {}
        #: The loss in stage one (False) and two (True), in words, with its conditions.
        self.loss: dict[bool, str] = {}
        #: Lowest validation loss of a checkpoint in each stage, and which loss that is.
        self.lowest: dict[bool, tuple[str, float]] = {}
        #: File to continue from, and its content, until training starts.
        self.source: tuple[Path, dict[str, Any]] | None = None
        #: Files of an earlier run, which go when the training begins.
        self.replaced: tuple[Path, ...] = ()
        #: Whether the model has been validated for the first time, which ends all preparation.
        self.has_begun = False
        #: Whether this process is the one that writes.
        self.writes = True
        #: Epoch to begin with, until it has begun.
        self.start_epoch: int | None = 0
        self.lr_scheduler: Any = None
        #: Random numbers that order the frames, of the run that is continued, until it goes on.
        self.sampling: torch.Tensor | None = None
        #: The model that is trained, from when MACE has built it.
        self.model: Any = None

    @property
    def restart(self) -> dict[str, Any] | None:
        """Content of the restart file, while the run is to continue from it."""
        return self.source[1] if self.source is not None and self.source[0] == self.path else None

    def load(self, args: argparse.Namespace) -> None:
        """Find what to continue from: the restart file, or the last checkpoint if it is newer.

        :raises UserError: when one of them cannot be read, or is of a model with other flags.
        """
        checkpoints = {found.is_stage_two: found for found in find_checkpoints(args)}
        contents = {
            stage: read_checkpoint(found.path, args.trust) for stage, found in checkpoints.items()
        }
        self.lowest = {
            stage: (content["loss"], content["validation_loss"])
            for stage, content in contents.items()
            if "validation_loss" in content
        }
        epoch = -1
        if checkpoints:
            stage = max(checkpoints)
            epoch = checkpoints[stage].epoch
            self.source = (checkpoints[stage].path, contents[stage])
        if restart_file(args).exists():
            restart = read_checkpoint(restart_file(args), args.trust)
            # With a checkpoint of the same epoch a run that was killed trains that epoch again from
            # its beginning; one that has ended goes on from its best weights, as in MACE.
            is_newer = restart["epoch"] >= epoch + bool(restart.get("finished", True))
            if is_newer:
                self.source = (restart_file(args), restart)
                epoch = restart["epoch"]
                check_epochs_left(*self.source, args.max_num_epochs)
        self.start_epoch = max(epoch, 0)
        if self.source is not None:
            check_flags_fit(*self.source, self.flags)
        if self.restart is not None:
            self.sampling = self.restart.get("sampling")

    def check_model(self, model: torch.nn.Module) -> None:
        """Refuse to continue with another model; what is no weight of it comes back too."""
        if self.source is None:
            return
        check_model_fits(*self.source, model)
        content = self.source[1]
        if "avg_num_neighbors" in content:
            set_mean_neighbors(model, content["avg_num_neighbors"])
        stored = content.get("optimizer_flags", {})
        for name, value in self.optimizer_flags.items():
            if stored.get(name, value) != value:
                logger.warning(
                    "The restart goes on with the optimizer of the checkpoint: --%s stays %s, and "
                    "%s is not used",
                    name,
                    stored[name],
                    value,
                )

    def set_loss(self, is_stage_two: bool, loss: torch.nn.Module) -> None:
        """Remember by what the models of a stage are compared."""
        self.loss[is_stage_two] = f"{loss!r}; {self.conditions}"

    def check_groups(self, groups: list[dict[str, Any]]) -> None:
        """Refuse to continue with other groups of parameters."""
        if self.source is not None:
            check_groups_fit(*self.source, groups)

    def begin(self) -> None:
        """Training starts: from here on checkpoints are only evaluated."""
        self.source = None
        self.writes = not (is_initialized() and get_rank())
        if not self.has_begun and self.writes:
            for path in self.replaced:
                path.unlink(missing_ok=True)
        self.has_begun = True

    def improves(self, is_stage_two: bool) -> bool:
        """Whether the present model is better than the stored one; it is then to be stored.

        A stored one of another loss or other validation frames does not count, nor does one whose
        loss is no number.
        """
        loss = self.loss[is_stage_two]
        stored_loss, lowest = self.lowest.get(is_stage_two, (loss, math.nan))
        is_number = not math.isnan(lowest)
        if is_number and loss == stored_loss and not self.validation_loss < lowest:
            logger.info("Keeping the checkpoint with the lower validation loss %g", lowest)
            return False
        self.lowest[is_stage_two] = (loss, self.validation_loss)
        return True

    def check_start(self, epoch: int) -> None:
        """Refuse to begin with another epoch: MACE begins anew where it could not load a file.

        :raises UserError: before any file is replaced.
        """
        if self.start_epoch not in (None, epoch):
            raise UserError(
                f"MACE could not continue at epoch {self.start_epoch} and would begin with "
                f"{epoch}; remove '{self.path}' and the checkpoints beside it that cannot be "
                "loaded, or train anew with --overwrite"
            )
        self.start_epoch = None

    def continue_sampling(self, generator: torch.Generator) -> None:
        """Take the frames in the order in which the run that is continued would have."""
        if self.sampling is not None:
            generator.set_state(self.sampling)
            self.sampling = None

    def store(
        self,
        epoch: int,
        model: torch.nn.Module,
        optimizer: torch.optim.Optimizer,
        ema: Any,
        generator: torch.Generator,
    ) -> None:
        """Write the restart file.

        :param epoch: the epoch that is about to start.
        :param ema: running average of the weights, or None.
        :param generator: random numbers that order the frames.
        """
        state = {
            "epoch": epoch,
            "model": model.state_dict(),
            "optimizer": optimizer.state_dict(),
            "lr_scheduler": self.lr_scheduler.state_dict(),
            "ema": None if ema is None else ema.state_dict(),
            "sampling": generator.get_state(),
            "finished": False,
            **self.common(model),
        }
        write_atomically(state, self.path)

    def common(self, model: torch.nn.Module) -> dict[str, Any]:
        """What checkpoints and the restart file both say of the run."""
        return {
            "flags": self.flags,
            "optimizer_flags": self.optimizer_flags,
            "avg_num_neighbors": mean_neighbors(model),
        }

    def finish(self) -> None:
        """Note in the restart file that the run has ended."""
        if self.writes and self.has_begun and self.path.exists():
            state = torch.load(self.path, weights_only=False)
            write_atomically({**state, "finished": True}, self.path)


def mean_neighbors(model: torch.nn.Module) -> float:
    """What the MACE inside divides its sums over neighbours by."""
    interactions: Any = model.interactions
    return float(interactions[0].avg_num_neighbors)


def set_mean_neighbors(model: torch.nn.Module, value: float) -> None:
    """Set it, where the frames of a restart have another mean."""
    if mean_neighbors(model) != value:
        logger.info("Average number of neighbors: %s, of the checkpoint", value)
    interactions: Any = model.interactions
    for interaction in interactions:
        interaction.avg_num_neighbors = value
    for module in model.modules():
        if isinstance(module, EdgeVectorHead | NeighbourVectors):
            module.normalization = factor_of_sums(value)
