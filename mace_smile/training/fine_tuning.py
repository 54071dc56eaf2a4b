"""Starting from a model of ours: its backbone goes to MACE's fine-tuning, its heads to ours."""

import dataclasses
import logging
from collections.abc import Callable
from typing import Any

import torch

from mace_smile.errors import UserError
from mace_smile.model.smile_mace import SmileMACE

logger = logging.getLogger(__name__)


def copy_heads(model: SmileMACE, foundation: SmileMACE) -> None:
    """Copy the weights of the charge heads both models have, in place.

    The new model may know fewer elements. In every parameter that depends on the element,
    the entries of the elements come first along each dimension of elements.

    :param model: the new model.
    :param foundation: the one it starts from.
    :raises UserError: when the heads differ in more than the elements.
    """
    for field in dataclasses.fields(model.options):
        before, now = (getattr(one.options, field.name) for one in (foundation, model))
        if before != now and field.name != "training_labels":
            name = field.name.removeprefix("learn_")
            logger.info("--%s is %s; the model it starts from had %s", name, now, before)
    stored = foundation.get_buffer("atomic_numbers").tolist()
    elements = torch.tensor([stored.index(z) for z in model.get_buffer("atomic_numbers").tolist()])
    source: dict[str, torch.Tensor] = dict(foundation.charge_heads.named_parameters())
    with torch.no_grad():
        for name, parameter in model.charge_heads.named_parameters():
            if name.split(".")[0] not in foundation.charge_heads:
                continue
            values = source.get(name)
            if values is not None and values.shape != parameter.shape:
                values = _select_elements(values, parameter.shape, elements, len(stored))
            if values is None:
                raise UserError(
                    f"the foundation model has no weights that fit `charge_heads.{name}` of shape "
                    f"{tuple(parameter.shape)}; use the flags it was trained with"
                )
            parameter.copy_(values)


def _select_elements(
    values: torch.Tensor, shape: torch.Size, elements: torch.Tensor, n_stored: int
) -> torch.Tensor | None:
    """Keep the entries of some elements along each dimension whose size differs."""
    if values.dim() != len(shape):
        return None
    selected = values
    for dim, size in enumerate(shape):
        if values.shape[dim] == size:
            continue
        if values.shape[dim] < n_stored:
            return None
        kept = selected.index_select(dim, elements.to(values.device))
        rest = selected.narrow(dim, n_stored, values.shape[dim] - n_stored)
        selected = torch.cat([kept, rest], dim=dim)
    return selected if selected.shape == shape else None


def with_smile_models(remove_pt_head: Callable[..., Any]) -> Callable[..., Any]:
    """MACE's choice of one head of a foundation model, also for a SmileMACE."""

    def remove_other_heads(model: torch.nn.Module, head_to_keep: str | None = None) -> Any:
        if not isinstance(model, SmileMACE):
            return remove_pt_head(model, head_to_keep)
        reduced = SmileMACE(remove_pt_head(model.backbone, head_to_keep), model.options)
        copy_heads(reduced, model)
        return reduced

    return remove_other_heads
