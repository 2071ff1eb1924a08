"""The parent's handle on a sampler: start it, mark edges, look at it, and get the trace."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench import registry
from bench.errors import BenchError, UsageError
from bench.power import calibration, log, probes
from bench.power.probes import Domain, Found

if TYPE_CHECKING:
    from bench.power.trace import Trace

LEAD_S = 0.25  # before a window: a counter's last tick before it is seen
_SETTLE_S = 0.35  # after the last edge, so that every counter has moved once more
_APART_S = 1.0
_STOP_S = 3.0


@dataclass(frozen=True)
class Refused:
    """A probe that can't be used here, why, what mends it, and what goes unmetered without it."""

    probe: str
    reason: str
    fix: str | None
    kinds: list[str]

    @property
    def text(self) -> str:
        return f"{', '.join(self.kinds) or self.probe}: {self.reason}"

    def as_dict(self) -> dict[str, Any]:
        return {**asdict(self), "text": self.text}


@dataclass(frozen=True)
class Started:
    """What a sampler found: the domains it reads, and the probes that can't be used."""

    domains: list[Domain]
    refusals: list[Refused]
    by_probe: dict[str, list[Domain]]  # the same domains; a probe may have none left to read


@dataclass(frozen=True)
class Live:
    """The newest watts, where they can be read, and the joules since the start, by domain."""

    power_w: dict[str, float] = field(default_factory=dict)
    energy_j: dict[str, float] = field(default_factory=dict)
    age_s: float | None = None  # of the newest reading
    domain_age_s: dict[str, float | None] = field(default_factory=dict)  # None: never read


