"""Slabs seen along their normal: heights of the atoms, area and height of the cell."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import ase
import numpy as np
import torch
from ase.data import covalent_radii
from mace.data import KeySpecification, config_from_atoms

from mace_smile.errors import UserError
from mace_smile.physics.polarization import slab_normal, wrap_at_vacuum_gap
from mace_smile.structures import MINIMUM_VACUUM_GAP, StructureSettings, prepare_configuration

#: Largest relative difference of the areas, and of the heights, of cells that are averaged.
SAME_CELL = 0.01
#: Net charge in e an atom that rounding of the charges explains.
ROUNDED_CHARGE = 1e-3


@dataclass(frozen=True)
class Slab:
    """One slab along its normal; ``n_atoms`` numbers an array."""

    name: str
    """For messages."""
    numbers: np.ndarray
    """Atomic numbers."""
    heights: np.ndarray
    """Along the unit normal in A; the slab is whole."""
    normal: np.ndarray
    """Unit normal ``(3,)``, to the side of the cell vector across the slab."""
    area: float
    """Of the cell in the plane in A^2."""
    cell_height: float | None
    """Of the cell along the normal in A; None where no cell vector is across the slab."""

    @property
    def middle(self) -> float:
        """Half way between the lowest and the highest atom in A."""
        return float(0.5 * (self.heights.min() + self.heights.max()))


@dataclass(frozen=True)
class ChargedSlab(Slab):
    """A slab with its charges; they add up to zero."""

    charges: np.ndarray
    """Response charges, given ones included, in e."""
    dipoles: np.ndarray
    """Atomic dipoles along the normal, from - to +, in e A."""
    is_given: np.ndarray
    """True for atoms whose charge is given, bool."""


def slab_axis_of(atoms: ase.Atoms, slab_axis: int | None, name: str) -> int:
    """The cell axis across a slab.

    :param atoms: the structure.
    :param slab_axis: the axis of structures that are periodic along all three, if it is known.
    :param name: of the structure, for messages.
    :raises UserError: for a structure that is no slab.
    """
    periodic = int(np.sum(atoms.pbc))
    if periodic == 2:
        axis = list(atoms.pbc).index(False)
        if slab_axis is not None and axis != slab_axis:
            raise UserError(
                f"{name} is periodic along all cell axes but {axis}, while the slab axis is "
                f"{slab_axis}; give --slab_axis {axis}, or leave it out"
            )
        return axis
    if periodic == 3 and slab_axis is not None:
        return slab_axis
    if periodic == 3:
        raise UserError(
            f"{name} is periodic along all three axes, and a potential profile needs a slab; set "
            "pbc to False across the slab, or give --slab_axis"
        )
    raise UserError(
        f"{name} has pbc {tuple(bool(flag) for flag in atoms.pbc)}, and a potential profile needs "
        "a slab; set pbc along the two axes in its plane"
    )


def read_slab(atoms: ase.Atoms, slab_axis: int | None, name: str) -> Slab:
    """A structure along the normal of its slab, made whole at the widest gap.

    :param atoms: the structure.
    :param slab_axis: the axis across structures that are periodic along all three.
    :param name: of the structure, for messages.
    :raises UserError: for a structure that is no slab, has no vacuum, or whose cell cannot be
        used.
    """
    axis = slab_axis_of(atoms, slab_axis, name)
    if len(atoms) == 0:
        raise UserError(f"{name} has no atoms; leave it out")
    settings = StructureSettings(boundary="slab", slab_axis=axis)
    try:
        config = prepare_configuration(config_from_atoms(atoms, KeySpecification()), settings)
    except UserError as error:
        raise UserError(f"{name}: {error}") from error
    cell = torch.from_numpy(np.array(config.cell, dtype=float))
    positions = torch.from_numpy(np.array(config.positions, dtype=float))
    normal = slab_normal(cell, axis)
    height = float(cell[axis] @ normal)
    if height != 0.0:
        positions = wrap_at_vacuum_gap(positions, cell, axis, MINIMUM_VACUUM_GAP)
    if height < 0.0:
        normal = -normal
    cross = torch.linalg.cross(cell[(axis + 1) % 3], cell[(axis + 2) % 3])
    return Slab(
        name=name,
        numbers=np.array(atoms.numbers),
        heights=(positions @ normal).numpy(),
        normal=normal.numpy(),
        area=float(torch.linalg.norm(cross)),
        cell_height=abs(height) or None,
    )


def charge_slab(
    slab: Slab, charges: np.ndarray, dipoles: np.ndarray, is_given: np.ndarray
) -> ChargedSlab:
    """A slab with charges; what rounding leaves of a net charge is taken from the film.

    :param slab: from :func:`read_slab`.
    :param charges: shape ``(n_atoms,)``, in e, given ones included.
    :param dipoles: atomic dipoles, shape ``(n_atoms, 3)``, in e A.
    :param is_given: shape ``(n_atoms,)``, bool.
    :raises UserError: for charges that are not finite, or with a net charge.
    """
    if not (np.isfinite(charges).all() and np.isfinite(dipoles).all()):
        raise UserError(f"{slab.name} has charges or dipoles that are not finite numbers")
    net = float(charges.sum())
    if abs(net) > ROUNDED_CHARGE * len(charges):
        raise UserError(
            f"the charges of {slab.name} add up to {net:.4f} e but must add up to 0, as the field "
            "outside a dipole-corrected slab is zero; give charges that are neutral (models: train "
            "with --total_charge_constraint exact)"
        )
    corrected = np.array(charges, dtype=float)
    changed = ~is_given if (~is_given).any() else np.ones_like(is_given)
    corrected[changed] -= net / changed.sum()
    fields = {field.name: getattr(slab, field.name) for field in dataclasses.fields(Slab)}
    return ChargedSlab(
        **fields, charges=corrected, dipoles=dipoles @ slab.normal, is_given=is_given
    )


def align_slabs(slabs: Sequence[Slab]) -> list[Slab]:
    """Slabs in one image of the cell, so that they can be averaged.

    A slab that drifts across the boundary of the cell would jump by its height.

    :param slabs: from :func:`read_slab`.
    :return: the same, moved by whole cell heights to where the first is.
    :raises UserError: for cells with different areas or heights.
    """
    first = slabs[0]
    aligned: list[Slab] = []
    for slab in slabs:
        for word, one, other, unit in (
            ("area", first.area, slab.area, "A^2"),
            ("height", first.cell_height, slab.cell_height, "A"),
        ):
            if one is None and other is None:
                continue
            if one is None or other is None or abs(one - other) > SAME_CELL * one:
                values = [f"{v:.3f} {unit}" if v is not None else "none" for v in (one, other)]
                raise UserError(
                    f"the {word} of the cells of {first.name} and {slab.name} are {values[0]} and "
                    f"{values[1]}, so their profiles cannot be averaged; give structures of one "
                    "cell, or one file a cell"
                )
        shift = 0.0
        if slab.cell_height is not None:
            images = np.round((first.middle - slab.middle) / slab.cell_height)
            shift = float(images) * slab.cell_height
        aligned.append(dataclasses.replace(slab, heights=slab.heights + shift))
    return aligned


def film_edges(slab: ChargedSlab) -> tuple[float, float]:
    """Edges of the film: its outermost atoms, and a covalent radius.

    The electrons of an atom reach about that far beyond its nucleus.

    :param slab: the atoms whose charges are not given are the film; all, if all are given.
    :return: lower and upper edge in A.
    """
    film = ~slab.is_given if not slab.is_given.all() else slab.is_given
    radii = covalent_radii[slab.numbers[film]]
    heights = slab.heights[film]
    return float((heights - radii).min()), float((heights + radii).max())


def walls(slab: ChargedSlab, centre: float) -> tuple[float, float]:
    """Heights of the given charges below and above the film.

    :param slab: with given atoms.
    :param centre: of the film in A.
    :return: mean heights in A, weighted by the size of the charges where there are any.
    :raises UserError: without given atoms on both sides.
    """
    heights, charges = slab.heights[slab.is_given], np.abs(slab.charges[slab.is_given])
    sides = []
    for side in (heights < centre, heights > centre):
        if not side.any():
            raise UserError(
                f"{slab.name} has no atoms with given charges on both sides of the film, which "
                "--screening profile needs; use --screening uniform, or name the walls "
                "(--given_mask_key)"
            )
        weights = charges[side] if charges[side].sum() > 1e-9 else np.ones(side.sum())
        sides.append(float(np.average(heights[side], weights=weights)))
    return sides[0], sides[1]
