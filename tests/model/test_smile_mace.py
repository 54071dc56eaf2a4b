"""What SmileMACE promises: parity with its MACE, exact derivatives, symmetry, charges."""

import copy
import json
import subprocess
import sys
from pathlib import Path

import ase
import numpy as np
import pytest
import torch
from e3nn import o3
from e3nn.util.jit import compile as compile_model
from scipy.spatial.transform import Rotation

from helpers import (
    GIVEN,
    STRUCTURES,
    TOLERANCE,
    energy_of,
    evaluate,
    make_backbone,
    make_batch,
    make_model,
    slab_water,
    water,
)
from mace_smile.errors import UserError
from mace_smile.model.files import load_model
from mace_smile.model.options import SmileOptions
from mace_smile.model.smile_mace import SmileMACE
from mace_smile.model.versions import FORMAT_VERSION
from mace_smile.structures import input_keys

BOUNDARIES = list(STRUCTURES)


@pytest.mark.parametrize("boundary", BOUNDARIES)
@pytest.mark.parametrize("compute_stress", [True, False])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_zero_heads_give_the_backbone_bit_for_bit(boundary, compute_stress, dtype):
    torch.set_default_dtype(dtype)
    model = make_model()
    with torch.no_grad():
        for parameter in model.charge_heads.parameters():
            parameter.zero_()
    atoms = STRUCTURES[boundary]()
    ours = evaluate(model, atoms, compute_stress=compute_stress)
    theirs = model.backbone(make_batch([atoms], model), compute_stress=compute_stress)
    names = ["energy", "forces", "node_energy"] + (["stress", "virials"] if compute_stress else [])
    for name in names:
        assert torch.equal(ours[name], theirs[name]), name


@pytest.mark.parametrize("boundary", BOUNDARIES)
@pytest.mark.parametrize("given", [False, True])
def test_forces_are_finite_differences(boundary, given):
    model = make_model(**(GIVEN if given else {}), susceptibility=0.4)
    atoms = STRUCTURES[boundary]()
    forces = evaluate(model, atoms)["forces"].detach().numpy()
    step = 1e-4
    for atom, axis in ((0, 0), (1, 2), (5, 1), (len(atoms) - 1, 2)):
        energies = []
        for sign in (1, -1):
            moved = atoms.copy()
            moved.positions[atom, axis] += sign * step
            energies.append(energy_of(model, moved))
        difference = -(energies[0] - energies[1]) / (2 * step)
        assert difference == pytest.approx(forces[atom, axis], rel=1e-6, abs=1e-7)


@pytest.mark.parametrize("boundary", ["periodic", "slab"])
def test_stress_is_a_finite_difference(boundary):
    model = make_model(susceptibility=0.4)
    atoms = STRUCTURES[boundary]()
    stress = evaluate(model, atoms, compute_stress=True)["stress"][0].detach().numpy()
    components = ((0, 0), (1, 1), (0, 1)) + (((2, 2), (0, 2)) if boundary == "periodic" else ())
    step = 1e-5
    for a, b in components:
        energies = []
        for sign in (1, -1):
            strain = np.zeros((3, 3))
            strain[a, b] += 0.5 * sign * step
            strain[b, a] += 0.5 * sign * step
            moved = atoms.copy()
            moved.set_cell(atoms.cell.array @ (np.eye(3) + strain), scale_atoms=True)
            energies.append(energy_of(model, moved))
        difference = (energies[0] - energies[1]) / (2 * step) / atoms.get_volume()
        assert difference == pytest.approx(stress[a, b], rel=1e-6, abs=1e-9)


@pytest.mark.parametrize("cell_width", [6.2, 30.0])
def test_slab_energy_does_not_depend_on_any_vacuum(cell_width):
    """Neither the one in the file nor the model's own, charged walls included."""
    model = make_model(**GIVEN, susceptibility=0.4)
    atoms = slab_water(height=18.0)
    cell = atoms.cell.array
    cell[0] *= cell_width / 6.2
    cell[1] *= cell_width / 6.2
    atoms.set_cell(cell)
    expected = energy_of(model, atoms)
    taller = atoms.copy()
    cell[2, 2] *= 2
    taller.set_cell(cell)
    assert energy_of(model, taller) == pytest.approx(expected, abs=1e-9)
    model.long_range.electrostatics.slab_vacuum *= 2
    assert energy_of(model, atoms) == pytest.approx(expected, abs=1e-6)


