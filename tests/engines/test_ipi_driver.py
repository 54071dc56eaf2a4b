"""Our i-PI driver by itself: order and units of what it sends, and what it refuses."""

import importlib.util
import json

import ase
import numpy as np
import pytest
import torch

from exported import FIELDS, LOCAL
from helpers import bulk_water, evaluate, make_model, open_water, slab_water
from ipi_runs import write_start
from mace_smile.errors import UserError
from metatensor_models.export import build_atomistic_model
from metatensor_models.options import ExportOptions

pytestmark = [
    pytest.mark.engine,
    pytest.mark.skipif(
        importlib.util.find_spec("ipi") is None, reason="the package ipi is not installed"
    ),
]

BOHR = 1 / 1.8897261  # A, i-PI's


@pytest.fixture(autouse=True)
def _plain_torchscript():
    """Without TorchScript's optimiser, whose first calls take longer than these tests."""
    with torch.jit.optimized_execution(False):
        yield


class Case:
    """A structure, a model, and its exported file."""

    def __init__(self, folder, atoms: ase.Atoms, boundary: str, **options) -> None:
        torch.set_default_dtype(torch.float64)
        self.smile = make_model(**options)
        self.atoms = atoms
        self.model = folder / "model.pt"
        self.template = write_start(folder, atoms)
        exported = ExportOptions(fields=FIELDS, boundary=boundary)
        build_atomistic_model(self.smile, exported).save(self.model)

    def driver(self, **parameters):
        from metatensor_models.ipi_driver import SmileDriver

        return SmileDriver(**{"template": self.template, "model": self.model, **parameters})

    def structure(self) -> tuple[np.ndarray, np.ndarray]:
        """Cell and positions as i-PI sends them, with three cell vectors."""
        import ase.io

        start = ase.io.read(self.template)
        return start.cell.array.T / BOHR, self.atoms.positions / BOHR


@pytest.fixture(scope="module")
def cluster(tmp_path_factory) -> Case:
    """With charges: Born charges are derivatives of its dipole."""
    return Case(tmp_path_factory.mktemp("cluster"), open_water(), "open", screening="local")


@pytest.fixture(scope="module")
def bulk(tmp_path_factory) -> Case:
    """Without charges: Born charges are a readout, their sum does not vanish."""
    folder = tmp_path_factory.mktemp("bulk")
    return Case(folder, bulk_water(), "periodic", charge_head="none", **LOCAL)


def extras_of(case: Case, **parameters) -> dict[str, np.ndarray]:
    _, _, _, text = case.driver(**parameters).compute(*case.structure())
    return {key: np.array(value) for key, value in json.loads(text).items()}


def test_born_charges_go_out_with_the_displacement_first(cluster):
    born = evaluate(cluster.smile, cluster.atoms)["born_effective_charges"].detach().numpy()
    assert np.abs(born - born.transpose(0, 2, 1)).max() > 0.01  # the order can be told
    found = extras_of(cluster)["BEC"]
    assert found.shape == (3 * len(born), 3)
    for atom in range(len(born)):
        for displacement in range(3):
            expected = born[atom, :, displacement]
            np.testing.assert_allclose(found[3 * atom + displacement], expected, atol=1e-8)


def test_dipole_goes_out_in_e_bohr(cluster):
    dipole = evaluate(cluster.smile, cluster.atoms)["response_dipole"].detach().numpy()[0]
    found = extras_of(cluster)["dipole"]
    np.testing.assert_allclose(found * BOHR, dipole, atol=1e-7)
    assert np.abs(dipole).max() > 0.01


def test_mean_of_born_charges_is_subtracted_unless_it_shall_stay(bulk, capfd):
    without, with_mean = (
        extras_of(bulk, acoustic_sum_rule=rule)["BEC"].reshape(-1, 3, 3)
        for rule in ("subtract", "none")
    )
    mean = with_mean.mean(axis=0)
    assert np.abs(mean).max() > 1e-3
    assert np.abs(without.mean(axis=0)).max() < 1e-12  # i-PI: 1e-8 times the number of atoms
    np.testing.assert_allclose(with_mean - without, np.broadcast_to(mean, without.shape))
    log = capfd.readouterr().out
    assert f"a component of {np.abs(mean).max():.1e} e, which is subtracted" in log
    assert f"a component of {np.abs(mean).max():.1e} e, which stays" in log


def test_without_charges_there_is_no_dipole_and_the_driver_says_so(bulk, capfd):
    assert set(extras_of(bulk)) == {"BEC"}
    assert "no dipole: the field acts" in capfd.readouterr().out


def test_without_born_charges_it_is_the_stock_driver(bulk):
    from ipi.pes.metatomic import MetatomicDriver

    stock = MetatomicDriver(
        template=str(bulk.template), model=str(bulk.model), energy_variant="tilted"
    )
    ours = bulk.driver(energy_variant="tilted", born_charges=False)
    expected, found = stock.compute(*bulk.structure()), ours.compute(*bulk.structure())
    for one, other in zip(found[:3], expected[:3], strict=True):
        np.testing.assert_array_equal(one, other)
    assert json.loads(found[3]) == {}


def test_a_batch_gives_what_each_structure_gives_alone(cluster):
    driver = cluster.driver()
    cell, positions = cluster.structure()
    moved = [positions, positions + 0.05 * np.sin(np.arange(positions.size)).reshape(-1, 3)]
    together = driver.compute([cell, cell], moved)
    for place, answer in zip(moved, together, strict=True):
        energy, forces, virial, text = driver.compute(cell, place)
        assert answer[0] == pytest.approx(energy, abs=1e-12)
        np.testing.assert_allclose(answer[1], forces, atol=1e-12)
        np.testing.assert_allclose(answer[2], virial, atol=1e-11)
        extras, expected = json.loads(answer[3]), json.loads(text)
        np.testing.assert_allclose(extras["BEC"], expected["BEC"], atol=1e-12)
        np.testing.assert_allclose(extras["dipole"], expected["dipole"], atol=1e-12)


