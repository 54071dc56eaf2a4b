"""Molecular dynamics in ASE: electric fields, constant displacement, runs that resume."""

from mace_smile.dynamics.constant_displacement import ConstantDisplacement
from mace_smile.dynamics.exported import exported_calculator
from mace_smile.dynamics.finite_field import FiniteField
from mace_smile.dynamics.resumable import ResumableRun

__all__ = ["ConstantDisplacement", "FiniteField", "ResumableRun", "exported_calculator"]
