"""The plain MACE of the benchmarks, and what is done with a model while it is timed."""

import numpy as np
import torch

import mace_smile  # noqa: F401  (before e3nn is imported)

# isort: split
from e3nn import o3
from mace import modules
from water import ELEMENTS


def make_backbone(
    channels: int, max_l: int, correlation: int, r_max: float
) -> modules.ScaleShiftMACE:
    """A ScaleShiftMACE with the same random weights in every call."""
    torch.manual_seed(0)
    block = modules.interaction_classes["RealAgnosticResidualInteractionBlock"]
    irreps = "+".join(f"{channels}x{degree}{'eo'[degree % 2]}" for degree in range(max_l + 1))
    return modules.ScaleShiftMACE(
        r_max=r_max,
        num_bessel=8,
        num_polynomial_cutoff=5,
        max_ell=2,
        interaction_cls=block,
        interaction_cls_first=block,
        num_interactions=2,
        num_elements=len(ELEMENTS),
        hidden_irreps=o3.Irreps(irreps),
        MLP_irreps=o3.Irreps("16x0e"),
        atomic_energies=np.zeros((1, len(ELEMENTS))),
        avg_num_neighbors=30.0,
        atomic_numbers=ELEMENTS,
        correlation=correlation,
        gate=torch.nn.functional.silu,
        atomic_inter_scale=1.0,
        atomic_inter_shift=0.0,
        heads=["Default"],
    )


def train_step(model: torch.nn.Module, batch: dict, names: tuple[str, ...] = ()) -> None:
    """Forward, a loss on energy, forces and what is named, and the gradient of the parameters.

    :param names: outputs that enter the loss if the model has them.
    """
    output = model(dict(batch), training=True, compute_force=True)
    loss = output["energy"].square().mean() + output["forces"].square().mean()
    for name in names:
        if output.get(name) is not None:
            loss = loss + output[name].square().mean()
    model.zero_grad(set_to_none=True)
    loss.backward()


def evaluate(model: torch.nn.Module, batch: dict) -> None:
    """Energy and forces, and all else the model has."""
    model(dict(batch), training=False, compute_force=True)
