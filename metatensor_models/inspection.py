"""What an exported file says about itself, as plain data for people and programs."""

import json
import math
import zipfile
from typing import Any

from ase.data import chemical_symbols

from metatensor_models.exported_file import ExportedFile
from metatensor_models.field_settings import stored_fields, stored_voltages

#: Extra files of the archive, and the names their contents get.
ARCHIVED = {"metatomic-version": "metatomic_version", "export-metadata": "exported"}
#: Entries of the metadata that stand in a place of their own in the report.
ELSEWHERE = ("description", "fields", "voltages", "field_kind", "training_labels", "units")


def archived_facts(exported: ExportedFile) -> dict[str, Any]:
    """When, where and with which metatomic the file was written."""
    facts: dict[str, Any] = {}
    with zipfile.ZipFile(exported.path) as archive:
        for member in archive.namelist():
            folder, _, entry = member.rpartition("/extra/")
            if folder and entry in ARCHIVED:
                text = archive.read(member).decode()
                facts[ARCHIVED[entry]] = json.loads(text) if text.startswith("{") else text
    return facts


def engine_lines(path: str, variant: str | None, elements: list[str]) -> dict[str, str]:
    """How each engine selects an energy of the file: one line of its input or script.

    :param path: of the file, as the engine shall find it.
    :param variant: name of a field; None for none.
    :param elements: of the model, taken as the LAMMPS atom types in this order.
    """
    chosen = "" if variant is None else f', variants={{"energy": "{variant}"}}'
    of_ipi = "" if variant is None else f",energy_variant={variant}"
    attached = "" if variant is None else f', variant="{variant}"'
    styled = "" if variant is None else f" variant {variant}"
    names = ", ".join(f'"{symbol}"' for symbol in elements)
    return {
        "ASE": f'MetatomicCalculator("{path}"{chosen})',
        "i-PI": "i-pi-driver-py -u -a ADDRESS -m metatomic -o "
        f"template=start.xyz,model={path},device=cpu{of_ipi}",
        "LAMMPS, Python": f'lmp.attach_model("{path}", elements=[{names}]{attached})',
        "LAMMPS, pair style": f"pair_style metatomic {path} device cpu{styled}",
    }


def report_exported(exported: ExportedFile) -> dict[str, Any]:
    """All an exported file says about itself.

    :return: JSON data; an infinite interaction range is the word ``infinite``.
    """
    capabilities, metadata = exported.model.capabilities(), exported.model.metadata()
    extra = exported.extra
    elements = [chemical_symbols[number] for number in capabilities.atomic_types]
    voltages = stored_voltages(extra)
    fields: dict[str, Any] = {}
    for name, vector in stored_fields(extra).items():
        fields[name] = {"V/A": list(vector), "kind": extra["field_kind"]}
        if name in voltages:
            fields[name]["voltage in V"] = voltages[name].voltage
            fields[name]["length in A"] = voltages[name].length
    reach = capabilities.interaction_range
    path = str(exported.path)
    return {
        "file": path,
        "kind": "exported model (metatomic)",
        "name": metadata.name,
        "description": metadata.description,
        **archived_facts(exported),
        "elements": elements,
        "dtype": capabilities.dtype,
        "devices": list(capabilities.supported_devices),
        "length_unit": capabilities.length_unit,
        "interaction_range": reach if math.isfinite(reach) else "infinite",
        "neighbor_lists": [
            {"cutoff": request.cutoff, "full": request.full_list}
            for request in exported.model.requested_neighbor_lists()
        ],
        "outputs": {
            name: {
                "unit": output.unit,
                "of each": output.sample_kind,
                "description": output.description,
            }
            for name, output in capabilities.outputs.items()
            if name != "charges"  # metatomic's old name of "charge"
        },
        "fields": fields,
        "engines": {
            "no field" if name is None else name: engine_lines(path, name, elements)
            for name in (None, *fields)
        },
        "training_labels": extra.get("training_labels", "unknown").split(","),
        "settings": {key: extra[key] for key in sorted(extra) if key not in ELSEWHERE},
        "references": {group: list(texts) for group, texts in metadata.references.items()},
    }
