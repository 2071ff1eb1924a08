"""What a plot shows of a run, and that both ways of drawing it show that."""

from __future__ import annotations

import json
import re
import sys
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from bench import record
from bench.errors import BenchError, MissingExtra, UsageError
from bench.plot import figure, picture, terminal
from bench.plot.figure import Figure
from bench.power.energy import Series
from bench.power.probes import Domain, Mark
from bench.power.trace import Trace
from bench.record import DomainEnergy, Idle, Measurement, Phase, Warn

S = 1_000_000_000
ORIGIN_NS = 50 * S  # the window's start; the trace begins two seconds before it


@dataclass
class Recorded:
    """A run of 20 s on two boards and a processor of which only the counter is read."""

    folder: Path
    rate_hz: float = 10.0
    lost: tuple[float, float] | None = None  # when GPU 1 is not read, s of the window
    marks: list[Mark] = field(default_factory=list)
    calibration: dict[str, float] | None = None  # of the processor
    shared: bool = False  # with GPU 1

    def write(self) -> Measurement:
        self.folder.mkdir(parents=True, exist_ok=True)
        boards = [Domain(f"gpu:GPU-{i}", "gpu", "H100", "M1", 0.1, f"GPU-{i}") for i in range(2)]
        facts = {"calibration": self.calibration} if self.calibration else {}
        package = Domain("cpu:package-0", "cpu", "EPYC", "M1", 0.1, facts=facts)
        if self.shared:
            boards[1] = boards[1]._replace(facts=facts)
        t_s = np.arange(-2, 22.05, 1 / self.rate_hz)
        missing = np.zeros(len(t_s), bool)
        if self.lost:
            missing = (t_s > self.lost[0]) & (t_s < self.lost[1])
        square_w = np.where(t_s % 10 < 5, 600.0, 100.0)
        trace = Trace(
            [*boards, package],
            {
                "gpu:GPU-0": series(t_s, power_w=square_w),
                "gpu:GPU-1": series(t_s, power_w=np.where(missing, np.nan, 300.0)),
                "cpu:package-0": series(t_s, energy_j=7.0 + 80.0 * (t_s + 2)),
            },
            self.marks,
            facts={"rate_hz": self.rate_hz},
        )
        trace.write_parquet(self.folder / "trace.parquet")
        events = [("window_start", 0.0), ("window_stop", 20.0)]
        lines = [json.dumps({"event": e, "t_ns": ORIGIN_NS + int(t * S)}) for e, t in events]
        (self.folder / "events.jsonl").write_text("\n".join(lines) + "\n")
        measured = measurement()
        record.write(measured, self.folder)
        return measured

    def figure(self, points: int = 600) -> Figure:
        return figure.figure(self.folder, self.write(), points)


def series(t_s: np.ndarray, **known: np.ndarray) -> Series:
    nothing = np.full(len(t_s), np.nan)
    columns = ("power_w", "energy_j", "utilisation", "clock_mhz", "temperature_c")
    return Series((ORIGIN_NS + t_s * S).astype(np.int64), *(known.get(c, nothing) for c in columns))


def measurement() -> Measurement:
    def energy(name: str, kind: str, joules: float) -> DomainEnergy:
        return DomainEnergy(
            domain=name, kind=kind, device="H100", method="counter", level="M1", charged=True,
            energy_j=joules, uncertainty_j=0.1 * joules, counter_tick_s=0.1,
        )  # fmt: skip

    def phase(name: str, start_s: float, duration_s: float, joules: float) -> Phase:
        shares = {"gpu:GPU-0": 0.5, "gpu:GPU-1": 0.4, "cpu:package-0": 0.1}
        energy_j = {domain: share * joules for domain, share in shares.items()}
        return Phase(name=name, start_s=start_s, duration_s=duration_s, energy_j=energy_j)

    return Measurement(
        bench_version="0", run_id="abcdef0123456789", nonce="n", started_at="2026-01-02T03:04:05",
        status="complete", machine={}, software={}, duration_s=20.0,
        command=["/usr/bin/python", "train.py"],
        domains=[
            energy("gpu:GPU-0", "gpu", 7000.0), energy("gpu:GPU-1", "gpu", 6000.0),
            energy("cpu:package-0", "cpu", 1600.0),
        ],
        phases=[
            phase("prepare", 0.0, 4.0, 1000.0), phase("train", 4.0, 14.0, 13_300.0),
            phase("evaluate", 18.0, 0.8, 200.0), phase("other", 18.8, 1.2, 100.0),
        ],
        idle_before=Idle(
            duration_s=2.0,
            power_w={"gpu:GPU-0": 90.0, "gpu:GPU-1": 60.0, "cpu:package-0": 80.0},
        ),
        warnings=[Warn(id="gap", message="gpu:GPU-1: no reading for 4 s", rankable=False)],
    )  # fmt: skip


