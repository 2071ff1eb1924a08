"""The page of an entry: the board's numbers, every attempt, and aloud where it stands no more."""

from __future__ import annotations

import re
import shutil
from dataclasses import replace
from html import unescape
from pathlib import Path
from typing import Any

import pytest

from bench import submission
from bench.rank import render
from bench.rank.columns import named
from bench.site import again, entries, paths
from bench.site.checked import Checked, Said
from tests.checks import bundles
from tests.site import making, submitted
from tests.site.submitted import EVIL, GOOD


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Results with one good entry; only to be copied."""
    root = tmp_path_factory.mktemp("good")
    plans = bundles.plans(4)
    plans[3].status = "failed"
    bundles.write(root, plans)
    return root


@pytest.fixture
def results(good: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(good, tmp_path / "results"))


def html_of(results: Path, place: str = GOOD, **changes: Any) -> str:
    at = paths.entry(place)
    (piece,) = [p for p in entries.pieces(submitted.read(results, **changes)) if p.files == (at,)]
    return str(piece.make()[at])


def text_of(html: str) -> str:
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", html)).split())


def test_its_numbers_are_the_boards(results: Path) -> None:
    found = submitted.read(results)
    ((cell, entry),) = found.seats_of[GOOD]
    text = text_of(html_of(results))
    for key in ("score", "metric", "energy", "duration", "emissions"):
        value, spread = render.as_text(named(key), entry, cell, found.scenario)
        assert f"{render.heading_of(named(key), cell)} {value.strip()}" in text
        assert spread.strip() in text
    assert entry.rank == (1, 1)
    assert f"rank 1 of 1 in {entry.tier}" in text


def test_it_leads_to_its_cell(results: Path) -> None:
    from bench.site import boards

    found = submitted.read(results)
    name = boards.name_of(found.cells[0])
    assert f'href="../../boards/toy.html#{name}"' in html_of(results)


def test_every_real_entry_has_a_page_with_its_runs(real_site: Path) -> None:
    found = making.read()
    for about in found.submitted:
        html = (real_site / paths.entry(about.place)).read_text()
        for run_id in about.entry.runs:
            assert f'href="../../runs/{run_id}.html"' in html


def test_a_failed_run_is_shown_and_says_why_it_does_not_count(results: Path) -> None:
    text = text_of(html_of(results))
    assert "4 runs were started with a drawn seed: 3 complete, 1 failed. All are" in text
    assert "failed does not count: it was stopped" in text
    assert "mean of 3 that count" in text
    assert "runs that count 3 of 4" in text


def test_an_attempt_that_was_not_kept_is_listed(results: Path) -> None:
    folder = results / GOOD
    entry = submission.read(folder)
    gone = entry.attempts[0].run_id
    submitted.edit(folder, runs=[r for r in entry.runs if r != gone])
    shutil.rmtree(folder / gone)
    text = text_of(html_of(results))
    assert "Attempts that are not among its runs" in text
    assert gone in text


def test_a_retracted_entry_says_so_aloud_and_leads_to_who_retracted_it(results: Path) -> None:
    submitted.retract(results)
    html = html_of(results)
    assert "This entry is retracted. No board shows its numbers." in text_of(html)
    assert "the plug was loose" in html
    assert 'href="retraction.html"' in html
    assert "Where it stands" not in html


def test_a_retraction_leads_to_what_it_takes_back(results: Path) -> None:
    submitted.retract(results)
    html = html_of(results, "toy/retraction")
    assert "Takes back" in html
    assert 'href="transformer-small-baseline.html"' in html
    assert "the plug was loose" in html
    assert "bench verify" not in html


def test_a_correction_and_what_it_corrects_lead_to_each_other(results: Path) -> None:
    newer = Path(shutil.copytree(results / GOOD, results / "toy/newer"))
    submitted.edit(newer, supersedes=GOOD, reason="a wrong title", title="Newer")
    old, new = html_of(results), html_of(results, "toy/newer")
    assert "This entry was superseded." in old
    assert 'href="newer.html"' in old
    assert "a wrong title" in old
    assert "Where it stands" in new
    assert "Supersedes" in new
    assert "Reason: a wrong title" in text_of(new)


def test_who_trained_it_again_is_said_as_t3(results: Path) -> None:
    bundles.write(
        results, bundles.plans(3, first=50), name="again",
        change=lambda e: e.model_copy(update={"verifies": GOOD, "title": "Made again"}),
    )  # fmt: skip
    html = html_of(results)
    assert "T3 Somebody else has trained it again" in text_of(html)
    assert 'href="again.html"' in html
    assert "Trains again" in html_of(results, "toy/again")


def made_again(results: Path, more_wrong: int = 0, times: float = 1.0) -> None:
    """The good entry once more by others, with more rows wrong, at so many times its power."""
    plans = [
        replace(plan, load_w=times * plan.load_w, wrong=sorted({*plan.wrong, *range(more_wrong)}))
        for plan in bundles.plans(3, first=50)
    ]
    bundles.write(
        results, plans, name="again",
        change=lambda e: e.model_copy(update={"verifies": GOOD, "title": "Made again"}),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("more_wrong", "times", "told", "energy"),
    [(0, 1.0, "agrees", "agrees"), (120, 1.0, "disagrees", "agrees"),
     (0, 1.5, "disagrees", "disagrees")],
)  # fmt: skip
def test_whether_it_agrees_is_said_where_it_was_trained_again(
    results: Path, more_wrong: int, times: float, told: str, energy: str
) -> None:
    made_again(results, more_wrong, times)
    for place, said in ((GOOD, "Made again held against this entry"),
                        ("toy/again", "This training held against the one")):  # fmt: skip
        text = text_of(html_of(results, place))
        assert f"{told} {said}" in text
        assert "made 3 runs with fresh seeds" in text
        assert f"energy {energy}: " in text
        assert re.search(r"accuracy (dis)?agrees: skill 0\.\d+ stated, 0\.\d+ here", text)
    found = submitted.read(results)
    ((_, entry),) = found.seats_of[GOOD]
    assert again.level(entry, found) == ("T3" if told == "agrees" else "T3 disagrees")


def test_one_run_made_again_decides_nothing(results: Path) -> None:
    bundles.write(
        results, bundles.plans(1, first=50), name="again",
        change=lambda e: e.model_copy(update={"verifies": GOOD, "title": "Made again"}),
    )  # fmt: skip
    text = text_of(html_of(results))
    assert "undecided Made again" in text
    assert "one run tells nothing of its scatter" in text
    found = submitted.read(results)
    ((_, entry),) = found.seats_of[GOOD]
    assert again.level(entry, found) == "T3 undecided"


def test_a_reevaluation_shows_what_each_runs_weights_said(results: Path) -> None:
    run_id = submission.read(results / GOOD).runs[0]
    submitted.say(
        results, "again", kind="reevaluation", reevaluates=GOOD, reevaluated=[
            {"run_id": run_id, "weights_sha256": "a" * 64, "metric": 0.925, "same_share": 0.9975,
             "rows": 400},
        ],
    )  # fmt: skip
    text = text_of(html_of(results, "toy/again"))
    assert f"{run_id} 92.5 %" in text
    assert "99.75 %" in text
    assert "Its weights predicted again for" in html_of(results)


def test_upstream_is_shown_in_full_and_spread_over_its_uses(results: Path) -> None:
    submitted.edit(results / GOOD, upstream=[
        {"what": "a teacher", "energy_kwh": 12.0, "source": "its card", "uses": 4},
        {"what": "a corpus", "energy_kwh": None, "source": "nobody says"},
    ])  # fmt: skip
    text = text_of(html_of(results))
    assert "12.0 kWh in full, over 4 trainings that use it: 3.00 kWh for this one" in text
    assert "a corpus not published nobody says" in text


def test_unchecked_it_names_the_command(results: Path) -> None:
    text = text_of(html_of(results))
    assert "It was not checked when this site was made" in text
    assert f"bench check results/{GOOD}" in text
    assert f"bench verify {GOOD}" in text


def test_checks_are_counted_and_warnings_said(results: Path) -> None:
    said = (
        Said("D4", "duration", "pass", None, ""),
        Said("S1", "shape", "pass", None, ""),
        Said("P3", "power", "warning", None, "more than it can draw"),
        Said("H2", "hashes", "skipped", None, "no file"),
    )
    text = text_of(html_of(results, checked={GOOD: Checked("T1", said)}))
    assert "T1 Every number was derived again" in text
    assert "2 rules hold, 1 could not be looked at here" in text
    assert "warning P3 power : more than it can draw" in text


def test_links_lead_out_by_https_and_know_nothing_of_us(results: Path) -> None:
    submitted.edit(results / GOOD, links=["https://example.org/a?b=1&c=<x>"])
    html = html_of(results)
    assert 'href="https://example.org/a?b=1&amp;c=&lt;x&gt;" rel="noopener noreferrer"' in html


def test_at_most_four_runs_are_compared(results: Path) -> None:
    (address,) = re.findall(r'href="([^"]*compare\.html#[^"]*)"', html_of(results))
    assert len(address.partition("#")[2].split(",")) == 3


def test_hostile_words_stay_words(results: Path) -> None:
    submitted.edit(
        results / GOOD, title=EVIL, authors=[EVIL] * 3, description=EVIL * 10 + "\n\n" + "x" * 3000,
        upstream=[{"what": EVIL, "energy_kwh": 1.0, "source": EVIL}],
    )  # fmt: skip
    html = html_of(results)
    assert "<script>alert" not in html
    assert not {"\u202e", "\x00", "\x1b"} & set(html)
    assert "x" * 800 in html


def test_no_page_has_a_style_or_a_script_of_its_own(results: Path) -> None:
    html = html_of(results)
    assert not re.search(r"\sstyle=|\son\w+=|<style", html)


def test_a_second_entry_of_the_same_training_is_named(results: Path) -> None:
    bundles.write(
        results, bundles.plans(3, first=50), name="more",
        change=lambda e: e.model_copy(update={"title": "More runs"}),
    )  # fmt: skip
    text = text_of(html_of(results))
    assert "The board counts them together with runs of More runs ." in text
    assert "3 of them submitted elsewhere" in text


def test_other_results_change_only_the_pages_that_say_so(results: Path) -> None:
    def keys() -> dict[str, str]:
        return {p.files[0]: p.key for p in entries.pieces(submitted.read(results))}

    before = keys()
    assert keys() == before
    submitted.say(results, "unlike", kind="retraction", retracts="toy/no-such", reason="none")
    after = keys()
    assert {at for at in after if before.get(at) != after[at]} == {paths.entry("toy/unlike")}
