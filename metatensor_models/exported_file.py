"""An exported file opened without the code that trained it, and one made anew from its parts."""

from dataclasses import dataclass
from pathlib import Path

import torch
from metatomic.torch import AtomisticModel, load_atomistic_model

from mace_smile.errors import UserError
from metatensor_models.evaluator import first_sentence

#: Entries of the metadata and attributes of the module that tell a file of this package.
ENTRIES = ("mace_smile_version", "fields", "field_kind")
ATTRIBUTES = ("fields", "electric_fields", "along_normal", "field_kind", "susceptibilities")


@dataclass(frozen=True)
class ExportedFile:
    """A file that ``mace_smile_export`` or ``mace_smile_set_field`` wrote."""

    path: Path
    """Where it is."""
    model: AtomisticModel
    """The model, loaded."""

    @property
    def extra(self) -> dict[str, str]:
        """The settings among its metadata."""
        return dict(self.model.metadata().extra)

    @property
    def module(self) -> torch.jit.ScriptModule:
        """The compiled model, whose attributes can be set."""
        return self.model.module


def open_exported(path: str | Path) -> ExportedFile:
    """Open an exported file.

    :raises UserError: for a file that is missing, is no exported model, or a stranger's.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"there is no exported model '{path}'")
    try:
        model = load_atomistic_model(path)
    except (RuntimeError, ValueError) as error:
        raise UserError(
            f"'{path}' cannot be read as an exported model ({first_sentence(error)}); "
            "give a file that mace_smile_export wrote"
        ) from error
    extra = model.metadata().extra
    if any(entry not in extra for entry in ENTRIES):
        raise UserError(
            f"'{path}' is a metatomic model that mace-smile did not write; give a file that "
            "mace_smile_export wrote"
        )
    return ExportedFile(path, model)


def check_settable(exported: ExportedFile) -> None:
    """Refuse files whose fields cannot be replaced.

    :raises UserError: for models without Born effective charges, and files of older versions.
    """
    path, module = exported.path, exported.module
    if not getattr(module, "has_born_charges", False):
        raise UserError(
            f"'{path}' has no Born effective charges, so no field can act on it; export a model "
            "that was trained with --screening uncoupled, global or local"
        )
    if any(not hasattr(module, name) for name in ATTRIBUTES):
        raise UserError(
            f"'{path}' was written by an older mace-smile "
            f"({exported.extra['mace_smile_version']}), whose fields cannot be replaced; export "
            "its .model again"
        )
