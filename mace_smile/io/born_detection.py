"""Which index of Born effective charges comes first, asked of the data themselves.

The acoustic sum rule does not tell, since it holds for the transpose too. Three tests do:

- Turning an open structure turns its dipole, ``sum_ib Z_iab (w x r_i)_b = (w x mu)_a`` for each
  axis w. Whatever mu is, the right side changes its sign when w and a are exchanged, so the
  symmetric part of the left side must vanish. No dipole is needed, and ions tell too.
- The rest of it is compared with mu, where an open, neutral structure has a dipole.
- Between two frames of the same atoms a little apart, ``mu' - mu = sum_ib Z_iab (r'_i - r_i)_b``
  with the mean of the tensors of the two; in periodic cells modulo e times the cell vectors.

Residuals are in e A, for turns by one radian. Symmetric tensors, and periodic frames that are far
apart or without dipoles, do not tell.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import ase
import numpy as np

from mace_smile import quantities
from mace_smile.errors import UserError
from mace_smile.io.born_order import (
    DISPLACEMENT_FIRST,
    FIELD_FIRST,
    KEY,
    ORDER_KEY,
    ORDERS,
    born_charges_of,
    field_first,
    has_born_charges,
)

DIPOLE_KEY = quantities.BY_NAME[quantities.MACRO_DIPOLE].key
#: The residual of the wrong order must exceed that of the right one by this factor if there are
#: many frames, and by more if there are few: ``CLEAR_RATIO + FEW_FRAMES / n_frames``. The noise of
#: one frame may favour either order.
CLEAR_RATIO = 1.5
FEW_FRAMES = 3.0
#: Root mean square of ``Z - Z^T`` in e below which the order makes no difference.
SMALLEST_ASYMMETRY = 1e-3
#: Displacements in A between which two frames are compared: below it is noise, above not linear.
DISPLACEMENTS = (1e-3, 0.3)
#: Net charge in e from which on the dipole depends on its origin too much to be compared.
NET_CHARGE = 0.5


@dataclass(frozen=True)
class OrderTest:
    """One test of both orders."""

    name: str
    """What was compared."""
    n_frames: int
    """Number of frames, or of pairs of frames, that could be used."""
    residuals: dict[str, float]
    """Root mean square residual in e A, by order; empty without frames."""

    @property
    def verdict(self) -> str | None:
        """The order that fits clearly better, or None."""
        if not self.n_frames:
            return None
        better, worse = sorted(ORDERS, key=lambda order: self.residuals[order])
        ratio = CLEAR_RATIO + FEW_FRAMES / self.n_frames
        return better if self.residuals[worse] > ratio * self.residuals[better] else None

    def __str__(self) -> str:
        """The two residuals in words."""
        if not self.n_frames:
            return f"{self.name}: no frame to test it on"
        field, displacement = (self.residuals[order] for order in ORDERS)
        return (
            f"{self.name}: residual {field:.4f} e A if {FIELD_FIRST}, {displacement:.4f} e A if "
            f"{DISPLACEMENT_FIRST} ({self.n_frames} used)"
        )


@dataclass(frozen=True)
class DetectedOrder:
    """What the data say about the order of their indices."""

    order: str | None
    """One of the two orders; None where the data do not tell."""
    tests: tuple[OrderTest, ...]
    """All tests, with the residuals of both orders."""
    asymmetry: float
    """Root mean square of ``Z - Z^T``, in e."""
    reason: str
    """Why this order, or why none, in a few words."""


def detect_order(
    frames: Sequence[ase.Atoms], key: str = KEY, dipole_key: str = DIPOLE_KEY
) -> DetectedOrder:
    """Compare both orders with sum rules, and with the dipoles of the frames.

    :param frames: open ones with tensors, and those with a dipole (in e A, from - to +) too.
    :param key: of the nine columns of the tensors.
    :param dipole_key: of the dipoles.
    :return: the order that fits clearly better, with the residuals of both.
    """
    labelled = [atoms for atoms in frames if has_born_charges(atoms, key)]
    tensors = [born_charges_of(atoms, key) for atoms in labelled]
    dipoles = [_dipole_of(atoms, dipole_key) for atoms in labelled]
    turns, rotations, differences = [], [], []
    for index, (atoms, tensor, dipole) in enumerate(zip(labelled, tensors, dipoles, strict=True)):
        if not any(atoms.pbc):
            sums = [rotational_residual(atoms, z, np.zeros(3)) for z in _both(tensor)]
            turns.append([(total + total.T) / 2 for total in sums])
        if dipole is None or abs(np.trace(tensor.sum(axis=0)) / 3) > NET_CHARGE:
            continue
        if not any(atoms.pbc):
            rotations.append([rotational_residual(atoms, z, dipole) for z in _both(tensor)])
        before = dipoles[index - 1] if index else None
        if before is None or not _is_near(labelled[index - 1], atoms):
            continue
        middle = (tensors[index - 1] + tensor) / 2
        pair = (labelled[index - 1], atoms)
        differences.append([_difference(pair, z, dipole - before) for z in _both(middle)])
    tests = (
        _order_test("rotational sum rule, any dipole", turns),
        _order_test("rotational sum rule, labelled dipole", rotations),
        _order_test("differences of dipoles", differences),
    )
    antisymmetric = [tensor - tensor.transpose(0, 2, 1) for tensor in tensors]
    asymmetry = _root_mean_square(np.concatenate(antisymmetric)) if tensors else 0.0
    order, reason = _decide(tests, asymmetry)
    return DetectedOrder(order, tests, asymmetry, reason)


def known_orders(
    frames: Sequence[ase.Atoms], key: str = KEY, dipole_key: str = DIPOLE_KEY
) -> tuple[set[str], DetectedOrder]:
    """Orders that the data or the headers of frames tell: none, one, or two that contradict.

    :param frames: of one file.
    :param key: of the nine columns of the tensors.
    :param dipole_key: of the dipoles.
    """
    detected = detect_order(frames, key, dipole_key)
    return _told(frames, key) | ({detected.order} if detected.order else set()), detected


def resolve_order(
    frames: Sequence[ase.Atoms], order: str, key: str = KEY, dipole_key: str = DIPOLE_KEY
) -> tuple[str, DetectedOrder]:
    """The order of the tensors in frames, for the flag ``--becs_order``.

    :param frames: of one file; frames without tensors are allowed.
    :param order: ``auto``, or the order the user gives, which is then checked.
    :param key: of the nine columns of the tensors.
    :param dipole_key: of the dipoles.
    :return: the order, and what the data say; symmetric tensors are field first, since both
        are right.
    :raises UserError: where ``auto`` cannot tell, and where the given order contradicts the
        data or what the frames say of themselves.
    """
    known, detected = known_orders(frames, key, dipole_key)
    used = [str(test) for test in detected.tests if test.n_frames]
    evidence = "; ".join(used) or "no test could be made"
    if order != "auto":
        field_first(np.zeros((0, 9)), order)  # refuses another name
    if len(known | {order} - {"auto"}) > 1:
        said = [f"`--becs_order` is {order}"]
        said += [f"the data say {detected.order}"] if detected.order else []
        told = sorted(_told(frames, key))
        said += [f"the header of a frame says {name}" for name in told]
        remedy = "put all frames into one order"
        if len(known) == 1:
            remedy = f"give `--becs_order {next(iter(known))}`"
        if told:
            remedy += f", or take a wrong '{ORDER_KEY}' out of the headers"
        raise UserError(
            f"the order of the indices of '{key}' is contradictory: {', '.join(said)} "
            f"({evidence}); {remedy}"
        )
    if known or order != "auto":
        return str(known.pop() if known else order), detected
    if detected.asymmetry < SMALLEST_ASYMMETRY:
        return FIELD_FIRST, detected
    raise UserError(
        f"the order of the indices of '{key}' cannot be told: {detected.reason} ({evidence}); "
        f"look it up for the code that wrote them and give `--becs_order {FIELD_FIRST}` "
        f"(Z_ab = d mu_a / d r_b) or `--becs_order {DISPLACEMENT_FIRST}`"
    )


def _told(frames: Sequence[ase.Atoms], key: str) -> set[str]:
    """Orders that headers tell, which a command of this package has written.

    :raises UserError: for a name that is none.
    """
    labelled = [atoms for atoms in frames if has_born_charges(atoms, key)]
    told = {str(atoms.info[ORDER_KEY]) for atoms in labelled if ORDER_KEY in atoms.info}
    if told - set(ORDERS):
        raise UserError(
            f"'{ORDER_KEY}' in the header of a frame is '{min(told - set(ORDERS))}' but must be "
            f"one of {', '.join(ORDERS)}"
        )
    return told


def rotational_residual(atoms: ase.Atoms, tensors: np.ndarray, dipole: np.ndarray) -> np.ndarray:
    """What is left of the rotational sum rule of an open, neutral structure.

    :param atoms: the structure; turned about its centre, so that a small net sum does no harm.
    :param tensors: shape ``(n_atoms, 3, 3)``, in e, taken as field first.
    :param dipole: shape ``(3,)``, in e A.
    :return: ``[w, a]``, shape ``(3, 3)``, in e A, for turns about x, y and z.
    """
    positions = atoms.positions - atoms.positions.mean(axis=0)
    turned = np.cross(np.eye(3)[:, None], positions)  # [w, i, b]
    return np.einsum("iab,wib->wa", tensors, turned) - np.cross(np.eye(3), dipole)


def _decide(tests: tuple[OrderTest, ...], asymmetry: float) -> tuple[str | None, str]:
    """The order all tests that tell agree on, and why."""
    verdicts = {test.verdict for test in tests} - {None}
    if asymmetry < SMALLEST_ASYMMETRY:
        return None, f"the tensors are symmetric to {asymmetry:.1e} e, so both orders are right"
    if len(verdicts) == 1:
        return verdicts.pop(), "it fits the sum rules"
    if verdicts:
        return None, "the tests contradict each other"
    if not any(test.n_frames for test in tests):
        return None, "there is no open frame, and no pair of near frames with dipoles"
    return None, "neither order fits clearly better"


def _order_test(name: str, residuals: list[list[np.ndarray]]) -> OrderTest:
    """A test from its residuals, one pair of arrays a frame."""
    if not residuals:
        return OrderTest(name, 0, {})
    by_order = zip(ORDERS, zip(*residuals, strict=True), strict=True)
    return OrderTest(
        name,
        len(residuals),
        {order: _root_mean_square(np.concatenate(np.atleast_2d(v))) for order, v in by_order},
    )


def _both(tensors: np.ndarray) -> list[np.ndarray]:
    """The tensors as they are meant if a file is in the one order, and in the other."""
    return [field_first(tensors, order) for order in ORDERS]


def _difference(
    pair: tuple[ase.Atoms, ase.Atoms], tensors: np.ndarray, difference: np.ndarray
) -> np.ndarray:
    """Dipole difference of two frames less that of the tensors, shape ``(3,)``, in e A."""
    rest = difference - np.einsum("iab,ib->a", tensors, _displacements(*pair))
    if all(pair[1].pbc):
        cell = np.asarray(pair[1].cell)
        rest = rest - np.round(rest @ np.linalg.inv(cell)) @ cell
    return rest


def _displacements(before: ase.Atoms, after: ase.Atoms) -> np.ndarray:
    """Displacements of the atoms, shape ``(n_atoms, 3)``, in A; nearest images if periodic."""
    moved = after.positions - before.positions
    if all(after.pbc):
        cell = np.asarray(after.cell)
        moved = moved - np.round(moved @ np.linalg.inv(cell)) @ cell
    return moved


def _is_near(before: ase.Atoms, after: ase.Atoms) -> bool:
    """Whether two frames are the same atoms in one cell, a little apart; not slabs."""
    same = (
        len(before) == len(after)
        and np.array_equal(before.numbers, after.numbers)
        and np.array_equal(before.pbc, after.pbc)
        and (not any(after.pbc) or np.allclose(before.cell, after.cell))
        and any(after.pbc) == all(after.pbc)
    )
    if not same:
        return False
    largest = np.abs(_displacements(before, after)).max()
    return bool(DISPLACEMENTS[0] < largest < DISPLACEMENTS[1])


def _dipole_of(atoms: ase.Atoms, key: str) -> np.ndarray | None:
    """The dipole of a frame, shape ``(3,)``, in e A, or None."""
    results = {} if atoms.calc is None else atoms.calc.results
    value = atoms.info.get(key, results.get(key))
    if value is None:
        return None
    dipole = np.asarray(value, dtype=float)
    if dipole.shape != (3,):
        raise UserError(f"'{key}' has shape {dipole.shape} but must have (3,), in e A")
    return dipole


def _root_mean_square(values: np.ndarray) -> float:
    """Root mean square of all values."""
    return float(np.sqrt(np.mean(np.square(values))))
