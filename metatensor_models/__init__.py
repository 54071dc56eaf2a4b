"""Export to metatomic: a SmileMACE as one file that ASE, i-PI and LAMMPS run in a field."""

import mace_smile  # noqa: F401  (tells e3nn how to read its constants, before e3nn is imported)
