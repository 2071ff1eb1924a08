"""Several processes make the steps of one: forked here, joined by gloo as torchrun joins them."""

from __future__ import annotations

import json
import multiprocessing
import multiprocessing.connection
import os
import pickle
import random
import signal
import socket
import time
import traceback
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pyarrow.parquet
import pytest
import torch
import torch.nn.functional as F
from safetensors import safe_open

from bench import recipes
from bench import run as running
from bench.errors import BenchError
from bench.events import Events, identity
from bench.learn import data, evaluate, loop, parallel, ranks, windows, worker
from bench.learn.batches import pack
from bench.learn.corpora import gazetteer, phrasebook, verdicts
from bench.learn.encoder import Encoder, Shape
from bench.learn.language import LanguageModel
from bench.learn.layers import Dropout
from bench.learn.loop import Training, train
from bench.learn.windows import Following, Stream
from bench.lineage import STATES
from tests.learn.test_loop import CPU, SHAPES, encoder, one_thread, texts, training

__all__ = ["one_thread"]  # a fixture


def joined(work: Callable[[], Any], size: int = 2) -> list[Any]:
    """What `work` gives in each of some processes that train together."""

    def begun() -> Any:
        parallel.begin(CPU)
        return work()

    return together(begun, size)


def together(work: Callable[[], Any], size: int) -> list[Any]:
    """The same, where `work` lets them join."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    fork = multiprocessing.get_context("fork")
    children: dict[Any, Any] = {}  # by what each is heard through
    try:
        for rank in range(size):
            receive, send = fork.Pipe(duplex=False)
            children[receive] = fork.Process(target=_one, args=(work, rank, size, port, send))
            children[receive].start()
            send.close()  # before the next one is forked: it would keep open what a dead one said
        said = _heard(children)
    finally:
        for child in children.values():
            child.kill()
    for failed in (s for s in said if isinstance(s, BaseException)):
        raise failed
    return said


def _heard(children: dict[Any, Any]) -> list[Any]:
    """What each has said, in their order; the first that dies without a word ends the test."""
    said: dict[Any, Any] = {}
    while left := [receive for receive in children if receive not in said]:
        for receive in multiprocessing.connection.wait(left):
            try:
                said[receive] = pickle.loads(receive.recv())
            except EOFError:
                children[receive].join(20)
                code = children[receive].exitcode
                raise AssertionError(f"a process ended without a word: {code}") from None
    for child in children.values():
        child.join(20)
        assert child.exitcode == 0
    return [said[receive] for receive in children]


def _one(work: Callable[[], Any], rank: int, size: int, port: str, send: Any) -> None:
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(size)}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "GLOO_SOCKET_IFNAME": "lo"}
    said: Any = None
    try:
        said = work()
    except BenchError as error:
        said = error
    except Exception:
        said = AssertionError(traceback.format_exc())
    send.send(pickle.dumps(said))


def weights(run: Training) -> list[torch.Tensor]:
    """But for the keys' bias, which softmax ignores: its gradient is rounding."""
    table, parameters = run.model.table, run.model.parameters
    flat = parameters.master.clone()
    for name, weight in parameters.views(flat).items():
        if name.endswith("qkv.bias"):
            weight.view(3, -1)[1] = 0.0
    live = [flat, *run.optimizer.state().values()]
    return [tensor.clone() for tensor in (live if table is None else [*live, table.rows])]


def assert_alike(one: list[torch.Tensor], other: list[torch.Tensor], near: float) -> None:
    for a, b in zip(one, other, strict=True):
        assert (a - b).norm() <= near * a.norm() + 1e-12


# --- the same training ---------------------------------------------------------------------------


class Tags:
    """A label for some tokens of a text: what is averaged over differs from part to part."""

    outputs = None

    def loss(self, model: Any, batch: Any, outputs: torch.Tensor) -> torch.Tensor:
        return F.cross_entropy(outputs, batch.marks, ignore_index=-1)

    def evaluate(self, model: Any, rows: Any) -> tuple[str, float]:
        return "accuracy", 0.5


class Words:
    def loss(self, model: Any, batch: Any, outputs: torch.Tensor) -> torch.Tensor:
        return model.mean_nats(outputs, batch.labels)

    def evaluate(self, model: Any, rows: Any) -> tuple[str, float]:
        return "perplexity", float(windows.nats(model, rows).sum())


