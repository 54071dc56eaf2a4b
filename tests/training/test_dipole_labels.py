"""Along which axes a dipole is a label, modulo what, and what its error is divided by."""

import numpy as np
import pytest
import torch
from mace.data import AtomicData, KeySpecification, config_from_atoms
from mace.tools import AtomicNumberTable, torch_geometric

from helpers import ELEMENTS, bulk_water, open_water, slab_water
from mace_smile.errors import UserError
from mace_smile.structures import StructureSettings
from mace_smile.training.dipole_labels import dipole_axes
from mace_smile.training.labels import LabelSettings, check_labels, with_complete_labels
from mace_smile.training.losses import MacroDipole, macro_dipole_errors
from training_data import frames

KEYS = KeySpecification(
    info_keys={"energy": "REF_energy", "dipole": "REF_dipole", "polarization": "REF_polarization"},
    arrays_keys={"forces": "REF_forces"},
)
ANY = StructureSettings()


def configuration(atoms):
    return config_from_atoms(atoms, key_specification=KEYS)


def batch_of(structures, **settings):
    from_config = with_complete_labels(AtomicData.from_config, LabelSettings(**settings))
    table = AtomicNumberTable(ELEMENTS)
    data = [from_config(configuration(atoms), z_table=table, cutoff=4.0) for atoms in structures]
    return torch_geometric.Batch.from_data_list(data)


def with_dipole(atoms, dipole=(0.1, 0.2, 0.3), **info):
    atoms.info["REF_dipole"] = np.array(dipole)
    atoms.info.update(info)
    return atoms


@pytest.mark.parametrize(
    ("pbc", "structure", "asked", "weights"),
    [
        ((False, False, False), ANY, "auto", [1, 1, 1]),
        ((True, True, False), ANY, "auto", [0, 0, 1]),
        ((True, False, True), ANY, "auto", [0, 1, 0]),
        ((True, True, True), ANY, "auto", [0, 0, 0]),
        ((False, False, False), ANY, "xz", [1, 0, 1]),
        ((True, True, True), StructureSettings(boundary="slab"), "auto", [0, 0, 1]),
        ((True, True, True), StructureSettings(boundary="open"), "auto", [1, 1, 1]),
        ((False, False, False), StructureSettings(boundary="periodic"), "auto", [0, 0, 0]),
    ],
)
def test_dipole_is_a_label_along_non_periodic_axes(pbc, structure, asked, weights):
    atoms = frames(1)[0]
    atoms.set_cell([9.0, 9.0, 30.0])
    atoms.pbc = pbc
    assert dipole_axes(configuration(atoms), structure, asked).tolist() == weights


def test_dipole_along_a_periodic_axis_is_refused_unless_the_quantum_is_given():
    config = configuration(slab_water())
    with pytest.raises(UserError, match=r"periodic axis x, .*--dipole_quantum 1 \(or 2"):
        dipole_axes(config, ANY, "xz")
    assert dipole_axes(config, ANY, "xz", quantum=1).tolist() == [1, 0, 1]


def test_dipole_of_a_tilted_slab_is_refused():
    atoms = slab_water()
    atoms.rotate(20, "y", rotate_cell=True)
    with pytest.raises(UserError, match="slab normal is not along x, y or z"):
        dipole_axes(configuration(atoms), ANY)


def test_a_mixed_set_has_the_axes_of_each_frame():
    """Clusters, slabs labelled along z only, and bulk labelled along all axes."""
    structures = [
        with_dipole(open_water()),
        with_dipole(slab_water(), config_dipole_weight=np.array([0.0, 0.0, 2.0])),
        bulk_water(),
        with_dipole(bulk_water()),
    ]
    batch = batch_of(structures, dipole_axes="xyz", dipole_quantum=2)
    expected = [[1, 1, 1], [0, 0, 2], [0, 0, 0], [1, 1, 1]]
    assert batch.dipole_weight.tolist() == expected
    quanta = batch.dipole_quantum.view(-1, 3, 3)
    assert (quanta[:3] == 0).all()  # no label along a periodic axis
    volume = abs(np.linalg.det(bulk_water().cell.array))
    assert abs(np.linalg.det(quanta[3])) == pytest.approx(2.0**3 * volume)
    # An error of one quantum, and of less than half of one.
    pred = {"macro_dipole": batch.dipole + 2.0 * torch.tensor(bulk_water().cell.array)[0] + 0.05}
    errors, weights = macro_dipole_errors(batch, pred)
    assert weights.tolist() == expected
    torch.testing.assert_close(errors[3], torch.full((3,), 0.05), atol=1e-12, rtol=0)
    assert abs(float(errors[0, 0])) > 10


