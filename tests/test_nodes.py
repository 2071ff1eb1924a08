"""`bench run --nnodes`: two machines make one run. Here both are this one, each with a card of its
own, as far as bench is told."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import struct
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from bench import account, merging, nodes, record
from bench.account import Start
from bench.child import Outcome, Progress
from bench.errors import BenchError, UsageError
from bench.plot.figure import figure
from bench.power.trace import Trace
from bench.record import Record
from tests.power.simulated import Constant, SimulatedGpu, SimulatedGpus, Square, build_nvml
from tests.test_measure import no_process_of, text_of, wait_for
from tests.test_parallel_runs import TINY, predictions
from tests.test_run import bench, folder, start

__all__ = ["folder"]  # a fixture

SMALL = [*TINY, "--nnodes", "2", "--device", "cpu"]


def free_port() -> int:
    """One after which another is free."""
    while True:
        with socket.socket() as one, socket.socket() as next_one:
            one.bind(("127.0.0.1", 0))
            port = int(one.getsockname()[1])
            try:
                next_one.bind(("127.0.0.1", port + 1))
            except OSError:
                continue
            return port


Started = list[subprocess.Popen[str]]


def two(
    *arguments: str, of_second: tuple[str, ...] = (), cards: list[SimulatedGpus] | None = None
) -> Started:
    """The command on both machines."""
    port = str(free_port())
    return [
        start(
            *SMALL, *arguments, *(of_second if k else ()), "--out", f"runs{k}",
            BENCH_LOCK="", GLOO_SOCKET_IFNAME="lo", OMP_NUM_THREADS="1",
            MASTER_ADDR="127.0.0.1", MASTER_PORT=port, NODE_RANK=str(k),
            **(cards[k].environment() if cards else {}),
        )
        for k in range(2)
    ]  # fmt: skip


def ended(started: Started) -> list[tuple[int, str]]:
    """Exit code and output of each."""
    said = [process.communicate(timeout=120) for process in started]
    return [(p.returncode, out + err) for p, (out, err) in zip(started, said, strict=True)]


def only(root: Path) -> tuple[Path, Record]:
    (place,) = record.folders([root])
    return place, record.read(place)


def card(tmp_path: Path, name: str, curve: Any, **facts: Any) -> SimulatedGpus:
    gpu = SimulatedGpu(curve, uuid=f"GPU-{name * 8}-5eed-4000-8000-000000000001", **facts)
    return SimulatedGpus(tmp_path / f"{name}.conf", build_nvml(tmp_path / "lib"), [gpu])


def in_training(root: Path) -> Callable[[], bool]:
    return lambda: any('"step"' in text_of(p) for p in root.glob("runs0/*/*/events.jsonl"))


def window(events_of: Path) -> tuple[int, int]:
    at = {e["event"]: e["t_ns"] for e in account.read_events(events_of / "events.jsonl")}
    return at["window_start"], at["window_stop"]


# --- a run on both


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, list[SimulatedGpus]]]:
    """One run on both, with a card each that the training sees and leaves idle."""
    from tests.command import write_reviews

    root = tmp_path_factory.mktemp("nodes")
    write_reviews(root / "reviews")
    before = Path.cwd()
    os.chdir(root)
    cards = [card(root, "a", Square(100, 400, 0.7)), card(root, "b", Constant(250))]
    try:
        started = two("--device", "auto", cards=cards)
        for code, said in ended(started):
            assert code == 0, said
            assert "accuracy" in said, "both say what it came to"
        bench(*TINY, "--device", "cpu", "--out", "alone")
        yield root, cards
    finally:
        os.chdir(before)


def test_two_machines_predict_as_one_process(made: tuple[Path, list[SimulatedGpus]]) -> None:
    root, _ = made
    place, run = only(root / "runs0")
    alone, _ = only(root / "alone")
    assert (run.status, run.spec.nodes, run.spec.processes) == ("complete", 2, 2)
    assert run.spec.hardware.startswith("2 nodes of ")
    for a, b in zip(predictions(place)["scores"], predictions(alone)["scores"], strict=True):
        assert a == pytest.approx(b, abs=1e-3)
    assert not list(record.folders([root / "runs1"])), "one run, one record"


def test_each_machine_is_metered_once_and_energies_add_up(
    made: tuple[Path, list[SimulatedGpus]],
) -> None:
    root, cards = made
    place, run = only(root / "runs0")
    gpus = {d.domain: d.energy_j for d in run.charged if d.kind == "gpu"}
    truth = [cards[0].energy_j(0, *window(place)), cards[1].energy_j(0, *window(place / "node-1"))]
    names = [cards[0].domain(0), f"node1:{cards[1].domain(0)}"]
    assert gpus == {n: pytest.approx(j, rel=0.01) for n, j in zip(names, truth, strict=True)}
    parts = [run.energy_of(p) for p in run.phases]
    assert sum(p for p in parts if p) == pytest.approx(run.energy_j, rel=1e-6)
    assert {"prepare", "train", "predict"} <= {p.name for p in run.phases}
    assert [n.number for n in run.nodes] == [0, 1]
    assert run.nodes[1].duration_s == pytest.approx(run.duration_s, abs=0.5)
    manifest = json.loads((place / "manifest.json").read_text())
    assert {f"node-1/{name}" for name in nodes.FILES} <= set(manifest)


def test_two_that_are_one_machine_are_counted_twice_and_unranked(
    made: tuple[Path, list[SimulatedGpus]],
) -> None:
    _, run = only(made[0] / "runs0")
    doubts = {w.id: w for w in run.warnings if not w.rankable}
    assert "nodes 0 and 1 have the same boot id" in doubts["same-node"].message


def test_a_picture_has_the_power_of_both(made: tuple[Path, list[SimulatedGpus]]) -> None:
    place, run = only(made[0] / "runs0")
    drawn = figure(place, run, 50)
    labels = [line.label for line in drawn.lines if line.charged]
    assert [text.partition(",")[0] for text in labels] == ["GPU", "node 1 GPU"]
    assert labels[1] == "node 1 GPU, 250 W"
    assert len(labels) == len(run.charged)


# --- what is doubtful: the same run, with another past


@pytest.fixture
def past(made: tuple[Path, list[SimulatedGpus]], tmp_path: Path) -> Path:
    """A copy of the run's folder, as if the machines were two."""
    place, _ = only(made[0] / "runs0")
    copy = tmp_path / "copy"
    shutil.copytree(place, copy)
    hellos = json.loads((copy / merging.HELLOS).read_text())
    hellos["1"]["boot"] = "another"
    (copy / merging.HELLOS).write_text(json.dumps(hellos))
    return copy


