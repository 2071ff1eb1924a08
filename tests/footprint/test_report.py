"""A report of what trainings took: numbers as the tables have them, a page that loads nothing."""

from __future__ import annotations

import base64
import hashlib
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from bench.errors import UsageError
from bench.footprint import (
    chart,
    published,
    report,
    report_html,
    report_markdown,
    sheets,
    trainings,
    writing,
)
from bench.footprint.report import Report
from bench.power import carbon
from bench.rank import board
from bench.rank.entry import Run
from bench.record import PROFILE, RunCost
from bench.units import significant
from tests.command import Command
from tests.rank.records import CPU, SST2, make_entry, make_run

REAL = Path(__file__).parents[2] / "results" / "sst2"
EVIL = (
    "</style><script>alert(1)</script>|`x`\n```\n[a](javascript:alert(1))<img src=x>\u202e\x1b[31m"
)
KWH_J = 3.6e6


def made(runs: list[Run] | None = None, submitted: list[Run] | None = None, **about: Any) -> Report:
    scenario = carbon.asked(about.pop("region", None), about.pop("pue", None))
    return report.make(scenario, board.build(submitted or [], {"sst2": SST2}), runs or [], **about)


def mine() -> list[Run]:
    """Three measured runs of 1, 2 and 9 kWh, and one that was estimated."""
    seeds = [make_run("local", energy_j=kwh * KWH_J, seed=int(kwh)) for kwh in (9.0, 1.0, 2.0)]
    return [*seeds, make_run("local", energy_j=5 * KWH_J, level="M0", hardware=CPU)]


@pytest.fixture(scope="module")
def page() -> str:
    """In HTML, with names that would act if they could."""
    hostile = make_run("local", energy_j=KWH_J, model=EVIL, hardware=EVIL, recipe=EVIL)
    hostile.record.spec.settings[EVIL] = EVIL
    found = made([*mine(), hostile], make_entry(model=EVIL), notes=[EVIL], ledger=[(EVIL, EVIL)])
    return report_html.html(found, explain=True)


# --- numbers -----------------------------------------------------------------------------------


def test_the_tables_say_what_published_says() -> None:
    for table in published.tables():
        sheet = sheets.sheet(table)
        assert [line.name for line in sheet.lines] == [row.name for row in table.rows]
        for line, row in zip(sheet.lines, table.rows, strict=True):
            wrong = any(cell.agrees is False for cell in row.cells.values())
            assert wrong == any(number.agrees is False for number in line.numbers)
            assert wrong == bool(line.differs)
            assert bool(line.explained) == any(c.computed for c in row.cells.values())
    text = report_markdown.markdown(made())
    for number in ("656,347", "626,155", "1,507 | ≠ differs", "1,438", "9,870 | ✓ agrees", "552.1"):
        assert number in text


def test_the_guide_says_how_many_numbers_agree() -> None:
    first = report.summary(made())[0]
    said = re.fullmatch(r"Of (\d+) published .*, (\d+) agree .* other (\d+) is explained.*", first)
    assert said
    guide = (REAL.parents[1] / "bench" / "docs" / "footprint.md").read_text()
    assert "Of {} numbers {} agree, and each of the other {} says".format(*said.groups()) in guide


def test_measured_and_estimated_are_never_in_one_sum() -> None:
    measured, estimated = made(mine()).own_groups
    assert (measured.title, estimated.title) == ("Measured", "Estimated, not measured")
    assert measured.kwh == pytest.approx(12.0)
    assert estimated.kwh == pytest.approx(5.0)
    assert "≈" in estimated.total
    assert "≈" not in measured.total
    assert "17" not in report.summary(made(mine()))[-1]


def test_a_region_and_a_building_change_what_is_emitted() -> None:
    plain, there = made(mine()), made(mine(), region="SE", pue="1.5")
    assert there.own[0].energy.value == pytest.approx(1.5 * plain.own[0].energy.value)
    grams = carbon.asked("SE").region.g_per_kwh
    assert there.own[0].emissions.value == pytest.approx(9.0 * 1.5 * grams / 1000)
    assert "Sweden 2024" in report_markdown.markdown(there)
    assert "assumed" in report_markdown.markdown(plain)
    assert "assumed, since none was named" not in report_markdown.markdown(there)


def test_of_runs_that_differ_in_the_seed_the_middle_one_is_drawn() -> None:
    bars = trainings.own_bars(mine(), carbon.asked(None))
    assert sorted((bar.kwh, bar.kind) for bar in bars) == [(2.0, "measured"), (5.0, "estimated")]
    (best,) = trainings.best(
        board.build(make_entry(3, energy_j=KWH_J), {"sst2": SST2}), carbon.asked(None)
    )
    assert best.of == "median of 3 runs"
    energies = sorted(r.record.energy_j or 0 for r in make_entry(3, energy_j=KWH_J))
    assert best.energy.value == pytest.approx(energies[1] / KWH_J)


def test_what_failed_is_in_the_sum_and_not_drawn() -> None:
    failed = make_run("local", energy_j=4 * KWH_J, status="failed")
    found = made([failed])
    assert [t.of for t in found.own] == ["failed"]
    assert not [bar for bar in found.bars if bar.own]
    assert not made([make_run("local", energy_j=None)]).own


