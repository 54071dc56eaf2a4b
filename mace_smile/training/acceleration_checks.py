"""What does not go together with cuEquivariance (`--enable_cueq`), refused."""

import argparse
import importlib.util

from mace_smile.errors import UserError
from mace_smile.model.options import SmileOptions
from mace_smile.training.kept_energy import WHOLE

PACKAGES = ("cuequivariance", "cuequivariance_torch")
#: Orders of the products that MACE can convert.
CORRELATIONS = (2, 3)


def wants_cuequivariance(args: argparse.Namespace) -> bool:
    """Whether a training is to run with cuEquivariance; both flags of MACE mean the same here."""
    return bool(args.enable_cueq or args.only_cueq)


def check_acceleration(args: argparse.Namespace) -> None:
    """Refuse what cannot be accelerated, and what would be lost.

    :raises UserError: naming the flag and the remedy.
    """
    if args.enable_oeq:
        raise UserError(
            "--enable_oeq is not supported because a SmileMACE has no OpenEquivariance version; "
            "leave it out, or use --enable_cueq True"
        )
    if not wants_cuequivariance(args):
        return
    flag = "--enable_cueq" if args.enable_cueq else "--only_cueq"
    missing = [name for name in PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        raise UserError(
            f"{flag} needs the packages {' and '.join(missing)}: pip install cuequivariance "
            "cuequivariance-torch, or leave it out"
        )
    if args.lora:
        raise UserError(
            f"{flag} would lose the matrices of --lora, which cuEquivariance does not know; leave "
            "one of the two out"
        )
    if args.freeze is not None and args.freeze >= WHOLE:
        raise UserError(
            f"{flag} would change the energy by rounding, which --freeze {args.freeze} keeps to "
            "the last bit; leave one of the two out"
        )
    if args.foundation_model is None and args.correlation not in CORRELATIONS:
        raise UserError(
            f"{flag} cannot convert a MACE with --correlation {args.correlation}; use 2 or 3, or "
            f"leave {flag} out"
        )


def check_accelerated_options(options: SmileOptions) -> None:
    """Refuse Born effective charges that need what fused convolutions hide.

    :raises UserError: naming both flags.
    """
    if options.has_coupled_screening and options.born_charge_method != "minimum_image":
        raise UserError(
            f"--screening {options.screening} with --born_charge_method "
            f"{options.born_charge_method} follows the edges of the MACE, which the fused "
            "convolutions of cuEquivariance hide; leave out --enable_cueq and --only_cueq, or use "
            "--screening uncoupled"
        )
