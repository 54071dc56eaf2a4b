"""Charges of an electrode that travel inside the exported model."""

import ase.io
import numpy as np
import pytest
import torch
from metatensor.torch import Labels

from exported import build, forces, run, to_system
from helpers import GIVEN, evaluate, make_model, slab_water
from mace_smile.errors import UserError
from metatensor_models.export import check_request
from metatensor_models.given_charges import GivenCharges, read_given_charges
from metatensor_models.options import ExportOptions


@pytest.fixture
def frame(tmp_path):
    path = tmp_path / "electrode.xyz"
    ase.io.write(path, slab_water(), format="extxyz")
    return path


def read(frame) -> GivenCharges:
    return read_given_charges(frame, GIVEN["given_charges_key"], GIVEN["given_mask_key"])


def test_stored_charges_act_as_those_of_the_frame(frame):
    model = make_model(susceptibility=0.4, **GIVEN)
    exported = build(model, given_charges=read(frame))
    atoms = slab_water()
    reference = evaluate(model, atoms)
    np.testing.assert_allclose(forces(exported, atoms), reference["forces"].detach(), atol=1e-10)
    charges = run(exported, [to_system(exported, atoms)], ["charge"], "atom")["charge"]
    torch.testing.assert_close(charges, reference["charges"])
    assert charges[-1].item() == pytest.approx(-0.2 / 1.4**0.5)


def test_another_order_of_elements_is_refused(frame):
    exported = build(make_model(**GIVEN), given_charges=read(frame))
    atoms = slab_water()
    with pytest.raises(torch.jit.Error, match="stores given charges by atom index"):
        forces(exported, atoms[::-1])
    with pytest.raises(torch.jit.Error, match="another number or order of elements"):
        forces(exported, atoms[1:])


def test_selection_with_given_charges_is_refused_even_where_the_model_is_local(frame):
    model = make_model(electrostatics="none", total_charge_constraint="none", **GIVEN)
    exported = build(model, given_charges=read(frame))
    selected = Labels(["system", "atom"], torch.tensor([[0, 0]]))
    with pytest.raises(torch.jit.Error, match="given by atom index"):
        run(exported, [to_system(exported, slab_water())], ["energy"], selected_atoms=selected)


def test_total_charge_is_stored(frame):
    exported = build(total_charge=-1.0)
    charges = run(exported, [to_system(exported, slab_water())], ["charge"])["charge"]
    assert charges.item() == pytest.approx(-1.0)


def test_missing_columns_are_named(frame):
    with pytest.raises(UserError, match="no column charge and no column mask; it has .*electrode"):
        read_given_charges(frame, "charge", "mask")
    with pytest.raises(UserError, match="there is no file"):
        read_given_charges("nowhere.xyz", "charge", "mask")


def test_frames_that_differ_are_refused(frame):
    atoms = slab_water()
    ase.io.write(frame, [atoms, atoms], format="extxyz")
    np.testing.assert_array_equal(read(frame).charges[-2:], [0.2, -0.2])
    other = slab_water()
    other.arrays["electrode_charge"][-2:] = [0.1, -0.1]
    ase.io.write(frame, [atoms, other], format="extxyz")
    with pytest.raises(UserError, match="the 2 frames of .* differ .* into a file of its own"):
        read(frame)


def test_given_charges_that_are_not_numbers_are_refused(tmp_path):
    atoms = slab_water()
    atoms.arrays["electrode_charge"][-1] = np.nan
    ase.io.write(tmp_path / "nan.xyz", atoms, format="extxyz")
    with pytest.raises(UserError, match="not finite on atoms that 'electrode' selects"):
        read(tmp_path / "nan.xyz")


def test_given_charges_need_charges_and_known_elements(frame):
    given = ExportOptions(given_charges=read(frame))
    with pytest.raises(UserError, match="the model has no charges"):
        check_request(make_model(charge_head="none"), given)
    gold = GivenCharges(np.array([79]), np.zeros(1), np.ones(1))
    with pytest.raises(UserError, match="elements Au, which the model does not know"):
        check_request(make_model(), ExportOptions(given_charges=gold))
