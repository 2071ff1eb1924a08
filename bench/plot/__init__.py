"""Draws the power of a run: `figure` says what there is to draw, `terminal` and `picture` draw."""
