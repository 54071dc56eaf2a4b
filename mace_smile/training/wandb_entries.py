"""Errors of our quantities among what a run sends to Weights & Biases.

MACE sends a dictionary of each head in every epoch, with errors in eV and A, and at the end one of
each set, with errors in meV; ours are in e and A there, and in me and A here.
"""

import argparse
import sys
from collections.abc import Callable
from typing import Any

from mace_smile.training.flags import FLAGS
from mace_smile.training.metrics import select_metrics
from mace_smile.training.plan import TrainingPlan
from mace_smile.training.seams import learned_numbers

#: How the names of entries of a set end, after the name of the set.
FINAL = "_final_rmse_f"


def with_extra_entries(setup_wandb: Callable[..., Any], plan: TrainingPlan) -> Callable[..., Any]:
    """Our flags are hyperparameters of the run, and our errors are sent with MACE's."""

    def set_up(args: argparse.Namespace) -> None:
        given = [flag.name for flag in FLAGS if getattr(args, flag.name, None) is not None]
        known = set(args.wandb_log_hypers)
        args.wandb_log_hypers += [name for name in given if name not in known]
        setup_wandb(args)
        wandb = sys.modules["wandb"]
        # `wandb.init` puts a function of the new run there, so nothing has to be put back.
        wandb.log = with_our_errors(wandb.log, plan)  # type: ignore[attr-defined]

    return set_up


def with_our_errors(log: Callable[..., Any], plan: TrainingPlan) -> Callable[..., Any]:
    """``wandb.log`` that adds to the dictionaries of MACE."""
    names = [metric.name for metric in select_metrics(term.name for term in plan.weights)]

    def errors_of(errors: dict[str, Any], prefix: str, factor: float) -> dict[str, float]:
        known = [name for name in names if f"rmse_{name}" in errors]
        return {f"{prefix}rmse_{name}": factor * errors[f"rmse_{name}"] for name in known}

    def log_all(entries: dict[str, Any], *args: Any, **named: Any) -> Any:
        entries = dict(entries)
        for name, value in list(entries.items()):
            if isinstance(value, dict):
                errors = plan.progress.errors.get(name, {})
                learned = learned_numbers(plan.progress.model)
                entries[name] = {**value, **errors_of(errors, "valid_", 1.0), **learned}
            elif name.endswith(FINAL):
                prefix = f"{name.removesuffix(FINAL)}_final_"
                entries.update(errors_of(plan.progress.final_errors, prefix, 1e3))
        return log(entries, *args, **named)

    return log_all
