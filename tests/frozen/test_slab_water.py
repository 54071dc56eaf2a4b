"""The claims about the embedded slab water: chi from the scan, and what it is worth."""

import re
from pathlib import Path

import pytest
import torch

from helpers import make_backbone
from mace_smile.frozen import commands
from mace_smile.frozen.flags import build_scan_parser

ROOT = Path(__file__).parents[2]
DATA = ROOT / "examples" / "data" / "slab_water" / "slab_water_train.xyz"


@pytest.mark.slow
def test_scan_of_slab_water_finds_the_susceptibility_of_equal_geometries(tmp_path):
    # Bond dipoles and element charges need no features: a MACE with random weights will do.
    torch.save(make_backbone("4x0e", n_layers=1, r_max=4.5), tmp_path / "mace.model")
    flags = [
        f"--config={ROOT / 'configs' / 'slab_smile.yaml'}",
        f"--train_file={DATA}",
        f"--foundation_model={tmp_path / 'mace.model'}",
        f"--work_dir={tmp_path}",
        "--group_key=geometry_id",
        "--group_pattern=(.*)_s[0-9]+",
        "--write_model=no",
        "--susceptibilities",
        *["0", "0.3", "0.35", "0.4", "0.45", "0.5", "0.6"],
    ]
    result = commands.scan_susceptibility(build_scan_parser().parse_args(flags))
    assert result.n_groups == 8
    assert result.pairs.susceptibility == pytest.approx(0.41, abs=0.01)
    assert result.minimum.value == pytest.approx(result.pairs.susceptibility, abs=0.06)
    assert result.minimum.error < 0.03
    assert result.best_rmse.value < 0.06
    assert result.fixed_ratio.value < 0.75
    assert result.fixed_difference.high < 0.0
    assert result.smile0_ratio.value > 1.4


@pytest.mark.parametrize("name", ["slab_smile", "slab_smile0", "slab_hirshfeld"])
def test_comparison_configs_differ_in_what_they_compare_only(name):
    def settings(name):
        lines = (ROOT / "configs" / f"{name}.yaml").read_text().splitlines()
        found = (re.match(r"(\w+): *([^#]*)", line) for line in lines)
        return {match[1]: match[2].strip() for match in found if match}

    compared = {"name", "susceptibility", "dipole_key", "dipole_head", "dipole_elements"}
    compared |= {"charges_key", "charges_weight", "macro_dipole_weight"}
    first, second = settings("slab_smile"), settings(name)
    differing = {key for key in first.keys() | second.keys() if first.get(key) != second.get(key)}
    assert differing <= compared
    assert (
        build_scan_parser().parse_args([f"--config={ROOT / 'configs' / f'{name}.yaml'}"]).name
        == name
    )
