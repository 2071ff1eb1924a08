"""A cluster of one node, this machine: munged, slurmctld and slurmd of the current user, in a
folder of their own, on ports of their own."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

DAEMONS = ("munged", "slurmctld", "slurmd")
PATH = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"

CONFIGURATION = """
ClusterName=tests
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller}
SlurmdPort={node}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
SlurmUser={user}
SlurmdUser={user}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerParameters=batch_sched_delay=0,sched_interval=1
ReturnToService=2
KillWait=20
NodeName=one NodeHostname={host} NodeAddr=127.0.0.1 CPUs={cpus}
PartitionName=whole Nodes=one Default=YES MaxTime=INFINITE State=UP
PartitionName=shared Nodes=one OverSubscribe=FORCE:2 MaxTime=INFINITE State=UP
"""


def missing() -> list[str]:
    """The daemons that are not installed."""
    return [name for name in DAEMONS if shutil.which(name, path=PATH) is None]


@contextmanager
def cluster() -> Iterator[Path]:
    """Its slurm.conf, for SLURM_CONF. In /tmp: a socket's path must be short."""
    with tempfile.TemporaryDirectory(prefix="slurm-", dir="/tmp") as name, ExitStack() as stack:
        folder = Path(name)
        folder.chmod(0o755)
        for part in ("state", "spool"):
            (folder / part).mkdir()
        key = folder / "munge.key"
        key.write_bytes(os.urandom(1024))
        key.chmod(0o400)
        conf = folder / "slurm.conf"
        controller, node = _free_ports(2)
        conf.write_text(CONFIGURATION.format(
            folder=folder, host=socket.gethostname().partition(".")[0], cpus=os.cpu_count(),
            user=subprocess.check_output(["id", "-un"], text=True).strip(),
            controller=controller, node=node,
        ))  # fmt: skip
        munge = [f"--{what}={folder}/munge.{what}" for what in ("socket", "log-file", "pid-file")]
        munge += [f"--key-file={key}", f"--seed-file={folder}/munge.seed", "--num-threads=2"]
        for command in (
            ["munged", "--foreground", "--force", *munge],
            ["slurmctld", "-D", "-c"],
            ["slurmd", "-D", "-c", "-N", "one"],
        ):
            stack.enter_context(_running(command, conf))
        _wait_until_idle(folder, conf)
        yield conf
        subprocess.run(["scancel", "--me"], env=_environment(conf), check=False)
        time.sleep(0.5)


@contextmanager
def _running(command: list[str], conf: Path) -> Iterator[None]:
    with (conf.parent / f"{command[0]}.said").open("wb") as said:
        program = shutil.which(command[0], path=PATH)
        daemon = subprocess.Popen(
            command, executable=program, env=_environment(conf), stdout=said, stderr=said,
            start_new_session=True,
        )  # fmt: skip
    try:
        time.sleep(0.2)  # the next one needs it
        yield
    finally:
        daemon.terminate()
        try:
            daemon.wait(20)
        except subprocess.TimeoutExpired:
            daemon.kill()
            daemon.wait()


def _wait_until_idle(folder: Path, conf: Path) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        asked = ["sinfo", "-h", "-o", "%T"]
        done = subprocess.run(asked, env=_environment(conf), capture_output=True, check=False)
        if b"idle" in done.stdout:
            return
        time.sleep(0.1)
    logs = "\n".join(p.read_text(errors="replace")[-2000:] for p in folder.glob("*.said"))
    raise AssertionError(f"Slurm did not start:\n{logs}")


def _environment(conf: Path) -> dict[str, str]:
    return {**os.environ, "SLURM_CONF": str(conf), "PATH": PATH}


def _free_ports(number: int) -> list[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(number)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
