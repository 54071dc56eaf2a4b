"""Energy, forces and virial of an exported model, for engines that have no metatomic."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
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
    extras: dict[str, np.ndarray] = field(default_factory=dict)
    """The other outputs that were asked for, by name: of each atom, ``(n_atoms, ...)``, or of
    the structure, ``(...)``."""


class Evaluator:
    """An exported model, loaded, with one of its energies chosen.

    :param path: file that ``mace_smile_export`` wrote; any metatomic model with an energy
        serves.
    :param variant: name of a field; None is the energy without field.
    :param device: torch device; None takes the best there is.
    :raises UserError: for a missing file, another kind of file, an unknown variant or a device
        that is not there.
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
                f"'{path}' cannot be read as an exported model ({first_sentence(error)}); "
                "write one with mace_smile_export"
            ) from error
        self.path = Path(path)
        self.capabilities = model.capabilities()
        self.output = ENERGY if variant is None else f"{ENERGY}/{variant}"
        if self.output not in self.capabilities.outputs:
            raise UserError(f"'{path}' has no output '{self.output}'; {known_variants(model)}")
        self.atomic_types = list(self.capabilities.atomic_types)
        self.dtype: torch.dtype = getattr(torch, self.capabilities.dtype)
        self.device = choose_device(self.capabilities.supported_devices, device)
        self.model = model.to(self.device)
        self.neighbor_lists = neighbor_lists_for_model("angstrom", model)
        self.extras: list[str] = []
        self.ask_for([])

    def ask_for(self, names: Sequence[str]) -> None:
        """Ask for outputs beside the energy, e.g. ``charge``, from the next evaluation on.

        :raises UserError: for outputs that the model does not have.
        """
        missing = [name for name in names if name not in self.capabilities.outputs]
        if missing:
            raise UserError(
                f"'{self.path}' has no output {', '.join(missing)}; it has "
                f"{', '.join(self.capabilities.outputs)}"
            )
        self.extras = list(dict.fromkeys(names))
        outputs = {self.output: ModelOutput(unit="eV")}
        for name in self.extras:
            outputs[name] = ModelOutput(
                sample_kind=self.capabilities.outputs[name].sample_kind,
                unit=self.capabilities.outputs[name].unit,
            )
        self.options = ModelEvaluationOptions(length_unit="angstrom", outputs=outputs)

    def evaluate(
        self, numbers: np.ndarray, positions: np.ndarray, cell: np.ndarray, pbc: np.ndarray
    ) -> Evaluation:
        """Energy, forces and virial of one structure, and what was asked for beside.

        :param numbers: atomic numbers, shape ``(n_atoms,)``.
        :param positions: shape ``(n_atoms, 3)``, in A.
        :param cell: lattice vectors in rows, shape ``(3, 3)``, in A; rows of axes that are
            not periodic are not used.
        :param pbc: shape ``(3,)``, bool.
        :raises ModelFailure: when the model refuses the structure, with its reason, or when a
            number is not finite.
        """
        pbc = np.asarray(pbc, dtype=bool)
        rows = np.where(pbc[:, None], cell, 0.0)
        # Before the neighbour list, which kills the process for cells that are not finite.
        for what, values in (("positions", positions), ("cell vectors", rows)):
            if not np.isfinite(values).all():
                raise ModelFailure(
                    f"the {what} are not finite numbers: the simulation has blown up; look at the "
                    "frames before (time step, overlapping atoms)"
                )
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
        extras = {name: outputs[name].block().values.detach().squeeze(-1) for name in self.extras}
        result = Evaluation(
            float(energy.detach()),
            -gradient.double().numpy(),
            virial,
            {
                name: (values if self.is_per_atom(name) else values[0]).double().cpu().numpy()
                for name, values in extras.items()
            },
        )
        arrays = [result.forces, *result.extras.values()]
        if not (math.isfinite(result.energy) and all(np.isfinite(a).all() for a in arrays)):
            raise ModelFailure(
                "the model returned an energy or forces that are not finite numbers; two atoms "
                "may lie at one place"
            )
        return result

    def is_per_atom(self, name: str) -> bool:
        """Whether an output has one value for each atom."""
        return bool(self.capabilities.outputs[name].sample_kind == "atom")


def choose_device(supported: list[str], wanted: str | None) -> torch.device:
    """The device to run on.

    :param supported: what the model supports, the best first.
    :param wanted: torch device; None takes the best there is.
    :raises UserError: for one that the model or this machine does not have.
    """
    try:
        return torch.device(pick_device(supported, wanted))
    except (RuntimeError, ValueError) as error:
        raise UserError(
            f"the device '{wanted}' cannot be used: the model supports {', '.join(supported)}, "
            "and the machine must have it"
        ) from error


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


def first_sentence(error: Exception) -> str:
    """First sentence of a message; torch's go on for long."""
    return next(iter(str(error).splitlines()), type(error).__name__).split(". ")[0]


def last_line(error: Exception) -> str:
    """The sentence at the end of a TorchScript message, without the type before it."""
    lines = [line for line in str(error).splitlines() if line.strip()]
    return lines[-1].split("Error: ", 1)[-1] if lines else "?"
