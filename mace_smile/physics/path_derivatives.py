"""Born effective charges of charges that depend on their environment, by paths of edges.

The sum over all atoms and images j,

.. math::

    \\sum_j (r_j - r_i)_a \\frac{\\partial q_j}{\\partial r_{ib}},

in message passing. An atom acts on a charge along paths of edges, at most one for each layer, and
the displacement :math:`r_j - r_i` of the image that a path means is the sum of its edges. So give
each edge e a number :math:`z_e = c_e + \\iota s_e` with :math:`\\iota^2 = -\\kappa`, whose product
along a path has in its :math:`\\iota` part

- the displacement D itself: :math:`c = 1, s = D, \\kappa = 0`, which is exact in any cell, or
- a wave, :math:`(f / k) \\sin(k D)`: :math:`c = \\cos(k D), s = (f / k) \\sin(k D),
  \\kappa = (k / f)^2`, which for a reciprocal vector k does not tell images apart (S4 eq. 10).

Backpropagation that multiplies with :math:`z_e` wherever it passes from the receiver of an edge to
its sender gives derivatives in these numbers; with :math:`\\hat D_e` that by the vector of an edge,

.. math::

    \\sum_j D_{ij} \\frac{\\partial q_j}{\\partial r_{ib}} =
    \\sum_{e\\,to\\,i} \\mathrm{Im}_\\iota (\\hat D_e)_b
    - \\sum_{e\\,from\\,i} \\mathrm{Im}_\\iota (z_e \\hat D_e)_b.

What :math:`z_e` changes is linear in :math:`z_e - 1` and starts where the features of senders
enter a layer, so beside one derivative of all charges it takes derivatives of the lower layers
only: for each axis one where displacements count as they are, two for each wave.
"""

import math
from typing import List, Optional, Tuple

import torch

from mace_smile.physics.periodic_derivatives import harmonic_weights


