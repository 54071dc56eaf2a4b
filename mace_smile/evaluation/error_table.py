"""Errors of a model against labels, row by row of one table."""

from dataclasses import dataclass, field

import ase
import numpy as np
import torch
from mace.data import AtomicData
from prettytable import PrettyTable

from mace_smile import quantities
from mace_smile.physics.polarization import nearest_branch


@dataclass
class Errors:
    """Differences between prediction and label, gathered row by row of the error table."""

    unit: str
    values: list[np.ndarray] = field(default_factory=list)
    n_frames: int = 0

    def add(self, difference: np.ndarray) -> None:
        """Add the differences of one frame, any shape."""
        if difference.size:
            self.values.append(np.ravel(difference))
            self.n_frames += 1

    @property
    def mae(self) -> float:
        """Mean absolute error, in ``unit``."""
        return float(np.abs(np.concatenate(self.values)).mean())

    @property
    def rmse(self) -> float:
        """Root mean square error, in ``unit``."""
        return float(np.sqrt((np.concatenate(self.values) ** 2).mean()))


class ErrorTable:
    """Errors of a model against the labels of many structures."""

    def __init__(self) -> None:
        self.rows: dict[str, Errors] = {}

    def _add(self, row: str, unit: str, difference: np.ndarray) -> None:
        self.rows.setdefault(row, Errors(unit)).add(difference)

    def add(self, data: AtomicData, outputs: dict[str, np.ndarray], atoms: ase.Atoms) -> None:
        """Add one structure; labels with zero weight do not count.

        :param data: the structure with its labels.
        :param outputs: what the model predicts for it.
        :param atoms: the structure, for its elements.
        """
        label = {name: value.numpy() for name, value in data if isinstance(value, torch.Tensor)}
        if label["energy_weight"] > 0:
            error = (outputs[quantities.ENERGY] - label["energy"]) / len(atoms)
            self._add("energy per atom", "meV", 1e3 * error)
        if label["forces_weight"] > 0:
            error = outputs[quantities.FORCES] - label["forces"]
            self._add("forces", "meV/A", 1e3 * error)
        if label["stress_weight"] > 0 and quantities.STRESS in outputs:
            error = outputs[quantities.STRESS] - label["stress"][0]
            self._add("stress", "meV/A^3", 1e3 * error)
        axes = label["dipole_weight"][0] > 0
        if quantities.MACRO_DIPOLE in outputs and axes.any():
            difference = torch.tensor(outputs[quantities.MACRO_DIPOLE]) - data.dipole
            error = nearest_branch(difference, data[quantities.DIPOLE_QUANTUM].view(1, 3, 3))
            self._add("macro dipole", "e A", error.numpy()[0, axes])
        name = quantities.POLARIZABILITY
        if name in outputs and label[f"{name}_weight"].any():
            self._add_polarizability((outputs[name] - label[name][0]) / len(atoms))
        if quantities.CHARGES in outputs and label["charges_weight"] > 0:
            self._add("charges", "e", outputs[quantities.CHARGES] - label["charges"])
        name = quantities.BORN_EFFECTIVE_CHARGES
        if name in outputs and label[f"{name}_weight"] > 0:
            self._add_born_charges(outputs[name] - label[name], atoms)
        if quantities.ACOUSTIC_RESIDUAL in outputs:
            self._add("Born charges, acoustic sum", "e", outputs[quantities.ACOUSTIC_RESIDUAL])

    def _add_polarizability(self, error: np.ndarray) -> None:
        """Rows of the polarizability: all components, isotropic part, and the rest."""
        isotropic = np.array(np.trace(error) / 3)
        row, unit = "polarizability per atom", "me A^2/V"
        self._add(row, unit, 1e3 * error)
        self._add(f"{row}, isotropic", unit, 1e3 * isotropic)
        self._add(f"{row}, anisotropic", unit, 1e3 * (error - isotropic * np.eye(3)))

    def _add_born_charges(self, error: np.ndarray, atoms: ase.Atoms) -> None:
        """Rows of the Born effective charges: all, diagonal, off-diagonal, each element."""
        diagonal = np.eye(3, dtype=bool)
        self._add("Born charges", "e", error)
        self._add("Born charges, diagonal", "e", error[:, diagonal])
        self._add("Born charges, off-diagonal", "e", error[:, ~diagonal])
        symbols = np.array(atoms.get_chemical_symbols())
        for symbol in dict.fromkeys(symbols[np.argsort(-atoms.numbers, kind="stable")]):
            self._add(f"Born charges, {symbol}", "e", error[symbols == symbol])

    def __str__(self) -> str:
        """A table of mean absolute and root mean square errors with their units."""
        table = PrettyTable(["quantity", "unit", "frames", "MAE", "RMSE"])
        table.align = "r"
        table.align["quantity"] = "l"
        for name, errors in self.rows.items():
            table.add_row(
                [name, errors.unit, errors.n_frames, f"{errors.mae:.4f}", f"{errors.rmse:.4f}"]
            )
        return str(table)
