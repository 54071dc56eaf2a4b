"""Errors on validation and test data beside MACE's own, as entries of a list.

An entry says what is compared, in which unit it is printed, and its names in the log and in
tables. Errors are taken over what is labelled only; a set without any label shows a dash.
"""

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch

from mace_smile import quantities
from mace_smile.training.losses import (
    Errors,
    born_effective_charges_errors,
    charges_errors,
    macro_dipole_errors,
    polarizability_errors_per_atom,
    total_charge_errors,
)

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Metric:
    """One quantity whose errors are reported."""

    name: str
    """Name of the quantity; its errors are ``mae_<name>`` and ``rmse_<name>`` in its unit."""
    unit: str
    """Unit of what is printed: a thousandth of the unit of the quantity."""
    title: str
    """Name in the columns of tables."""
    errors: Callable[[Any, dict[str, torch.Tensor]], Errors]
    """Errors of a batch and their weights."""
    quantity: str = ""
    """Quantity whose training it belongs to, where that is not the name."""


METRICS: tuple[Metric, ...] = (
    Metric(quantities.MACRO_DIPOLE, "me A", "dipole", macro_dipole_errors),
    Metric(quantities.BORN_EFFECTIVE_CHARGES, "me", "Born charges", born_effective_charges_errors),
    Metric(quantities.CHARGES, "me", "charges", charges_errors),
    Metric(
        f"{quantities.POLARIZABILITY}_per_atom",
        "me A^2/V",
        "polarizability per atom",
        polarizability_errors_per_atom,
        quantities.POLARIZABILITY,
    ),
    Metric(quantities.TOTAL_CHARGE, "me", "total charge", total_charge_errors),
)


def select_metrics(names: Iterable[str]) -> tuple[Metric, ...]:
    """Entries of the quantities that are trained."""
    wanted = set(names)
    return tuple(metric for metric in METRICS if (metric.quantity or metric.name) in wanted)


def kind_of_table(table_type: str) -> str:
    """``mae`` or ``rmse``, as MACE's table of that type shows."""
    return "mae" if "MAE" in table_type else "rmse"


def with_extra_errors(base: type, metrics: tuple[Metric, ...]) -> type:
    """MACE's class of metrics, with our errors beside its own.

    They are kept as three sums (of \\|e\\|, of e^2, and the number of entries), which are added
    over the ranks.
    """

    class ChargesLoss(base):
        """MACE's errors and those of charges, dipoles and Born effective charges."""

        def __init__(self, loss_fn: torch.nn.Module) -> None:
            super().__init__(loss_fn)
            for metric in metrics:
                self.add_state(f"sums_{metric.name}", default=torch.zeros(3), dist_reduce_fx="sum")

        def update(self, batch: Any, output: dict[str, torch.Tensor]) -> None:
            """Add a batch."""
            super().update(batch, output)
            for metric in metrics:
                errors, weights = metric.errors(batch, output)
                labelled = errors.detach()[weights > 0]
                sums = getattr(self, f"sums_{metric.name}")
                sums += torch.stack(
                    [
                        labelled.abs().sum(),
                        labelled.square().sum(),
                        torch.ones_like(labelled).sum(),
                    ]
                )

        def compute(self) -> tuple[float, dict[str, Any]]:
            """The loss and all errors, as plain numbers."""
            loss, errors = super().compute()
            for metric in metrics:
                absolute, squared, count = getattr(self, f"sums_{metric.name}").tolist()
                if count > 0:
                    errors[f"mae_{metric.name}"] = absolute / count
                    errors[f"rmse_{metric.name}"] = (squared / count) ** 0.5
            return loss, errors

    return ChargesLoss


def format_error(errors: dict[str, Any], metric: Metric, kind: str) -> str:
    """An error in the printed unit, or a dash where nothing was labelled."""
    name = f"{kind}_{metric.name}"
    return f"{1e3 * errors[name]:8.2f}" if name in errors else "-"


def with_extra_log_line(
    valid_err_log: Callable[..., None],
    metrics: tuple[Metric, ...],
    learned: Callable[[], dict[str, float]] = dict,
) -> Callable[..., None]:
    """MACE's log of validation errors, and one more line with ours.

    :param valid_err_log: MACE's function.
    :param metrics: what is trained.
    :param learned: gives numbers of the model that belong beside the errors, by name.
    """

    def log_validation(
        valid_loss: float,
        eval_metrics: dict[str, Any],
        logger: Any,
        log_errors: str,
        epoch: int | None = None,
        valid_loader_name: str = "Default",
    ) -> None:
        valid_err_log(valid_loss, eval_metrics, logger, log_errors, epoch, valid_loader_name)
        kind = kind_of_table(log_errors)
        _log_line(metrics, eval_metrics, kind, epoch, valid_loader_name, learned())

    return log_validation


def _log_line(
    metrics: tuple[Metric, ...],
    errors: dict[str, Any],
    kind: str,
    epoch: int | None,
    head: str,
    learned: dict[str, float],
) -> None:
    """One line with the errors of all quantities that are trained, and learned numbers."""
    if not metrics:
        return
    start = "Initial" if epoch is None else f"Epoch {epoch}"
    parts = [
        f"{kind.upper()}_{metric.name}={format_error(errors, metric, kind)} {metric.unit}"
        for metric in metrics
    ]
    parts += [f"{name}={value:.4f}" for name, value in learned.items()]
    logger.info("%s: head: %s, %s", start, head, ", ".join(parts))


def add_columns(
    table: Any, table_type: str, metrics: tuple[Metric, ...], rows: list[dict[str, Any]]
) -> None:
    """Add our columns to MACE's table of errors.

    :param table: a PrettyTable with one row for each set.
    :param rows: errors of each set, in the order of the rows.
    """
    kind = kind_of_table(table_type)
    for metric in metrics:
        table.add_column(
            f"{kind.upper()} {metric.title} / {metric.unit}",
            [format_error(errors, metric, kind) for errors in rows],
        )
