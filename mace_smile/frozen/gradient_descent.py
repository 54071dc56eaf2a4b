"""Quasi-Newton fit of heads (L-BFGS, all frames at once), where charges of atoms are labels."""

from collections.abc import Sequence

import torch
from tqdm import tqdm

from mace_smile.frozen.frames import FrozenFrames, predict
from mace_smile.frozen.parameters import FittedParameters
from mace_smile.model.smile_mace import SmileMACE
from mace_smile.training.losses import Term

#: Iterations between two looks at whether the loss still falls.
STRIDE = 20


def fit_by_descent(
    model: SmileMACE,
    frames: FrozenFrames,
    numbers: Sequence[int],
    terms: Sequence[Term],
    fitted: FittedParameters,
    max_iterations: int,
) -> None:
    """Fit the parameters, in place, by L-BFGS with strong Wolfe line searches.

    :param numbers: frames to fit to.
    :param terms: of the loss.
    """
    batch, node_feats = frames.counting(numbers)
    with torch.no_grad():
        output = predict(model, batch, node_feats)
        n_labels = sum(int((term.squared_errors(batch, output)[1] > 0).sum()) for term in terms)
    penalties = fitted.penalties / max(n_labels, 1)

    def loss_function() -> torch.Tensor:
        predicted = predict(model, batch, node_feats)
        values = torch.cat([parameter.flatten() for parameter in fitted.parameters])
        loss = (penalties * (values - fitted.start).square()).sum()
        for term in terms:
            loss = loss + term(batch, predicted, ddp=False)
        return loss

    optimizer = torch.optim.LBFGS(
        fitted.parameters,
        max_iter=STRIDE,
        history_size=30,
        line_search_fn="strong_wolfe",
        tolerance_grad=1e-10,
        tolerance_change=1e-13,
    )

    def closure() -> float:
        optimizer.zero_grad()
        loss = loss_function()
        loss.backward()
        return float(loss.detach())

    before = float("inf")
    steps = range(0, max_iterations, STRIDE)
    for _ in tqdm(steps, desc="fit", unit=f"{STRIDE} steps", disable=None, leave=False):
        loss = float(optimizer.step(closure))
        if before - loss <= 1e-7 * abs(loss):
            break
        before = loss
    optimizer.zero_grad()
