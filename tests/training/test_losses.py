from types import SimpleNamespace

import pytest
import torch

from mace_smile.training.losses import (
    TERMS,
    BornEffectiveCharges,
    Charges,
    MacroDipole,
    Polarizability,
    TotalCharge,
    WithExtraTerms,
    masked_mean,
)


class Batch(SimpleNamespace):
    """What a loss sees of a batch: attributes that are entries too."""

    def __getitem__(self, name: str) -> torch.Tensor:
        return getattr(self, name)


def two_graphs(**labels: torch.Tensor) -> Batch:
    """A structure of one atom and one of three."""
    return Batch(
        batch=torch.tensor([0, 1, 1, 1]),
        ptr=torch.tensor([0, 1, 4]),
        weight=torch.tensor([1.0, 2.0]),
        dipole_quantum=torch.zeros(6, 3),
        dipole_divisor=torch.tensor([1.0, 3.0]),
        **labels,
    )


def test_dipole_term_by_hand():
    ref = two_graphs(
        dipole=torch.zeros(2, 3), dipole_weight=torch.tensor([[0.0, 0.0, 1.0], [0.0, 0.5, 1.0]])
    )
    pred = {"macro_dipole": torch.tensor([[9.0, 9.0, 2.0], [9.0, 3.0, 1.0]])}
    # z of the first (4 / 1 atom), y and z of the second (2 * 0.5 * 9 / 3 and 2 * 1 / 3), by 3
    expected = (4.0 + 3.0 + 2.0 / 3.0) / 3.0
    assert MacroDipole(5.0)(ref, pred).item() == pytest.approx(5.0 * expected)
    assert repr(MacroDipole(5.0, "per_atom")) == "MacroDipole(weight=5.000, per_atom)"


def test_dipole_term_takes_the_nearest_branch():
    ref = two_graphs(dipole=torch.zeros(2, 3), dipole_weight=torch.ones(2, 3))
    ref.weight = torch.ones(2)
    ref.dipole_quantum[:3] = 2.0 * torch.diag(torch.tensor([5.0, 6.0, 7.0]))
    pred = {"macro_dipole": torch.tensor([[9.0, -11.5, 0.5], [9.0, 0.0, 0.0]])}
    # (-1, 0.5, 0.5) of the first, which is periodic; 81 / 3 atoms of the second, which is open
    assert MacroDipole(1.0)(ref, pred).item() == pytest.approx((1.5 + 27.0) / 6.0)


def test_born_charge_term_by_hand():
    ref = two_graphs(
        born_effective_charges=torch.zeros(4, 3, 3),
        born_effective_charges_weight=torch.tensor([1.0, 0.0]),
    )
    errors = torch.full((4, 3, 3), 7.0)
    errors[0] = 0.0
    errors[0, 1, 2] = 3.0
    term = BornEffectiveCharges(1.0)
    assert term(ref, {"born_effective_charges": errors}).item() == pytest.approx(9.0 / 9.0)


def test_charges_term_by_hand():
    ref = two_graphs(charges=torch.zeros(4), charges_weight=torch.tensor([0.0, 1.0]))
    pred = {"charges": torch.tensor([5.0, 1.0, 2.0, 0.0])}
    assert Charges(1.0)(ref, pred).item() == pytest.approx(2.0 * (1.0 + 4.0) / 3.0)


def test_total_charge_term_by_hand():
    ref = two_graphs(total_charge=torch.tensor([0.0, 1.0]))
    pred = {"predicted_total_charge": torch.tensor([0.5, 4.0])}
    assert TotalCharge(1.0)(ref, pred).item() == pytest.approx((0.25 + 2.0 * 9.0 / 3.0) / 2.0)


def test_structures_without_the_label_do_not_dilute_the_mean():
    values = torch.tensor([4.0, 100.0, 100.0])
    assert masked_mean(values, torch.tensor([1.0, 0.0, 0.0])).item() == 4.0


def test_mean_of_nothing_is_zero_and_has_gradients():
    values = torch.ones(3, requires_grad=True)
    mean = masked_mean(values, torch.zeros(3))
    mean.backward()
    assert mean.item() == 0.0
    assert values.grad is not None
    assert values.grad.abs().sum() == 0.0


def test_polarizability_term_by_hand():
    weights = torch.tensor([0.0, 2.0])[:, None, None].expand(2, 3, 3)
    ref = two_graphs(polarizability=torch.zeros(2, 3, 3), polarizability_weight=weights)
    pred = {"polarizability": torch.full((2, 3, 3), 0.3)}
    # the second structure alone: weights 2 of it and 2 of the label, by three atoms
    expected = 5.0 * 2.0 * 2.0 * 0.3**2 / 3
    assert Polarizability(5.0)(ref, pred).item() == pytest.approx(expected)


def test_sum_of_terms_and_its_line_in_the_log():
    class Base(torch.nn.Module):
        def forward(self, ref, pred, ddp=None):
            return torch.tensor(10.0)

        def __repr__(self):
            return "Base()"

    ref = two_graphs(total_charge=torch.zeros(2))
    pred = {"predicted_total_charge": torch.tensor([1.0, 0.0])}
    loss = WithExtraTerms(Base(), [TotalCharge(4.0)])
    assert loss(ref=ref, pred=pred).item() == pytest.approx(10.0 + 4.0 * 0.5)
    assert repr(loss) == "Base() + TotalCharge(weight=4.000)"


@pytest.mark.parametrize("name", TERMS)
def test_term_with_zero_weight_still_reaches_the_prediction(name):
    ref = two_graphs(
        dipole=torch.zeros(2, 3),
        dipole_weight=torch.ones(2, 3),
        born_effective_charges=torch.zeros(4, 3, 3),
        born_effective_charges_weight=torch.ones(2),
        charges=torch.zeros(4),
        charges_weight=torch.ones(2),
        polarizability=torch.zeros(2, 3, 3),
        polarizability_weight=torch.ones(2, 3, 3),
        total_charge=torch.zeros(2),
    )
    pred = {
        "macro_dipole": torch.ones(2, 3, requires_grad=True),
        "born_effective_charges": torch.ones(4, 3, 3, requires_grad=True),
        "charges": torch.ones(4, requires_grad=True),
        "polarizability": torch.ones(2, 3, 3, requires_grad=True),
        "predicted_total_charge": torch.ones(2, requires_grad=True),
    }
    loss = TERMS[name](0.0)(ref, pred)
    loss.backward()
    assert loss.item() == 0.0
    assert sum(value.grad is not None for value in pred.values()) == 1
