"""The check of an exported file on a structure of the user's: where a poor model shows as well.

Trial structures tell whether a file gives what the model gives. A structure like those of the
training tells more: whether a field does anything, and whether the Born charges add up,

.. math::

    \\Delta = \\max_{ab} | \\sum_i Z_{iab} - Q \\delta_{ab} | / N .
"""

import argparse
import math
from dataclasses import dataclass
from pathlib import Path

import ase
import ase.io
import numpy as np
import torch
from metatomic.torch import AtomisticModel, load_atomistic_model

from mace_smile.errors import UserError
from metatensor_models.evaluator import last_line
from metatensor_models.field_check import check_fields
from metatensor_models.field_settings import stored_fields
from metatensor_models.trial import BORN_CHARGES, TOLERANCES, compare, evaluate

#: Largest residual of the acoustic sum rule in e an atom: that of mace_smile_selftest.
ACOUSTIC_TOLERANCE = 0.05
#: Smallest force of a field of 1 V/A on the atom that feels most, in e, that counts as acting.
SMALLEST_CHARGE = 1e-3


def add_frame_flags(parser: argparse.ArgumentParser) -> None:
    """Add ``--frame`` and ``--acoustic_tolerance``."""
    parser.add_argument(
        "--frame",
        metavar="FRAME.xyz",
        help="structure to check the file with before it takes its name: each field acts, Born "
        "charges add up, exported = in memory; its cell tells the normal of --voltage",
    )
    parser.add_argument(
        "--acoustic_tolerance",
        type=float,
        help="largest residual of the acoustic sum rule on --frame in e an atom "
        f"({ACOUSTIC_TOLERANCE})",
    )


def frame_check_from_arguments(arguments: argparse.Namespace) -> "FrameCheck | None":
    """The check the command line asks for.

    :raises UserError: for a tolerance without a frame or one that is none, and unreadable frames.
    """
    tolerance = arguments.acoustic_tolerance
    if arguments.frame is None:
        if tolerance is not None:
            raise UserError("`--acoustic_tolerance` has no effect without --frame; add it")
        return None
    if tolerance is None:
        tolerance = ACOUSTIC_TOLERANCE
    if not (math.isfinite(tolerance) and tolerance > 0):
        raise UserError(f"`--acoustic_tolerance` is {tolerance:g} but must be positive")
    return FrameCheck(read_frame(arguments.frame), str(arguments.frame), tolerance)


def read_frame(path: str | Path) -> ase.Atoms:
    """The first structure of a file.

    :raises UserError: for a file that is missing or cannot be read.
    """
    if not Path(path).is_file():
        raise UserError(f"`--frame`: there is no file '{path}'")
    try:
        frame = ase.io.read(path, index=0)
    except Exception as error:  # ASE's readers raise anything
        raise UserError(f"`--frame`: '{path}' cannot be read as a structure: {error}") from error
    return ase.Atoms(frame.numbers, frame.positions, cell=frame.cell, pbc=frame.pbc)


@dataclass(frozen=True)
class FrameCheck:
    """A structure, and how well the model must do on it."""

    atoms: ase.Atoms
    """The structure, as an engine will hand it over."""
    name: str
    """Of its file, for messages."""
    acoustic_tolerance: float = ACOUSTIC_TOLERANCE
    """Largest residual of the acoustic sum rule in e an atom."""

    def check(self, path: str | Path, eager: AtomisticModel | None) -> list[str]:
        """Check a written file.

        :param path: the exported file.
        :param eager: the model before compilation, to compare with, if there is one.
        :return: what was found, line by line.
        :raises UserError: when the model refuses the structure, a field does not act, or the sum
            rule fails.
        :raises SelfCheckError: when the file does not give what the model gives.
        """
        written = load_atomistic_model(path)
        fields = stored_fields(written.metadata().extra)
        atoms = self.atoms.copy()
        atoms.cell[~atoms.pbc] = 0.0  # as metatomic wants it
        try:
            found = evaluate(written, atoms, fields)
            wanted = {} if eager is None else evaluate(eager, atoms)
        except (torch.jit.Error, RuntimeError, ValueError) as error:
            raise UserError(f"`--frame {self.name}`: {last_line(error)}") from error
        tolerance = TOLERANCES[written.capabilities().dtype]
        for name, values in wanted.items():
            compare(name, found[name], values, tolerance)
        lines = [f"checked on {self.name} ({len(atoms)} atoms)"]
        for name, force in check_fields(written, found, atoms, fields).items():
            strength = float(np.linalg.norm(fields[name]))
            if strength > 0 and force < SMALLEST_CHARGE * strength:
                raise UserError(
                    f"the field '{name}' of {strength:g} V/A does nothing on `--frame "
                    f"{self.name}`: its largest force is {force:.1e} eV/A; the Born charges along "
                    "it are zero, look at the labels of the training"
                )
            lines.append(f"  field {name}: largest force {force:.4g} eV/A, equal to Z^T E")
        if BORN_CHARGES in found:
            lines.append(self._check_acoustic_sum(found[BORN_CHARGES], written))
        return lines

    def _check_acoustic_sum(self, born: np.ndarray, written: AtomisticModel) -> str:
        """Refuse Born charges that do not add up; a line with the residual.

        :param born: shape ``(n_atoms, 3, 3)``, in e.
        """
        charge = float(written.module.total_charge)
        residual = float(np.abs(born.sum(axis=0) - charge * np.eye(3)).max()) / len(born)
        if not residual <= self.acoustic_tolerance:
            raise UserError(
                f"the Born charges miss the acoustic sum rule on `--frame {self.name}` by "
                f"{residual:.3g} e an atom, allowed {self.acoustic_tolerance:g} "
                "(--acoustic_tolerance), so a field would push the whole structure; train longer "
                "on Born charges, or export with --acoustic_sum_rule subtract"
            )
        return (
            f"  acoustic sum rule: residual {residual:.2g} e an atom, allowed "
            f"{self.acoustic_tolerance:g}"
        )
