"""Labels from the outputs of other codes: total dipoles of VASP, CP2K and Quantum ESPRESSO."""
