"""Structures that are refused on their way into a batch, each with a remedy."""

import itertools
import re

import numpy as np
import pytest
from mace.data import KeySpecification, config_from_atoms

from helpers import (
    R_MAX,
    bulk_water,
    energy_of,
    make_batch,
    make_model,
    open_water,
    slab_water,
)
from mace_smile.calculator import SmileCalculator
from mace_smile.errors import UserError
from mace_smile.evaluation.evaluator import ModelEvaluator
from mace_smile.model.options import SmileOptions
from mace_smile.structures import MINIMUM_VACUUM_GAP, StructureSettings, prepare_configuration

KEYS = KeySpecification(info_keys={"total_charge": "total_charge"})


def prepare(atoms, r_max=R_MAX, **options):
    settings = StructureSettings.of_model(SmileOptions(**options), r_max)
    return prepare_configuration(config_from_atoms(atoms, key_specification=KEYS), settings)


def with_cell(atoms, axis, vector, pbc=None):
    atoms = atoms.copy()
    atoms.cell[axis] = vector
    if pbc is not None:
        atoms.pbc = pbc
    return atoms


@pytest.mark.parametrize(
    ("atoms", "message"),
    [
        (with_cell(bulk_water(), 1, 0), "is periodic along an axis whose cell vector is zero; gi"),
        (with_cell(bulk_water(), 0, [5, 5, 5], [1, 0, 0]), "one axis only.*none, two or three"),
        (with_cell(bulk_water(), 2, [6.9, 6.3, 0]), "no volume; give three independent vectors"),
        (with_cell(bulk_water(), 2, [6.9, 6.3, 1e-4]), "lie in one plane, so the cell has no volu"),
        (with_cell(slab_water(), 1, [12.4, 0, 0]), "are parallel, so the slab has no area; give"),
        (with_cell(slab_water(), 2, [1.0, 5, 0]), r"lies in the plane.*`atoms.cell\[2\] = 0`"),
        (with_cell(slab_water(), 2, [0.1, 0, 18]), r"first make.*; then.*\[2\] = \[0, 0, 18\]`"),
        (with_cell(slab_water(), 2, [1, 2, -18]), r"`atoms.cell\[2\] = \[0, 0, -18\]`"),
        (with_cell(slab_water(), 2, [0, 0, np.inf]), "not finite numbers"),
    ],
)
def test_cells_that_cannot_be_right_are_refused(atoms, message):
    with pytest.raises(UserError, match=f"structure H16.* atoms.*{message}"):
        prepare(atoms)


@pytest.mark.parametrize("height", [18.0, 18.1])
def test_steps_of_the_message_give_the_same_slab(height):
    slab = slab_water()
    slab.cell[2] = [0.0, 0.0, height]
    tilted = slab.copy()
    tilted.cell[2] = [2.0, 1.0, height]
    is_cut = slab.positions[:, 2] > slab.positions[:, 2].mean()
    tilted.positions[is_cut] -= tilted.cell[2]  # stored across the boundary
    with pytest.raises(UserError, match="make the vector perpendicular") as refusal:
        prepare(tilted)
    tilted.positions[is_cut] += tilted.cell[2]
    numbers = re.search(r"`atoms.cell\[2\] = \[(.*)\]`", str(refusal.value)).group(1)
    assert numbers == f"0, 0, {height:g}"
    tilted.cell[2] = [float(number) for number in numbers.split(", ")]
    wanted, found = prepare(slab).positions, prepare(tilted).positions
    np.testing.assert_allclose(found - found[0], wanted - wanted[0], rtol=0, atol=1e-12)


def test_slabs_that_lie_in_any_direction_are_accepted():
    for seed in range(5):
        slab = slab_water()
        slab.rotate(37.0 * (seed + 1), np.random.default_rng(seed).normal(size=3), rotate_cell=True)
        assert prepare(slab).pbc == (True, True, False)
        slab.cell[2] = 0
        prepare(slab)


def test_left_handed_and_triclinic_cells_are_accepted():
    atoms = bulk_water()
    atoms.set_cell(atoms.cell[[1, 0, 2]])
    prepare(atoms)
    assert np.linalg.det(atoms.cell) < 0


def test_open_structures_may_have_any_cell():
    atoms = open_water()
    prepare(atoms)
    atoms.cell[0] = [1.0, 0, 0]
    prepare(atoms)


@pytest.mark.parametrize("boundary", ["periodic", "slab"])
def test_stored_boundary_needs_periodic_axes(boundary):
    with pytest.raises(UserError, match=f"--boundary {boundary} needs a structure that is period"):
        prepare(open_water(), boundary=boundary)


