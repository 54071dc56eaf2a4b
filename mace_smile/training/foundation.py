"""The model a training starts from: found by name or file, and what is taken over from it."""

import argparse
from collections.abc import Collection
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import torch
from ase.data import chemical_symbols
from mace.calculators import foundations_models

from mace_smile import quantities
from mace_smile.errors import UserError
from mace_smile.model.options import SmileOptions
from mace_smile.model.pickles import read_pickle
from mace_smile.model.smile_mace import SmileMACE
from mace_smile.training.flag import LEARNED_VALUE
from mace_smile.training.flags import FLAGS
from mace_smile.training.head_checks import check_foundation_head
from mace_smile.training.requirements import Requirement

#: Usual names of foundation models, and what MACE calls them.
ALIASES = {
    "mace-mp-0": "medium",
    "mace-mpa-0": "medium-mpa-0",
    "mace-omat-0": "medium-omat-0",
    "mace_off": "medium_off",
    "mace-off": "medium_off",
}
#: Names of MACE's organic models, and the sizes its loader wants.
ORGANIC = {f"{size}_off": size for size in ("small", "medium", "large")}
OMOL = "mace_omol"
#: The head in which MACE replays frames of an earlier training.
REPLAYED_HEAD = "pt_head"
#: Options that are numbers, or learned.
LEARNABLE = ("susceptibility", "given_susceptibility", "screening_value")


@dataclass(frozen=True)
class Start:
    """What a run starts from."""

    model: torch.nn.Module
    """The foundation model, a ScaleShiftMACE or a SmileMACE."""
    inherited: frozenset[str] = frozenset()
    """Options of the model that were not given on the command line, and are as they were."""
    keeps_energy: bool = False
    """Whether its energy stays as it is, to the last bit (`--freeze 7`)."""
    head: str | None = None
    """Its head that the frames of the run belong to; None where that must be said."""
    warnings: tuple[str, ...] = ()
    """Lines for the log."""

    @property
    def options(self) -> SmileOptions:
        """Options of a SmileMACE; of a MACE those of a model without heads."""
        if isinstance(self.model, SmileMACE):
            return self.model.options
        return SmileOptions(charge_head="none", electrostatics="none")

    @property
    def backbone(self) -> torch.nn.Module:
        """The MACE itself."""
        return self.model.backbone if isinstance(self.model, SmileMACE) else self.model

    @property
    def heads(self) -> list[str]:
        """Its heads of the energy."""
        return heads_of_model(self.model)

    @property
    def r_max(self) -> float:
        """Its cutoff in A."""
        return float(self.model.get_buffer("r_max"))

    @property
    def elements(self) -> set[int]:
        """Atomic numbers it knows."""
        return set(self.model.get_buffer("atomic_numbers").tolist())


def find_start(args: argparse.Namespace) -> Start | None:
    """Load the foundation model of a run, and take over the options of a SmileMACE.

    :param args: changed: usual names become those of MACE, the head the one MACE would take, and
        options that were not given those of the model.
    :return: None without ``--foundation_model``.
    :raises UserError: for a model that cannot be found, read or used.
    """
    if args.foundation_model is None:
        return None
    args.foundation_model = ALIASES.get(args.foundation_model, args.foundation_model)
    model = load_foundation(args.foundation_model, args.trust)
    start = Start(model)
    if type(start.backbone).__name__ != "ScaleShiftMACE":
        raise UserError(
            f"--foundation_model '{args.foundation_model}' holds a {type(model).__name__} but "
            "charges need a ScaleShiftMACE, as --model MACE and ScaleShiftMACE train them"
        )
    check_foundation_head(args.foundation_head, start.backbone)
    own = [name for name in start.heads if name != REPLAYED_HEAD] or start.heads
    known = args.foundation_head or (own[0] if len(own) == 1 else None)
    if len(start.heads) > 1:
        args.foundation_head = args.foundation_head or own[0]
    inherited: frozenset[str] = frozenset()
    if isinstance(model, SmileMACE):
        inherited = inherit_options(args, model.options, model.scale_value())
    return replace(start, inherited=inherited, head=known)


def heads_of_model(model: torch.nn.Module) -> list[str]:
    """Heads of the energy of a MACE; old files do not name their only one."""
    heads: Any = getattr(model, "heads", None)
    return list(heads or ["Default"])


