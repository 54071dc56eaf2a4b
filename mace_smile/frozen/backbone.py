"""The frozen MACE: a model that is given, or one trained first on energies and forces."""

import argparse
import copy
import dataclasses
import hashlib
import json
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from mace.modules import ScaleShiftMACE

import mace_smile
from mace_smile import quantities
from mace_smile.atomic_write import complete_or_absent
from mace_smile.errors import UserError
from mace_smile.frozen.run_log import without_handlers
from mace_smile.model.options import SmileOptions
from mace_smile.model.smile_mace import SmileMACE
from mace_smile.training.checkpoints import find_checkpoints, find_models, restart_file
from mace_smile.training.flags import FLAGS, WEIGHT_FLAGS
from mace_smile.training.foundation import load_foundation
from mace_smile.training.input_files import files_by_head
from mace_smile.training.mace_bridge import train
from mace_smile.training.mace_parser import build_parser
from mace_smile.training.survey import TRAIN, Survey

logger = logging.getLogger(__name__)

#: Labels of charges that MACE knows too; a backbone is trained without them.
CHARGE_LABEL_FLAGS = ("dipole_key", "charges_key")


@dataclass(frozen=True)
class FrozenModel:
    """A MACE that is not changed, and what it carries already."""

    backbone: ScaleShiftMACE
    """In the precision of the result."""
    smile: SmileMACE | None = None
    """The model it was taken from, if that has heads of ours."""

    def digest(self) -> str:
        """A hash of its weights."""
        result = hashlib.sha256()
        for name, value in sorted(self.backbone.state_dict().items()):
            result.update(name.encode())
            result.update(value.detach().cpu().double().numpy().tobytes())
        return result.hexdigest()


def load_frozen(name: str, dtype: torch.dtype, device: str, trust: bool = False) -> FrozenModel:
    """Load the model that stays as it is, and whose charges are new.

    :param name: a ``.model`` file, or a name of MACE's foundation models.
    :param dtype: precision of the result.
    :param trust: run whatever code the file holds.
    :raises UserError: for what is no ScaleShiftMACE, and a model with electrostatics.
    """
    frozen = load_any(name, dtype, device, trust)
    if frozen.smile is not None and frozen.smile.options.has_electrostatics:
        raise UserError(
            f"--foundation_model '{name}' has an electrostatic energy, which new charges would "
            "change; give a model that was trained with --electrostatics none, or a MACE"
        )
    return frozen


def load_any(name: str, dtype: torch.dtype | None, device: str, trust: bool = False) -> FrozenModel:
    """Load a MACE or a SmileMACE that stays as it is.

    :param name: a ``.model`` file, or a name of MACE's foundation models.
    :param dtype: precision of the result; None keeps the one of the file.
    :param trust: run whatever code the file holds.
    :raises UserError: for what is no ScaleShiftMACE.
    """
    model = load_foundation(name, trust).to(device)
    smile = model if isinstance(model, SmileMACE) else None
    backbone = model if smile is None else smile.backbone
    if type(backbone).__name__ != "ScaleShiftMACE":
        raise UserError(
            f"'{name}' holds a {type(backbone).__name__} but a ScaleShiftMACE "
            "is wanted, as --model MACE or ScaleShiftMACE gives"
        )
    dtype = dtype or backbone.r_max.dtype
    backbone = backbone.to(dtype).eval()
    for parameter in backbone.parameters():
        parameter.requires_grad_(False)
    return FrozenModel(backbone, None if smile is None else smile.to(dtype).eval())


def backbone_arguments(args: argparse.Namespace) -> argparse.Namespace:
    """Arguments that train the MACE alone: no heads, no labels of theirs."""
    ours = copy.deepcopy(args)
    for flag in FLAGS:
        setattr(ours, flag.name, None)
        if flag.name in WEIGHT_FLAGS:
            setattr(ours, f"swa_{flag.name}", None)
    for name in CHARGE_LABEL_FLAGS:
        setattr(ours, name, None)
    ours.charge_head = "none"
    ours.name = f"{args.name}_backbone"
    known = vars(build_parser().parse_args(["--name", ours.name]))
    for name in set(vars(ours)) - set(known):
        delattr(ours, name)
    return ours


