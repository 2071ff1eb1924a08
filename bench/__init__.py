"""bench: trains language models under metered power and ranks them by accuracy per kWh."""

__version__ = "0.1.0"

EDITION = "1.0"
"""Edition of the rules that this code implements; results of equal editions are comparable."""
