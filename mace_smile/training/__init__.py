"""Training through MACE's own training script: flags, labels, losses, metrics, the bridge."""
