"""The page of a sweep: what tuning cost and what it bought, by the journal that was submitted."""

from __future__ import annotations

import re
import shutil
from html import unescape
from pathlib import Path

import pytest

from bench.checks.tuning import NAME
from bench.site import paths, sweeps
from tests.conftest import REPOSITORY
from tests.site import making

PLACE = "sst2/transformer-small-baseline-half-epoch-tuned"
AT = paths.sweep(PLACE)


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """With the one entry that a sweep has chosen."""
    shutil.copytree(REPOSITORY / "results" / PLACE, tmp_path / "results" / PLACE)
    return tmp_path / "results"


def html_of(results: Path) -> str:
    (piece,) = sweeps.pieces(making.read(results))
    assert piece.files == (AT,)
    return str(piece.make()[AT])


def text_of(html: str) -> str:
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", html)).split())


def test_the_price_is_that_of_bench_sweep_show(results: Path) -> None:
    html = html_of(results)
    text = text_of(html)
    assert "≈13.1 times the energy of one training" in text
    assert "≈1.17 Wh (0.705 Wh to 1.64 Wh, what the estimate may be off by) for the trials" in text
    assert "estimated, not measured" in text
    assert "3 runs, accuracy 80.3 % on the scored split" in text
    assert "learning_rate 2e-4 to 2e-2, by its logarithm" in text
    assert "batch_size 32 or 64 or 128" in text


def test_every_trial_is_in_the_table(results: Path) -> None:
    html = html_of(results)
    table = html[html.index('class="full trials"') :]
    rows = re.findall(r"<tr.*?</tr>", table[: table.index("</table>")], re.DOTALL)[1:]
    assert len(rows) == 12
    assert sum("ended early" in row for row in rows) == 5
    (chosen,) = [row for row in rows if "chosen" in row]
    assert text_of(chosen).startswith("10 80.6 ≈0.0975 ≈1.02 80.6 chosen")
    assert all("≈" in row for row in rows)


def test_the_plot_tells_what_ended_early_and_what_was_estimated(results: Path) -> None:
    html = html_of(results)
    assert html.count('class="vl wide-plot"') == html.count('class="vl narrow-plot"') == 1
    assert "Crosses: ended early." in html
    assert "Hollow: energy was estimated" in html
    assert 'role="img"' in html
    assert " style=" not in html
    assert "best of so many trials, expected" in html


def test_it_leads_to_the_entry_its_runs_and_the_journal(results: Path) -> None:
    html = html_of(results)
    assert f'href="../../entries/{PLACE}.html"' in html
    assert f'href="../../files/{PLACE}/tuning.jsonl"' in html
    for run in ("f66a98056ac55961", "c5718e199b685d43", "76cac27127c7517c"):
        assert f'href="../../runs/{run}.html"' in html


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda journal: journal + b" ", "not the one that the runs name"),
        (lambda journal: b"", "not the one that the runs name"),
        (lambda journal: journal.replace(b"dropout", b"drop<ut"), "not the one"),
    ],
)
def test_a_journal_that_the_runs_do_not_name_says_nothing(
    results: Path, spoil: object, said: str
) -> None:
    journal = results / PLACE / NAME
    assert callable(spoil)
    journal.write_bytes(spoil(journal.read_bytes()))
    text = text_of(html_of(results))
    assert said in text
    assert "times the energy" not in text


@pytest.mark.parametrize(
    "line", [b"{}", b"[]", b'{"event":"asked","schema":1,"asked":[]}', b"\xff"]
)
def test_what_is_no_journal_breaks_no_page(
    results: Path, monkeypatch: pytest.MonkeyPatch, line: bytes
) -> None:
    (results / PLACE / NAME).write_bytes(line)
    monkeypatch.setattr(sweeps, "_named", lambda stated: (len(line), _digest(line)))
    assert "can't be read" in text_of(html_of(results)) or "no journal" in html_of(results)


def _digest(data: bytes) -> str:
    import hashlib

    return hashlib.sha256(data).hexdigest()


def test_hostile_settings_stay_text(results: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    evil = rb"<script>alert(1)</script>\u202e"
    journal = results / PLACE / NAME
    data = journal.read_bytes().replace(b"0.2436", evil)
    journal.write_bytes(data)
    monkeypatch.setattr(sweeps, "_named", lambda stated: (len(data), _digest(data)))
    html = html_of(results)
    assert "&lt;script&gt;alert(1)" in html
    assert "<script>" not in html
    assert "\u202e" not in html


def test_another_journal_is_another_page(results: Path) -> None:
    (before,) = sweeps.pieces(making.read(results))
    with (results / PLACE / NAME).open("ab") as file:
        file.write(b"\n")
    (after,) = sweeps.pieces(making.read(results))
    assert before.key != after.key


def test_without_a_journal_there_is_no_page(results: Path) -> None:
    (results / PLACE / NAME).unlink()
    assert list(sweeps.pieces(making.read(results))) == []
