"""Energy, forces and virial of an exported model, for engines that have no metatomic."""

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from metatomic.torch import (
    AtomisticModel,
    ModelEvaluationOptions,
    ModelOutput,
    System,
    load_atomistic_model,
    pick_device,
)
from vesin.metatomic import neighbor_lists_for_model

from mace_smile.errors import UserError
from mace_smile.memory import keep_freed_memory

ENERGY = "energy"


class ModelFailure(RuntimeError):
    """The model has refused a structure, or returned numbers that are not finite."""


@dataclass(frozen=True)
class Evaluation:
    """What an engine needs of one structure."""

    energy: float
    """In eV, without the field."""
    forces: np.ndarray
    """Shape ``(n_atoms, 3)``, in eV/A, with the field of the variant."""
    virial: np.ndarray
    """Minus the derivative of the energy by the strain, ``(3, 3)``, in eV."""


class Evaluator:
    """An exported model, loaded, with one of its energies chosen.

    :param path: file that ``mace_smile_export`` wrote; any metatomic model with an energy
        serves.
    :param variant: name of a field; None is the energy without field.
    :param device: torch device; None takes the best there is.
    :raises UserError: for a missing file, another kind of file or an unknown variant.
    """

    def __init__(
        self, path: str | Path, variant: str | None = None, device: str | None = None
    ) -> None:
        if not Path(path).is_file():
            raise UserError(f"there is no exported model '{path}'")
        keep_freed_memory()
        try:
            model = load_atomistic_model(path)
        except (RuntimeError, ValueError) as error:
            raise UserError(
                f"'{path}' cannot be read as an exported model ({first_line(error)}); write one "
                "with mace_smile_export"
            ) from error
        capabilities = model.capabilities()
        self.output = ENERGY if variant is None else f"{ENERGY}/{variant}"
        if self.output not in capabilities.outputs:
            raise UserError(f"'{path}' has no output '{self.output}'; {known_variants(model)}")
        self.atomic_types = list(capabilities.atomic_types)
        self.dtype: torch.dtype = getattr(torch, capabilities.dtype)
        self.device = torch.device(pick_device(capabilities.supported_devices, device))
        self.model = model.to(self.device)
        self.neighbor_lists = neighbor_lists_for_model("angstrom", model)
        self.options = ModelEvaluationOptions(
            length_unit="angstrom", outputs={self.output: ModelOutput(unit="eV")}
        )

    def evaluate(
        self, numbers: np.ndarray, positions: np.ndarray, cell: np.ndarray, pbc: np.ndarray
    ) -> Evaluation:
        """Energy, forces and virial of one structure.

        :param numbers: atomic numbers, shape ``(n_atoms,)``.
        :param positions: shape ``(n_atoms, 3)``, in A.
        :param cell: lattice vectors in rows, shape ``(3, 3)``, in A; rows of axes that are
            not periodic are not used.
        :param pbc: shape ``(3,)``, bool.
        :raises ModelFailure: when the model refuses the structure, with its reason, or when a
            number is not finite.
        """
        if not np.isfinite(positions).all():
            raise ModelFailure(
                "the positions are not finite numbers: the simulation has blown up; look at the "
                "frames before (time step, overlapping atoms)"
            )
        pbc = np.asarray(pbc, dtype=bool)
        rows = np.where(pbc[:, None], cell, 0.0)
        leaf = torch.tensor(positions, dtype=self.dtype, requires_grad=True)
        strain = torch.eye(3, dtype=self.dtype, requires_grad=True)
        system = System(
            torch.tensor(numbers, dtype=torch.int32),
            leaf @ strain,
            torch.tensor(rows, dtype=self.dtype) @ strain,
            torch.tensor(pbc),
        ).to(device=self.device)
        for neighbor_list in self.neighbor_lists:
            neighbor_list.add_neighbor_list(system)
        try:
            outputs = self.model([system], self.options, check_consistency=False)
        except (torch.jit.Error, RuntimeError, ValueError) as error:
            raise ModelFailure(last_line(error)) from error
        energy = outputs[self.output].block().values.sum()
        gradient, strain_gradient = torch.autograd.grad(energy, [leaf, strain])
        virial = -0.5 * (strain_gradient + strain_gradient.T).double().numpy()
        result = Evaluation(float(energy.detach()), -gradient.double().numpy(), virial)
        if not (math.isfinite(result.energy) and np.isfinite(result.forces).all()):
            raise ModelFailure(
                "the model returned an energy or forces that are not finite numbers; two atoms "
                "may lie at one place"
            )
        return result


def known_variants(model: AtomisticModel) -> str:
    """The variants of the energy a model has, as the end of a sentence."""
    prefix = f"{ENERGY}/"
    names = [
        name.removeprefix(prefix)
        for name in model.capabilities().outputs
        if name.startswith(prefix)
    ]
    if not names:
        return "it has no variants: export it with --field NAME=ex,ey,ez"
    return f"its variants are {', '.join(names)}"


def first_line(error: Exception) -> str:
    """First line of a message."""
    return next(iter(str(error).splitlines()), type(error).__name__)


def last_line(error: Exception) -> str:
    """The sentence at the end of a TorchScript message, without the type before it."""
    lines = [line for line in str(error).splitlines() if line.strip()]
    return lines[-1].split("Error: ", 1)[-1] if lines else "?"