def test_a_teacher_that_is_listed_itself_is_counted_once() -> None:
    teacher = make_run("local", energy_j=4 * KWH_J)
    cost = RunCost(
        role="teacher", run_id=teacher.record.run_id, record_sha256=None, task="sst2", model="x",
        hardware=None, level="M1", coverage="gpu", energy_j=4 * KWH_J, uncertainty_j=None,
        duration_s=1.0,
    )  # fmt: skip
    student = make_run("local", energy_j=KWH_J, recipe="distill", charged_runs=[cost])
    other = make_run("local", energy_j=KWH_J, recipe="distill", charged_runs=[cost])
    (alone,), (both,) = made([student]).own_groups, made([student, teacher]).own_groups
    (two,) = made([student, other]).own_groups
    assert two.kwh == pytest.approx(6.0)
    assert alone.kwh == pytest.approx(5.0)
    assert both.kwh == pytest.approx(5.0)
    assert both.kg == pytest.approx(5.0 * carbon.default().g_per_kwh / 1000)
    assert sorted(t.energy.value for t in both.trainings) == pytest.approx([4.0, 5.0])


def test_a_profile_and_a_trial_are_listed_and_not_drawn() -> None:
    runs = [make_run("local", energy_j=KWH_J, trial=trial) for trial in (PROFILE, "a" * 16)]
    found = made(runs)
    assert {t.of for t in found.own} == {"profile", "trial of a sweep"}
    assert not [bar for bar in found.bars if bar.own]


def test_the_last_line_is_what_it_is_like() -> None:
    last = report_markdown.markdown(made(mine())).splitlines()[-1]
    assert "lifetimes of an average car" in last
    assert "flights" in report.like(made([make_run("local", energy_j=9000 * KWH_J)]))[0]


def test_explained_numbers_go_down_to_their_sources() -> None:
    assert "by its formula" not in report_markdown.markdown(made(mine()))
    text = report_markdown.markdown(made(mine(), pue="1.2"), explain=True)
    for words in ("PUE = 1.2 (as given)", "energy of the machine = 9", "= 0.954 lb CO2e/kWh"):
        assert words in text


# --- the drawing -------------------------------------------------------------------------------


def test_bars_go_from_the_smallest_to_the_search_with_ones_own_among_them() -> None:
    bars = made(mine()).bars
    assert [b.kwh for b in bars] == sorted(b.kwh for b in bars)
    names = [b.name for b in bars]
    assert names.index("Transformer base") > names.index("all-minilm-l6 on sst2")
    assert names[-1] == "GPT-3 175B, final training"
    assert "One paper, 4,789 models: all of the research" in names
    assert {b.kind for b in bars} == set(chart.KINDS)
    assert "A family of language models, development before them" in names


def test_what_equivalents_weigh_depends_on_the_grid_and_what_they_take_does_not() -> None:
    here, there = (
        {line.name: line.kwh for line in chart.lines(carbon.asked(code))} for code in ("US", "SE")
    )
    assert there["a car, its lifetime"] > 5 * here["a car, its lifetime"]
    assert there["a 10 W lamp, one hour"] == here["a 10 W lamp, one hour"] == 0.01
    kg = here["a flight, New York to San Francisco"] * carbon.asked("US").region.g_per_kwh / 1000
    assert significant(kg) == "900"


def test_of_very_many_runs_measured_ones_are_drawn_first() -> None:
    runs = [make_run("local", energy_j=(i + 1) * KWH_J, settings={"epochs": i}) for i in range(40)]
    some = [make_run("local", energy_j=KWH_J, level="M0", hardware=CPU)]
    bars = trainings.own_bars([*some, *runs], carbon.asked(None))
    assert len(bars) == trainings.BARS
    assert {bar.kind for bar in bars} == {"measured"}
    assert (bars[0].kwh, bars[-1].kwh) == (1.0, 40.0)


@pytest.mark.parametrize(
    ("kwh", "kind", "says"),
    [
        (0.000529, chart.MEASURED, "0.529 Wh"),
        (0.000529, chart.ESTIMATED, "≈0.529 Wh"),
        (0.2, chart.MEASURED, "0.200 kWh"),
        (656_347, chart.MEASURED, "656,300 kWh"),
    ],
)
def test_a_bar_is_said_without_a_row_of_zeros(kwh: float, kind: str, says: str) -> None:
    energy, _ = chart.said(chart.Bar("mine", "a GPU", kwh, kind), carbon.asked("US"))
    assert energy == says


def test_each_kind_of_knowing_has_a_form_of_its_own(page: str) -> None:
    drawing = page.partition("wide-plot")[2].partition("</svg>")[0]
    assert 'stroke-dasharray="4,2"' in drawing  # estimated
    assert 'fill-opacity="0.4"' in drawing  # computed
    for kind in chart.KINDS:
        assert f">{kind}</text>" in drawing


# --- a page that loads nothing -----------------------------------------------------------------


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.style = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        if self.tags and self.tags[-1][0] == "style" and not self.style:
            self.style = data


