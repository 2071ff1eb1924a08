"""Bad submissions for S, structure."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pyarrow.parquet

from bench import submission
from bench.checks import safe
from bench.power.probes import Domain
from bench.power.trace import Series, Trace
from bench.record import file_sha256
from tests.checks import bundles, tuned
from tests.checks.corpus import bad


def first_run(folder: Path) -> Path:
    return min(path.parent for path in folder.glob("*/record.json"))


def written(root: Path) -> Path:
    """An entry of one run."""
    return bundles.write(root, bundles.plans(1))


def changed(root: Path, change: Callable[[Path], object], sealed: bool = True) -> Path:
    """An entry in whose first run something was changed."""
    folder = written(root)
    change(first_run(folder))
    if sealed:
        bundles.reseal(folder)
    return folder


def edited(path: Path, change: Callable[[Any], None]) -> None:
    """A JSON file after a change of its value."""
    value = json.loads(path.read_text())
    change(value)
    path.write_text(json.dumps(value))


def with_log(root: Path, text: str = "loss 0.7\n", runs: int = 1) -> Path:
    """An entry whose runs have a log."""
    folder = bundles.write(root, bundles.plans(runs))
    for path in folder.glob("*/record.json"):
        path.with_name("log.txt").write_text(text)
        edited(path.with_name("manifest.json"), lambda names: names.update({"log.txt": ""}))
    bundles.reseal(folder)
    return folder


# --- S1 names


@bad("S1", "a script beside a run")
def script(root: Path) -> Path:
    return changed(root, lambda run: (run / "conftest.py").write_text("import os\n") and None)


@bad("S1", "a hidden folder in an entry")
def hidden(root: Path) -> Path:
    folder = written(root)
    (folder / ".git").mkdir()
    (folder / ".git" / "config").write_text("[core]\n")
    return folder


@bad("S1", "names that differ in case, and in how Unicode writes them")
def twins(root: Path) -> Path:
    def add(run: Path) -> None:
        for name in ("Record.json", "rec\u03bfrd.json", "events.jsonl "):
            (run / name).write_text("{}")

    return changed(root, add, sealed=False)


@bad("S1", "a name that is no UTF-8")
def no_utf8(root: Path) -> Path:
    return changed(
        root, lambda run: os.close(os.open(bytes(run) + b"/\xff\xfe", os.O_CREAT)), False
    )


@bad("S1", "a folder of a machine that the run was not on")
def other_machine(root: Path) -> Path:
    folder = with_log(root)
    below = first_run(folder) / "node-1"
    below.mkdir()
    shutil.copy(below.with_name("log.txt"), below)
    bundles.reseal(folder)
    return folder


@bad("S1", "a run in a folder that is called otherwise")
def renamed_run(root: Path) -> Path:
    folder = written(root)
    shutil.copytree(first_run(folder), folder / "best")
    return folder


@bad("S1", "an entry whose name is no name")
def renamed_entry(root: Path) -> Path:
    return bundles.write(root, bundles.plans(1), name="Best <b>ever")


@bad("S1", "pickled weights")
def pickled(root: Path) -> Path:
    def add(run: Path) -> None:
        (run / "weights").mkdir()
        (run / "weights" / "pytorch_model.bin").write_bytes(b"\x80\x04.")

    return changed(root, add, sealed=False)


# --- S2 sizes


def _sparse(size: int) -> Callable[[Path], Path]:
    def write(root: Path) -> Path:
        folder = with_log(root)
        with (first_run(folder) / "log.txt").open("wb") as file:
            file.truncate(size)
        return folder

    return write


bad("S2", "a log that nobody reads to its end")(_sparse(1 << 23))
bad("S2", "a log of a terabyte that takes no room")(_sparse(1 << 40))


@bad("S2", "more files than anybody can look at")
def many(root: Path) -> Path:
    def add(run: Path) -> None:
        for number in range(safe.MOST_FILES + 1):
            (run / f"{number}.txt").touch()

    return changed(root, add, sealed=False)


# --- S3 links


@bad("S3", "a log that is a link out of the folder")
def link(root: Path) -> Path:
    return changed(root, lambda run: (run / "log.txt").symlink_to("/etc/hostname"), sealed=False)


@bad("S3", "a link to nowhere")
def dangling(root: Path) -> Path:
    return changed(root, lambda run: (run / "log.txt").symlink_to("nowhere"), sealed=False)


@bad("S3", "a pipe that nobody writes to")
def pipe(root: Path) -> Path:
    return changed(root, lambda run: os.mkfifo(run / "log.txt"), sealed=False)


@bad("S3", "a hard link to a file elsewhere")
def hard_link(root: Path) -> Path:
    def add(run: Path) -> None:
        elsewhere = root / "elsewhere"
        elsewhere.write_text("secret")
        (run / "log.txt").hardlink_to(elsewhere)
        names = json.loads((run / "manifest.json").read_text())
        (run / "manifest.json").write_text(json.dumps({**names, "log.txt": ""}))

    return changed(root, add)


@bad("S3", "a record that is a folder")
def record_folder(root: Path) -> Path:
    def add(run: Path) -> None:
        (run / "record.json").unlink()
        (run / "record.json").mkdir()

    return changed(root, add, sealed=False)


@bad("S3", "a run that is a link to another one")
def linked_run(root: Path) -> Path:
    folder = written(root)
    (folder / ("0" * 16)).symlink_to(first_run(folder))
    return folder


# --- S4 json


def _text(of: str, make: Callable[[bytes], bytes]) -> Callable[[Path], Path]:
    """In the place of a file of the first run."""

    def write(root: Path) -> Path:
        def change(run: Path) -> None:
            (run / of).write_bytes(make((run / of).read_bytes()))

        return changed(root, change)

    return write


for _what, _make in {
    "a record that says a key twice": lambda b: b.replace(b"{", b'{"status": "complete",', 1),
    "a number that is none": lambda b: b.replace(b'"coverage": 1.0', b'"coverage": NaN', 1),
    "a number beyond all": lambda b: b.replace(b'"coverage": 1.0', b'"coverage": 1e999', 1),
    "digits without an end": lambda b: b.replace(b'"samples": ', b'"samples": ' + b"9" * 10_000),
    "two values in one file": lambda b: b + b"{}",
    "a mark of bytes' order before it": lambda b: b"\xef\xbb\xbf" + b,
    "UTF-16": lambda b: b.decode().encode("utf-16"),
    "half of a character": lambda b: b.replace(b"EPYC", b"\\udfff"),
    "lists in lists in lists": lambda b: b.replace(b": 16", b": " + b"[" * 99 + b"]" * 99),
    "lists without an end": lambda b: b.replace(b": 16", b": " + b"[" * 100_000),
    "nothing": lambda b: b"",
}.items():  # fmt: skip
    bad("S4", _what)(_text("record.json", _make))

bad("S4", "a million events in one line")(
    _text("events.jsonl", lambda b: b + b'{"event":"x","t_ns":1}' * 1000 + b"\n")
)
bad("S4", "half an event at the end")(_text("events.jsonl", lambda b: b[:-20]))


@bad("S4", "an entry that says a key twice")
def entry_twice(root: Path) -> Path:
    folder = written(root)
    path = folder / submission.NAME
    path.write_text(path.read_text().replace("{", '{"title": "Another",', 1))
    return resealed_entry(folder)


def resealed_entry(folder: Path) -> Path:
    """As `reseal`, where entry.json can't be read."""
    path = folder / submission.MANIFEST
    names = json.loads(path.read_text())
    path.write_text(json.dumps({name: file_sha256(folder / name) for name in names}))
    return folder


