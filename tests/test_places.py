"""What names a machine is found in a text, and taken out of it; other texts stay as they are."""

from __future__ import annotations

import pytest

from bench import places

TOLD = {
    "[Errno 2] No such file or directory: '/home/ada/my rows/train.tsv'":
        "[Errno 2] No such file or directory: '<path>'",
    'File "/home/ada/v/lib/python3.11/site-packages/torch/nn/x.py", line 7':
        'File "…/site-packages/torch/nn/x.py", line 7',
    "/home/ada/mine.py:12: UserWarning": "…/mine.py:12: UserWarning",
    "PYTHONPATH=/data/ada:/scratch/b ok": "PYTHONPATH=<path>:<path> ok",
    "~/rows and ~ada/rows are gone": "<path> and <path> are gone",
    "see file:///srv/ada/page": "see file://<path>",
    "teacher /data/runs/sst2/8e60429c0b20c9a6": "teacher …/8e60429c0b20c9a6",
}  # fmt: skip
PLAIN = (
    "3 kWh/run, 1/2 of 2, and/or, cpu/dram",
    "https://example.org/a/b?c=/d",
    "a model of org/name, and rows/train.tsv",
    "/sys/class/powercap is not there, nor '/proc/stat' or /dev/nvidia0",
    "settings: ~5 W, ± 3 %",
)


@pytest.mark.parametrize("text", TOLD)
def test_a_path_is_taken_out_of_a_text(text: str) -> None:
    assert places.paths(text)
    assert places.without(text) == TOLD[text]


@pytest.mark.parametrize("text", [*TOLD.values(), *PLAIN])
def test_a_text_that_names_no_place_stays_as_it_is(text: str) -> None:
    assert places.paths(text) == []
    assert places.without(text) == text


def test_a_host_and_its_user_are_taken_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(places, "_host", lambda: "babbage.example.org")
    monkeypatch.setattr(places, "_user", lambda: "ada")
    text = "ada@babbage: timeout of babbage.example.org; ada and babbages"
    assert places.without(text) == "<user>@<host>: timeout of <host>; ada and babbages"


def test_a_host_that_is_called_as_many_are_names_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(places, "_host", lambda: "localhost")
    monkeypatch.setattr(places, "_user", lambda: "root")
    assert places.without("root@localhost") == "root@localhost"