# --- what a plot shows


def test_a_line_for_each_domain_with_its_mean(tmp_path: Path) -> None:
    lines = Recorded(tmp_path).figure().lines
    assert [line.label for line in lines] == [
        "GPU 0, 350 W", "GPU 1, 300 W", "CPU package-0, 80.0 W"
    ]  # fmt: skip
    assert lines[0].peak_w == 600
    watts = np.concatenate([s.mean_w for s in lines[2].stretches])
    assert watts == pytest.approx(80.0), "a counter's slope"
    assert not any(line.gaps for line in lines)


def test_calibrated_readings_are_drawn_as_calibrated(tmp_path: Path) -> None:
    line = Recorded(tmp_path, calibration={"gain": 1.1, "offset_w": 20.0}).figure().lines[2]
    assert line.stretches[0].mean_w == pytest.approx(108.0)


def test_a_calibration_that_the_run_did_not_use_is_not_drawn(tmp_path: Path) -> None:
    """It is of the processor and board 1 together, and board 1 does not count in the run."""
    line = {"gain": 1.1, "offset_w": 20.0}
    drawn = Recorded(tmp_path, calibration=line, shared=True)
    measured = drawn.write()
    left_out = [d.model_copy(update={"charged": d.domain != "gpu:GPU-1"}) for d in measured.domains]
    alone = figure.figure(tmp_path, measured.model_copy(update={"domains": left_out}), 600)
    assert alone.lines[2].stretches[0].mean_w == pytest.approx(80.0)
    assert alone.lines[1].stretches[0].mean_w == pytest.approx(300.0)
    both = figure.figure(tmp_path, measured, 600)
    assert both.lines[2].stretches[0].mean_w == pytest.approx(108.0)
    assert both.lines[1].stretches[0].mean_w == pytest.approx(350.0)


def test_time_is_counted_from_the_start_of_the_window(tmp_path: Path) -> None:
    drawn = Recorded(tmp_path).figure()
    assert drawn.start_s == pytest.approx(-2)
    assert drawn.stop_s == pytest.approx(22, abs=0.1)
    square = drawn.lines[0].stretches[0]
    falls = square.t_s[1:][np.diff(square.mean_w) < 0]
    assert falls == pytest.approx([5, 15], abs=0.11)


def test_a_gap_is_shown_and_never_bridged(tmp_path: Path) -> None:
    drawn = Recorded(tmp_path, lost=(5.95, 10.05)).figure()
    line = drawn.lines[1]
    ((start_s, stop_s),) = line.gaps
    assert (start_s, stop_s) == pytest.approx((6.0, 10.0), abs=0.15)
    assert len(line.stretches) == 2
    assert not any(((s.t_s > 5.95) & (s.t_s < 10.05)).any() for s in line.stretches)
    assert any("No reading: GPU 1 from 5.9 to 10.1 s" in text for text in drawn.caption)


def test_a_meter_that_is_slow_by_itself_is_not_broken(tmp_path: Path) -> None:
    """A plug that is asked every three seconds: watts, or a counter alone."""
    slow = Domain("node:plug", "node", "plug", "M2", 0.02, facts={"period_s": 3.0})
    counter = slow._replace(name="node:counter")
    bare = slow._replace(name="node:bare", facts={})
    t_s = np.arange(-2, 22.0, 3.0)
    trace = Trace(
        [slow, counter, bare],
        {
            "node:plug": series(t_s, power_w=np.full(len(t_s), 200.0)),
            "node:counter": series(t_s, energy_j=200.0 * (t_s + 2)),
            "node:bare": series(t_s, power_w=np.full(len(t_s), 200.0)),
        },
        facts={"rate_hz": 10.0},
    )
    Recorded(tmp_path).write()
    trace.write_parquet(tmp_path / "trace.parquet")
    plug, counted, broken = figure.figure(tmp_path, measurement(), 600).lines
    assert (plug.gaps, counted.gaps) == ([], [])
    assert len(plug.stretches) == len(counted.stretches) == 1
    assert counted.stretches[0].mean_w == pytest.approx(200.0)
    assert broken.gaps, "without a period of its own it is expected at the sampler's"


def test_a_board_that_is_lost_for_good_has_a_gap_to_the_end(tmp_path: Path) -> None:
    drawn = Recorded(tmp_path, lost=(6.0, 99.0)).figure()
    assert drawn.lines[1].gaps[0][1] == pytest.approx(drawn.stop_s)
    assert len(drawn.lines[1].around(drawn.lines[1].gaps[0])) == 1


