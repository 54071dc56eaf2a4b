"""Born effective charges that are derivatives of the model's charges and atomic dipoles."""

import copy
import itertools
import pickle

import ase
import numpy as np
import pytest
import torch
from e3nn import o3
from e3nn.util.jit import compile as compile_model

from helpers import (
    GIVEN,
    STRUCTURES,
    TOLERANCE,
    bulk_water,
    evaluate,
    make_backbone,
    make_batch,
    make_model,
    open_water,
    slab_water,
    water,
)
from mace_smile.errors import UserError
from mace_smile.model.options import BORN_CHARGE_METHODS, SmileOptions
from mace_smile.model.recorder import RecordedProduct
from mace_smile.model.smile_mace import SmileMACE

RAW = {"total_charge_constraint": "none", "electrostatics": "none"}
BORN = "born_effective_charges"


def make_coupled_model(*shape, **options):
    """A model with charges, dipoles and screening factors of ordinary size."""
    model = make_model(*shape, **{"screening": "global", **options})
    with torch.no_grad():
        if model.has_charges:
            model.charge_heads["charges"].output.weight.mul_(20.0)
        if model.has_atomic_dipoles:
            model.charge_heads["atomic_dipoles"].gates.weight.mul_(30.0)
        if model.has_local_screening:
            torch.nn.init.normal_(model.charge_heads["screening"].output.weight, std=0.3)
            model.charge_heads["screening"].element_factors.copy_(torch.tensor([0.2, 0.4, 0.0]))
    return model


def replicated(atoms: ase.Atoms, center: np.ndarray, reach: float) -> ase.Atoms:
    """All images of atoms within ``reach`` of a point, as an open cluster."""
    heights = 1.0 / np.linalg.norm(np.linalg.inv(atoms.cell.array), axis=0)
    counts = [range(-int(reach / h) - 2, int(reach / h) + 3) for h in heights]
    images = [
        ase.Atoms(atoms.numbers, atoms.positions + np.array(image) @ atoms.cell.array)
        for image in itertools.product(*counts)
    ]
    cluster = ase.Atoms(
        np.concatenate([image.numbers for image in images]),
        np.concatenate([image.positions for image in images]),
    )
    return cluster[np.linalg.norm(cluster.positions - center, axis=1) < reach]


def differences_in_a_cluster(
    model: SmileMACE, atoms: ase.Atoms, atom: int, axis: int
) -> np.ndarray:
    """Change of the dipole of raw charges and of atomic dipoles by one atom, ``(3,)``, in e."""
    place = atoms.positions[atom].copy()
    field = float(model.r_max) * int(model.num_interactions)
    cluster = replicated(atoms, place, 2.0 * field + 0.5)
    moved = int(np.argmin(np.linalg.norm(cluster.positions - place, axis=1)))
    inside = np.linalg.norm(cluster.positions - place, axis=1) < field + 0.2
    step, dipoles = 2e-3, []
    for sign in (2, 1, -1, -2):
        cluster.positions[moved, axis] = place[axis] + sign * step
        output = evaluate(model, cluster, compute_force=False, compute_born_charges=False)
        charges = output["response_charges"].detach().numpy()
        dipole = (charges[:, None] * (cluster.positions - place))[inside].sum(axis=0)
        if output["atomic_dipoles"] is not None:
            dipole += output["atomic_dipoles"].detach().numpy()[inside].sum(axis=0)
        dipoles.append(dipole)
    return (-dipoles[0] + 8 * dipoles[1] - 8 * dipoles[2] + dipoles[3]) / (12 * step)


@pytest.mark.parametrize("screening", ["global", "local"])
def test_unfolded_is_the_dipole_of_a_large_cluster(screening):
    """In a cell of 6 A, where charges depend on atoms up to 5.6 A away, and on their images."""
    options = {"screening_value": -1.3, "dipole_head": "local"} if screening == "local" else {}
    model = make_coupled_model(screening=screening, **RAW, **options)
    atoms = bulk_water()
    born = evaluate(model, atoms)[BORN].numpy()
    for atom, axis in ((0, 0), (7, 2)):
        expected = differences_in_a_cluster(model, atoms, atom, axis)
        np.testing.assert_allclose(born[atom, :, axis], expected, rtol=0, atol=1e-8)
    assert np.abs(born[:, ~np.eye(3, dtype=bool)]).max() > 0.1