def test_stored_slab_needs_a_gap_that_no_pair_crosses():
    def slab(gap):
        atoms = slab_water()
        atoms.cell[2, 2] = 9.6 + gap
        atoms.pbc = True
        return atoms

    prepare(slab(MINIMUM_VACUUM_GAP + 0.1), boundary="slab")
    for gap, r_max, options in (
        (MINIMUM_VACUUM_GAP - 0.1, 3.0, {}),
        (5.9, 6.0, {}),
        (6.9, 6.0, {"coulomb_terms": "full", "coulomb_cutoff": 7.0}),
    ):
        with pytest.raises(UserError, match="--boundary slab: the slab has no vacuum gap.*enlarge"):
            prepare(slab(gap), r_max, boundary="slab", **options)
        prepare(slab(gap + 1.0), r_max, boundary="slab", **options)


def test_stored_slab_needs_a_perpendicular_axis():
    atoms = with_cell(slab_water(), 2, [0, 1.0, 18.0], [True, True, True])
    prepare(atoms)  # three periodic axes: a triclinic crystal
    prepare(atoms, boundary="open")
    with pytest.raises(UserError, match="--boundary slab: cell vector 2.*not perpendicular"):
        prepare(atoms, boundary="slab")


@pytest.mark.parametrize("axis", [0, 1])
def test_slab_axis_is_the_one_that_is_named(axis):
    atoms = slab_water()
    order = {0: [2, 0, 1], 1: [0, 2, 1]}[axis]
    atoms.set_cell(atoms.cell[order])
    atoms.pbc = np.arange(3) != axis
    prepare(atoms)
    atoms.pbc = True
    prepare(atoms, boundary="slab", slab_axis=axis)
    atoms.cell[axis, 0] = 1.0
    with pytest.raises(UserError, match=f"cell vector {axis}, across the slab"):
        prepare(atoms, boundary="slab", slab_axis=axis)


def calculate(model, atoms):
    atoms.calc = SmileCalculator(model)
    atoms.get_potential_energy()


def evaluate_frame(model, atoms):
    list(ModelEvaluator(model).outputs([atoms]))


@pytest.mark.parametrize("route", [calculate, evaluate_frame])
def test_calculator_and_evaluation_refuse_the_same(route):
    slab = with_cell(slab_water(), 2, [0, 0, 9.6 + R_MAX - 0.1], [True, True, True])
    with pytest.raises(UserError, match="--boundary slab: .*no vacuum gap along cell axis 2"):
        route(make_model(boundary="slab"), slab)
    with pytest.raises(UserError, match="is not perpendicular to the other two"):
        route(make_model(), with_cell(slab_water(), 2, [0.1, 0, 18]))
    with pytest.raises(UserError, match="so the cell has no volume"):
        route(make_model(), with_cell(bulk_water(), 2, [6.9, 6.3, 0]))
    with pytest.raises(UserError, match="--boundary periodic needs a structure that is periodic"):
        route(make_model(boundary="periodic"), open_water())


def test_net_charges_are_refused_where_the_model_says_so():
    atoms = bulk_water()
    atoms.info["total_charge"] = 1.0
    prepare(atoms)
    prepare(atoms, net_charge="error", boundary="open")
    with pytest.raises(UserError, match="structure H16O8 .*the net charge is 1 e in a cell"):
        prepare(atoms, net_charge="error")
    atoms.info["total_charge"] = 0.0
    prepare(atoms, net_charge="error")


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_slabs_do_not_depend_on_the_order_of_their_cell_vectors(order):
    """MACE puts a Cartesian axis in place of the vector that is not periodic."""
    model = make_model(coulomb_terms="full", coulomb_cutoff=5.0)
    expected = energy_of(model, slab_water())
    atoms = slab_water()
    atoms.set_cell(atoms.cell.array[list(order)])
    atoms.pbc = np.array([True, True, False])[list(order)]
    assert energy_of(model, atoms) == pytest.approx(expected, abs=1e-10)
    atoms.cell[order.index(2)] = 0.0
    assert energy_of(model, atoms) == pytest.approx(expected, abs=1e-10)


@pytest.mark.parametrize("angle", [90.0, 89.999, 30.0])
def test_slabs_do_not_depend_on_their_orientation(angle):
    model = make_model(coulomb_terms="full", coulomb_cutoff=5.0)
    expected = energy_of(model, slab_water())
    atoms = slab_water()
    atoms.rotate(angle, "y", rotate_cell=True)
    assert energy_of(model, atoms) == pytest.approx(expected, abs=1e-8)


def test_two_atoms_at_one_place_are_refused():
    atoms = slab_water()
    atoms.positions[7] = atoms.positions[3]
    with pytest.raises(
        UserError, match="the atoms 3 and 7 are at the same place, 0.0* A apart; remove one"
    ):
        make_batch([atoms], make_model())
