"""Electronic screening of a slab's charges: by one factor, or by a dielectric film with gaps.

The charges of a cell are those of a film, learned, and those that are given, on walls below and
above it. Their observed dipole is mu / (1 + chi) (S0 eq. 4). Two pictures of where the
electrons that screen sit have this dipole:

``uniform`` divides all charge by 1 + chi (S0).

``profile`` has eps(z) = eps_film inside the film and 1 in the gaps,

.. math::

    \\frac{d}{dz} \\Big( \\epsilon(z) \\frac{d\\phi}{dz} \\Big) = -\\frac{\\rho(z)}{\\epsilon_0} ,

so that the field of the walls is screened by eps_film inside the film and not at all in the gaps.
Walls at a distance L, with a film of thickness d between them, make a step that is screened by

.. math::

    1 + \\chi = \\frac{L}{L - d + d / \\epsilon_{film}} ,

hence chi, eps_film and d are tied: two of them give the third.

Charges *inside* the film are screened by eps_film, not by 1 + chi. Where both kinds of charge were
learned under one factor, mu = (mu_film + mu_walls) / (1 + chi), the learned charges of the film are
too small by (1 + chi) / eps_film: with the charges Q of the true density, the label was
mu_film = (1 + chi) sum_i Q_i z_i / eps_film. ``profile`` therefore multiplies the density of the
film by eps_film / (1 + chi) before it screens it by eps_film, and what remains of both is
1 / (1 + chi): the potential of a neutral film is the same in both pictures, and so is its step.

A film with a net charge q has an image of it on the walls, which is screened as walls are. The
net charge itself is physical and not scaled. It is taken apart from the film, spread over its
atoms around the height z* where both pictures give a wall charge the same potential (the middle of
the film, if the gaps are equal), and screened as the given charges are. So the step is
mu / (eps0 A) then, too.

The permittivity is that of point charges and sharp edges; a Gaussian smooths the potential, not
the charges before they are screened, so walls may be closer to the film than the Gaussian is wide.
"""

from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class DielectricFilm:
    """A dielectric film between two walls."""

    lower: float
    """Lower edge along the normal in A."""
    upper: float
    """Upper edge along the normal in A."""
    permittivity: float
    """Electronic relative permittivity eps_film inside; 1 outside."""
    balance_point: float
    """Height z* in A where the screened potential of a wall charge is that of 1 / (1 + chi)."""

    def inverse_permittivity(self, heights: torch.Tensor) -> torch.Tensor:
        """1 / eps(z), shape of ``heights``, which are in A."""
        inside = (heights > self.lower) & (heights < self.upper)
        return 1.0 + (1.0 / self.permittivity - 1.0) * inside.to(heights.dtype)


def _check_susceptibility(susceptibility: float) -> None:
    """Refuse a susceptibility that no film in vacuum can have.

    :raises ValueError: with the remedy.
    """
    if susceptibility <= 0.0:
        raise ValueError(
            f"the susceptibility of the given charges is {susceptibility} but must be positive for "
            "a dielectric film; give a positive one, or use uniform screening"
        )


def film_permittivity(thickness: float, distance: float, susceptibility: float) -> float:
    """Permittivity of a film that screens charges on walls by 1 + chi.

    :param thickness: d of the film in A.
    :param distance: L between the walls in A.
    :param susceptibility: chi, as the walls see it.
    :raises ValueError: for a film that is too thin or too thick to do so.
    """
    if not 0.0 < thickness < distance:
        raise ValueError(
            f"the film is {thickness:.2f} A thick but must fit between the walls, which are "
            f"{distance:.2f} A apart; give other film edges"
        )
    _check_susceptibility(susceptibility)
    screened = distance / (1.0 + susceptibility) - (distance - thickness)
    if screened <= 0.0:
        raise ValueError(
            f"a film of {thickness:.2f} A cannot screen walls at {distance:.2f} A by 1 + chi = "
            f"{1.0 + susceptibility:.3f}, even as a metal; give wider film edges or a smaller "
            "susceptibility"
        )
    return thickness / screened


def film_thickness(permittivity: float, distance: float, susceptibility: float) -> float:
    """Thickness of a film of a given permittivity that screens charges on walls by 1 + chi.

    :param permittivity: eps_film.
    :param distance: L between the walls in A.
    :param susceptibility: chi, as the walls see it.
    :return: d in A.
    :raises ValueError: for a permittivity that no film between the walls can have.
    """
    _check_susceptibility(susceptibility)
    if permittivity < (1.0 + susceptibility) * (1.0 - 1e-9):
        raise ValueError(
            f"the permittivity of the film is {permittivity:.3f} but must be at least 1 + chi = "
            f"{1.0 + susceptibility:.3f}, which a film without gaps would have; give a larger "
            "one, or the edges of the film"
        )
    reduction = susceptibility / (1.0 + susceptibility)
    return distance * reduction / (1.0 - 1.0 / permittivity)