def test_slab_cell_vector_may_be_missing():
    model = make_model()
    atoms = slab_water()
    expected = energy_of(model, atoms)
    cell = atoms.cell.array
    cell[2] = 0
    atoms.set_cell(cell)
    assert energy_of(model, atoms) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_wrapped_atoms_give_the_same(boundary):
    model = make_model(**GIVEN, susceptibility=0.4)
    atoms = STRUCTURES[boundary]()
    if boundary == "open":
        moved = atoms.copy()
        moved.translate([3.0, -2.0, 1.0])
    else:
        moved = atoms.copy()
        moved.translate(np.array([0.4, 0.3, 0.45]) @ atoms.cell.array)
        moved.set_pbc(True)
        moved.wrap()
        moved.set_pbc(atoms.pbc)
    first, second = evaluate(model, atoms), evaluate(model, moved)
    for name in ("energy", "forces", "charges", "born_effective_charges"):
        torch.testing.assert_close(second[name], first[name], rtol=1e-9, atol=1e-9)
    if boundary != "periodic":
        axes = slice(None) if boundary == "open" else slice(2, 3)
        torch.testing.assert_close(
            second["macro_dipole"][0, axes], first["macro_dipole"][0, axes], rtol=1e-9, atol=1e-9
        )


@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_rotation_turns_everything_along(boundary):
    model = make_model(susceptibility=0.4, boundary="auto")
    atoms = STRUCTURES[boundary]()
    rotation = Rotation.random(random_state=3).as_matrix()
    turned = atoms.copy()
    turned.set_cell(atoms.cell.array @ rotation.T)
    turned.positions = atoms.positions @ rotation.T
    first, second = evaluate(model, atoms), evaluate(model, turned)
    matrix = torch.tensor(rotation)
    torch.testing.assert_close(second["energy"], first["energy"], rtol=1e-10, atol=1e-10)
    for name in ("forces", "macro_dipole"):
        torch.testing.assert_close(second[name], first[name] @ matrix.T, rtol=1e-8, atol=1e-9)
    born = matrix @ first["born_effective_charges"] @ matrix.T
    torch.testing.assert_close(second["born_effective_charges"], born, rtol=1e-8, atol=1e-9)


@pytest.mark.parametrize("hidden_irreps", ["4x0e", "4x0e+4x1o", "4x0e+4x1o+4x2e"])
@pytest.mark.parametrize("n_layers", [1, 2])
def test_born_charges_are_equivariant_and_complete(hidden_irreps, n_layers):
    """Also under inversion; and they have antisymmetric parts whatever the features are."""
    model = make_model(hidden_irreps, n_layers)
    atoms = water(3)
    born = evaluate(model, atoms)["born_effective_charges"].detach()
    rotation = o3.rand_matrix()
    for matrix in (rotation, -rotation):
        turned = atoms.copy()
        turned.positions = atoms.positions @ matrix.numpy().T
        result = evaluate(model, turned)["born_effective_charges"].detach()
        torch.testing.assert_close(result, matrix @ born @ matrix.T, rtol=0, atol=1e-10)
    antisymmetric = 0.5 * (born - born.transpose(1, 2))
    traceless = 0.5 * (born + born.transpose(1, 2))
    traceless = traceless - torch.eye(3) * traceless.diagonal(dim1=1, dim2=2).mean(1)[:, None, None]
    assert float(antisymmetric.abs().max()) > 1e-3
    assert float(traceless.abs().max()) > 1e-3


def test_permuted_atoms_and_edges_give_the_same():
    model = make_model(**GIVEN)
    atoms = slab_water()
    order = np.random.default_rng(0).permutation(len(atoms))
    first, second = evaluate(model, atoms), evaluate(model, atoms[order])
    torch.testing.assert_close(second["energy"], first["energy"], rtol=1e-12, atol=1e-12)
    for name in ("forces", "charges", "born_effective_charges"):
        torch.testing.assert_close(second[name], first[name][order], rtol=1e-9, atol=1e-10)
    batch = make_batch([atoms], model)
    edges = torch.randperm(batch["edge_index"].shape[1])
    batch["edge_index"] = batch["edge_index"][:, edges]
    for name in ("shifts", "unit_shifts"):
        batch[name] = batch[name][edges]
    third = model(batch)
    for name in ("energy", "forces", "born_effective_charges"):
        torch.testing.assert_close(third[name], first[name], rtol=1e-9, atol=1e-10)


