"""i-PI inside the process of a test: inputs, runs of a few steps, and what came out."""

import contextlib
import os
import warnings
from collections.abc import Iterator
from pathlib import Path

import ase
import ase.io
import numpy as np

INPUT = """<simulation verbosity="quiet" floatformat="%24.16e">
  <total_steps>1000</total_steps>
  <output prefix="run"> {outputs} </output>
  <prng><seed>7</seed></prng>
  <ffdirect name="model" pbc="{pbc}">
    <pes>custom</pes> <pes_path>driver.py</pes_path> <batch_size>{n_beads}</batch_size>
  </ffdirect>
  <system>
    <initialize nbeads="{n_beads}">
      <file mode="ase"> start.xyz </file>
      <velocities mode="thermal" units="kelvin"> 300 </velocities>
    </initialize>
    <forces><force forcefield="model"/></forces>
    <ensemble><temperature units="kelvin"> 300 </temperature></ensemble>
    {motion}
  </system>
</simulation>"""
CHECKPOINT = '<checkpoint filename="checkpoint" stride="1000000"/>'
NVE = """<motion mode="dynamics"> <fixcom> False </fixcom>
  <dynamics mode="nve"> <timestep units="femtosecond"> {time_step} </timestep> </dynamics>
</motion>"""
DRIVEN = """<motion mode="driven_dynamics"> <fixcom> False </fixcom>
  <driven_dynamics mode="eda-nve">
    <timestep units="femtosecond"> {time_step} </timestep>
    <efield> {field} </efield>
    <bec mode="driver"/>
  </driven_dynamics>
</motion>"""
TIME_STEP = 0.25  # fs


def write_start(folder: Path, atoms: ase.Atoms) -> Path:
    """A structure without labels, in a cell that i-PI takes."""
    plain = ase.Atoms(atoms.numbers, atoms.positions, cell=atoms.cell, pbc=True)
    for axis in range(3):
        if not plain.cell[axis].any():
            plain.cell[axis, axis] = 30.0
    ase.io.write(folder / "start.xyz", plain)
    return folder / "start.xyz"


def driven(field: str, time_step: float = TIME_STEP) -> str:
    """Motion in a field; the fields of ``<efield>`` as i-PI reads them."""
    return DRIVEN.format(field=field, time_step=time_step)


def nve(time_step: float = TIME_STEP) -> str:
    """Motion without a field of i-PI's."""
    return NVE.format(time_step=time_step)


@contextlib.contextmanager
def simulation(
    source: str,
    driver,
    folder: Path,
    n_beads: int = 1,
    pbc: bool = False,
    outputs: str = CHECKPOINT,
) -> Iterator:
    """A simulation with a driver that exists already; its folder is the current one meanwhile.

    :param source: ``<motion>`` of the input, or a whole input, e.g. a restart file.
    :param driver: what i-PI calls; it is not loaded again.
    """
    from ipi.engine import forcefields
    from ipi.scripting.interactive import InteractiveSimulation
    from ipi.utils.messages import verbosity
    from ipi.utils.softexit import softexit

    text = source
    if "<simulation" not in source:
        text = INPUT.format(motion=source, n_beads=n_beads, pbc=pbc, outputs=outputs)
    before, load_pes = os.getcwd(), forcefields.load_pes
    os.chdir(folder)
    forcefields.load_pes = lambda mode, path: lambda **parameters: driver
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # i-PI's own, of old names in Python
            run = InteractiveSimulation(text)
            try:
                yield run
            finally:
                run.stop()
                close_outputs(run)
                softexit.reset()
                verbosity.level = "low"  # what it is where no input says otherwise
    finally:
        forcefields.load_pes = load_pes
        os.chdir(before)


def close_outputs(run) -> None:
    """Close the files that i-PI writes until its process ends."""
    for output in run.outputs:
        if hasattr(output, "close_stream"):
            output.close_stream()


def state(run) -> np.ndarray:
    """Positions and momenta of all beads, shape ``(2, n_beads, 3 n_atoms)``, atomic units."""
    beads = run.syslist[0].beads
    return np.array([np.array(beads.q), np.array(beads.p)])


def masses(run) -> np.ndarray:
    """Masses of all coordinates, shape ``(3 n_atoms,)``, atomic units."""
    return np.array(run.syslist[0].beads.m3)[0]
