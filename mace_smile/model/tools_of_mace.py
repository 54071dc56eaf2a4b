"""Commands of MACE that cannot use a SmileMACE, refused with what to use instead.

They would end in a traceback of theirs, or write a file that lacks the electrostatics. All they run
of ours is the unpickling of the model, so it is there that they are told.
"""

import sys
from pathlib import Path

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
#: Names of commands, and what to say.
REFUSED = {
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


def check_command() -> None:
    """Refuse to be loaded by a command of MACE that cannot use the model.

    :raises SystemExit: with a sentence, which ends that command.
    """
    reason = REFUSED.get(Path(sys.argv[0]).name) if sys.argv else None
    if reason is not None:
        raise SystemExit(f"error: {reason}")
