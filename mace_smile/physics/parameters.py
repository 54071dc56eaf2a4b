"""How a Coulomb sum is done: method, splitting width, resolution and cutoff.

With ``long_range`` terms the smearing sigma is physics: the interaction is that of Gaussian
charges, smooth everywhere, and the sum has no real-space part. With ``full`` terms sigma only
splits 1 / r between a real-space and a reciprocal part. What is left out, relative to all, is

- of the Ewald sum at most exp(-sigma^2 k^2 / 2) with k = 2 pi / lr_wavelength;
- of the meshes, of spacing h, a power of h / sigma (``MESH_ERRORS``);
- of the real-space part, which fades over the last tenth of the cutoff r_c, a multiple of
  erfc(0.9 r_c / sqrt(2) sigma) (``REAL_SPACE_ERROR``).
"""

import math
from dataclasses import dataclass

from scipy.special import erfc, erfcinv

METHODS = ("auto", "ewald", "pme", "p3m")
TERMS = ("long_range", "full")

#: Largest structure, in atoms, for which ``auto`` takes the Ewald sum; P3M is faster above.
EWALD_ATOMS = 400
#: Points of the mesh interpolation along each axis: the most torch-pme has.
INTERPOLATION_NODES = {"pme": 7, "p3m": 5}
#: Largest relative RMS error of the forces, factor * (h / sigma) ** power, found with random
#: charges in triclinic cells; at most 3 times the error for h / sigma from 0.2 to 0.8.
MESH_ERRORS = {"pme": (0.08, 6.0), "p3m": (0.02, 5.0)}
#: Largest relative RMS error of the forces, factor * erfc(share * r_c / sqrt(2) sigma), found
#: in the same cells: pairs beyond that share of the cutoff are not counted in full.
REAL_SPACE_ERROR = (3.0, 0.9)
#: Cutoff in units of the smearing when nothing is asked for.
DEFAULT_CUTOFF = 5.5
#: Mesh spacings in units of the smearing when nothing is asked for. ``auto`` has meshes for large
#: structures alone; the others keep the jumps of a small cell that changes below 1e-5 eV.
DEFAULT_MESH_SPACINGS = {"auto": 1.0 / 3.0, "p3m": 1.0 / 4.0, "pme": 1.0 / 6.0}
#: Finest mesh, in units of the smearing, that ``accuracy`` may ask for.
FINEST_MESH = 1.0 / 8.0


def mesh_of(method: str) -> str:
    """The mesh that a method takes for what it does not sum by Ewald: ``pme`` or ``p3m``."""
    return "pme" if method == "pme" else "p3m"


@dataclass(frozen=True)
class CoulombParameters:
    """Everything a Coulomb sum needs beside the structure; made by :func:`choose_parameters`."""

    method: str
    """``ewald``, ``pme``, ``p3m``, or ``auto``: Ewald up to ``ewald_atoms`` atoms, P3M above."""
    terms: str
    """``long_range``: erf(r / sqrt(2) sigma) / r; ``full``: 1 / r."""
    smearing: float
    """Width sigma of the Gaussian charges in A."""
    lr_wavelength: float
    """Shortest wavelength of the Ewald sum in A: it holds all \\|k\\| <= 2 pi / lr_wavelength."""
    mesh_spacing: float
    """Largest distance of neighbouring mesh points along a cell vector in A."""
    cutoff: float
    """Range of the real-space part in A; ``long_range`` has none."""
    slab_vacuum: float
    """Vacuum of the model's own slab cell in units of the larger in-plane length a: the
    interaction of the images falls as exp(-2 pi gap / a)."""
    ewald_atoms: int = EWALD_ATOMS
    """Largest structure for which ``auto`` takes the Ewald sum. The method depends on nothing
    but the number of atoms, so it never changes in a simulation."""

    @property
    def mesh_method(self) -> str:
        """The mesh of this method: ``pme`` or ``p3m``."""
        return mesh_of(self.method)

    @property
    def uses_mesh(self) -> bool:
        """Whether some structures are done on a mesh."""
        return self.method != "ewald"

    @property
    def uses_ewald(self) -> bool:
        """Whether some structures are done by the Ewald sum."""
        return self.method in ("ewald", "auto")


def choose_parameters(
    method: str = "auto",
    terms: str = "long_range",
    cutoff: float = 5.0,
    smearing: float | None = None,
    lr_wavelength: float | None = None,
    mesh_spacing: float | None = None,
    accuracy: float | None = None,
    slab_vacuum: float = 3.0,
) -> CoulombParameters:
    """Parameters of a Coulomb sum: given by hand, by an accuracy, or by default.

    :param method: one of ``METHODS``.
    :param terms: one of ``TERMS``.
    :param cutoff: range of the real-space part in A, used with ``full``.
    :param smearing: sigma in A; None is 1 with ``long_range``, and with ``full`` the cutoff
        over 5.5 (accurate to 2e-6), or what ``accuracy`` asks for.
    :param lr_wavelength: in A; None is the smearing (converged to 3e-9), or what ``accuracy``
        asks for.
    :param mesh_spacing: in A; None is a third (``auto``), a quarter (``p3m``) or a sixth
        (``pme``) of the smearing, accurate to 8e-5, 2e-5 and 2e-6, or what ``accuracy`` asks
        for.
    :param accuracy: wanted relative error of the forces, between 0 and 1.
    :param slab_vacuum: as in :class:`CoulombParameters`; ``accuracy`` may ask for more.
    :raises ValueError: when the accuracy cannot be reached with what is given by hand; the
        message says what would reach it.
    """
    for name, value, allowed in (("method", method, METHODS), ("terms", terms, TERMS)):
        if value not in allowed:
            raise ValueError(f"`{name}` is '{value}' but must be one of {', '.join(allowed)}")
    if accuracy is not None and not 0.0 < accuracy < 0.1:
        raise ValueError(
            f"`electrostatics_accuracy` is {accuracy} but must be positive and below 0.1, the "
            "relative error of the forces; 1e-6 is common"
        )
    if accuracy is not None:
        slab_vacuum = max(slab_vacuum, -math.log(accuracy) / (2.0 * math.pi))
    if smearing is None:
        smearing = 1.0 if terms == "long_range" else _splitting_width(cutoff, accuracy)
    elif terms == "full" and accuracy is not None:
        _check_real_space(smearing, cutoff, accuracy)
    if lr_wavelength is None:
        lr_wavelength = _wavelength(smearing, accuracy)
    elif accuracy is not None and method in ("ewald", "auto"):
        _check_wavelength(smearing, lr_wavelength, accuracy)
    if mesh_spacing is None:
        mesh_spacing = DEFAULT_MESH_SPACINGS.get(method, 1.0) * smearing
        if accuracy is not None and method != "ewald":
            mesh_spacing = _mesh_spacing(method, smearing, accuracy)
    elif accuracy is not None and method != "ewald":
        _check_mesh_spacing(method, smearing, mesh_spacing, accuracy)
    return CoulombParameters(
        method, terms, smearing, lr_wavelength, mesh_spacing, cutoff, slab_vacuum
    )