def train_backbone(args: argparse.Namespace, survey: Survey) -> str:
    """Train a MACE on energies and forces, or find the one an earlier command has trained.

    An interrupted training goes on; one with other flags or frames starts anew.

    :param args: of the command; not changed.
    :return: path of the ``.model`` file.
    :raises UserError: for frames without energies and forces.
    """
    if not any(
        {quantities.ENERGY, quantities.FORCES} & frame.present for frame in survey.select(TRAIN)
    ):
        raise UserError(
            "no training frame has energies or forces to train a MACE on; give one with "
            "--foundation_model"
        )
    ours = backbone_arguments(args)
    digest = _digest(ours)
    record = Path(ours.work_dir) / f"{ours.name}.json"
    is_known = record.is_file() and json.loads(record.read_text()).get("digest") == digest
    models = [path for path in find_models(ours) if "_compiled" not in path.name]
    if is_known and models and json.loads(record.read_text()).get("complete"):
        logger.info("Features are those of %s, trained by an earlier command", models[-1])
        return str(models[-1])
    begun = find_checkpoints(ours) or restart_file(ours).exists()
    ours.restart_latest = bool(is_known and begun)
    ours.overwrite = not ours.restart_latest
    logger.info(
        "Without --foundation_model a MACE is trained on energies and forces first: %s %s; its "
        "log is %s",
        "going on with" if ours.restart_latest else "training",
        ours.name,
        Path(ours.log_dir or Path(ours.work_dir) / "logs") / f"{ours.name}_run-{ours.seed}.log",
    )
    _write(record, {"digest": digest, "complete": False})
    with without_handlers():
        train(copy.deepcopy(ours))
    _write(record, {"digest": digest, "complete": True})
    return str([path for path in find_models(ours) if "_compiled" not in path.name][-1])


def _write(path: Path, content: dict[str, Any]) -> None:
    """Write a small JSON file whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with complete_or_absent(path) as unfinished:
        unfinished.write_text(json.dumps(content))


def _digest(args: argparse.Namespace) -> str:
    """A hash of the flags and files that a backbone depends on."""
    result = hashlib.sha256(mace_smile.__version__.encode())
    elsewhere = ("config", "work_dir", "log_dir", "overwrite", "restart_latest")
    settings = {name: repr(value) for name, value in vars(args).items() if name not in elsewhere}
    result.update(json.dumps(settings, sort_keys=True).encode())
    for files in files_by_head(args).values():
        for paths in files.values():
            for path in paths:
                result.update(Path(path).read_bytes())
    return result.hexdigest()


def kept_options(frozen: FrozenModel, options: Any) -> Any:
    """Options of the result: those asked for, and heads of the frozen model that stay.

    These are the heads of Born charges and polarizabilities.

    :raises UserError: when one of them is asked for that the frozen model does not have.
    """
    theirs = SmileOptions() if frozen.smile is None else frozen.smile.options
    if options.has_polarizability and not theirs.has_polarizability:
        raise UserError(
            "--polarizability_head local is not trained on a frozen MACE; train it with "
            "mace_smile_run_train --electrostatics none and give that model as --foundation_model: "
            "its polarizability is kept"
        )
    options = dataclasses.replace(
        options,
        polarizability_head=theirs.polarizability_head,
        polarizability_channels=theirs.polarizability_channels,
        training_labels=tuple(dict.fromkeys((*theirs.training_labels, *options.training_labels))),
    )
    if options.has_local_screening or options.learn_screening_value:
        raise UserError(
            "learned screening factors (--screening local, --screening_value learned) are not "
            "trained together with the charges of a frozen MACE; train the charges without them, "
            "then local factors with mace_smile_train_screening or a global one with "
            "mace_smile_fit_screening, or give --screening global and a number as "
            "--screening_value"
        )
    has_head = frozen.smile is not None and frozen.smile.options.screening == "uncoupled"
    if options.screening == "uncoupled" and not has_head:
        raise UserError(
            "--screening uncoupled is not trained together with the charges of a frozen MACE; "
            "train it with mace_smile_train_screening, before (give the result as "
            "--foundation_model: its Born charges are kept) or after this"
        )
    if not has_head or options.screening == "global":
        return options
    return dataclasses.replace(
        options, screening=theirs.screening, born_channels=theirs.born_channels
    )
