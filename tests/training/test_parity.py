"""With our heads off every option of MACE's training gives MACE's numbers.

The cases are named after the option; docs/training_options.md refers to them.
"""

import math

import ase.io
import pytest
import torch

from parity import E0S, FROM_XYZ, is_installed, make_data, prepare_hdf5, run_both, write_lmdb

XYZ = f"{FROM_XYZ} {E0S}"
HEADS = (
    "{'first':{'train_file':'first.xyz','valid_fraction':0.5},"
    "'other':{'train_file':'other.xyz','valid_fraction':0.4,"
    "'energy_key':'other_energy','forces_key':'other_forces'}}"
)
FOUNDATION = "--foundation_model=foundation/mace/water.model"
LOSSES = (
    *("ef", "weighted", "forces_only", "virials"),
    *("stress", "huber", "universal", "l1l2energyforces"),
)
TABLES = ("TotalRMSE", "PerAtomRMSE", "PerAtomRMSEstressvirials", "TotalMAE", "PerAtomMAE")
#: Name of the case to the flags of its runs, one after the other.
CASES: dict[str, tuple[str, ...]] = {
    "defaults": (XYZ,),
    "ema": (f"{XYZ} --ema --ema_decay=0.9",),
    "stage_two": (f"{XYZ} --start_swa=1 --swa_energy_weight=10 --swa_lr=0.001",),
    "stage_two_and_ema": (f"{XYZ} --start_swa=1 --ema --loss=universal",),
    "restart_latest": (f"{XYZ} --max_num_epochs=1", f"{XYZ} --restart_latest"),
    "restart_latest_with_ema": (
        f"{XYZ} --ema --max_num_epochs=1",
        f"{XYZ} --ema --restart_latest",
    ),
    "save_all_checkpoints": (f"{XYZ} --save_all_checkpoints",),
    "keep_checkpoints": (f"{XYZ} --keep_checkpoints",),
    "patience": (f"{XYZ} --lr=0 --patience=1 --max_num_epochs=4",),
    "patience_and_stage_two": (f"{XYZ} --lr=0 --patience=1 --start_swa=3 --max_num_epochs=5",),
    "ExponentialLR": (f"{XYZ} --scheduler=ExponentialLR --lr_scheduler_gamma=0.5",),
    "ReduceLROnPlateau": (
        f"{XYZ} --lr=0.5 --lr_factor=0.1 --scheduler_patience=0 --max_num_epochs=4",
    ),
    "adamw": (f"{XYZ} --optimizer=adamw --amsgrad --weight_decay=0.01",),
    "schedulefree": (f"{XYZ} --optimizer=schedulefree",),
    "lbfgs": (f"{XYZ} --lbfgs",),
    "clip_grad": (f"{XYZ} --clip_grad=0.01",),
    "num_workers": (f"{XYZ} --num_workers=1",),
    "eval_interval": (f"{XYZ} --eval_interval=2 --max_num_epochs=3",),
    "freeze": (f"{XYZ} --freeze=3",),
    "lr_params_factors": (f'{XYZ} --lr_params_factors={{"interactions_lr_factor":0.1}}',),
    "embedding_specs": (
        f"{XYZ} --embedding_specs={{'total_charge':{{'type':'continuous','per':'graph',"
        "'in_dim':1,'emb_dim':4}} --use_embedding_readout=True",
    ),
    "config_type_weights": (f"{XYZ} --config_type_weights={{'open':0.5,'bulk':2.0}}",),
    "float32": (f"{XYZ} --default_dtype=float32",),
    "isolated_atoms": ("--train_file=with_isolated.xyz",),
    "average_energies": (f"{FROM_XYZ} --E0s=average --model=MACE --scaling=no_scaling",),
    "test_file": (f"{XYZ} --valid_file=last.xyz --test_file=first.xyz",),
    **{f"loss_{loss}": (f"{XYZ} --loss={loss}",) for loss in LOSSES},
    **{f"table_{table}": (f"{XYZ} --loss=universal --error_table={table}",) for table in TABLES},
    "heads": (f"{E0S} --heads={HEADS}",),
    "hdf5": (
        "--train_file=train --valid_file=val --statistics_file=statistics.json --num_workers=1",
    ),
    "hdf5_file": (
        f"{E0S} --train_file=train/train_0.h5 --valid_file=val/val_0.h5 --atomic_numbers=[1,8] "
        "--batch_size=1",
    ),
    "lmdb": (f"{E0S} --train_file=first.aselmdb --valid_file=last.aselmdb --atomic_numbers=[1,8]",),
    "naive_fine_tuning": (f"{XYZ} {FOUNDATION} --multiheads_finetuning=False",),
    "multihead_fine_tuning": (
        f"{XYZ} {FOUNDATION} --multiheads_finetuning=True --pt_train_file=first.xyz",
    ),
    "lora": (f"{XYZ} {FOUNDATION} --multiheads_finetuning=False --lora=True",),
    "enable_cueq": (f"{XYZ} --enable_cueq=True",),
    "enable_cueq_float32": (f"{XYZ} --enable_cueq=True --default_dtype=float32",),
    "dry_run": (f"{XYZ} --dry_run",),
    "plot": (f"{XYZ} --plot=True --plot_frequency=1",),
    "wandb": (f"{XYZ} --wandb --wandb_name=water --wandb_project=p --wandb_entity=e",),
}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    directory = tmp_path_factory.mktemp("data")
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    make_data(directory)
    prepare_hdf5(directory)
    for name in ("first", "last"):
        write_lmdb(directory / f"{name}.aselmdb", ase.io.read(directory / f"{name}.xyz", ":"))
    with pytest.MonkeyPatch.context() as monkeypatch:
        run_both(directory, directory / "foundation", monkeypatch, (f"{XYZ} --max_num_epochs=1",))
    torch.set_default_dtype(before)
    return directory