def of_classes(
    recipe: str = "baseline", dtype: torch.dtype = torch.float32, **given: Any
) -> Training:
    """49 rows by 8: one row is left for the last batch, and none for the second process."""
    return training(encoder(SHAPES["as BERT"], dtype), texts(49), recipe, **given)


def of_tags() -> Training:
    rows = texts()
    random = np.random.default_rng(2)
    marks = np.where(random.random(len(rows.tokens)) < 0.3, rows.tokens % 3, -1).astype(np.int16)
    marks[rows.starts[:-1]] = 1
    rows.labels, rows.marks = None, marks
    model = Encoder(SHAPES["pre-norm, mean"], 3, torch.float32, CPU, per_token=True)
    model.initialise(3, deviation=0.3)
    return _training(model, rows, Tags())


def of_words() -> Training:
    tokens = np.random.default_rng(1).integers(1, 40, 500).astype(np.int32)
    rows = Following(Stream(tokens, np.zeros(500, np.int32), 0), 12)
    shape = Shape(40, 16, 2, 2, 32, 12, norm_first=True, causal=True)
    model = LanguageModel(shape, torch.float32, CPU)
    model.initialise(3, deviation=0.3)
    return _training(model, rows, Words())


def _training(model: Any, rows: Any, objective: Any) -> Training:
    given = {"epochs": "2", "batch_size": "7", "learning_rate": "0.01", "dropout": "0"}
    recipe = recipes.build("baseline", recipes.resolve("baseline", "transformer-tiny", given))
    return Training(recipe, objective, model, rows, rows, 1, Events())


KINDS: dict[str, tuple[Callable[[], Training], float]] = {
    "classes": (of_classes, 1e-4),
    "unclipped": (lambda: of_classes(clip_norm=0), 1e-4),
    "tags": (of_tags, 1e-4),
    "running text": (of_words, 1e-4),
    "sparse embeddings": (lambda: of_classes("sparse-embedding"), 1e-4),
    "bf16": (lambda: of_classes("bf16", torch.bfloat16), 0.1),
    "fp16": (lambda: of_classes("fp16", torch.float16, loss_scale=2.0**24), 0.1),
    "heads go": (
        lambda: of_classes(
            "prune", method="structured", rounds=1, begins=0.4, predict_before=False
        ),
        1e-4,
    ),
    "layers thaw": (lambda: of_classes("freeze", unfreeze_share=0.5), 1e-4),
    "short texts first": (lambda: of_classes("length-warmup"), 1e-4),
}


@pytest.fixture(scope="module")
def trained() -> dict[str, Any]:
    """Of each kind what one process makes of it, and what each of two do."""
    torch.set_num_threads(1)

    def each() -> dict[str, Any]:
        return {name: _trained(make) for name, (make, _) in KINDS.items()}

    one, (first, second) = each(), joined(each)
    return {name: (one[name], first[name], second[name]) for name in KINDS}


def _trained(make: Callable[[], Training]) -> tuple[list[torch.Tensor], int, int]:
    run = make()
    train(run, run.batches())
    return weights(run), run.tokens, run.model.facts()["parameters"]


@pytest.mark.parametrize("kind", KINDS)
def test_two_processes_make_the_steps_of_one(kind: str, trained: dict[str, Any]) -> None:
    near = KINDS[kind][1]
    (one, tokens, size), first, second = trained[kind]
    assert first[1:] == second[1:] == (tokens, size)
    assert all(torch.equal(a, b) for a, b in zip(first[0], second[0], strict=True))
    assert_alike(one, first[0], near)
    assert not torch.equal(one[0], weights(KINDS[kind][0]())[0]) or kind == "heads go"


def test_with_dropout_each_draws_its_own_and_weights_stay_the_same() -> None:
    def work() -> tuple[list[torch.Tensor], str, torch.Tensor]:
        run = of_classes(dropout=0.3)
        train(run, run.batches())
        return weights(run), str(run.dropout.random.state), torch.get_rng_state()

    first, second = joined(work)
    assert all(torch.equal(a, b) for a, b in zip(first[0], second[0], strict=True))
    assert first[1] != second[1]
    assert torch.equal(first[2], second[2]), "what is drawn after the training is common"


