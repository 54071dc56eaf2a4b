"""NVT molecular dynamics of many small systems at once with torch-sim, in an electric field.

``python run.py MODEL.pt FRAMES.xyz --field NAME`` runs all frames of a file, or ``--replicas`` of
its last one, as one batch: one call of the model a step. ``final.xyz`` gets the last structures.
Structures of one batch must agree in their periodic axes; slabs are periodic along all three, with
a model that was exported with ``--boundary slab``.
"""

import argparse
import time
from pathlib import Path

import ase.io
import torch
import torch_sim
from ase import Atoms, units
from metatomic_torchsim import MetatomicModel

TIME_STEP = 0.0005  # ps
TEMPERATURE = 300.0  # K
RELAXATION_TIME = 0.1  # ps, of the thermostat


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", help="file that mace_smile_export wrote")
    parser.add_argument("frames", help="structures to start from")
    parser.add_argument("--field", metavar="NAME", help="field of the model; none without")
    parser.add_argument("--replicas", type=int, help="so many copies of the last frame")
    parser.add_argument("--steps", type=int, default=200, help="number of steps (200)")
    parser.add_argument("--device", default="cpu", help="cpu or cuda (cpu)")
    parser.add_argument("--output", type=Path, default=Path("output"), help="folder (output)")
    return parser.parse_args()


def starting_systems(path: str, replicas: int | None) -> list[Atoms]:
    """Return the structures without their labels."""
    frames = ase.io.read(path, ":")
    chosen = frames if replicas is None else [frames[-1]] * replicas
    return [Atoms(one.symbols, one.positions, cell=one.cell, pbc=True) for one in chosen]


def main() -> None:
    """Run NVT of all systems, and compare their temperatures."""
    arguments = parse_arguments()
    arguments.output.mkdir(parents=True, exist_ok=True)
    systems = starting_systems(arguments.frames, arguments.replicas)

    # As in all engines, the field is a variant of the energy.
    variants = {} if arguments.field is None else {"energy": arguments.field}
    model = MetatomicModel(arguments.model, device=arguments.device, variants=variants)
    state = torch_sim.io.atoms_to_state(systems, torch.device(arguments.device), model.dtype)
    state.rng = 1  # seed of the first velocities and of the thermostat

    started = time.perf_counter()
    state = torch_sim.integrate(
        system=state,
        model=model,
        integrator=torch_sim.Integrator.nvt_langevin,
        n_steps=arguments.steps,
        temperature=TEMPERATURE,
        timestep=TIME_STEP,
        gamma=1 / RELAXATION_TIME,
    )
    elapsed = 1e3 * (time.perf_counter() - started) / arguments.steps / len(systems)
    kinetic = torch_sim.calc_kT(
        masses=state.masses, momenta=state.momenta, system_idx=state.system_idx
    )
    ase.io.write(arguments.output / "final.xyz", state.to_atoms())
    print(
        f"{len(systems)} systems, {arguments.steps} steps, {elapsed:.1f} ms a step and system; "
        f"last temperature {float(kinetic.mean()) / units.kB:.0f} K on average"
    )


if __name__ == "__main__":
    main()
