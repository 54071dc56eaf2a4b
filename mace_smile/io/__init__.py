"""Labels from the outputs of other codes: total dipoles and Born effective charges."""