# --- S5 schema


def _record(change: Callable[[Any], None]) -> Callable[[Path], Path]:
    return lambda root: changed(root, lambda run: edited(run / "record.json", change))


for _what, _change in {
    "a field that nobody knows": lambda r: r.update(verified=True),
    "a number in quotation marks": lambda r: r.update(duration_s=str(r["duration_s"])),
    "a record of another schema": lambda r: r.update(schema_version=2),
    "a start without a time zone": lambda r: r.update(started_at="2026-11-18T13:13:20.000"),
    "a billion machines": lambda r: r["spec"].update(nodes=10**9),
    "a teacher somewhere else": lambda r: r["charged_runs"].append(
        {**dict.fromkeys(("record_sha256", "task", "model", "hardware", "level", "coverage",
                          "energy_j", "uncertainty_j", "duration_s")),
         "role": "teacher", "run_id": "../../sst2/other"}
    ),
    "bits for other rows": lambda r: r["metric"].update(n=10**9),
}.items():  # fmt: skip
    bad("S5", _what)(_record(_change))


@bad("S5", "a manifest of what is no hash")
def no_hash(root: Path) -> Path:
    def change(run: Path) -> None:
        edited(run / "manifest.json", lambda m: m.update({"log.txt": "none"}))

    folder = written(root)
    change(first_run(folder))
    return resealed_entry(folder)


