"""The simulated card shows what its truth says, and the NVML probe reads what cards give."""

from __future__ import annotations

import ctypes
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from bench.power import nvml
from bench.power.meter import Meter
from tests.power.conftest import MakeGpus
from tests.power.simulated import (
    FOREVER,
    Constant,
    Curve,
    Ramp,
    Recorded,
    SimulatedGpu,
    SimulatedGpus,
    Square,
    agrees,
    build_nvml,
)

pytestmark = pytest.mark.compiler

# --- the simulated card itself, looked at as any tool would, through pynvml

_LOOK = """
import json, sys, time
import pynvml as n
n.nvmlInit()
print(json.dumps(eval(sys.argv[1])))
"""
_POLL = """(lambda h, end: [
    (time.monotonic_ns(), n.nvmlDeviceGetTotalEnergyConsumption(h), n.nvmlDeviceGetPowerUsage(h),
     [v.value.uiVal for v in n.nvmlDeviceGetFieldValues(h, [185, 186])], time.monotonic_ns())
    for _ in iter(lambda: time.sleep(0.003) or time.monotonic() < end, False)
])(n.nvmlDeviceGetHandleByIndex(0), time.monotonic() + SECONDS)"""


def look(expression: str) -> Any:
    """What an expression gives in a process that sees the simulated boards; `n` is pynvml."""
    command = [sys.executable, "-c", _LOOK, expression]
    return json.loads(subprocess.run(command, capture_output=True, check=True).stdout)


def poll(seconds: float = 0.5) -> list[tuple[int, int, int, list[int], int]]:
    """Rows of (before ns, counter mJ, PowerUsage mW, [field 185, field 186] mW, after ns)."""
    return look(_POLL.replace("SECONDS", str(seconds)))


@pytest.fixture
def recorded(tmp_path: Path) -> Recorded:
    path = tmp_path / "watts.csv"
    path.write_text("t,watts\n10.0,100\n10.2,300\n10.25,50\n10.6,50\n10.7,400\n")
    return Recorded(str(path))


@pytest.mark.parametrize(
    "curve", [Constant(400), Square(100, 400, 0.23), Ramp(80, 700, 0.31), None], ids=str
)
def test_card_and_truth_agree(make_gpus: MakeGpus, recorded: Recorded, curve: Curve | None) -> None:
    gpus = make_gpus(SimulatedGpu(curve or recorded, tick_s=0, start_j=1e6))
    truth = gpus.gpus[0].curve
    for before_ns, energy_mj, power_mw, _, after_ns in poll():
        first, last = (ns / 1e9 - gpus.boot_s for ns in (before_ns, after_ns))
        least, most = truth.energy_j(first) + 1e6, truth.energy_j(last) + 1e6
        assert least - 0.002 <= energy_mj / 1e3 <= most + 0.002
        between = [truth.power_w(first + k / 20 * (last - first)) for k in range(21)]
        assert min(between) - 1 <= power_mw / 1e3 <= max(between) + 1


@pytest.mark.parametrize("curve", [Square(100, 400, 0.7), Ramp(80, 700, 3.1), None], ids=str)
def test_the_truth_is_the_integral_of_its_power(recorded: Recorded, curve: Curve | None) -> None:
    curve = curve or recorded
    steps = 20_000
    by_sum = sum(curve.power_w(0.1 + (k + 0.5) / steps * 2.0) for k in range(steps)) * 2.0 / steps
    assert curve.energy_j(2.1) - curve.energy_j(0.1) == pytest.approx(by_sum, rel=1e-3)


def test_registers_of_a_hopper(make_gpus: MakeGpus) -> None:
    """Field 186: a 25 ms mean each 100 ms; field 185 and PowerUsage: the last second's mean."""
    gpus = make_gpus(SimulatedGpu.of("h100", Ramp(0, 700, 10)))
    curve = gpus.gpus[0].curve
    for before_ns, _, usage_mw, (average_mw, instant_mw), after_ns in poll():
        renewed = [int((ns / 1e9 - gpus.boot_s) * 10) / 10 for ns in (before_ns, after_ns)]
        if renewed[0] != renewed[1]:
            continue  # it was renewed in between
        t = renewed[0]
        instant_w = (curve.energy_j(t) - curve.energy_j(t - 0.025)) / 0.025
        average_w = curve.energy_j(t) - curve.energy_j(t - 1)
        assert instant_mw / 1e3 == pytest.approx(instant_w, abs=0.01)
        assert average_mw / 1e3 == pytest.approx(average_w, abs=0.01)
        assert usage_mw == average_mw


