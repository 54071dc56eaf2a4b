"""A model over frames: its outputs, the errors against labels, and the files of both."""
