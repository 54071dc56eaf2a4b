"""What a self-test does, and how much of it."""

from dataclasses import dataclass


@dataclass(frozen=True)
class SelftestSettings:
    """The numbers of a self-test."""

    field: tuple[float, float, float] = (0.0, 0.0, 0.1)
    """Field of the checks that have one, macroscopic, in V/A."""
    steps: int = 300
    """Steps of molecular dynamics."""
    timestep: float = 0.25
    """Time step in fs."""
    temperature: float = 300.0
    """Temperature of the first velocities in K."""
    samples: int = 3
    """Atoms of each structure, drawn at random, that finite differences move along three axes."""
    seed: int = 0
    """Of everything that is drawn at random."""
    max_atoms: int = 3000
    """Supercells with more atoms are not computed."""
    acoustic_tolerance: float = 0.05
    """Largest mean over atoms of a component of the acoustic sum in e, where nothing in the model
    makes it vanish."""
