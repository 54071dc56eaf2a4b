"""What a field does with time: static, a function of time, one of an exported model."""

from collections.abc import Callable
from typing import Any, Protocol

import ase
import numpy as np

from mace_smile.dynamics.constant_displacement import ConstantDisplacement
from mace_smile.dynamics.sources import AseSource, ExportedSource, Response
from mace_smile.errors import UserError


class Drive(Protocol):
    """How the macroscopic field comes about, in V/A, shape ``(3,)``."""

    @property
    def changes(self) -> bool:
        """Whether it changes from step to step, so that a dynamics must be followed."""

    @property
    def has_second_order(self) -> bool:
        """Whether it can act to second order, by the polarizability."""

    def known_field(self, atoms: ase.Atoms, time: float) -> np.ndarray | None:
        """The field at a time in fs; None where it depends on the dipole."""

    def field(self, atoms: ase.Atoms, time: float, dipole: np.ndarray) -> np.ndarray:
        """The field at a time in fs, with a dipole of shape ``(3,)`` in e A."""


class StaticField:
    """The same field all the time, shape ``(3,)``, in V/A."""

    changes = False
    has_second_order = True

    def __init__(self, vector: Any) -> None:
        self.vector = checked_field(vector)

    def known_field(self, atoms: ase.Atoms, time: float) -> np.ndarray | None:
        """The field."""
        return self.vector

    def field(self, atoms: ase.Atoms, time: float, dipole: np.ndarray) -> np.ndarray:
        """The field."""
        return self.vector


class FieldOfTime:
    """A function of the time in fs that returns the field in V/A."""

    changes = True
    has_second_order = True

    def __init__(self, function: Callable[[float], Any]) -> None:
        self.function = function

    def known_field(self, atoms: ase.Atoms, time: float) -> np.ndarray | None:
        """The field at a time."""
        return checked_field(self.function(time))

    def field(self, atoms: ase.Atoms, time: float, dipole: np.ndarray) -> np.ndarray:
        """The field at a time."""
        return checked_field(self.function(time))


class OwnField:
    """The field of a variant of an exported model, which is in its forces already."""

    changes = False
    has_second_order = False

    def __init__(self, source: ExportedSource) -> None:
        self.source = source

    def known_field(self, atoms: ase.Atoms, time: float) -> np.ndarray | None:
        """The macroscopic field of the variant."""
        return self.source.own_field(atoms)

    def field(self, atoms: ase.Atoms, time: float, dipole: np.ndarray) -> np.ndarray:
        """The macroscopic field of the variant."""
        vector = self.source.own_field(atoms)
        assert vector is not None
        return vector


def drive_of(field: Any, source: AseSource) -> Drive:
    """The drive of what a user gave as ``field``, which fits the calculator.

    :raises UserError: for a missing field, or one too many.
    """
    if isinstance(source, ExportedSource) and source.variant is not None:
        if field is not None:
            raise UserError(
                f"the calculator already applies its field '{source.variant}'; leave `field` out, "
                "or the variant"
            )
        return OwnField(source)
    if field is None:
        raise UserError(
            "`field` is missing; give three numbers in V/A, a function of the time in fs, or a "
            "ConstantDisplacement"
        )
    if isinstance(field, ConstantDisplacement):
        return field
    return FieldOfTime(field) if callable(field) else StaticField(field)


def is_second_order(drive: Drive, source: AseSource, order: int | None) -> bool:
    """Whether a field acts through the polarizability, beside Z.

    :param order: 1, 2, or None for 2 where that can be.
    :raises UserError: for an order that cannot be had.
    """
    if order not in (None, 1, 2):
        raise UserError(f"`field_order` is {order} but must be 1 or 2")
    if not drive.has_second_order:
        if order == 2:
            raise UserError(
                "`field_order` is 2, but constant displacement is of first order (its permittivity "
                "stands for the electrons), and a field of an exported model has the order of its "
                "export; leave it out"
            )
        return False
    if isinstance(source, ExportedSource) and source.has_polarizability and order != 1:
        raise UserError(
            "an exported model acts to second order only in fields of its own; choose one by "
            "exported_calculator(path, variant=NAME), or give `field_order=1`"
        )
    if order == 2 and not source.has_second_order:
        raise UserError("`field_order` is 2 but the model has no polarizability; leave it out")
    return source.has_second_order and order != 1


def starting_dipoles(
    drive: Drive,
    source: AseSource,
    uses_response_dipole: bool,
    atoms: ase.Atoms,
    response: Response,
) -> tuple[np.ndarray, np.ndarray]:
    """What changes of the dipole are counted from: ``origin`` and ``reference`` of the path.

    :param uses_response_dipole: whether changes are those of the model's response dipole.
    :param atoms: the structure at the start, and what the calculator says about it.
    :raises UserError: where constant displacement or the response dipole make no sense.
    """
    origin = reference = np.zeros(3)
    if isinstance(drive, ConstantDisplacement):
        if source.has_slab_energy(atoms):
            raise UserError(
                "the energy of this model contains the depolarization of the slab already: it is "
                "at constant displacement without more; give the field in vacuum, divided by "
                "1 + chi, as a static field"
            )
        origin = drive.first_dipole(atoms, response.response_dipole)
    if uses_response_dipole:
        if atoms.pbc.any() or not source.is_derivative or response.response_dipole is None:
            raise UserError(
                "`dipole='response'` needs a structure without periodic axes, and a model with "
                "--screening global or local, whose Born charges are the derivative of the "
                "response dipole; leave it out"
            )
        reference = response.response_dipole
    return origin, reference


def checked_field(value: Any) -> np.ndarray:
    """Three finite numbers in V/A.

    :raises UserError: for anything else.
    """
    try:
        vector = np.array(value, dtype=float)
    except (TypeError, ValueError):
        vector = np.full(1, np.nan)
    if vector.shape != (3,) or not np.isfinite(vector).all():
        raise UserError(f"the field is {value} but must be three finite numbers in V/A")
    return vector
