"""Programs as meters, through scripts that stand in for them; no real BMC has been met."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest

from bench.power import log, probes
from bench.power.meter import Meter
from bench.power.probes import Refusal, _slow, command, ipmitool
from bench.power.probes._slow import Options, SlowMeter, Unread, quantities
from bench.power.processes import Tree
from tests.power.stand_ins import program, take, until

Made = list[command.Probe | ipmitool.Probe]


@pytest.fixture
def made() -> Iterator[Made]:
    """Probes that are closed after the test."""
    several: Made = []
    yield several
    for probe in several:
        probe.close()


def working(made: Made, text: str) -> command.Probe:
    probe = command.Probe(Tree(), text)
    made.append(probe)
    assert probe.why_not() is None
    return probe


def refusal(text: str, kind: type = command.Probe) -> Refusal:
    found = kind(Tree(), text).why_not()
    assert found is not None
    return found


def is_gone(pid: int, within_s: float = 5.0) -> bool:
    deadline = time.monotonic() + within_s
    while Path(f"/proc/{pid}").exists() and time.monotonic() < deadline:
        if " Z " in Path(f"/proc/{pid}/stat").read_text():
            return True
        time.sleep(0.02)
    return not Path(f"/proc/{pid}").exists()


# --- what a line may say


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("123.4", {"power_w": 123.4}),
        ("  120 W\n", {"power_w": 120}),
        ("0.25 kW", {"power_w": 250}),
        ("98500mW", {"power_w": 98.5}),
        ("220 Watts", {"power_w": 220}),
        ("1e3 J", {"energy_j": 1000}),
        ("1.5 kWh", {"energy_j": 5.4e6}),
        ("2 Wh", {"energy_j": 7200}),
        ("123.4 W, 2 Wh", {"power_w": 123.4, "energy_j": 7200}),
        ("5000 J 12", {"power_w": 12, "energy_j": 5000}),
        ("0", {"power_w": 0}),
    ],
)
def test_numbers_with_units(line: str, found: dict[str, float]) -> None:
    assert quantities(line) == pytest.approx(found)


@pytest.mark.parametrize(
    "line",
    ["", "n/a", "-5", "nan", "inf", "1e999", "12 A", "12,5", "12 W 13 W", "1 2 3", "12 W of 90",
     "W", "1 wh", "12w", "0x10", "1,5 kWh", "12 345 J", "123.4,2 Wh"],
)  # fmt: skip
def test_anything_else_is_no_reading(line: str) -> None:
    with pytest.raises(Unread):
        quantities(line)


# --- started for every reading


def test_each_call_is_a_reading_at_its_middle(tmp_path: Path, made: Made) -> None:
    script = program(tmp_path / "watts", "sleep 0.2; echo 'power now:'; echo 123.5 W")
    before_ns = time.monotonic_ns()
    probe = working(made, f"every=0.1 {script}")
    after_ns = time.monotonic_ns()
    first, second, third = take(probe, 3)
    assert {r.power_w for r in (first, second, third)} == {123.5}
    middle_ns = (before_ns + after_ns) / 2
    assert first.t_ns == pytest.approx(middle_ns, abs=(after_ns - before_ns) / 4)
    assert 0.2 < (third.t_ns - second.t_ns) / 1e9 < 2  # a call does not begin before the last ended
    (domain,) = probe.domains()
    assert (domain.name, domain.kind, domain.level) == ("node:command", "node", "M2")
    assert domain.facts["period_s"] >= 0.2  # as long as a call takes, and not what was asked for


def test_quotes_are_a_shells(tmp_path: Path, made: Made) -> None:
    script = program(tmp_path / "a meter", 'test "$1" = "two words" && echo "$2"')
    probe = working(made, f"'{script}' \"two words\" '7 W'")
    assert take(probe, 1)[0].power_w == 7


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "it needs to be told more"),
        ("no-such-program-here", "no-such-program-here can't be started: No such file"),
        ("/etc/passwd", "passwd can't be started: Permission denied"),
        ("sh -c 'echo", "the command can't be read: No closing quotation"),
        ("true", "said '', which is not a number of watts or joules"),
        ("echo about 12 W", "said 'about 12 W', which is not a number"),
        ("sh -c 'echo 12; echo no bus >&2; exit 3'", "sh ended with exit code 3: no bus"),
        ("sh -c 'kill -9 $$'", "sh ended with signal 9: it said nothing"),
        ("timeout=0.2 sleep 30", "sleep gave no answer within 0.2 s"),
        ("timeout=0.2 sh -c 'echo 12; sleep 30'", "sh gave no answer within 0.2 s"),
        ("yes", "yes does not stop printing"),
        ("evry=3 ./watts", "no option is called 'evry'"),
        ("every=0 ./watts", "every=0 can't be used"),
        ("every=nan ./watts", "every=nan can't be used"),
        ("kind=house ./watts", "kind=house can't be used"),
    ],
)
def test_what_can_not_be_a_meter_is_refused(text: str, reason: str) -> None:
    assert refusal(text).reason.startswith(reason)


def test_a_refusal_says_what_to_do() -> None:
    assert refusal("").fix == "--probe 'command:PROGRAM ARGUMENTS'"
    assert refusal("evry=3 x").fix == "did you mean every?"
    assert "lines=SECONDS" in (refusal("timeout=0.1 sleep 9").fix or "")


def test_a_call_that_fails_later_is_a_missing_reading(tmp_path: Path, made: Made) -> None:
    script = program(
        tmp_path / "watts", f"test -f {tmp_path}/off && echo broken >&2 && exit 1; echo 50"
    )
    probe = working(made, f"every=0.05 {script}")
    take(probe, 1)
    (tmp_path / "off").touch()
    failed = until(probe, lambda r: r.error is not None)
    assert (failed.power_w, failed.error) == (None, "watts ended with exit code 1: broken")
    (tmp_path / "off").unlink()
    until(probe, lambda r: r.power_w == 50)


def test_a_call_that_hangs_is_ended_with_what_it_started(tmp_path: Path, made: Made) -> None:
    script = program(tmp_path / "watts", f"sleep 99 & echo $! > {tmp_path}/pid; wait")
    assert "no answer" in refusal(f"timeout=1 {script}").reason
    assert is_gone(int((tmp_path / "pid").read_text()))


def test_closing_ends_a_call_that_goes_on(tmp_path: Path) -> None:
    hanging = program(
        tmp_path / "watts",
        f"test -f {tmp_path}/pid || {{ touch {tmp_path}/pid; echo 5; exit; }}\n"
        f"echo $$ > {tmp_path}/pid; exec sleep 99",
    )
    probe = command.Probe(Tree(), f"every=0.01 timeout=60 {hanging}")
    assert probe.why_not() is None
    while not (tmp_path / "pid").read_text():
        time.sleep(0.01)
    before = time.monotonic()
    probe.close()
    assert time.monotonic() - before < 1
    assert is_gone(int((tmp_path / "pid").read_text()))


def test_a_program_that_is_killed_while_it_starts_does_not_stay(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sleeper = command.Program(["sleep", "99"])
    start = subprocess.Popen

    def start_late(*arguments: Any, **options: Any) -> subprocess.Popen[bytes]:
        process = start(*arguments, **options)
        sleeper.kill()
        return process

    monkeypatch.setattr(subprocess, "Popen", start_late)
    with pytest.raises(Unread, match="sleep ended with signal 9"):
        sleeper.output(timeout_s=5)


def test_kind_name_and_gain_are_options(made: Made) -> None:
    (domain,) = working(made, "kind=gpu name=GPU-1234 gain=0.01 echo 300").domains()
    assert (domain.name, domain.kind, domain.gain) == ("gpu:GPU-1234", "gpu", 0.01)
    assert domain.uuid == "GPU-1234"


def test_arguments_are_not_kept_for_they_may_hold_a_password(made: Made) -> None:
    (domain,) = working(made, "sh -c 'echo 12' --password=hunter2").domains()
    assert "hunter2" not in repr(domain)
    assert domain.device == "what sh prints"
    assert "hunter2" not in refusal("sh -c 'exit 1' --password=hunter2").reason


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("nvml", "nvml"),
        ("replay:a b.log", "replay:a b.log"),
        ("command:./watts", "command:./watts"),
        ("command:every=2 curl -u me:hunter2 http://pdu", "command:every=2 curl …"),
        ("prometheus:http://me:hunter2@host:9090?query=a", "prometheus:http://…@host:9090?query=a"),
        ("./mine.py:https://me:hunter2@host/x", "./mine.py:https://…@host/x"),
        ("shelly:every=2 name=a admin:hunter2@10.0.0.5", "shelly:every=2 name=a …@10.0.0.5"),
        ("prometheus:http://me:hunt@er2@host?query=a", "prometheus:http://…@host?query=a"),
        ("ipmitool:every=10", "ipmitool:every=10"),
        ("ipmitool:every=10 -I lanplus -U me -P hunter2", "ipmitool:every=10 …"),
        ("cellar:password=hunter2", "cellar:…"),
        ("command:", "command:"),
    ],
)
def test_a_probe_is_stored_without_what_may_be_a_password(text: str, shown: str) -> None:
    assert probes.shown(text) == shown


def test_no_password_gets_into_the_log(tmp_path: Path) -> None:
    meter = Meter(tmp_path, probes=["command:sh -c 'echo 5' hunter2", "command:false hunter2"])
    started = meter.start()
    meter.stop()
    assert [r.probe for r in started.refusals] == ["command:false …"]
    assert b"hunter2" not in (tmp_path / log.NAME).read_bytes()
    assert "hunter2" not in repr(started)


def test_no_password_is_in_the_samplers_arguments(tmp_path: Path) -> None:
    meter = Meter(tmp_path, probes=["command:every=9 sh -c 'echo 5' hunter2"])
    meter.start()
    sampler = meter._process
    assert sampler is not None
    arguments = Path(f"/proc/{sampler.pid}/cmdline").read_bytes()
    meter.stop()
    assert b"sampler.main" in arguments
    assert b"hunter2" not in arguments


def test_two_programs_that_look_alike_are_told_apart(tmp_path: Path) -> None:
    """And none is lost of the meters that a probe has: both are `sh` with something."""
    two = [f"command:every=9 kind={kind} sh -c 'echo 5'" for kind in ("cpu", "cpu")]
    meter = Meter(tmp_path, probes=["command:sh -c 'echo 5'", "command:sh -c 'exit 5'", *two])
    started = meter.start()
    meter.stop()
    assert list(started.by_probe) == ["command:sh …", "command:every=9 kind=cpu sh …"]
    assert [r.probe for r in started.refusals] == [
        "command:sh … (2)", "command:every=9 kind=cpu sh … (2)"
    ]  # fmt: skip


def test_two_meters_of_one_name_are_not_taken_for_one(tmp_path: Path) -> None:
    alike = ["command:sh -c 'echo 5'", "command:echo 6", "command:name=psu2 echo 7"]
    meter = Meter(tmp_path, probes=alike)
    started = meter.start()
    meter.stop()
    assert [d.name for d in started.domains] == ["node:command", "node:psu2"]
    (refused,) = started.refusals
    assert refused.reason == "another probe reads node:command too"


class Clock:
    """Time that passes where somebody waits, in the place of `time` and of what is waited for."""

    def __init__(self, stop_s: float) -> None:
        self.now_s, self.stop_s = 0.0, stop_s

    def monotonic(self) -> float:
        return self.now_s

    def wait(self, for_s: float) -> bool:
        self.now_s += for_s
        return self.now_s >= self.stop_s

    def is_set(self) -> bool:
        return False


class Asked(SlowMeter):
    """Notes when it was asked, on a clock of its own; the hundredth answer takes long."""

    defaults = Options("asked", every_s=0.1)

    def __init__(self, clock: Clock) -> None:
        super().__init__(Tree())
        self._clock = self._closing = clock
        self.asked_s: list[float] = []

    def ask(self) -> None:
        self.asked_s.append(self._clock.now_s)
        self._clock.now_s += 0.35 if len(self.asked_s) == 100 else 0.001


def test_questions_are_not_in_step_with_what_is_metered(monkeypatch: pytest.MonkeyPatch) -> None:
    """One in each period, at a moment that is drawn: a regular swing can't hide between them. After
    a slow answer at most one comes at once."""
    clock = Clock(20.0)
    monkeypatch.setattr(_slow, "time", clock)
    monkeypatch.setattr(_slow, "random", Random(5).random)
    meter = Asked(clock)
    meter._go_on_asking()
    before, after = np.array(meter.asked_s[:100]), np.array(meter.asked_s[100:])
    assert list(np.floor(before / 0.1)) == list(range(100))
    within = np.histogram(before % 0.1, 5, (0, 0.1))[0]
    assert within.min() >= 10
    assert len(after) == pytest.approx((20 - after[0]) / 0.1, abs=2)
    assert np.diff(after).min() > 0.001
    assert np.sum(np.diff(after[:4]) < 0.01) <= 1


# --- kept running


STREAM = """
import sys, time
for i in range(200):
    print(100 + i, "W", flush=True)
    time.sleep(0.05)