def again(folder: Path, lost: bool = False) -> Record:
    """The record, from what the folder holds."""
    was = record.read(folder)
    own = Start.load(json.loads((folder / "node-1" / "node.json").read_text()))
    if lost:
        (folder / "node-1" / "trace.parquet").unlink()
    trace = Trace.read_parquet(folder / "trace.parquet")
    events = account.read_events(folder / "events.jsonl")
    uuids = [d.domain.removeprefix("gpu:") for d in was.charged if d.domain.startswith("gpu:")]
    start = Start.load({**own.dump(), "visible_gpus": uuids})
    fields = merging.merged(folder, start, account.metered(start, events, trace))
    return was.model_copy(update=fields)


def test_what_was_handed_over_gives_the_same_record(past: Path) -> None:
    was, now = record.read(past), again(past)
    assert now.energy_j == was.energy_j
    assert [w.id for w in now.warnings if not w.rankable] == []
    assert now.rankable


def test_a_machine_that_handed_nothing_over_leaves_no_energy(past: Path) -> None:
    now = again(past, lost=True)
    assert now.energy_j is None
    assert not now.rankable
    assert "node-missing" in {w.id for w in now.warnings}


def test_a_machine_whose_window_is_not_known_has_no_energy(past: Path) -> None:
    (past / "node-1" / "events.jsonl").unlink()
    now = again(past)
    assert now.energy_j is None, "not 0 J"
    assert not now.rankable


def test_what_is_of_another_run_is_not_taken(past: Path) -> None:
    own = json.loads((past / "node-1" / "node.json").read_text())
    start = Start.load({**own, "run_id": "0123456789abcdef"})
    trace = Trace.read_parquet(past / "trace.parquet")
    fields = account.metered(start, account.read_events(past / "events.jsonl"), trace)
    found = merging.merged(past, start, fields)
    assert "node-missing" in {w.id for w in found["warnings"]}


def test_machines_that_nobody_knows_are_unranked(past: Path) -> None:
    (past / merging.HELLOS).write_text("{")
    assert {w.id for w in again(past).warnings if not w.rankable} == {"node-unknown"}


def test_a_card_that_two_machines_have_is_said(past: Path) -> None:
    hellos = json.loads((past / merging.HELLOS).read_text())
    hellos["1"]["gpus"] = hellos["0"]["gpus"]
    (past / merging.HELLOS).write_text(json.dumps(hellos))
    (doubt,) = [w for w in again(past).warnings if w.id == "same-node"]
    assert "have the same GPU GPU-aaaaaaaa" in doubt.message
    assert not doubt.rankable


def test_windows_that_differ_are_said(past: Path) -> None:
    events = past / "node-1" / "events.jsonl"
    told = account.read_events(events)
    for event in told:
        if event["event"] == "window_stop":
            event["t_ns"] -= 2_000_000_000
    events.write_text("".join(json.dumps(e) + "\n" for e in told))
    now = again(past)
    assert "windows-differ" in {w.id for w in now.warnings if not w.rankable}


