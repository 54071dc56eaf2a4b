"""An NVT run that may be killed at any moment and goes on from its last restart.

``python benchmarks/engine_nvt.py ENGINE MODEL.pt FRAME.xyz FOLDER --steps N`` writes, in FOLDER, a
table (step, temperature in K, potential energy in eV) and a trajectory, with ASE both in one file;
called again, it cuts them back to the last restart and goes on, until N steps are done. 300 K,
Langevin.
"""

import argparse
import contextlib
import runpy
import sys
import time
from pathlib import Path

import ase.io
import numpy as np
from ase import Atoms, units
from ase.md.velocitydistribution import MaxwellBoltzmannDistribution

from mace_smile.errors import UserError
from mace_smile.io.restart_step import step_of_restart
from mace_smile.io.trajectory_cut import cut_trajectories

EXAMPLES = Path(__file__).parents[1] / "examples"
TEMPERATURE = 300.0  # K
RELAXATION_TIME = 50.0  # fs, of the thermostat
STRIDE = 10  # steps between rows of the table
FRAMES = 50  # steps between frames of the trajectory
HEAD = "# step temperature potential"
TABLE = {"ase": "md.extxyz", "ipi": "ipi.table", "lammps": "table.txt"}
TRAJECTORY = {"ase": "md.extxyz", "ipi": "ipi.positions_0.xyz", "lammps": "md.lammpstrj"}


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("engine", choices=TABLE)
    parser.add_argument("model", type=Path, help="file that mace_smile_export wrote")
    parser.add_argument("frame", type=Path, help="structure to start from")
    parser.add_argument("folder", type=Path, help="folder of the run")
    parser.add_argument("--steps", type=int, default=1000, help="of the whole run (1000)")
    parser.add_argument("--time_step", type=float, default=4.0, help="in fs (4)")
    parser.add_argument("--restarts", type=int, default=500, help="of the restarts (500)")
    return parser.parse_args()


def read_table(folder: Path, engine: str) -> np.ndarray:
    """Steps, temperatures in K and potential energies in eV, shape ``(n_rows, 3)``."""
    path = folder / TABLE[engine]
    if engine != "ase":
        return np.loadtxt(path, ndmin=2)
    return np.array(
        [
            (atoms.info["step"], atoms.get_temperature(), atoms.get_potential_energy())
            for atoms in ase.io.iread(path)
        ]
    )


def start_atoms(frame: Path) -> Atoms:
    """The structure with velocities."""
    read = ase.io.read(frame)
    atoms = Atoms(read.symbols, read.positions, cell=read.cell, pbc=read.pbc)
    MaxwellBoltzmannDistribution(atoms, temperature_K=TEMPERATURE, rng=np.random.default_rng(1))
    return atoms


def written_files(folder: Path, engine: str) -> list[Path]:
    """Table and trajectory, where they exist and are not empty."""
    paths = [folder / TABLE[engine], folder / TRAJECTORY[engine]]
    return [path for path in paths if path.exists() and path.stat().st_size > 0]


def numbered_restarts(folder: Path, pattern: str) -> list[Path]:
    """Restart files whose name ends with a number, the last first."""
    return sorted(folder.glob(pattern), key=lambda path: -int(path.name.rsplit("_", 1)[-1]))


def run_ase(settings: argparse.Namespace) -> None:
    """With ASE's Langevin, as a ResumableRun, which cuts its trajectory itself."""
    from ase.md.langevin import Langevin
    from metatomic_ase import MetatomicCalculator

    from mace_smile.dynamics.resumable import ResumableRun

    atoms = start_atoms(settings.frame)
    atoms.calc = MetatomicCalculator(settings.model)
    dynamics = Langevin(
        atoms,
        settings.time_step * units.fs,
        temperature_K=TEMPERATURE,
        friction=1 / (RELAXATION_TIME * units.fs),
        fixcm=False,
        rng=np.random.default_rng(2),
    )
    run = ResumableRun(
        dynamics,
        settings.folder / "md.restart",
        settings.folder / TRAJECTORY["ase"],
        stride=STRIDE,
        restart_stride=settings.restarts,
    )
    run.run(settings.steps)


def remove_files(folder: Path, engine: str) -> None:
    """Remove what a run wrote that was killed before its first restart."""
    for path in written_files(folder, engine):
        path.unlink()


def run_lammps(settings: argparse.Namespace) -> None:
    """With ``fix langevin``; restart files have their step in their name."""
    folder = settings.folder
    for restart in numbered_restarts(folder, "restart_*"):
        with contextlib.suppress(Exception):  # half written: LAMMPS raises nothing special
            lmp = lammps_of_restart(settings, restart)
            cut_trajectories(written_files(folder, "lammps"), step_of_restart(restart), before=True)
            break
    else:
        remove_files(folder, "lammps")
        lmp = lammps_of_frame(settings)
    first = int(lmp.extract_global("ntimestep"))
    table, dump = folder / TABLE["lammps"], folder / TRAJECTORY["lammps"]
    lmp.commands_list(
        [
            "fix integrate all nve",
            f"fix thermostat all langevin {TEMPERATURE} {TEMPERATURE} {RELAXATION_TIME / 1000} "
            f"{first + 12345}",
            f"timestep {settings.time_step / 1000}",
            "thermo_modify norm no",
            "compute_modify thermo_temp extra/dof 0",  # the thermostat moves the centre of mass too
            "variable now equal step",
            "variable temperature equal temp",
            "variable potential equal pe",
            f'fix table all print {STRIDE} "${{now}} ${{temperature}} ${{potential}}" '
            f'append {table} title "{HEAD}" screen no',
            f"dump frames all custom {FRAMES} {dump} id type x y z",
            "dump_modify frames append yes sort id flush yes",
            f"restart {settings.restarts} {folder}/restart_*",
        ]
    )
    elements = sorted(set(ase.io.read(settings.frame).get_chemical_symbols()))
    lmp.attach_model(settings.model, elements, device="cpu")
    lmp.command(f"run {settings.steps} upto post no")
    lmp.close()