def test_a_slab_that_i_pi_calls_periodic_and_has_cut_is_whole(tmp_path):
    case = Case(tmp_path, slab_water(), "slab", **LOCAL)
    driver = case.driver()
    cell, positions = case.structure()
    expected = driver.compute(cell, positions)
    shifted = positions - [0.0, 0.0, 0.5 * np.ptp(positions[:, 2]) + positions[:, 2].min()]
    inside = np.linalg.solve(cell, shifted.T)
    wrapped = (cell @ (inside - np.floor(inside))).T
    assert np.ptp(wrapped[:, 2]) > np.ptp(positions[:, 2]) + 1.0
    found = driver.compute(cell, wrapped)
    assert found[0] == pytest.approx(expected[0], abs=1e-10)
    np.testing.assert_allclose(found[1], expected[1], atol=1e-10)
    bec = [json.loads(answer[3])["BEC"] for answer in (found, expected)]
    np.testing.assert_allclose(bec[0], bec[1], atol=1e-10)
    reference = evaluate(case.smile, case.atoms)["born_effective_charges"].detach().numpy()
    reference = reference - reference.mean(axis=0)
    np.testing.assert_allclose(
        np.reshape(bec[1], (-1, 3, 3)), reference.transpose(0, 2, 1), atol=1e-8
    )


def with_elements(case: Case, folder, symbols: str, positions: np.ndarray):
    """Another template."""
    atoms = ase.Atoms(symbols, positions, cell=np.eye(3) * 10, pbc=True)
    return write_start(folder, atoms)


def test_what_does_not_fit_is_refused_in_one_sentence(bulk, tmp_path):
    with pytest.raises(UserError, match="there is no exported model 'nowhere.pt'"):
        bulk.driver(model="nowhere.pt")
    text = tmp_path / "text.pt"
    text.write_text("no model")
    with pytest.raises(UserError, match="cannot be run as an exported model on 'cpu'"):
        bulk.driver(model=text)
    with pytest.raises(UserError, match="has no field 'x9'; its variants are z05, tilted"):
        bulk.driver(energy_variant="x9")
    with pytest.raises(UserError, match="no parameter energy_varient"):
        bulk.driver(energy_varient="z05")
    with pytest.raises(UserError, match="acoustic_sum_rule is 'mean' but must be one of"):
        bulk.driver(acoustic_sum_rule="mean")
    with pytest.raises(UserError, match="born_charges is 'no' but must be True or False"):
        bulk.driver(born_charges="no")
    with pytest.raises(UserError, match="cannot be read as a structure"):
        bulk.driver(template=text)
    gold = with_elements(bulk, tmp_path, "Au", np.zeros((1, 3)))
    with pytest.raises(UserError, match="has the elements Au, which the model does not know"):
        bulk.driver(template=gold)


def test_a_cell_that_i_pi_would_turn_is_refused_with_a_field_only(bulk, tmp_path):
    turned = ase.io.read(bulk.template)
    turned.set_cell(bulk_water().cell)
    turned.rotate(30, "x", rotate_cell=True)
    path = tmp_path / "turned.xyz"
    ase.io.write(path, turned)
    for parameters in ({}, {"energy_variant": "tilted", "born_charges": False}):
        with pytest.raises(UserError, match="a field would point elsewhere"):
            bulk.driver(template=path, **parameters)
    bulk.driver(template=path, born_charges=False)


def test_a_model_without_born_charges_is_refused_for_driven_dynamics(tmp_path):
    case = Case(tmp_path, open_water(), "open", screening="none")
    with pytest.raises(UserError, match="has no Born effective charges.*--no_born_charges"):
        case.driver()
    energy, *_ = case.driver(born_charges=False).compute(*case.structure())
    assert np.isfinite(energy)


def test_structures_that_give_no_numbers_are_refused(cluster):
    from metatensor_models.evaluator import ModelFailure

    driver = cluster.driver()
    cell, positions = cluster.structure()
    with pytest.raises(ModelFailure, match="i-PI sends 2 atoms but the template"):
        driver.compute(cell, positions[:2])
    for bad in (np.nan, np.inf):
        broken = positions.copy()
        broken[1, 2] = bad
        with pytest.raises(ModelFailure, match="not finite"):
            driver.compute([cell, cell], [positions, broken])
    overlapping = positions.copy()
    overlapping[1] = overlapping[0]
    with pytest.raises(ModelFailure):
        driver.compute(cell, overlapping)


def test_command_ends_in_one_sentence(bulk, capsys):
    from metatensor_models.ipi_driver import main

    with pytest.raises(SystemExit) as ended:
        main(["nowhere.pt", str(bulk.template), "--address", "smile-test-nobody"])
    assert ended.value.code == 2
    assert capsys.readouterr().err == "error: there is no exported model 'nowhere.pt'\n"
    with pytest.raises(SystemExit) as ended:
        main([str(bulk.model), str(bulk.template), "--address", "smile-nobody", "--wait", "0"])
    assert ended.value.code == 2
    assert "i-PI has not listened at /tmp/ipi_smile-nobody" in capsys.readouterr().err


def test_i_pi_finds_the_driver_by_its_file(bulk):
    from ipi.pes import load_pes

    import metatensor_models.ipi_driver

    path = metatensor_models.ipi_driver.__file__
    driver = load_pes("custom", path)(
        template=str(bulk.template), model=str(bulk.model), verbosity=False
    )
    assert json.loads(driver(*bulk.structure())[3]).keys() == {"BEC"}
