"""RANK: records in, boards out; needs no torch."""
