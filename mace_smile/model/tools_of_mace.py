"""Tools of MACE that cannot use a SmileMACE, refused with what to use instead.

They would end in an error of theirs that says nothing, or write a file that lacks the
electrostatics. All that they run of ours is the unpickling of the model, so it is there that they
are told.
"""

import sys
from pathlib import Path
from typing import Any

_ALL_HEADS = (
    "a SmileMACE keeps all its heads in one file; choose one with --head of "
    "mace_smile_eval_configs or mace_smile_export, or with --foundation_head of "
    "mace_smile_run_train"
)
_PLAIN = (
    "mace_smile_run_train stores a SmileMACE without cuEquivariance, so there is nothing to "
    "convert; mace_smile_export writes it for ASE, i-PI and LAMMPS"
)
_NOT_FUSED = (
    "a stored SmileMACE has no cuEquivariance or OpenEquivariance version; mace_smile_export "
    "writes it for ASE, i-PI and LAMMPS"
)
_LAMMPS = (
    "this interface lacks the electrostatics of a SmileMACE; mace_smile_export writes it for LAMMPS"
)
_TRAIN = (
    "mace_run_train does not know the heads of a SmileMACE; start from it with "
    "mace_smile_run_train --foundation_model"
)
_INPUTS = (
    "mace_eval_configs gives a SmileMACE no given charges and no neighbour list of its charges, "
    "which this one needs; use mace_smile_eval_configs"
)
#: A command that lacks inputs of some models.
POORER = "mace_eval_configs"
#: Names of commands, and what to say.
REFUSED = {
    "mace_run_train": _TRAIN,
    "mace_select_head": _ALL_HEADS,
    "select_head.py": _ALL_HEADS,
    "mace_cueq_to_e3nn": _PLAIN,
    "convert_cueq_e3nn.py": _PLAIN,
    "convert_oeq_e3nn.py": _PLAIN,
    "mace_e3nn_cueq": _NOT_FUSED,
    "convert_e3nn_cueq.py": _NOT_FUSED,
    "convert_e3nn_oeq.py": _NOT_FUSED,
    "mace_create_lammps_model": _LAMMPS,
    "create_lammps_model.py": _LAMMPS,
}


def check_command(needs_more_inputs: bool) -> None:
    """Refuse to be loaded by a command of MACE that cannot use the model.

    :param needs_more_inputs: whether the model has given charges, or a neighbour list of its own.
    :raises SystemExit: with a sentence, which ends that command.
    """
    command = Path(sys.argv[0]).name if sys.argv else ""
    reason = REFUSED.get(command)
    if needs_more_inputs and command == POORER:
        reason = _INPUTS
    if reason is not None:
        raise SystemExit(f"error: {reason}")


#: Modules of MACE that make a model anew from its hyperparameters, and the name they read them by.
CONVERTERS = (
    "mace.cli.convert_e3nn_cueq",
    "mace.cli.convert_e3nn_oeq",
    "mace.cli.convert_e3nn_hybrid",
)
READER = "extract_config_mace_model"


def guard_converters() -> None:
    """Let the converters that ``MACECalculator`` has loaded say that a SmileMACE is not for them.

    They look hyperparameters up by the class of a model and end in a KeyError for other classes.
    """
    for name in CONVERTERS:
        read = getattr(sys.modules.get(name), READER, None)
        if read is not None and not isinstance(read, _KnownHyperparameters):
            setattr(sys.modules[name], READER, _KnownHyperparameters(read))


class _KnownHyperparameters:
    """MACE's function, which returns a dictionary with an error for what it does not know."""

    def __init__(self, read: Any) -> None:
        self.read = read

    def __call__(self, model: Any) -> dict[str, Any]:
        values: dict[str, Any] = self.read(model)
        check_made_by_us(values)
        return values


def check_made_by_us(hyperparameters: dict[str, Any]) -> None:
    """Refuse to be made anew out of what MACE knows of a model.

    :raises TypeError: naming what to use instead.
    """
    if "error" in hyperparameters:
        raise TypeError(
            "MACE cannot compile or convert a SmileMACE, whose heads it does not know: leave out "
            "compile_mode, enable_cueq and enable_oeq of MACECalculator, or use a file of "
            "mace_smile_export, which is compiled"
        )
