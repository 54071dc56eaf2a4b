"""Energy, forces and Born charges out of any calculator that has them.

Three kinds of calculators are read: ``metatomic_ase.MetatomicCalculator`` with Born charges among
its ``additional_outputs``; ``mace_smile.calculator.SmileCalculator``; and any other whose
``results`` hold ASE's ``born_effective_charges``, field index first.
"""

import json
from dataclasses import dataclass
from typing import Any

import ase
import numpy as np
from ase.calculators.calculator import all_changes, all_properties

from mace_smile import quantities
from mace_smile.dynamics.exported import BORN_CHARGES, POLARIZABILITY, RESPONSE_DIPOLE
from mace_smile.errors import UserError


@dataclass(frozen=True)
class Response:
    """What a calculator says about one structure."""

    energy: float
    """U, without a field, in eV."""
    forces: np.ndarray
    """Without the field that ``FiniteField`` adds, shape ``(n_atoms, 3)``, in eV/A."""
    born_charges: np.ndarray
    """Shape ``(n_atoms, 3, 3)``, in e, field index first."""
    second_order_forces: np.ndarray | None
    """Half the gradient of E . alpha E, shape ``(n_atoms, 3)``, in eV/A; None to first order."""
    polarizability: np.ndarray
    """Shape ``(3, 3)``, in e^2 A^2/eV; zero to first order."""
    response_dipole: np.ndarray | None
    """Shape ``(3,)``, in e A; None where the calculator tells none."""
    results: dict[str, Any]
    """All of ASE's properties the calculator has computed."""


class AseSource:
    """Any ASE calculator with ``born_effective_charges`` in its results."""

    #: Whether an arbitrary field can act to second order.
    has_second_order = False
    #: Whether Z is the derivative of the response dipole.
    is_derivative = False

    def __init__(self, calculator: Any) -> None:
        self.calculator = calculator

    def own_field(self, atoms: ase.Atoms) -> np.ndarray | None:
        """The field that is in the calculator's forces already, ``(3,)`` in V/A, or None."""
        return None

    def has_slab_energy(self, atoms: ase.Atoms) -> bool:
        """Whether U contains the depolarization of a slab or an open structure."""
        return False

    def evaluate(self, atoms: ase.Atoms, field: np.ndarray | None) -> Response:
        """Evaluate a structure.

        :param field: to polarize with, where ``has_second_order``, ``(3,)`` in V/A; None else.
        :raises UserError: where Born charges are missing.
        """
        self.calculator.calculate(atoms, ["energy", "forces"], all_changes)
        results = dict(self.calculator.results)
        born_charges = results.get(quantities.BORN_EFFECTIVE_CHARGES)
        if born_charges is None:
            raise UserError(
                f"{type(self.calculator).__name__} computes no born_effective_charges, so no field "
                "can act; give FiniteField a model that was trained with --screening"
            )
        return Response(
            energy=float(results["energy"]),
            forces=np.array(results["forces"], dtype=float),
            born_charges=np.array(born_charges, dtype=float),
            second_order_forces=None,
            polarizability=np.zeros((3, 3)),
            response_dipole=None,
            results={name: results[name] for name in results if name in all_properties},
        )


class SmileSource(AseSource):
    """A ``SmileCalculator``: a ``.model``, to second order where it has a polarizability."""

    def __init__(self, calculator: Any) -> None:
        super().__init__(calculator)
        if calculator.electric_field is not None:
            raise UserError(
                f"the calculator has the field {calculator.electric_field} of its own; give the "
                "field to FiniteField alone"
            )
        options = calculator.model.options
        self.has_second_order = calculator.field_order == 2
        self.is_derivative = options.has_coupled_screening and options.acoustic_sum_rule == "none"

    def has_slab_energy(self, atoms: ase.Atoms) -> bool:
        """Whether the model has electrostatics and its boundary an axis without images."""
        options = self.calculator.model.options
        return options.has_electrostatics and _is_open(options.boundary, atoms)

    def evaluate(self, atoms: ase.Atoms, field: np.ndarray | None) -> Response:
        """Evaluate a structure, polarized by the field or not."""
        if field is not None and not np.array_equal(self.calculator.electric_field, field):
            self.calculator.electric_field = field
        plain = super().evaluate(atoms, field)
        outputs = self.calculator.outputs
        dipole = outputs.get(quantities.RESPONSE_DIPOLE)
        second_order, polarizability = None, plain.polarizability
        if field is not None:
            second_order = np.array(outputs["second_order_forces"][0], dtype=float)
            polarizability = np.array(outputs[quantities.POLARIZABILITY][0], dtype=float)
        return Response(
            energy=plain.energy,
            forces=np.array(outputs["forces"], dtype=float),  # without the field
            born_charges=plain.born_charges,
            second_order_forces=second_order,
            polarizability=polarizability,
            response_dipole=None if dipole is None else np.array(dipole[0], dtype=float),
            results=plain.results,
        )