def _is_close(ours, theirs):
    if isinstance(theirs, float):
        return math.isclose(ours, theirs, rel_tol=1e-6, abs_tol=1e-9)
    return ours == theirs


#: Packages that cases need.
OPTIONAL = {
    "schedulefree": "schedulefree",
    "enable_cueq": "cuequivariance_torch",
    "enable_cueq_float32": "cuequivariance_torch",
}
#: Cases of every run of the tests; the others are slow ones.
QUICK = {
    *("stage_two_and_ema", "restart_latest", "patience", "ExponentialLR", "lbfgs", "clip_grad"),
    *("loss_weighted", "loss_universal", "heads", "hdf5", "lmdb", "naive_fine_tuning"),
    *("embedding_specs", "multihead_fine_tuning", "lora", "enable_cueq", "dry_run", "wandb"),
}
PARAMETERS = [pytest.param(case, marks=() if case in QUICK else pytest.mark.slow) for case in CASES]


@pytest.mark.filterwarnings("ignore:To copy construct from a tensor")
@pytest.mark.filterwarnings("ignore:cuequivariance_ops_torch is not available")
@pytest.mark.parametrize("case", PARAMETERS)
def test_heads_off_gives_the_numbers_of_mace(case, data, tmp_path, monkeypatch):
    package = OPTIONAL.get(case)
    if package is not None and not is_installed(package):
        pytest.skip(f"the optional package {package} is not installed")
    theirs, ours = run_both(data, tmp_path, monkeypatch, CASES[case])
    assert len(ours.entries) == len(theirs.entries)
    for mine, entry in zip(ours.entries, theirs.entries, strict=True):
        different = [key for key in entry if not _is_close(mine[key], entry[key])]
        assert not different, (mine, entry)
    assert ours.weights.keys() == theirs.weights.keys()
    for name, weights in theirs.weights.items():
        for key, value in weights.items():
            torch.testing.assert_close(ours.weights[name][key], value, rtol=1e-6, atol=1e-9)
    assert ours.files >= theirs.files
    assert len(ours.logged) == len(theirs.logged)
    if case == "dry_run":
        assert not ours.files
    else:
        assert "water.model" in ours.weights
