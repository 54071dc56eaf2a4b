"""Floor 1: electrostatics, polarization and response as functions of plain tensors."""