"""


def test_every_line_is_a_reading_when_it_comes(tmp_path: Path, made: Made) -> None:
    (tmp_path / "stream.py").write_text(STREAM)
    probe = working(made, f"lines=0.05 {sys.executable} {tmp_path}/stream.py")
    taken = take(probe, 8)
    watts = [r.power_w for r in taken]
    assert watts == sorted(watts)  # one process, in order
    assert watts[0] == 100
    span_s = (taken[-1].t_ns - taken[0].t_ns) / 1e9
    assert span_s > 0.3
    assert probe.domains()[0].facts["period_s"] >= 0.05


def test_of_lines_that_come_at_once_only_the_last_has_a_time(tmp_path: Path, made: Made) -> None:
    script = program(
        tmp_path / "watts", "echo 1; sleep 0.3; printf '2\\n3\\n4\\n'; sleep 0.3; echo 5; sleep 9"
    )
    probe = working(made, f"lines=0.3 {script}")
    assert [r.power_w for r in take(probe, 3)] == [1, 4, 5]


def test_a_program_that_ends_is_missing_and_started_again(tmp_path: Path, made: Made) -> None:
    script = program(tmp_path / "watts", "echo 60; sleep 0.3; exit 2")
    probe = working(made, f"lines=0.1 {script}")
    taken = take(probe, 4)
    assert [r.power_w for r in taken] == [60, None, 60, None]
    assert taken[1].error == "watts ended with exit code 2"


def test_a_program_that_prints_one_line_is_none_that_keeps_running() -> None:
    found = refusal("lines=1 echo 55")
    assert found.reason == "echo ended after its first line"
    assert "without lines=" in (found.fix or "")


def test_a_program_that_ends_is_not_started_again_at_once(tmp_path: Path, made: Made) -> None:
    script = program(tmp_path / "watts", f"echo x >> {tmp_path}/starts; echo 5; sleep 0.2")
    working(made, f"lines=0.5 {script}")
    time.sleep(1.5)
    assert 2 <= len((tmp_path / "starts").read_text()) // 2 <= 3


def test_a_program_that_keeps_its_lines_to_itself_is_refused(tmp_path: Path) -> None:
    (tmp_path / "stream.py").write_text(STREAM.replace(", flush=True", ""))
    python = f"env -u PYTHONUNBUFFERED {sys.executable}"
    found = refusal(f"lines=0.05 timeout=0.4 {python} {tmp_path}/stream.py")
    assert found.reason.endswith("printed no line within 0.4 s")
    assert "stdbuf -oL" in (found.fix or "")


# --- through a sampler


def test_a_slow_meters_energy_is_honest(tmp_path: Path) -> None:
    """Five readings a second, each of a call that takes a tenth of one: the node's total."""
    script = program(tmp_path / "watts", "sleep 0.1; echo 200 W")
    meter = Meter(tmp_path, probes=[f"command:every=0.2 {script}"])
    started = meter.start()
    assert [d.name for d in started.domains] == ["node:command"]
    start_ns = meter.edge()
    time.sleep(1.5)
    stop_ns = meter.edge()
    trace = meter.stop()
    (energy,) = trace.energy(start_ns, stop_ns)
    assert energy.energy_j == pytest.approx(200 * (stop_ns - start_ns) / 1e9, rel=0.001)
    assert (energy.method, energy.level, energy.charged) == ("integral", "M2", True)
    assert energy.energy_j is not None
    assert energy.uncertainty_j is not None
    assert 0.1 <= energy.uncertainty_j / energy.energy_j < 0.4  # the meter's, and a short window's


