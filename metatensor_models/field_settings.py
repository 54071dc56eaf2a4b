"""The entries about fields among the metadata of an exported model, written and read."""

import json

from metatensor_models.fields import Vector, describe_fields
from metatensor_models.voltages import Voltage


def field_settings(
    fields: dict[str, Vector], voltages: dict[str, Voltage], field_kind: str, field_order: int
) -> dict[str, str]:
    """Entries ``fields``, ``voltages`` (JSON; V/A, V and A), ``field_kind`` and ``field_order``.

    :param fields: name and vector in V/A of each field.
    :param voltages: those of the fields that are voltages.
    :param field_kind: ``macroscopic`` or ``vacuum``.
    :param field_order: 1, or 2 where polarizabilities act too.
    """
    return {
        "fields": json.dumps({name: list(vector) for name, vector in fields.items()}),
        "voltages": json.dumps(
            {name: [given.voltage, given.length] for name, given in voltages.items()}
        ),
        "field_kind": field_kind,
        "field_order": str(field_order),
    }


def with_fields(
    description: str, fields: dict[str, Vector], field_kind: str, field_order: int
) -> str:
    """The description of a model, with the sentences about its fields."""
    sentences = describe_fields(fields, field_kind, field_order)
    return f"{description} {sentences}" if sentences else description


def stored_fields(extra: dict[str, str]) -> dict[str, Vector]:
    """Name and vector in V/A of each field, from the metadata of a file."""
    return {
        name: (float(x), float(y), float(z))
        for name, (x, y, z) in json.loads(extra["fields"]).items()
    }


def stored_voltages(extra: dict[str, str]) -> dict[str, Voltage]:
    """The voltages among the fields, from the metadata of a file; none in older files."""
    return {
        name: Voltage(float(voltage), float(length))
        for name, (voltage, length) in json.loads(extra.get("voltages", "{}")).items()
    }