def test_an_a100_gives_no_average(make_gpus: MakeGpus) -> None:
    make_gpus(SimulatedGpu.of("a100", Ramp(0, 400, 10)))
    assert all(usage == instant for _, _, usage, (_, instant), _ in poll(0.2)[:1])


def test_noise_comes_again_with_the_seed(make_gpus: MakeGpus) -> None:
    gpu = SimulatedGpu(Constant(200), refresh_s=1e6, noise_w=5)

    def seen(seed: int) -> int:
        make_gpus(gpu, seed=seed)
        return look("n.nvmlDeviceGetPowerUsage(n.nvmlDeviceGetHandleByIndex(0))")

    assert seen(1) == seen(1) != seen(2)


def test_noise_and_jitter(make_gpus: MakeGpus) -> None:
    make_gpus(
        SimulatedGpu(Constant(200), refresh_s=0.02, noise_w=5, tick_s=0.05, tick_jitter_s=0.01)
    )
    rows = poll(1.0)
    watts = [mw / 1e3 for mw in {row[2] for row in rows}]
    assert len(watts) > 20  # one value for each renewal
    assert 195 < sum(watts) / len(watts) < 205
    assert any(abs(w - 200) > 5 for w in watts)
    counts = sorted({row[1] for row in rows})
    ticks_s = [(b - a) / 200e3 for a, b in pairwise(counts)]
    assert 0.029 <= min(ticks_s) < 0.048
    assert max(ticks_s) > 0.052


def test_gains(make_gpus: MakeGpus) -> None:
    make_gpus(SimulatedGpu(Constant(200), gain=1.1, counter_gain=0.9, tick_s=0))
    first, *_, last = poll()
    assert first[2] == 220_000
    seconds = (last[0] - first[0]) / 1e9
    assert (last[1] - first[1]) / 1e3 / seconds == pytest.approx(180, rel=0.02)


# --- the probe, in a process that sees the simulated boards

_PROBE = """
import json, os, sys, time
from bench.power import gpus, nvml
from bench.power.probes import Mark
from bench.power.probes import nvml as module
from bench.power.processes import Tree
tree = Tree()
exec(sys.argv[2])
probe = module.Probe(tree)
refusal = probe.why_not()
domains, items = [], []
if refusal is None:
    domains = [d._asdict() for d in probe.domains()]
    end = time.monotonic() + float(sys.argv[1])
    while time.monotonic() < end:
        items += [(isinstance(i, Mark), i._asdict()) for i in probe.read()]
        time.sleep(0.05)
    probe.close()
print(json.dumps([refusal, domains, items]))
sys.stdout.flush()
os._exit(0)
"""


class Seen:
    """What a probe gave, by the boards' order."""

    def __init__(self, gpus: SimulatedGpus, seconds: float = 0.0, prelude: str = "") -> None:
        command = [sys.executable, "-c", _PROBE, str(seconds), prelude]
        run = subprocess.run(command, stdout=subprocess.PIPE, check=True, timeout=30)
        self.refusal, self.domains, items = json.loads(run.stdout)
        names = [gpus.domain(i) for i in range(len(gpus.gpus))]
        self.domain = [next((d for d in self.domains if d["name"] == n), None) for n in names]
        mine = [[(mark, i) for mark, i in items if i["domain"] == name] for name in names]
        self.readings = [[i for mark, i in several if not mark] for several in mine]
        self.marks = [[i for mark, i in several if mark] for several in mine]

    def facts(self, board: int) -> dict[str, Any]:
        domain = self.domain[board]
        assert domain is not None
        facts: dict[str, Any] = domain["facts"]
        return facts

    def told(self, board: int) -> set[str]:
        return {m["id"] for m in self.marks[board]}

    def errors(self, board: int) -> set[str]:
        return {r["error"] for r in self.readings[board] if r["error"]}


def sources(seen: Seen, board: int) -> tuple[str | None, str | None, float]:
    facts = seen.facts(board)
    return facts["energy_source"], facts["power_source"], facts["power_average_s"]


