"""Take the README's pictures of the site. See scripts/screenshot."""

from __future__ import annotations

import base64
import os
import shutil
import struct
import subprocess
import sys
import tempfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np

PICTURES = Path("bench/docs")
WIDTH, HEIGHT, SCALE = 1320, 836, 2
COLOURS = 256
FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update", "--disable-dev-shm-usage",
]  # fmt: skip
PIXELS = """async address => {
  const image = new Image();
  image.src = address;
  await image.decode();
  const canvas = new OffscreenCanvas(image.width, image.height), pen = canvas.getContext('2d');
  pen.drawImage(image, 0, 0);
  const data = pen.getImageData(0, 0, image.width, image.height).data, parts = [];
  for (let i = 0; i < data.length; i += 32768)
    parts.push(String.fromCharCode(...data.subarray(i, i + 32768)));
  return {width: image.width, height: image.height, data: btoa(parts.join(''))};
}"""


def main() -> None:
    page = sys.argv[1] if len(sys.argv) > 1 else "index.html"
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if not chromium:
        sys.exit("error: no Chromium here\nhint: apt install chromium")
    with tempfile.TemporaryDirectory(prefix="bench-screenshot-") as folder:
        site = Path(folder) / "site"
        command = [sys.executable, "-m", "bench", "site", "build", "-o", str(site)]
        subprocess.run(command, check=True, env=os.environ | {"PYTHONPATH": os.getcwd()})
        take((site / page).as_uri(), chromium)


def take(address: str, chromium: str) -> None:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium, args=FLAGS)
        for scheme in ("light", "dark"):
            shot = screenshot(browser, address, scheme)
            pixels = browser.new_page().evaluate(PIXELS, shot)
            path = PICTURES / f"site-{scheme}.png"
            path.write_bytes(png(pixels))
            print(f"{path}: {path.stat().st_size:,} bytes")
        browser.close()


def screenshot(browser: Any, address: str, scheme: str) -> str:
    """The top of the page, as a data URL."""
    page = browser.new_page(
        viewport={"width": WIDTH, "height": HEIGHT}, device_scale_factor=SCALE,
        color_scheme=scheme, reduced_motion="reduce",
    )  # fmt: skip
    page.goto(address)
    page.evaluate("document.fonts.ready.then(() => true)")
    return "data:image/png;base64," + base64.b64encode(page.screenshot()).decode()


# --- fewer colours: a third of the bytes ---------------------------------------------------------


def png(pixels: dict[str, Any]) -> bytes:
    """The picture with a palette of its most frequent colours; others become their nearest."""
    width, height = pixels["width"], pixels["height"]
    rgba = np.frombuffer(base64.b64decode(pixels["data"]), np.uint8).reshape(-1, 4)
    palette, index = reduced(rgba[:, :3].astype(np.int64))
    rows = np.zeros((height, width + 1), np.uint8)  # a row begins with its filter: none
    rows[:, 1:] = index.reshape(height, width)
    head = struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0)
    parts = {b"IHDR": head, b"PLTE": palette.tobytes(), b"IDAT": zlib.compress(rows.tobytes(), 9)}
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*p) for p in [*parts.items(), (b"IEND", b"")])


def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def reduced(rgb: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """At most COLOURS colours, and which of them each pixel has."""
    codes = (rgb[:, 0] << 16) | (rgb[:, 1] << 8) | rgb[:, 2]
    found, which, counts = np.unique(codes, return_inverse=True, return_counts=True)
    every = np.stack([found >> 16 & 255, found >> 8 & 255, found & 255], axis=1)
    palette = every[np.argsort(-counts, kind="stable")[:COLOURS]]
    nearest = np.array([np.argmin(((palette - colour) ** 2).sum(axis=1)) for colour in every])
    return palette.astype(np.uint8), nearest[which.ravel()].astype(np.uint8)


if __name__ == "__main__":
    main()
