"""The order of the indices of Born effective charges: convention, conversion, detection."""

import ase
import ase.io
import numpy as np
import pytest

from born_outputs import bent_molecule, born_charges, dipole, dipole_change, force_by_field
from mace_smile.errors import UserError
from mace_smile.io.born_detection import OrderTest, detect_order, resolve_order, rotational_residual
from mace_smile.io.born_files import order_of_files, order_of_frames, put_field_first
from mace_smile.io.born_order import (
    acoustic_sum,
    born_charges_of,
    displacement_first,
    field_first,
    set_born_charges,
)

EMBEDDED = "examples/data/water_born_charges/water_born_charges_train.xyz"


def labelled(positions=None, order="field_first", with_dipole=True, **cell):
    """A frame of the molecule with its tensors in an order."""
    atoms = bent_molecule()
    if positions is not None:
        atoms.positions = positions
    tensors = born_charges(atoms.positions)
    if order == "displacement_first":
        tensors = displacement_first(tensors)
    atoms.arrays["REF_becs"] = tensors.reshape(-1, 9)
    if with_dipole:
        atoms.info["REF_dipole"] = dipole(atoms.positions)
    return ase.Atoms(atoms, **cell) if cell else atoms


def trajectory(order, n_frames=4, with_dipole=True, **cell):
    """Frames a little apart; periodic ones have atoms wrapped into the cell."""
    generator = np.random.default_rng(3)
    frames = []
    for _ in range(n_frames):
        positions = bent_molecule().positions + 0.05 * generator.normal(size=(3, 3))
        frame = labelled(positions, order, with_dipole)
        if cell:
            frame.cell, frame.pbc = cell["cell"], True
            frame.wrap()
        frames.append(frame)
    return frames


def test_field_first_answers_a_field_by_a_force():
    """Row a of a tensor is the force in a field along a; column b the dipole of a displacement."""
    positions = bent_molecule().positions
    tensors = born_charges(positions)
    assert np.abs(tensors - tensors.transpose(0, 2, 1)).max() > 0.02
    np.testing.assert_allclose(tensors[1, 0], force_by_field(positions, 1, 0), atol=1e-12)
    np.testing.assert_allclose(tensors[1, :, 2], dipole_change(positions, 1, 2), atol=1e-12)
    rows = displacement_first(tensors)
    np.testing.assert_allclose(rows[1, 2], dipole_change(positions, 1, 2), atol=1e-12)


def test_both_orders_come_back_from_nine_columns():
    tensors = np.arange(27.0).reshape(3, 3, 3)
    np.testing.assert_array_equal(field_first(tensors.reshape(3, 9), "field_first"), tensors)
    exchanged = displacement_first(tensors)
    assert exchanged[0, 0, 1] == tensors[0, 1, 0] != tensors[0, 0, 1]
    back = field_first(exchanged.reshape(3, 9), "displacement_first")
    np.testing.assert_array_equal(back, tensors)
    back[:] = 0.0  # a copy: what came in stays
    assert exchanged.any()


def test_acoustic_sum_leaves_the_total_charge_out():
    tensors = np.stack([1.5 * np.eye(3), -0.5 * np.eye(3)])
    np.testing.assert_allclose(acoustic_sum(tensors, 1.0), 0.0)
    np.testing.assert_allclose(acoustic_sum(tensors), np.eye(3))


@pytest.mark.parametrize("order", ["field_first", "displacement_first"])
def test_rotational_sum_rule_tells_the_order_of_open_structures(order):
    detected = detect_order([labelled(order=order), labelled(order=order)])
    assert detected.order == order
    any_dipole, rotation, difference = detected.tests
    for test in (any_dipole, rotation):
        right, wrong = sorted(test.residuals.values())
        assert test.residuals[order] == right
        assert right < 1e-8
        assert wrong > 0.01
    assert (any_dipole.n_frames, rotation.n_frames, difference.n_frames) == (2, 2, 0)
    assert detected.asymmetry > 0.01


@pytest.mark.parametrize("order", ["field_first", "displacement_first"])
def test_turning_a_molecule_tells_the_order_without_its_dipole(order):
    """Also of ions, whose dipole depends on the origin, and beside a dipole in another unit."""
    plain, ion, debye = (labelled(order=order, with_dipole=False) for _ in range(3))
    ion.arrays["REF_becs"] += np.eye(3).ravel() / 3  # one charge more
    ion.positions += 7.0
    ion.info["REF_dipole"] = np.array([7.0, 7.0, 7.0])
    debye.info["REF_dipole"] = dipole(debye.positions) * 4.80320471
    for atoms in (plain, ion, debye):
        detected = detect_order([atoms])
        assert detected.order == order
        assert detected.tests[0].residuals[order] < 1e-8
        assert detected.tests[1].verdict is None
    assert [detect_order([atoms]).tests[1].n_frames for atoms in (plain, ion, debye)] == [0, 0, 1]


