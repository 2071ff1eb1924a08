"""Runs the tools of a case side by side, each in a process of its own, on one simulated machine."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cases import ROOT, Cards, Case, Place, World

from tests.power.simulated import build_nvml


@dataclass
class Run:
    """What came of one tool in one case."""

    tool: str
    out: dict[str, Any]
    said: list[str]
    end: str | None  # hung, or ended the program
    folder: Path
    world: World
    killed_s: float = 0.0  # CLOCK_MONOTONIC

    @property
    def answers(self) -> list[tuple[list[int], float | None]]:
        """The instants of every window, and its joules."""
        return [
            (instants, _sum(energies))
            for instants, energies in zip(
                self.out.get("windows", []), self.out.get("energies", []), strict=False
            )
        ]


def _sum(energies: dict[str, list[float | None]]) -> float | None:
    parts = [part for several in energies.values() for part in several]
    return sum(p for p in parts if p is not None) if parts and None not in parts else None


class Stage:
    """Where the cases run: a scratch folder, the simulated library, and how long tools load."""

    def __init__(self, folder: Path, apart: bool) -> None:
        self.folder = folder
        commands = folder / "bin"
        commands.mkdir(parents=True)
        smi = commands / "nvidia-smi"
        smi.write_text("#!/bin/sh\nexit 0\n")
        smi.chmod(0o755)
        self.place = Place(build_nvml(folder / "lib"), commands)
        self.apart = apart
        self.lead_s = 0.0
        self.usual: dict[tuple[str, str], tuple[set[str], float]] = {}  # said, and its error
        self._number = 0

    def together(self, case: Case) -> list[Run]:
        """Every tool of a case on one simulated machine; once more where one loaded too long.
        Zeus has the machine to itself where it polls as fast as it can: it takes a core or more."""
        groups = [(t,) for t in case.tools] if self.apart else [case.tools]
        if isinstance(case.world, Cards) and not case.world.counter and "zeus" in case.tools:
            groups = [("zeus",), tuple(t for t in case.tools if t != "zeus")]
        runs = [run for tools in groups if tools for run in self._together(case, tools)]
        return sorted(runs, key=lambda run: case.tools.index(run.tool))

    def _together(self, case: Case, tools: Sequence[str]) -> list[Run]:
        for _ in range(3):
            lead_s = max(self.lead_s, 1.0 + len(tools))
            runs = self.once(case, tools, lead_s)
            loading_s = [
                (run.out["set_up_ns"] - run.out["load_ns"][0]) / 1e9
                for run in runs
                if "set_up_ns" in run.out
            ]
            needed_s = max(loading_s, default=0.0) + 0.7
            self.lead_s = max(self.lead_s, min(1.4 * needed_s, 40.0))
            if needed_s <= lead_s:
                break
            for run in runs:
                end_all(left_behind(run.folder))
        return runs

    def once(self, case: Case, tools: Sequence[str], lead_s: float = 0.0) -> list[Run]:
        self._number += 1
        folder = self.folder / str(self._number)
        folder.mkdir()
        with ExitStack() as stack:
            boot_s = time.monotonic()
            closes_s = lead_s + case.length_s
            world = stack.enter_context(case.world.build(self.place, folder, lead_s, closes_s))
            windows: list[dict[str, float]]
            if case.group in ("short", "coverage"):
                chance = random.Random(case.name)
                pauses = [0.4 + 0.6 * chance.random() for _ in range(case.count)]
                windows = [{"pause_s": p, "length_s": case.length_s} for p in pauses]
            elif case.group in ("start", "cost"):
                windows = [{"pause_s": 0.01, "length_s": case.length_s}]
            else:
                on_s = 60.0 if case.group == "kill" else 0.0
                windows = [{"open_at": boot_s + lead_s, "close_at": boot_s + closes_s + on_s}]
            processes = [self._spawn(case, t, folder / t, world, windows) for t in tools]
            most_s = lead_s + sum(case.length_s + 4 for _ in windows) + 15
            if case.group == "kill":
                time.sleep(max(0.0, boot_s + closes_s - time.monotonic()))
                for process in processes:
                    process.kill()
            killed_s = time.monotonic()
            deadline_s = boot_s + most_s
            return [
                self._gather(case, tool, folder / tool, process, deadline_s, world, killed_s)
                for tool, process in zip(tools, processes, strict=True)
            ]

    def _spawn(
        self, case: Case, tool: str, folder: Path, world: World, windows: list[Any]
    ) -> subprocess.Popen[bytes]:
        folder.mkdir()
        job = {
            "tool": tool, "folder": str(folder), "kinds": case.kinds, "rate_hz": case.rate_hz,
            "windows": windows, "powercap": world.powercap, "out": str(folder / "out.json"),
            "group": case.group,
        }  # fmt: skip
        (folder / "job.json").write_text(json.dumps(job))
        environment = {
            **os.environ, **world.environment, "HOME": str(folder), "METERS_JOB": str(folder),
            "PYTHONPATH": str(ROOT),
        }  # fmt: skip
        if "LD_LIBRARY_PATH" not in world.environment:
            environment.pop("LD_LIBRARY_PATH", None)
        command = [
            sys.executable,
            str(Path(__file__).with_name("tools.py")),
            str(folder / "job.json"),
        ]
        with (folder / "said").open("wb") as said:
            return subprocess.Popen(
                command, cwd=folder, env=environment, stdin=subprocess.DEVNULL,
                stdout=said, stderr=said, start_new_session=True,
            )  # fmt: skip

    def _gather(
        self, case: Case, tool: str, folder: Path, process: subprocess.Popen[bytes],
        deadline_s: float, world: World, killed_s: float,
    ) -> Run:  # fmt: skip
        end = None
        try:
            code = process.wait(max(0.1, deadline_s - time.monotonic()))
            end = f"ended the program ({code})" if code and case.group != "kill" else None
        except subprocess.TimeoutExpired:
            end = "hung"
        path = folder / "out.json"
        out = json.loads(path.read_text()) if path.exists() else {}
        if case.group != "kill":  # there it is looked at what is left
            end_all(left_behind(folder))
            process.wait()
        return Run(tool, out, _said(folder / "said"), end, folder, world, killed_s)


def left_behind(folder: Path) -> list[int]:
    """Processes that a job started and that still live."""
    mark, found = f"METERS_JOB={folder}".encode(), []
    for place in Path("/proc").iterdir():
        with suppress(OSError, ValueError):
            dead = b") Z " in (place / "stat").read_bytes()
            if not dead and mark in (place / "environ").read_bytes().split(b"\0"):
                found.append(int(place.name))
    return found


def end_all(pids: Sequence[int]) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def _said(path: Path) -> list[str]:
    """What was said, line by line; numbers, names and what is for information alone left out."""
    lines = path.read_text(errors="replace").splitlines()
    plain = [re.sub(r"\S*\d\S*", "#", line).strip() for line in lines if " INFO " not in line]
    return list(dict.fromkeys(line for line in plain if line and set(line) - set("#^~ ")))
