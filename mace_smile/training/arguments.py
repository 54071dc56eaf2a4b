"""Command-line flags of charges, dipoles and Born effective charges, and their checks."""

import argparse
from dataclasses import fields
from typing import Any

from mace_smile.errors import UserError
from mace_smile.model.options import SmileOptions
from mace_smile.training.electrostatics_checks import as_flags
from mace_smile.training.flag import LEARNED_VALUE
from mace_smile.training.flags import FLAGS, LABEL_KEYS, WEIGHT_FLAGS
from mace_smile.training.requirements import CHARGES, DIPOLE, STAGE_TWO, Requirement, value_of


class HelpFormatter(argparse.ArgumentDefaultsHelpFormatter):
    """Shows defaults, except "None", which says nothing."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        """Help text of one flag."""
        if action.default is None:
            return action.help
        return super()._get_help_string(action)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add our flags to MACE's parser, in a group "charges".

    The keys of labels that MACE knows lose their defaults, so that a key that was given and
    is found nowhere can be told from one that nobody asked for. So do flags of ours that MACE
    has, for dipole models of its own.
    """
    parser.formatter_class = HelpFormatter
    group = parser.add_argument_group("charges", "charges, dipoles and Born effective charges")
    of_mace = {action.dest: action for action in parser._actions}

    def add(name: str, text: str, *others: str, **settings: Any) -> None:
        if name in of_mace:
            of_mace[name].default, of_mace[name].help = None, text
        else:
            names = [f"--{one}" for one in (name, *others)]
            group.add_argument(*names, dest=name, default=None, help=text, **settings)

    for flag in FLAGS:
        add(flag.name, flag.help, type=flag.type, choices=flag.choices)
        if flag.name in WEIGHT_FLAGS:
            text = f"the same in stage two (default: as --{flag.name})"
            add(f"swa_{flag.name}", text, f"stage_two_{flag.name}", type=float)
    parser.add_argument(
        "--overwrite",
        action="store_true",
        default=False,
        help="train anew where a model or checkpoints of this name exist, and remove them",
    )
    parser.add_argument(
        "--trust",
        action="store_true",
        default=False,
        help="run whatever code the file of --foundation_model holds; without it a file that holds "
        "more than models of MACE do is refused",
    )
    ours = {flag.name for flag in FLAGS}
    for action in parser._actions:
        if action.dest in LABEL_KEYS and action.dest not in ours:
            action.default = None
            action.help = f"{action.help} (default: {LABEL_KEYS[action.dest]})"


def check_flags(args: argparse.Namespace) -> None:
    """Refuse flags that would have no effect.

    :raises UserError: naming the flag, the reason and the remedy.
    """
    for flag in FLAGS:
        given = [(flag.name, flag.needs)]
        if flag.name in WEIGHT_FLAGS:
            given.append((f"swa_{flag.name}", (STAGE_TWO, *flag.needs)))
        for name, needs in given:
            value = getattr(args, name)
            if value is None or value == flag.off:
                continue
            for requirement in needs:
                if not requirement.holds(args):
                    raise UserError(f"--{name} has no effect here: {requirement.reason}")
    of_mace: tuple[tuple[str, Requirement], ...] = (
        ("dipole_key", DIPOLE),
        ("charges_key", CHARGES),
    )
    for name, requirement in of_mace:
        if getattr(args, name) is not None and not requirement.holds(args):
            raise UserError(f"--{name} has no effect here: {requirement.reason}")
    if args.screening_value == LEARNED_VALUE and args.screening != "global":
        raise UserError(
            f"--screening_value {LEARNED_VALUE} is for --screening global only, where Born "
            "effective charges train it; use that, or give a number"
        )
    if value_of(args, "boundary") == "slab" and args.slab_axis is None:
        raise UserError(
            "--boundary slab does not say which cell axis is the slab normal; add --slab_axis "
            "0, 1 or 2"
        )
    for flag_name in WEIGHT_FLAGS:
        for name in (flag_name, f"swa_{flag_name}"):
            weight = getattr(args, name)
            if weight is not None and not 0.0 <= weight < float("inf"):
                raise UserError(f"--{name} is {weight} but must be zero or positive")


def options_from_args(args: argparse.Namespace) -> SmileOptions:
    """Hyperparameters of the model from the command line.

    :raises UserError: for flags without effect and values that are not allowed.
    """
    check_flags(args)
    given = {field.name: getattr(args, field.name, None) for field in fields(SmileOptions)}
    for name in ("susceptibility", "given_susceptibility", "screening_value"):
        if given[name] == LEARNED_VALUE:
            given[name] = None
            given[f"learn_{name}"] = True
    if given["dipole_elements"] is not None:
        given["dipole_elements"] = tuple(
            symbol.strip() for symbol in given["dipole_elements"].split(",")
        )
    try:
        return SmileOptions(**{name: value for name, value in given.items() if value is not None})
    except ValueError as error:
        raise as_flags(error) from error
