"""What the project promises beside its code: data, configs, documentation and version agree."""

import hashlib
import importlib.metadata
from pathlib import Path

import ase.io
import numpy as np
import pytest

import mace_smile
from mace_smile import quantities
from mace_smile.training.arguments import options_from_args
from mace_smile.training.flags import FLAGS
from mace_smile.training.mace_parser import build_parser

ROOT = Path(__file__).resolve().parent.parent
DATA = ROOT / "examples" / "data"
SLABS = DATA / "slab_water" / "slab_water_train.xyz"
WATER = DATA / "water_born_charges" / "water_born_charges_train.xyz"
# Printed by `sha256sum examples/data/*/*.xyz examples/data/*/*.npz`
CHECKSUMS = {
    SLABS: "1ab97c2345eb3fd03cc94ec1c94a8044cfcce6d04f58ad0623a6a1544006d8b9",
    SLABS.with_name(
        "slab_water_train_potential.npz"
    ): "45c0e0ac8520b4e9696ae9856c63a852882cd38137a3da77a7f0d30a42edde0f",
    WATER: "91092fda8cda795625b6a213ad6cc31f95f4eb94e6dcb3f41f7c41fc05581170",
}


@pytest.mark.parametrize("path", CHECKSUMS, ids=lambda path: path.name)
def test_embedded_data_are_unchanged(path):
    assert hashlib.sha256(path.read_bytes()).hexdigest() == CHECKSUMS[path]


def test_slabs_have_their_labels_and_potentials():
    frames = ase.io.read(SLABS, ":")
    potential = np.load(SLABS.with_name("slab_water_train_potential.npz"))
    assert len(frames) == 80
    assert potential["phi"].shape == (80, 240)
    for frame, name in zip(frames, potential["geometry_id"], strict=True):
        assert frame.info["geometry_id"] == name
        assert frame.pbc.tolist() == [True, True, False]
        assert {"REF_energy", "REF_dipole"} <= set(frame.info)
        assert {"REF_forces", "core_correction", "wall"} <= set(frame.arrays)


def test_susceptibility_of_the_demo_is_that_of_pairs_of_equal_geometry():
    """(1 + chi) d mu_z = d sum Q z at fixed geometry (S0 eq. 4)."""
    dipoles: dict[str, list[tuple[float, float]]] = {}
    for frame in ase.io.read(SLABS, ":"):
        bare = frame.arrays["core_correction"] @ frame.positions[:, 2]
        pair = (bare, frame.info["REF_dipole"][2])
        dipoles.setdefault(frame.info["geometry_id"], []).append(pair)
    slopes = [
        np.polyfit([dipole for _, dipole in pairs], [bare for bare, _ in pairs], 1)[0]
        for pairs in dipoles.values()
        if len(pairs) > 1
    ]
    args = build_parser().parse_args(["--config", str(ROOT / "configs" / "demo.yaml")])
    assert np.mean(slopes) - 1 == pytest.approx(args.susceptibility, abs=0.01)


def test_born_charges_have_the_field_index_first():
    """The rotational sum rule sum_i Z_i (w x r_i) = w x mu tells the order."""
    clusters = [frame for frame in ase.io.read(WATER, ":") if not frame.pbc.any()]
    assert len(clusters) == 80
    for frame in clusters:
        born = frame.arrays["REF_becs"].reshape(-1, 3, 3)
        residuals = []
        for charges in (born, born.transpose(0, 2, 1)):
            rotations = np.cross(np.eye(3)[:, None], frame.positions)  # [w, i, b]
            induced = np.einsum("iab,wib->wa", charges, rotations)
            residuals.append(
                np.sqrt(np.mean((induced - np.cross(np.eye(3), frame.info["REF_dipole"])) ** 2))
            )
        assert residuals[0] < min(residuals[1], 0.012)


def test_born_charges_obey_the_acoustic_sum_rule():
    for frame in ase.io.read(WATER, ":"):
        assert np.abs(frame.arrays["REF_becs"].sum(axis=0)).max() < 4e-3


@pytest.mark.parametrize(
    "path",
    sorted([*(ROOT / "configs").glob("*.yaml"), *(ROOT / "examples").glob("*/train.yaml")]),
    ids=lambda p: p.name,
)
def test_configs_parse_with_the_real_parser(path):
    arguments = ["--config", str(path), "--name", "test", "--train_file", "train.xyz"]
    args = build_parser().parse_args(arguments)
    options = options_from_args(args)
    assert options.has_charges or options.has_born_charges


def test_conventions_agree_with_the_table_of_quantities():
    text = (ROOT / "docs" / "conventions.md").read_text()
    rows = {
        line.split("|")[1].strip().strip("`"): line
        for line in text.splitlines()
        if line.startswith("| `")
    }
    for quantity in quantities.TABLE:
        row = rows[quantity.name]
        assert f"| {quantity.unit} |" in row or not quantity.unit
        assert f"`{quantity.key}`" in row or not quantity.key
        assert f"`{quantity.metatomic}`" in row or not quantity.metatomic
        assert ("| atom |" if quantity.per_atom else "| structure |") in row


def test_documentation_names_every_training_flag():
    text = (ROOT / "docs" / "training.md").read_text()
    assert [flag.name for flag in FLAGS if f"`--{flag.name}`" not in text] == []


def test_version_is_that_of_the_distribution():
    assert mace_smile.__version__ == importlib.metadata.version("mace-smile")
