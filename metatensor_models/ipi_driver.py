"""i-PI's metatomic driver, which also returns Born effective charges and the dipole.

i-PI's own driven dynamics (``eda-nve``, ``eda-nvt``) takes fields of its input, static, oscillating
or pulsed, and the charges from its driver: ``BEC`` and ``dipole`` in the extras, in atomic units.
Three ways to run it::

    python -m metatensor_models.ipi_driver demo.pt start.xyz --address film
    i-pi-driver-py -u -a film -m custom -P .../ipi_driver.py -o template=start.xyz,model=demo.pt
    <ffdirect name="model"> <pes>custom</pes> <pes_path>.../ipi_driver.py</pes_path> ...

The first stops with one sentence where something is wrong, and waits for an i-PI that has gone.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import ase.io
import numpy as np
import torch
from ase.data import chemical_symbols
from metatensor.torch import TensorMap
from metatomic.torch import ModelOutput, System

from mace_smile import quantities
from mace_smile.errors import UserError
from mace_smile.memory import keep_freed_memory
from metatensor_models.evaluator import ModelFailure, first_sentence, known_variants, last_line
from metatensor_models.ipi_client import Answer, Client
from metatensor_models.ipi_extras import (
    SUBTRACT,
    SUM_RULES,
    born_charge_rows,
    dipole_in_atomic_units,
    largest_mean,
)

try:
    from ipi.pes.metatomic import MetatomicDriver
    from ipi.utils.messages import info, verbosity, warning
except ImportError as error:
    raise ImportError("i-PI is not installed; install it with `pip install ipi`") from error

#: By these names i-PI finds the class (``-m custom``, ``<pes>custom</pes>``).
__DRIVER_NAME__ = "mace_smile"
__DRIVER_CLASS__ = "SmileDriver"

BORN_CHARGES = quantities.BY_NAME[quantities.BORN_EFFECTIVE_CHARGES].metatomic
DIPOLE = quantities.BY_NAME[quantities.RESPONSE_DIPOLE].metatomic
#: What i-PI adds to the parameters of every driver.
IPI_PARAMETERS = frozenset({"verbosity", "verbose"})


class SmileDriver(MetatomicDriver):
    """An exported model for i-PI, with Born effective charges and the dipole in its extras.

    :param template: structure with the elements, in i-PI's order; a file ASE reads.
    :param model: file that ``mace_smile_export`` wrote.
    :param device: torch device, or several with ``;`` between them.
    :param energy_variant: a field the model was exported with, beside those of i-PI; None is none.
    :param born_charges: whether to compute Born charges and dipole; without them the driver
        serves any dynamics but the driven one.
    :param acoustic_sum_rule: ``subtract`` takes the mean of Z over the atoms away, which i-PI
        wants to be below its ``asr_threshold``; ``none`` does not.
    :raises UserError: for what the files lack, and for parameters that are none.
    """

    def __init__(
        self,
        template: str,
        model: str,
        device: str = "cpu",
        energy_variant: str | None = None,
        born_charges: bool = True,
        acoustic_sum_rule: str = SUBTRACT,
        **parameters: Any,
    ) -> None:
        unknown = sorted(set(parameters) - IPI_PARAMETERS)
        if unknown:
            raise UserError(
                f"the driver has no parameter {', '.join(unknown)}; it takes template, model, "
                "device, energy_variant, born_charges and acoustic_sum_rule"
            )
        if acoustic_sum_rule not in SUM_RULES:
            raise UserError(
                f"acoustic_sum_rule is '{acoustic_sum_rule}' but must be one of "
                f"{', '.join(SUM_RULES)}"
            )
        if not isinstance(born_charges, bool):
            raise UserError(f"born_charges is '{born_charges}' but must be True or False")
        self.wants_born_charges = born_charges
        self.sum_rule = acoustic_sum_rule
        self.variant = None if energy_variant is None else str(energy_variant)
        self.largest_violation = 0.0
        keep_freed_memory()
        super().__init__(
            template=str(template), model=str(model), device=device, energy_variant=self.variant
        )

    def _load_models_and_device(self) -> None:
        """Load the model; what does not fit is refused in one sentence."""
        path = self.model
        if not Path(path).is_file():
            raise UserError(f"there is no exported model '{path}'")
        try:
            super()._load_models_and_device()
        except (RuntimeError, ValueError, AssertionError) as error:
            raise UserError(
                f"'{path}' cannot be run as an exported model on '{self.device}' "
                f"({first_sentence(error)}); write one with mace_smile_export, or name another "
                "device"
            ) from error
        outputs = self.model.capabilities().outputs
        if self.variant is not None and f"energy/{self.variant}" not in outputs:
            raise UserError(f"'{path}' has no field '{self.variant}'; {known_variants(self.model)}")
        if self.wants_born_charges and BORN_CHARGES not in outputs:
            raise UserError(
                f"'{path}' has no Born effective charges, which i-PI's driven dynamics needs; "
                "train it with --becs_key or --screening, or pass born_charges=False (with "
                "`python -m`: --no_born_charges) for other dynamics"
            )

    def _load_template(self) -> None:
        """Load the elements; those the model does not know are refused."""
        try:
            super()._load_template()
        except Exception as error:  # readers of ASE raise all kinds
            raise UserError(
                f"the template '{self.template}' cannot be read as a structure "
                f"({first_sentence(error)}); give a file that ASE reads"
            ) from error
        known = list(self.model.capabilities().atomic_types)
        unknown = sorted(set(self._types.tolist()) - set(known))
        if unknown:
            raise UserError(
                f"the template '{self.template}' has the elements {symbols(unknown)}, which the "
                f"model does not know; it knows {symbols(known)}"
            )
        if self.variant is not None or self.wants_born_charges:
            self._check_frame()

    def _check_frame(self) -> None:
        """Refuse a cell that i-PI turns into its own frame: a field would point elsewhere."""
        cell = np.array(ase.io.read(self.template).cell)
        if np.abs(np.triu(cell, 1)).max() > 1e-6 * np.abs(cell).max() or np.diag(cell).min() < 0:
            raise UserError(
                f"the cell of '{self.template}' has a not along x, or b not in the xy plane: i-PI "
                "turns such cells, and a field would point elsewhere; rotate the structure, and "
                "the field with it"
            )

    def _register_model_outputs(self) -> None:
        """Ask the model for Born charges, and for the dipole where it has one."""
        super()._register_model_outputs()
        declared = self.model.capabilities().outputs
        wanted = self.evaluation_options.outputs
        self.sends_dipole = self.wants_born_charges and DIPOLE in declared
        if self.wants_born_charges:
            wanted[BORN_CHARGES] = ModelOutput(unit=declared[BORN_CHARGES].unit, sample_kind="atom")
        if self.sends_dipole:
            wanted[DIPOLE] = ModelOutput(unit=declared[DIPOLE].unit, sample_kind="system")
        elif self.wants_born_charges:
            warning(
                "the model has Born effective charges and no dipole: the field acts, and i-PI's "
                "properties dipole and interaction_energy will be nan",
                verbosity.low,
            )
        self.evaluation_options.outputs = wanted

    def compute(self, cell: Any, pos: Any) -> Any:
        """Energy, forces, virial and extras of one structure, or of several in one call.

        :param cell: vectors in columns, ``(3, 3)``, in bohr; or a list of them.
        :param pos: ``(n_atoms, 3)``, in bohr; or a list of them.
        :raises ModelFailure: when the model refuses a structure, with its reason, or when a
            number is not finite: such numbers are never sent.
        """
        for positions in pos if isinstance(pos, list) else [pos]:
            if len(positions) != len(self._types):
                raise ModelFailure(
                    f"i-PI sends {len(positions)} atoms but the template '{self.template}' has "
                    f"{len(self._types)}; make it from the structure that i-PI starts from"
                )
            if not np.isfinite(positions).all() or not np.isfinite(cell).all():
                raise ModelFailure(
                    "i-PI sends positions or a cell that are not finite numbers: the simulation "
                    "has blown up; look at the frames before (time step, overlapping atoms)"
                )
        try:
            return super().compute(cell, pos)
        except (torch.jit.Error, RuntimeError, ValueError) as error:
            if isinstance(error, ModelFailure):
                raise
            raise ModelFailure(last_line(error)) from error

    def _process_outputs(
        self,
        outputs: dict[str, TensorMap],
        systems: list[System],
        strains: list[torch.Tensor],
        model: Any = None,
    ) -> list[Answer]:
        """What i-PI gets, with Born charges and dipole added to the extras."""
        answers: list[Answer] = super()._process_outputs(outputs, systems, strains, model=model)
        extras = self._extras(outputs, len(systems))
        complete = []
        for (energy, forces, virial, text), extra in zip(answers, extras, strict=True):
            numbers = [np.atleast_1d(energy), forces, virial, *extra.values()]
            if not all(np.isfinite(values).all() for values in numbers):
                raise ModelFailure(
                    "the model returned energies, forces or charges that are not finite numbers; "
                    "two atoms may lie at one place"
                )
            lists = {name: values.tolist() for name, values in extra.items()}
            complete.append((energy, forces, virial, json.dumps({**json.loads(text), **lists})))
        return complete

    def _extras(self, outputs: dict[str, TensorMap], n_systems: int) -> list[dict[str, np.ndarray]]:
        """``BEC`` and ``dipole`` of each structure, in atomic units."""
        extras: list[dict[str, np.ndarray]] = [{} for _ in range(n_systems)]
        if self.wants_born_charges:
            tensors = to_numpy(outputs[BORN_CHARGES]).reshape(n_systems, -1, 3, 3)
            for extra, tensor in zip(extras, tensors, strict=True):
                self._report_violation(largest_mean(tensor))
                extra["BEC"] = born_charge_rows(tensor, self.sum_rule)
        if self.sends_dipole:
            dipoles = to_numpy(outputs[DIPOLE]).reshape(n_systems, 3)
            for extra, dipole in zip(extras, dipoles, strict=True):
                extra["dipole"] = dipole_in_atomic_units(dipole)
        return extras

    def _report_violation(self, violation: float) -> None:
        """Log the mean of Z over the atoms, the first time and when it has doubled."""
        if violation > 2 * self.largest_violation:
            self.largest_violation = violation
            remedy = "which is subtracted" if self.sum_rule == SUBTRACT else "which stays"
            info(
                " @mace_smile: acoustic sum rule: the mean of Z over the atoms has a component of "
                f"{violation:.1e} e, {remedy}",
                verbosity.low,
            )


def symbols(numbers: list[int]) -> str:
    """Chemical symbols of atomic numbers, as a list in words."""
    return ", ".join(chemical_symbols[number] for number in numbers)


def to_numpy(values: TensorMap) -> np.ndarray:
    """The values of an output with one block, in double precision."""
    return values.block().values.detach().to(device="cpu", dtype=torch.float64).numpy()


def parse_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m metatensor_models.ipi_driver",
        description="Run an exported model for i-PI, with Born charges for its driven dynamics.",
    )
    parser.add_argument("model", help="file that mace_smile_export wrote")
    parser.add_argument("template", help="structure with the elements, in i-PI's order")
    parser.add_argument("--address", required=True, help="<address> in i-PI's input")
    parser.add_argument("--port", type=int, help="<port> there, with mode='inet'; none is 'unix'")
    parser.add_argument("--variant", help="field of the model, beside those of i-PI (none)")
    parser.add_argument("--device", default="cpu", help="torch device (cpu)")
    parser.add_argument(
        "--no_born_charges", action="store_true", help="for dynamics other than eda-nve, eda-nvt"
    )
    parser.add_argument(
        "--acoustic_sum_rule",
        choices=SUM_RULES,
        default=SUBTRACT,
        help="subtract the mean of Z over the atoms, or none (subtract)",
    )
    parser.add_argument(
        "--wait",
        type=float,
        default=60.0,
        help="seconds to wait for an i-PI that is not there (60)",
    )
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> None:
    """Serve one i-PI; what is wrong ends in one sentence and exit code 2."""
    parsed = parse_arguments(arguments)
    try:
        driver = SmileDriver(
            template=parsed.template,
            model=parsed.model,
            device=parsed.device,
            energy_variant=parsed.variant,
            born_charges=not parsed.no_born_charges,
            acoustic_sum_rule=parsed.acoustic_sum_rule,
        )
        Client(parsed.address, parsed.port).run(driver.compute, parsed.wait)
    except (UserError, ModelFailure) as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        raise SystemExit(2) from None


if __name__ == "__main__":
    main()
