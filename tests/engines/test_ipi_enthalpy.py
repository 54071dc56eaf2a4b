"""The enthalpy of a periodic run of i-PI in a field, out of the files that i-PI writes."""

import importlib.util

import ase.io
import numpy as np
import pytest
import torch

from exported import FIELDS, LOCAL
from helpers import bulk_water, make_model
from ipi_runs import driven, simulation, write_start
from mace_smile.analysis.field_work import field_work
from metatensor_models.export import build_atomistic_model
from metatensor_models.options import ExportOptions

pytestmark = [
    pytest.mark.engine,
    pytest.mark.skipif(
        importlib.util.find_spec("ipi") is None, reason="the package ipi is not installed"
    ),
]

FIELD = '<amp units="v/ang"> [ 0.3, -0.2, 0.4 ] </amp> <freq units="thz"> 60 </freq>'
OUTPUTS = """
<properties filename="properties" stride="1"> [ conserved{electronvolt}, Efield ] </properties>
<trajectory filename="positions" stride="1" format="ase"> positions </trajectory>
<trajectory filename="born" stride="1" extra_type="BEC"> extras </trajectory>"""
V_PER_A = 0.019446903811441516  # atomic units, i-PI's


def enthalpies(folder, driver, time_step: float, n_steps: int) -> tuple[np.ndarray, np.ndarray]:
    """``conserved`` and work of the field in each step, in eV."""
    motion = driven(FIELD, time_step)
    with simulation(motion, driver, folder, outputs=OUTPUTS) as ipi:
        ipi.run(n_steps)
    start = ase.io.read(folder / "start.xyz")
    n_atoms = len(start)
    table = np.loadtxt(folder / "run.properties")
    frames = ase.io.read(folder / "run.positions_0.extxyz", ":")
    positions = np.array([frame.positions for frame in frames])
    rows = np.loadtxt(folder / "run.born_0").reshape(-1, n_atoms, 3, 3)
    born_charges = rows.transpose(0, 1, 3, 2)  # field index first
    fields = table[:, 1:4] / V_PER_A
    work = field_work(positions, born_charges, fields, start.cell.array, np.ones(3, dtype=bool))
    return table[:, 0], work


def test_conserved_minus_work_is_conserved_in_a_periodic_cell(tmp_path):
    from metatensor_models.ipi_driver import SmileDriver

    torch.set_default_dtype(torch.float64)
    options = ExportOptions(fields=FIELDS, boundary="periodic")
    build_atomistic_model(make_model(**LOCAL), options).save(tmp_path / "model.pt")
    start = write_start(tmp_path, bulk_water())
    drifts = []
    with torch.jit.optimized_execution(False):
        driver = SmileDriver(template=start, model=tmp_path / "model.pt")
        for halved in (1, 2):
            folder = tmp_path / str(halved)
            folder.mkdir()
            write_start(folder, bulk_water())
            energies, work = enthalpies(folder, driver, 0.1 / halved, 24 * halved)
            drifts.append(np.ptp(energies - work))
    assert np.ptp(energies) > 1e-3
    assert drifts[0] < 2e-2 * np.ptp(energies)
    assert drifts[1] < 0.3 * drifts[0]
