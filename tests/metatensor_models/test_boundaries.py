"""One structure, however the engine hands it over: wrapped, permuted, or called periodic."""

import ase
import numpy as np
import pytest
import torch
from metatomic.torch import AtomisticModel, systems_to_torch

from exported import build, forces, run, to_system
from helpers import R_MAX, bulk_water, make_model, open_water, slab_water
from mace_smile.errors import UserError
from mace_smile.model.options import SmileOptions
from mace_smile.physics.electrostatics import COULOMB_CONSTANT
from metatensor_models.boundary import make_whole, move_shifts, periodic_axes
from metatensor_models.export import check_net_charge
from metatensor_models.options import ExportOptions
from metatensor_models.structure_checks import check_system

CHI = 0.4
DIPOLE = "mace_smile::macro_dipole"


@pytest.fixture(scope="module")
def engine_decides() -> AtomisticModel:
    torch.set_default_dtype(torch.float64)
    return build(make_model(susceptibility=CHI))


@pytest.fixture(scope="module")
def stored_slab() -> AtomisticModel:
    torch.set_default_dtype(torch.float64)
    return build(make_model(susceptibility=CHI), boundary="slab")


def energy_and_dipole(model: AtomisticModel, atoms: ase.Atoms) -> tuple[float, np.ndarray]:
    outputs = run(model, [to_system(model, atoms)], ["energy", DIPOLE])
    return outputs["energy"].item(), outputs[DIPOLE].detach().numpy()[0]


def as_periodic(atoms: ase.Atoms, shift: float = 0.0) -> ase.Atoms:
    """The slab as i-PI and LAMMPS give it: three periodic axes, atoms wrapped into the cell."""
    atoms = atoms.copy()
    atoms.positions[:, 2] += shift
    atoms.pbc = True
    atoms.wrap()
    return atoms


@pytest.mark.parametrize("shift", [0.0, 5.0, 11.3, -7.0])
def test_slab_called_periodic_gives_what_a_slab_gives(engine_decides, stored_slab, shift):
    slab = slab_water()
    cut = as_periodic(slab, shift)
    energy, dipole = energy_and_dipole(engine_decides, slab)
    cut_energy, cut_dipole = energy_and_dipole(stored_slab, cut)
    assert cut_energy == pytest.approx(energy, abs=1e-10)
    # the cell is neutral, so the shift of the whole slab does not change the dipole
    assert cut_dipole[2] == pytest.approx(dipole[2], abs=1e-10)
    for output in ("energy", "energy/tilted"):
        np.testing.assert_allclose(
            forces(stored_slab, cut, output),
            forces(engine_decides, slab, output),
            atol=1e-10,
        )


def test_stored_slab_also_takes_a_slab_from_an_engine_that_knows_them(engine_decides, stored_slab):
    slab = slab_water()
    assert energy_and_dipole(stored_slab, slab)[0] == energy_and_dipole(engine_decides, slab)[0]


def test_stored_open_boundary_undoes_a_periodic_box(engine_decides):
    cluster = open_water()
    boxed = cluster.copy()
    boxed.set_cell([[18.0, 0, 0], [1.0, 17.0, 0], [0.5, -1.0, 16.0]])
    boxed.pbc = True
    boxed.positions -= 3.0
    boxed.wrap()
    stored_open = build(make_model(susceptibility=CHI), boundary="open")
    energy, dipole = energy_and_dipole(engine_decides, cluster)
    boxed_energy, boxed_dipole = energy_and_dipole(stored_open, boxed)
    assert boxed_energy == pytest.approx(energy, abs=1e-10)
    np.testing.assert_allclose(boxed_dipole, dipole, atol=1e-10)
    np.testing.assert_allclose(
        forces(stored_open, boxed, "energy/z05"),
        forces(engine_decides, cluster, "energy/z05"),
        atol=1e-10,
    )
    assert energy_and_dipole(stored_open, cluster)[0] == pytest.approx(energy, abs=1e-10)


@pytest.mark.parametrize("create", [bulk_water, slab_water, open_water])
def test_order_of_atoms_and_neighbours_does_not_matter(engine_decides, create):
    atoms = create()
    order = np.random.default_rng(5).permutation(len(atoms))
    reference = forces(engine_decides, atoms, "energy/tilted")
    np.testing.assert_allclose(
        forces(engine_decides, atoms[order], "energy/tilted"), reference[order], atol=1e-10
    )
    np.testing.assert_allclose(
        forces(engine_decides, atoms, "energy/tilted", seed=7), reference, atol=1e-10
    )


