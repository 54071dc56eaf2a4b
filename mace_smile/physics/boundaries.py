"""Which axes a model treats as periodic, and cells that cannot be what they claim to be.

Python and the exported models (TorchScript) share these functions. Their messages end in a
remedy; callers that know the structure put its name in front. TorchScript reads no numbers
of a module, so they are default values.
"""

import torch

from mace_smile.physics.polarization import slab_normal

#: Smallest volume of three cell vectors, or area of two, relative to the product of their lengths:
#: far below any cell in use, far above round-off in float32.
SMALLEST_VOLUME = 1e-4
#: Largest cosine between the axis across a slab and a vector in its plane; round-off of a rotated
#: cell in float32 stays below 3e-7.
LARGEST_TILT = 1e-6
#: Distance in A below which two atoms are at one place.
SMALLEST_DISTANCE = 1e-2


def model_axes(pbc: torch.Tensor, boundary: str, slab_axis: int) -> torch.Tensor:
    """Axes that a model treats as periodic.

    :param pbc: periodic axes of a structure, shape ``(3,)``, or of several, ``(n_graphs, 3)``,
        bool.
    :param boundary: ``auto`` (those of the structure), ``periodic``, ``slab`` or ``open``.
    :param slab_axis: cell axis across the slab, used with ``slab`` only.
    :return: shape of ``pbc``, bool.
    """
    if boundary == "auto":
        return pbc
    if boundary == "open":
        return torch.zeros_like(pbc)
    axes = torch.ones_like(pbc)
    if boundary == "slab":
        axes[..., slab_axis] = False
    return axes


def unit_vectors(cell: torch.Tensor) -> torch.Tensor:
    """Directions of the cell vectors, ``(3, 3)``, in double precision; zero for zero vectors."""
    vectors = cell.detach().to(torch.device("cpu"), torch.float64)
    return torch.nn.functional.normalize(vectors, dim=1)


def check_volume(
    cell: torch.Tensor, periodic: torch.Tensor, smallest: float = SMALLEST_VOLUME
) -> None:
    """Refuse cells without a volume, and slabs without an area.

    :param cell: lattice vectors in rows, shape ``(3, 3)``, in A; either handedness.
    :param periodic: axes that are periodic, shape ``(3,)``, bool.
    :param smallest: volume or area, relative to the lengths, that counts as one.
    :raises ValueError: naming the vectors that are parallel or in one plane, and the remedy.
    """
    n_periodic = int(periodic.sum())
    if n_periodic < 2:
        return
    units = unit_vectors(cell)
    has_volume = bool(torch.abs(torch.linalg.det(units)) > smallest)
    if n_periodic == 3:
        if not has_volume:
            raise ValueError(
                "the three periodic cell vectors lie in one plane, so the cell has no volume; give "
                "three independent vectors, or set pbc to False along an axis that is not periodic"
            )
        return
    axis = int(torch.argmin(periodic.to(torch.int64)))
    first, second = units[(axis + 1) % 3], units[(axis + 2) % 3]
    if not bool(torch.linalg.norm(torch.linalg.cross(first, second)) > smallest):
        raise ValueError(
            "the two periodic cell vectors are parallel, so the slab has no area; give two "
            "independent vectors"
        )
    if bool(units[axis].any()) and not has_volume:
        raise ValueError(
            f"cell vector {axis}, which is not periodic, lies in the plane of the other two; leave "
            f"it out, in ASE by `atoms.cell[{axis}] = 0`: nothing else changes"
        )


def length_text(length: float) -> str:
    """A length in A with up to six decimals; TorchScript has no shorter way, and no ``%g``."""
    return ("%f" % (length)).rstrip("0").rstrip(".")  # noqa: UP031


def check_slab_axis(cell: torch.Tensor, axes: torch.Tensor, largest: float = LARGEST_TILT) -> None:
    """Refuse slabs whose third cell vector, if they have one, is not along the normal.

    Atoms stored across the cell boundary are moved by this vector, and a slab repeats along
    two vectors only: a part of the third along the plane would shear the slab.

    :param cell: lattice vectors in rows, shape ``(3, 3)``, in A, with an area.
    :param axes: axes the model treats as periodic, shape ``(3,)``, bool.
    :param largest: cosine that counts as perpendicular.
    :raises ValueError: with the vector that is perpendicular and as high.
    """
    if int(axes.sum()) != 2:
        return
    axis = int(torch.argmin(axes.to(torch.int64)))
    units = unit_vectors(cell)
    cosines = torch.abs(units @ units[axis])
    cosines[axis] = 0.0
    if bool((cosines > largest).any()):
        vectors = cell.detach().to(torch.device("cpu"), torch.float64)
        normal = slab_normal(vectors, axis)
        wanted = torch.round((vectors[axis] @ normal) * normal * 1e6) / 1e6 + 0.0
        x, y, z = [length_text(float(wanted[i])) for i in range(3)]
        raise ValueError(
            f"cell vector {axis}, across the slab, is not perpendicular to the other two; first "
            "make the slab whole: bring atoms that are stored across this boundary together by the "
            "old vector; then make the vector perpendicular, in ASE by "
            f"`atoms.cell[{axis}] = [{x}, {y}, {z}]`, as the slab does not repeat along it"
        )