def new_lammps():
    """A LAMMPS without a box."""
    from metatensor_models.lammps import MetatomicLammps

    lmp = MetatomicLammps(["-log", "none", "-screen", "none"])
    lmp.commands_list(["units metal", "atom_style atomic", "atom_modify map yes"])
    return lmp


def lammps_of_frame(settings: argparse.Namespace):
    """A LAMMPS with the structure, its velocities and no forces."""
    from metatensor_models.lammps import write_lammps_data

    atoms = start_atoms(settings.frame)
    elements = sorted(set(atoms.get_chemical_symbols()))
    data = settings.folder / "start.data"
    boundary = write_lammps_data(data, atoms, elements)
    lmp = new_lammps()
    lmp.commands_list([boundary, f"read_data {data}", "pair_style zero 3.0", "pair_coeff * *"])
    return lmp


def lammps_of_restart(settings: argparse.Namespace, restart: Path):
    """A LAMMPS that has read a restart file; raises for one that is not complete."""
    lmp = new_lammps()
    try:
        lmp.commands_list([f"read_restart {restart}", "pair_style zero 3.0", "pair_coeff * *"])
    except Exception:
        lmp.close()
        raise
    return lmp


def run_ipi(settings: argparse.Namespace) -> None:
    """With i-PI and its metatomic driver; checkpoints are numbered, so one is always complete."""
    example = runpy.run_path(str(EXAMPLES / "ipi_finite_field" / "run.py"))
    folder = settings.folder
    address = f"smile-nvt-{folder.parent.name}-{folder.name}"
    socket = Path(f"/tmp/ipi_{address}")
    socket.unlink(missing_ok=True)  # of a run that was killed
    name = "input.xml"
    for checkpoint in numbered_restarts(folder, "ipi.checkpoint_*"):
        try:
            step = step_of_restart(checkpoint)
        except UserError:  # half written
            checkpoint.unlink()
            continue
        cut_trajectories(written_files(folder, "ipi"), step)
        name = "continue.xml"
        text = checkpoint.read_text()
        start, end = text.index("<address>"), text.index("</address>")
        text = f"{text[:start]}<address>{address}{text[end:]}"
        (folder / name).write_text(text)
        break
    else:
        remove_files(folder, "ipi")
        atoms = example["with_full_cell"](start_atoms(settings.frame))
        example["write_start"](folder / "start.xyz", atoms)
        (folder / name).write_text(nvt_input(settings, address))
    server = [example["program"]("i-pi"), name]
    driver = [example["program"]("i-pi-driver-py"), "-u", "-a", address, "-m", "metatomic", "-o"]
    options = f"template={settings.frame.absolute()},model={settings.model.absolute()},device=cpu"
    process = example["process"]
    with process(server, folder, folder / "ipi.log") as ipi:
        while not socket.exists():
            if ipi.poll() is not None:
                sys.exit(f"i-PI did not start; see {folder / 'ipi.log'}")
            time.sleep(0.02)
        with process([*driver, options], folder, folder / "driver.log"):
            ipi.wait()
    if ipi.returncode != 0:
        sys.exit(f"i-PI has failed; see {folder / 'ipi.log'}")


def nvt_input(settings: argparse.Namespace, address: str) -> str:
    """The input of i-PI; the checkpoint comes last, when the frames of its step are written."""
    return f"""<simulation verbosity="low" floatformat="%24.16e">
  <total_steps>{settings.steps}</total_steps>
  <output prefix="ipi">
    <properties filename="table" stride="{STRIDE}">
      [ step, temperature{{kelvin}}, potential{{electronvolt}} ]
    </properties>
    <trajectory filename="positions" stride="{FRAMES}" format="xyz">
      positions{{angstrom}}
    </trajectory>
    <checkpoint filename="checkpoint" stride="{settings.restarts}" overwrite="False"/>
  </output>
  <prng><seed>31415</seed></prng>
  <ffsocket name="model" mode="unix" pbc="false">
    <address>{address}</address><latency>1e-4</latency><timeout>600</timeout>
  </ffsocket>
  <system>
    <initialize nbeads="1">
      <file mode="xyz"> start.xyz </file>
      <velocities mode="thermal" units="kelvin"> {TEMPERATURE} </velocities>
    </initialize>
    <forces><force forcefield="model"/></forces>
    <ensemble><temperature units="kelvin"> {TEMPERATURE} </temperature></ensemble>
    <motion mode="dynamics">
      <fixcom> False </fixcom>
      <dynamics mode="nvt">
        <timestep units="femtosecond"> {settings.time_step} </timestep>
        <thermostat mode="langevin">
          <tau units="femtosecond"> {RELAXATION_TIME} </tau>
        </thermostat>
      </dynamics>
    </motion>
  </system>
</simulation>
"""


def main() -> None:
    """Start the run, or go on with it."""
    settings = parse_arguments()
    settings.folder = settings.folder.absolute()
    settings.folder.mkdir(parents=True, exist_ok=True)
    {"ase": run_ase, "ipi": run_ipi, "lammps": run_lammps}[settings.engine](settings)


if __name__ == "__main__":
    main()
