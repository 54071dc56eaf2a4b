import ast
import importlib
import inspect
from importlib.metadata import version
from pathlib import Path

import pytest
import torch

from helpers import make_backbone, make_batch, make_model, open_water
from mace_smile.errors import UserError
from mace_smile.model.options import SmileOptions
from mace_smile.training import mace_bridge
from mace_smile.training.labels import LabelSettings
from mace_smile.training.mace_bridge import PREPARATION_SEAMS, SEAMS, extended_mace
from mace_smile.training.plan import TrainingPlan
from mace_smile.training.progress import Progress
from mace_smile.training.seams import (
    check_each_parameter_once,
    with_charges,
    with_head_parameters,
    without_idle_derivatives,
)
from mace_smile.training.substitution import Seam, substituted
from training_data import frames as make_frames
from training_data import parse, run, write

PLAN = TrainingPlan(SmileOptions(), LabelSettings(), Progress(Path("restart.pt")))

#: The function of MACE that looks the name up, and the signature we rely on.
RECORDED = {
    "update_keyspec_from_kwargs": (
        "mace.cli.run_train.run",
        "(keyspec: mace.data.utils.KeySpecification, keydict: Dict[str, str]) -> "
        "mace.data.utils.KeySpecification",
    ),
    "from_config": (
        "mace.tools.run_train_utils.load_dataset_for_path",
        "(config: mace.data.utils.Configuration, z_table: mace.tools.utils.AtomicNumberTable, "
        "cutoff: float, heads: Optional[list] = None, **kwargs) -> 'AtomicData'",
    ),
    "configure_model": (
        "mace.cli.run_train.run",
        "(args, train_loader, atomic_energies, model_foundation=None, heads=None, z_table=None, "
        "head_configs=None)",
    ),
    "get_params_options": (
        "mace.cli.run_train.run",
        "(args: argparse.Namespace, model: torch.nn.modules.module.Module) -> Dict[str, Any]",
    ),
    "run_cueq_to_e3nn": (
        "mace.cli.run_train.run",
        "(input_model, output_model='_e3nn.model', device='cpu', return_model=True)",
    ),
    "get_loss_fn": (
        "mace.cli.run_train.run",
        "(args: argparse.Namespace, dipole_only: bool, compute_dipole: bool) -> "
        "torch.nn.modules.module.Module",
    ),
    "get_swa": (
        "mace.cli.run_train.run",
        "(args: argparse.Namespace, model: torch.nn.modules.module.Module, optimizer: "
        "torch.optim.optimizer.Optimizer, swas: List[bool], dipole_only: bool = False)",
    ),
    "evaluate": (
        "mace.tools.train.train",
        "(model: torch.nn.modules.module.Module, loss_fn: torch.nn.modules.module.Module, "
        "data_loader: torch.utils.data.dataloader.DataLoader, output_args: Dict[str, bool], "
        "device: torch.device) -> Tuple[float, Dict[str, Any]]",
    ),
    "MACELoss": ("mace.tools.train.evaluate", "(loss_fn: torch.nn.modules.module.Module)"),
    "valid_err_log": (
        "mace.tools.train.train",
        "(valid_loss, eval_metrics, logger, log_errors, epoch=None, valid_loader_name='Default')",
    ),
    "create_error_table": (
        "mace.cli.run_train.run",
        "(table_type: str, all_data_loaders: dict, model: torch.nn.modules.module.Module, "
        "loss_fn: torch.nn.modules.module.Module, output_args: Dict[str, bool], log_wandb: bool, "
        "device: str, distributed: bool = False, skip_heads: Optional[List[str]] = None) -> "
        "prettytable.prettytable.PrettyTable",
    ),
    "config_from_atoms": (
        "mace.data.LMDBDataset.__getitem__",
        "(atoms: ase.atoms.Atoms, key_specification: mace.data.utils.KeySpecification = "
        "KeySpecification(info_keys={}, arrays_keys={}), config_type_weights: "
        "Optional[Dict[str, float]] = None, head_name: str = 'Default') -> "
        "mace.data.utils.Configuration",
    ),
    "HDF5Dataset": (
        "mace.cli.run_train.run",
        "(file_path, r_max, z_table, atomic_dataclass=<class 'mace.data.atomic_data.AtomicData'>, "
        "**kwargs)",
    ),
    "get_files_with_suffix": (
        "mace.cli.run_train.run",
        "(dir_path: str, suffix: str) -> List[str]",
    ),
    "setup_wandb": ("mace.cli.run_train.run", "(args: argparse.Namespace)"),
    "TrainingPlotter": (
        "mace.cli.run_train.run",
        "(results_dir: str, heads: List[str], table_type: str, train_valid_data: Dict, test_data: "
        "Dict, output_args: str, device: str, plot_frequency: int, distributed: bool = False, "
        "swa_start: Optional[int] = None, plot_interaction_e: bool = False)",
    ),
    "remove_pt_head": (
        "mace.cli.run_train.run",
        "(model: torch.nn.modules.module.Module, head_to_keep: Optional[str] = None) -> "
        "torch.nn.modules.module.Module",
    ),
    "inject_LoRAs": (
        "mace.cli.run_train.run",
        "(model: 'nn.Module', rank: 'int' = 4, alpha: 'int' = 1)",
    ),
    "LRScheduler": ("mace.cli.run_train.run", "(optimizer, args) -> None"),
    "ExponentialMovingAverage": (
        "mace.cli.run_train.run",
        "(parameters: Iterable[torch.nn.parameter.Parameter], decay: float, use_num_updates: "
        "bool = True)",
    ),
    "train_one_epoch": (
        "mace.tools.train.train",
        "(model: torch.nn.modules.module.Module, loss_fn: torch.nn.modules.module.Module, "
        "data_loader: torch.utils.data.dataloader.DataLoader, optimizer: "
        "torch.optim.optimizer.Optimizer, epoch: int, output_args: Dict[str, bool], "
        "max_grad_norm: Optional[float], ema: Optional[torch_ema.ema.ExponentialMovingAverage], "
        "logger: mace.tools.utils.MetricsLogger, device: torch.device, distributed: bool, "
        "distributed_model: Optional[torch.nn.parallel.distributed.DistributedDataParallel] = "
        "None, rank: Optional[int] = 0) -> None",
    ),
    "take_step_lbfgs": (
        "mace.tools.train.train_one_epoch",
        "(model: torch.nn.modules.module.Module, loss_fn: torch.nn.modules.module.Module, "
        "data_loader: torch.utils.data.dataloader.DataLoader, optimizer: "
        "torch.optim.optimizer.Optimizer, ema: Optional[torch_ema.ema.ExponentialMovingAverage], "
        "output_args: Dict[str, bool], max_grad_norm: Optional[float], device: torch.device, "
        "distributed: bool, rank: int) -> Tuple[float, Dict[str, Any]]",
    ),
    "init_distributed": ("mace.cli.run_train.run", "(args)"),
    "get_avg_num_neighbors": (
        "mace.cli.run_train.run",
        "(head_configs, args, train_loader, device)",
    ),
    "load_latest": (
        "mace.tools.checkpoint.CheckpointHandler.load_latest",
        "(self, swa: Optional[bool] = False, device: Optional[torch.device] = None) -> "
        "Optional[Tuple[Dict[str, Dict[str, torch.Tensor]], int]]",
    ),
    "save": (
        "mace.tools.checkpoint.CheckpointHandler.save",
        "(self, checkpoint: Dict[str, Dict[str, torch.Tensor]], epochs: int, keep_last: bool = "
        "False) -> None",
    ),
}