def test_layouts_are_those_of_the_header() -> None:
    """Sizes as written down from the header: what pynvml changes must not go unseen."""
    import pynvml

    wanted = [
        (pynvml.c_nvmlFieldValue_t, 40), (pynvml.c_nvmlProcessInfo_v2_t, 24),
        (pynvml.nvmlPciInfo_t, 68), (pynvml.c_nvmlMemory_t, 24), (pynvml.c_nvmlUtilization_t, 8),
        (pynvml.c_nvmlDeviceAttributes, 40), (nvml.OldProcessInfo, 16),
    ]  # fmt: skip
    for layout, size in wanted:
        assert ctypes.sizeof(layout) == size
    assert tuple(name for name, _ in pynvml.c_nvmlValue_t._fields_) == nvml._TYPES


def test_each_code_has_a_meaning_and_a_mending() -> None:
    import pynvml

    for code in (3, 4, 9, 12, 13, 15, 16, 17, 18, 999):
        assert nvml.explain(code).startswith(f"NVML {code}: ")
        assert "does not know" not in nvml.explain(code)
    for code in (4, 9, 12, 13, 15, 16, 17, 18, 999, 77):
        assert nvml.mending(code)
    assert "does not know" in nvml.explain(77)
    assert pynvml.NVML_ERROR_GPU_IS_LOST == nvml.GPU_IS_LOST
    assert pynvml.NVML_ERROR_RESET_REQUIRED == nvml.RESET_REQUIRED


def test_each_board_is_asked_what_it_can_do(make_gpus: MakeGpus) -> None:
    generations = ("p100", "v100", "t4", "a100", "rtx3090", "h100")
    boards = [SimulatedGpu.of(g, Constant(100)) for g in generations]
    boards += [SimulatedGpu.of(g, Constant(100), fields=False) for g in ("a100", "h100")]
    ever = (-99.0, FOREVER)
    boards += [
        SimulatedGpu(faults=[("stuck", *ever, 186)]),
        SimulatedGpu(faults=[("stuck", *ever, 186), ("stuck", *ever, 0)]),
        SimulatedGpu(faults=[("strange", *ever, 186), ("strange", *ever, 83)]),
        SimulatedGpu(start_j=9.0, faults=[("stuck", *ever, 83)]),
        SimulatedGpu(faults=[("nofield", *ever, 191), ("nofield", *ever, 83)]),
        SimulatedGpu(counter=False),
        SimulatedGpu(faults=[("once", *ever, 3, "nvmlDeviceGetFieldValues")]),
    ]
    seen = Seen(make_gpus(*boards))
    total = "TotalEnergyConsumption"
    assert [sources(seen, i) for i in range(len(boards))] == [
        (None, "PowerUsage", 0.0),  # Pascal has no counter
        ("field 83", "PowerUsage", 0.0),
        ("field 83", "PowerUsage", 0.0),
        ("field 83", "field 186", 0.0),
        ("field 83", "field 186", 0.0),
        ("field 83", "field 186", 0.0),
        ("field 83", "PowerUsage", 0.0),  # GA100: not an average
        ("field 83", "PowerUsage", 1.0),
        ("field 83", "PowerUsage", 1.0),  # a field that answers 0 is of no use
        ("field 83", "field 185", 1.0),
        ("field 191", "PowerUsage", 1.0),
        ("field 191", "field 186", 0.0),
        (total, "field 186", 0.0),
        (None, "field 186", 0.0),
        ("field 83", "field 186", 0.0),  # it said "not supported" once
    ]


def without(names: Iterable[str], folder: Path, monkeypatch: pytest.MonkeyPatch) -> SimulatedGpus:
    """A board behind a library that lacks these functions."""
    processes = [(1, 0.0, FOREVER)] * 20
    board = SimulatedGpu(start_j=9.0, processes=processes, reasons=0x20, tick_s=0)
    library = build_nvml(folder / "lib", list(names))
    gpus = SimulatedGpus(folder / "nvml.conf", library, [board])
    for name, value in gpus.environment().items():
        monkeypatch.setenv(name, value)
    return gpus


def test_a_driver_of_years_ago_is_asked_in_its_own_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lacks = [
        "FieldValues", "ComputeRunningProcesses_v3", "ComputeRunningProcesses_v2", "MigMode",
        "CurrentClocksEventReasons", "Architecture", "VirtualizationMode",
    ]  # fmt: skip
    gpus = without([f"nvmlDeviceGet{name}" for name in lacks], tmp_path, monkeypatch)
    seen = Seen(gpus, 2.5)
    assert sources(seen, 0) == ("TotalEnergyConsumption", "PowerUsage", 1.0)
    assert seen.errors(0) == set()
    assert {"contended", "throttled"} <= seen.told(0)
    assert seen.facts(0)["architecture"] is None
    assert "NVML 13" in seen.facts(0)["not_given"]["architecture"]
    assert seen.facts(0)["mig"] is False