def edge_numbers(
    displacements: torch.Tensor, is_wave: torch.Tensor, number: int, harmonics: int
) -> Tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The numbers z of the edges along one axis: c, s and kappa.

    :param displacements: along the axis, in units of its vector, shape ``(n_edges,)``.
    :param is_wave: edges whose displacements are waves, shape ``(n_edges,)``, bool.
    :param number: which harmonic, 0 to ``harmonics`` - 1; displacements that count as they are
        belong to number 0.
    :param harmonics: 1, 2 or 3.
    :return: three tensors of shape ``(n_edges, 1)``.
    """
    wave_number = 2.0 * math.pi * (number + 1)
    factor = harmonic_weights(harmonics)[number] / wave_number
    phase = wave_number * displacements
    plain = displacements if number == 0 else torch.zeros_like(displacements)
    cosine = torch.where(is_wave, torch.cos(phase), torch.ones_like(phase))
    sine = torch.where(is_wave, factor * torch.sin(phase), plain)
    kappa = is_wave.to(phase.dtype) / (factor * factor)
    return cosine.unsqueeze(-1), sine.unsqueeze(-1), kappa.unsqueeze(-1)


def pull(
    outputs: List[torch.Tensor],
    weights: List[torch.Tensor],
    inputs: List[torch.Tensor],
    training: bool,
) -> List[torch.Tensor]:
    """Derivatives of the weighted sum of some outputs by each input.

    :param training: keep the graph of the result.
    """
    # Weights go in here: sums made for the purpose lose their graph in TorchScript.
    along: List[Optional[torch.Tensor]] = []
    for weight in weights:
        along.append(weight)
    gradients = torch.autograd.grad(
        outputs, inputs, grad_outputs=along, retain_graph=True, create_graph=training
    )
    found: List[torch.Tensor] = []
    for gradient in gradients:
        assert gradient is not None
        found.append(gradient)
    return found


def derivatives_by_vectors(
    shifts: torch.Tensor,
    sender_features: List[torch.Tensor],
    derivatives: List[torch.Tensor],
    numbers: Tuple[torch.Tensor, torch.Tensor, torch.Tensor],
    has_waves: bool,
    training: bool,
) -> Tuple[torch.Tensor, torch.Tensor]:
    """Both parts of the derivative of all charges by the vectors of the edges.

    :param shifts: shape ``(n_edges, 3)``.
    :param sender_features: from the lowest layer to the highest.
    :param derivatives: of the sum of all charges by ``shifts`` and ``sender_features``, with one
        in place of all z.
    :param numbers: z, of :func:`edge_numbers`.
    :param has_waves: whether any c is not one.
    :param training: keep the graph of the result.
    :return: two tensors of shape ``(n_edges, 3)``, the second that with iota.
    """
    cosine, sine, kappa = numbers
    real = derivatives[0]
    if len(sender_features) == 0:
        return real, torch.zeros_like(real)
    layers: List[torch.Tensor] = []  # from the highest to the lowest
    extra: List[torch.Tensor] = []  # (z - 1) times the derivative by the features, both parts
    extra_imaginary: List[torch.Tensor] = []
    for below in range(len(sender_features)):
        layer = len(sender_features) - 1 - below
        features, bar = sender_features[layer], derivatives[1 + layer]
        if has_waves and below > 0:
            bar = bar + pull(layers, extra, [features], training)[0]
            imaginary = pull(layers, extra_imaginary, [features], training)[0]
            extra.append((cosine - 1.0) * bar - kappa * sine * imaginary)
            extra_imaginary.append((cosine - 1.0) * imaginary + sine * bar)
        else:
            extra.append((cosine - 1.0) * bar)
            extra_imaginary.append(sine * bar)
        layers.append(features)
    if has_waves:
        real = real + pull(layers, extra, [shifts], training)[0]
    return real, pull(layers, extra_imaginary, [shifts], training)[0]


def derivative_along_paths(
    charges: torch.Tensor,
    shifts: torch.Tensor,
    edge_index: torch.Tensor,
    sender_features: List[torch.Tensor],
    displacements: torch.Tensor,
    axes: torch.Tensor,
    is_wave: torch.Tensor,
    harmonics: int,
    training: bool,
) -> Tuple[torch.Tensor, torch.Tensor]:
    """The sum above, and the derivative of the sum of all charges.

    :param charges: functions of ``shifts``, shape ``(n_atoms,)``, in e.
    :param shifts: added to the difference of positions of each edge, shape ``(n_edges, 3)``,
        in A, of the graph of ``charges``.
    :param edge_index: sender and receiver of each edge, shape ``(2, n_edges)``.
    :param sender_features: what the senders give to all layers in which that depends on positions,
        from the lowest layer on, shape ``(n_edges, n_features)`` each, of the graph of ``charges``.
    :param displacements: receivers minus senders in units of ``axes``, shape ``(n_edges, 3)``.
    :param axes: for each atom the vectors that displacements count in, ``(n_atoms, 3, 3)``, in A.
    :param is_wave: where waves stand for displacements, shape ``(n_edges, 3)``, bool.
    :param harmonics: number of waves, 1, 2 or 3.
    :param training: keep the graph of the result.
    :return: shape ``(n_atoms, 3, 3)``, field index first, and ``(n_atoms, 3)``, in e.
    """
    senders, receivers = edge_index[0], edge_index[1]
    derivatives = pull([charges], [torch.ones_like(charges)], [shifts] + sender_features, training)
    zeros = torch.zeros((charges.shape[0], 3), dtype=charges.dtype, device=charges.device)
    by_edges = derivatives[0]
    total = zeros.index_add(0, receivers, by_edges).index_add(0, senders, -by_edges)
    result = torch.zeros_like(axes)
    for axis in range(3):
        has_waves = bool(is_wave[:, axis].any())
        for number in range(harmonics if has_waves else 1):
            numbers = edge_numbers(displacements[:, axis], is_wave[:, axis], number, harmonics)
            real, imaginary = derivatives_by_vectors(
                shifts, sender_features, derivatives, numbers, has_waves, training
            )
            at_senders = numbers[0] * imaginary + numbers[1] * real
            moment = zeros.index_add(0, receivers, imaginary).index_add(0, senders, -at_senders)
            result = result + axes[:, axis].unsqueeze(-1) * moment.unsqueeze(-2)
    return result, total