def test_rotational_residual_does_not_depend_on_the_origin():
    atoms = labelled()
    tensors = born_charges_of(atoms) + 1e-3  # a small violation of the acoustic sum rule
    before = rotational_residual(atoms, tensors, atoms.info["REF_dipole"])
    atoms.positions += 50.0
    after = rotational_residual(atoms, tensors, atoms.info["REF_dipole"])
    np.testing.assert_allclose(after, before, atol=1e-10)


@pytest.mark.parametrize("order", ["field_first", "displacement_first"])
def test_differences_of_dipoles_tell_the_order_of_periodic_frames(order):
    """Atoms cross the cell boundary and dipoles jump by whole quanta in between."""
    frames = trajectory(order, cell=np.diag([5.0, 6.0, 7.0]))
    frames[1].info["REF_dipole"] = frames[1].info["REF_dipole"] + [5.0, 0.0, -14.0]
    detected = detect_order(frames)
    assert detected.order == order
    any_dipole, rotation, difference = detected.tests
    assert (any_dipole.n_frames, rotation.n_frames, difference.n_frames) == (0, 0, 3)
    right, wrong = sorted(difference.residuals.values())
    assert wrong > 5 * right


@pytest.mark.parametrize(
    "frames",
    [
        trajectory("field_first", with_dipole=False, cell=np.eye(3) * 9),
        trajectory("field_first", 1, cell=np.eye(3) * 9),
    ],
)
def test_periodic_frames_without_dipole_differences_cannot_tell(frames):
    detected = detect_order(frames)
    assert detected.order is None
    assert detected.reason == "there is no open frame, and no pair of near frames with dipoles"
    with pytest.raises(UserError, match="cannot be told: there is no.*--becs_order field_first"):
        resolve_order(frames, "auto")
    assert resolve_order(frames, "displacement_first")[0] == "displacement_first"


def test_symmetric_tensors_are_in_both_orders():
    atoms = bent_molecule()
    atoms.arrays["REF_becs"] = np.tile(np.eye(3).ravel(), (3, 1))
    atoms.info["REF_dipole"] = dipole(atoms.positions)
    detected = detect_order([atoms])
    assert detected.order is None
    assert "symmetric" in detected.reason
    assert resolve_order([atoms], "auto")[0] == "field_first"


def test_tensors_of_another_structure_tell_nothing():
    atoms = labelled()
    atoms.positions = np.random.default_rng(1).normal(size=(3, 3))
    detected = detect_order([atoms])
    assert detected.order is None
    assert "neither order fits clearly better" in detected.reason


def test_few_frames_must_tell_more_clearly_than_many():
    residuals = {"field_first": 0.01, "displacement_first": 0.02}
    assert OrderTest("few", 3, residuals).verdict is None
    assert OrderTest("many", 30, residuals).verdict == "field_first"


def test_given_order_must_not_contradict_the_dipoles():
    frames = [labelled(order="displacement_first")]
    message = "is contradictory: .--becs_order. is field_first, the data say displ"
    with pytest.raises(UserError, match=f"{message}.*residual 0.2.* e A if field_first, 0.0000"):
        resolve_order(frames, "field_first")
    assert resolve_order(frames, "displacement_first")[0] == "displacement_first"
    assert resolve_order(frames, "auto")[0] == "displacement_first"


def test_frames_written_here_know_their_order():
    """A file of ours is not transposed a second time, even where its data do not tell."""
    (atoms,) = trajectory("field_first", 1, cell=np.eye(3) * 9)
    set_born_charges(atoms, born_charges_of(atoms))
    assert resolve_order([atoms], "auto")[0] == "field_first"
    with pytest.raises(UserError, match="is displacement_first, the header of a frame says field"):
        resolve_order([atoms], "displacement_first")


def test_headers_that_name_no_order_are_refused():
    atoms = labelled()
    atoms.info["becs_order"] = "rows"
    with pytest.raises(UserError, match="'becs_order' in the header of a frame is 'rows' but must"):
        resolve_order([atoms], "field_first")


