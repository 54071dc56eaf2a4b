"""The Coulomb sum alone: its cost, a plain Ewald sum to compare with, smoothness, accuracy.

Run as a script it prints the cost of one sum, in a process of its own so that the peak of the
memory is that of the sum:

    python benchmarks/coulomb_sum.py --repeat 4 4 4 [--method auto] [--device cpu]
"""

import argparse
import json
import math
import statistics
from pathlib import Path

import ase
import ase.build
import numpy as np
import torch
from mace.data.neighborhood import get_neighborhood
from timing import clock
from water import water_cell

from mace_smile.memory import keep_freed_memory
from mace_smile.physics.electrostatics import COULOMB_CONSTANT, Electrostatics
from mace_smile.physics.parameters import CoulombParameters, choose_parameters

#: Edge in A of 54 molecules of ambient water
AMBIENT_LENGTH = 11.74
#: Charges in e of rigid water models
CHARGES = {"O": -0.8, "H": 0.4, "Na": 1.0, "Cs": 1.0, "Zn": 1.0, "Cl": -1.0, "S": -1.0}
#: Crystals with charges of +1 and -1: Madelung constant for the nearest distance, and that
#: distance over the cubic edge (Crandall and Buhler 1987, 10.1088/0305-4470/20/16/024).
CRYSTALS = {
    ("NaCl", "rocksalt"): (1.74756459463318, 1.0 / 2.0),
    ("CsCl", "cesiumchloride"): (1.76267477307099, math.sqrt(3.0) / 2.0),
    ("ZnS", "zincblende"): (1.63805505338879, math.sqrt(3.0) / 4.0),
}


class System:
    """Charges, positions and a cell as leaves, for one structure.

    :param atoms: the structure; elements of ``CHARGES``.
    :param cutoff: of the pairs in A; None for sums without a real-space part.
    """

    def __init__(self, atoms: ase.Atoms, cutoff: float | None = None, device: str = "cpu") -> None:
        def tensor(values: np.ndarray) -> torch.Tensor:
            return torch.tensor(values, dtype=torch.get_default_dtype(), device=device)

        charges = np.array([[CHARGES[symbol]] for symbol in atoms.get_chemical_symbols()])
        self.charges = tensor(charges).requires_grad_()
        self.positions = tensor(atoms.positions).requires_grad_()
        self.cells = tensor(atoms.cell.array[None])
        self.periodic = torch.tensor(atoms.pbc[None], device=device)
        self.batch = torch.zeros(len(atoms), dtype=torch.long, device=device)
        self.edge_index = torch.zeros((2, 0), dtype=torch.long, device=device)
        self.shifts = torch.zeros((0, 3), device=device)
        if cutoff is not None:
            edges, shifts, _, _ = get_neighborhood(
                atoms.positions, cutoff, tuple(atoms.pbc), cell=atoms.cell.array.copy()
            )
            self.edge_index = torch.tensor(edges, device=device)
            self.shifts = tensor(shifts)

    def energy(self, model: Electrostatics) -> torch.Tensor:
        """In eV."""
        sender, receiver = self.edge_index
        vectors = self.positions[receiver] - self.positions[sender] + self.shifts
        potential = model(
            self.charges,
            self.positions,
            self.cells,
            self.periodic,
            self.batch,
            self.edge_index,
            vectors,
        )
        return 0.5 * (self.charges * potential).sum()

    def gradients(self, model: Electrostatics) -> None:
        """Energy and its gradients by positions and charges."""
        torch.autograd.grad(self.energy(model), [self.positions, self.charges])


def make_sum(parameters: CoulombParameters, device: str = "cpu") -> Electrostatics:
    """The module of a sum, where it is timed."""
    return Electrostatics(parameters).to(device)


def peak_memory(device: str) -> int:
    """Largest memory this process has held, in bytes."""
    if device != "cpu":
        return torch.cuda.max_memory_allocated()
    status = Path("/proc/self/status").read_text()
    return 1024 * int(status.split("VmHWM:")[1].split()[0])


def cost_of_sum(atoms: ase.Atoms, method: str, device: str, repeats: int) -> dict[str, float | str]:
    """Milliseconds of energy and gradients, and bytes beyond those of a process without them."""
    parameters = choose_parameters(method)
    model = make_sum(parameters, device)
    System(water_cell(9, 6.0), device=device).gradients(model)  # loads what is loaded once
    baseline = peak_memory(device)
    system = System(atoms, device=device)
    seconds = []
    for _ in range(repeats + 1):
        start = clock(device)
        system.gradients(model)
        seconds.append(clock(device) - start)
    chosen = "ewald" if len(atoms) <= parameters.ewald_atoms else parameters.mesh_method
    return {
        "atoms": len(atoms),
        "method": chosen if method == "auto" else method,
        "milliseconds": 1e3 * statistics.median(seconds[1:]),
        "bytes": peak_memory(device) - baseline,
    }


