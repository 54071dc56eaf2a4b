"""Files of every format load in an interpreter that has imported nothing of ours yet."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from mace_smile.model.versions import FORMAT_VERSION

TESTS = Path(__file__).parents[1]
PATHS = [TESTS / "data" / f"format_{version}.model" for version in range(1, FORMAT_VERSION)]
#: Loads in both precisions, as a file is to say nothing of the one around it; evaluates in float64.
CODE = """
import json, sys, warnings
warnings.simplefilter("ignore")
import torch
torch.set_default_dtype(torch.float32)
models = [torch.load(sys.argv[1], weights_only=False, map_location="cpu")]
from mace_smile.model.files import load_model
models += [load_model(path) for path in sys.argv[2:]]
torch.set_default_dtype(torch.float64)
models += [load_model(path) for path in sys.argv[1:]]
from helpers import STRUCTURES, evaluate
energies = [
    {
        name: {
            key: float(value.detach())
            for key, value in evaluate(model, make(), compute_force=False).items()
            if key in ("energy", "electrostatic_energy")
        }
        for name, make in STRUCTURES.items()
    }
    for model in models
]
kinds = [[type(model).__name__, model.format_version] for model in models]
print(json.dumps([kinds, energies]))
"""


def test_models_of_all_formats_give_their_energies_in_a_fresh_interpreter():
    result = subprocess.run(
        [sys.executable, "-c", CODE, *PATHS],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": str(TESTS)},
    )
    kinds, energies = json.loads(result.stdout.splitlines()[-1])
    assert kinds == [["SmileMACE", FORMAT_VERSION]] * 2 * len(PATHS)
    in_float32, in_float64 = energies[: len(PATHS)], energies[len(PATHS) :]
    for path, one, other in zip(PATHS, in_float32, in_float64, strict=True):
        expected = json.loads(path.with_suffix(".json").read_text())
        for name, values in expected.items():
            assert one[name] == pytest.approx(other[name], rel=0, abs=1e-11), (path.stem, name)
            assert one[name] == pytest.approx(values, rel=0, abs=1e-7), (path.stem, name)