def test_many_frames_are_sampled_in_pairs(tmp_path, caplog):
    """Few frames in a long file tell by the differences of their dipoles."""
    frames = trajectory("displacement_first", 1001, cell=np.diag([5.0, 6.0, 7.0]))
    with caplog.at_level("INFO"):
        assert order_of_frames({"long.xyz": frames}) == "displacement_first"
    assert "long.xyz: the order of the indices of 'REF_becs' is tested on 400 of its 1001" in (
        caplog.text
    )


def test_frames_are_put_into_one_order_once():
    frames = [labelled(order="displacement_first"), bent_molecule()]
    put_field_first(frames, "REF_becs", "displacement_first")
    expected = born_charges(frames[0].positions)
    np.testing.assert_allclose(born_charges_of(frames[0]), expected, atol=1e-12)
    assert frames[0].info["becs_order"] == "field_first"
    assert "REF_becs" not in frames[1].arrays
    with pytest.raises(UserError, match="header of a frame says field_first"):
        order_of_frames({"frames.xyz": frames}, "displacement_first")


def test_files_of_a_training_have_one_order(tmp_path):
    paths = {name: tmp_path / f"{name}.xyz" for name in ("open", "bulk", "other", "energies")}
    order = "displacement_first"
    ase.io.write(paths["open"], [labelled(order=order), bent_molecule()])
    ase.io.write(paths["bulk"], trajectory(order, with_dipole=False, cell=np.eye(3) * 9))
    ase.io.write(paths["other"], labelled(order="field_first"))
    ase.io.write(paths["energies"], bent_molecule())
    mixed = [paths[name] for name in ("bulk", "open", "energies")]
    assert order_of_files(mixed) == order
    assert order_of_files(mixed, order) == order
    with pytest.raises(UserError, match="open.xyz: the order .* is contradictory: `--becs_order`"):
        order_of_files(mixed, "field_first")
    with pytest.raises(UserError, match="in two orders .*open.xyz: displ.*other.xyz: field_first"):
        order_of_files([*mixed, paths["other"]])
    with pytest.raises(UserError, match="cannot be told: there is no open frame"):
        order_of_files([paths["bulk"]])
    with pytest.raises(UserError, match="no frame in .*energies.xyz has 'REF_becs'; give the key"):
        order_of_files([paths["energies"]])
    with pytest.raises(UserError, match="becs_order. is 'xy' but must be one of auto, field_first"):
        order_of_files(mixed, "xy")


def test_embedded_set_is_field_first():
    frames = ase.io.read(EMBEDDED, ":")
    detected = detect_order(frames)
    assert detected.order == "field_first"
    for frame in frames:
        exchanged = displacement_first(frame.arrays["REF_becs"].reshape(-1, 3, 3))
        frame.arrays["REF_becs"] = exchanged.reshape(-1, 9)
    assert detect_order(frames).order == "displacement_first"


def test_columns_ase_moves_into_a_calculator_are_found(tmp_path):
    atoms = labelled()
    atoms.arrays["born_effective_charges"] = atoms.arrays.pop("REF_becs")
    ase.io.write(tmp_path / "frame.xyz", atoms)
    frame = ase.io.read(tmp_path / "frame.xyz")
    assert "born_effective_charges" not in frame.arrays
    found = born_charges_of(frame, "born_effective_charges")
    np.testing.assert_allclose(found, born_charges(atoms.positions), atol=1e-7)
    set_born_charges(frame, found, "born_effective_charges")
    assert "born_effective_charges" not in frame.calc.results


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (np.zeros((3, 3)), r"shape \(3, 3\) but must have \(3, 9\)"),
        (np.full((3, 9), np.nan), "27 values that are NaN"),
        (np.full((3, 9), "a"), "must hold numbers"),
    ],
)
def test_wrong_labels_are_refused(value, message):
    atoms = bent_molecule()
    atoms.arrays["REF_becs"] = value
    with pytest.raises(UserError, match=message):
        born_charges_of(atoms)


def test_wrong_arguments_are_refused():
    with pytest.raises(UserError, match="order is 'xyz' but must be one of field_first, disp"):
        field_first(np.zeros((2, 9)), "xyz")
    with pytest.raises(UserError, match=r"shape \(6, 3\) but must have nine numbers an atom"):
        field_first(np.zeros((6, 3)), "field_first")
    atoms = bent_molecule()
    atoms.info["REF_becs"] = np.zeros(27)
    with pytest.raises(UserError, match="one value for the whole frame .27 numbers. but must be"):
        born_charges_of(atoms)
    frame = labelled()
    frame.info["REF_dipole"] = 1.85
    with pytest.raises(UserError, match=r"'REF_dipole' has shape \(\) but must have \(3,\)"):
        detect_order([frame])