#: Names of torch that MACE uses, and how their parameters begin.
OF_TORCH = {
    "torch.save": ["obj", "f"],
    "torch.jit.save": ["m", "f"],
    "mace.cli.run_train.DDP": ["module", "device_ids"],
}
#: What seams use of MACE beside the names they replace: a path, and what its code must name.
USED = {
    "mace.cli.visualise_train.TrainingPlotter.plot": {"model_inference"},
    "mace.cli.visualise_train.model_inference": {"InferenceMetric"},
    "mace.tools.tables_utils.create_error_table": {"evaluate"},
    "mace.tools.checkpoint.CheckpointIO.__init__": {
        "directory",
        "tag",
        "keep",
        "old_path",
        "swa_start",
    },
    "mace.tools.checkpoint.CheckpointIO.save": {"_get_checkpoint_filename"},
    "mace.tools.checkpoint.CheckpointBuilder.create_checkpoint": {"model", "optimizer"},
    "mace.cli.run_train.run": {"run_e3nn_to_cueq", "run_cueq_to_e3nn", "DistributedSampler"},
}
#: Keywords by which MACE calls what a seam replaces.
KEYWORDS = {
    "train_one_epoch": {"model", "data_loader", "optimizer", "epoch", "ema", "rank"},
    "take_step_lbfgs": {"loss_fn", "distributed"},
}
VERSION = f"mace-torch {version('mace-torch')}"


