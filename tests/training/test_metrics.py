import logging
from collections import defaultdict
from types import SimpleNamespace

import pytest
import torch
from prettytable import PrettyTable
from torchmetrics import Metric as TorchMetric

from mace_smile.training.metrics import (
    add_columns,
    select_metrics,
    with_extra_errors,
    with_extra_log_line,
)

DIPOLE = select_metrics(["macro_dipole"])


class Base(TorchMetric):
    """Stands for MACE's class of metrics."""

    def __init__(self, loss_fn):
        super().__init__()
        self.add_state("total_loss", default=torch.tensor(0.0), dist_reduce_fx="sum")

    def update(self, batch, output):
        self.total_loss += 1.0

    def compute(self):
        return self.total_loss.item(), defaultdict(str, loss=self.total_loss.item())


class Batch(SimpleNamespace):
    def __getitem__(self, name):
        return getattr(self, name)


def batch(weight):
    return Batch(
        weight=torch.ones(2),
        dipole=torch.zeros(2, 3),
        dipole_weight=torch.tensor([[0.0, 0.0, weight], [0.0, 0.0, 0.0]]),
        dipole_quantum=torch.zeros(6, 3),
    )


def test_errors_are_those_of_labelled_entries_only():
    errors = with_extra_errors(Base, DIPOLE)(loss_fn=torch.nn.Identity())
    for value in (3.0, 4.0):
        errors(batch(1.0), {"macro_dipole": torch.full((2, 3), value)})
    _, found = errors.compute()
    assert found["mae_macro_dipole"] == pytest.approx(3.5)
    assert found["rmse_macro_dipole"] == pytest.approx(12.5**0.5)


def test_without_labels_there_are_no_errors_and_the_table_shows_a_dash():
    errors = with_extra_errors(Base, DIPOLE)(loss_fn=torch.nn.Identity())
    errors(batch(0.0), {"macro_dipole": torch.ones(2, 3)})
    _, found = errors.compute()
    assert "rmse_macro_dipole" not in found
    table = PrettyTable(field_names=["config_type"])
    table.add_row(["train"])
    table.add_row(["valid"])
    add_columns(table, "PerAtomMAE", DIPOLE, [found, {"mae_macro_dipole": 0.01234}])
    assert table.field_names == ["config_type", "MAE dipole / me A"]
    assert [row[1].strip() for row in table.rows] == ["-", "12.34"]


def test_log_line_follows_the_one_of_mace(caplog):
    calls = []
    log = with_extra_log_line(lambda *args: calls.append(args), DIPOLE)
    with caplog.at_level(logging.INFO):
        log(0.5, {"rmse_macro_dipole": 0.02}, None, "PerAtomRMSE", 7, "Default")
    assert calls == [(0.5, {"rmse_macro_dipole": 0.02}, None, "PerAtomRMSE", 7, "Default")]
    assert caplog.messages == ["Epoch 7: head: Default, RMSE_macro_dipole=   20.00 me A"]


def test_nothing_more_is_logged_when_nothing_more_is_trained(caplog):
    with caplog.at_level(logging.INFO):
        with_extra_log_line(lambda *args: None, ())(0.5, {}, None, "PerAtomRMSE")
    assert caplog.messages == []