class ExportedSource(AseSource):
    """A ``MetatomicCalculator``: an exported model, with one of its own fields or without."""

    def __init__(self, calculator: Any) -> None:
        super().__init__(calculator)
        requested = calculator.parameters["additional_outputs"] or {}
        if BORN_CHARGES not in requested:
            raise UserError(
                f"the MetatomicCalculator does not ask for '{BORN_CHARGES}'; make it with "
                "mace_smile.dynamics.exported_calculator, or name that output in "
                "`additional_outputs`, of each atom"
            )
        self.extra = calculator.metadata().extra
        self.variant = (calculator.parameters["variants"] or {}).get("energy")
        needs_polarizability = self.variant is not None and self.extra.get("field_order") == "2"
        if needs_polarizability and POLARIZABILITY not in requested:
            raise UserError(
                f"the field '{self.variant}' acts to second order, but the MetatomicCalculator "
                f"does not ask for '{POLARIZABILITY}'; make it with "
                "mace_smile.dynamics.exported_calculator"
            )
        self.reads_polarizability = needs_polarizability
        self.is_derivative = (
            self.extra.get("screening") in ("global", "local")
            and self.extra.get("acoustic_sum_rule") == "none"
        )

    @property
    def has_polarizability(self) -> bool:
        """Whether the model could act to second order, in fields of its own."""
        return self.extra.get("polarizability_head", "none") != "none"

    def own_field(self, atoms: ase.Atoms) -> np.ndarray | None:
        """The macroscopic field of the variant, ``(3,)`` in V/A; None without a variant.

        :raises UserError: for a field in vacuum that acts on given charges otherwise.
        """
        if self.variant is None:
            return None
        field = np.array(json.loads(self.extra["fields"])[self.variant], dtype=float)
        if self.extra["field_kind"] != "vacuum":
            return field
        chi, given = (
            float(self.extra[name]) for name in ("susceptibility", "given_susceptibility")
        )
        if self.extra["n_given_charges"] != "0" and chi != given:
            raise UserError(
                f"the field '{self.variant}' is one in vacuum and acts on given charges by another "
                "susceptibility, so its work is not followed; run without FiniteField"
            )
        axis = int(self.extra["slab_axis"]) if atoms.pbc.all() else int(np.argmin(atoms.pbc))
        normal = np.cross(atoms.cell[(axis + 1) % 3], atoms.cell[(axis + 2) % 3])
        normal = normal / np.linalg.norm(normal)
        return field - (field @ normal) * normal * chi / (1.0 + chi)

    def has_slab_energy(self, atoms: ase.Atoms) -> bool:
        """Whether the model has electrostatics and its boundary an axis without images."""
        if self.extra.get("electrostatics", "none") == "none":
            return False
        return _is_open(self.extra["boundary"], atoms)

    def evaluate(self, atoms: ase.Atoms, field: np.ndarray | None) -> Response:
        """Evaluate a structure; the field of a variant is in the forces."""
        self.calculator.calculate(atoms, ["energy", "forces"], all_changes)
        results = dict(self.calculator.results)
        born_charges = self._output(BORN_CHARGES)
        if born_charges is None or born_charges.shape != (len(atoms), 3, 3):
            raise UserError(f"'{BORN_CHARGES}' must be asked for each atom (sample_kind='atom')")
        results[quantities.BORN_EFFECTIVE_CHARGES] = born_charges
        dipole = self._output(RESPONSE_DIPOLE)
        polarizability = self._output(POLARIZABILITY) if self.reads_polarizability else None
        return Response(
            energy=float(results["energy"]),
            forces=np.array(results["forces"], dtype=float),
            born_charges=born_charges,
            second_order_forces=None,
            polarizability=np.zeros((3, 3)) if polarizability is None else polarizability[0],
            response_dipole=None if dipole is None else dipole[0],
            results={name: results[name] for name in results if name in all_properties},
        )

    def _output(self, name: str) -> np.ndarray | None:
        """An additional output of the last evaluation, None where it was not asked for."""
        values = self.calculator.additional_outputs.get(name)
        if values is None:
            return None
        tensor = values.block().values.detach().squeeze(-1).cpu().numpy()
        return np.array(tensor, dtype=float)


def _is_open(boundary: str, atoms: ase.Atoms) -> bool:
    """Whether a model treats an axis as not periodic."""
    return boundary in ("slab", "open") or (boundary == "auto" and not atoms.pbc.all())


def source_of(calculator: Any) -> AseSource:
    """The way to read a calculator."""
    if hasattr(calculator, "additional_outputs"):
        return ExportedSource(calculator)
    if hasattr(calculator, "outputs") and hasattr(calculator, "electric_field"):
        return SmileSource(calculator)
    return AseSource(calculator)
