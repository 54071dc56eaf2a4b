"""Fixed Born effective charges for i-PI's driven dynamics, ``<bec mode="file">``.

A table of ``3 n_atoms`` rows and three columns. Row ``3 i + b`` is the displacement of atom i along
b, the column the direction of the field: **displacement first**, since i-PI multiplies the table by
the field to get forces.
"""

from pathlib import Path

import numpy as np

from mace_smile.io.born_order import displacement_first
from mace_smile.io.text_files import write_text


def write_ipi_born_charges(path: str | Path, tensors: np.ndarray, overwrite: bool = False) -> None:
    """Write Born effective charges as i-PI reads them.

    In the input of i-PI: ``<bec mode="file" shape="(3 n_atoms, 3)"> path </bec>``, one bead.

    :param path: to write.
    :param tensors: ``Z[i, a, b]``, shape ``(n_atoms, 3, 3)``, in e, field index first.
    :param overwrite: whether an existing file may be replaced.
    :raises UserError: for another shape, and for a file that exists.
    """
    table = displacement_first(tensors).reshape(-1, 3)  # [3 i + b, a]
    lines = [
        f'# Born effective charges in e; <bec mode="file" shape="({len(table)}, 3)">',
        "# row 3 i + b: displacement of atom i along b; column: direction of the field",
        *("".join(f" {value:18.10e}" for value in row) for row in table),
    ]
    write_text(path, "\n".join(lines) + "\n", overwrite)