def test_a_counter_that_was_not_read_has_no_slope_there() -> None:
    t_s = np.concatenate([np.arange(0, 3, 0.1), np.arange(8, 10, 0.1)])
    middle_s, power_w = figure.slope(t_s, 50 * t_s, 0.1)
    assert not ((middle_s > 3) & (middle_s < 7.9)).any()
    assert power_w == pytest.approx(50)
    fallen = np.where(t_s < 9, 50 * t_s, 0.0)
    assert (figure.slope(t_s, fallen, 0.1)[1] >= 0).all(), "a reset is no negative power"


def test_thinning_keeps_every_peak_and_the_mean() -> None:
    t_s = np.arange(0, 1000, 0.01)
    power_w = np.full(len(t_s), 100.0)
    power_w[[777, 50_000]] = (900.0, 3.0)
    thinned = figure.thin(t_s, power_w, np.linspace(0, 1000, 301))
    assert len(thinned.t_s) == 300
    assert thinned.dense
    assert (thinned.high_w.max(), thinned.low_w.min()) == (900.0, 3.0)
    assert thinned.mean_w.mean() == pytest.approx(power_w.mean())


def test_sparse_readings_stay_as_they_are() -> None:
    t_s = np.array([0.0, 1.0, 5.0])
    thinned = figure.thin(t_s, t_s, np.linspace(0, 10, 101))
    assert not thinned.dense
    assert thinned.t_s is t_s


def test_it_says_how_sure_the_energy_is_and_how_it_was_measured(tmp_path: Path) -> None:
    drawn = Recorded(tmp_path).figure()
    assert drawn.title == "Power of python train.py", "no path of the user's"
    said = " ".join(drawn.measured)
    assert "4.06 Wh ± 0.364 Wh (k = 2, 9.0 %) in 20.0 s; 2 x H100" in said
    assert "GPU, CPU: energy counter (M1), ticks of 100 ms" in said
    assert drawn.doubts == ["Doubtful: GPU 1: no reading for 4 s"]
    assert "train 3.69 Wh (91 %)" in drawn.caption[0]
    assert "other 0.0278 Wh (< 1 %)" in drawn.caption[0]
    assert "230 W before (2.00 s); not subtracted" in drawn.caption[1]


def test_what_was_read_in_part_is_not_drawn_as_if_it_were_all() -> None:
    whole = measurement()
    train = whole.phases[1].model_copy(update={"energy_j": {"gpu:GPU-0": 6_650.0}})
    idle = Idle(duration_s=2.0, power_w={"gpu:GPU-0": 90.0})
    phases = [whole.phases[0], train]
    partly = whole.model_copy(update={"phases": phases, "idle_before": idle})
    assert figure._energies(partly) == ["Energy by phase: prepare 0.278 Wh (7 %), train unknown."]
    assert [span.energy_j for span in figure._phases(partly)] == [1000.0, None]


def test_an_estimate_says_so(tmp_path: Path) -> None:
    Recorded(tmp_path).write()
    domains = [
        d.model_copy(update={"level": "M0", "method": "modelled"}) for d in measurement().domains
    ]
    guessed = measurement().model_copy(update={"domains": domains})
    drawn = figure.figure(tmp_path, guessed, 100)
    assert drawn.measured[0].startswith("About 4.06 Wh ± ")
    assert "estimated, not measured" in drawn.measured[0]


def test_marks_of_one_kind_share_a_number(tmp_path: Path) -> None:
    marks = [
        Mark(ORIGIN_NS + 5 * S, "slow", "nvml took 0.31 s to answer", "gpu:GPU-0"),
        Mark(ORIGIN_NS + 6 * S, "slow", "nvml took 0.25 s to answer", "gpu:GPU-1"),
        Mark(ORIGIN_NS + 7 * S, "contended", "1 other process(es) used the GPU", "gpu:GPU-0"),
    ]
    drawn = Recorded(tmp_path, marks=marks).figure()
    assert [(f.number, round(f.t_s)) for f in drawn.flags] == [(1, 5), (1, 6), (2, 7)]
    said = [text for text in drawn.caption if text.startswith("▼")]
    assert said[0] == "▼1 GPU 0, GPU 1: nvml took 0.31 s to answer (at 5.0 s, 2 times)"


def test_a_run_without_a_trace_says_so(tmp_path: Path) -> None:
    measured = Recorded(tmp_path).write()
    (tmp_path / "trace.parquet").unlink()
    with pytest.raises(BenchError, match="has no trace"):
        figure.figure(tmp_path, measured, 100)
    Trace.empty().write_parquet(tmp_path / "trace.parquet")
    with pytest.raises(BenchError, match="no readings"):
        figure.figure(tmp_path, measured, 100)


# --- in a terminal


