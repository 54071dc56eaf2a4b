"""Starting from a model of ours: its backbone goes to MACE's fine-tuning, its heads to ours."""

import copy
import dataclasses
import logging
from collections.abc import Callable
from typing import Any

import torch

from mace_smile.errors import UserError
from mace_smile.model.element_axes import keep_elements
from mace_smile.model.smile_mace import SmileMACE

logger = logging.getLogger(__name__)

#: What the outputs of a head depend on beside parameters and options: the sign of a learned factor,
#: and the factor of sums over neighbours.
NO_PARAMETERS = ("sign", "normalization")


def copy_heads(model: SmileMACE, foundation: SmileMACE) -> None:
    """Take over the charge heads both models have, in place.

    The new model may know fewer elements. A head that an older version has stored, with fewer
    parameters, stays in the form it has there.

    :param model: the new model.
    :param foundation: the one it starts from.
    :raises UserError: when the heads differ in more than that.
    """
    for field in dataclasses.fields(model.options):
        before, now = (getattr(one.options, field.name) for one in (foundation, model))
        if before != now and field.name != "training_labels":
            name = field.name.removeprefix("learn_")
            logger.info("--%s is %s; the model it starts from had %s", name, now, before)
    stored = foundation.get_buffer("atomic_numbers").tolist()
    elements = [stored.index(z) for z in model.get_buffer("atomic_numbers").tolist()]
    for name, head in model.charge_heads.items():
        if name in foundation.charge_heads:
            source = copy.deepcopy(foundation.charge_heads[name])
            keep_elements(source, elements, len(stored))
            model.charge_heads[name] = _with_weights(name, head, source)


def _with_weights(name: str, head: torch.nn.Module, source: torch.nn.Module) -> torch.nn.Module:
    """A head with the weights of another one: itself, or the other one if that is an older form.

    :param name: of both.
    :raises UserError: for weights of other shapes.
    """
    parameters, weights = dict(head.named_parameters()), dict(source.named_parameters())
    is_older = weights.keys() < parameters.keys()
    for key, parameter in parameters.items():
        if key not in weights and is_older:
            continue
        if key not in weights or weights[key].shape != parameter.shape:
            raise UserError(
                f"the foundation model has no weights that fit `charge_heads.{name}.{key}` of "
                f"shape {tuple(parameter.shape)}; use the flags it was trained with"
            )
    if is_older:
        logger.info("The head '%s' stays in the form in which an older version stored it", name)
        like = next(iter(parameters.values()))
        return source.to(device=like.device, dtype=like.dtype).requires_grad_(like.requires_grad)
    with torch.no_grad():
        for key, parameter in parameters.items():
            parameter.copy_(weights[key])
    for module, stored in zip(head.modules(), source.modules(), strict=True):
        for attribute in NO_PARAMETERS:
            if hasattr(stored, attribute):
                setattr(module, attribute, getattr(stored, attribute))
    return head


def with_smile_models(remove_pt_head: Callable[..., Any]) -> Callable[..., Any]:
    """MACE's choice of one head of a foundation model, also for a SmileMACE."""

    def remove_other_heads(model: torch.nn.Module, head_to_keep: str | None = None) -> Any:
        if not isinstance(model, SmileMACE):
            return remove_pt_head(model, head_to_keep)
        reduced = SmileMACE(remove_pt_head(model.backbone, head_to_keep), model.options)
        copy_heads(reduced, model)
        return reduced

    return remove_other_heads
