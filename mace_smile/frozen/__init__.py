"""Charges and dipoles on a frozen MACE: features computed once, heads trained on them, chi."""
