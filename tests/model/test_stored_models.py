"""Files of every format load in an interpreter that has imported nothing of ours yet."""

import json
import subprocess
import sys
from pathlib import Path

from mace_smile.model.versions import FORMAT_VERSION

DATA = Path(__file__).parents[1] / "data"
CODE = """
import json, sys, warnings
warnings.simplefilter("ignore")
import torch
first, *others = sys.argv[1:]
models = [torch.load(first, weights_only=False, map_location="cpu")]
from mace_smile.model.files import load_model
models += [load_model(path) for path in others]
print(json.dumps([[type(model).__name__, model.format_version] for model in models]))
"""


def test_models_of_all_formats_load_in_a_fresh_interpreter():
    paths = [DATA / f"format_{version}.model" for version in range(1, FORMAT_VERSION)]
    result = subprocess.run(
        [sys.executable, "-c", CODE, *paths], capture_output=True, text=True, check=True
    )
    loaded = json.loads(result.stdout.splitlines()[-1])
    assert loaded == [["SmileMACE", FORMAT_VERSION]] * len(paths)