def test_a_batch_of_all_boundaries_equals_one_by_one():
    model = make_model(**GIVEN, susceptibility=0.4)
    frames = [build() for build in STRUCTURES.values()]
    frames[0].info["total_charge"] = 1.0
    together = model(make_batch(frames, model), compute_stress=True)
    start = 0
    for number, atoms in enumerate(frames):
        alone = evaluate(model, atoms, compute_stress=True)
        for name in ("energy", "electrostatic_energy", "stress", "macro_dipole", "response_dipole"):
            torch.testing.assert_close(
                together[name][number], alone[name][0], rtol=1e-9, atol=1e-10
            )
        part = slice(start, start + len(atoms))
        for name in ("forces", "charges", "response_charges", "born_effective_charges"):
            torch.testing.assert_close(together[name][part], alone[name], rtol=1e-9, atol=1e-10)
        start += len(atoms)


def test_exact_constraint_keeps_the_total_charge_on_both_scales():
    model = make_model(susceptibility=0.44)
    assert model.options.scale == pytest.approx(1.2)
    atoms = water(3)
    atoms.info["total_charge"] = -1.0
    output = evaluate(model, atoms)
    assert output["response_charges"].sum().item() == pytest.approx(-1.0)
    assert output["charges"].sum().item() == pytest.approx(-1.0 / 1.2)
    assert output["predicted_total_charge"].item() == pytest.approx(-1.0)


def test_given_charges_are_physical_and_enter_the_energy_screened():
    model = make_model(**GIVEN, susceptibility=0.44)
    atoms = slab_water()
    output = evaluate(model, atoms)
    assert output["response_charges"][-2:].tolist() == pytest.approx([0.2, -0.2])
    assert output["charges"][-2:].tolist() == pytest.approx([0.2 / 1.2, -0.2 / 1.2])
    assert output["response_charges"].sum().item() == pytest.approx(0.0, abs=1e-12)


def test_without_constraint_the_charges_are_free():
    model = make_model(total_charge_constraint="none")
    assert abs(evaluate(model, water(2))["charges"].sum().item()) > 1e-3


def test_macro_dipole_is_screened_along_the_slab_normal_only():
    model = make_model(susceptibility=0.41, boundary="auto")
    for boundary, build in STRUCTURES.items():
        output = evaluate(model, build())
        expected = output["response_dipole"][0].clone()
        if boundary == "slab":
            expected[2] /= 1.41
        torch.testing.assert_close(output["macro_dipole"][0], expected)


def test_a_periodic_slab_is_a_slab_when_the_model_says_so():
    """Engines know no slabs: with boundary and axis stored, all three axes may be periodic."""
    stored = make_model(boundary="slab", slab_axis=2, **GIVEN, susceptibility=0.41)
    auto = make_model(**GIVEN, susceptibility=0.41)
    atoms = slab_water()
    expected = evaluate(auto, atoms, compute_stress=True)
    moved = atoms.copy()
    moved.set_pbc(True)
    moved.translate([0, 0, 9.0])
    moved.wrap()
    output = evaluate(stored, moved, compute_stress=True)
    for name in ("energy", "forces", "macro_dipole"):
        axes = (..., slice(2, 3)) if name == "macro_dipole" else ...
        torch.testing.assert_close(output[name][axes], expected[name][axes], rtol=1e-8, atol=1e-8)
    in_plane = (0, slice(0, 2), slice(0, 2))
    torch.testing.assert_close(
        output["stress"][in_plane], expected["stress"][in_plane], rtol=1e-8, atol=1e-9
    )


def test_a_slab_without_vacuum_is_refused():
    atoms = slab_water()
    atoms.set_cell([6.2, 6.4, 8.0])  # as high as the film alone
    with pytest.raises(UserError, match=r"H16Ne2O8 .*no vacuum gap"):
        evaluate(make_model(), atoms)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("hidden_irreps", ["4x0e", "4x0e+4x1o+4x2e"])
def test_scripted_model_equals_eager(dtype, hidden_irreps, tmp_path):
    torch.set_default_dtype(dtype)
    model = make_model(hidden_irreps, **GIVEN, susceptibility=0.4)
    frames = [build() for build in STRUCTURES.values()]
    expected = model(make_batch(frames, model), compute_stress=True)
    path = tmp_path / "scripted.pt"
    torch.jit.save(compile_model(copy.deepcopy(model)), path)
    output = torch.jit.load(path)(make_batch(frames, model), compute_stress=True)
    for name, value in expected.items():
        if value is None:
            assert output[name] is None
        else:
            torch.testing.assert_close(output[name], value, rtol=TOLERANCE[dtype], atol=1e-6)


def test_models_without_charges_or_without_born_charges():
    atoms = water(2)
    only_born = evaluate(make_model(charge_head="none", electrostatics="none"), atoms)
    assert only_born["charges"] is None
    assert only_born["macro_dipole"] is None
    assert only_born["born_effective_charges"] is not None
    only_charges = evaluate(make_model(screening="none"), atoms)
    assert only_charges["born_effective_charges"] is None
    neutral = make_model(electrostatics="none")
    assert evaluate(neutral, atoms)["electrostatic_energy"].item() == 0.0