def test_slabs_may_be_labelled_in_their_plane_too():
    atoms = with_dipole(slab_water())  # its cell is skewed in the plane
    batch = batch_of([atoms], dipole_axes="xyz", dipole_quantum=1)
    assert batch.dipole_weight.tolist() == [[1, 1, 1]]
    jump = torch.tensor([6.2 + 0.8, 6.4, 0.0])
    errors, _ = macro_dipole_errors(batch, {"macro_dipole": batch.dipole + jump})
    torch.testing.assert_close(errors, torch.zeros(1, 3), atol=1e-12, rtol=0)
    along = torch.tensor([0.0, 0.0, 18.0])
    errors, _ = macro_dipole_errors(batch, {"macro_dipole": batch.dipole + along})
    assert float(errors[0, 2]) == pytest.approx(18.0)


def test_one_component_of_a_skewed_lattice_is_no_label():
    atoms = with_dipole(bulk_water())
    with pytest.raises(UserError, match="is a label along z only, but a lattice vector has parts"):
        batch_of([atoms], dipole_axes="z", dipole_quantum=1)
    atoms.info["config_dipole_weight"] = 0.0
    assert batch_of([atoms], dipole_axes="z", dipole_quantum=1).dipole_quantum.abs().sum() == 0
    straight = with_dipole(bulk_water())
    # The same lattice, of a basis that is skewed.
    straight.set_cell([[6.2, 0, 0], [6.2, 6.3, 0], [0, 0, 6.1]])
    batch = batch_of([straight], dipole_axes="z", dipole_quantum=1)
    assert batch.dipole_weight.tolist() == [[0, 0, 1]]


def test_polarization_is_the_dipole_by_the_volume():
    atoms = bulk_water()
    atoms.info["REF_polarization"] = np.array([0.001, -0.002, 0.0])
    batch = batch_of([atoms, open_water()], dipole_quantum=2)
    dipole = atoms.get_volume() * atoms.info["REF_polarization"]
    torch.testing.assert_close(batch.dipole[0], torch.tensor(dipole))
    assert batch.dipole_weight.tolist() == [[1, 1, 1], [0, 0, 0]]
    assert "polarization" not in batch.to_dict()
    atoms.info["config_polarization_weight"] = 0.5
    assert batch_of([atoms], dipole_quantum=2).dipole_weight.tolist() == [[0.5, 0.5, 0.5]]


def test_polarizations_that_mean_nothing_are_refused():
    atoms = with_dipole(bulk_water(), REF_polarization=np.zeros(3))
    with pytest.raises(UserError, match="labels of both `dipole` and `polarization`"):
        batch_of([atoms], dipole_quantum=2)
    slab = slab_water()
    slab.info["REF_polarization"] = np.zeros(3)
    with pytest.raises(UserError, match="not periodic along three axes, so it has no volume"):
        batch_of([slab], dipole_quantum=2)
    slab.info["REF_polarization"] = np.zeros(2)
    with pytest.raises(UserError, match=r"`polarization` has shape \(2,\) but must have \(3,\)"):
        check_labels(configuration(slab))


def loss_of(atoms, norm, **settings):
    batch = batch_of([atoms], macro_dipole_norm=norm, **settings)
    error = torch.tensor([[0.0, 0.0, 0.6]])
    return MacroDipole(1.0)(batch, {"macro_dipole": batch.dipole + error}).item()


def test_loss_is_by_atom_by_area_or_total():
    atoms = with_dipole(slab_water())
    area = 6.2 * 6.4
    assert loss_of(atoms, "per_atom") == pytest.approx(0.36 / len(atoms))
    assert loss_of(atoms, "per_area") == pytest.approx(0.36 / area**2)
    assert loss_of(atoms, "total") == pytest.approx(0.36)


@pytest.mark.parametrize(
    ("build", "kind"), [(open_water, "open"), (bulk_water, "periodic along three axes")]
)
def test_an_area_is_that_of_a_slab(build, kind):
    settings = {"dipole_axes": "xyz", "dipole_quantum": 1}
    with pytest.raises(UserError, match=f"area of a slab, but the structure is {kind}; use per_"):
        loss_of(with_dipole(build()), "per_area", **settings)
    atoms = with_dipole(build(), config_dipole_weight=0.0)
    assert loss_of(atoms, "per_area", **settings) == 0.0