def test_a_supercell_has_the_born_charges_of_the_cell():
    model = make_coupled_model(screening="local", dipole_head="local", **RAW)
    atoms = bulk_water()
    cell = evaluate(model, atoms)[BORN]
    supercell = evaluate(model, atoms.repeat(2))[BORN]
    torch.testing.assert_close(supercell, cell.repeat(8, 1, 1), rtol=0, atol=1e-10)


def test_phases_converge_with_harmonics_in_wide_cells():
    """The cell is 18 A wide, the receptive field of one layer 4 A."""
    options = {**RAW, "screening": "local"}
    atoms = bulk_water().repeat(3)
    exact = evaluate(make_coupled_model(n_layers=1, **options), atoms)[BORN]
    errors = []
    for harmonics in (1, 2, 3):
        phases = {"born_charge_method": "phase", "phase_harmonics": harmonics}
        born = evaluate(make_coupled_model(n_layers=1, **options, **phases), atoms)[BORN]
        errors.append(float((born - exact).abs().max()))
    assert errors[1] < 0.2 * errors[0]
    assert errors[2] < 0.3 * errors[1]


def test_nearest_images_are_exact_in_wide_cells_and_refused_in_others():
    options = {**RAW, "screening": "local", "n_layers": 1}
    nearest = make_coupled_model(born_charge_method="minimum_image", **options)
    frames = [bulk_water().repeat((2, 2, 2)), open_water(), slab_water()]
    frames[2].set_cell(np.diag([9.0, 9.0, 18.0]))
    batch = make_batch(frames, nearest)
    expected = make_coupled_model(**options)(make_batch(frames, nearest))[BORN]
    torch.testing.assert_close(nearest(batch)[BORN], expected, rtol=0, atol=1e-12)
    message = r"the cell is 6.1\d*, .* A wide .* at least 8 A wide.*use --born_charge_method unf"
    with pytest.raises(UserError, match=message):
        evaluate(nearest, bulk_water())


def test_nearest_images_of_large_structures_are_not_trained():
    nearest = make_coupled_model(born_charge_method="minimum_image", n_layers=1, **RAW)
    batch = make_batch([water(34, spacing=5.0)], nearest)
    with pytest.raises(UserError, match="has 102 atoms, and training .* the limit is 100.*unfold"):
        nearest(batch, training=True)


@pytest.mark.parametrize("constraint", ["exact", "penalty"])
@pytest.mark.parametrize(
    ("build", "method"),
    [
        *((open_water, method) for method in BORN_CHARGE_METHODS),
        (slab_water, "unfolded"),
        (slab_water, "phase"),  # the slab is too narrow for minimum_image
    ],
)
def test_along_open_axes_they_are_derivatives_of_the_response_dipole(build, method, constraint):
    """The shift to the total charge included; along the normal of a slab on the response scale."""
    model = make_coupled_model(
        screening="local",
        dipole_head="local",
        susceptibility=0.4,
        born_charge_method=method,
        total_charge_constraint=constraint,
        **(GIVEN if build is slab_water else {}),
    )
    batch = make_batch([build()], model)
    born = model(dict(batch))[BORN]
    batch["positions"].requires_grad_(True)
    dipole = model(batch, training=True)["response_dipole"][0]
    for axis in (0, 1, 2) if build is open_water else (2,):
        (gradient,) = torch.autograd.grad(dipole[axis], batch["positions"], retain_graph=True)
        torch.testing.assert_close(born[:, axis], gradient, rtol=0, atol=1e-12)


@pytest.mark.parametrize("boundary", STRUCTURES)
@pytest.mark.parametrize("method", ["unfolded", "phase"])
def test_rotation_and_wrapping(boundary, method):
    model = make_coupled_model(
        screening="local", dipole_head="local", born_charge_method=method, boundary="auto"
    )
    atoms = STRUCTURES[boundary]()
    born = evaluate(model, atoms)[BORN]
    rotation = o3.rand_matrix()
    turned = atoms.copy()
    turned.set_cell(atoms.cell.array @ rotation.numpy().T)
    turned.positions = atoms.positions @ rotation.numpy().T
    expected = rotation @ born @ rotation.T
    torch.testing.assert_close(evaluate(model, turned)[BORN], expected, rtol=0, atol=1e-10)
    moved = atoms.copy()
    if boundary != "open":
        moved.translate(np.array([0.4, 0.3, 0.1]) @ atoms.cell.array)
        moved.set_pbc(True)
        moved.wrap()
        moved.set_pbc(atoms.pbc)
    torch.testing.assert_close(evaluate(model, moved)[BORN], born, rtol=0, atol=1e-10)


