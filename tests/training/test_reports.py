"""Our quantities in what a run sends to Weights & Biases, and in its plots."""

import contextlib
import importlib
import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from matplotlib.image import imread

from helpers import make_batch, make_model, open_water
from mace_smile.model.options import SmileOptions
from mace_smile.training import plots
from mace_smile.training.labels import LabelSettings
from mace_smile.training.losses import TermWeights
from mace_smile.training.metrics import METRICS
from mace_smile.training.plan import TrainingPlan
from mace_smile.training.plots import predicted, with_extra_plots, with_our_predictions
from mace_smile.training.progress import Progress
from parity import stub_wandb
from training_data import frames, log_of, run, validation, write

FLAGS = ("--screening=uncoupled", "--valid_fraction=0.5", "--max_num_epochs=2")


def test_wandb_gets_our_errors_of_each_epoch_and_each_set(tmp_path, monkeypatch):
    logged, hypers = stub_wandb(monkeypatch), {}
    monkeypatch.setattr("wandb.init", lambda **named: hypers.update(named["config"]))
    write(tmp_path, frames(4))
    run(tmp_path, *FLAGS, "--wandb", "--wandb_name=a", "--wandb_project=b", "--wandb_entity=c")
    epochs = [entry["Default"] for entry in logged if "Default" in entry]
    assert len(epochs) == 2
    for sent, errors in zip(epochs, validation(tmp_path)[1:], strict=True):
        assert sent["valid_rmse_f"] == errors["rmse_f"]
        for name in ("macro_dipole", "born_effective_charges"):
            assert sent[f"valid_rmse_{name}"] == errors[f"rmse_{name}"]
    final = {key: value for entry in logged for key, value in entry.items() if "final" in key}
    last = f"{final['valid_Default_final_rmse_born_effective_charges']:.2f}"
    assert last in log_of(tmp_path).split("Error-table")[-1]
    assert "train_Default_final_rmse_macro_dipole" in final
    assert hypers["screening"] == "uncoupled"


def test_plots_of_our_quantities_are_drawn_while_training(tmp_path, monkeypatch):
    drawn = []
    draw = plots.draw

    def draw_and_keep(path, metrics, kind, entries, results):
        drawn.append((path.name, len(entries), results))
        draw(path, metrics, kind, entries, results)

    monkeypatch.setattr(plots, "draw", draw_and_keep)
    write(tmp_path, frames(4))
    run(tmp_path, *FLAGS, "--plot=True", "--plot_frequency=1", "--start_swa=1")
    stages = ["stage_one", "stage_one", "stage_one", "stage_one"]
    names = [f"water_run-1_train_Default_{stage}_charges.png" for stage in stages]
    assert [name for name, _, _ in drawn] == names
    assert [count for _, count, _ in drawn] == [1, 2, 2, 2]
    assert drawn[0][2].keys() == {"train_Default", "valid_Default"}
    errors = validation(tmp_path)[1]
    values = drawn[0][2]["valid_Default"]["ours_macro_dipole"]
    assert np.sqrt(np.mean((values["predicted"] - values["reference"]) ** 2)) == pytest.approx(
        errors["rmse_macro_dipole"]
    )
    image = imread(tmp_path / "results" / names[0])
    assert image.shape[0] > 500
    assert len(np.unique(image.reshape(-1, image.shape[-1]), axis=0)) > 50


class Batch(SimpleNamespace):
    def __getitem__(self, name):
        return getattr(self, name)


def test_every_metric_has_a_prediction_and_its_label():
    model = make_model(polarizability_head="local", total_charge_constraint="penalty")
    atoms = open_water()
    batch = make_batch([atoms], model)
    labels = {
        "dipole": torch.ones(1, 3),
        "dipole_weight": torch.tensor([[1.0, 0.0, 1.0]]),
        "dipole_quantum": torch.zeros(3, 3),
        "born_effective_charges": torch.ones(len(atoms), 3, 3),
        "born_effective_charges_weight": torch.ones(1),
        "charges_weight": torch.ones(1),
        "polarizability_weight": torch.ones(1, 3, 3),
        "charges": torch.full((len(atoms),), 0.5),
        "polarizability": torch.full((1, 3, 3), 9.0),
    }
    output = model(dict(batch), training=False)
    batch = Batch(**{**batch, **labels})
    for metric in METRICS:
        errors, _ = metric.errors(batch, output)
        assert predicted(metric, batch, output).shape == errors.shape

    class Base(torch.nn.Module):
        def add_state(self, name, default, dist_reduce_fx):
            setattr(self, name, default)

        def update(self, batch, output):
            pass

        def compute(self):
            return {}

    collection = with_our_predictions(Base, METRICS)()
    collection.update(batch, output)
    found = collection.compute()
    np.testing.assert_allclose(found["ours_macro_dipole"]["reference"], [1.0, 1.0])
    np.testing.assert_allclose(found["ours_charges"]["reference"], 0.5)
    np.testing.assert_allclose(found["ours_polarizability_per_atom"]["reference"], 1.0)
    np.testing.assert_allclose(
        found["ours_born_effective_charges"]["predicted"],
        output["born_effective_charges"].detach().ravel(),
    )


def make_plotter(directory, weights):
    module = importlib.import_module("mace.cli.visualise_train")
    entry = {"mode": "eval", "epoch": 0, "head": "Default", "loss": 1.0}
    errors = {"rmse_e_per_atom": 1.0, "rmse_f": 1.0}
    lines = [{**entry, **errors}, {"mode": "opt", "epoch": 0, "loss": 1.0}]
    results = directory / "water.txt"
    results.write_text("\n".join(json.dumps(line) for line in lines))
    plan = TrainingPlan(SmileOptions(), LabelSettings(), Progress(directory / "a"), weights)
    plotter = with_extra_plots(module.TrainingPlotter, plan)
    return plotter(str(results), ["Default"], "PerAtomRMSE", {}, {}, {}, "cpu", 1)


def test_frozen_parameters_stay_frozen_when_plots_are_drawn(tmp_path):
    model = torch.nn.Linear(2, 1)
    model.weight.requires_grad = False
    with contextlib.suppress(ValueError):  # MACE's own figure, with matplotlib 3.11
        make_plotter(tmp_path, (TermWeights("charges", 1.0, 1.0),)).plot(0, model, 0)
    assert not model.weight.requires_grad
    assert (tmp_path / "water_Default_stage_one_charges.png").exists()


def test_without_our_quantities_the_plots_are_those_of_mace(tmp_path):
    with contextlib.suppress(ValueError):  # MACE's own figure, with matplotlib 3.11
        make_plotter(tmp_path, ()).plot(0, torch.nn.Linear(2, 1), 0)
    assert not (tmp_path / "water_Default_stage_one_charges.png").exists()
