"""Encoders by name: from scratch, and pretrained ones from an allow-list."""
