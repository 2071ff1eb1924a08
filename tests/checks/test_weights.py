"""Headers of safetensors that bench opens for nobody."""

from __future__ import annotations

import json
import os
import pickle
from pathlib import Path
from typing import Any

import pytest

from bench.checks import weights
from bench.checks.safe import Fault

ONE = {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}
TWO = {"dtype": "F16", "shape": [2], "data_offsets": [24, 28]}


def file(folder: Path, told: Any, size: int, length: int | None = None) -> Path:
    """A file with this header (JSON, or its text) and `size` bytes of data."""
    text = told if isinstance(told, bytes) else json.dumps(told).encode()
    path = folder / "model.safetensors"
    head = (len(text) if length is None else length).to_bytes(8, "little")
    path.write_bytes(head + text + b"\0" * size)
    return path


def test_what_safetensors_writes_is_read(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    from safetensors.torch import save_file

    path = tmp_path / "model.safetensors"
    tensors = {"layers.0.qkv.weight": torch.ones(2, 3), "b": torch.ones(4).half()}
    save_file(tensors, path, {"format": "pt"})
    found = weights.header(path)
    assert {n: (t.dtype, t.shape) for n, t in found.items()} == {
        "layers.0.qkv.weight": ("F32", (2, 3)), "b": ("F16", (4,))
    }  # fmt: skip


@pytest.mark.parametrize(
    ("told", "size", "said"),
    [
        ({"a": ONE, "b": {**TWO, "data_offsets": [25, 29]}}, 29, "b leaves a hole after"),
        ({"a": ONE, "b": {**TWO, "data_offsets": [20, 24]}}, 24, "b overlaps the one before"),
        ({"a": ONE, "b": {**ONE}}, 24, "overlaps the one before"),
        ({"a": {**ONE, "data_offsets": [8, 32]}}, 32, "a leaves a hole after"),
        ({"a": ONE}, 25, "tensors take 24 bytes, and it has 25"),
        ({"a": ONE}, 20, "tensors take 24 bytes, and it has 20"),
        ({"a": {**ONE, "shape": [2, 4]}}, 24, "a takes 24 bytes, and its shape 32"),
        ({"a": {**ONE, "dtype": "F8_E5M2"}}, 24, "a is of type 'F8_E5M2'"),
        ({"a": {**ONE, "dtype": ["F32"]}}, 24, "a is of type"),
        ({"a": {**ONE, "shape": [2.0, 3]}}, 24, "a has no shape that a weight may have"),
        ({"a": {**ONE, "shape": [True, 6]}}, 24, "a has no shape"),
        ({"a": {**ONE, "shape": [-2, -3]}}, 24, "a has no shape"),
        ({"a": {**ONE, "shape": [0, 6]}}, 24, "a has no shape"),
        ({"a": {**ONE, "shape": [6] + [1] * 8}}, 24, "a has no shape"),
        ({"a": {**ONE, "shape": [1 << 60, 1 << 60]}}, 24, "a has no shape"),
        ({"a": {**ONE, "data_offsets": [0, 24, 24]}}, 24, "a has no place in the data"),
        ({"a": {**ONE, "data_offsets": [-24, 0]}}, 24, "a has no place in the data"),
        ({"a": {**ONE, "more": 1}}, 24, "a is not told by dtype, shape and data_offsets"),
        ({"a": [1]}, 24, "a is not told by dtype, shape and data_offsets"),
        ({"../a": ONE}, 24, "names a tensor '../a'"),
        ({"a\nb": ONE}, 24, r"names a tensor 'a\\nb'"),
        ({"": ONE}, 24, "names a tensor ''"),
        ({"a": ONE, "__metadata__": {"x": 1}}, 24, "holds something other than texts"),
        ({"a": ONE, "__metadata__": "x"}, 24, "holds something other than texts"),
        ({"__metadata__": {"format": "pt"}}, 0, "has 0 tensors"),
        ({f"t{i}": ONE for i in range(5001)}, 24, "has 5,001 tensors"),
        (b'{"a":1,"a":2}', 0, "header has the key 'a' twice"),
        (b'{"a":' + b"[" * 2000 + b"]" * 2000 + b"}", 0, "header is nested more than 40 deep"),
        (b'{"a":NaN}', 0, "header holds NaN"),
        (b'{"a":' + b"9" * 5000 + b"}", 0, "number of 5,000 digits"),
        (b'{"a":1', 0, "header is not one JSON value"),
        (b'{"\xff":1}', 0, "header is not UTF-8"),
        (b"[1, 2]", 0, "header is no JSON object"),
        (b" " * ((1 << 20) + 1), 0, r"header has 1,048,577 bytes; 1,048,576 are the most"),
    ],
)
def test_a_header_is_refused(tmp_path: Path, told: Any, size: int, said: str) -> None:
    with pytest.raises(Fault, match=said) as refused:
        weights.header(file(tmp_path, told, size))
    assert refused.value.rule == weights.RULE
    assert "\n" not in refused.value.message


@pytest.mark.parametrize("length", [0, 1, 10_000, (1 << 63) + 5])
def test_a_header_that_is_not_as_long_as_it_says_is_refused(tmp_path: Path, length: int) -> None:
    with pytest.raises(Fault, match="no header of the length that it states"):
        weights.header(file(tmp_path, {"a": ONE}, 24, length))


def test_what_is_no_safetensors_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    for content in (b"", b"PK\3\4", pickle.dumps({"a": list(range(100))}), b"\0" * 100):
        path.write_bytes(content)
        with pytest.raises(Fault, match="is not safetensors"):
            weights.header(path)


def test_a_file_larger_than_may_be_is_refused(tmp_path: Path) -> None:
    path = file(tmp_path, {"a": ONE}, 24)
    os.truncate(path, (8 << 30) + 1)
    with pytest.raises(Fault, match="are the most") as refused:
        weights.header(path)
    assert refused.value.rule == "S2"


def test_a_link_a_pipe_and_nothing_are_refused(tmp_path: Path) -> None:
    real, path = tmp_path / "real", tmp_path / "model.safetensors"
    real.write_bytes(file(tmp_path, {"a": ONE}, 24).read_bytes())
    path.unlink()
    with pytest.raises(Fault, match="is not there"):
        weights.header(path)
    path.symlink_to(real)
    with pytest.raises(Fault, match="can't be opened"):
        weights.header(path)
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(Fault, match="is no regular file"):
        weights.header(path)
