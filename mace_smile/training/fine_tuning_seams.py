"""What stands in place of names of MACE when a run starts from another model.

LoRA goes into the MACE alone, and where the energy stays as it is
(:mod:`~mace_smile.training.kept_energy`) nothing is computed that no parameter changes.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch

from mace_smile.model.smile_mace import SmileMACE
from mace_smile.training.plan import TrainingPlan


def with_lora_in_backbone(inject_loras: Callable[..., Any], plan: TrainingPlan) -> Any:
    """LoRA changes the MACE; our heads, which are new, are trained in full."""

    def inject(model: SmileMACE, *args: Any, **named: Any) -> SmileMACE:
        inject_loras(model.backbone, *args, **named)
        plan.progress.check_model(model)
        return model

    return inject


def with_kept_head(from_config: Callable[..., Any], plan: TrainingPlan) -> Any:
    """Where all heads of the energy stay, frames belong to one of those, not to one of the run."""
    if plan.start is None or not plan.start.keeps_energy or plan.start.head is None:
        return staticmethod(from_config)
    index = plan.start.heads.index(plan.start.head)

    def from_config_of_head(*args: Any, **named: Any) -> Any:
        data = from_config(*args, **named)
        data.head = torch.tensor(index, dtype=torch.long)
        return data

    return staticmethod(from_config_of_head)


class NoTerms(torch.nn.Module):
    """In place of MACE's loss, whose terms no parameter would change."""

    def forward(self, pred: dict[str, Any], ref: Any, ddp: bool | None = None) -> float:
        """Zero."""
        return 0.0

    def __repr__(self) -> str:
        """For the log."""
        return "no terms of energies and forces, which stay as they are"


@contextmanager
def without_forces(model: SmileMACE) -> Iterator[None]:
    """Let a model compute no forces for a while, and no derivative of its MACE if it can.

    Only Born effective charges that are derivatives need the graph of the MACE.
    """
    idle = dict.fromkeys(("compute_force", "compute_virials", "compute_stress"), False)
    hooks = [
        model.register_forward_pre_hook(
            lambda _, batches, flags: (batches, {**flags, **idle}), with_kwargs=True
        )
    ]
    if not model.options.has_coupled_screening:
        modes: list[bool] = []

        def begin(module: torch.nn.Module, batches: Any) -> None:
            modes.append(torch.is_grad_enabled())
            torch.set_grad_enabled(False)

        def end(module: torch.nn.Module, batches: Any, outputs: Any) -> None:
            torch.set_grad_enabled(modes.pop())

        hooks.append(model.backbone.register_forward_pre_hook(begin))
        hooks.append(model.backbone.register_forward_hook(end, always_call=True))
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def without_idle_forces(train_one_epoch: Callable[..., Any], plan: TrainingPlan) -> Any:
    """Training computes no forces where the energy stays as it is."""

    def train_heads(**named: Any) -> Any:
        if not plan.keeps_energy:
            return train_one_epoch(**named)
        with without_forces(plan.progress.model):
            return train_one_epoch(**named)

    return train_heads


def with_kept_errors(evaluate: Callable[..., Any], plan: TrainingPlan) -> Callable[..., Any]:
    """Validation computes errors of energies and forces once where they stay as they are."""
    first: dict[int, dict[str, Any]] = {}

    def evaluate_heads(*args: Any, **named: Any) -> Any:
        known = first.get(id(named.get("data_loader")))
        if known is None:
            loss, errors = evaluate(*args, **named)
            if plan.keeps_energy:
                first[id(named["data_loader"])] = dict(errors)
            return loss, errors
        with without_forces(plan.progress.model):
            loss, errors = evaluate(*args, **named)
        return loss, {**known, **errors}

    return evaluate_heads
