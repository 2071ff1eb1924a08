"""One probe a file: what can be read here, and readings of it."""