def originals():
    return {seam: vars(seam.owner())[seam.name] for seam in SEAMS}


def find(path):
    """The object of a dotted path, through modules and classes."""
    module, _, name = path.rpartition(".")
    try:
        return getattr(importlib.import_module(module), name)
    except ModuleNotFoundError:
        return getattr(find(module), name)


def names_in(code):
    """Names a function looks up, those in its comprehensions included."""
    inner = [const for const in code.co_consts if inspect.iscode(const)]
    return set(code.co_names).union(*(names_in(const) for const in inner))


def change_of(seam):
    """What differs between the MACE that is installed and the one a seam was written for."""
    path = f"{seam.namespace}.{seam.name}"
    ours = f"{seam.wrap.__module__}.{seam.wrap.__name__}"
    if seam.name not in vars(seam.owner()):
        return f"{VERSION} has no {path}, which {ours} replaces"
    replaced = inspect.signature(getattr(seam.owner(), seam.name))
    if path in OF_TORCH:
        caller, begins = "mace.cli.run_train.run", OF_TORCH[path]
        found, wanted = list(replaced.parameters)[: len(begins)], begins
    else:
        caller, wanted = RECORDED[seam.name]
        found = str(replaced)
    if seam.name not in names_in(find(caller).__code__):
        return f"{caller} of {VERSION} does not look up {path}, which {ours} replaces"
    if found != wanted:
        return f"{path} of {VERSION} takes {found}, but {ours} relies on {wanted}"
    return ""


@pytest.mark.parametrize("seam", SEAMS, ids=lambda seam: f"{seam.name}-{seam.wrap.__name__}")
def test_mace_looks_the_name_up_and_its_signature_is_the_recorded_one(seam):
    assert change_of(seam) == ""


def test_a_change_of_mace_is_named(monkeypatch):
    module = importlib.import_module("mace.cli.run_train")
    seam = next(seam for seam in SEAMS if seam.name == "get_loss_fn")
    monkeypatch.setattr(module, "get_loss_fn", lambda args: None)
    assert "get_loss_fn of mace-torch" in change_of(seam)
    assert "takes (args), but mace_smile.training.seams.with_extra_terms" in change_of(seam)
    monkeypatch.setattr(module, "run", lambda args: None)
    assert "run_train.run of mace-torch" in change_of(seam)
    assert "does not look up mace.cli.run_train.get_loss_fn" in change_of(seam)
    monkeypatch.delattr(module, "get_loss_fn")
    assert "has no mace.cli.run_train.get_loss_fn" in change_of(seam)


@pytest.mark.parametrize("path", USED)
def test_mace_uses_the_names_that_seams_rely_on(path):
    missing = USED[path] - names_in(find(path).__code__)
    assert not missing, f"{path} of {VERSION} no longer uses {', '.join(sorted(missing))}"


@pytest.mark.parametrize("name", KEYWORDS)
def test_mace_calls_by_keywords(name):
    source = inspect.getsource(find(RECORDED[name][0]))
    calls = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)]
    call = next(node for node in calls if getattr(node.func, "id", "") == name)
    missing = KEYWORDS[name] - {keyword.arg for keyword in call.keywords}
    assert not missing, f"{VERSION} calls {name} without the keywords {', '.join(sorted(missing))}"


@pytest.mark.parametrize("seam", PREPARATION_SEAMS, ids=lambda seam: seam.name)
def test_preparation_of_data_looks_the_name_up(seam):
    module = importlib.import_module("mace.cli.preprocess_data")
    if seam.name != "from_config":
        assert seam.name in names_in(module.run.__code__)
    assert seam.name in vars(seam.owner())


@pytest.mark.parametrize("is_idle", [True, False])
def test_validation_derives_no_born_charges_without_labels(is_idle):
    model = make_model(screening="global")
    batch = make_batch([open_water()], model)
    progress = Progress(Path("restart.pt"))
    labels = LabelSettings(ignores_born_effective_charges=is_idle)
    plan = TrainingPlan(model.options, labels, progress)
    progress.model = model
    evaluate = without_idle_derivatives(lambda given: given(dict(batch)), plan)
    assert (evaluate(model)["born_effective_charges"] is None) == is_idle
    assert model(dict(batch))["born_effective_charges"] is not None


