"""Models that trainings start from, such trainings, and what models give before and after."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch
from mace.calculators import MACECalculator
from mace.modules import ScaleShiftMACE
from mace.tools.scripts_utils import extract_config_mace_model

from helpers import make_backbone, make_batch, open_water
from mace_smile.model.files import load_model
from mace_smile.model.options import SmileOptions
from mace_smile.model.smile_mace import SmileMACE
from training_data import frames, parse, run_arguments, write

SHORT = ("--name=tuned", "--max_num_epochs=1", "--valid_fraction=0.5")
OUTPUTS = ("energy", "forces", "stress")


def store(directory: Path, model: torch.nn.Module, name: str = "foundation.model") -> Path:
    torch.save(model, directory / name)
    return directory / name


def tuned_args(directory, model, *flags):
    """Arguments of a run from a model, without the energies of isolated atoms."""
    path = store(directory, model)
    write(directory, frames(4))
    args = parse(directory, *SHORT, f"--foundation_model={path}", *flags)
    if not any(flag.startswith("--E0s") for flag in flags):
        args.E0s = None
    return args


def tune(directory, model, *flags) -> SmileMACE:
    run_arguments(tuned_args(directory, model, *flags))
    torch.set_default_dtype(torch.float64)
    return load_model(directory / "tuned.model")


def outputs_of(model, dtype=None):
    """Outputs of a model, once its compiled parts are warm: their first calls round otherwise."""
    torch.set_default_dtype(dtype or model.r_max.dtype)
    try:
        for _ in range(3):
            batch = make_batch([open_water()], as_smile(model))
            outputs = model(batch, compute_stress=True)
    finally:
        torch.set_default_dtype(torch.float64)
    return outputs


def two_heads() -> ScaleShiftMACE:
    """A MACE with two heads of the energy."""
    torch.manual_seed(5)
    config = extract_config_mace_model(make_backbone())
    config.update(
        atomic_numbers=config["atomic_numbers"].tolist(),
        heads=["mol", "solid"],
        atomic_energies=np.array([[-1.0, -2.0, -3.0], [-1.5, -1.0, -4.0]]),
        atomic_inter_scale=[0.7, 1.3],
        atomic_inter_shift=[0.1, -0.2],
    )
    return ScaleShiftMACE(**config)


def of_calculator(path, head, atoms, dtype="float64"):
    """Energy, forces and stress of MACE's calculator, warm."""
    calculator = MACECalculator(str(path), device="cpu", default_dtype=dtype, head=head)
    for _ in range(3):
        calculator.calculate(atoms)
    return [np.array(calculator.results[name]) for name in OUTPUTS]


def as_smile(model):
    """For batches: a plain MACE with options of ours."""
    return SimpleNamespace(
        atomic_numbers=model.atomic_numbers,
        r_max=model.r_max,
        options=SmileOptions(charge_head="none", electrostatics="none"),
    )
