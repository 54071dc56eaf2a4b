"""What a ``.model`` says about itself, as plain data."""

import dataclasses
from pathlib import Path
from typing import Any

from ase.data import chemical_symbols

from mace_smile import quantities
from mace_smile.model.files import load_model
from metatensor_models.outputs import output_names


def report_model(path: str | Path, trust: bool = False) -> dict[str, Any]:
    """All a ``.model`` says about itself.

    :param trust: run whatever code the file holds.
    :return: JSON data; the outputs are those an export would have.
    :raises UserError: for a file that cannot be read.
    """
    model = load_model(path, trust=trust)
    options = model.options
    settings = {
        name: value
        for name, value in dataclasses.asdict(options).items()
        if name != "training_labels"
    }
    learned = {
        "susceptibility": model.susceptibility_value(),
        "given_susceptibility": model.given_susceptibility_value(),
        "screening_value": model.scale_value(),
    }
    outputs: dict[str, Any] = {}
    for name in output_names(options):
        row = quantities.BY_NAME[name]
        outputs[row.metatomic] = {
            "unit": row.unit,
            "of each": "atom" if row.per_atom else "system",
            "description": row.meaning,
        }
    return {
        "file": str(path),
        "kind": "trained model (.model); mace_smile_export makes a file for engines of it",
        "format_version": model.format_version,
        "elements": [chemical_symbols[int(number)] for number in model.atomic_numbers],
        "dtype": str(model.r_max.dtype).removeprefix("torch."),
        "cutoff in A": float(model.r_max),
        "layers": int(model.num_interactions),
        "heads": list(model.heads),
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "training_labels": list(options.training_labels) or ["unknown"],
        "outputs": outputs,
        "settings": {**settings, **learned},
    }
