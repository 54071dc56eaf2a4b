"""Fields of an exported model: how they are given, named, declared and described.

A field is offered to engines as the output ``energy/NAME``, a variant of the energy. Nothing here
knows the model, so the fields of a file can be replaced without the code that trained it.
"""

import json
import math
import re

from metatomic.torch import ModelOutput

from mace_smile import quantities
from mace_smile.errors import UserError

FIELD_KINDS = ("macroscopic", "vacuum")
#: Names of variants; engines take each as one word.
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
Vector = tuple[float, float, float]


def check_name(name: str, flag: str, text: str, form: str) -> None:
    """Refuse what cannot be the name of a variant.

    :param flag: the flag and ``text`` what followed it, for the message.
    :param form: what is wanted, with an example.
    :raises UserError: for another form.
    """
    if NAME.fullmatch(name) is None:
        raise UserError(
            f"`{flag} {text}` must read {form}, where NAME has letters, digits, '_', '-' and '.' "
            "only"
        )


def parse_fields(texts: list[str]) -> dict[str, Vector]:
    """Fields as the command line gives them, ``NAME=ex,ey,ez`` in V/A.

    :raises UserError: for another form, a name that is no name, or one that comes twice.
    """
    fields: dict[str, Vector] = {}
    for text in texts:
        name, _, numbers = text.partition("=")
        check_name(name, "--field", text, "NAME=ex,ey,ez, e.g. z05=0,0,0.05")
        if name in fields:
            raise UserError(f"`--field` names '{name}' twice; give each field its own name")
        try:
            vector = [float(number) for number in numbers.split(",")]
        except ValueError:
            vector = []
        if len(vector) != 3 or not all(math.isfinite(value) for value in vector):
            raise UserError(
                f"`--field {text}` must give three finite numbers in V/A, e.g. "
                f"--field {name}=0,0,0.05"
            )
        fields[name] = (vector[0], vector[1], vector[2])
    return fields


def variant_name(field: str) -> str:
    """Name of the energy output that carries a field, ``energy/<field>``."""
    return f"{quantities.BY_NAME[quantities.ENERGY].metatomic}/{field}"


def declare_fields(fields: dict[str, Vector], field_kind: str) -> dict[str, ModelOutput]:
    """Capabilities of the variants.

    :param fields: name and vector in V/A of each field.
    :param field_kind: ``macroscopic`` or ``vacuum``.
    :return: metatomic's declaration of each variant, under its name.
    """
    declared: dict[str, ModelOutput] = {}
    for field, (x, y, z) in fields.items():
        declared[variant_name(field)] = ModelOutput(
            unit=quantities.BY_NAME[quantities.ENERGY].unit,
            sample_kind="atom",
            description=(
                f"energy without the field, with forces in a {field_kind} field of "
                f"({x:g}, {y:g}, {z:g}) V/A"
            ),
        )
    return declared


def units_of(outputs: dict[str, ModelOutput]) -> str:
    """Unit of each output as JSON, an entry of the metadata.

    :param outputs: declared, under their names.
    """
    return json.dumps({name: output.unit for name, output in outputs.items()})


def describe_fields(fields: dict[str, Vector], field_kind: str, field_order: int) -> str:
    """A sentence or two for people: what the variants are; empty without fields.

    :param fields: name and vector in V/A of each field.
    :param field_kind: ``macroscopic`` or ``vacuum``.
    :param field_order: 1, or 2 where polarizabilities act too.
    """
    if not fields:
        return ""
    forces = "F0 + Z^T E" if field_order == 1 else "F0 + Z^T E + 1/2 grad(E alpha E)"
    return (
        f"The variants energy/<field> give forces {forces} of a {field_kind} field, "
        "with the energy and stress of no field (constant reduced field); do not minimise "
        "with them. Fields in V/A: "
        + ", ".join(f"{name} {vector}" for name, vector in fields.items())
        + "."
    )