def test_a_library_that_has_next_to_nothing_will_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = Path(__file__).with_name("nvml_sim.c").read_text()
    needed = {
        "nvmlInitWithFlags", "nvmlShutdown", "nvmlDeviceGetCount_v2", "nvmlDeviceGetUUID",
        "nvmlDeviceGetHandleByIndex_v2", "nvmlDeviceGetName", "nvmlDeviceGetPowerUsage",
    }  # fmt: skip
    everything = set(re.findall(r"^int (nvml\w+)\(", source, re.MULTILINE))
    seen = Seen(without(everything - needed, tmp_path, monkeypatch), 0.5)
    assert sources(seen, 0) == (None, "PowerUsage", 1.0)
    assert {r["power_w"] for r in seen.readings[0]} == {100.0}
    assert seen.told(0) == {"processes-hidden"}
    assert len(seen.facts(0)["not_given"]) > 10


def test_a_library_without_its_first_function_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = Seen(without(["nvmlInitWithFlags"], tmp_path, monkeypatch))
    assert seen.refusal[0].startswith("NVML 13: ")
    assert "update" in seen.refusal[1]


def test_a_library_that_can_not_be_loaded_is_refused(make_gpus: MakeGpus, tmp_path: Path) -> None:
    (tmp_path / "libnvidia-ml.so.1").write_text("not a library")
    gpus = make_gpus(SimulatedGpu(), library=tmp_path / "libnvidia-ml.so.1")
    seen = Seen(gpus)
    assert "can't be loaded" in seen.refusal[0]
    (tmp_path / "libnvidia-ml.so.1").unlink()
    assert Seen(gpus).refusal[0] == "no NVIDIA GPU here"


