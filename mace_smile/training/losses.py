"""Loss terms of dipoles, Born charges, charges and polarizabilities, one class each.

A term compares a prediction with its label and returns a mean over what is labelled,

.. math::

    L = \\frac{\\sum_k w_k e_k^2 / n_k}{\\#\\{k: w_k > 0\\}},

e_k an error, w_k the weight of the structure times that of the label, and n_k the number of
atoms for a quantity of the structure (for dipoles also the squared area of a slab, or 1), 1 for
one of an atom. Structures without the label do
not dilute the mean; without any label the term is zero. Nothing is skipped: a term with zero
weight still reaches every parameter, as training on several ranks wants it.

Errors of structures are divided by the number of atoms, not by its square: independent errors
of the charges of n atoms give a dipole a variance proportional to n, so the term has the same
size for a cluster and for a large cell.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed
from mace.modules.loss import is_ddp_enabled

from mace_smile import quantities
from mace_smile.physics.polarization import nearest_branch

Errors = tuple[torch.Tensor, torch.Tensor]
"""Errors, and their weights of the same shape: zero where there is no label."""


def masked_mean(
    values: torch.Tensor, weights: torch.Tensor, ddp: bool | None = None
) -> torch.Tensor:
    """Weighted sum over the number of entries with a weight above zero; 0 if there are none.

    With several ranks the number is that of all ranks, and the result is such that the mean
    over the ranks, which is what they make of their gradients, is the mean over all entries.

    :param values: any shape.
    :param weights: the same shape.
    :param ddp: whether several ranks share the batch; None finds out.
    """
    total = (weights * values).sum()
    count = (weights > 0).sum().to(values.dtype)
    ddp = is_ddp_enabled() if ddp is None else ddp
    if ddp and torch.distributed.is_initialized():
        torch.distributed.all_reduce(count, op=torch.distributed.ReduceOp.SUM)
        total = total * torch.distributed.get_world_size()
    return total / torch.clamp(count, min=1.0)


def macro_dipole_errors(ref: Any, pred: dict[str, torch.Tensor]) -> Errors:
    """Errors of the dipole in e A for each Cartesian axis, shape ``(n_graphs, 3)``.

    Along periodic axes they are those of the nearest branch, where the dipole is a label there.
    """
    differences = pred[quantities.MACRO_DIPOLE] - ref[quantities.DIPOLE].view(-1, 3)
    errors = nearest_branch(differences, ref[quantities.DIPOLE_QUANTUM].view(-1, 3, 3))
    return errors, ref.weight.unsqueeze(-1) * ref.dipole_weight.view(-1, 3)


def born_effective_charges_errors(ref: Any, pred: dict[str, torch.Tensor]) -> Errors:
    """Errors of the Born effective charges in e, shape ``(n_atoms, 3, 3)``."""
    name = quantities.BORN_EFFECTIVE_CHARGES
    errors = pred[name] - ref[name]
    weights = (ref.weight * ref[f"{name}_weight"])[ref.batch]
    return errors, weights[:, None, None].expand_as(errors)


def charges_errors(ref: Any, pred: dict[str, torch.Tensor]) -> Errors:
    """Errors of the charges in e, energy scale, shape ``(n_atoms,)``."""
    errors = pred[quantities.CHARGES] - ref[quantities.CHARGES]
    return errors, (ref.weight * ref.charges_weight)[ref.batch]


def polarizability_errors(ref: Any, pred: dict[str, torch.Tensor]) -> Errors:
    """Errors of the polarizability in e^2 A^2/eV, shape ``(n_graphs, 3, 3)``."""
    name = quantities.POLARIZABILITY
    weights = ref.weight[:, None, None] * ref.polarizability_weight.view(-1, 3, 3)
    return pred[name] - ref[name].view(-1, 3, 3), weights


def polarizability_errors_per_atom(ref: Any, pred: dict[str, torch.Tensor]) -> Errors:
    """Errors of the polarizability by the number of atoms, shape ``(n_graphs, 3, 3)``."""
    errors, weights = polarizability_errors(ref, pred)
    return errors / (ref.ptr[1:] - ref.ptr[:-1])[:, None, None], weights


def total_charge_errors(ref: Any, pred: dict[str, torch.Tensor]) -> Errors:
    """Errors of the total charge in e, shape ``(n_graphs,)``; no label means neutral."""
    errors = pred["predicted_total_charge"] - ref[quantities.TOTAL_CHARGE]
    return errors, ref.weight


class Term(torch.nn.Module, ABC):
    """A loss term: :meth:`squared_errors` says what is compared.

    :param weight: factor in the sum of all terms.
    :param note: what else the line in the log says of it.
    """

    def __init__(self, weight: float, note: str = "") -> None:
        super().__init__()
        self.weight = weight
        self.note = note

    def forward(
        self, ref: Any, pred: dict[str, torch.Tensor], ddp: bool | None = None
    ) -> torch.Tensor:
        """Weighted mean of the squared errors.

        :param ref: the batch, with labels and their weights.
        :param pred: output of the model.
        """
        return self.weight * masked_mean(*self.squared_errors(ref, pred), ddp)

    @abstractmethod
    def squared_errors(self, ref: Any, pred: dict[str, torch.Tensor]) -> Errors:
        """Squared errors with their normalisation, and weights."""

    def __repr__(self) -> str:
        """One term of the line in the log."""
        note = f", {self.note}" if self.note else ""
        return f"{type(self).__name__}(weight={self.weight:.3f}{note})"


class MacroDipole(Term):
    """Squared error of the dipole, mean over labelled axes.

    Per atom or in total in e^2 A^2, or of the dipole per area in e^2/A^2, as the structures say.
    """

    def squared_errors(self, ref: Any, pred: dict[str, torch.Tensor]) -> Errors:
        """Squared errors by the divisor of each structure, shape ``(n_graphs, 3)``."""
        errors, weights = macro_dipole_errors(ref, pred)
        return errors.square() / ref[quantities.DIPOLE_DIVISOR].unsqueeze(-1), weights


class BornEffectiveCharges(Term):
    """Squared error of the Born effective charges in e^2, mean over components."""

    def squared_errors(self, ref: Any, pred: dict[str, torch.Tensor]) -> Errors:
        """Squared errors, shape ``(n_atoms, 3, 3)``."""
        errors, weights = born_effective_charges_errors(ref, pred)
        return errors.square(), weights


class Charges(Term):
    """Squared error of the charges in e^2, mean over atoms."""

    def squared_errors(self, ref: Any, pred: dict[str, torch.Tensor]) -> Errors:
        """Squared errors, shape ``(n_atoms,)``."""
        errors, weights = charges_errors(ref, pred)
        return errors.square(), weights


class Polarizability(Term):
    """Squared error of the polarizability per atom, in e^4 A^4/eV^2, mean over components."""

    def squared_errors(self, ref: Any, pred: dict[str, torch.Tensor]) -> Errors:
        """Squared errors by the number of atoms, shape ``(n_graphs, 3, 3)``."""
        errors, weights = polarizability_errors(ref, pred)
        return errors.square() / (ref.ptr[1:] - ref.ptr[:-1])[:, None, None], weights


class TotalCharge(Term):
    """Squared error of the total charge per atom, in e^2: the penalty of S3 eq. 14."""

    def squared_errors(self, ref: Any, pred: dict[str, torch.Tensor]) -> Errors:
        """Squared errors by the number of atoms, shape ``(n_graphs,)``."""
        errors, weights = total_charge_errors(ref, pred)
        return errors.square() / (ref.ptr[1:] - ref.ptr[:-1]), weights


TERMS: dict[str, type[Term]] = {
    quantities.MACRO_DIPOLE: MacroDipole,
    quantities.BORN_EFFECTIVE_CHARGES: BornEffectiveCharges,
    quantities.CHARGES: Charges,
    quantities.POLARIZABILITY: Polarizability,
    quantities.TOTAL_CHARGE: TotalCharge,
}


@dataclass(frozen=True)
class TermWeights:
    """Weights of one term of the loss in both stages."""

    name: str
    """Name of the quantity, a key of ``TERMS``."""
    stage_one: float
    """Weight from the start."""
    stage_two: float
    """Weight in stage two."""
    note: str = ""
    """What else the log and the checkpoints say of the term."""


def zero_of(pred: dict[str, Any]) -> torch.Tensor:
    """Zero that depends on all outputs, shape ``()``.

    Ranks wait for the gradient of every parameter, also of heads that no label trains.
    """
    outputs = [value for value in pred.values() if isinstance(value, torch.Tensor)]
    used = [0.0 * value.sum() for value in outputs if value.requires_grad]
    return torch.stack(used).sum() if used else torch.zeros(())


class WithExtraTerms(torch.nn.Module):
    """MACE's loss and further terms: the sum of all.

    :param base_loss: any loss of MACE.
    :param terms: what is added.
    """

    def __init__(self, base_loss: torch.nn.Module, terms: Sequence[Term]) -> None:
        super().__init__()
        self.base_loss = base_loss
        self.terms = torch.nn.ModuleList(terms)

    def forward(
        self, ref: Any, pred: dict[str, torch.Tensor], ddp: bool | None = None
    ) -> torch.Tensor:
        """Sum of MACE's loss and the terms, shape ``()``."""
        # Some losses of MACE take None for a single rank, others look whether there are several.
        on_ranks = is_ddp_enabled() if ddp is None else ddp
        loss = self.base_loss(ref=ref, pred=pred, ddp=on_ranks)
        for term in self.terms:
            loss = loss + term(ref=ref, pred=pred, ddp=on_ranks)
        return loss + zero_of(pred) if on_ranks else loss

    def __repr__(self) -> str:
        """The line in the log."""
        return " + ".join([repr(self.base_loss), *(repr(term) for term in self.terms)])
