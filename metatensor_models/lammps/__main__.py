"""``python -m metatensor_models.lammps -in in.water``: an input file with ``mace_smile`` in it.

All other arguments are LAMMPS' own, e.g. ``-var T 300 -log log.lammps -screen none``.
"""

import sys

from mace_smile.errors import UserError
from metatensor_models.evaluator import ModelFailure

#: What a user can mend; anything else is a fault of ours, and keeps its traceback.
MENDABLE = (UserError, ModelFailure, ImportError, OSError)


def main(arguments: list[str]) -> int:
    """Run an input file; returns the exit status, 2 for what a user can mend.

    :param arguments: of the command line, without the program.
    """
    try:
        flag = next((word for word in arguments if word in ("-in", "-i")), None)
        position = len(arguments) if flag is None else arguments.index(flag)
        if position + 1 >= len(arguments):
            raise UserError(
                "no input file was given: python -m metatensor_models.lammps -in FILE, and any "
                "other argument of LAMMPS"
            )
        path = arguments[position + 1]
        run(path, [*arguments[:position], *arguments[position + 2 :]])
    except Exception as error:
        # LAMMPS raises nothing more special than Exception itself.
        if type(error) is not Exception and not isinstance(error, MENDABLE):
            raise
        lines = [line for line in str(error).splitlines() if line.strip()]
        print(f"error: {' '.join(lines) or type(error).__name__}", file=sys.stderr)
        return 2
    return 0


def run(path: str, arguments: list[str]) -> None:
    """Run an input file in a new LAMMPS."""
    from metatensor_models.lammps.instance import MetatomicLammps
    from metatensor_models.lammps.script import run_script

    lmp = MetatomicLammps(arguments)
    try:
        run_script(lmp, path)
    finally:
        lmp.close()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