def test_more_processes_than_rows_and_predictions_in_order() -> None:
    rows = texts(5)
    model = encoder(SHAPES["as BERT"])
    alone = evaluate.probabilities(model, rows)
    few = np.array([3])

    def work() -> tuple[np.ndarray, np.ndarray]:
        return evaluate.probabilities(model, rows), evaluate.probabilities(model, rows, few)

    for found, of_few in joined(work, 3):
        np.testing.assert_allclose(found, alone, atol=1e-6)
        np.testing.assert_allclose(of_few, alone[few], atol=1e-6)


def test_running_text_is_scored_in_parts() -> None:
    run = of_words()
    alone = windows.nats(run.model, run.tune)
    for found in joined(lambda: windows.nats(run.model, run.tune), 3):
        np.testing.assert_allclose(found, alone, rtol=1e-5)


# --- what must not be ----------------------------------------------------------------------------


def test_a_process_that_dies_is_missed_at_once() -> None:
    def work() -> None:
        if os.environ["RANK"] == "0":
            os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(60)

    begun = time.monotonic()
    with pytest.raises(AssertionError, match="without a word: -9"):
        together(work, 2)
    assert time.monotonic() - begun < 30


def test_weights_that_only_one_process_changes_end_the_training() -> None:
    def work() -> str:
        run = of_classes()
        run.recipe.after_step = _spoil
        train(run, run.batches())
        return "trained"

    with pytest.raises(BenchError, match=r"weights of process 1 are not those of process 0"):
        joined(work)


def _spoil(training: Training) -> bool:
    if parallel.rank() and training.step == 3:
        training.model.parameters.named()["classes.bias"].add_(1.0)
    return False


def test_batches_by_chance_end_the_training() -> None:
    def work() -> str:
        run = of_classes()
        chance = np.random.default_rng(parallel.rank())
        run.recipe.batches = lambda rows, epoch, random: rows.batches(8, chance)
        train(run, run.batches())
        return "trained"

    with pytest.raises(BenchError, match="at different batches"):
        joined(work)


def test_the_first_process_says_when_to_stop_and_the_others_are_silent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BENCH_STOP", str(tmp_path / "stop"))

    def work() -> tuple[int, bool, bool]:
        events = ranks.RankEvents()
        before = events.stop_asked()
        if parallel.rank() == 0:
            (tmp_path / "stop").touch()
        else:
            monkeypatch.setenv("BENCH_STOP", str(tmp_path / "elsewhere"))
            events = ranks.RankEvents()
        run = of_classes()
        run.events = events
        assert train(run, run.batches()) == "budget"
        return run.step, before, events.stop_asked()

    assert joined(work) == [(1, False, True)] * 2


def test_when_the_launcher_is_killed_nobody_goes_on() -> None:
    fork = multiprocessing.get_context("fork")
    told, tell = fork.Pipe(duplex=False)

    def rank() -> None:
        ranks.end_with_launcher()
        tell.send(os.getpid())
        time.sleep(60)

    def launcher() -> None:
        fork.Process(target=rank).start()

    process = fork.Process(target=launcher)
    process.start()
    started = psutil.Process(told.recv())
    process.kill()
    assert started.wait(10) is None


def test_what_one_makes_all_have() -> None:
    def work() -> tuple[float, list[int]]:
        return parallel.from_first(random.random), parallel.gathered(list(parallel.mine(range(7))))

    one, other = joined(work)
    assert one == other
    assert sorted(one[1]) == list(range(7))


def test_alone_nothing_is_done() -> None:
    rows = np.arange(5)
    assert parallel.part(rows) is not rows
    assert (parallel.part(rows) == rows).all()
    assert list(parallel.mine(rows)) == list(rows)
    own = [1]
    assert parallel.gathered(own) is own
    loss = torch.tensor(1.0)
    assert parallel.total(loss) is loss
    batch = pack([[1, 2]], None, [0]).batch(np.array([0]), CPU)
    share = parallel.share(batch, np.array([0]))
    assert share.batch is batch
    assert share.weighted(loss) is loss


# --- whole runs of the worker --------------------------------------------------------------------

WHOLE: dict[str, tuple[str, str, dict[str, str]]] = {
    "language model of streams": (
        "wikitext2", "elmo-tiny", {"max_length": "8"},
    ),
    "translation": ("multi30k", "transformer-tiny", {"batch_tokens": "300"}),
    "distilled": (
        "sst2",
        "transformer-tiny",
        {
            "recipe": "distill", "teacher_model": "transformer-small", "teacher_epochs": "1",
            "hidden_loss": "0.5",
        },
    ),
    "chosen rows": ("sst2", "transformer-tiny", {"recipe": "data-prune", "by": "el2n"}),
}  # fmt: skip


