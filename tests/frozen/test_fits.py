import pytest
import torch

from frozen_data import arguments, prepare, slabs
from mace_smile.frozen import commands
from mace_smile.frozen.fit import FitSettings, HeadFitter
from mace_smile.frozen.frames import predict
from mace_smile.frozen.gradient_descent import fit_by_descent
from mace_smile.frozen.least_squares import fit_least_squares


@pytest.fixture
def task(tmp_path):
    prepare(tmp_path, slabs(2, 2))
    return commands.prepare(arguments(tmp_path, "--susceptibility=0.5"))


def _fitter(task, **settings):
    return HeadFitter(
        task.backbone, task.options, task.frames, task.plan.weights, FitSettings(**settings), 1
    )


def _loss(fitter):
    batch, node_feats = fitter.frames.together
    output = predict(fitter.model, batch, node_feats)
    change = fitter.fitted.values() - fitter.fitted.start
    penalty = (fitter.fitted.penalties * change.square()).sum() / len(fitter.frames)
    return float(sum(term(batch, output) for term in fitter.terms).detach() + penalty)


@pytest.mark.parametrize("l2_features", [None, 10.0])
def test_both_optimizers_find_the_same_minimum(task, l2_features):
    fitter = _fitter(task, l2_features=l2_features, l2_dipoles=0.1)
    every = range(len(task.frames))
    common = (fitter.model, task.frames, every, fitter.terms, fitter.fitted)
    losses = {}
    for fit, steps in ((fit_least_squares, 50), (fit_by_descent, 2000)):
        fitter.fitted.assign(fitter.fitted.start)
        fit(*common, steps)
        losses[fit] = _loss(fitter)
    assert losses[fit_least_squares] == pytest.approx(losses[fit_by_descent], rel=1e-3)


def test_a_fit_depends_neither_on_earlier_fits_nor_on_left_out_frames(task):
    fitter = _fitter(task)
    first = {name: value.clone() for name, value in fitter.fit([0, 1, 2, 3]).named_parameters()}
    fitter.fit([4, 5, 6])
    for name, value in fitter.fit([0, 1, 2, 3]).named_parameters():
        assert torch.equal(value, first[name]), name


def test_charges_have_one_value_an_element_unless_asked_otherwise(task):
    model = _fitter(task).fit(range(len(task.frames)))
    batch, node_feats = task.frames.singles[0], task.frames.node_feats[0]
    charges = predict(model, batch, node_feats)["charges"]
    hydrogen = charges[batch.node_attrs[:, 0] == 1]
    assert hydrogen.std() < 1e-12
    model = _fitter(task, l2_features=1e-3).fit(range(len(task.frames)))
    charges = predict(model, batch, node_feats)["charges"]
    assert charges[batch.node_attrs[:, 0] == 1].std() > 1e-6


def test_penalties_mean_the_same_for_every_norm_of_the_dipole(tmp_path):
    prepare(tmp_path, slabs(2, 2))
    fitted = {}
    for norm in ("per_atom", "per_area", "total"):
        flags = ("--susceptibility=0.5", f"--macro_dipole_norm={norm}")
        fitter = _fitter(commands.prepare(arguments(tmp_path, *flags)), l2_features=0.1)
        fitter.fit(range(len(fitter.frames)))
        fitted[norm] = fitter.fitted.values()
    # The films have one size, so the norms are factors of the whole loss.
    for norm in ("per_area", "total"):
        assert torch.allclose(fitted[norm], fitted["per_atom"], rtol=1e-6, atol=1e-8), norm
