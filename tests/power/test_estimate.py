"""Estimates: what the metered processes used, and the model that turns it into watts."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import ClassVar

import pytest

from bench.power import processor
from bench.power.meter import Meter
from bench.power.probes import estimate
from bench.power.probes._rated import CPUS
from bench.power.processes import Tree

BURN = "import time\nstop = time.process_time() + {}\nwhile time.process_time() < stop: pass\n"


def burn(cpu_s: float) -> str:
    return BURN.format(cpu_s)


def test_a_known_processor_has_its_tdp() -> None:
    model = estimate.processor_model("AMD EPYC 7763 64-Core Processor", 128)
    assert (model.full_w, model.idle_w) == (280, pytest.approx(0.21 * 280))
    assert estimate.processor_model("AMD EPYC 7763 64-Core Processor", 256).full_w == 560


def test_a_part_of_a_package_has_its_share() -> None:
    model = estimate.processor_model("AMD EPYC 7763 64-Core Processor", 8)
    assert model.full_w == pytest.approx(280 * 8 / 128)
    assert "8 of 128 threads" in model.inputs


def test_a_package_without_smt_draws_no_less() -> None:
    """Of its 128 threads 64 are switched on; a hypervisor does not tell."""
    name = "AMD EPYC 7763 64-Core Processor"
    assert estimate.processor_model(name, 128, 64).full_w == 560
    assert estimate.processor_model(name, 64, 64).full_w == 280
    assert estimate.processor_model(name, 16, 64).full_w == 70
    assert estimate.processor_model(name, 64, None).full_w == 140
    assert estimate.processor_model(name, 128, 256).full_w == 280, "told of what can't be"


@pytest.mark.parametrize(
    ("text", "threads"),
    [
        ("siblings : 64\nflags : fpu sse\nsiblings : 64\nflags : fpu sse", 64),
        ("siblings : 8\nflags : fpu hypervisor", None),
        ("model name : ARM", None),
    ],
)
def test_the_threads_of_a_package(
    monkeypatch: pytest.MonkeyPatch, text: str, threads: int | None
) -> None:
    monkeypatch.setattr(processor, "text_of", lambda path: text)
    assert processor.package_threads() == threads


def test_processors_between_two_packages_all_count() -> None:
    watts = [estimate.processor_model("AMD EPYC 7513 32-Core", n).full_w for n in (64, 95, 96, 97)]
    assert watts == pytest.approx([200, 200 * 95 / 64, 300, 200 * 97 / 64])
    assert "2 package(s), 95 of 128" in estimate.processor_model("AMD EPYC 7513", 95).inputs


@pytest.mark.parametrize(
    ("name", "tdp_w"),
    [
        ("Intel(R) Xeon(R) Gold 6248 CPU @ 2.50GHz", 150),
        ("Intel(R) Xeon(R) Gold 6248R CPU @ 3.00GHz", None),  # 205 W
        ("AMD EPYC 7543P 32-Core Processor", 225),
        ("13th Gen Intel(R) Core(TM) i9-13900KF", 125),
        ("13th Gen Intel(R) Core(TM) i9-13900KS", None),  # 150 W
        ("AMD Ryzen 9 7950X 16-Core Processor", 170),
        ("AMD Ryzen 9 7950X3D 16-Core Processor", None),  # 120 W
    ],
)
def test_a_processor_is_known_by_all_of_its_name(name: str, tdp_w: float | None) -> None:
    said = estimate.processor_model(name, 8).inputs
    assert said.startswith(f"TDP {tdp_w} W x" if tdp_w else "TDP unknown")


def test_an_unknown_processor_has_a_stated_default() -> None:
    model = estimate.processor_model("AMD EPYC", 2)
    assert model.full_w == 7.0
    assert "TDP unknown: 3.5 W per processor (Cloud Carbon Footprint" in model.inputs


def test_every_processor_in_the_table_is_well_formed() -> None:
    for tdp_w, threads in CPUS.values():
        assert 0.5 < tdp_w / threads < 12
    assert not [(a, b) for a in CPUS for b in CPUS if a != b and a in b]


# --- processor time


def test_children_that_have_ended_are_counted() -> None:
    nested = (
        f"import subprocess, sys\nsubprocess.run([sys.executable, '-c', {burn(0.3)!r}])\ninput()"
    )
    tree = Tree()
    with subprocess.Popen([sys.executable, "-c", nested], stdin=subprocess.PIPE) as child:
        tree.follow(child.pid)
        deadline = time.monotonic() + 20
        while tree.cpu_time_s() < 0.3 and time.monotonic() < deadline:
            time.sleep(0.05)
        seen_s = tree.cpu_time_s()
        child.communicate()
    assert 0.3 <= seen_s < 0.3 + 1.0
    assert tree.cpu_time_s() >= seen_s  # it is gone; what it spent stays spent


class Waited(Tree):
    """Processes 1 and 2, its child; 1 waits for 2 right after it was looked at itself."""

    stats: ClassVar[dict[int, tuple[int, int, int]]] = {1: (0, 10, 100), 2: (1, 11, 400)}
    now = False

    def _scan(self) -> None:
        self._members |= {2: 11} if 2 in self.stats else {}

    def _stat(self, pid: int) -> tuple[int, int, int] | None:
        found = self.stats.get(pid)
        if self.now and pid == 1 and 2 in self.stats:
            self.stats = {1: (0, 10, 500)}
        return found


def test_a_child_that_is_waited_for_between_two_looks_is_not_counted_twice() -> None:
    tree = Waited()
    tree.follow(1)
    tree.cpu_time_s()
    tree.now = True
    assert [tree.cpu_time_s() for _ in range(3)] == [0, 0, 0]
    tree.stats = {1: (0, 10, 600)}
    assert tree.cpu_time_s() == pytest.approx(100 / os.sysconf("SC_CLK_TCK"))


def test_others_are_not_counted() -> None:
    tree = Tree()
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        tree.follow(child.pid)
        time.sleep(0.3)
        before_s = tree.cpu_time_s()
        subprocess.run([sys.executable, "-c", burn(0.2)], check=True)
        assert tree.cpu_time_s() - before_s < 0.1
        assert child.pid in tree
        assert os.getpid() not in tree
        child.communicate()


def test_a_process_that_is_gone_is_an_empty_tree() -> None:
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    tree = Tree()
    tree.follow(child.pid)
    assert (tree.followed, tree.cpu_time_s()) == (False, 0.0)


def test_an_estimated_run_is_idle_power_and_the_childs_work(tmp_path: Path) -> None:
    meter = Meter(tmp_path, probes=["estimate"])
    started = meter.start()
    assert {d.level for d in started.domains} == {"M0"}
    start_ns = meter.edge()
    child = subprocess.Popen([sys.executable, "-c", burn(0.5)])
    meter.follow(child.pid)
    child.wait()
    time.sleep(0.5)
    stop_ns = meter.edge()
    trace = meter.stop()
    cpu, memory = trace.energy(start_ns, stop_ns)
    assert (cpu.method, cpu.level) == ("modelled", "M0")
    assert cpu.reason is not None
    assert cpu.reason.startswith("idle ")
    duration_s = (stop_ns - start_ns) / 1e9
    model = estimate.Probe(Tree())._model
    processors = len(os.sched_getaffinity(0))
    least_j = model.idle_w * duration_s
    work_j = (model.full_w - model.idle_w) / processors * 0.5
    assert cpu.energy_j is not None
    assert least_j + 0.6 * work_j < cpu.energy_j < least_j + 2 * work_j
    assert memory.energy_j is not None
    assert cpu.band_j == pytest.approx((0.6 * cpu.energy_j, 1.4 * cpu.energy_j))