def test_backbone_parts_are_found_where_mace_looks():
    model = make_model()
    for name in ("interactions", "products", "readouts", "node_embedding", "scale_shift"):
        assert getattr(model, name) is getattr(model.backbone, name)
    assert model.heads == ["Default"]
    assert int(model.num_interactions) == 2


def test_every_parameter_of_the_heads_has_a_gradient():
    model = make_model()
    output = model(make_batch([water(3)], model), training=True)
    loss = output["energy"].sum() + output["born_effective_charges"].pow(2).sum()
    loss.backward()
    for name, parameter in model.charge_heads.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name


def test_a_stored_model_loads_in_a_fresh_interpreter(tmp_path):
    model = make_model()
    expected = energy_of(model, water(2))
    path = tmp_path / "small.model"
    torch.save(model, path)
    code = (
        "import sys; sys.path.insert(0, 'tests')\n"
        "from mace_smile.model.files import load_model\n"
        f"model = load_model({str(path)!r})\n"
        "from helpers import energy_of, water\n"
        "import torch; torch.set_default_dtype(torch.float64)\n"
        "print(repr(energy_of(model, water(2))))"
    )
    result = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=True
    )
    assert float(result.stdout.splitlines()[-1]) == pytest.approx(expected, abs=1e-12)


def test_a_newer_format_is_refused(tmp_path):
    model = make_model()
    model.format_version = FORMAT_VERSION + 1
    path = tmp_path / "newer.model"
    torch.save(model, path)
    newer = f"format version {FORMAT_VERSION + 1} but this mace-smile reads versions up"
    with pytest.raises(UserError, match=newer):
        load_model(path)


@pytest.mark.parametrize("version", range(1, FORMAT_VERSION))
def test_models_of_older_formats_give_their_energies(version):
    """Each file was written by a version of the package that had that format."""
    folder = Path(__file__).parents[1] / "data"
    model = load_model(folder / f"format_{version}.model")
    assert model.format_version == FORMAT_VERSION
    expected = json.loads((folder / f"format_{version}.json").read_text())
    for name, energies in expected.items():
        output = evaluate(model, STRUCTURES[name]())
        for key, value in energies.items():
            assert float(output[key].detach()[0]) == pytest.approx(value, abs=1e-7)


def test_other_files_are_refused(tmp_path):
    with pytest.raises(UserError, match="there is no model file"):
        load_model(tmp_path / "none.model")
    broken = tmp_path / "broken.model"
    broken.write_text("this is no pickle")
    with pytest.raises(UserError, match="cannot be read as a model"):
        load_model(broken)
    plain = tmp_path / "plain.model"
    torch.save(make_backbone(), plain)
    with pytest.raises(UserError, match="holds a ScaleShiftMACE but a SmileMACE is wanted"):
        load_model(plain)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"charge_head": "global"}, "`charge_head` is 'global' but must be one of local, none"),
        ({"smearing": 0.0}, "`smearing` is 0.0 but must be positive"),
        ({"susceptibility": -1.0}, "must be above -1"),
        ({"given_charges_key": "a"}, "give both or none"),
    ],
)
def test_bad_options_say_what_is_wanted(options, message):
    with pytest.raises(ValueError, match=message):
        SmileOptions(**options)


def test_unsupported_outputs_are_refused():
    model = make_model()
    with pytest.raises(NotImplementedError, match="no Hessian"):
        evaluate(model, water(1), compute_hessian=True)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda atoms: atoms.set_pbc([True, False, False]), "periodic along one axis only"),
        (lambda atoms: atoms.set_cell([0, 0, 0]), "cell vector is zero"),
        (lambda atoms: atoms.positions.__setitem__(0, np.nan), "not finite"),
        (lambda atoms: atoms.numbers.__setitem__(0, 6), "elements C but the model knows only"),
    ],
)
def test_bad_structures_say_what_is_wrong(change, message):
    atoms = slab_water()
    change(atoms)
    with pytest.raises(UserError, match=message):
        evaluate(make_model(), atoms)


def test_given_charges_with_half_of_the_arrays_are_refused():
    model = make_model(**GIVEN)
    atoms: ase.Atoms = slab_water()
    del atoms.arrays["electrode"]
    with pytest.raises(UserError, match="give both or none"):
        make_batch([atoms], model, input_keys(model.options))


def test_smile_mace_holds_only_scale_shift_mace():
    with pytest.raises(ValueError, match="must be a ScaleShiftMACE"):
        SmileMACE(torch.nn.Linear(1, 1), SmileOptions())
