"""Training heads of which the energy knows nothing (`--freeze 7`).

MACE's ``--freeze 7`` trains nothing of the MACE. With a foundation model that means here that its
energies, forces and stresses stay as they are, to the last bit: the model itself is the backbone
(MACE would build a new one, of the elements of the data and of one head), and charges that are in
the energy of a SmileMACE stay too. Neither energies nor forces then need to be computed in
training.
"""

import argparse
import copy
import dataclasses
import logging
from collections.abc import Sequence
from typing import Any

import torch

from mace_smile import quantities
from mace_smile.errors import UserError
from mace_smile.model.options import SmileOptions
from mace_smile.model.smile_mace import SmileMACE
from mace_smile.training.foundation import Start, heads_of_model
from mace_smile.training.input_files import heads_of

logger = logging.getLogger(__name__)

#: From this value on MACE's --freeze trains nothing of the MACE.
WHOLE = 7
#: Heads that no energy depends on.
IDLE_HEADS = (quantities.BORN_EFFECTIVE_CHARGES, quantities.POLARIZABILITY, quantities.SCREENING)
#: Options that no energy depends on.
IDLE_OPTIONS = (
    "dipole_head",
    "net_charge",
    "screening",
    "born_charge_method",
    "phase_harmonics",
    "acoustic_sum_rule",
    "polarizability_head",
    "training_labels",
)


def keep_energy(args: argparse.Namespace, start: Start | None) -> Start | None:
    """Prepare a run of which the energy is that of the foundation model, if it is one.

    :param args: changed: isolated-atom energies, elements and precision become those of the
        model, and nothing is replayed.
    :raises UserError: for flags that contradict it.
    """
    if args.freeze is not None and args.freeze < 0:
        raise UserError(
            f"--freeze {args.freeze} does nothing in MACE; use 1 (embedding), 5 (and the "
            "interactions), 6 (and the products) or 7 (and the readouts: the whole MACE)"
        )
    if start is None or args.freeze is None or args.freeze < WHOLE:
        return start
    reason = f"--freeze {args.freeze} keeps the energy of the foundation model"
    if args.lora:
        raise UserError(f"--lora has no effect here: {reason}; leave one of the two out")
    if len(heads_of(args)) > 1 or args.pt_train_file is not None:
        raise UserError(
            f"{reason}, so heads of the energy and replayed frames have no effect; leave out "
            "--heads and --pt_train_file, or use --freeze 6"
        )
    if args.E0s not in (None, "foundation"):
        raise UserError(f"--E0s has no effect here: {reason}; leave it out")
    if start.head is None:
        raise UserError(
            f"the foundation model has the heads {', '.join(start.heads)}, all of which stay; say "
            "by --foundation_head which of them the energies of the frames belong to"
        )
    if args.charge_head is None and not start.options.has_charges:
        args.charge_head = "none"  # the energy asks for none
    if not start.options.has_electrostatics:
        if args.electrostatics not in (None, "none"):
            raise UserError(
                f"--electrostatics {args.electrostatics} would add to the energy, but {reason}; "
                "leave it out, or use --freeze 6"
            )
        args.electrostatics = "none" if args.charge_head != "none" else None
    args.E0s, args.multiheads_finetuning, args.foundation_model_elements = "foundation", False, True
    args.scaling = "no_scaling"  # statistics of the energies belong to a MACE that is not used
    precision = str(start.model.get_buffer("r_max").dtype).removeprefix("torch.")
    warnings = start.warnings
    if args.default_dtype != precision:
        warnings = (
            *warnings,
            f"{reason}, and its precision: the run and its model have {precision}, whatever "
            f"--default_dtype says (here {args.default_dtype})",
        )
    args.default_dtype = precision
    return dataclasses.replace(start, keeps_energy=True, warnings=warnings)


def check_kept_options(start: Start, options: SmileOptions) -> None:
    """Refuse options that would change the energy that is kept.

    :raises UserError: naming them.
    """
    before = start.options
    if not (start.keeps_energy and before.has_electrostatics):
        return
    changed = [
        field.name.removeprefix("learn_")
        for field in dataclasses.fields(options)
        if field.name not in IDLE_OPTIONS
        and getattr(before, field.name) != getattr(options, field.name)
    ]
    if changed:
        raise UserError(
            f"--{', --'.join(changed)} would change the energy of the foundation model, which "
            "--freeze 7 keeps; leave it out, or use --freeze 6"
        )


def check_trained(start: Start, names: Sequence[str]) -> None:
    """Refuse a run in which nothing can change.

    :param names: of the terms of the loss beside MACE's.
    :raises UserError: without any.
    """
    if start.keeps_energy and not names:
        raise UserError(
            "--freeze 7 keeps the energy of the foundation model, and no other label is trained: "
            "name a head that has labels (--charge_head local, --dipole_head local, --screening "
            "uncoupled, --polarizability_head local), or use --freeze 6"
        )


def make_kept_model(foundation: torch.nn.Module, options: SmileOptions) -> SmileMACE:
    """The foundation model with more heads; what its energy depends on is frozen.

    :param foundation: a ScaleShiftMACE or SmileMACE; it is copied.
    :param options: of the result.
    """
    copied: Any = copy.deepcopy(foundation)
    is_ours = isinstance(copied, SmileMACE)
    copied.heads = heads_of_model(copied)
    model = SmileMACE(copied.backbone if is_ours else copied, options)
    if len(model.heads) > 1:
        logger.info("All heads of the foundation model stay: %s", ", ".join(model.heads))
    if is_ours and options.has_electrostatics:
        model.long_range = copied.long_range
    for parameter in model.backbone.parameters():
        parameter.requires_grad_(False)
    for name, head in model.charge_heads.items():
        is_idle = name in IDLE_HEADS or not options.has_electrostatics
        if name == quantities.ATOMIC_DIPOLES:
            is_idle = not options.dipoles_in_energy
        for parameter in head.parameters():
            parameter.requires_grad_(is_idle)
    return model