def plain_ewald(
    atoms: ase.Atoms, wavelength: float, smearing: float, device: str, share: float = 1.0
) -> tuple[float, float]:
    """A sum over all k-vectors with a cosine and a sine for each atom, and its seconds.

    Energy and gradients by autograd, in chunks of k-vectors that fit into memory.

    :param share: of the k-vectors that is summed; the seconds are those of all.
    :return: energy in eV (with the self energies taken away), and seconds.
    """
    system = System(atoms, device=device)
    reciprocal = 2.0 * math.pi * torch.linalg.inv(system.cells[0]).T
    limits = [int(length / wavelength) for length in atoms.cell.lengths()]
    numbers = torch.cartesian_prod(*[torch.arange(-n, n + 1, device=device) for n in limits])
    numbers = numbers[numbers.shape[0] // 2 + 1 :].to(reciprocal.dtype)  # k or -k, not 0
    vectors = numbers @ reciprocal
    vectors = vectors[vectors.norm(dim=1) <= 2.0 * math.pi / wavelength]
    total = vectors.shape[0]
    chosen = vectors[torch.randperm(total, device=device)[: max(1, round(share * total))]]
    energy = 0.0
    prefactor = 4.0 * math.pi * COULOMB_CONSTANT / atoms.get_volume()
    start = clock(device)
    for chunk in chosen.split(max(1, 2_000_000 // len(atoms))):
        phases = system.positions @ chunk.T
        factors = (system.charges * phases.cos()).sum(0) ** 2
        factors = factors + (system.charges * phases.sin()).sum(0) ** 2
        squares = chunk.square().sum(1)
        part = prefactor * (torch.exp(-0.5 * smearing**2 * squares) / squares * factors).sum()
        torch.autograd.grad(part, [system.positions, system.charges])
        energy += float(part)
    seconds = (clock(device) - start) * total / chosen.shape[0]
    own = COULOMB_CONSTANT / (math.sqrt(2.0 * math.pi) * smearing)
    return energy - own * float(system.charges.detach().square().sum()), seconds


def largest_jump(method: str, length: float, device: str) -> float:
    """Largest step in eV beyond a smooth curve, of 200 isotropic strains within one percent.

    The curve is a polynomial of degree 8 in the strain; 162 atoms, fixed charges.
    """
    model = make_sum(choose_parameters(method), device)
    strains = np.linspace(-0.01, 0.01, 200)
    energies = []
    for strain in strains:
        atoms = water_cell(length=length)
        atoms.set_cell(atoms.cell * (1.0 + strain), scale_atoms=True)
        energies.append(float(System(atoms, device=device).energy(model).detach()))
    smooth = np.polynomial.Polynomial.fit(strains, energies, 8)(strains)
    return float(np.abs(np.diff(np.array(energies) - smooth)).max())


def handedness_error(method: str, device: str) -> float:
    """Energy of a left-handed cell less that of the right-handed one, in eV."""
    model = make_sum(choose_parameters(method), device)
    atoms = water_cell(length=AMBIENT_LENGTH)
    atoms.set_cell(atoms.cell.array @ np.array([[1, 0.1, 0], [0, 1, 0.2], [0, 0, 1]]))
    energies = []
    for order in ([0, 1, 2], [1, 0, 2]):
        atoms.set_cell(atoms.cell.array[order])
        energies.append(float(System(atoms, device=device).energy(model).detach()))
    return energies[1] - energies[0]


def madelung_error(name: str, structure: str, method: str, device: str) -> float:
    """Relative error of the Madelung constant of a crystal, with ``full`` terms."""
    constant, nearest = CRYSTALS[(name, structure)]
    edge = 5.0
    atoms = ase.build.bulk(name, structure, a=edge)
    accuracy = 1e-8 if method == "ewald" else 1e-5
    parameters = choose_parameters(method, "full", 10.0, accuracy=accuracy)
    energy = float(System(atoms, 10.0, device).energy(make_sum(parameters, device)).detach())
    return abs(-energy * nearest * edge / COULOMB_CONSTANT / constant - 1.0)


def vacuum_error(method: str, device: str) -> float:
    """Relative change of the energy of a slab when the vacuum of the model's cell doubles."""
    atoms = water_cell(length=AMBIENT_LENGTH)
    atoms.pbc = [True, True, False]
    energies = []
    for vacuum in (3.0, 6.0):
        model = make_sum(choose_parameters(method, slab_vacuum=vacuum), device)
        energies.append(float(System(atoms, device=device).energy(model).detach()))
    return abs(energies[0] / energies[1] - 1.0)


def main() -> None:
    """Print the cost of one sum as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeat", type=int, nargs=3, required=True)
    parser.add_argument("--method", default="auto")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--return_memory", action="store_true")
    args = parser.parse_args()
    if not args.return_memory:
        keep_freed_memory()
    torch.set_num_threads(args.threads)
    torch.set_default_dtype(torch.float64)
    atoms = water_cell(length=AMBIENT_LENGTH).repeat(args.repeat)
    print(json.dumps(cost_of_sum(atoms, args.method, args.device, args.repeats)))


if __name__ == "__main__":
    main()
