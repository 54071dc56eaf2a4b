"""The commands: each file parses arguments, calls one function and holds no logic."""
