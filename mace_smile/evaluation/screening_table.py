"""Screening factors of atoms, element by element."""

import ase
import numpy as np
from prettytable import PrettyTable

from mace_smile import quantities


class ScreeningTable:
    """Distribution of the factors from charges to response charges over many structures."""

    def __init__(self) -> None:
        self.factors: dict[str, list[np.ndarray]] = {}

    def add(self, outputs: dict[str, np.ndarray], atoms: ase.Atoms) -> None:
        """Add one structure; one without factors adds nothing.

        :param outputs: what the model predicts for it.
        :param atoms: the structure, for its elements.
        """
        if quantities.SCREENING not in outputs:
            return
        symbols = np.array(atoms.get_chemical_symbols())
        for symbol in dict.fromkeys(symbols[np.argsort(-atoms.numbers, kind="stable")]):
            factors = outputs[quantities.SCREENING][symbols == symbol]
            self.factors.setdefault(str(symbol), []).append(factors)

    def __str__(self) -> str:
        """A table of mean, standard deviation and extremes of each element."""
        table = PrettyTable(["screening of", "atoms", "mean", "std", "min", "max"])
        table.align = "r"
        table.align["screening of"] = "l"
        for symbol, parts in self.factors.items():
            factors = np.concatenate(parts).astype(float)
            numbers = (factors.mean(), factors.std(), factors.min(), factors.max())
            table.add_row([symbol, len(factors), *(f"{number:.4f}" for number in numbers)])
        return str(table)