def test_names_are_replaced_and_restored():
    before = originals()
    with extended_mace(PLAN):
        during = originals()
        assert all(during[seam] is not before[seam] for seam in SEAMS)
    assert originals() == before


def test_names_are_restored_after_an_exception():
    before = originals()
    with pytest.raises(ZeroDivisionError), extended_mace(PLAN):
        raise ZeroDivisionError
    assert originals() == before


def test_a_name_that_mace_lacks_is_an_error_and_nothing_stays_replaced(monkeypatch):
    before = originals()
    gone = Seam("mace.cli.run_train", "no_such_function", lambda original, plan: original)
    monkeypatch.setattr(mace_bridge, "SEAMS", (*SEAMS, gone))
    with pytest.raises(RuntimeError, match="no_such_function"), extended_mace(PLAN):
        pass
    assert originals() == before


def test_class_attributes_are_restored_as_they_were():
    class Holder:
        @classmethod
        def make(cls):
            return cls

    original = vars(Holder)["make"]
    with substituted(Holder, "make", staticmethod(lambda: None)):
        assert Holder.make() is None
    assert vars(Holder)["make"] is original
    assert Holder.make() is Holder


def params_options(tmp_path, model, *flags):
    args = parse(tmp_path, *flags)
    original = find("mace.tools.scripts_utils.get_params_options")
    return with_head_parameters(original, PLAN)(args, model)


@pytest.mark.parametrize("hidden_irreps", ["4x0e", "4x0e+4x1o"])
@pytest.mark.parametrize("screening", ["none", "uncoupled"])
def test_optimizer_holds_every_trainable_parameter_once(tmp_path, hidden_irreps, screening):
    model = make_model(hidden_irreps, screening=screening)
    groups = params_options(tmp_path, model)["params"]
    held = [id(parameter) for group in groups for parameter in group["params"]]
    wanted = [id(parameter) for parameter in model.parameters() if parameter.requires_grad]
    assert sorted(held) == sorted(wanted)
    assert groups[-1]["name"] == "charge_heads"
    heads = {id(parameter) for parameter in model.charge_heads.parameters()}
    assert {id(parameter) for parameter in groups[-1]["params"]} == heads


def test_learning_rate_of_the_heads_can_be_scaled(tmp_path):
    factors = '--lr_params_factors={"charge_heads_lr_factor": 0.1}'
    groups = params_options(tmp_path, make_model(), factors, "--lr=0.02")["params"]
    assert groups[-1]["lr"] == pytest.approx(0.002)


def test_parameters_in_no_group_or_two_are_reported():
    layer = torch.nn.Linear(2, 1)
    with pytest.raises(RuntimeError, match=r"weight \(2 times\), bias \(0 times\)"):
        check_each_parameter_once(layer, [{"params": [layer.weight, layer.weight]}])


def test_every_head_parameter_moves_at_the_first_step(tmp_path, monkeypatch):
    seen = {}
    original = mace_bridge.seams.with_charges

    def keep_model(configure_model, plan):
        configure = original(configure_model, plan)

        def keep(*args, **kwargs):
            model, output_args = configure(*args, **kwargs)
            seen["model"] = model
            seen["before"] = {n: p.detach().clone() for n, p in model.named_parameters()}
            return model, output_args

        return keep

    changed = [
        Seam(seam.namespace, seam.name, keep_model) if seam.wrap is original else seam
        for seam in SEAMS
    ]
    monkeypatch.setattr(mace_bridge, "SEAMS", tuple(changed))
    write(tmp_path, make_frames(4))
    run(tmp_path, "--screening=uncoupled", "--max_num_epochs=1", "--valid_fraction=0.5")
    still = [
        name
        for name, parameter in seen["model"].named_parameters()
        if torch.equal(parameter, seen["before"][name])
    ]
    assert still == []


def test_sum_that_does_not_fit_a_downloaded_backbone_is_one_sentence():
    options = SmileOptions(coulomb_terms="full", smearing=2.0, electrostatics_accuracy=1e-4)
    plan = TrainingPlan(options, LabelSettings(), Progress(Path("restart.pt")))
    configure = with_charges(lambda *_: (make_backbone(), {}), plan)
    with pytest.raises(UserError, match="cutoff of 4 A.*a --coulomb_cutoff of at least"):
        configure(None, None, None)