class Meter:
    """Meters everything that can be metered here, from `start` to `stop`, in a process apart."""

    def __init__(
        self,
        folder: Path,
        *,
        rate_hz: float = 10.0,
        probes: Sequence[str] | None = None,
        replay: Path | None = None,
    ) -> None:
        if not 1 <= rate_hz <= 100:
            raise UsageError(f"can't sample at {rate_hz:g} Hz", "give a rate from 1 to 100 Hz")
        self.folder = folder
        self._rate_hz = rate_hz
        self._probes = probes if replay is None else [f"replay:{replay}"]
        self._process: subprocess.Popen[bytes] | None = None
        self._started = False
        self._live = Live()
        self._read_ns: dict[str, int | None] = {}
        self._edge_s = 0.0

    def start(self, timeout_s: float = 15.0) -> Started:
        """Start the sampler and wait, no longer than `timeout_s`, until its probes answered.

        A probe that hangs is refused and the others go on. Loading a GPU's driver can take
        seconds where nothing keeps it loaded.
        """
        found, refused = _find(probes.names() if self._probes is None else self._probes)
        self._live_fd = os.memfd_create("bench-live")
        self._stderr = open(os.memfd_create("bench-stderr"), "rb")  # noqa: SIM115
        call = (str(self.folder), self._rate_hz, max(0.1, timeout_s - 1), self._live_fd,
                os.getpid(), calibration.where().exists(), found)  # fmt: skip
        with open(os.memfd_create("bench-call"), "r+b") as told:
            told.write(json.dumps(call).encode())
            told.seek(0)
            self._process = subprocess.Popen(
                _command(told.fileno(), own=all(registry.is_own(f.module) for f in found)),
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._stderr,
                pass_fds=[self._live_fd, told.fileno()], start_new_session=True,
            )  # fmt: skip
        line = self._read_line(time.monotonic() + timeout_s)
        if not line:
            self._kill()
            raise BenchError("the sampler did not start", self._complaint())
        self._started = True
        answer = json.loads(line)
        if error := answer["log_error"]:
            print(f"warning: {error}: readings are kept in memory alone", file=sys.stderr)
        by_probe = {p: [Domain(**d) for d in found] for p, found in answer["domains"].items()}
        return Started(
            domains=[d for found in by_probe.values() for d in found],
            by_probe=by_probe,
            refusals=[*refused, *(Refused(**r) for r in answer["refusals"])],
        )

    def follow(self, pid: int) -> None:
        """Meter this process and its descendants: estimates are theirs, others are foreign."""
        self._tell(f"follow {pid}")

    def edge(self, lead_s: float = 0.0) -> int:
        """A place where a window or a phase begins or ends: CLOCK_MONOTONIC now, in ns.

        Readings come thick around it. With `lead_s` the burst begins that long before the edge.
        """
        self._tell("edge")
        if lead_s:
            time.sleep(lead_s)
            self._tell("edge")
        self._edge_s = time.monotonic()
        return time.monotonic_ns()

    def opening(self) -> int:
        """The edge at which a window opens."""
        return self.edge(LEAD_S)

    def phase(self) -> int:
        """An edge between phases, which may follow each other by the millisecond: readings come
        thick around those that are a second apart."""
        apart = time.monotonic() - self._edge_s > _APART_S
        return self.edge() if apart else time.monotonic_ns()

    def live(self) -> Live:
        """What the sampler published last, twice a second. Never waits, whatever it does."""
        if not self._started:
            return self._live
        record = log.decode(os.pread(self._live_fd, 1 << 16, 0).partition(b"\n")[0])
        if record is not None:  # else it is being written: the one before will do
            _, self._read_ns, power_w, energy_j = record
            self._live = Live(power_w, energy_j)
        now_ns = time.monotonic_ns()
        ages_s = {d: None if t is None else (now_ns - t) / 1e9 for d, t in self._read_ns.items()}
        age_s = min((age for age in ages_s.values() if age is not None), default=None)
        return Live(self._live.power_w, self._live.energy_j, age_s, ages_s)

    @property
    def alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def stop(self) -> Trace:
        """End the sampler and read its log. A sampler that does not end is killed, and marked.

        A meter that was interrupted while it started has an empty trace.
        """
        from bench.power.trace import Trace

        if self._process is None:
            return Trace.empty()
        time.sleep(max(0.0, self._edge_s + _SETTLE_S - time.monotonic()))
        self._tell("stop")
        rest = self._read_rest(time.monotonic() + _STOP_S)
        ended = self._ended(1.0)
        if not ended:
            self._kill()
        trace = Trace.read_log(self.folder / log.NAME, rest if self._started else b"")
        if not ended:
            trace.mark("sampler-hung", "the sampler did not end when told to, and was killed")
        elif self._process.returncode != 0:
            trace.mark("sampler-died", f"the sampler ended with {self._process.returncode}")
        self._close()
        return trace

    def _tell(self, command: str) -> None:
        assert self._process is not None
        assert self._process.stdin is not None
        try:
            os.write(self._process.stdin.fileno(), command.encode() + b"\n")
        except BrokenPipeError:  # it died: `stop` says so
            return

    def _read_line(self, deadline_s: float) -> bytes:
        """The sampler's first line; empty when it ended or time is up."""
        assert self._process is not None
        assert self._process.stdout is not None
        fd, data = self._process.stdout.fileno(), b""
        while b"\n" not in data:
            left_s = deadline_s - time.monotonic()
            if left_s <= 0 or not select.select([fd], [], [], left_s)[0]:
                return b""
            more = os.read(fd, 1 << 16)
            if not more:
                return b""
            data += more
        return data

    def _read_rest(self, deadline_s: float) -> bytes:
        """What the sampler could not write to its log; waits for its end until the deadline."""
        assert self._process is not None
        assert self._process.stdout is not None
        fd, data = self._process.stdout.fileno(), b""
        while (left_s := deadline_s - time.monotonic()) > 0:
            if not select.select([fd], [], [], left_s)[0]:
                break
            more = os.read(fd, 1 << 20)
            if not more:
                break
            data += more
        return data

    def _ended(self, timeout_s: float) -> bool:
        assert self._process is not None
        try:
            self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            return False
        return True

    def _kill(self) -> None:
        assert self._process is not None
        self._process.kill()
        self._ended(1.0)  # one that hangs in the kernel ends when the driver lets it

    def _complaint(self) -> str:
        """The last line of what the sampler said."""
        self._stderr.seek(0)
        lines = self._stderr.read().decode(errors="replace").strip().splitlines()
        return lines[-1] if lines else "it said nothing; `bench doctor` looks at each probe"

    def _close(self) -> None:
        assert self._process is not None
        for file in (self._process.stdin, self._process.stdout, self._stderr):
            if file is not None:
                file.close()
        self._live, self._started = self.live(), False  # what was seen last is all there is
        os.close(self._live_fd)


def _find(names: Sequence[str]) -> tuple[list[Found], list[Refused]]:
    """The probes that there are, and a refusal for each that there isn't."""
    found, refused = [], []
    for name in names:
        try:
            found.append(probes.find(name))
        except UsageError as error:
            refused.append(Refused(probes.shown(name), error.message, error.hint, []))
    return found, refused


def _command(call_fd: int, own: bool) -> list[str]:
    """Python without `site`, a third of its start: what that finds is in our path already.

    The standard library stays first in the path; then comes the very package that starts it. A
    probe that isn't `own` may need what `site` runs. Not `-m`, which compiles the module anew.
    """
    path = [str(Path(__file__).parents[2]), *map(str, sys.path)]
    site = "" if own else "import site; site.main(); "
    code = f"import sys; sys.path += {path}; {site}from bench.power import sampler; "
    return [sys.executable, "-P", "-S", "-c", f"{code}sampler.main({call_fd})"]