def _entry(change: Callable[[Any], None]) -> Callable[[Path], Path]:
    def write(root: Path) -> Path:
        folder = written(root)
        edited(folder / submission.NAME, change)
        return resealed_entry(folder)

    return write


bad("S5", "a link that runs a script")(_entry(lambda e: e.update(links=["javascript:alert(1)"])))
bad("S5", "an entry with a field of its own")(_entry(lambda e: e.update(rank=1)))
bad("S5", "an entry from no time")(_entry(lambda e: e.update(submitted_at="yesterday")))


# --- S6 events


def _event(line: Any) -> Callable[[Path], Path]:
    return _text("events.jsonl", lambda b: b + json.dumps(line).encode() + b"\n")


for _what, _line in {
    "a list for an event": [{"event": "model", "t_ns": 1}] * 1000,
    "an event without a time": {"event": "progress", "text": "hm"},
    "an event before all time": {"event": "progress", "t_ns": -1, "text": "hm"},
    "a time that is a truth": {"event": "progress", "t_ns": True, "text": "hm"},
    "a warning that says nothing": {"event": "warning", "t_ns": 1},
    "a phase that is a list": {"event": "phase_start", "t_ns": 1, "phase": ["train"]},
    "a phase between phases": {"event": "phase_pause", "t_ns": 1, "phase": "train"},
    "devices that are numbers": {"event": "devices", "t_ns": 1, "uuids": [0]},
    "a loss that is a text": {"event": "step", "t_ns": 1, "step": 1, "loss": "low"},
    "a second window": {"event": "window_start", "t_ns": 1, "by": "meter"},
    "an event by somebody else": {"event": "note", "t_ns": 1, "by": "the vendor"},
}.items():
    bad("S6", _what)(_event(_line))

bad("S6", "a thousand phases too many")(
    _text("events.jsonl", lambda b: b + b'{"event":"phase_start","t_ns":1,"phase":"x"}\n' * 1001)
)
bad("S6", "a line of a megabyte")(_event({"event": "note", "t_ns": 1, "text": "x" * (1 << 20)}))
bad("S4", "an empty line between events")(
    _text("events.jsonl", lambda b: b.replace(b"\n", b"\n\n", 1))
)