@pytest.mark.parametrize("id_", ["unreadable", "lost"])
def test_a_reading_that_failed_on_one_makes_the_run_invalid(past: Path, id_: str) -> None:
    trace = Trace.read_parquet(past / "node-1" / "trace.parquet")
    from bench.power.probes import Mark

    name = next(d.name for d in trace.domains if d.kind == "gpu")
    at_ns = sum(window(past / "node-1")) // 2
    trace.marks.append(Mark(at_ns, id_, "not read for 0.2 s", name))
    trace.write_parquet(past / "node-1" / "trace.parquet")
    now = again(past)
    doubts = {w.id: w.message for w in now.warnings if not w.rankable}
    assert doubts[id_].startswith("node 1: ")
    assert not now.rankable


# --- what goes wrong


def test_a_counter_that_falls_on_one_makes_the_run_invalid(folder: Path, tmp_path: Path) -> None:
    cards = [card(tmp_path, "a", Constant(100)), card(tmp_path, "b", Constant(250))]
    now_s = cards[1].now_s()  # one of these falls into the window, however slow the machine is
    cards[1].gpus[0].faults = [("back", now_s + s, 1e9) for s in range(4, 60, 4)]
    cards[1].write()
    long = ("--set", "epochs=10000", "--budget", "9s")
    for code, said in ended(two("--device", "auto", *long, cards=cards)):
        assert code == 0, said
    _, run = only(folder / "runs0")
    doubts = {w.id: w.message for w in run.warnings if not w.rankable}
    assert doubts["counter"].startswith("node 1: gpu:GPU-bbbbbbbb")
    (fallen,) = [d for d in run.charged if d.node == 1 and d.kind == "gpu"]
    assert fallen.energy_j == pytest.approx(
        cards[1].energy_j(0, *window(only(folder / "runs0")[0] / "node-1")), rel=0.05
    )


def test_one_whose_bench_is_killed_ends_the_run_without_energy(folder: Path) -> None:
    started = two("--set", "epochs=10000")
    wait_for(in_training(folder), 120)
    started[1].kill()
    (code, said), _ = ended(started)
    assert code == 1
    _, run = only(folder / "runs0")
    assert run.status == "failed"
    assert run.failure
    assert "machine 1" in run.failure, said
    assert run.energy_j is None, "what it took until then is not known"
    assert no_process_of(folder)


def test_a_training_that_dies_on_one_ends_both_and_is_paid_for(folder: Path) -> None:
    started = two("--set", "epochs=10000")
    wait_for(in_training(folder), 120)
    (worker,) = [
        p for p in psutil.Process(started[1].pid).children(recursive=True)
        if p.cmdline()[1:4] == ["-P", "-m", "bench.learn.worker"]
    ]  # fmt: skip
    worker.send_signal(signal.SIGKILL)
    codes = [code for code, _ in ended(started)]
    assert codes == [1, 1]
    _, run = only(folder / "runs0")
    assert run.status == "failed"
    assert run.energy_j, "both have handed over what they metered"
    assert no_process_of(folder)


def test_ctrl_c_ends_both_and_is_paid_for(folder: Path) -> None:
    started = two("--set", "epochs=10000")
    wait_for(in_training(folder), 120)
    started[0].send_signal(signal.SIGINT)
    (first, said), (second, also) = ended(started)
    assert first == 130, said
    assert second == 1, also
    _, run = only(folder / "runs0")
    assert run.status == "interrupted"
    assert run.energy_j
    assert no_process_of(folder)


def test_machines_that_would_train_another_thing_are_refused(folder: Path) -> None:
    results = ended(two(of_second=("--set", "epochs=3")))
    assert [code for code, _ in results] == [2, 2]
    for _, said in results:
        assert "machine 1 has epochs 3.0, machine 0 2.0" in said
        assert "hint: the same command on each" in said
    assert not list(folder.glob("runs*/*/*"))