@pytest.fixture(scope="module")
def read(page: str) -> _Reader:
    reader = _Reader()
    reader.feed(page)
    return reader


def test_nothing_is_loaded_and_nothing_acts(read: _Reader) -> None:
    names = {tag for tag, _ in read.tags}
    assert not names & {"script", "img", "link", "iframe", "object", "a", "form", "base", "use"}
    attributes = {name for _, has in read.tags for name in has}
    assert not attributes & {"src", "href", "style", "srcset", "action", "xlink:href"}
    assert not [name for name in attributes if name.startswith("on")]
    assert [tag for tag, _ in read.tags].count("h1") == 1


def test_the_policy_knows_the_style_and_lets_nothing_else_through(read: _Reader) -> None:
    (policy,) = [
        has["content"] or "" for tag, has in read.tags
        if tag == "meta" and has.get("http-equiv") == "Content-Security-Policy"
    ]  # fmt: skip
    assert policy.startswith("default-src 'none'; style-src 'sha256-")
    digest = base64.b64encode(hashlib.sha256(read.style.encode()).digest()).decode()
    assert f"'sha256-{digest}'" in policy
    assert "unsafe" not in policy
    assert "url(" not in read.style
    assert "@import" not in read.style
    for media in ("screen and (prefers-color-scheme: dark)", "@media print"):
        assert media in read.style


def test_hostile_names_are_texts(page: str) -> None:
    assert "<script" not in page
    assert "<img" not in page
    assert "&lt;script&gt;" in page
    assert not re.search("[\u202e\x1b]", page)


def test_hostile_names_are_texts_in_markdown_too() -> None:
    hostile = [make_run("local", energy_j=KWH_J, model=f"```{EVIL}", hardware=EVIL)]
    found = made(hostile, make_entry(model=EVIL), notes=[EVIL], ledger=[(EVIL, EVIL)])
    text = report_markdown.markdown(found, explain=True)
    assert text.count("\n```") == 4  # two blocks, begun and ended
    outside = "\n".join(text.split("\n```")[::2])
    unquoted = re.sub(r"`[^`\n]*`", "", outside)
    for sign in ("<script", "<img", "](", "javascript:"):
        assert sign not in unquoted
    rows = [line for line in text.splitlines() if line.startswith("| ") and "alert" in line]
    assert rows
    assert {len(re.findall(r"(?<!\\)\|", line)) for line in rows} == {9}
    assert not re.search("[\u202e\x1b]", text)


# --- the command -------------------------------------------------------------------------------


@pytest.fixture
def folders(bench: Command, tmp_path: Path) -> Path:
    for where, entry in (
        ("results/sst2", "all-minilm-l6-bf16-h200"), ("runs", "transformer-small-baseline")
    ):  # fmt: skip
        shutil.copytree(REAL / entry, tmp_path / where / entry)
    return tmp_path


def test_a_report_is_written_of_real_runs(bench: Command, folders: Path) -> None:
    said = bench("footprint", "report", "-o", "found.md", "--region", "FR", "--pue", "1.2")
    assert (said.code, said.out, said.err) == (0, "", "wrote found.md\n")
    text = (folders / "found.md").read_text()
    assert "## Trainings of one's own\n\n### Estimated, not measured" in text
    assert "all-minilm-l6 on SST-2, bf16 | 1 x NVIDIA H200" in text
    assert "France 2024" in text
    assert bench("footprint", "report", "-o", "found.html").code == 0
    assert "<h1>" in (folders / "found.html").read_text()


def test_a_ledger_is_added_up_beside_the_study(bench: Command, folders: Path) -> None:
    said = bench(
        "footprint", "report", "-o", "found.md", "--project", "runs", "--project", "results"
    )
    assert said.code == 0
    text = (folders / "found.md").read_text().partition("## The project")[2]
    assert "jobs: 6 in" in text
    assert "4,789 in 172" in text
    measured, estimated = re.findall(r"(?:measured|estimated): (≈?)([\d.]+) kWh", text)
    assert (measured[0], estimated[0]) == ("", "≈")
    said = bench("footprint", "report", "-o", "new.md", "--project", "nowhere")
    assert said.code == 2
    assert not (folders / "new.md").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["-o", "x.pdf"], "names no kind of report"),
        (["-o", "nowhere/x.md"], "can't be written"),
        (["-o", "x.md", "--region", "Atlantis"], "no grid region is called"),
        (["-o", "x.md", "--pue", "0.9"], "is no PUE"),
        ([], "output"),
    ],
)
def test_bad_input_gets_a_clear_line_and_loses_nothing(
    bench: Command, tmp_path: Path, arguments: list[str], words: str
) -> None:
    (tmp_path / "x.md").write_text("mine")
    said = bench("footprint", "report", *arguments)
    assert said.code == 2
    assert words in said.err
    assert (tmp_path / "x.md").read_text() == "mine"


def test_a_folder_is_no_report(tmp_path: Path) -> None:
    (tmp_path / "x.md").mkdir()
    with pytest.raises(UsageError, match="can't be written"):
        writing.kind_of(tmp_path / "x.md")