def load_foundation(name: str, trust: bool = False) -> Any:
    """A foundation model as it was stored.

    :param name: one of MACE's names, whose file MACE downloads once, or a ``.model`` file.
    :param trust: run whatever code the file holds.
    :raises UserError: for names MACE does not know, and files that cannot be read.
    """
    name = ALIASES.get(name, name)
    known = [one for one in foundations_models.mace_mp_names if one is not None]
    try:
        if name in known:
            return foundations_models.mace_mp(model=name, device="cpu", return_raw_model=True)
        if name in ORGANIC:
            return foundations_models.mace_off(
                model=ORGANIC[name], device="cpu", return_raw_model=True
            )
        if name == OMOL:
            return foundations_models.mace_omol(device="cpu", return_raw_model=True)
    except (RuntimeError, OSError) as error:
        raise UserError(
            f"MACE could not load its foundation model '{name}' ({error}); is there a network? A "
            "file that was downloaded elsewhere serves as well"
        ) from error
    if name in foundations_models.polar_model_names:
        raise UserError(
            f"the foundation model '{name}' has charges of MACE's own kind, which cannot be "
            "joined with those trained here; give another one"
        )
    if not Path(name).is_file():
        names = ", ".join((*known, *ORGANIC, OMOL))
        raise UserError(
            f"'{name}' is no file and no name of a foundation model; give the .model file of a "
            f"MACE, or one of {names}"
        )
    model = read_pickle(name, "cpu", trust)
    if not isinstance(model, torch.nn.Module):
        raise UserError(
            f"'{name}' holds a {type(model).__name__} but the .model file of a MACE is wanted"
        )
    return model


def inherit_options(
    args: argparse.Namespace, options: SmileOptions, scale: float | None = None
) -> frozenset[str]:
    """Give options that are not on the command line the values of the foundation model, in place.

    One that would have no effect beside what was given is left out.

    :param args: from the parser.
    :param options: of the foundation model.
    :param scale: its factor s, for a run that learns another kind of screening.
    :return: the names of the options that were taken over.
    """
    ours = SmileOptions()
    has_axis = options.boundary == "slab"
    taken: dict[str, tuple[Requirement, ...]] = {}
    needs = {flag.name: flag.needs for flag in FLAGS}
    for field in fields(SmileOptions):
        name, value = field.name, getattr(options, field.name)
        if name.startswith("learn_"):
            name = name.removeprefix("learn_")
            value = LEARNED_VALUE if value else None
        elif name in LEARNABLE and getattr(options, f"learn_{name}", False):
            continue  # its value is a parameter, which is copied
        is_default = value == getattr(ours, field.name) and not (name == "slab_axis" and has_axis)
        if value is None or is_default or name == "training_labels":
            continue
        if getattr(args, name, None) is None:
            setattr(args, name, ",".join(value) if name == "dipole_elements" else value)
            taken[name] = needs.get(name, ())
    idle: list[str] | None = None
    while idle is None or idle:
        idle = [name for name, wanted in taken.items() if not all(n.holds(args) for n in wanted)]
        for name in idle:
            setattr(args, name, None)
            del taken[name]
    if "screening_value" in taken and options.screening != args.screening:
        args.screening_value = scale if options.learn_screening_value else args.screening_value
    return frozenset(taken)


def drifting_heads(
    start: Start, options: SmileOptions, trained: Collection[str]
) -> tuple[str, ...]:
    """Warnings for the log: heads that stay as they are while the features they read change.

    :param options: of the new model.
    :param trained: names of the terms of the loss beside MACE's.
    """
    readouts = {
        quantities.BORN_EFFECTIVE_CHARGES: options.has_born_charges,
        quantities.POLARIZABILITY: options.has_polarizability,
    }
    names = [name for name, has_it in readouts.items() if has_it and name not in trained]
    if start.keeps_energy or not names:
        return ()
    return (
        f"no label trains the {' and '.join(names)} of the foundation model while its features "
        "change: their errors will grow; add labels, or keep the features with --freeze 7",
    )


def check_elements(args: argparse.Namespace, start: Start, elements: set[int]) -> None:
    """Refuse elements the foundation model does not know.

    :param elements: atomic numbers in the data.
    :raises UserError: naming them.
    """
    strange = [chemical_symbols[z] for z in sorted(elements - start.elements)]
    if strange:
        known = [chemical_symbols[z] for z in sorted(start.elements)]
        raise UserError(
            f"the frames contain {', '.join(strange)}, which --foundation_model "
            f"'{args.foundation_model}' does not know (it knows {', '.join(known)}); remove these "
            "frames, or start from another model"
        )
