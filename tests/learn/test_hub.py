"""Data from the Hub: what is taken, and one clear note for each way in which it can fail."""

from __future__ import annotations

import io
import os
import sys
import time
from functools import partial
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest

from bench import cards
from bench.errors import BenchError
from bench.learn import data, hub, sources
from bench.learn.corpora import verdicts
from tests.learn.hub_server import REPO, REVISION, HubServer

README = b"""---
configs:
- config_name: sst2
  data_files:
  - split: train
    path: sst2/train-*
  - split: validation
    path: sst2/validation-*
---
"""
CARD = cards.load("sst2")
TRAIN = [(f"film {i} is {'fine' if i % 2 else 'dull'} ", i % 2) for i in range(40)]
SCORED = [(f"play {i} is {'fine' if i % 2 else 'dull'} ", i % 2) for i in range(10)]
API = f"/api/datasets/{REPO}/revision/{REVISION}"


def parquet(rows: list[tuple[str, int]]) -> bytes:
    sentences, labels = zip(*rows, strict=True)
    columns = {"sentence": sentences, "label": labels, "idx": range(len(rows))}
    file = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.table(columns), file)
    return file.getvalue()


def served(train=TRAIN, scored=SCORED) -> dict[str, bytes]:
    return {
        "README.md": README,
        "sst2/train-00000-of-00001.parquet": parquet(train),
        "sst2/validation-00000-of-00001.parquet": parquet(scored),
    }


def official_card(train=TRAIN, scored=SCORED) -> cards.Card:
    """SST-2's card, with the fingerprints of these rows."""

    def rows(pairs):
        names = CARD.labels.classes
        return data.Rows([(data.canonical(t),) for t, _ in pairs], [names[i] for _, i in pairs])

    pinned = cards.Pinned(
        train=data.fingerprint(rows(train)),
        scored=data.fingerprint(rows(scored)),
        labels=data.labels_digest(rows(scored).labels),
    )
    return CARD.model_copy(update={"fingerprints": pinned})


@pytest.fixture(autouse=True)
def fresh_caches(monkeypatch, tmp_path):
    for name in [n for n in os.environ if n.startswith(("HF_", "HUGGINGFACE_"))]:
        if name != "HF_ENDPOINT":
            monkeypatch.delenv(name)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(verdicts, "corpus", partial(verdicts.corpus, 40, 10))  # quick to write


@pytest.fixture
def serve(monkeypatch):
    """Serves files until the test ends, as the Hub that HF_ENDPOINT names."""
    running = []

    def start(files, fault=lambda path: None) -> HubServer:
        server = HubServer(files, fault).__enter__()
        running.append(server)
        monkeypatch.setenv("HF_ENDPOINT", server.address)
        return server

    yield start
    for server in running:
        server.__exit__()


def test_the_hub_gives_the_official_data_and_its_cache_the_next_time(serve):
    server = serve(served())
    first = sources.resolve(official_card())
    assert (first.source, first.identity.official) == ("hub", True)
    assert first.place == f"{server.address}/datasets/{REPO} at {REVISION[:8]}"
    assert len(first.train) + len(first.tune) == 40
    assert first.scored.inputs[1] == ("play 1 is fine",)
    assert first.scored.labels[1] == "positive"

    asked = len(server.asked)
    second = sources.resolve(official_card())
    assert (second.source, second.identity.official) == ("hub-cache", True)
    assert second.train == first.train
    assert len(server.asked) == asked


def test_the_arrow_files_of_datasets_are_a_cache_too(serve, tmp_path):
    serve(served())
    sources.resolve(official_card(), "hub")
    (tmp_path / "hf" / "hub").rename(tmp_path / "gone")
    assert sources.resolve(official_card(), "hub").source == "hub-cache"


def test_wrong_content_is_not_official_and_says_so(serve):
    serve(served(train=[*TRAIN[:-1], ("film 39 is not fine", 1)]))
    resolved = sources.resolve(official_card())
    assert resolved.source == "hub"
    assert not resolved.identity.official
    assert "NOT the official SST-2: train has 40 rows" in resolved.notes[-1]
    assert resolved.identity.board() in resolved.notes[-1]
    assert "scored" not in resolved.notes[-1]


