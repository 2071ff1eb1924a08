"""Badges: a picture that says what the board says, and needs nothing else."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

from bench.rank import render
from bench.rank.columns import named
from bench.site import badges, paths
from bench.site.badges import Badge
from tests.site import making, submitted
from tests.site.submitted import EVIL, GOOD

SVG = "{http://www.w3.org/2000/svg}"


def badge_of(results: Path) -> Badge:
    found = submitted.read(results)
    (about,) = [s for s in found.submitted if s.place == GOOD]
    return badges.of(about, found)


def test_it_says_what_the_board_says(results: Path) -> None:
    ((cell, entry),) = submitted.read(results).seats_of[GOOD]
    score = render.as_text(named("score"), entry, cell, None)[0].strip()
    assert entry.tier
    assert badge_of(results) == Badge(f"Toy {entry.tier} · {score} /kWh", entry.tier)


def test_an_estimate_says_so_and_looks_so() -> None:
    found = making.read()
    texts = {s.place: badges.of(s, found) for s in found.submitted}
    assert texts["sst2/all-minilm-l6-baseline"].text == "SST-2 provisional · ≈244 /kWh estimated"
    measured = texts["sst2/all-minilm-l6-bf16-h200"]
    assert measured == Badge("SST-2 silver · 776 /kWh", "silver")
    guess = badges.svg(Badge(measured.text, measured.look, estimated=True))
    assert "stroke-dasharray" in guess
    assert "stroke-dasharray" not in badges.svg(measured)


def test_other_data_than_the_tasks_is_not_passed_off_as_it() -> None:
    found = making.read()
    texts = [badges.of(s, found).text for s in found.submitted if s.entry.task == "wikitext2"]
    assert all("not pinned" in text or "NOT" in text for text in texts)


def test_a_retracted_entry_has_a_badge_that_says_only_that(results: Path) -> None:
    submitted.retract(results)
    assert badge_of(results) == Badge("Toy retracted", "bad")


def test_what_speaks_of_others_has_no_badge(results: Path) -> None:
    submitted.retract(results)
    files = [at for p in badges.pieces(submitted.read(results)) for at in p.files]
    assert files == [paths.badge(GOOD)]


def test_it_is_a_picture_with_a_name_that_loads_nothing() -> None:
    root = ElementTree.fromstring(badges.svg(Badge("Toy gold · 9 /kWh", "gold")))
    assert root.tag == f"{SVG}svg"
    assert (root.get("role"), root.get("aria-label")) == ("img", "bench: Toy gold · 9 /kWh")
    assert root.findtext(f"{SVG}title") == "bench: Toy gold · 9 /kWh"
    tags = {e.tag.removeprefix(SVG) for e in root.iter()}
    assert tags <= {"svg", "title", "clipPath", "rect", "g", "path", "text"}
    assert not any("href" in name or name == "style" for e in root.iter() for name in e.attrib)


def test_it_is_as_wide_as_its_text() -> None:
    widths = [
        int(str(ElementTree.fromstring(badges.svg(Badge(text, "plain"))).get("width")))
        for text in ("a", "a longer text", "Multi30k provisional · ≈43.1 /kWh estimated", "汉" * 40)
    ]
    assert widths == sorted(widths)
    assert widths[-1] > 40 * badges.FONT


def test_hostile_names_stay_names() -> None:
    for text in (EVIL, '"><image href="https://x.example/"/>', "x" * 10_000, ""):
        svg = badges.svg(Badge(text, "gold"))
        root = ElementTree.fromstring(svg)
        assert {e.tag for e in root.iter()} >= {f"{SVG}text"}
        assert f"{SVG}image" not in {e.tag for e in root.iter()}
        assert f"{SVG}script" not in {e.tag for e in root.iter()}
        assert len(svg) < 4000
