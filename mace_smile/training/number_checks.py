"""Numbers and lists among MACE's flags that MACE takes as they are, and stops at much later."""

import argparse
import math
from dataclasses import dataclass
from typing import Any

from e3nn.o3 import Irreps

from mace_smile.errors import UserError
from mace_smile.training.literals import read_literal


@dataclass(frozen=True)
class Range:
    """What a number may be."""

    lowest: float = 0.0
    """Smallest value."""
    highest: float = math.inf
    """Largest value."""
    is_open: bool = False
    """Whether the smallest value itself is not allowed."""

    def holds(self, value: float) -> bool:
        """Whether a number lies in the range; NaN and infinity never do."""
        above = value > self.lowest if self.is_open else value >= self.lowest
        return math.isfinite(value) and above and value <= self.highest

    def __str__(self) -> str:
        """For messages."""
        if math.isinf(self.lowest):
            return "a finite number"
        lower = f"above {self.lowest:g}" if self.is_open else f"at least {self.lowest:g}"
        return lower if math.isinf(self.highest) else f"{lower} and at most {self.highest:g}"


POSITIVE = Range(is_open=True)
COUNT = Range(1)
NOT_NEGATIVE = Range()
FINITE = Range(-math.inf)
RANGES: dict[str, Range] = {
    **dict.fromkeys(
        ("lr_scheduler_gamma", "r_max", "huber_delta", "std", "avg_num_neighbors"), POSITIVE
    ),
    **dict.fromkeys(("mean", "lora_alpha"), FINITE),
    **dict.fromkeys(
        (
            "batch_size",
            "valid_batch_size",
            "max_num_epochs",
            "start_swa",
            "eval_interval",
            "patience",
            "num_channels",
            "num_interactions",
            "num_radial_basis",
            "num_cutoff_basis",
            "correlation",
            "lora_rank",
            "num_samples_pt",
        ),
        COUNT,
    ),
    **dict.fromkeys(
        (
            "lr",
            "swa_lr",
            "max_L",
            "max_ell",
            "num_workers",
            "weight_decay",
            "clip_grad",
            "scheduler_patience",
            "plot_frequency",
            "weight_pt_head",
            "real_pt_data_ratio_threshold",
            *(
                f"{stage}{name}_weight"
                for stage in ("", "swa_")
                for name in ("energy", "forces", "stress", "virials")
            ),
        ),
        NOT_NEGATIVE,
    ),
    "ema_decay": Range(0.0, 1.0),
    "lr_factor": Range(0.0, 1.0, is_open=True),
    "seed": Range(0, 2**32 - 1),
}
IRREPS = ("hidden_irreps", "MLP_irreps", "edge_irreps")


def check_numbers(args: argparse.Namespace) -> None:
    """Refuse numbers out of range, and lists and representations that cannot be read.

    :raises UserError: naming the flag, its value and what is wanted.
    """
    for name, allowed in RANGES.items():
        value = getattr(args, name, None)
        if isinstance(value, int | float) and not allowed.holds(value):
            raise UserError(f"--{name} is {value:g} but must be {allowed}")
    for name in IRREPS:
        text = getattr(args, name, None)
        if text is not None and not _is_irreps(text):
            raise UserError(f"--{name} is '{text}' but must be irreps such as 16x0e + 16x1o")
    if not _is_list_of_counts(args.radial_MLP):
        raise UserError(f"--radial_MLP is '{args.radial_MLP}' but must be a list such as [64, 64]")


def _is_irreps(text: str) -> bool:
    """Whether e3nn can read a text."""
    try:
        return bool(Irreps(text).dim > 0)
    except ValueError:
        return False


def _is_list_of_counts(text: Any) -> bool:
    """Whether a text is a list of positive whole numbers."""
    try:
        values = read_literal(text) if isinstance(text, str) else text
        return all(isinstance(value, int) and value > 0 for value in values)
    except (ValueError, TypeError):
        return False
