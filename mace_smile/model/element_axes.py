"""Where the chemical elements are in the parameters of heads, and how to keep some of them.

A head says it itself, in a tuple `element_axes` of its class: which of its parameters and buffers
have an axis of elements, and whether the elements are the first or the last entries along it.
Modules inside a head have such tuples of their own.
"""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch


class ElementAxis(NamedTuple):
    """One axis of one parameter or buffer, part of which are the elements of the model."""

    name: str
    """The parameter or buffer, as its module knows it; a module may lack it."""
    axis: int
    """The axis."""
    are_last: bool = False
    """Whether the elements are the last entries along the axis, not the first."""

    def kept(self, size: int, chosen: torch.Tensor, n_elements: int) -> torch.Tensor:
        """Entries along the axis that stay, in order.

        :param size: of the axis.
        :param chosen: indices of elements, shape ``(n_chosen,)``.
        :param n_elements: how many elements there were.
        """
        others = torch.arange(size - n_elements)
        if self.are_last:
            return torch.cat([others, chosen + len(others)])
        return torch.cat([chosen, others + n_elements])


def element_axes(head: torch.nn.Module) -> Iterator[tuple[torch.nn.Module, ElementAxis]]:
    """All axes of elements of a head, with the module that each belongs to."""
    for module in head.modules():
        axes: Sequence[ElementAxis] = getattr(module, "element_axes", ())
        for one in axes:
            owner, _, name = one.name.rpartition(".")
            if owner and owner not in module._modules:
                continue
            place = module.get_submodule(owner)
            if name in place._parameters or name in place._buffers:
                yield place, one._replace(name=name)


def keep_elements(head: torch.nn.Module, chosen: Sequence[int], n_elements: int) -> None:
    """Leave some elements in a head, in place.

    :param head: a head of a model of ``n_elements`` elements.
    :param chosen: indices of the elements that stay, in their new order.
    """
    indices = torch.tensor(chosen, dtype=torch.long)
    for module, one in element_axes(head):
        values = getattr(module, one.name)
        kept = one.kept(values.shape[one.axis], indices, n_elements).to(values.device)
        selected: Any = values.detach().index_select(one.axis, kept)
        if one.name in module._parameters:
            selected = torch.nn.Parameter(selected, requires_grad=values.requires_grad)
        setattr(module, one.name, selected)
        if isinstance(module, torch.nn.Linear):
            module.out_features, module.in_features = selected.shape
