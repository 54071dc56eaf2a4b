"""Hyperparameters of :class:`~mace_smile.model.smile_mace.SmileMACE`: a field, a docstring."""

import math
from dataclasses import dataclass

from ase.data import atomic_numbers

from mace_smile.model.option_checks import (
    check_choices,
    check_dipoles_in_energy,
    check_numbers,
    check_screening,
)
from mace_smile.physics.parameters import METHODS, TERMS, CoulombParameters, choose_parameters

CHARGE_HEADS = ("local", "none")
DIPOLE_HEADS = ("none", "local")
TOTAL_CHARGE_CONSTRAINTS = ("exact", "penalty", "none")
ELECTROSTATICS = (*METHODS, "none")
COULOMB_TERMS = TERMS
LONG_RANGE_READOUTS = ("physical", "learned")
NET_CHARGES = ("warn", "error")
BOUNDARIES = ("auto", "periodic", "slab", "open")
SCREENINGS = ("none", "uncoupled", "global", "local")
BORN_CHARGE_METHODS = ("unfolded", "phase", "minimum_image")
PHASE_HARMONICS = (1, 2, 3)
ACOUSTIC_SUM_RULES = ("none", "subtract")
POLARIZABILITY_HEADS = ("none", "local")
#: Allowed values of the fields that are words.
CHOICES: dict[str, tuple[str, ...]] = {
    "charge_head": CHARGE_HEADS,
    "dipole_head": DIPOLE_HEADS,
    "total_charge_constraint": TOTAL_CHARGE_CONSTRAINTS,
    "electrostatics": ELECTROSTATICS,
    "coulomb_terms": COULOMB_TERMS,
    "boundary": BOUNDARIES,
    "screening": SCREENINGS,
    "born_charge_method": BORN_CHARGE_METHODS,
    "acoustic_sum_rule": ACOUSTIC_SUM_RULES,
    "polarizability_head": POLARIZABILITY_HEADS,
    "long_range_readout": LONG_RANGE_READOUTS,
    "net_charge": NET_CHARGES,
}