def test_the_token_goes_to_the_hub(serve, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    server = serve(served(), fault=lambda path: 404)
    sources.resolve(CARD)
    assert server.tokens == {"Bearer hf_secret"}


@pytest.mark.parametrize(
    ("fault", "note"),
    [
        (401, "answered 401: it wants a token (HF_TOKEN)"),
        (404, "answered 404: it has no such repository or revision"),
        (429, "answered 429: too many requests"),
        (503, "answered 503: service unavailable"),
        ("html", "gave no answer that a Hub gives"),
    ],
)
def test_a_hub_that_refuses_is_noted_and_the_next_source_taken(serve, fault, note):
    server = serve(served(), fault=lambda path: fault)
    resolved = sources.resolve(CARD)
    assert resolved.source == "embedded"
    assert [n for n in resolved.notes if note in n and server.address in n]
    assert server.asked == [API]  # asked once: nothing tries again


@pytest.mark.parametrize("fault", ["silence", "drip"])
def test_a_hub_that_does_not_come_to_an_answer_costs_three_seconds(serve, fault):
    serve(served(), fault=lambda path: fault)
    start = time.monotonic()
    resolved = sources.resolve(CARD)
    assert time.monotonic() - start < 10  # three, and what a busy machine adds
    assert any("did not answer within 3 s" in n for n in resolved.notes)


def test_no_hub_at_all():
    resolved = sources.resolve(CARD)
    assert any("can't be reached" in n for n in resolved.notes)


@pytest.mark.parametrize("address", ["nonsense", "http://no.such.host.invalid", "ftp://127.0.0.1"])
def test_an_address_that_leads_nowhere(monkeypatch, address):
    monkeypatch.setenv("HF_ENDPOINT", address)
    assert any(f"the Hub at {address}" in n for n in sources.resolve(CARD).notes)


@pytest.mark.parametrize(
    ("fault", "note"),
    [
        (401, "the Hub answered 401"),
        (404, "the Hub answered 404"),
        ("truncate", "peer closed connection without sending complete message body"),
    ],
)
def test_a_download_that_fails_is_noted_and_the_next_source_taken(serve, fault, note):
    serve(served(), fault=lambda path: fault if path.endswith("00001.parquet") else None)
    resolved = sources.resolve(CARD)
    assert resolved.source == "embedded"
    assert any(f"downloading {REPO} failed: " in n and note in n for n in resolved.notes)


def test_a_file_cut_short_at_the_hub(serve):
    files = served()
    files["sst2/train-00000-of-00001.parquet"] = files["sst2/train-00000-of-00001.parquet"][:500]
    serve(files)
    resolved = sources.resolve(CARD)
    assert resolved.source == "embedded"
    assert any(f"downloading {REPO} failed: ArrowInvalid: Parquet" in n for n in resolved.notes)


def test_a_hub_that_falls_silent_is_left(serve, monkeypatch):
    monkeypatch.setattr(hub, "DOWNLOAD_S", 4.0)
    serve(served(), fault=lambda path: "silence" if path.endswith("00001.parquet") else None)
    assert any("took more than 4 s" in n for n in sources.resolve(CARD).notes)


def test_a_hub_asked_for_by_name_must_answer(serve):
    with pytest.raises(BenchError, match=r"no data for sst2: .* can't be reached"):
        sources.resolve(CARD, "hub")


@pytest.mark.parametrize("variable", ["HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE"])
def test_offline_means_that_the_hub_is_not_asked(serve, monkeypatch, variable):
    server = serve(served())
    monkeypatch.setenv(variable, "1")
    resolved = sources.resolve(CARD)
    assert any(f"because {variable} is set" in n for n in resolved.notes)
    assert server.asked == []


def test_without_datasets_the_note_names_the_install_line(serve, monkeypatch):
    server = serve(served())
    monkeypatch.setattr(hub.importlib.util, "find_spec", lambda name: None)
    resolved = sources.resolve(CARD)
    assert any("pip install 'wattbench[train]'" in n for n in resolved.notes)
    assert server.asked == []


def snapshot(home: Path, files: dict[str, bytes]) -> Path:
    """A hand-made Hub cache."""
    folder = home / "hub" / "datasets--nyu-mll--glue" / "snapshots" / REVISION
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def test_a_damaged_cache_is_noted_and_the_next_source_taken(tmp_path):
    files = served()
    files["sst2/train-00000-of-00001.parquet"] = b"PAR1 and then nothing"
    folder = snapshot(tmp_path / "hf", files)
    resolved = sources.resolve(CARD)
    assert resolved.source == "embedded"
    assert str(folder / "sst2" / "train-00000-of-00001.parquet") in resolved.notes[0]


def test_a_cache_that_lacks_a_part_is_no_cache(tmp_path):
    files = served()
    files["sst2/train-00000-of-00002.parquet"] = files.pop("sst2/train-00000-of-00001.parquet")
    snapshot(tmp_path / "hf", files)
    assert hub.cached(CARD.hub) is None


@pytest.mark.parametrize("variable", ["HF_HUB_CACHE", "XDG_CACHE_HOME"])
def test_the_cache_is_where_the_variables_say(tmp_path, monkeypatch, variable):
    home = tmp_path / "elsewhere"
    snapshot(home if variable == "HF_HUB_CACHE" else home / "huggingface", served())
    monkeypatch.delenv("HF_HOME")
    monkeypatch.setenv(variable, str(home / "hub" if variable == "HF_HUB_CACHE" else home))
    assert hub.cached(CARD.hub) is not None


def test_resolving_leaves_no_trace_in_this_process(serve, monkeypatch):
    serve(served())
    before, modules = dict(os.environ), "datasets" in sys.modules
    sources.resolve(official_card())
    assert dict(os.environ) == before
    assert ("datasets" in sys.modules) == modules


@pytest.mark.shared
def test_sst2_as_the_hub_serves_it_is_official(shared_data, tmp_path):
    def rows(name):
        lines = (shared_data / "glue" / "SST-2" / name).read_text(encoding="utf-8")
        cells = [line.split("\t") for line in lines.rstrip("\n").split("\n")[1:]]
        return [(text, int(label)) for text, label in cells]

    snapshot(tmp_path / "hf", served(rows("train.tsv"), rows("dev.tsv")))
    resolved = sources.resolve(CARD)
    assert (resolved.source, resolved.identity.official) == ("hub-cache", True)
    assert resolved.identity.rows == {"train": 65667, "tune": 1682, "scored": 872}
