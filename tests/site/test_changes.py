"""Changes: newest first, each saying what came of it; and a feed that programs can read."""

from __future__ import annotations

import re
import shutil
from datetime import datetime
from html import unescape
from pathlib import Path
from xml.etree import ElementTree

import pytest

from bench import submission
from bench.site import changes, paths
from tests.site import submitted
from tests.site.submitted import EVIL, GOOD

ATOM = "{http://www.w3.org/2005/Atom}"


def made(results: Path, url: str | None = None) -> dict[str, str]:
    found = submitted.read(results, url=url)
    return {at: str(text) for p in changes.pieces(found) for at, text in p.make().items()}


def text_of(html: str) -> str:
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", html)).split())


def many(results: Path, count: int) -> None:
    """Retractions of one entry, an hour apart."""
    for i in range(count):
        when = f"2026-{1 + i // 240 % 12:02d}-{1 + i // 24 % 10:02d}T{i % 24:02d}:00:00+00:00"
        submitted.say(results, f"r{i:04d}", kind="retraction", retracts=GOOD, reason="again",
                      submitted_at=when, title=f"No {i}")  # fmt: skip


def entries_of(feed: str) -> list[ElementTree.Element]:
    return ElementTree.fromstring(feed).findall(f"{ATOM}entry")


def test_a_submission_says_where_it_ranks_now(results: Path) -> None:
    text = text_of(made(results)[paths.CHANGES])
    ((_, entry),) = submitted.read(results).seats_of[GOOD]
    assert "26 November 2026 1 entry A small Transformer from scratch" in text
    assert f"{entry.tier} , rank 1" in text
    assert re.search(
        r"score [\d.,]+ /kWh ±\d+% accuracy 92\.\d % ±\d\.\d energy 11\.\d Wh ±10%", text
    )


def test_a_retraction_is_an_event_and_its_entry_is_marked(results: Path) -> None:
    submitted.retract(results)
    html = made(results)[paths.CHANGES]
    text = text_of(html)
    assert text.index("27 November 2026") < text.index("26 November 2026")
    assert "retraction About toy/transformer-small-baseline" in text
    assert "the plug was loose" in text
    assert "A small Transformer from scratch retracted" in text
    assert "/kWh" not in text
    assert html.count('href="entries/toy/transformer-small-baseline.html"') == 2


def test_corrections_and_repetitions_are_called_so(results: Path) -> None:
    newer = Path(shutil.copytree(results / GOOD, results / "toy/newer"))
    submitted.edit(newer, supersedes=GOOD, reason="a wrong title")
    again = Path(shutil.copytree(results / GOOD, results / "toy/again"))
    submitted.edit(again, verifies=GOOD)
    found = submitted.read(results)
    whats = {s.place: changes.kind_of(s) for s in changes.newest_first(found)}
    assert whats == {GOOD: "submitted", "toy/newer": "corrected", "toy/again": "verified"}


def test_of_many_the_latest_are_on_the_page_and_all_on_their_months(
    results: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(changes, "MOST", 20)
    monkeypatch.setattr(changes, "MOST_OF_A_MONTH", 100)
    many(results, 250)
    pages = made(results)
    shown = re.findall(r"\bNo (\d+)", text_of(pages[paths.CHANGES]))
    assert len(shown) == 19  # and the entry itself
    months = [at for at in pages if at.startswith("changes/")]
    assert set(months) == {
        paths.month(m) for m in ("2026-11", "2026-02", "2026-01", "2026-01-2", "2026-01-3")
    }
    every = [n for at in months for n in re.findall(r"\bNo (\d+)", text_of(pages[at]))]
    assert sorted(map(int, every)) == list(range(250))
    assert all(at.removeprefix("changes/") in pages[paths.CHANGES] for at in months)


def test_what_says_no_time_comes_last(results: Path) -> None:
    submitted.retract(results)
    for text in ("soon", "9999-12-31T23:59:59-23:00", "2026-11-28T00:00:00"):
        submitted.edit(results / "toy/retraction", submitted_at=text)
        events = changes.newest_first(submitted.read(results))
        assert [e.place for e in events].index("toy/retraction") == (not text.startswith("2026"))
        ElementTree.fromstring(made(results)[paths.FEED])


def test_the_changelog_is_below(results: Path) -> None:
    html = made(results)[paths.CHANGES]
    assert "bench and its rules" in html
    assert "<code>bench leaderboard</code>" in html
    assert html.count("<h1") == 1


def test_the_feed_is_atom_newest_first(results: Path) -> None:
    submitted.retract(results)
    feed = made(results)[paths.FEED]
    root = ElementTree.fromstring(feed)
    assert root.tag == f"{ATOM}feed"
    updated = [str(e.findtext(f"{ATOM}updated")) for e in entries_of(feed)]
    assert len(updated) == 2
    assert updated == sorted(updated, reverse=True)
    assert all(datetime.fromisoformat(text).tzinfo for text in updated)
    assert root.findtext(f"{ATOM}updated") == updated[0]
    for entry in entries_of(feed):
        assert entry.findtext(f"{ATOM}author/{ATOM}name")
        assert str(entry.findtext(f"{ATOM}title")).startswith("Toy: ")


def test_the_feeds_ids_are_the_same_on_every_host(results: Path) -> None:
    here, there = (
        [e.findtext(f"{ATOM}id") for e in entries_of(made(results, url)[paths.FEED])]
        for url in (None, "https://example.org/bench")
    )
    assert here == there
    assert re.fullmatch(r"urn:uuid:[0-9a-f-]{36}", str(here[0]))
    for name in ("one", "two"):  # at the same second
        submitted.say(results, name, kind="retraction", retracts=GOOD, reason="again")
    ids = [e.findtext(f"{ATOM}id") for e in entries_of(made(results)[paths.FEED])]
    assert len(set(ids)) == 3


def test_the_feeds_links_are_whole_once_the_site_has_an_address(results: Path) -> None:
    for url, base in ((None, ""), ("https://example.org/b", "https://example.org/b/")):
        (entry,) = entries_of(made(results, url)[paths.FEED])
        link = entry.find(f"{ATOM}link")
        assert link is not None
        assert link.get("href") == f"{base}{paths.entry(GOOD)}"


def test_the_feed_has_the_newest_fifty(results: Path) -> None:
    many(results, 60)
    titles = [e.findtext(f"{ATOM}title") for e in entries_of(made(results)[paths.FEED])]
    assert len(titles) == changes.MOST_IN_FEED
    assert "No 59" in str(titles[1])


def test_hostile_words_break_no_feed_and_no_page(results: Path) -> None:
    evil = f"{EVIL}\ufffe]]>&nbsp;<a href='javascript:alert(1)'>"
    submitted.edit(results / GOOD, title=evil, authors=[evil])
    submitted.retract(results, reason=evil * 3)
    pages = made(results)
    ElementTree.fromstring(pages[paths.FEED])
    for text in pages.values():
        assert "<script>alert" not in text
        assert "<a href='java" not in text
        assert not {"\u202e", "\x00", "\x1b", "\ufffe"} & set(text)


def test_an_entry_that_rests_on_nothing_that_is_there_breaks_nothing(results: Path) -> None:
    submitted.say(results, "lost", kind="retraction", retracts="toy/never-was", reason="none")
    assert "lost" in made(results)[paths.CHANGES]
    assert submission.read(results / "toy/lost").retracts == "toy/never-was"
