"""Floor 2: modules on a MACE backbone."""
