"""Voltages across a slab, as fields along its normal.

Where the potential rises by V over a length L, the field is

.. math::

    E = -V / L .

The normal is that of a given cell, along its vector across the slab;
without a cell it is the Cartesian axis of the same number, and an exported model refuses slabs
whose normal is another.
"""

import argparse
import math
from dataclasses import dataclass

import numpy as np

from mace_smile.errors import UserError
from metatensor_models.fields import Vector, check_name

#: Name of the variant of a voltage that is given without one.
DEFAULT_NAME = "voltage"


@dataclass(frozen=True)
class Voltage:
    """A voltage over a length."""

    voltage: float
    """By how much the potential rises along the normal over the length, in V."""
    length: float
    """In A."""

    def field(self, normal: np.ndarray) -> Vector:
        """The field -V / L along a unit normal, in V/A."""
        x, y, z = (-self.voltage / self.length * normal).tolist()
        return (x + 0.0, y + 0.0, z + 0.0)  # no -0.0 in lists of fields


def add_field_flags(parser: argparse.ArgumentParser) -> None:
    """Add ``--field``, ``--voltage`` and ``--length``."""
    parser.add_argument(
        "--field",
        action="extend",
        nargs="+",
        default=[],
        metavar="NAME=ex,ey,ez",
        help="field in V/A, offered to engines as the variant energy/NAME; may be given again",
    )
    parser.add_argument(
        "--voltage",
        action="extend",
        nargs="+",
        default=[],
        metavar="[NAME=]V",
        help="potential in V that rises along the slab normal by V over --length: the field -V / L "
        f"as the variant energy/NAME ('{DEFAULT_NAME}' without a name); may be given again",
    )
    parser.add_argument("--length", type=float, metavar="L", help="length of --voltage in A")


def parse_voltages(texts: list[str], length: float | None) -> dict[str, Voltage]:
    """Voltages as the command line gives them.

    :param texts: each ``NAME=V`` or ``V``, in V.
    :param length: in A, the same for all.
    :raises UserError: for one without the other, another form, numbers that cannot be used, or a
        name that comes twice.
    """
    if not texts:
        if length is not None:
            raise UserError("`--length` has no effect without --voltage V; add it")
        return {}
    if length is None:
        raise UserError("`--voltage` needs the length L over which it falls; add --length L in A")
    if not (math.isfinite(length) and length > 0):
        raise UserError(f"`--length` is {length:g} but must be positive and finite, in A")
    voltages: dict[str, Voltage] = {}
    for text in texts:
        name, sign, number = text.rpartition("=")
        name = name if sign else DEFAULT_NAME
        check_name(name, "--voltage", text, "V or NAME=V, e.g. bias=1.5")
        if name in voltages:
            raise UserError(f"`--voltage` names '{name}' twice; give each NAME=V its own name")
        try:
            value = float(number)
        except ValueError:
            value = math.nan
        if not math.isfinite(value):
            raise UserError(f"`--voltage {text}` must give a finite number in V, e.g. 1.5")
        voltages[name] = Voltage(value, length)
    return voltages


def normal_of_cell(cell: np.ndarray, slab_axis: int) -> np.ndarray:
    """Unit normal of a slab, along its vector across the slab where it has one.

    :param cell: lattice vectors in rows, shape ``(3, 3)``, in A.
    :param slab_axis: cell axis across the slab.
    :return: shape ``(3,)``.
    :raises UserError: for a slab without an area.
    """
    cross = np.cross(cell[(slab_axis + 1) % 3], cell[(slab_axis + 2) % 3])
    area = float(np.linalg.norm(cross))
    if not (math.isfinite(area) and area > 0):
        raise UserError(
            "`--voltage` acts along the normal of the slab, but the cell of the frame has no area "
            f"across axis {slab_axis}; give a frame with its cell"
        )
    normal: np.ndarray = cross / area
    return -normal if float(normal @ cell[slab_axis]) < 0 else normal


def fields_of_voltages(
    voltages: dict[str, Voltage], boundary: str, slab_axis: int, cell: np.ndarray | None
) -> dict[str, Vector]:
    """The field of each voltage, in V/A.

    :param boundary: that is stored in the model.
    :param slab_axis: cell axis across the slab.
    :param cell: of a frame, lattice vectors in rows, in A; None takes the Cartesian axis.
    :raises UserError: for another boundary than a slab, and a cell without a normal.
    """
    if voltages and boundary != "slab":
        raise UserError(
            f"`--voltage` acts along the normal of a slab but the boundary is '{boundary}'; export "
            "with --boundary slab (and --slab_axis), or give --field"
        )
    normal = np.eye(3)[slab_axis] if cell is None else normal_of_cell(cell, slab_axis)
    return {name: voltage.field(normal) for name, voltage in voltages.items()}


def join_fields(fields: dict[str, Vector], others: dict[str, Vector]) -> dict[str, Vector]:
    """Fields of ``--field`` and of ``--voltage`` together.

    :raises UserError: for a name that both have.
    """
    twice = sorted(set(fields) & set(others))
    if twice:
        raise UserError(f"`--field` and `--voltage` both name '{twice[0]}'; give each its own name")
    return {**fields, **others}
