"""How a potential is computed from charges: what screens them, how wide they are."""

import math
from dataclasses import dataclass

from mace_smile.errors import UserError

SCREENINGS = ("uniform", "profile", "none")


@dataclass(frozen=True)
class ProfileSettings:
    """How a potential is computed from charges.

    :raises UserError: for values that are not allowed; the message names the flag.
    """

    screening: str = "uniform"
    """``uniform``, ``profile`` or ``none``; see :mod:`mace_smile.physics.dielectric_film`."""
    susceptibility: float = 0.0
    """Electronic susceptibility chi of the charges of the film."""
    given_susceptibility: float | None = None
    """That of the given charges; None is ``susceptibility``."""
    width: float = 0.5
    """Standard deviation of the Gaussians in A."""
    film_permittivity: float | None = None
    """eps_film of ``profile``; None: it follows from the edges."""
    film_edges: tuple[float, float] | None = None
    """Lower and upper edge of the film in A; None: the outermost atoms that are not given, and a
    covalent radius, averaged over the structures."""
    spacing: float = 0.05
    """Distance of the points in A."""

    def __post_init__(self) -> None:
        if self.screening not in SCREENINGS:
            raise UserError(
                f"--screening is '{self.screening}' but must be one of {', '.join(SCREENINGS)}"
            )
        for name in ("susceptibility", "given_susceptibility"):
            value = getattr(self, name)
            if value is not None and not (math.isfinite(value) and value > -1.0):
                raise UserError(
                    f"--{name} is {value} but must be above -1: the potential is divided by 1 + chi"
                )
        for name in ("width", "spacing"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value > 0.0):
                raise UserError(f"--{name} is {value} but must be positive, in A")
        if self.screening != "profile" and not (
            self.film_permittivity is None and self.film_edges is None
        ):
            raise UserError(
                "--film_permittivity and --film_edges serve --screening profile only; leave them "
                "out, or ask for it"
            )
        if self.film_permittivity is not None and self.film_edges is not None:
            raise UserError(
                "--film_permittivity and --film_edges were both given, but one follows from the "
                "other and the susceptibility; leave one out"
            )
        if self.film_edges is not None and not self.film_edges[0] < self.film_edges[1]:
            raise UserError(
                f"--film_edges are {self.film_edges[0]} and {self.film_edges[1]} but must be the "
                "lower and the upper one, in A"
            )

    @property
    def susceptibility_of_given(self) -> float:
        """The susceptibility of the given charges."""
        given = self.given_susceptibility
        return self.susceptibility if given is None else given