def test_no_program_outlives_a_sampler_that_is_killed(tmp_path: Path) -> None:
    script = program(tmp_path / "watts", f"echo $$ > {tmp_path}/pid; echo 5; exec sleep 99")
    meter = Meter(tmp_path, probes=[f"command:lines=1 {script}"])
    meter.start()
    pid = int((tmp_path / "pid").read_text())
    assert not is_gone(pid, 0.1)
    assert meter._process is not None
    meter._process.kill()
    assert is_gone(pid)
    meter.stop()


def test_what_is_not_understood_is_raised_where_it_is_seen(
    made: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A sampler marks a probe that raises; a thread that dies would be a silence."""
    probe = working(made, "every=0.01 echo 5")
    monkeypatch.setattr(probe, "ask", lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        take(probe, 1000)


# --- ipmitool


SAID = """
    Instantaneous power reading:                   220 Watts
    Minimum during sampling period:                 18 Watts
    Maximum during sampling period:                420 Watts
    Average power reading over sample period:      219 Watts
    IPMI timestamp:                           Thu Nov 26 10:01:02 2026
    Sampling period:                          00000005 Seconds.
    Power reading state is:                   activated
"""


@pytest.fixture
def fake_ipmitool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A script in place of ipmitool that prints `said` and keeps its arguments in `asked`."""
    folder = tmp_path / "bin"
    folder.mkdir()
    program(folder / "ipmitool", f'echo "$@" > {tmp_path}/asked; cat {tmp_path}/said')
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    (tmp_path / "said").write_text(SAID)
    return tmp_path


def test_ipmitool_gives_the_instantaneous_power(fake_ipmitool: Path, made: Made) -> None:
    probe = ipmitool.Probe(Tree(), "every=0.1 -I lanplus -H bmc -U me -E")
    made.append(probe)
    assert probe.why_not() is None
    assert [r.power_w for r in take(probe, 2)] == [220, 220]
    assert (fake_ipmitool / "asked").read_text() == (
        "-I lanplus -H bmc -U me -E dcmi power reading\n"
    )
    (domain,) = probe.domains()
    assert (domain.name, domain.level) == ("node:ipmitool", "M2")
    assert "trays of GPUs" in domain.facts["may_omit"]


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (SAID.replace(" 220 ", " 0 "), "the controller says 0 W"),
        (SAID.replace("activated", "deactivated"), "the controller's power reading is deactivated"),
        ("", "the controller gives no power reading"),
    ],
)
def test_a_controller_that_does_not_meter_is_refused(
    fake_ipmitool: Path, said: str, reason: str
) -> None:
    (fake_ipmitool / "said").write_text(said)
    assert refusal("", ipmitool.Probe).reason.startswith(reason)


@pytest.mark.parametrize(
    ("complaint", "fix"),
    [
        ("Could not open device at /dev/ipmi0: No such file or directory",
         "sudo modprobe -a ipmi_si ipmi_devintf"),
        ("Could not open device at /dev/ipmi0: Permission denied",
         "sudo chmod a+rw /dev/ipmi0"),
    ],
)  # fmt: skip
def test_ipmitools_complaints_name_the_command(
    fake_ipmitool: Path, complaint: str, fix: str
) -> None:
    program(fake_ipmitool / "bin" / "ipmitool", f"echo '{complaint}' >&2; exit 1")
    assert refusal("", ipmitool.Probe).fix == fix


def test_without_ipmitool_the_command_that_installs_it_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert refusal("", ipmitool.Probe).fix == "sudo apt install ipmitool"


@pytest.mark.parametrize("text", ["-U me -P hunter2", "-U me -Phunter2"])
def test_a_password_among_the_arguments_is_refused(text: str) -> None:
    found = refusal(text, ipmitool.Probe)
    assert "hunter2" not in f"{found.reason} {found.fix}"
    assert "IPMI_PASSWORD" in (found.fix or "")