@bad("S6", "as many phases as take minutes to sum up")
def many_sums(root: Path) -> Path:
    plan = bundles.plans(1)[0]

    def with_phases(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
        begin = next(e for e in events if e.get("phase") == "train")
        more = [{**begin, "t_ns": begin["t_ns"] + i, "phase": f"{i}"} for i in range(900)]
        at = events.index(begin)
        return [*events[:at], *more, *events[at + 1 :]]

    def with_domains(trace: Trace) -> Trace:
        more = [Domain(f"cpu:package-{i}", "cpu", "AMD EPYC 9B14", "M1", 0.1) for i in range(30)]
        empty = {d.name: Series(*np.empty((6, 0))) for d in more}
        return dataclasses.replace(
            trace, domains=[*trace.domains, *more], series={**trace.series, **empty}
        )

    plan.events, plan.trace = with_phases, with_domains
    return bundles.write(root, [plan])


# --- S7 tables


def _table(name: str, change: Callable[[pyarrow.Table], pyarrow.Table]) -> Callable[[Path], Path]:
    def write(root: Path) -> Path:
        def rewrite(run: Path) -> None:
            table = change(pyarrow.parquet.read_table(run / name))
            pyarrow.parquet.write_table(table, run / name, compression="zstd")

        return changed(root, rewrite)

    return write


def _column(name: str, values: Callable[[list[Any]], list[Any]]) -> Any:
    def change(table: pyarrow.Table) -> pyarrow.Table:
        at = table.column_names.index(name)
        column = pyarrow.array(values(table[name].to_pylist()), table[name].type)
        return table.set_column(at, table.field(name), column)

    return change


def _about(change: Callable[[Any], None]) -> Callable[[Path], Path]:
    """With other metadata in the trace."""

    def rewrite(table: pyarrow.Table) -> pyarrow.Table:
        about = json.loads(table.schema.metadata[b"bench"])
        change(about)
        return table.replace_schema_metadata({"bench": json.dumps(about)})

    return _table("trace.parquet", rewrite)


for _what, _make in {
    "a trace with a column of its own": lambda t: t.append_column("note", [["x"] * len(t)]),
    "a trace without power": lambda t: t.drop_columns(["power_w"]),
    "power in whole watts": lambda t: t.set_column(
        2, "power_w", t["power_w"].cast(pyarrow.int64(), safe=False)
    ),
    "a reading without a time": _column("t_ns", lambda v: [None, *v[1:]]),
    "a reading before the machine was started": _column("t_ns", lambda v: [-1, *v[1:]]),
    "power without an end": _column("power_w", lambda v: [float("inf"), *v[1:]]),
    "more power than the sun's": _column("power_w", lambda v: [1e300, *v[1:]]),
    "a reading of a domain that nobody knows": _column("domain", lambda v: ["gpu:x", *v[1:]]),
    "other metadata beside bench's": lambda t: t.replace_schema_metadata(
        {**t.schema.metadata, b"pandas": b"{}"}
    ),
    "metadata that is not JSON": lambda t: t.replace_schema_metadata({"bench": "[" * 1000}),
    "no metadata": lambda t: t.replace_schema_metadata(None),
}.items():  # fmt: skip
    _rule = "S4" if _what in ("metadata that is not JSON", "no metadata") else "S7"
    bad(_rule, _what)(_table("trace.parquet", _make))

for _what, _change in {
    "a trace of another version": lambda a: a.update(version=2),
    "a domain of a kind that nobody knows": lambda a: a["domains"][0].update(kind="tpu"),
    "two domains of one name": lambda a: a["domains"].append(a["domains"][0]),
    "a limit that is a text": lambda a: a["domains"][0]["facts"].update(power_limit_w="700 W"),
    "a calibration that turns power around": lambda a: a["domains"][0]["facts"].update(
        calibration={"gain": -1.0, "offset_w": 0.0, "uncertainty": 0.01, "range_w": [0.0, 1.0],
                     "without": {"level": "M1", "gain": 0.1}}
    ),
    "a mark of a kind of its own": lambda a: a["marks"].append([0, "slow", "it was", None, "long"]),
    "a clock that stands at minus one": lambda a: a["clocks"].append([-1, -1, -1]),
    "nobody reads at no hertz": lambda a: a["facts"].update(rate_hz=0.0),
    "thousands of domains": lambda a: a.update(
        domains=[{**a["domains"][0], "name": f"gpu:{i}"} for i in range(1000)]
    ),
}.items():  # fmt: skip
    bad("S7", _what)(_about(_change))

for _what, _make in {
    "predictions in another order": _column("id", lambda v: v[::-1]),
    "a row without a prediction": _column("prediction", lambda v: [None, *v[1:]]),
    "predictions with what they were made of": lambda t: t.append_column("label", t["prediction"]),
}.items():
    bad("S7", _what)(_table("predictions.parquet", _make))

bad("S7", "half a table")(_text("predictions.parquet", lambda b: b[: len(b) // 2]))
bad("S7", "a table of something else")(_text("predictions.parquet", lambda b: b"PK\x03\x04" + b))


@bad("S7", "a few bytes that are gigabytes of text")
def text_bomb(root: Path) -> Path:
    def rewrite(run: Path) -> None:
        rows = 600
        same = pyarrow.array([0] * rows, pyarrow.int32())
        texts = pyarrow.DictionaryArray.from_arrays(same, ["x" * (1 << 20)])
        ids = pyarrow.array(range(rows), pyarrow.int64())
        pyarrow.parquet.write_table(
            pyarrow.table({"id": ids, "prediction": texts}), run / "predictions.parquet",
            compression="zstd", dictionary_pagesize_limit=1 << 22,
        )  # fmt: skip

    return changed(root, rewrite)


# --- S8 weights


def with_weights(root: Path, data: bytes) -> Path:
    """Beside the first run, which says that it kept them."""
    import hashlib

    kept = {"name": "weights", "file": "weights/model.safetensors", "bytes": len(data),
            "sha256": hashlib.sha256(data).hexdigest(), "step": 158}  # fmt: skip
    plans = bundles.plans(1)
    for plan in plans:
        plan.events = lambda events: [
            *events[:-5], {"event": "saved", "t_ns": events[-6]["t_ns"], **kept}, *events[-5:]
        ]  # fmt: skip
    folder = bundles.write(root, plans)
    for path in folder.glob("*/record.json"):
        (path.parent / "weights").mkdir()
        (path.parent / "weights" / "model.safetensors").write_bytes(data)
    submission.write(submission.read(folder), folder)
    return folder


def safetensors(header: str, data: bytes = b"") -> bytes:
    return len(header).to_bytes(8, "little") + header.encode() + data


GOOD_WEIGHTS = safetensors(
    '{"w":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}', b"\x00\x00\x80\x3f" * 2
)


@bad("S8", "weights whose header says a tensor twice")
def tensor_twice(root: Path) -> Path:
    one = '"w":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}'
    return with_weights(root, safetensors("{" + one + "," + one + "}", bytes(8)))


@bad("S8", "weights whose header has no end")
def header_bomb(root: Path) -> Path:
    return with_weights(root, (1 << 62).to_bytes(8, "little") + b"{}")


# --- S9 texts


for _what, _change in {
    "a model whose name runs backwards": lambda r: r["machine"].update(cpu="AMD \u202ecpu"),
    "a sign that rings": lambda r: r["machine"].update(cpu="AMD\x1b[2J"),
    "a text of a novel's length": lambda r: r["machine"].update(cpu="x" * 5000),
    "a space of no width": lambda r: r["software"].update(torch="2.11\u200b"),
}.items():
    bad("S9", _what)(_record(_change))


@bad("S9", "a model that looks like another one")
def look_alike(root: Path) -> Path:
    plans = bundles.plans(1)
    for plan in plans:
        plan.spec = {"model": "transformer-sm\u0430ll"}  # the Cyrillic a
    return bundles.write(root, plans)


def called(hardware: str) -> Callable[[Path], Path]:
    """Runs on what only looks like other hardware, so that they stand on a board of their own."""

    def made(root: Path) -> Path:
        plans = bundles.plans(1)
        for plan in plans:
            plan.spec = {"hardware": f"1 x {hardware}"}
            reference = {"hardware": f"1 x {hardware}"}
            plan.start = {"references": [bundles.REFERENCE.model_copy(update=reference)]}
            plan.trace = lambda trace: dataclasses.replace(
                trace, domains=[d._replace(device=hardware) for d in trace.domains]
            )
        return bundles.write(root, plans)

    return made


bad("S9", "hardware that looks like other hardware")(called("NVIDIA \u041d100 80GB HBM3"))
bad("S9", "hardware with a blank at its end")(called("NVIDIA H100 80GB HBM3 "))


@bad("S9", "a title that turns what follows around")
def turned(root: Path) -> Path:
    turn = {"title": "A small \u2066Transformer"}
    return bundles.write(root, bundles.plans(1), lambda entry: entry.model_copy(update=turn))


@bad("S9", "a source that is a script")
def script_source(root: Path) -> Path:
    upstream = submission.Upstream(what="pretraining", energy_kwh=1.0, source="javascript:x()")
    return bundles.write(
        root, bundles.plans(1), lambda e: e.model_copy(update={"upstream": [upstream]})
    )


# --- S10 complete


@bad("S10", "a scored run without its predictions")
def no_predictions(root: Path) -> Path:
    return changed(root, lambda run: (run / "predictions.parquet").unlink())


@bad("S10", "a run without a trace")
def no_trace(root: Path) -> Path:
    return changed(root, lambda run: (run / "trace.parquet").unlink())


@bad("S10", "an entry without a manifest")
def no_manifest(root: Path) -> Path:
    folder = written(root)
    (folder / submission.MANIFEST).unlink()
    return folder


@bad("S10", "runs without an entry.json")
def no_entry(root: Path) -> Path:
    folder = written(root)
    (folder / submission.NAME).unlink()
    edited(folder / submission.MANIFEST, lambda names: names.pop(submission.NAME))
    return folder


# --- S11 places


@bad("S11", "a log that names where somebody's files lie", warns=True)
def telling_log(root: Path) -> Path:
    return with_log(root, "loss 0.7\nreading /home/ada/rows.tsv\n", runs=3)


@bad("S11", "a trace that names where a program lies which meters", warns=True)
def telling_trace(root: Path) -> Path:
    plans = bundles.plans()
    plans[0].trace = lambda trace: dataclasses.replace(
        trace, facts={**trace.facts, "probes": ["nvml", "command:/home/ada/watts.sh"]}
    )
    return bundles.write(root, plans)


@bad("S11", "a journal that names the machine on which its sweep was driven", warns=True)
def telling_journal(root: Path) -> Path:
    def named(lines: list[tuned.Event]) -> list[tuned.Event]:
        return [{**e, "host": "babbage"} if e["event"] == "ended" else e for e in lines]

    return tuned.entry(root, named)
