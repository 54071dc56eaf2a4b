"""Other fields in an exported file, without the code that trained the model.

The fields are a buffer and a list of names in the compiled model, an entry of its capabilities
each, and entries of its metadata. All of them are replaced together, in a new file that is
checked before it takes its name.
"""

import logging
import warnings
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from metatomic.torch import AtomisticModel, ModelCapabilities, ModelMetadata

from mace_smile.atomic_write import complete_or_absent
from mace_smile.errors import UserError
from metatensor_models.exported_file import ExportedFile, check_settable, open_exported
from metatensor_models.field_settings import (
    field_settings,
    stored_fields,
    stored_voltages,
    with_fields,
)
from metatensor_models.fields import Vector, declare_fields, units_of, variant_name
from metatensor_models.frame_check import FrameCheck
from metatensor_models.interaction_range import interaction_range
from metatensor_models.self_check import check_exported
from metatensor_models.voltages import Voltage, fields_of_voltages, join_fields

logger = logging.getLogger(__name__)

#: metatomic adds this old name of the output "charge" by itself.
DEPRECATED = "charges"
#: Largest sine of the angle between the fields of two voltages, which share one normal.
LARGEST_SINE = 1e-6


@dataclass(frozen=True)
class NewFields:
    """What to put into a file."""

    fields: dict[str, Vector] = field(default_factory=dict)
    """Name and vector in V/A of each field."""
    voltages: dict[str, Voltage] = field(default_factory=dict)
    """Voltages across the slab, by name."""
    add: bool = False
    """Keep the fields of the file; those of equal names are replaced."""
    field_kind: str | None = None
    """``macroscopic`` or ``vacuum``, of all fields; None keeps that of the file."""


def set_fields(
    source: str | Path,
    output: str | Path,
    new: NewFields,
    overwrite: bool = False,
    frame: FrameCheck | None = None,
) -> Path:
    """Write an exported file with other fields; it appears whole and checked, or not at all.

    :param source: file that ``mace_smile_export`` wrote; may be the output too.
    :param output: the file to write.
    :param new: the fields.
    :param overwrite: replace an existing output.
    :param frame: a structure to check the file with; its cell tells the normal of voltages.
    :return: the output.
    :raises UserError: for files that cannot be used, and fields the model cannot have.
    """
    output = Path(output)
    if output.exists() and not overwrite:
        raise UserError(f"the output '{output}' exists; choose another -o, or add --overwrite")
    folder = output.absolute().parent
    if not folder.is_dir():
        raise UserError(f"the folder '{folder}' of the output does not exist; make it first")
    exported = open_exported(source)
    check_settable(exported)
    kind = new.field_kind or exported.extra["field_kind"]
    cell = None if frame is None else np.array(frame.atoms.cell)
    fields, voltages = _all_fields(exported, new, kind, cell)
    if not fields:
        raise UserError("no field was given; name one with --field NAME=ex,ey,ez")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "`torch.jit", DeprecationWarning)
        changed = _with_fields(exported, fields, voltages, kind)
        with complete_or_absent(output) as unfinished:
            changed.save(unfinished)
            check_exported(unfinished, None, fields)
            for line in [] if frame is None else frame.check(unfinished, None):
                logger.info(line)
    logger.info("wrote %s: %s", output, changed.metadata().description)
    return output


def _all_fields(
    exported: ExportedFile, new: NewFields, kind: str, cell: np.ndarray | None
) -> tuple[dict[str, Vector], dict[str, Voltage]]:
    """All fields of the new file, and which of them are voltages.

    :param kind: of all fields.
    :param cell: of a structure, in A, for the normal of voltages.
    :raises UserError: for a kind that the model or the other fields do not allow, and voltages
        along another normal.
    """
    extra = exported.extra
    boundary, slab_axis = extra["boundary"], int(extra["slab_axis"])
    if kind == "vacuum":
        _check_vacuum(extra)
    kept = stored_fields(extra) if new.add else {}
    kept_voltages = stored_voltages(extra) if new.add else {}
    if kept and kind != extra["field_kind"]:
        raise UserError(
            f"`--field_kind {kind}` with --add would change the fields of '{exported.path}', which "
            f"are {extra['field_kind']}; leave --add out, and give all fields"
        )
    given = fields_of_voltages(new.voltages, boundary, slab_axis, cell)
    added = join_fields(new.fields, given)
    voltages = {
        **{name: voltage for name, voltage in kept_voltages.items() if name not in added},
        **new.voltages,
    }
    fields = {**kept, **added}
    _check_one_normal([np.array(fields[name]) for name in voltages])
    return fields, voltages


def _check_vacuum(extra: dict[str, str]) -> None:
    """Refuse fields in vacuum where there is no slab, or to second order."""
    if extra["boundary"] in ("periodic", "open"):
        raise UserError(
            f"`--field_kind vacuum` needs a slab but the file has --boundary {extra['boundary']}; "
            "give the macroscopic field, or export the .model with --boundary slab"
        )
    if extra["field_order"] == "2":
        raise UserError(
            "`--field_kind vacuum` acts to first order only but the file has the second order; "
            "give the macroscopic field, or export the .model with --field_order 1"
        )


def _check_one_normal(directions: list[np.ndarray]) -> None:
    """Refuse voltages of different slabs in one file."""
    units = [vector / np.linalg.norm(vector) for vector in directions if vector.any()]
    for unit in units[1:]:
        if np.linalg.norm(np.cross(units[0], unit)) > LARGEST_SINE:
            raise UserError(
                "the voltages of the file are along another normal than the new ones; leave --add "
                "out, or give the same --frame"
            )


def _with_fields(
    exported: ExportedFile, fields: dict[str, Vector], voltages: dict[str, Voltage], kind: str
) -> AtomisticModel:
    """The model with other fields; that of the file is changed in place."""
    module, extra = exported.module, exported.extra
    order = int(extra["field_order"])
    dtype = module.electric_fields.dtype
    module.fields = [variant_name(name) for name in fields]
    module.along_normal = [name in voltages for name in fields]
    module.field_kind = kind
    module.electric_fields = torch.tensor(list(fields.values()), dtype=dtype).reshape(-1, 3)
    old, metadata = exported.model.capabilities(), exported.model.metadata()
    outputs = {
        name: output
        for name, output in old.outputs.items()
        if name != DEPRECATED and not name.startswith(variant_name(""))
    }
    outputs = {**outputs, **declare_fields(fields, kind)}
    capabilities = ModelCapabilities(
        outputs=outputs,
        atomic_types=old.atomic_types,
        interaction_range=interaction_range(
            np.isfinite(old.interaction_range),
            float(extra["r_max"]) * int(extra["num_interactions"]),
            order == 2 or extra["screening"] in ("global", "local"),
        ),
        length_unit=old.length_unit,
        supported_devices=old.supported_devices,
        dtype=old.dtype,
    )
    described = ModelMetadata(
        name=metadata.name,
        description=with_fields(extra["description"], fields, kind, order),
        authors=metadata.authors,
        references=metadata.references,
        extra={
            **extra,
            "units": units_of(outputs),
            **field_settings(fields, voltages, kind, order),
        },
    )
    return AtomisticModel(module.eval(), described, capabilities)