@pytest.fixture(scope="module")
def sick(nvml_library: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Four seconds of boards that each have a fault of their own; name -> what was seen of it."""
    ever = (-99.0, FOREVER)
    after = (1.5, FOREVER)
    kinds = {
        "fine": SimulatedGpu(Constant(400), start_j=1e6),
        "lost": SimulatedGpu(faults=[("code", 1.5, 1.7, 15)]),
        "reset": SimulatedGpu(faults=[("code", 1.5, 1.7, 16)]),
        **{
            f"code {code}": SimulatedGpu(faults=[("code", 1.5, 2.5, code)])
            for code in (1, 3, 4, 9, 10, 12, 13, 17, 18, 77, 999)
        },
        "once": SimulatedGpu(faults=[("once", *after, 3, "nvmlDeviceGetFieldValues")]),
        "zero": SimulatedGpu(faults=[("zero", 1.5, 2.0)]),
        "absurd": SimulatedGpu(faults=[("gain", 1.5, 2.0, 42949)]),
        "no power": SimulatedGpu(faults=[("power", *ever, 3)]),
        "still": SimulatedGpu(
            faults=[("stuck", *ever, 83)], fields=True, start_j=0.0, tick_s=0.01
        ),
        "frozen": SimulatedGpu(start_j=5.0, faults=[("frozen", *ever)]),
        "late counter": SimulatedGpu(
            start_j=5.0, faults=[("energy", -99, 1.5, 3), ("frozen", *ever)]
        ),
        "hot": SimulatedGpu(faults=[("reasons", *after, 0x40)]),
        "slowed": SimulatedGpu(faults=[("reasons", *after, 0x08)]),
        "braked": SimulatedGpu(faults=[("reasons", *after, 0x88)]),
        "capped": SimulatedGpu(faults=[("reasons", 1.0, 2.6, 0x04)]),
        "idle": SimulatedGpu(reasons=0x01),
        "limited": SimulatedGpu(faults=[("limit", 2.0, FOREVER, 350)]),
        "clocked": SimulatedGpu(faults=[("application", 2.5, FOREVER, 1200)]),
        "crowded": SimulatedGpu(
            processes=[(1, *ever)] * 60, faults=[("crowd", *ever)]
        ),
        "unlisted": SimulatedGpu(
            faults=[("code", *ever, 4, "nvmlDeviceGetComputeRunningProcesses_v3")]
        ),
        "gone": SimulatedGpu(present=(-99.0, 1.5)),
        "late": SimulatedGpu(present=(1.5, FOREVER)),
    }  # fmt: skip
    folder = tmp_path_factory.mktemp("sick")
    gpus = SimulatedGpus(folder / "nvml.conf", nvml_library, list(kinds.values()))
    with pytest.MonkeyPatch.context() as patch:
        for name, value in gpus.environment().items():
            patch.setenv(name, value)
        seen = Seen(gpus, 6.0)
    return {"seen": seen, **{name: i for i, name in enumerate(kinds)}}


def powers(sick: dict[str, Any], name: str) -> set[float | None]:
    return {r["power_w"] for r in sick["seen"].readings[sick[name]]}


def told(sick: dict[str, Any], name: str) -> set[str]:
    found: set[str] = sick["seen"].told(sick[name])
    return found


def test_a_fine_board_among_sick_ones(sick: dict[str, Any]) -> None:
    seen, board = sick["seen"], sick["fine"]
    assert told(sick, "fine") == set()
    assert seen.errors(board) == set()
    assert powers(sick, "fine") == {400.0}
    for what, least, most in (("utilisation", 0, 1), ("clock_mhz", 1000, 2000),
                              ("temperature_c", 20, 90)):  # fmt: skip
        given = [r[what] for r in seen.readings[board] if r[what] is not None]
        assert 3 <= len(given) <= 12  # about once a second
        assert all(least < value < most for value in given)
    counted = [r for r in seen.readings[board] if r["energy_j"] is not None]
    assert len(counted) > 20
    assert counted[0]["energy_j"] > 1e6


@pytest.mark.parametrize("name", ["lost", "reset"])
def test_lost_is_final(sick: dict[str, Any], name: str) -> None:
    seen, board = sick["seen"], sick[name]
    assert told(sick, name) == {"lost"}
    assert seen.readings[board][-1]["power_w"] is None
    assert seen.errors(board) == {nvml.explain(15 if name == "lost" else 16)}


@pytest.mark.parametrize("code", [1, 3, 4, 9, 10, 12, 13, 17, 18, 77, 999])
def test_other_codes_are_missing_readings(sick: dict[str, Any], code: int) -> None:
    seen, board = sick["seen"], sick[f"code {code}"]
    assert seen.errors(board) == {nvml.explain(code)}
    failed = [r for r in seen.readings[board] if r["error"]]
    assert all(r["power_w"] is r["energy_j"] is None for r in failed)
    assert seen.readings[board][-1]["power_w"] == 100.0


def test_a_board_that_vanished_is_lost_and_one_that_came_late_is_not_there(
    sick: dict[str, Any],
) -> None:
    assert told(sick, "gone") == {"lost"}
    assert sick["seen"].domain[sick["late"]] is None


def test_no_power_is_never_zero_watts(sick: dict[str, Any]) -> None:
    assert powers(sick, "zero") == powers(sick, "absurd") == {None, 100.0}
    assert powers(sick, "no power") == {None}
    for name in ("zero", "absurd", "no power", "once"):
        assert sick["seen"].errors(sick[name]) <= {nvml.explain(3)}
        assert told(sick, name) == set()
    energies = [r["energy_j"] for r in sick["seen"].readings[sick["no power"]]]
    assert None not in energies[5:]


def test_a_counter_that_never_moves_is_replaced(sick: dict[str, Any]) -> None:
    seen = sick["seen"]
    assert {r["energy_j"] for r in seen.readings[sick["frozen"]]} == {None}
    messages = [m["message"] for m in seen.marks[sick["frozen"]]]
    assert len(messages) == 2  # within six seconds: field 83, then field 191
    assert "(field 83) stands still: field 191 takes its place" in messages[0]
    assert "field 191" in seen.facts(sick["still"])["energy_source"]
    assert seen.readings[sick["still"]][-1]["energy_j"] > 0


def test_a_counter_that_comes_late_and_stands_still_is_none(sick: dict[str, Any]) -> None:
    seen, board = sick["seen"], sick["late counter"]
    assert seen.facts(board)["energy_source"] is None
    assert {r["energy_j"] for r in seen.readings[board]} == {None}
    assert told(sick, "late counter") == {"counter-still"}
    assert powers(sick, "late counter") == {100.0}


@pytest.mark.parametrize(
    ("name", "marks"),
    [
        ("hot", {"throttled"}),
        ("slowed", {"throttled"}),
        ("braked", {"power-brake"}),
        ("idle", set()),
        ("limited", {"power-limit-changed"}),
        ("clocked", {"application-clock-changed"}),
        ("capped", {"power-capped"}),
        ("crowded", {"contended"}),
        ("unlisted", {"processes-hidden"}),
    ],
)
def test_what_happens_to_a_board_is_marked(
    sick: dict[str, Any], name: str, marks: set[str]
) -> None:
    assert told(sick, name) == marks


def test_marks_have_their_numbers(sick: dict[str, Any]) -> None:
    marks = {name: sick["seen"].marks[sick[name]] for name in ("limited", "crowded", "capped")}
    assert "from 700 to 350 W" in marks["limited"][0]["message"]
    assert marks["crowded"][0]["value"] == 60
    assert [m["value"] for m in marks["capped"]] == [1, 0]
    assert len(marks["crowded"]) >= 4  # about once a second


_OFTEN = "module._ASK_NS = 20_000_000"  # a question with each reading


@pytest.mark.parametrize(
    ("container", "busy", "marks"),
    [(True, 50, {"processes-hidden"}), (True, 0, set()), (False, 50, set())],
)
def test_a_busy_board_on_which_no_process_is_seen(
    make_gpus: MakeGpus, container: bool, busy: int, marks: set[str]
) -> None:
    gpus = make_gpus(SimulatedGpu(more=[f"utilisation {busy} 0"]))
    prelude = f"tree.follow(os.getpid()); module.all_seen = lambda: not {container}"
    assert Seen(gpus, 2.4, f"{prelude}; {_OFTEN}").told(0) == marks


def test_a_board_is_still_busy_when_its_process_has_just_ended(make_gpus: MakeGpus) -> None:
    own = os.getpid()  # the parent of who looks
    gpus = make_gpus(SimulatedGpu(more=["utilisation 50 0"], processes=[(own, -99.0, 2.0)]))
    prelude = "tree.follow(os.getpid()); module.all_seen = lambda: False"
    assert Seen(gpus, 1.9, f"{prelude}; {_OFTEN}").told(0) == set()


def test_a_board_that_can_not_be_opened_does_not_stop_the_others(make_gpus: MakeGpus) -> None:
    ever = (-99.0, FOREVER)
    gpus = make_gpus(
        SimulatedGpu(faults=[("code", *ever, 4, "nvmlDeviceGetHandleByIndex_v2")]),
        SimulatedGpu(),
        SimulatedGpu(faults=[("code", *ever, 15)]),
        SimulatedGpu(faults=[("hang", *ever)]),
    )
    seen = Seen(gpus, 0.3, "gpus._PATIENCE_S = 0.5")
    assert [d["name"] for d in seen.domains] == [gpus.domain(1)]
    assert [text.partition(":")[0] for text in seen.facts(1)["unopened"]] == [
        "GPU 0", "GPU 2", "GPU 3",
    ]  # fmt: skip
    assert "NVML 4" in seen.facts(1)["unopened"][0]
    assert "has not answered" in seen.facts(1)["unopened"][2]
    assert {r["power_w"] for r in seen.readings[1]} == {100.0}


@pytest.mark.parametrize(
    ("fault", "reason"), [(("code", 4), "NVML 4"), (("hang", 0), "has not answered")]
)
def test_boards_none_of_which_can_be_opened_are_refused(
    make_gpus: MakeGpus, fault: tuple[str, int], reason: str
) -> None:
    kind, value = fault
    seen = Seen(
        make_gpus(SimulatedGpu(faults=[(kind, -99, FOREVER, value)])), 0, "gpus._PATIENCE_S = 0.5"
    )
    assert reason in seen.refusal[0]
    assert seen.refusal[1]


def test_a_driver_without_gpus_is_refused(make_gpus: MakeGpus) -> None:
    assert Seen(make_gpus()).refusal[0] == "the driver shows no GPU"


def test_what_a_card_can_not_give_is_null_with_its_reason(make_gpus: MakeGpus) -> None:
    never = [("code", -99, FOREVER, 4, "nvmlDeviceGetEnforcedPowerLimit")]
    seen = Seen(make_gpus(
        SimulatedGpu(limit_w=600, limits_w=(700, 200, 750)),
        SimulatedGpu.of("rtx3090", Constant(99), persistence=None, faults=never),
    ))  # fmt: skip
    full, poor = seen.facts(0), seen.facts(1)
    assert (full["power_limit_w"], full["default_power_limit_w"]) == (600, 700)
    assert (full["least_power_limit_w"], full["most_power_limit_w"]) == (200, 750)
    assert (full["ecc"], full["persistence"], full["mig_mode"]) == (True, True, False)
    assert (full["pci"], full["pci_device"]) == ("00000000:01:00.0", "2330")
    assert (full["architecture"], full["virtual"], full["display"]) == ("Hopper", "no", False)
    assert (full["memory_gb"], full["most_clock_mhz"], full["driver"]) == (85.5, 1980, "570.86.15")
    assert full["not_given"] == {}
    assert poor["ecc"] is poor["persistence"] is poor["mig_mode"] is poor["power_limit_w"] is None
    assert poor["not_given"] == {
        "ecc": "NVML 3: Not Supported",
        "persistence": "NVML 3: Not Supported",
        "mig_mode": "NVML 3: Not Supported",
        "power_limit_w": "NVML 4: Insufficient Permissions",
    }
    assert poor["mig"] is False


def test_a_divided_board_is_told_from_a_whole_one(make_gpus: MakeGpus) -> None:
    two = [("MIG-1", 1, 0, 3), ("MIG-2", 2, 0, 4)]
    make_gpus(
        SimulatedGpu(mig=True, parts=two),
        SimulatedGpu(mig=True, parts=[("MIG-3", 0, 0, 7)]),  # all of it: nobody else has a part
        SimulatedGpu(mig=True),
        SimulatedGpu(mig=True, parts=[("MIG-4", 1, 0, 1)]),  # the rest may go to somebody else
        SimulatedGpu(mig=False),
    )
    code = (
        "import json; from bench.power import gpus;"
        "print(json.dumps([(g.facts['mig'], g.mig) for g in gpus.listed()]))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    found = json.loads(run.stdout)
    assert [mig for mig, _ in found] == [True, False, True, True, False]
    assert found[0][1] == [["MIG-1", 1, 0, 3], ["MIG-2", 2, 0, 4]]


def test_gpus_are_listed_by_their_addresses(make_gpus: MakeGpus) -> None:
    gpus = make_gpus(SimulatedGpu(pci="00000000:81:00.0"), SimulatedGpu(pci="00000000:01:00.0"))
    code = "from bench.power import gpus; print(*(g.uuid for g in gpus.listed()))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True)
    assert run.stdout.split() == [gpus.gpus[1].uuid, gpus.gpus[0].uuid]


def test_a_driver_that_hangs_does_not_hang_who_lists_the_gpus(make_gpus: MakeGpus) -> None:
    make_gpus(SimulatedGpu(faults=[("hang", -99, FOREVER)]))
    code = (
        "from bench.power import gpus; from bench.errors import BenchError\n"
        "gpus._MOST_PATIENCE_S = 0.5\n"
        "try: gpus.listed()\n"
        "except BenchError as error: print(error.message)"
    )
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, check=True, text=True, timeout=20
    )
    assert "the NVIDIA driver has not answered for 0.5 s" in run.stdout


# --- the meter over it


def test_a_board_that_hangs_keeps_none_of_the_others(make_gpus: MakeGpus, tmp_path: Path) -> None:
    """And what is no reason to doubt: a power limit that is met, a board whose one part is all."""
    gpus = make_gpus(
        SimulatedGpu(Constant(400), faults=[("hang", 5.0, FOREVER)]),
        SimulatedGpu.of("h100", Square(100, 400, 1.3)),
        SimulatedGpu(Constant(400), faults=[("reasons", 4.5, 6.5, 0x04)]),
        SimulatedGpu(Constant(400), mig=True, parts=[("MIG-1", 0, 0, 7)]),
        SimulatedGpu(Constant(400), faults=[("limit", 5.0, FOREVER, 300)]),
        SimulatedGpu(Constant(400), faults=[("stuck", -99, FOREVER, 83)]),
        SimulatedGpu(Constant(400), faults=[("hang", 6.0, FOREVER)]),
    )
    meter = Meter(tmp_path, probes=["nvml"])
    meter.start()
    time.sleep(2.5)  # after 2 s a counter that stands still has been replaced
    start_ns = meter.edge(lead_s=0.25)
    time.sleep(9)  # two boards hang in turn; on a busy machine each costs some seconds
    stop_ns = meter.edge()
    trace = meter.stop()
    energies = trace.energy(start_ns, stop_ns)
    for energy in (energies.pop(6), energies.pop(0)):
        assert energy.energy_j is None
        assert "has not answered" in (energy.reason or "")
    for i, energy in enumerate(energies, 1):
        wanted = gpus.energy_j(i, start_ns, stop_ns)
        assert agrees(energy, wanted, rel=0.02)
        assert energy.method == "counter"
    found = {(w.id, w.rankable) for w in trace.warnings(start_ns, stop_ns)}
    at_the_start = {("counter-still", True)}  # unless it was seen while the board was opened
    assert found - at_the_start == {("missing", False), ("power-limit-changed", True)}


def test_a_window_that_opens_before_a_frozen_counter_is_found_has_an_energy(
    make_gpus: MakeGpus, tmp_path: Path
) -> None:
    """Until another counter takes its place, power stands in; that is in the uncertainty."""
    gpus = make_gpus(SimulatedGpu(Constant(400), start_j=5.0, faults=[("frozen", -99, 4.0)]))
    meter = Meter(tmp_path, probes=["nvml"])
    meter.start()
    start_ns = meter.edge()
    time.sleep(6)
    stop_ns = meter.edge()
    trace = meter.stop()
    (energy,) = trace.energy(start_ns, stop_ns)
    wanted_j = gpus.energy_j(0, start_ns, stop_ns)
    assert agrees(energy, wanted_j, rel=0.02)
    found = {(w.id, w.rankable) for w in trace.warnings(start_ns, stop_ns)}
    assert found == {("counter-still", True), ("no-counter", True)}


def test_a_board_that_hung_for_a_while_is_read_again(make_gpus: MakeGpus, tmp_path: Path) -> None:
    gpus = make_gpus(
        SimulatedGpu(Constant(400), faults=[("hang", 2.0, 4.5)]), SimulatedGpu(Constant(300))
    )
    meter = Meter(tmp_path, probes=["nvml"])
    meter.start()
    start_ns = meter.edge(lead_s=0.25)
    time.sleep(6)
    stop_ns = meter.edge()
    trace = meter.stop()
    back, other = trace.energy(start_ns, stop_ns)
    assert agrees(back, gpus.energy_j(0, start_ns, stop_ns), rel=0.02)
    assert agrees(other, gpus.energy_j(1, start_ns, stop_ns), rel=0.02)
    assert back.largest_gap_s is not None
    assert other.largest_gap_s is not None
    assert other.largest_gap_s < back.largest_gap_s
    told = trace.warnings(start_ns, stop_ns)
    assert ("hung", True) in {(w.id, w.rankable) for w in told}
    assert all(gpus.domain(0) in w.message for w in told)


def test_a_board_that_hangs_at_the_end_keeps_none_of_the_others(
    make_gpus: MakeGpus, tmp_path: Path
) -> None:
    gpus = make_gpus(
        SimulatedGpu(Constant(400), faults=[("hang", 3.0, FOREVER)]), SimulatedGpu(Constant(300))
    )
    meter = Meter(tmp_path, probes=["nvml"])
    meter.start()
    start_ns = meter.edge(lead_s=0.25)
    time.sleep(max(0.0, 3.7 - gpus.now_s()))
    stop_ns = meter.edge()
    trace = meter.stop()
    assert not {"sampler-hung", "sampler-died"} & {m.id for m in trace.marks}
    other = trace.energy(start_ns, stop_ns)[1]
    assert agrees(other, gpus.energy_j(1, start_ns, stop_ns), rel=0.05)


def test_who_comes_just_before_the_end_is_seen(make_gpus: MakeGpus, tmp_path: Path) -> None:
    gpus = make_gpus(SimulatedGpu(processes=[(1, 2.0, FOREVER)]))
    meter = Meter(tmp_path, probes=["nvml"])
    meter.start()
    start_ns = meter.edge(lead_s=0.25)
    time.sleep(max(0.0, 2.05 - gpus.now_s()))
    stop_ns = meter.edge()
    trace = meter.stop()
    first = next(m for m in trace.marks if m.id == "contended")
    assert (first.t_ns - stop_ns) / 1e9 < 0.25
    assert "contended" in {w.id for w in trace.warnings(start_ns, stop_ns)}


def test_a_card_that_takes_its_time_to_say_what_its_counter_reads(make_gpus: MakeGpus) -> None:
    """As an H200 does, for milliseconds, and for more right after a tick."""
    seen = Seen(make_gpus(SimulatedGpu.of("h200", Constant(400))), 1.0)
    took_ms = sorted(1e3 * r["took_s"] for r in seen.readings[0])
    assert took_ms[0] >= 2.5
    assert seen.told(0) == set()
    assert {r["error"] for r in seen.readings[0]} == {None}
