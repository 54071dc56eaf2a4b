"""One rank of two that train a model: gloo on the CPU, where MACE itself starts no group."""

import os

import torch
import torch.distributed
from mace.data import AtomicData, KeySpecification, config_from_atoms
from mace.modules.loss import WeightedEnergyForcesLoss
from mace.tools import AtomicNumberTable, torch_geometric
from torch.nn.parallel import DistributedDataParallel

from mace_smile.training.labels import LabelSettings, with_complete_labels
from mace_smile.training.losses import TERMS, WithExtraTerms
from training_data import frames

KEYS = KeySpecification(
    info_keys={"energy": "REF_energy", "dipole": "REF_dipole", "total_charge": "total_charge"},
    arrays_keys={
        "forces": "REF_forces",
        "charges": "REF_charges",
        "born_effective_charges": "REF_becs",
    },
)


def batch_of(numbers):
    """Some of four frames, of which only the first two have our labels."""
    structures = frames(4)
    for atoms in structures[2:]:
        del atoms.info["REF_dipole"], atoms.arrays["REF_becs"], atoms.arrays["REF_charges"]
    settings = LabelSettings(born_effective_charges=True)
    from_config = with_complete_labels(AtomicData.from_config, settings)
    table = AtomicNumberTable([1, 8, 10])
    configs = [config_from_atoms(structures[number], KEYS) for number in numbers]
    data = [from_config(config, z_table=table, cutoff=4.0) for config in configs]
    return torch_geometric.Batch.from_data_list(data)


def backward(model, numbers):
    """Gradients of all loss terms, one of them with zero weight."""
    torch.set_default_dtype(torch.float64)
    weights = {"macro_dipole": 2.0, "born_effective_charges": 3.0, "charges": 0.0}
    terms = [TERMS[name](weight) for name, weight in weights.items()]
    batch = batch_of(numbers)
    output = model(batch.to_dict(), training=True, compute_force=True)
    loss = WithExtraTerms(WeightedEnergyForcesLoss(), terms)(ref=batch, pred=output)
    loss.backward()
    return loss.item(), {n: p.grad for n, p in model.named_parameters() if p.requires_grad}


def one_rank(rank, port, model, path):
    """One of two ranks; the second sees no labels of ours."""
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    torch.distributed.init_process_group("gloo", rank=rank, world_size=2)
    parallel = DistributedDataParallel(model)
    loss, gradients = backward(parallel, [0, 1] if rank == 0 else [2, 3])
    torch.save((loss, gradients), f"{path}/{rank}.pt")
    torch.distributed.barrier()
    # Destroying the group of gloo can wait for the interpreter's lock for good.
    os._exit(0)