def place_film(
    centre: float,
    permittivity: float,
    lower_wall: float,
    upper_wall: float,
    susceptibility: float,
) -> DielectricFilm:
    """The film of a given permittivity between two walls that it screens by 1 + chi.

    :param centre: of the film in A; a film that would reach over a wall is moved to touch it.
    :param permittivity: eps_film.
    :param lower_wall: height of the wall below in A.
    :param upper_wall: height of the wall above in A.
    :param susceptibility: chi, as the walls see it.
    :raises ValueError: as :func:`film_thickness` says.
    """
    distance = upper_wall - lower_wall
    thickness = film_thickness(permittivity, distance, susceptibility)
    half = 0.5 * thickness
    centre = min(max(centre, lower_wall + half), upper_wall - half)
    lower, upper = centre - half, centre + half
    # Potential of a unit wall charge: (lower - lower_wall) + (z - lower) / eps inside the film,
    # and (z - lower_wall) / (1 + chi). They meet at z*.
    slope = 1.0 / (1.0 + susceptibility) - 1.0 / permittivity
    gaps = distance - thickness
    share = (lower - lower_wall) / gaps if gaps * slope > 1e-12 else 0.5
    return DielectricFilm(lower, upper, permittivity, lower + share * thickness)


def split_net_charge(
    charges: torch.Tensor, heights: torch.Tensor, is_given: torch.Tensor, centre: float | None
) -> torch.Tensor:
    """The net charge of the film, spread over its atoms.

    :param charges: shape ``(n_atoms,)``, in e.
    :param heights: shape ``(n_atoms,)``, in A.
    :param is_given: atoms that are not of the film, shape ``(n_atoms,)``, bool.
    :param centre: height of the centre of what is returned in A; None takes the mean of the atoms.
    :return: shape ``(n_atoms,)``, in e, zero on given atoms, with the sum of the charges of
        the film; its centre is the mean height where all atoms of the film have one height.
    """
    share = torch.zeros_like(charges)
    film = ~is_given
    if not bool(film.any()):
        return share
    deviations = heights[film] - heights[film].mean()
    weights = torch.full_like(deviations, 1.0 / len(deviations))
    variance = (deviations**2).sum()
    if centre is not None and float(variance) > 1e-12:
        weights = weights + (centre - heights[film].mean()) * deviations / variance
    share[film] = charges[film].sum() * weights
    return share


def screen_uniformly(
    charges: torch.Tensor,
    dipoles: torch.Tensor,
    heights: torch.Tensor,
    is_given: torch.Tensor,
    susceptibility: float,
    given_susceptibility: float,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Charges and dipoles divided by 1 + chi (S0), with another chi for given charges.

    Where the two differ, the net charge of the film is screened as its image on the walls is, so
    that the sum stays zero.

    :param charges: response charges, given ones included, shape ``(n_atoms,)``, in e.
    :param dipoles: along the normal, shape ``(n_atoms,)``, in e A; not of given atoms.
    :param heights: along the normal, shape ``(n_atoms,)``, in A.
    :param is_given: shape ``(n_atoms,)``, bool.
    :param susceptibility: chi of the charges of the film.
    :param given_susceptibility: chi of the given charges.
    :return: charges in e and dipoles in e A, both ``(n_atoms,)``.
    """
    net = split_net_charge(charges, heights, is_given, None)
    walls = torch.where(is_given, charges, net)
    film = charges - walls
    screened = film / (1.0 + susceptibility) + walls / (1.0 + given_susceptibility)
    return screened, dipoles / (1.0 + susceptibility)


def screen_by_film(
    charges: torch.Tensor,
    dipoles: torch.Tensor,
    heights: torch.Tensor,
    is_given: torch.Tensor,
    susceptibility: float,
    film: DielectricFilm,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Charges, dipoles and heights whose bare potential is the one screened by ``profile``.

    The film is replaced by the charge of its polarisation: at the given charges, which
    are divided by eps where they are, and on its two edges.

    :param charges: response charges, given ones included, shape ``(n_atoms,)``, in e.
    :param dipoles: along the normal, shape ``(n_atoms,)``, in e A; not of given atoms.
    :param heights: along the normal, shape ``(n_atoms,)``, in A.
    :param is_given: shape ``(n_atoms,)``, bool.
    :param susceptibility: chi under which the charges of the film were learned.
    :param film: between the given charges.
    :return: charges in e, dipoles in e A and heights in A, each ``(n_atoms + 2,)``.
    """
    net = split_net_charge(charges, heights, is_given, film.balance_point)
    walls = torch.where(is_given, charges, net)
    # Of the film: times eps_film / (1 + chi) for the true density, by eps_film for the screening.
    of_film = (charges - walls) / (1.0 + susceptibility)
    screened = of_film + walls * film.inverse_permittivity(heights)
    edges = heights.new_tensor([film.lower, film.upper])
    # D below each edge, times the jump of 1 / eps there.
    displacements = torch.stack([walls[heights <= edge].sum() for edge in edges])
    jump = 1.0 / film.permittivity - 1.0
    polarization = displacements * displacements.new_tensor([jump, -jump])
    nothing = dipoles.new_zeros(2)
    return (
        torch.cat([screened, polarization]),
        torch.cat([dipoles / (1.0 + susceptibility), nothing]),
        torch.cat([heights, edges]),
    )