@pytest.fixture
def small_corpora(monkeypatch: pytest.MonkeyPatch) -> None:
    lines, pairs, films = gazetteer.corpus, phrasebook.corpus, verdicts.corpus
    monkeypatch.setattr(gazetteer, "corpus", lambda: lines(10, 2))
    monkeypatch.setattr(phrasebook, "corpus", lambda: pairs(120, 8))
    monkeypatch.setattr(verdicts, "corpus", lambda: films(150, 20))


def plan(task: str, model: str, processes: int = 1, **given: str) -> running.Plan:
    settings = {"vocabulary_size": "300", "max_length": "32", "dropout": "0", "max_steps": "6"}
    settings |= {} if task == "multi30k" else {"batch_size": "8"}
    settings |= given
    recipe, budget = settings.pop("recipe", "baseline"), settings.pop("budget", None)
    request = running.Request(
        task, model, recipe, data="embedded", device="cpu", settings=settings, nproc=processes,
        budget=budget,
    )  # fmt: skip
    return running.prepare(request)


def learned(
    planned: running.Plan, folder: Path, state: Path | None = None
) -> tuple[torch.Tensor, dict[str, list[Any]], list[str]]:
    """What a worker leaves: weights, predictions and events."""
    data.write_task_folder(planned.resolved, planned.card, folder / "task")
    job = worker.Job(
        spec=planned.spec(running.Seed(5, "user")), objective=planned.objective, checkpoint=None,
        plan_steps=None, keep=worker.Keep(folder, "r" * 16, 1e9), state=state, weights={},
    )  # fmt: skip

    def work() -> None:
        with (folder / "events").open("ab") as file:
            os.environ |= {"BENCH_EVENTS_FD": str(file.fileno()), "BENCH_EVENTS_ID": "",
                           "BENCH_STOP": str(folder / "stop")}  # fmt: skip
            os.environ["BENCH_EVENTS_ID"] = identity(file.fileno())
            events = ranks.RankEvents() if planned.processes > 1 else Events(file.fileno())
            worker.run(job, folder / "task", folder, events)

    together(work, planned.processes)
    told = [json.loads(line)["event"] for line in (folder / "events").open()]
    told = [name for name in told if not name.endswith(("step", "progress"))]  # as time allows
    with safe_open(folder / STATES[0], framework="pt") as file:
        names = [n for n in file.keys() if n.endswith(("parameters", "projection.weights"))]  # noqa: SIM118
        found = torch.cat([file.get_tensor(name) for name in names])
    table = pyarrow.parquet.read_table(folder / "predictions.parquet")
    return found, table.to_pydict(), told


@pytest.mark.parametrize("kind", WHOLE)
def test_a_run_of_two_processes_is_that_of_one(
    kind: str, tmp_path: Path, small_corpora: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        loop, "Dropout", lambda rate, *given: Dropout(0.0, *given)
    )  # teachers', too
    task, model, given = WHOLE[kind]
    one, both = (
        learned(plan(task, model, processes, **given), tmp_path / str(processes))
        for processes in (1, 2)
    )
    assert (one[0] - both[0]).norm() < 1e-4 * one[0].norm()
    same = [a == b for a, b in zip(one[1]["prediction"], both[1]["prediction"], strict=True)]
    if task == "wikitext2":
        assert one[1]["prediction"] == pytest.approx(both[1]["prediction"], rel=1e-3)
    else:
        assert sum(same) >= 0.9 * len(same)
    assert Counter(both[2]) - Counter(one[2]) == Counter(["devices"]), "the others are silent"


def test_a_training_of_two_processes_goes_on_where_it_was(
    tmp_path: Path, small_corpora: None
) -> None:
    asked = ("sst2", "transformer-tiny", 2)
    whole = learned(plan(*asked), tmp_path / "whole")
    learned(plan(*asked, budget="4steps"), tmp_path / "first")
    second = learned(plan(*asked), tmp_path / "second", tmp_path / "first" / STATES[0])
    assert torch.equal(whole[0], second[0])
    assert whole[1] == second[1]
