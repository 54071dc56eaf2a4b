"""From structures and trajectories to what is observed: potential profiles."""
