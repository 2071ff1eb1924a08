"""CHOOSE: one recipe a file; a dataclass whose fields are its settings."""
