"""Checks of a user's own model on a user's own structures: derivatives, symmetries, dynamics."""