@dataclass(frozen=True)
class SmileOptions:
    """What a SmileMACE has beside its MACE backbone.

    :raises ValueError: when a field has a value that is not allowed, or two fields
        contradict each other; the message names the field, the value and the remedy.
    """

    charge_head: str = "local"
    """``local``: static charges read out of the node features; ``none``: no charges."""
    dipole_head: str = "none"
    """``local``: atomic dipoles read out of the node features and edges; ``none``: no dipoles."""
    dipole_elements: tuple[str, ...] | None = None
    """Chemical symbols of the elements that carry atomic dipoles; None is all."""
    dipoles_in_energy: bool = False
    """Whether atomic dipoles enter the electrostatic energy beside the charges, divided by the
    factor s that takes charges to the scale of the dipoles."""
    total_charge_constraint: str = "exact"
    """How the charges are made to add up to the total charge: ``exact`` (a shift over the
    learned atoms), ``penalty`` (a term of the loss) or ``none``."""
    electrostatics: str = "auto"
    """Method of the electrostatic sum: ``ewald``, ``pme``, ``p3m``, ``auto`` (Ewald for small
    structures, P3M for others), or ``none``, no such energy."""
    coulomb_terms: str = "long_range"
    """``long_range``: the smooth part of Gaussian-smeared charges (S4 eq. 2); ``full``: 1 / r."""
    smearing: float | None = None
    """Width sigma of the Gaussian charges in A. With ``long_range`` it is physics, and None is
    1 A; with ``full`` it is numerics, and None is the cutoff / 5.5."""
    lr_wavelength: float | None = None
    """Shortest wavelength of the Ewald sum in A; None is the smearing, which is converged to a
    relative 3e-9."""
    mesh_spacing: float | None = None
    """Largest distance of mesh points in A; None is a third (``auto``), a quarter (``p3m``) or a
    sixth (``pme``) of the smearing."""
    electrostatics_accuracy: float | None = None
    """Relative error of the forces from which what is None above is set."""
    coulomb_cutoff: float | None = None
    """Range of the real-space part of ``full`` in A, for which the sum asks for a neighbour list
    of its own; None takes the cutoff and the list of the backbone."""
    long_range_readout: str = "physical"
    """``physical``: half the sum of charge times potential; ``learned``: a learned function of
    charges and potentials of each atom (LOREM, S3 eq. 6), zero without charges."""
    long_range_channels: int = 1
    """Charges of each atom that enter the sum of the learned readout; the first is the static
    charge."""
    net_charge: str = "warn"
    """What to do about a net charge in a periodic cell: ``warn`` or ``error``."""
    boundary: str = "auto"
    """``auto`` takes each structure's ``pbc`` (three axes: periodic, two: slab, none:
    open); the other values hold for all structures."""
    slab_axis: int = 2
    """Cell axis (0, 1, 2) along the slab normal, used only with ``boundary="slab"``."""
    slab_vacuum: float = 3.0
    """Vacuum of the model's own slab cell in units of the larger in-plane length: the
    interaction of images falls as exp(-2 pi gap / a)."""
    screening: str = "none"
    """Born effective charges: ``none``; ``uncoupled``, an equivariant readout of its own; or
    derivatives of the response charges, which are s times the energy charges (``global``), or s
    times a positive readout of each atom times them (``local``)."""
    screening_value: float | None = None
    """Factor s from energy charges to response charges, negative where the energy has taken the
    other sign; None is sqrt(1 + susceptibility). Where it is learned, the value it starts from."""
    learn_screening_value: bool = False
    """Whether s is a parameter of the model; its sign stays."""
    born_charge_method: str = "unfolded"
    """Derivative of response charges in periodic cells: ``unfolded``, exact along the edges of
    the network; ``phase``, by phases of the reciprocal vectors (S4 eqs. 9 and 10); or
    ``minimum_image``, by nearest images (S3 eq. 9)."""
    phase_harmonics: int = 3
    """Phases along each cell vector, 1 to 3, used with ``phase`` only."""
    acoustic_sum_rule: str = "none"
    """``subtract``: Born charges add up to the total charge, each changed alike; ``none``."""
    polarizability_head: str = "none"
    """``local``: polarizabilities of atoms read out of the node features and edges, which act in a
    field to second order; ``none``."""
    susceptibility: float = 0.0
    """Electronic susceptibility chi of the macro-dipole relation along slab normals (S0
    eq. 4); 0 is SMILE0. Where it is learned, the value it starts from."""
    learn_susceptibility: bool = False
    """Whether the susceptibility is a parameter of the model, trained on dipoles of slabs."""
    given_susceptibility: float | None = None
    """Susceptibility of the dipole of the given charges; None: that of all the rest."""
    learn_given_susceptibility: bool = False
    """Whether the given charges have a learned susceptibility of their own; it starts from
    ``given_susceptibility``, or 0."""
    given_charges_key: str | None = None
    """Per-atom array of the structures that holds charges which are given, not learned, in e
    (physical scale); None when no charges are given."""
    given_mask_key: str | None = None
    """Per-atom array that is non-zero on the atoms whose charge is given."""
    total_charge_key: str = "total_charge"
    """Entry of ``atoms.info`` with the total charge of a structure in e; neutral without it."""
    charge_channels: int = 32
    """Width of the hidden layer of the charge head."""
    dipole_channels: int = 16
    """Number of vectors the dipole head builds at each atom."""
    born_channels: int = 16
    """Number of vectors and rank-2 tensors the Born-charge head builds at each atom."""
    polarizability_channels: int = 16
    """Number of vectors and rank-2 tensors the polarizability head builds at each atom."""
    training_labels: tuple[str, ...] = ()
    """Names of the labels the training has weighed; empty where nobody has told."""

    def __post_init__(self) -> None:
        check_choices(self, CHOICES)
        check_numbers(self)
        check_screening(self)
        check_dipoles_in_energy(self)

    def labels_with(self, name: str) -> tuple[str, ...]:
        """The labels of the training, and one more that has been used since."""
        return tuple(dict.fromkeys((*self.training_labels, name)))

    @property
    def has_charges(self) -> bool:
        """Whether the model predicts static charges."""
        return self.charge_head != "none"

    @property
    def has_atomic_dipoles(self) -> bool:
        """Whether the model predicts atomic dipoles."""
        return self.dipole_head != "none"

    @property
    def dipole_numbers(self) -> list[int]:
        """Atomic numbers of ``dipole_elements``; empty where all elements carry dipoles."""
        return [atomic_numbers[symbol] for symbol in self.dipole_elements or ()]

    @property
    def has_dipole(self) -> bool:
        """Whether the model predicts the dipole of a structure, from charges, dipoles or both."""
        return self.has_charges or self.has_atomic_dipoles

    @property
    def has_given_susceptibility(self) -> bool:
        """Whether given charges are screened by a susceptibility of their own."""
        return self.learn_given_susceptibility or self.given_susceptibility is not None

    @property
    def has_electrostatics(self) -> bool:
        """Whether the charges enter the energy; where they do, atomic dipoles may."""
        return self.has_charges and self.electrostatics != "none"

    def coulomb_parameters(self, r_max: float) -> CoulombParameters:
        """Parameters of the electrostatic sum.

        :param r_max: cutoff of the backbone in A.
        :raises ValueError: for an accuracy that cannot be reached.
        """
        return choose_parameters(
            method=self.electrostatics,
            terms=self.coulomb_terms,
            cutoff=self.coulomb_cutoff or r_max,
            smearing=self.smearing,
            lr_wavelength=self.lr_wavelength,
            mesh_spacing=self.mesh_spacing,
            accuracy=self.electrostatics_accuracy,
            slab_vacuum=self.slab_vacuum,
        )

    @property
    def second_cutoff(self) -> float | None:
        """Cutoff in A of the sum's own neighbour list; None where that of the backbone serves."""
        if self.has_electrostatics and self.coulomb_terms == "full":
            return self.coulomb_cutoff
        return None

    @property
    def has_born_charges(self) -> bool:
        """Whether the model predicts Born effective charges."""
        return self.screening != "none"

    @property
    def has_polarizability(self) -> bool:
        """Whether the model predicts the polarizability of a structure."""
        return self.polarizability_head != "none"

    @property
    def has_coupled_screening(self) -> bool:
        """Whether Born effective charges are derivatives of the response charges."""
        return self.screening in ("global", "local")

    @property
    def has_local_screening(self) -> bool:
        """Whether each atom has a screening factor of its own."""
        return self.screening == "local"

    @property
    def born_charges_are_local(self) -> bool:
        """Whether Born effective charges can be read out atom by atom."""
        return not self.has_coupled_screening and self.acoustic_sum_rule == "none"

    @property
    def is_local(self) -> bool:
        """Whether every output of an atom depends on its receptive field only."""
        return not self.has_electrostatics and not (
            self.has_charges and self.total_charge_constraint == "exact"
        )

    @property
    def scale_follows(self) -> bool:
        """Whether the factor s follows a learned susceptibility."""
        return (
            self.learn_susceptibility
            and self.screening_value is None
            and not self.learn_screening_value
        )

    @property
    def scale(self) -> float:
        """The factor s from energy charges to response charges.

        Where it is learned, or follows a learned susceptibility, the value it starts from.
        """
        if self.screening_value is None:
            return math.sqrt(1.0 + self.susceptibility)
        return self.screening_value
