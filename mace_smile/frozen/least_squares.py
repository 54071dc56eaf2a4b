"""Gauss-Newton fit of heads to labels of structures, with a quadratic penalty.

The sum of the terms of the loss is a sum of squares of a few numbers for each structure,

.. math::

    L(\\theta) = \\sum_t \\frac{w_t}{n_t} \\sum_{k \\in t} r_k(\\theta)^2
        + \\frac{1}{n} \\sum_p \\lambda_p (\\theta_p - \\theta_p^0)^2,

n_t the number of labelled entries of term t and n that of all. Dipoles are linear in element
charges and bond dipoles, so one step from any start is the minimum; a learned susceptibility or
readouts of features take some more, shortened where they do not lower the loss. The work grows
with the square of the number of labels, not of parameters.
"""

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from mace_smile.frozen.frames import FrozenFrames, predict
from mace_smile.frozen.parameters import FittedParameters
from mace_smile.model.smile_mace import SmileMACE
from mace_smile.training.losses import Term

logger = logging.getLogger(__name__)

#: Relative agreement of the loss with that of the linear model at which the fit has converged.
CONVERGED = 1e-9
#: Halvings of a step that does not lower the loss.
MOST_HALVINGS = 12


@dataclass(frozen=True)
class Rows:
    """Errors of all frames as the rows of a least-squares problem."""

    residuals: torch.Tensor
    """Square root of each entry of the loss, ``(n_rows,)``."""
    terms: torch.Tensor
    """The term each row belongs to, ``(n_rows,)``."""
    frames: torch.Tensor
    """The frame each row belongs to, ``(n_rows,)``."""
    jacobian: torch.Tensor
    """Derivatives by the fitted parameters, ``(n_rows, n_parameters)``."""


def compute_rows(
    model: SmileMACE,
    frames: FrozenFrames,
    numbers: Sequence[int],
    terms: Sequence[Term],
    fitted: FittedParameters,
) -> Rows:
    """Rows of some frames, frame by frame: a frame has few labels, so derivatives are cheap.

    :param numbers: of the frames.
    :param fitted: parameters of the Jacobian.
    """
    residuals, of_term, of_frame, jacobian = [], [], [], []
    for number in numbers:
        batch = frames.singles[number]
        output = predict(model, batch, frames.node_feats[number])
        for index, term in enumerate(terms):
            values, weights = term.squared_errors(batch, output)
            squares = (term.weight * weights * values)[weights > 0]
            residuals.append(squares.detach().sqrt())
            of_term += [index] * len(squares)
            of_frame += [number] * len(squares)
            jacobian += [_row(square, fitted) for square in squares]
    zeros = frames.node_feats[0].new_zeros((0, len(fitted.penalties)))
    return Rows(
        torch.cat(residuals),
        torch.tensor(of_term, dtype=torch.long),
        torch.tensor(of_frame, dtype=torch.long),
        torch.stack(jacobian) if jacobian else zeros,
    )


def _row(square: torch.Tensor, fitted: FittedParameters) -> torch.Tensor:
    """Derivative of the root of an entry of the loss; zero where the entry is."""
    gradients = torch.autograd.grad(
        square, fitted.parameters, retain_graph=True, allow_unused=True, materialize_grads=True
    )
    row = torch.cat([gradient.flatten() for gradient in gradients])
    root = float(square.detach().sqrt())
    return row / (2.0 * root) if root > 0 else torch.zeros_like(row)


def fit_least_squares(
    model: SmileMACE,
    frames: FrozenFrames,
    numbers: Sequence[int],
    terms: Sequence[Term],
    fitted: FittedParameters,
    max_iterations: int,
    rows: Rows | None = None,
) -> None:
    """Fit the parameters, in place.

    :param numbers: frames to fit to.
    :param terms: of the loss, each a mean of squares over labels of structures.
    :param rows: rows of at least these frames with the Jacobian at the start, if they are known.
    """
    rows = rows or compute_rows(model, frames, numbers, terms, fitted)
    rows = _select(rows, numbers)
    if len(rows.residuals) == 0:
        raise ValueError("no frame of the fit has a label")
    counts = torch.bincount(rows.terms, minlength=len(terms)).clamp(min=1)
    weights = 1.0 / counts[rows.terms].to(rows.residuals)  # (n_rows,)
    penalties = fitted.penalties / len(rows.residuals)  # (n_parameters,)

    def penalty(values: torch.Tensor) -> float:
        return float((penalties * (values - fitted.start).square()).sum())

    batch, node_feats = frames.counting(numbers)

    def loss_of(values: torch.Tensor) -> float:
        fitted.assign(values)
        with torch.no_grad():
            output = predict(model, batch, node_feats)
            return float(sum(term(batch, output, ddp=False) for term in terms)) + penalty(values)

    values = fitted.values()
    loss = float((weights * rows.residuals.square()).sum()) + penalty(values)
    for _ in range(max_iterations):
        target = _linear_minimum(rows, weights, penalties, values - fitted.start)
        change = fitted.start + target - values
        linear = rows.residuals + rows.jacobian @ change
        expected = float((weights * linear.square()).sum()) + penalty(values + change)
        for halving in range(MOST_HALVINGS):
            trial = values + change * 0.5**halving
            new_loss = loss_of(trial)
            if math.isfinite(new_loss) and new_loss <= loss:
                break
        else:
            fitted.assign(values)
            return
        is_linear = abs(new_loss - expected) <= CONVERGED * max(loss, 1e-300)
        has_settled = loss - new_loss <= CONVERGED * loss
        values, loss = trial, new_loss
        if is_linear or has_settled:
            return
        rows = compute_rows(model, frames, numbers, terms, fitted)
    logger.warning("the fit has not converged in %d steps; raise --max_iterations", max_iterations)


def _select(rows: Rows, numbers: Sequence[int]) -> Rows:
    """Rows of some frames."""
    kept = torch.isin(rows.frames, torch.tensor(list(numbers), dtype=torch.long))
    return Rows(rows.residuals[kept], rows.terms[kept], rows.frames[kept], rows.jacobian[kept])


def _linear_minimum(
    rows: Rows, weights: torch.Tensor, penalties: torch.Tensor, present: torch.Tensor
) -> torch.Tensor:
    """Change from the start that minimises the loss of the linear model.

    With B = W^{1/2} J P^{-1/2}, P the penalties, it is -P^{-1/2} B^T (B B^T + 1)^{-1} of the
    residuals that the linear model has at the start.

    :param present: present values less those of the start, shape ``(n_parameters,)``.
    :return: shape ``(n_parameters,)``.
    """
    scale = penalties.rsqrt()
    root = weights.sqrt()
    at_start = root * (rows.residuals - rows.jacobian @ present)
    matrix = root[:, None] * rows.jacobian * scale  # (n_rows, n_parameters)
    if matrix.shape[1] <= matrix.shape[0]:
        identity = torch.eye(matrix.shape[1]).to(matrix)
        change = torch.linalg.lstsq(
            torch.cat([matrix, identity]), torch.cat([-at_start, torch.zeros_like(penalties)])
        ).solution
        return scale * change
    identity = torch.eye(matrix.shape[0]).to(matrix)
    return -scale * (matrix.mT @ torch.linalg.solve(matrix @ matrix.mT + identity, at_start))
