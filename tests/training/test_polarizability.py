"""Labels of polarizabilities: read, checked, learned, logged."""

import json

import numpy as np
import pytest
import torch
from mace.data import AtomicData, KeySpecification, config_from_atoms
from mace.tools import AtomicNumberTable, torch_geometric

from helpers import make_model
from mace_smile import quantities
from mace_smile.errors import UserError
from mace_smile.model.files import load_model
from mace_smile.training.labels import with_complete_labels
from mace_smile.training.losses import Polarizability, TermWeights, polarizability_errors
from mace_smile.training.plan import plan_training
from mace_smile.training.polarizability_labels import symmetric_tensor
from training_data import frames, log_of, parse, run, validation, write

HEAD = "--polarizability_head=local"
KEY = "REF_polarizability"
#: In e^2 A^2/eV: an isotropic part of each element, and bonds along which there is more.
ISOTROPIC = {"O": 0.05, "H": 0.02}
ALONG_BONDS = 0.03


def polarizability(atoms) -> np.ndarray:
    """A law that atoms and bonds add up to."""
    vectors = atoms.positions[:, None] - atoms.positions[None]
    distances = np.linalg.norm(vectors, axis=-1) + np.eye(len(atoms))
    bonded = (distances < 1.3) & ~np.eye(len(atoms), dtype=bool)
    directions = vectors / distances[..., None]
    bonds = 0.5 * np.einsum("ij,ija,ijb->ab", bonded * distances, directions, directions)
    return sum(ISOTROPIC[symbol] for symbol in atoms.symbols) * np.eye(3) + ALONG_BONDS * bonds


def polarized(number: int = 8, key: str = KEY):
    structures = frames(number)
    for atoms in structures:
        atoms.info[key] = polarizability(atoms).ravel()
    return structures


def plan(tmp_path, structures, *flags):
    write(tmp_path, structures)
    return plan_training(parse(tmp_path, *flags))


def test_a_run_learns_what_is_labelled(tmp_path):
    structures = polarized()
    for atoms in structures[:2]:
        del atoms.info[KEY]
    write(tmp_path, structures)
    write(tmp_path, polarized(3), "test.xyz")
    flags = f"{HEAD} --polarizability_weight=1000 --max_num_epochs=10 --start_swa=8 --lr=0.02"
    more = "--swa_polarizability_weight=2000 --ema --ema_decay=0.8"
    test_file = f"--test_file={tmp_path}/test.xyz"
    run(tmp_path, *flags.split(), *more.split(), test_file)
    entries = validation(tmp_path)
    name = "rmse_polarizability_per_atom"
    assert entries[-1][name] < 0.4 * entries[0][name]
    log = log_of(tmp_path)
    assert f"Label {KEY} (polarizability): 6 of 8 frames of the train file" in log
    assert "+ Polarizability(weight=1000.000)" in log
    assert "Polarizability(weight=2000.000)" in log
    assert "RMSE_polarizability_per_atom=" in log
    assert "RMSE polarizability per atom / me A^2/V" in log
    assert load_model(tmp_path / "water_stagetwo.model").options.has_polarizability


def test_the_head_reaches_a_low_error(tmp_path):
    """The readout alone, on features that stay as they are."""
    planned = plan(tmp_path, polarized(4), HEAD)
    model = make_model("4x0e", polarizability_head="local")
    from_config = with_complete_labels(AtomicData.from_config, planned.labels)
    keys = KeySpecification(info_keys={quantities.POLARIZABILITY: KEY})
    data = [
        from_config(config_from_atoms(atoms, keys), AtomicNumberTable([1, 8, 10]), cutoff=4.0)
        for atoms in polarized(4)
    ]
    batch = torch_geometric.Batch.from_data_list(data)
    node_feats = model(batch.to_dict(), compute_force=False)["node_feats"].detach()
    optimizer = torch.optim.Adam(model.charge_heads["polarizability"].parameters(), lr=0.01)
    term = Polarizability(1.0)
    for _ in range(300):
        predicted = model.read_out_polarizability(node_feats, batch.to_dict(), True, False)
        output = {quantities.POLARIZABILITY: predicted}
        optimizer.zero_grad()
        term(batch, output).backward()
        optimizer.step()
    errors, weights = polarizability_errors(batch, output)
    assert bool((weights == 1).all())
    anisotropy = np.std([np.linalg.eigvalsh(polarizability(atoms)) for atoms in polarized(4)])
    assert float(errors.detach().square().mean().sqrt()) < 0.05 * anisotropy


def test_six_and_nine_numbers_mean_the_same():
    tensor = np.array([[1.0, 0.4, 0.3], [0.4, 2.0, 0.1], [0.3, 0.1, 3.0]])
    np.testing.assert_array_equal(symmetric_tensor(tensor.ravel()), tensor)
    six = np.array([1.0, 2.0, 3.0, 0.1, 0.3, 0.4])  # xx yy zz yz xz xy
    np.testing.assert_array_equal(symmetric_tensor(six), tensor)
    noisy = tensor + np.array([[0, 0.02, 0], [0, 0, 0], [0, 0, 0]])
    np.testing.assert_allclose(symmetric_tensor(noisy), symmetric_tensor(noisy).T, atol=0)


@pytest.mark.parametrize(
    ("label", "message"),
    [
        (np.diag([1.0, 2.0, 3.0])[[1, 0, 2]].ravel(), r"frame 3 .*\(key REF_polar.*not symmetric"),
        (np.ones(5), r"has shape \(5,\) but must have \(6,\) or \(9,\) or \(3, 3\)"),
        (np.full(9, np.nan), "9 values that are NaN"),
    ],
)
def test_bad_labels_name_their_frame(tmp_path, label, message):
    structures = polarized(4)
    structures[3].info[KEY] = label
    with pytest.raises(UserError, match=message):
        plan(tmp_path, structures, HEAD)


def test_labels_without_weight_and_missing_ones_do_not_count(tmp_path):
    structures = polarized(6)
    structures[0].info["config_polarizability_weight"] = 0.0
    del structures[1].info[KEY]
    planned = plan(tmp_path, structures, HEAD)
    assert TermWeights("polarizability", 1.0, 1.0) in planned.weights
    assert any("(polarizability): 4 of 6 frames of the train" in line for line in planned.summary)


def test_labels_without_the_head_are_told(tmp_path):
    planned = plan(tmp_path, polarized(4))
    assert any("not trained without --polarizability_head" in line for line in planned.summary)
    assert "polarizability" not in [term.name for term in planned.weights]


def test_a_head_without_labels_is_refused(tmp_path):
    with pytest.raises(UserError, match="no training frame has the label `polarizability` under"):
        plan(tmp_path, frames(4), HEAD)
    idle = polarized(4)
    for atoms in idle:
        atoms.info["config_polarizability_weight"] = 0.0
    with pytest.raises(UserError, match="counts in no training frame"):
        plan(tmp_path, idle, HEAD)
    with pytest.raises(UserError, match="nothing trains the polarizability.*weight above zero"):
        plan(tmp_path, polarized(4), HEAD, "--polarizability_weight=0")


def test_heads_have_keys_of_their_own(tmp_path):
    path = write(tmp_path, polarized(4, "alpha"), "second.xyz")
    first = write(tmp_path, polarized(4))
    heads = {
        "one": {"train_file": str(first)},
        "two": {"train_file": str(path), "polarizability_key": "alpha"},
    }
    planned = plan_training(parse(tmp_path, HEAD, f"--heads={json.dumps(heads)}"))
    assert any("(polarizability): 8 of 8 frames of the train" in line for line in planned.summary)
