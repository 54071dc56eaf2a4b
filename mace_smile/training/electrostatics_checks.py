"""Checks of the Coulomb sum before training: accuracies, and parameters that were given by hand.

A sum with parameters given by hand runs whatever they are, and a model can be trained on it.
What it leaves out depends on the cell, though, so such a model does not carry over from one
cell to another. An accuracy worse than 0.1 cannot be asked for; parameters by hand that leave
out more than that are refused for the same reason, and above 1e-3 the log says what they
leave out. A wide smearing of ``long_range`` terms is physics and no error of the sum: the log
says what is missing beyond the reach of the network.
"""

import argparse
import re
from pathlib import Path

from mace_smile.errors import UserError
from mace_smile.model.options import SmileOptions
from mace_smile.model.pickles import read_pickle
from mace_smile.physics.parameters import (
    DEFAULT_CUTOFF,
    DEFAULT_MESH_SPACINGS,
    CoulombParameters,
    ewald_error,
    mesh_error,
    missing_beyond,
    real_space_error,
)

#: Left-out parts, relative to all, above which parameters are refused, and told in the log.
LARGEST_ERROR = 0.1
NOTABLE_ERROR = 1e-3


def as_flags(error: ValueError) -> UserError:
    """The error with the names of options written as the flags of the command line."""
    return UserError(re.sub(r"`(\w+)`", r"--\1", str(error)))


def backbone_cutoff(args: argparse.Namespace) -> float:
    """Cutoff of the backbone in A: of the foundation model where it is a file, or `--r_max`.

    :raises UserError: for a file that cannot be read as a model.
    """
    path = Path(args.foundation_model or "")
    if not path.is_file():
        return float(args.r_max)
    model = read_pickle(path, "cpu", args.trust)
    if not hasattr(model, "r_max"):
        raise UserError(
            f"'{path}' holds a {type(model).__name__} but the .model file of a MACE is wanted"
        )
    return float(model.r_max)


def check_electrostatics(options: SmileOptions, r_max: float) -> tuple[str, ...]:
    """Check the parameters of the Coulomb sum of a model.

    :param options: of the model.
    :param r_max: cutoff of its backbone in A.
    :return: sentences for the log, with what is left out.
    :raises UserError: for an accuracy that cannot be reached, and for parameters given by hand
        that leave out more than ``LARGEST_ERROR``.
    """
    if not options.has_electrostatics:
        return ()
    try:
        parameters = options.coulomb_parameters(r_max)
    except ValueError as error:
        raise as_flags(error) from error
    sentences = [_missing_beyond_cutoff(options, parameters)]
    if options.electrostatics_accuracy is None and options.boundary != "open":
        sentences += [
            _check_real_space(options, parameters),
            _check_wavelength(options, parameters),
            _check_mesh(options, parameters),
        ]
    return tuple(sentence for sentence in sentences if sentence)


def _judge(flag: str, value: float, left_out: float, what: str, remedy: str) -> str:
    """A sentence for the log, empty where little is left out.

    :raises UserError: where too much is.
    """
    sentence = f"{flag} {value:g} A leaves out {left_out:.1e} {what}; {remedy}"
    if left_out > LARGEST_ERROR:
        raise UserError(sentence)
    return sentence if left_out > NOTABLE_ERROR else ""


def _missing_beyond_cutoff(options: SmileOptions, parameters: CoulombParameters) -> str:
    """What a smearing of ``long_range`` terms leaves undescribed beyond the cutoff.

    This is no matter of the sum, so its accuracy and the boundary do not count.
    """
    if options.smearing is None or parameters.terms != "long_range":
        return ""
    smearing, cutoff = parameters.smearing, parameters.cutoff
    missing = missing_beyond(smearing, cutoff)
    if missing <= NOTABLE_ERROR:
        return ""
    return (
        f"--smearing {smearing:g} A is wide: at the cutoff of {cutoff:g} A, beyond which the "
        f"network sees no pairs, it leaves out {missing:.1e} of the Coulomb interaction; 1 A is "
        "common"
    )


def _check_real_space(options: SmileOptions, parameters: CoulombParameters) -> str:
    """What a smearing of ``full`` terms leaves out of the real-space part."""
    if options.smearing is None or parameters.terms != "full":
        return ""
    smearing, cutoff = parameters.smearing, parameters.cutoff
    return _judge(
        "--smearing",
        smearing,
        real_space_error(smearing, cutoff),
        f"of the forces, as the real-space part ends at {cutoff:g} A",
        f"use at most {cutoff / DEFAULT_CUTOFF:.3g} A, a larger --coulomb_cutoff, or leave it out",
    )


def _check_wavelength(options: SmileOptions, parameters: CoulombParameters) -> str:
    """What a wavelength given by hand leaves out of the Ewald sum."""
    if options.lr_wavelength is None or not parameters.uses_ewald:
        return ""
    return _judge(
        "--lr_wavelength",
        parameters.lr_wavelength,
        ewald_error(parameters.smearing, parameters.lr_wavelength),
        f"of the Ewald sum of charges smeared by {parameters.smearing:g} A",
        f"use at most {parameters.smearing:.3g} A, or leave it out",
    )


def _check_mesh(options: SmileOptions, parameters: CoulombParameters) -> str:
    """What a mesh given by hand leaves out."""
    if options.mesh_spacing is None or not parameters.uses_mesh:
        return ""
    default = DEFAULT_MESH_SPACINGS[options.electrostatics] * parameters.smearing
    return _judge(
        "--mesh_spacing",
        parameters.mesh_spacing,
        mesh_error(parameters.mesh_method, parameters.smearing, parameters.mesh_spacing),
        f"of the forces of charges smeared by {parameters.smearing:g} A",
        f"use at most {default:.3g} A, or leave it out",
    )