def test_images_of_atoms_do_not_matter_along_periodic_axes(engine_decides):
    atoms = bulk_water()
    moved = atoms.copy()
    moved.positions += np.random.default_rng(6).integers(-2, 3, (len(atoms), 3)) @ atoms.cell
    for output in ("energy", "energy/tilted"):
        np.testing.assert_allclose(
            forces(engine_decides, moved, output), forces(engine_decides, atoms, output), atol=1e-9
        )


def test_slab_without_a_gap_is_refused(stored_slab):
    with pytest.raises(torch.jit.Error, match="no vacuum gap along cell axis 2.*enlarge"):
        forces(stored_slab, bulk_water())
    narrow = as_periodic(slab_water(height=9.6 + R_MAX - 0.1))
    with pytest.raises(torch.jit.Error, match="must exceed 4"):
        forces(stored_slab, narrow)
    assert np.isfinite(forces(stored_slab, as_periodic(slab_water(9.6 + R_MAX + 0.1)))).all()


def test_one_periodic_axis_is_refused(engine_decides):
    wire = bulk_water()
    wire.pbc = [False, False, True]
    with pytest.raises(torch.jit.Error, match="periodic along one axis only"):
        forces(engine_decides, wire)


def test_cells_without_volume_are_refused():
    flat = bulk_water()
    flat.cell[2] = flat.cell[0] + flat.cell[1]
    line = slab_water()
    line.cell[1] = 2 * line.cell[0]
    line.cell[2] = 0
    for atoms, message in (
        (flat, "so the cell has no volume; give three independent"),
        (line, "are parallel, so the slab has no area"),
    ):
        system = systems_to_torch(atoms, dtype=torch.float64)
        with pytest.raises(ValueError, match=message):
            check_system(system, [], torch.float64)


def test_slab_axis_of_an_engine_must_be_perpendicular(stored_slab):
    tilted = as_periodic(slab_water(18.1))
    tilted.cell[2, 0] = 1.5
    with pytest.raises(
        torch.jit.Error, match=r"cell vector 2, across the slab.*\[2\] = \[0, 0, 18.1\]`"
    ):
        forces(stored_slab, tilted)


def test_stored_total_charge_tells_what_its_background_costs(caplog):
    smile = SmileOptions(smearing=1.5, screening_value=2.0)
    term = -np.pi * COULOMB_CONSTANT * (1.5 / 2.0) ** 2 / 1000.0
    images = -2.837297 * COULOMB_CONSTANT / 2.0**2 / (2 * 10.0)
    check_net_charge(smile, R_MAX, ExportOptions(total_charge=-1.0))
    assert "charge of -1 e: at a volume of 1000 A^3" in caplog.text
    assert f"the background term is {term:.3g} eV, and the images" in caplog.text
    assert f"the energy by about {images:.3g} eV" in caplog.text
    caplog.clear()
    for options in ({"total_charge": 1.0, "boundary": "slab"}, {}):
        check_net_charge(smile, R_MAX, ExportOptions(**options))
    assert caplog.text == ""


def test_stored_total_charge_is_refused_where_training_refused_it():
    smile = SmileOptions(net_charge="error")
    check_net_charge(smile, R_MAX, ExportOptions(total_charge=1.0, boundary="open"))
    with pytest.raises(UserError, match="`--boundary auto` allows periodic cells; export without"):
        check_net_charge(smile, R_MAX, ExportOptions(total_charge=1.0))


def test_stored_boundary_refuses_axes_that_are_not_periodic():
    for boundary in ("periodic", "slab"):
        with pytest.raises(ValueError, match=f"exported with the boundary '{boundary}'"):
            periodic_axes(torch.zeros(3, dtype=torch.bool), boundary, 2)


def test_positions_that_are_not_numbers_are_refused(engine_decides):
    system = to_system(engine_decides, open_water())
    with torch.no_grad():
        system.positions[0, 0] = float("nan")
    with pytest.raises(torch.jit.Error, match="not finite numbers; the simulation has blown up"):
        run(engine_decides, [system], ["energy"])


def test_unknown_elements_are_refused(engine_decides):
    with pytest.raises(ValueError, match="does not support the atomic type '79'"):
        forces(engine_decides, ase.Atoms("Au2", [[0, 0, 0], [0, 0, 2.5]]))


def test_no_edge_crosses_the_seam_of_a_whole_structure():
    positions = torch.tensor([[0.0, 0.0, 9.5], [0.0, 0.0, 0.5]])
    edges = torch.tensor([[0, 1], [1, 0]])
    shifts = torch.tensor([[0.0, 0.0, 1.0], [0.0, 0.0, -1.0]])
    cut = torch.tensor([False, False, True])
    whole, images = make_whole(positions, 10 * torch.eye(3), cut, 3.0)
    assert float(whole[1, 2] - whole[0, 2]) == pytest.approx(1.0)
    assert torch.equal(move_shifts(shifts, edges, images), torch.zeros(2, 3))