# --- what is asked, and what is said


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ((2, None, "a"), "which of them is this machine"),
        ((2, 2, "a"), "--node-rank 2: of 2 machines the last is 1"),
        ((2, 0, None), "where is the first machine"),
        ((2, 0, "a:x"), "x is no port"),
        ((2, 0, "a:65535"), "65535 is no port"),
    ],
)
def test_what_is_not_said_is_asked_for(
    asked: tuple[Any, ...], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("NODE_RANK", "GROUP_RANK", "SLURM_NODEID", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(UsageError, match=said):
        nodes.place(*asked)


def test_slurm_and_torchrun_say_where_a_machine_stands(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NODE_RANK", raising=False)
    monkeypatch.setenv("SLURM_NODEID", "3")
    monkeypatch.setenv("MASTER_ADDR", "first.example")
    monkeypatch.setenv("MASTER_PORT", "12345")
    assert nodes.place(4, None, None) == nodes.Place(4, 3, "first.example", 12345)
    assert nodes.place(4, 1, "other") == nodes.Place(4, 1, "other", 12345)
    assert nodes.place(1, None, None) is None
    assert nodes.place(None, None, None) is None


HELLO: dict[str, Any] = {
    "spec": {"epochs": 1}, "code": "c", "software": {"torch": "2"}, "hardware": "CPU", "gpus": [],
    "boot": "x",
}  # fmt: skip


@pytest.mark.parametrize(
    ("other", "said"),
    [
        ({"code": "d"}, "machine 1 has other code than machine 0"),
        ({"software": {"torch": "3"}}, "machine 1 has torch 3, machine 0 2"),
        ({"spec": {"epochs": 2}}, "machine 1 has epochs 2, machine 0 1"),
        ({"spec": {}}, "machine 1 has epochs None, machine 0 1"),
    ],
)
def test_what_must_be_alike_is(other: dict[str, Any], said: str) -> None:
    nodes.check({0: HELLO, 1: HELLO})
    with pytest.raises(UsageError, match=said):
        nodes.check({0: HELLO, 1: HELLO | other})


def test_machines_that_differ_are_a_class_of_their_own() -> None:
    alike, other = {0: HELLO, 1: HELLO}, {0: HELLO, 1: HELLO | {"hardware": "1 x H100"}}
    assert nodes.hardware(alike) == "2 nodes of CPU"
    assert nodes.hardware(other) == "2 nodes of CPU; 1 x H100"


def linked() -> tuple[nodes.First, nodes.Other, socket.socket]:
    """Both ends, and the socket of the second."""
    server = socket.create_server(("127.0.0.1", 0))
    far = socket.create_connection(server.getsockname())
    near, _ = server.accept()
    server.close()
    twin = far.dup()
    first = nodes.First({1: nodes.Link(near, "machine 1")}, {0: HELLO, 1: HELLO})
    return first, nodes.Other(nodes.Link(far, "machine 0")), twin


def test_one_that_falls_silent_ends_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    first, other, _ = linked()
    other.look(Progress(energy_j=5.0, power_w={"cpu": 2.0, "gpu": 3.0}, silent=["gpu"]))
    seen = Progress(energy_j=1.0)
    first.look(seen)
    assert (seen.energy_j, seen.power_w, seen.silent) == (6.0, {"node1": 5.0}, ["node1:gpu"])
    monkeypatch.setattr(nodes, "_SILENT_S", -1.0)
    with pytest.raises(BenchError, match="machine 1 has said nothing for"):
        first.look(Progress())


def test_why_another_failed_stands_beside_what_it_caused() -> None:
    first, other, _ = linked()
    other.settle(Outcome("failed", "out of memory"))
    caused = first.close(Outcome("failed", "connection closed"))
    assert caused.failure == "connection closed; machine 1: out of memory"


def test_a_file_that_nobody_asked_for_is_not_written(tmp_path: Path) -> None:
    first, _, twin = linked()
    link = nodes.Link(twin, "a stranger")
    link.send("files", names=["../evil.py"])
    link.send_bytes(b"x")
    first.collect(tmp_path)
    assert not list(tmp_path.rglob("*evil*"))


def test_what_is_no_message_is_an_error() -> None:
    first, _, twin = linked()
    nodes.Link(twin, "a stranger").send_bytes(b"\x80\x04pickle")
    with pytest.raises(BenchError, match="said what is no message"):
        first.look(Progress())


def test_a_message_that_does_not_end_holds_nobody_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nodes, "_STALLED_S", 1)
    first, _, twin = linked()
    twin.sendall(struct.pack("!i", 1000) + b"{")
    with pytest.raises(BenchError, match="machine 1 is gone"):
        first.look(Progress())


def test_a_stranger_at_the_port_does_not_stop_a_training(folder: Path) -> None:
    port = free_port()
    at = nodes.Place(2, 0, "127.0.0.1", port)
    said: list[str] = []

    def tell(text: str) -> None:
        said.append(text)
        if len(said) == 1:  # it listens: first comes somebody else, then machine 1
            stranger = socket.create_connection(("127.0.0.1", port + 1))
            nodes.Link(stranger, "x").send_bytes(b"GET / HTTP/1.1")
            link = nodes.Link(socket.create_connection(("127.0.0.1", port + 1)), "machine 0")
            link.send("hello", node=1, nodes=2, **HELLO)
            kept.append(link)

    kept: list[nodes.Link] = []
    with nodes.met(at, HELLO, tell) as first:
        assert isinstance(first, nodes.First)
        assert sorted(first.hellos) == [0, 1]
    assert any("is no message of bench's" in text for text in said)
