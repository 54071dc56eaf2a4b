"""Command-line flags of training on a frozen MACE and of the scan over chi.

They come on top of those of ``mace_smile_run_train``, whose YAML files serve here too.
"""

import argparse
import math
import re
from collections.abc import Sequence

from mace_smile.errors import UserError
from mace_smile.frozen.fit import FitSettings
from mace_smile.training.mace_parser import build_parser

#: First list of susceptibilities of a scan without `--susceptibilities`; more points follow
#: around the minimum.
COARSE_LIST = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0, 1.3, 1.6, 2.0)


def build_charges_parser() -> argparse.ArgumentParser:
    """The parser of ``mace_smile_train_charges``."""
    parser = build_parser()
    defaults = FitSettings()
    group = parser.add_argument_group("frozen", "training of the heads on a frozen MACE")
    group.add_argument(
        "--l2_dipoles",
        type=float,
        default=defaults.l2_dipoles,
        help="penalty on the squared weights of bond dipoles, by the number of labels, the same "
        "for every --macro_dipole_norm; it grows with the square of the number of nodes of the "
        f"radial function (default: {defaults.l2_dipoles:g})",
    )
    group.add_argument(
        "--l2_features",
        type=float,
        default=None,
        help="penalty on readouts of node features, by the number of labels; without it charges "
        f"have one value an element, unless charges are labels (then {defaults.l2_labelled:g})",
    )
    group.add_argument(
        "--max_iterations",
        type=int,
        default=defaults.max_iterations,
        help="most steps of the optimizer",
    )
    return parser


def build_scan_parser() -> argparse.ArgumentParser:
    """The parser of ``mace_smile_scan_susceptibility``."""
    parser = build_charges_parser()
    group = parser.add_argument_group("scan", "cross-validation over a list of susceptibilities")
    group.add_argument(
        "--susceptibilities",
        type=float,
        nargs="+",
        default=None,
        help="values of chi above -1 (default: 0 to 2, refined around the minimum)",
    )
    group.add_argument(
        "--folds",
        type=int,
        default=None,
        help="folds of the cross-validation; each leaves out whole groups (default: one for each "
        "group, at most 10)",
    )
    group.add_argument(
        "--group_key",
        default=None,
        help="key of the frames that names their group, such as an MD run: a group is left out as "
        "a whole (default: frames with equal positions are a group)",
    )
    group.add_argument(
        "--group_pattern",
        default=None,
        help="regular expression for the value of --group_key: its first parenthesis, or all that "
        "matches, is the group, as in '(.*)_s[0-9]+'",
    )
    group.add_argument(
        "--bootstrap", type=int, default=2000, help="resamples of the groups for uncertainties"
    )
    group.add_argument(
        "--write_model",
        choices=("yes", "no"),
        default="yes",
        help="train a model on all frames at the best chi and write it",
    )
    return parser


def fit_settings(args: argparse.Namespace) -> FitSettings:
    """How heads are fitted, from the command line.

    :raises UserError: for values that are not allowed.
    """
    for name in ("l2_dipoles", "l2_features"):
        value = getattr(args, name)
        if value is not None and not (math.isfinite(value) and value > 0):
            raise UserError(f"--{name} is {value} but must be positive and finite")
    if args.max_iterations < 1:
        raise UserError(f"--max_iterations is {args.max_iterations} but must be at least 1")
    return FitSettings(
        l2_dipoles=args.l2_dipoles,
        l2_features=args.l2_features,
        max_iterations=args.max_iterations,
    )


def check_scan_flags(args: argparse.Namespace) -> None:
    """Refuse values of the flags of the scan that are not allowed.

    :raises UserError: naming the flag, its value and the remedy.
    """
    for chi in args.susceptibilities or ():
        if not (math.isfinite(chi) and chi > -1.0):
            raise UserError(
                f"--susceptibilities has {chi:g} but chi must be above -1, as the dipole is "
                "divided by 1 + chi; leave it out"
            )
    if args.susceptibilities is not None and len(set(args.susceptibilities)) < 3:
        raise UserError(
            f"--susceptibilities has {len(set(args.susceptibilities))} values but a minimum needs "
            "at least 3; add some"
        )
    if args.folds is not None and args.folds < 2:
        raise UserError(f"--folds is {args.folds} but must be at least 2")
    if args.bootstrap < 10:
        raise UserError(f"--bootstrap is {args.bootstrap} but must be at least 10")
    if args.group_pattern is not None and args.group_key is None:
        raise UserError(
            "--group_pattern has no effect here: it is matched with the value of --group_key; add "
            "that, for example --group_key geometry_id"
        )
    try:
        re.compile(args.group_pattern or "")
    except re.error as error:
        raise UserError(
            f"--group_pattern is '{args.group_pattern}' but must be a regular expression ({error})"
        ) from error


def sorted_list(susceptibilities: Sequence[float]) -> list[float]:
    """Values in order, each once, with 0 (SMILE0) among them."""
    return sorted({0.0, *(float(chi) for chi in susceptibilities)})
