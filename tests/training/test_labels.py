import numpy as np
import pytest
import torch
from mace.data import AtomicData, KeySpecification, config_from_atoms, update_keyspec_from_kwargs
from mace.tools import AtomicNumberTable, torch_geometric

from helpers import ELEMENTS, slab_water
from mace_smile.errors import UserError
from mace_smile.training.labels import (
    LabelSettings,
    add_label_keys,
    check_labels,
    complete_labels,
    with_complete_labels,
)
from training_data import frames, labelled

KEYS = {
    "energy_key": "REF_energy",
    "forces_key": "REF_forces",
    "stress_key": "REF_stress",
    "dipole_key": "REF_dipole",
    "charges_key": "REF_charges",
    "total_charge_key": "total_charge",
    "becs_key": "REF_becs",
    "given_charges_key": "electrode_charge",
    "given_mask_key": "electrode",
}
EVERYTHING = LabelSettings(born_effective_charges=True, given_charges=True)


def configuration(atoms):
    keys = add_label_keys(update_keyspec_from_kwargs(KeySpecification(), KEYS), KEYS)
    return config_from_atoms(atoms, key_specification=keys)


def batch_of(structures, settings=EVERYTHING):
    from_config = with_complete_labels(AtomicData.from_config, settings)
    table = AtomicNumberTable(ELEMENTS)
    data = [from_config(configuration(atoms), z_table=table, cutoff=4.0) for atoms in structures]
    return torch_geometric.Batch.from_data_list(data)


@pytest.mark.parametrize("labelled_frame", [0, 1, 2])
def test_frames_with_and_without_labels_share_a_batch(labelled_frame):
    structures = frames(3)
    for number, atoms in enumerate(structures):
        if number != labelled_frame:
            del atoms.info["REF_dipole"], atoms.arrays["REF_becs"], atoms.arrays["REF_charges"]
    batch = batch_of(structures)
    present = [float(number == labelled_frame) for number in range(3)]
    assert batch.born_effective_charges.shape == (18, 3, 3)
    assert batch.born_effective_charges_weight.tolist() == present
    assert batch.charges_weight.tolist() == present
    assert batch.dipole_weight.tolist() == [[value] * 3 for value in present]
    assert batch.given_charges.shape == (18, 1)
    assert batch.given_mask.abs().sum() == 0


def test_born_charges_keep_the_field_index_first():
    atoms = frames(1)[0]
    columns = np.zeros((6, 9))
    columns[4, 1] = 5.0  # second of nine: field x, displacement y
    atoms.arrays["REF_becs"] = columns
    assert batch_of([atoms]).born_effective_charges[4, 0, 1] == 5.0


def test_given_charges_are_columns():
    batch = batch_of([labelled(frames(1)[0]), slab_water()])
    assert batch.given_charges.shape == batch.given_mask.shape == (32, 1)
    assert batch.given_charges[-2:].flatten().tolist() == [0.2, -0.2]
    assert batch.given_mask.sum() == 2


def test_weights_of_a_frame_are_taken_from_the_file():
    atoms = frames(1)[0]
    atoms.info["config_dipole_weight"] = np.array([0.0, 0.0, 2.0])
    atoms.info["config_born_effective_charges_weight"] = 0.25
    batch = batch_of([atoms])
    assert batch.dipole_weight.tolist() == [[0.0, 0.0, 2.0]]
    assert batch.born_effective_charges_weight.tolist() == [0.25]


def test_single_atom_frame_works():
    structures = frames(1)
    structures.append(structures[0][[0]])
    structures[1].info["REF_dipole"] = np.zeros(3)
    batch = batch_of(structures)
    assert batch.born_effective_charges.shape == (7, 3, 3)
    assert batch.num_graphs == 2


def test_batch_keeps_the_given_cell_of_a_slab():
    atoms = slab_water()
    batch = batch_of([atoms])
    torch.testing.assert_close(batch.cell, torch.tensor(np.array(atoms.cell)))
    assert batch.volume.item() == pytest.approx(atoms.get_volume())


def test_dipoles_that_are_no_labels_have_no_weight():
    config = complete_labels(configuration(frames(1)[0]), LabelSettings(macro_dipole=False))
    assert config.property_weights["dipole"].tolist() == [0, 0, 0]


@pytest.mark.parametrize(
    ("place", "key", "value", "message"),
    [
        ("info", "REF_dipole", np.zeros(2), r"`dipole` has shape \(2,\) but must have \(3,\)"),
        ("info", "REF_dipole", "large", "`dipole` is 'large' but must hold numbers"),
        ("info", "REF_dipole", np.array([0, np.nan, 0]), "1 values that are NaN or infinite"),
        ("info", "REF_energy", np.nan, "`energy` holds 1 values that are NaN"),
        ("info", "total_charge", np.inf, "`total_charge` holds 1 values"),
        ("info", "config_dipole_weight", -1.0, "config_dipole_weight is -1.0 but"),
        ("info", "config_energy_weight", np.ones(3), "config_energy_weight is .* one number"),
        ("arrays", "REF_becs", np.zeros((6, 3)), r"\(6, 3\) but must have \(6, 9\) or \(6, 3, 3"),
        ("arrays", "REF_becs", np.full((6, 9), np.nan), "54 values that are NaN"),
        ("arrays", "REF_charges", np.zeros((6, 2)), r"must have \(6,\)"),
        ("arrays", "REF_forces", np.full((6, 3), np.inf), "`forces` holds 18 values"),
    ],
)
def test_labels_of_wrong_shape_or_without_numbers_are_refused(place, key, value, message):
    atoms = frames(1)[0]
    getattr(atoms, place)[key] = value
    with pytest.raises(UserError, match=message):
        check_labels(configuration(atoms))
