"""The documents of this repository as pages, and the rules."""

from __future__ import annotations

from bench.site.markdown import from_markdown

__all__ = ["from_markdown"]
