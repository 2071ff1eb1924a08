"""Any program that prints watts or joules, as a meter: `command:PROGRAM ARGUMENTS`. Level M2.

    command:./watts.sh                      started every second; its last line is the reading
    command:every=10 ssh pdu outlet 7       started every ten seconds
    command:lines=1 ./meter --follow        kept running; every line is a reading, one a second

A line holds a number with its unit, or a power and a cumulative energy: `123.4` (watts), `0.12 kW`,
`98765 J`, `123.4 W 1.5 kWh`. Anything else, an exit code that is not 0, and no answer in time are
missing readings. The time of a reading is the middle of the call; of a line, when it came. There is
no shell: `command:sh -c "a | b"` has one. Options are in `bench.power.probes._slow`.
"""

from __future__ import annotations

import contextlib
import os
import select
import shlex
import signal
import subprocess
import time

from bench.power.keeper import die_with_parent
from bench.power.probes import Reading
from bench.power.probes._slow import Options, SlowMeter, Unread, quantities

_MOST = 1 << 20  # bytes of one answer
_LINES = "one that keeps running: command:lines=SECONDS PROGRAM …"
_ENDS_S = 0.1  # from its last line to its end
_ANEW = "without lines= it is started for every reading"
_FLUSH = "it has to flush every line: stdbuf -oL PROGRAM …"


class Probe(SlowMeter):
    usage = "command:PROGRAM ARGUMENTS"
    about = "a program that prints watts or joules"
    defaults = Options("command")
    also = ("lines",)
    _opened_line = False

    def open(self, what: str) -> None:
        self.program = Program(words(what))
        self.about = f"what {self.program.name} prints"  # its arguments may hold a password

    def ask(self) -> Reading:
        if self.options.lines:
            line, t_ns = self.program.next_line(self.options.timeout_s)
            if not self._opened_line:
                self.program.stays()
                self._opened_line = True
        else:
            text, t_ns = self.program.output(self.options.timeout_s)
            line = (text.strip().splitlines() or [""])[-1]
        return self.reading(t_ns, **quantities(line))

    def shut(self) -> None:
        self.program.kill()


def words(text: str) -> list[str]:
    """A command line as its words, as a shell would quote them."""
    try:
        return shlex.split(text)
    except ValueError as error:
        raise Unread(f"the command can't be read: {error}") from None


class Program:
    """A program that is run again and again, or kept running and read line by line.

    One thread runs it; any may `kill` it, for good.
    """

    def __init__(self, command: list[str]) -> None:
        self.name = os.path.basename(command[0])
        self._command = command
        self._process: subprocess.Popen[bytes] | None = None
        self._rest = b""
        self._over = False
        self._complaint = os.memfd_create("stderr")

    def output(self, timeout_s: float) -> tuple[str, int]:
        """(what one call prints, CLOCK_MONOTONIC of its middle in ns)."""
        before_ns, deadline_s = time.monotonic_ns(), time.monotonic() + timeout_s
        os.ftruncate(self._complaint, 0)
        process = self._start(stderr=self._complaint)
        try:
            output = b""
            while more := self._more(process, deadline_s):
                output += more
                if len(output) > _MOST:
                    raise Unread(f"{self.name} does not stop printing", _LINES)
            process.wait(max(0.0, deadline_s - time.monotonic()))
        except (subprocess.TimeoutExpired, TimeoutError):
            raise Unread(f"{self.name} gave no answer within {timeout_s:g} s", _LINES) from None
        finally:
            self._end(process)
        if process.returncode:
            raise Unread(f"{self._how_it_ended(process)}: {self._last_words()}")
        return output.decode(errors="replace"), (before_ns + time.monotonic_ns()) // 2

    def next_line(self, timeout_s: float) -> tuple[str, int]:
        """(the next line, CLOCK_MONOTONIC when it came in ns). Of lines that come at once only the
        last is taken: of the others nobody knows when they were true."""
        deadline_s = time.monotonic() + timeout_s
        process = self._process or self._start(stderr=subprocess.DEVNULL)
        while b"\n" not in self._rest:
            try:
                more = self._more(process, deadline_s)
            except TimeoutError:
                text = f"{self.name} printed no line within {timeout_s:g} s"
                raise Unread(text, _FLUSH) from None
            if not more or len(self._rest) > _MOST:
                self._end(process)
                raise Unread(self._how_it_ended(process))
            self._rest += more
        t_ns = time.monotonic_ns()
        *lines, self._rest = self._rest.split(b"\n")
        return lines[-1].decode(errors="replace"), t_ns

    def stays(self) -> None:
        """Unread when it has ended: it is none that keeps running."""
        process = self._process
        if process is not None and not _goes_on(process):
            raise Unread(f"{self.name} ended after its first line", _ANEW)

    def _more(self, process: subprocess.Popen[bytes], deadline_s: float) -> bytes:
        """What it prints next; empty at its end, TimeoutError when that takes too long."""
        assert process.stdout is not None
        fd = process.stdout.fileno()
        if not select.select([fd], [], [], max(0.0, deadline_s - time.monotonic()))[0]:
            raise TimeoutError
        return os.read(fd, 1 << 16)

    def _start(self, stderr: int) -> subprocess.Popen[bytes]:
        try:
            self._process = subprocess.Popen(
                self._command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=stderr,
                env={**os.environ, "LC_ALL": "C"}, process_group=0, preexec_fn=die_with_parent,
            )  # fmt: skip
        except OSError as error:
            raise Unread(f"{self.name} can't be started: {error.strerror}") from None
        self._rest = b""
        if self._over:  # killed while it was being started
            _kill(self._process)
        return self._process

    def _how_it_ended(self, process: subprocess.Popen[bytes]) -> str:
        code = process.returncode
        return f"{self.name} ended with " + (f"signal {-code}" if code < 0 else f"exit code {code}")

    def _last_words(self) -> str:
        said = os.pread(self._complaint, 1 << 16, 0).decode(errors="replace").strip().splitlines()
        return said[-1][:100] if said else "it said nothing"

    def _end(self, process: subprocess.Popen[bytes]) -> None:
        _kill(process)
        process.wait()
        self._process = None
        if process.stdout is not None:
            process.stdout.close()

    def kill(self) -> None:
        self._over = True
        process = self._process
        if process is not None:
            _kill(process)


def _goes_on(process: subprocess.Popen[bytes]) -> bool:
    try:
        process.wait(_ENDS_S)
    except subprocess.TimeoutExpired:
        return True
    return False


def _kill(process: subprocess.Popen[bytes]) -> None:
    """Kill it, if it runs, with all that it started."""
    if process.poll() is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
