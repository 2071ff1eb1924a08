"""The one door to vl-convert, whose engine has threads: a process that was forked from one where it
had started would wait for them for ever, and asks a fresh process instead."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

_home: int | None = None
"""The process that the engine was started in."""

_ASK = (
    "import json, sys, vl_convert\n"
    "name, given = json.load(sys.stdin)\n"
    "sys.stdout.buffer.write(getattr(vl_convert, name)(**given).encode())\n"
)


def svg(spec: Mapping[str, Any]) -> str:
    return _text("vegalite_to_svg", vl_spec=dict(spec))


def html(spec: Mapping[str, Any]) -> str:
    """A page with all its scripts in it."""
    return _text("vegalite_to_html", vl_spec=dict(spec), bundle=True)


def bundle(snippet: str) -> str:
    """Vega, Vega-Lite and Vega-Embed as one script that ends with `snippet`."""
    return _text("javascript_bundle", snippet=snippet)


def png(spec: Mapping[str, Any]) -> bytes:
    import vl_convert

    _start()
    return vl_convert.vegalite_to_png(dict(spec), scale=2, ppi=96)


def pdf(spec: Mapping[str, Any]) -> bytes:
    import vl_convert

    _start()
    return vl_convert.vegalite_to_pdf(dict(spec))


def _start() -> bool:
    """Whether the engine can be used in this process."""
    global _home
    _home = _home or os.getpid()
    return _home == os.getpid()


def _text(name: str, **given: Any) -> str:
    if _start():
        import vl_convert

        return str(getattr(vl_convert, name)(**given))
    asked = json.dumps([name, given]).encode()
    ran = subprocess.run([sys.executable, "-c", _ASK], input=asked, capture_output=True, check=True)
    return ran.stdout.decode()