@pytest.mark.parametrize("width", [40, 80, 200])
def test_a_terminal_of_any_width(tmp_path: Path, width: int) -> None:
    drawn = Recorded(tmp_path, lost=(6.0, 14.0)).figure(terminal.points(width))
    said = terminal.draw(drawn, width, 40)
    panels = [t.plain for t in said if "│" in t.plain or "└" in t.plain]
    assert all(len(row) <= width for row in panels)
    text = "\n".join(t.plain for t in said)
    assert "600 W│" in text
    assert "train" in text
    assert "10 s" in text
    assert width == 40 or "no reading" in text
    assert "Energy by phase" in text


def test_braille_dots_are_where_they_belong() -> None:
    dots = np.zeros((4, 4), bool)
    dots[0, 0] = dots[3, 3] = True
    assert terminal.braille(dots) == ["⠁⢀"]


def test_the_highest_reading_reaches_the_top_and_power_is_not_drawn_in_a_gap(
    tmp_path: Path,
) -> None:
    drawn = Recorded(tmp_path, lost=(6.0, 14.0)).figure(terminal.points(109))
    said = [t.plain for t in terminal.draw(drawn, 109, 60)]
    first = next(i for i, row in enumerate(said) if "GPU 1" in row and "Doubtful" not in row)
    top = said[first + 1].partition("│")[2]
    assert top[0] == "⠉"
    assert top[40:60].strip() == "", "8 to 12 s of -2 to 22 s"


# --- as a picture


@pytest.fixture
def drawing() -> None:
    pytest.importorskip("altair", reason="pictures need the extra 'plot'")
    pytest.importorskip("vl_convert", reason="pictures need the extra 'plot'")


@pytest.mark.usefixtures("drawing")
def test_an_svg_shows_all_of_it(tmp_path: Path) -> None:
    marks = [Mark(ORIGIN_NS + 5 * S, "slow", "nvml took 0.31 s", "gpu:GPU-0")]
    drawn = Recorded(tmp_path / "run", lost=(5.95, 10.05), marks=marks).figure()
    picture.save(drawn, tmp_path / "out.svg")
    text = (tmp_path / "out.svg").read_text()
    said = re.sub(r"<[^>]+>", " ", text)
    for words in (
        "Power of python train.py", "± 0.364 Wh", "Power (W)", "Time from the start", "idle",
        "prepare", "train", "GPU 0, 350 W", "GPU 1, 300 W", "no reading", "▼1", "Energy by phase",
        "Doubtful",
    ):  # fmt: skip
        assert words in said
    assert len({c for c in re.findall(r'stroke="(#\w{6})"', text) if c in picture.COLOURS}) == 3
    assert "stroke-dasharray" in text, "told apart in grey too"


@pytest.mark.usefixtures("drawing")
@pytest.mark.parametrize(("kind", "head"), [("png", b"\x89PNG"), ("pdf", b"%PDF")])
def test_other_kinds_of_picture(tmp_path: Path, kind: str, head: bytes) -> None:
    path = tmp_path / f"out.{kind}"
    picture.save(Recorded(tmp_path / "run").figure(), path)
    assert path.read_bytes().startswith(head)


@pytest.mark.usefixtures("drawing")
def test_a_page_needs_no_network(tmp_path: Path) -> None:
    drawn = Recorded(tmp_path / "run", rate_hz=100).figure(picture.points(Path("x.html")))
    picture.save(drawn, tmp_path / "out.html")
    text = (tmp_path / "out.html").read_text()
    assert len(text) > 500_000, "with its scripts"
    assert not re.search(r"<(script|link)[^>]*(src|href)=", text)


def test_another_kind_is_refused_with_those_there_are() -> None:
    with pytest.raises(UsageError) as error:
        picture.points(Path("out.gif"))
    assert ".svg" in (error.value.hint or "")


def test_without_altair_the_install_line_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "altair", None)
    with pytest.raises(MissingExtra) as error:
        picture.save(Recorded(tmp_path / "run").figure(), tmp_path / "out.svg")
    assert "pip install 'wattbench[plot]'" in (error.value.hint or "")


# --- the command


def test_the_command_draws_here_or_into_a_file(bench, tmp_path: Path) -> None:
    Recorded(tmp_path / "runs" / "measure" / "abcdef0123456789").write()
    said = bench("power", "plot", "abcdef")
    assert said.code == 0, said.err
    assert "GPU 0, 350 W" in said.out
    assert "⠉" in said.out
    pytest.importorskip("altair", reason="pictures need the extra 'plot'")
    assert bench("power", "plot", "abcdef", "-o", "power.svg").code == 0
    assert (tmp_path / "power.svg").read_text().startswith("<svg")
    assert bench("power", "plot", "abcdef", "-o", "power.gif").code == 2
    assert bench("power", "plot", "nothing").code == 2