def real_space_error(smearing: float, cutoff: float) -> float:
    """Relative error of the real-space part that ends at a cutoff; both in A."""
    factor, share = REAL_SPACE_ERROR
    return factor * float(erfc(share * cutoff / (math.sqrt(2.0) * smearing)))


def ewald_error(smearing: float, lr_wavelength: float) -> float:
    """Bound on what the Ewald sum leaves out, relative to all; both in A."""
    return math.exp(-0.5 * (2.0 * math.pi * smearing / lr_wavelength) ** 2)


def mesh_error(mesh: str, smearing: float, mesh_spacing: float) -> float:
    """Relative error of the forces on a mesh (``pme`` or ``p3m``); both lengths in A."""
    factor, power = MESH_ERRORS[mesh]
    return factor * (mesh_spacing / smearing) ** power


def missing_beyond(smearing: float, cutoff: float) -> float:
    """What smearing takes from the Coulomb interaction at a distance; both in A."""
    return float(erfc(cutoff / (math.sqrt(2.0) * smearing)))


def _splitting_width(cutoff: float, accuracy: float | None) -> float:
    """Smearing in A that makes the real-space part vanish at the cutoff."""
    if accuracy is None:
        return cutoff / DEFAULT_CUTOFF
    factor, share = REAL_SPACE_ERROR
    return share * cutoff / (math.sqrt(2.0) * float(erfcinv(accuracy / factor)))


def _check_real_space(smearing: float, cutoff: float, accuracy: float) -> None:
    """Refuse a smearing too wide for the cutoff."""
    left_out = real_space_error(smearing, cutoff)
    if left_out > accuracy:
        width = _splitting_width(cutoff, accuracy)
        needed = cutoff * smearing / width
        raise ValueError(
            f"`electrostatics_accuracy` {accuracy:g} cannot be reached with `smearing` "
            f"{smearing:g} A and a cutoff of {cutoff:g} A: the real-space part is still "
            f"{left_out:.1e} there; use a smearing of at most {width:.3g} A, or a "
            f"`coulomb_cutoff` of at least {needed:.3g} A"
        )


def _wavelength(smearing: float, accuracy: float | None) -> float:
    """Shortest wavelength in A of an Ewald sum."""
    if accuracy is None:
        return smearing
    return 2.0 * math.pi * smearing / math.sqrt(-2.0 * math.log(accuracy))


def _check_wavelength(smearing: float, lr_wavelength: float, accuracy: float) -> None:
    """Refuse a wavelength too long for the smearing."""
    left_out = ewald_error(smearing, lr_wavelength)
    if left_out > accuracy:
        raise ValueError(
            f"`electrostatics_accuracy` {accuracy:g} cannot be reached with `lr_wavelength` "
            f"{lr_wavelength:g} A and `smearing` {smearing:g} A, which leave out {left_out:.1e}; "
            f"use a wavelength of at most {_wavelength(smearing, accuracy):.3g} A, or leave "
            "it out"
        )


def _mesh_spacing(method: str, smearing: float, accuracy: float) -> float:
    """Mesh spacing in A for an accuracy."""
    factor, power = MESH_ERRORS[mesh_of(method)]
    ratio = min((accuracy / factor) ** (1.0 / power), 1.0)
    if ratio < FINEST_MESH:
        reached = factor * FINEST_MESH**power
        digit = 10.0 ** (math.floor(math.log10(reached)) - 1)
        name = "auto (P3M for large structures)" if method == "auto" else method
        raise ValueError(
            f"`electrostatics_accuracy` {accuracy:g} cannot be reached with `electrostatics` "
            f"{name}, whose finest mesh here reaches {reached:.2e}; use `electrostatics` ewald, "
            f"or an accuracy of at least {math.ceil(reached / digit) * digit:.1e}"
        )
    return ratio * smearing


def _check_mesh_spacing(method: str, smearing: float, mesh_spacing: float, accuracy: float) -> None:
    """Refuse a mesh too coarse for the smearing."""
    error = mesh_error(mesh_of(method), smearing, mesh_spacing)
    if error > accuracy:
        raise ValueError(
            f"`electrostatics_accuracy` {accuracy:g} cannot be reached with `mesh_spacing` "
            f"{mesh_spacing:g} A and `smearing` {smearing:g} A, which reach {error:.1e}; use a "
            f"spacing of at most {_mesh_spacing(method, smearing, accuracy):.3g} A, or leave it out"
        )