@pytest.mark.parametrize("n_layers", [1, 3])
def test_phases_need_no_edges(n_layers):
    """Backbones whose edges cannot be followed give the same, with more derivatives."""
    model = make_coupled_model(
        n_layers=n_layers,
        screening="local",
        boundary="auto",
        born_charge_method="phase",
        phase_harmonics=2,
    )
    frames = [build() for build in STRUCTURES.values()]
    expected = model(make_batch(frames, model), compute_stress=True)[BORN]
    assert model.follows_edges
    model.follows_edges = False
    found = model(make_batch(frames, model), compute_stress=True)[BORN]
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


def test_a_batch_equals_one_by_one():
    model = make_coupled_model(screening="local", dipole_head="local", acoustic_sum_rule="subtract")
    frames = [build() for build in STRUCTURES.values()]
    frames[0].info["total_charge"] = 1.0
    together = model(make_batch(frames, model), compute_stress=True)
    start = 0
    for number, atoms in enumerate(frames):
        alone = evaluate(model, atoms)
        stop = start + len(atoms)
        torch.testing.assert_close(together[BORN][start:stop], alone[BORN], rtol=0, atol=1e-10)
        torch.testing.assert_close(
            together["acoustic_residual"][number], alone["acoustic_residual"][0], rtol=0, atol=1e-10
        )
        start = stop


@pytest.mark.parametrize("screening", ["uncoupled", "global"])
def test_the_acoustic_sum_rule_can_be_imposed_and_its_failure_is_told(screening):
    raw = make_coupled_model(screening=screening)
    exact = make_coupled_model(screening=screening, acoustic_sum_rule="subtract")
    exact.load_state_dict(raw.state_dict())
    atoms = bulk_water()
    atoms.info["total_charge"] = 1.0
    before, after = evaluate(raw, atoms), evaluate(exact, atoms)
    residual = before[BORN].sum(dim=0) - torch.eye(3)
    torch.testing.assert_close(before["acoustic_residual"][0], residual)
    torch.testing.assert_close(after["acoustic_residual"][0], residual)
    assert float(residual.detach().abs().max()) > 1e-3
    torch.testing.assert_close(after[BORN].sum(dim=0), torch.eye(3), rtol=0, atol=1e-12)
    torch.testing.assert_close(after[BORN] - before[BORN], -(residual / 24).expand(24, 3, 3))


def test_energies_and_stored_names_are_those_without_screening():
    plain, coupled = make_model(screening="none"), make_model(screening="global")
    for atoms in (bulk_water(), slab_water()):
        first, second = evaluate(plain, atoms), evaluate(coupled, atoms)
        for name in ("energy", "forces", "charges", "macro_dipole"):
            assert torch.equal(first[name], second[name]), name
    assert not any("conv_tp.product" in name for name in plain.state_dict())
    nearest = make_coupled_model(born_charge_method="minimum_image")
    assert nearest.state_dict().keys() == plain.state_dict().keys()


def test_local_screening_starts_as_global_screening():
    options = {"screening_value": -1.4}
    local, one = (make_model(screening=name, **options) for name in ("local", "global"))
    first, second = evaluate(local, bulk_water()), evaluate(one, bulk_water())
    for name in ("screening", "response_charges", "macro_dipole", BORN):
        torch.testing.assert_close(first[name], second[name])
    assert (first["screening"] == -1.4).all()


@pytest.mark.parametrize("initial", [None, 1.3, -1.3])
def test_a_learned_factor_keeps_its_sign(initial):
    model = make_coupled_model(learn_screening_value=True, screening_value=initial)
    assert model.scale_value() == pytest.approx(initial or 1.0)
    for value in (-3.0, 0.0, 2.0):
        model.charge_heads["screening_value"].log_scale.data.fill_(value)
        assert np.sign(model.scale_value()) == np.sign(initial or 1.0)
        output = evaluate(model, water(2))
        assert float(output["screening"][0].detach()) == pytest.approx(model.scale_value())


def test_nothing_of_a_call_stays_on_the_model(tmp_path):
    model = make_coupled_model()
    recorders = [module for module in model.modules() if isinstance(module, RecordedProduct)]
    assert len(recorders) == 1
    evaluate(model, bulk_water())
    evaluate(model, bulk_water(), compute_born_charges=False)
    assert recorders[0].recorded is None
    recorders[0].start()
    recorders[0].recorded = torch.ones(2, requires_grad=True) * 2.0  # as after an error
    for copied in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert torch.equal(evaluate(copied, water(2))[BORN], evaluate(model, water(2))[BORN])


