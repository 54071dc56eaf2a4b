"""Atomic dipoles and susceptibilities of exported models."""

import json

import numpy as np
import pytest
import torch
from metatomic.torch import load_atomistic_model

from exported import FIELDS, build, forces, run, to_system, write_model
from helpers import GIVEN, STRUCTURES, evaluate, make_model, slab_water
from mace_smile import quantities
from mace_smile.errors import UserError
from metatensor_models.export import check_request
from metatensor_models.given_charges import GivenCharges
from metatensor_models.options import ExportOptions

ATOMIC = quantities.BY_NAME[quantities.ATOMIC_DIPOLES].metatomic
DIPOLES = [quantities.BY_NAME[name].metatomic for name in ("response_dipole", "macro_dipole")]


def given_charges(charges=None):
    atoms = slab_water()
    charges = atoms.arrays["electrode_charge"] if charges is None else charges
    return GivenCharges(atoms.numbers.astype(np.int64), charges, atoms.arrays["electrode"])


@pytest.fixture(scope="module")
def model():
    torch.set_default_dtype(torch.float64)
    options = {"learn_susceptibility": True, "learn_given_susceptibility": True}
    model = make_model(dipole_head="local", dipole_elements=("O",), **options, **GIVEN)
    with torch.no_grad():
        model.charge_heads["susceptibility"].log_screening.fill_(np.log(1.4))
        model.charge_heads["given_susceptibility"].log_screening.fill_(np.log(1.2))
    return model


@pytest.mark.parametrize("boundary", STRUCTURES)
@pytest.mark.parametrize("charge_head", ["local", "none"])
def test_exported_dipoles_are_those_of_the_model(boundary, charge_head):
    model = make_model(dipole_head="local", charge_head=charge_head, susceptibility=0.4)
    exported = build(model)
    atoms = STRUCTURES[boundary]()
    reference = evaluate(model, atoms)
    system = to_system(exported, atoms)
    values = run(exported, [system], [ATOMIC], "atom")[ATOMIC]
    torch.testing.assert_close(values, reference["atomic_dipoles"], rtol=1e-10, atol=1e-10)
    for name, value in run(exported, [system], DIPOLES).items():
        torch.testing.assert_close(value, reference[name.split("::")[1]], rtol=1e-10, atol=1e-10)
    assert ("charge" in exported.capabilities().outputs) == (charge_head == "local")


def test_a_file_says_what_was_learned(model, tmp_path):
    path = write_model(tmp_path, model, given_charges=given_charges(), field_kind="vacuum")
    extra = dict(load_atomistic_model(path).metadata().extra)
    assert float(extra["susceptibility"]) == pytest.approx(0.4)
    assert float(extra["given_susceptibility"]) == pytest.approx(0.2)
    assert float(extra["screening_value"]) == pytest.approx(1.4**0.5)
    assert (extra["susceptibility_learned"], extra["dipole_elements"]) == ("True", "O")
    assert json.loads(extra["fields"])["z05"] == [0.0, 0.0, 0.05]


def test_a_vacuum_field_acts_on_given_charges_by_their_own_susceptibility(model):
    """The force is E d mu^tot / d r, and mu^tot has the given charges by 1 + chi_given."""
    exported = build(model, given_charges=given_charges(), field_kind="vacuum")
    atoms = slab_water()
    name = quantities.BY_NAME[quantities.BORN_EFFECTIVE_CHARGES].metatomic
    born = run(exported, [to_system(exported, atoms)], [name], "atom")[name].detach().numpy()
    found = forces(exported, atoms, "energy/z05") - forces(exported, atoms)
    screening = np.where(atoms.arrays["electrode"] != 0, 1.2, 1.4)
    expected = FIELDS["z05"][2] * born[:, 2] / screening[:, None]
    np.testing.assert_allclose(found, expected, atol=1e-14)


def test_given_charges_that_contradict_the_total_charge_are_refused():
    alone = make_model(charge_head="none", dipole_head="local", **GIVEN)
    options = ExportOptions(given_charges=given_charges(), total_charge=1.0)
    with pytest.raises(
        UserError, match=r"`--total_charge`: .*the total charge is 1 e, and the mod"
    ):
        check_request(alone, options)
    check_request(make_model(**GIVEN), options)  # the other atoms make up the difference
    everything = given_charges(np.full(26, 0.1))
    everything.mask[:] = 1
    with pytest.raises(UserError, match=r"add up to 2.6 e .*no atom is left"):
        check_request(make_model(**GIVEN), ExportOptions(given_charges=everything))
