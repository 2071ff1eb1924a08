"""R: the run was made as the rules ask."""