def test_the_loss_on_born_charges_can_be_differentiated():
    """By every parameter they depend on; also that of a finite difference in a parameter."""
    model = make_coupled_model(
        screening="global", learn_screening_value=True, dipole_head="local", susceptibility=0.2
    )

    def loss() -> torch.Tensor:
        return model(make_batch([bulk_water()], model), training=True)[BORN].square().sum()

    loss().backward()
    head = model.charge_heads["charges"]
    layer = model.backbone.interactions[0].linear_up
    for parameter in (head.hidden.weight, layer.weight):
        found = parameter.grad.flatten()[3].item()
        step, values = 1e-5, []
        with torch.no_grad():
            for sign in (1, -2):
                parameter.view(-1)[3] += sign * step
                with torch.enable_grad():
                    values.append(loss().detach().item())
            parameter.view(-1)[3] += step
        assert found == pytest.approx((values[0] - values[1]) / (2 * step), rel=1e-5, abs=1e-8)
    for name in ("charges", "atomic_dipoles", "screening_value"):
        for parameter in model.charge_heads[name].parameters():
            assert parameter.grad.abs().sum() > 0, name


def test_batches_without_labels_are_not_differentiated_in_training():
    """What is left depends on every parameter, as training on several ranks wants it."""
    model = make_coupled_model(screening="local")
    batch = make_batch([bulk_water()], model)
    batch["born_effective_charges_weight"] = torch.zeros(1)
    output = model(batch, training=True)
    identity = torch.eye(3)
    expected = output["response_charges"][:, None, None] * identity
    torch.testing.assert_close(output[BORN], expected)
    output[BORN].square().sum().backward()
    for parameter in model.charge_heads["screening"].parameters():
        assert parameter.grad is not None


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize(
    "options",
    [
        {"screening": "local", "dipole_head": "local", "acoustic_sum_rule": "subtract"},
        {"born_charge_method": "phase", "learn_screening_value": True},
        {"charge_head": "none", "dipole_head": "local"},
    ],
)
def test_scripted_model_equals_eager(dtype, options, tmp_path):
    torch.set_default_dtype(dtype)
    model = make_coupled_model(**GIVEN, **options)
    frames = [build() for build in STRUCTURES.values()]
    expected = model(make_batch(frames, model), compute_stress=True)
    path = tmp_path / "scripted.pt"
    torch.jit.save(compile_model(copy.deepcopy(model)), path)
    scripted = torch.jit.load(path)
    for _ in range(3):  # TorchScript optimises a model after its first call
        output = scripted(make_batch(frames, model), compute_stress=True)
        for name, value in expected.items():
            if value is None:
                assert output[name] is None
            else:
                torch.testing.assert_close(output[name], value, rtol=TOLERANCE[dtype], atol=1e-5)


def test_backbones_whose_edges_cannot_be_followed_are_refused():
    fused = make_backbone()
    fused.interactions[1].conv_fusion = "atomic"
    with pytest.raises(
        ValueError, match=r"its convolutions are fused .*`born_charge_method` phase"
    ):
        SmileMACE(fused, SmileOptions(screening="global"))
    assert not SmileMACE(
        fused, SmileOptions(screening="global", born_charge_method="phase")
    ).follows_edges
    other = make_backbone()
    other.interactions[1] = torch.nn.Identity()
    other.interactions[1].conv_tp = make_backbone().interactions[1].conv_tp
    with pytest.raises(ValueError, match="its layers are Identity, which have other messages"):
        SmileMACE(other, SmileOptions(screening="global"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"screening_value": 0.0}, "`screening_value` is 0.0 but must be finite and not zero"),
        ({"phase_harmonics": 4}, "`phase_harmonics` is 4 but must be 1, 2 or 3"),
        ({"born_charge_method": "exact"}, "must be one of unfolded, phase, minimum_image"),
        ({"screening": "global", "charge_head": "none"}, "neither charges nor dipoles"),
        (
            {"screening": "local", "charge_head": "none", "dipole_head": "local"},
            "the model has no charges to screen",
        ),
        ({"learn_screening_value": True}, "needs charges and `screening` global"),
    ],
)
def test_bad_options_say_what_is_wanted(options, message):
    with pytest.raises(ValueError, match=message):
        SmileOptions(**options)
