"""Submissions whose every text is an attack: on the page, on a spreadsheet, on the eye."""

from __future__ import annotations

import csv
import hashlib
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from tests.site import browser, crawl, making
from tests.site.browser import Visitor

LIKE = making.RESULTS / "sst2" / "all-minilm-l6-bf16-h200" / "a40ccf80dade8cb8"
ATTACKS = {
    "script": "<script>alert(1)</script>",
    "image": '"><img src=x onerror=alert(1)>',
    "svg": "</script></title></textarea>--><svg onload=alert(1)><a href=https://evil.test>x</a>",
    "quotes": "' onmouseover='alert(1)' x=\" onfocus=\"alert(1)\" autofocus tabindex=1 ",
    "formula": '=HYPERLINK("http://evil.test","x")',
    "command": "@SUM(1+1)*cmd|' /C calc'!A0",
    "turned": "abc\u202e\u2066fdp.exe\u200b\u200f\ufeff\u061cxyz\u202c",
    "long": "W" * 10_000,
    "words": "long words " * 900,
    "address": "javascript:alert(1)//",
    "path": "../../../etc/passwd",
    "control": "a\x00b\x1b[31mred\x07\r\nnew\x85line\x7f",
    "template": "{{ 7*7 }}${7*7}{% raw %}#{7*7}<%= 7*7 %>",
    "emoji": "👩‍🔬🏴󠁧󠁢󠁥󠁮󠁧󠁿 ⚡️ Z͑ͫ̓ͪ̂ͫ̽͏̴̙̤̞͉͚̯̞̠͍A̴̵̜̰͔ͫ͗͢L̠ͨͧͩ͘G̴̻͈͍͔̹̑͗̎̅͛́",
    "breaker": "\u2028\u2029]]>*/});alert(1);//\\u0022\\",
    "entities": "&lt;script&gt;alert(1)&lt;/script&gt; &#x202e; &amp;",
    "prototype": "__proto__",
}
KEPT = {
    "run_id", "status", "method", "level", "kind", "scale", "correct", "seed_origin", "track",
    "started_at", "edition", "source", "fingerprints", "labels_sha256", "checkpoint_sha256",
    "code_sha256", "event", "by", "schema_version", "statistics", "reference", "task",
}  # fmt: skip
"""What a record can't be read without, or is not seen; some is attacked where it can be."""


def poisoned(value: Any, attack: str, key: str = "", kept: set[str] = KEPT) -> Any:
    """The same with an attack for every text, and as a further name in every table."""
    if key in kept:
        return value
    if isinstance(value, dict):
        made = {k: poisoned(v, attack, k, kept) for k, v in value.items()}
        return made | {attack: attack} if key in {"settings", "machine", "software"} else made
    if isinstance(value, list):
        return [poisoned(v, attack, "", kept) for v in value]
    return attack if isinstance(value, str) else value


def run_id(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()[:16]


def write_run(folder: Path, said_id: str, attack: str, draws: bool) -> None:
    """A run's folder; where it `draws`, its trace and events still fit its record."""
    kept = KEPT | ({"domain", "phases", "phase", "name", "metric"} if draws else set())
    record = json.loads((LIKE / "record.json").read_text())
    made = poisoned(record, attack, "", kept)
    made |= {"run_id": said_id, "failure": attack, "region": attack, "pue": attack}
    made["spec"]["settings"] |= {"epochs": attack, "learning_rate": attack}
    made["model_facts"] = {**made["model_facts"], attack: attack}
    made["metric"]["also"] = {attack: 0.5}
    if not draws:
        for phase in made["phases"]:
            phase["energy_j"] = {attack: sum(phase["energy_j"].values())}
            phase["uncertainty_j"] = {}
    shutil.copytree(LIKE, folder)
    (folder / "record.json").write_text(json.dumps(made))
    events = [json.loads(line) for line in (LIKE / "events.jsonl").read_text().splitlines()]
    lines = [json.dumps(poisoned(event, attack, "", kept)) for event in events]
    (folder / "events.jsonl").write_text("\n".join(lines) + "\n")
    (folder / "log.txt").write_text(attack, encoding="utf-8")


def write_entry(results: Path, name: str, attack: str, draws: bool) -> None:
    """An entry of one run, and of another that it does not name, with a name as an attack can be
    one: where it stands alone, that of the run is one, too."""
    safe = name + attack.replace("/", "∕").replace("\0", "")[:60]
    folder, here = results / "sst2" / safe, run_id(name)
    write_run(folder / here, here, attack, draws)
    write_run(folder / safe, attack, attack, draws)
    text = attack[:200]
    entry = json.loads((LIKE.parent / "entry.json").read_text())
    entry |= {
        "title": text, "authors": [text, text], "description": attack[:4000], "runs": [here],
        "links": ["https://evil.test/'onclick='alert(1)'><script>alert(1)</script>"],
        "bench_version": text, "reason": attack[:1000], "attempts": [
            {"run_id": here, "started_at": text, "seed": 1, "status": "complete"}],
        "upstream": [{"what": text, "checkpoint_sha256": None, "energy_kwh": 1.0,
                      "source": attack[:500], "uses": 1}],
    }  # fmt: skip
    (folder / "entry.json").write_text(json.dumps(entry))
    (folder / "manifest.json").write_text("{}")


@pytest.fixture(scope="session")
def hostile_site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A site of attacks alone."""
    folder = tmp_path_factory.mktemp("hostile")
    for number, (name, attack) in enumerate(ATTACKS.items()):
        write_entry(folder / "results", name, attack, draws=number % 2 == 0)
    built = making.built(folder / "site", folder / "results")
    assert not built.failed
    return folder / "site"


def of_runs(site: Path) -> list[str]:
    return [f"runs/{run_id(name)}.html" for name in ATTACKS]


# --- as bytes ----------------------------------------------------------------------------------


def test_pages_of_attacks_are_whole_and_lead_only_where_they_should(hostile_site: Path) -> None:
    found = crawl.faults(hostile_site)
    unnamed = "~[0-9a-f]{10}.html: no page leads here"  # runs that no entry names
    assert [fault for fault in found if not re.search(unnamed, fault)] == []


def test_every_attack_has_its_pages(hostile_site: Path) -> None:
    assert [path for path in of_runs(hostile_site) if not (hostile_site / path).is_file()] == []
    assert len(list((hostile_site / "entries").rglob("*.html"))) == len(ATTACKS)
    assert (hostile_site / "boards" / "sst2.html").is_file()


def test_no_text_of_an_attack_is_markup_or_ends_a_script(hostile_site: Path) -> None:
    for path in hostile_site.rglob("*"):
        at = path.relative_to(hostile_site).as_posix()
        if path.suffix in {".html", ".js", ".svg", ".xml"} and not at.startswith("files/"):
            data = path.read_bytes()
            assert b"<script>alert" not in data, at
            assert b"<img src=x" not in data, at
            assert b"<svg onload" not in data, at
            if path.suffix == ".js" and at.startswith(("runs/", "boards/")):
                assert not any(sign.encode() in data for sign in "<>\u2028\u2029\u202e\x00"), at


def test_templates_of_others_are_shown_as_they_are(hostile_site: Path) -> None:
    text = (hostile_site / of_runs(hostile_site)[list(ATTACKS).index("template")]).read_text()
    assert "{{ 7*7 }}${7*7}" in text
    assert "49${" not in text


def test_tables_for_spreadsheets_start_no_formula(hostile_site: Path) -> None:
    tables = list((hostile_site / "downloads").glob("*.csv"))
    assert tables
    for table in tables:
        with table.open(newline="", encoding="utf-8") as lines:
            for row in csv.reader(lines):
                bad = [c for c in row if c[:1] in tuple("=@\t\r") or _is_sum(c)]
                assert not bad, (table.name, bad)


def _is_sum(text: str) -> bool:
    """Whether a cell begins like a formula and is no number."""
    return text[:1] in {"+", "-"} and not text[1:2].isdigit() and text[1:] != ""


def test_feed_and_badges_are_whole(hostile_site: Path) -> None:
    pictures = [p for p in hostile_site.rglob("*.svg") if "files" not in p.parts]
    assert len(pictures) > len(ATTACKS)
    for path in [hostile_site / "feed.xml", *pictures]:
        for element in ElementTree.parse(path).iter():
            assert not element.tag.endswith(("script", "foreignObject")), path
            assert not [name for name in element.attrib if name.lower().startswith("on")], path


# --- in a browser ------------------------------------------------------------------------------


def visit(
    open_page: Visitor, site: Path, paths: list[str], look: Callable[[Any], Any] = lambda page: None
) -> dict[str, Any]:
    page = open_page("index.html", site=site, narrow=True)
    found = {}
    for path in paths:
        page.goto("about:blank")
        page.goto(open_page.address(path, site=site))
        over = browser.overflow_px(page)
        found[path] = (over, browser.widest(page)) if over else look(page)
    return {path: said for path, said in found.items() if said}


def test_attacks_do_nothing_and_fit_a_phone(open_page: Visitor, hostile_site: Path) -> None:
    entries = [p.relative_to(hostile_site).as_posix()
               for p in sorted((hostile_site / "entries").rglob("*.html"))]  # fmt: skip
    paths = ["index.html", "boards/sst2.html", "changes.html", "downloads.html", "tasks.html"]
    paths += [*of_runs(hostile_site), *entries]
    assert not visit(open_page, hostile_site, [path.replace("%", "%25") for path in paths])


def test_runs_of_attackers_are_compared_without_harm(
    open_page: Visitor, hostile_site: Path
) -> None:
    ids = [run_id(name) for name in ATTACKS]
    fours = [f"compare.html#{','.join(ids[i : i + 4])}" for i in range(0, len(ids) - 1, 4)]
    assert not visit(open_page, hostile_site, fours)


NAMELESS = [
    "<img src=x onerror=alert(1)>,b", "../../../evil,../assets/board",
    "https://evil.test/x,//evil.test/y", "javascript:alert(1),data:text/javascript,alert(1)",
    "__proto__,constructor", "%E0%A4%A,%", "0123456789abcdef,0123456789abcdef",
]  # fmt: skip


def test_addresses_that_name_no_runs_are_harmless(open_page: Visitor, hostile_site: Path) -> None:
    paths = [f"compare.html#{fragment}" for fragment in NAMELESS]
    hidden = visit(open_page, hostile_site, paths, lambda page: not page.locator("h1").is_visible())
    assert not hidden


def test_a_board_of_attacks_is_filtered_sorted_and_explored(
    open_page: Visitor, hostile_site: Path
) -> None:
    page = open_page("boards/sst2.html", site=hostile_site)
    choice = page.locator("select[name=hardware]")
    for value in choice.locator("option").evaluate_all("all => all.map(o => o.value)"):
        choice.select_option(value)
        shown = page.locator("tr[data-run]:visible").count()
        assert shown == len(ATTACKS) if not value else shown >= 1, value[:80]
    choice.select_option("")
    page.locator("table.board").first.get_by_role("button", name="energy").click()
    if page.locator("button.explore").count():
        page.locator("button.explore").click()
        page.wait_for_timeout(1500)
