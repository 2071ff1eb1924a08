"""T2: the weights of a hostile run predict again, or are refused before anything opens them."""

from __future__ import annotations

import json
import pickle
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bench import cards, lineage, metrics, reevaluation, submission
from bench import record as records
from bench.errors import UsageError
from bench.record import Metric, Record
from bench.reevaluation import Reevaluation, reevaluate
from tests.command import write_reviews
from tests.test_run import bench as in_a_process

TINY = [
    "--task", "sst2", "--model", "transformer-small", "--data", "reviews", "--idle", "0",
    "--device", "cpu", "--recipe", "layer-drop", "--set", "vocabulary_size=300", "--set",
    "epochs=3", "--set", "batch_size=16", "--save",
]  # fmt: skip


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the data, and a run that has kept its weights."""
    folder = tmp_path_factory.mktemp("kept")
    write_reviews(folder / "reviews", train=300, scored=60)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("OMP_NUM_THREADS", "1")
        patch.setenv("BENCH_LOCK", "")
        in_a_process("run", *TINY)
    return folder


class Shipped:
    """A copy of the run, which a test may spoil."""

    def __init__(self, kept: Path, folder: Path) -> None:
        self._data = kept / "reviews"
        (run,) = (kept / "runs" / "sst2").glob("*/")
        self.folder = Path(shutil.copytree(run, folder / run.name))
        self.weights = self.folder / lineage.WEIGHTS

    def change(self, change: Callable[[Record], dict[str, Any]]) -> None:
        record = records.read(self.folder)
        path = self.folder / "record.json"
        path.write_text(record.model_copy(update=change(record)).model_dump_json())

    def spec(self, **changed: Any) -> None:
        self.change(lambda r: {"spec": r.spec.model_copy(update=changed)})

    def sign(self) -> None:
        """The record says that the run kept what there is now."""
        digest = records.file_sha256(self.weights)
        self.change(lambda r: {"saved": [s.model_copy(update={"sha256": digest}) for s in r.saved]})

    def reevaluate(self, data: str | None = None, **options: Any) -> Reevaluation:
        card = cards.load("sst2")
        return reevaluate(self.folder, card, data or str(self._data), "cpu", **options)


@pytest.fixture
def shipped(kept: Path, tmp_path: Path) -> Shipped:
    return Shipped(kept, tmp_path)


def no_child(monkeypatch: pytest.MonkeyPatch) -> None:
    """From now on a process that is started is a fault."""

    def started(*_: Any, **__: Any) -> None:
        raise AssertionError("a child was started")

    monkeypatch.setattr(reevaluation.subprocess, "run", started)


def test_weights_say_what_they_said(shipped: Shipped) -> None:
    """With nothing but the record, the predictions and the file of weights."""
    for path in shipped.weights.parent.iterdir():
        if path != shipped.weights:
            path.write_text("{ hostile")
    found = shipped.reevaluate()
    assert found.verdict == "agrees", found.message
    assert (found.same_share, found.predictions, found.skill_apart) == (1.0, 60, 0.0)
    assert found.stated == found.now
    assert found.run_id == shipped.folder.name
    assert found.notes == ()
    assert json.loads(json.dumps(found.as_dict()))["verdict"] == "agrees"


def test_other_weights_do_not(shipped: Shipped) -> None:
    """They are of the right shape and of the right SHA-256: of a model that was never trained."""
    torch = pytest.importorskip("torch")
    from safetensors.torch import load_file, save_file

    torch.manual_seed(1)
    tensors = {n: torch.randn(t.shape) for n, t in load_file(shipped.weights).items()}
    save_file(tensors, shipped.weights)
    found = shipped.reevaluate()
    assert (found.verdict, "another SHA-256" in found.message) == ("disagrees", True)
    shipped.sign()
    found = shipped.reevaluate()
    assert found.verdict == "disagrees", found.message
    assert found.same_share is not None
    assert found.same_share < 0.9


def test_other_predictions_do_not(shipped: Shipped) -> None:
    """Those of a better model, with the metric that they have."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = shipped.folder / "predictions.parquet"
    table = pq.read_table(path)
    turned = table["prediction"].to_pylist()
    turned[:3] = [{"positive": "negative"}.get(p, "positive") for p in turned[:3]]
    pq.write_table(table.set_column(1, "prediction", pa.array(turned)), path)
    found = shipped.reevaluate()
    assert found.verdict == "disagrees"
    assert "57 of 60 predictions are the same" in found.message


def test_another_metric_does_not(shipped: Shipped) -> None:
    def higher(record: Record) -> dict[str, Metric]:
        assert record.metric
        return {"metric": record.metric.model_copy(update={"value": record.metric.value - 0.05})}

    shipped.change(higher)
    found = shipped.reevaluate()
    assert (found.verdict, found.same_share) == ("disagrees", 1.0)


def bomb(path: Path) -> None:
    path.write_bytes((1 << 40).to_bytes(8, "little") + b"{" * 100)


def hole(path: Path) -> None:
    told = {"a": {"dtype": "F32", "shape": [1], "data_offsets": [4, 8]}}
    text = json.dumps(told).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + b"\0" * 8)


def doubles(path: Path) -> None:
    told = {"a": {"dtype": "F64", "shape": [1], "data_offsets": [0, 8]}}
    text = json.dumps(told).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + b"\0" * 8)


def link(path: Path) -> None:
    path.unlink()
    path.symlink_to("/etc/passwd")


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda path: path.write_bytes(pickle.dumps([sys.path])), "is not safetensors"),
        (bomb, "no header of the length that it states"),
        (hole, "leaves a hole"),
        (doubles, "has numbers of F64"),
        (link, "can't be opened"),
    ],
)
def test_a_file_is_refused_before_a_library_opens_it(
    shipped: Shipped, monkeypatch: pytest.MonkeyPatch, spoil: Callable[[Path], None], said: str
) -> None:
    spoil(shipped.weights)
    shipped.sign()
    no_child(monkeypatch)
    found = shipped.reevaluate()
    assert found.verdict == "disagrees"
    assert said in found.message
    assert "\n" not in found.message


def test_weights_of_another_model_are_refused(shipped: Shipped) -> None:
    shipped.spec(model="transformer-tiny", recipe="baseline", settings={})
    found = shipped.reevaluate()
    assert found.verdict == "disagrees"
    assert "where the model has" in found.message or "the model has not" in found.message


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"model": "/tmp/model"}, "is not in `bench models`"),
        ({"model": "someone/else"}, "is not in `bench models`"),
        ({"recipe": "./evil.py"}, "is not in `bench recipes`"),
        ({"recipe": "layer-drop+../evil.py"}, "is not in `bench recipes`"),
        ({"settings": {"epochs": "many"}}, "not a number"),
        ({"settings": {"unheard_of": 1}}, "has no setting 'unheard_of'"),
        ({"checkpoint_sha256": "0" * 64}, "no pretrained weights"),
        ({"task": "cola"}, "it learned cola"),
        ({"task_version": 2}, "it learned sst2 2"),
    ],
)
def test_what_can_not_be_built_here_never_passes(
    shipped: Shipped, monkeypatch: pytest.MonkeyPatch, changed: dict[str, Any], said: str
) -> None:
    shipped.spec(**changed)
    no_child(monkeypatch)
    found = shipped.reevaluate()
    assert (found.verdict, "\n" in found.message) == ("not re-evaluated", False)
    assert said in found.message


def test_what_is_not_there_never_passes(
    shipped: Shipped, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    no_child(monkeypatch)
    other = shipped.reevaluate(str(write_reviews(tmp_path / "other", train=300, scored=50)))
    assert (other.verdict, "other fingerprints" in other.message) == ("not re-evaluated", True)
    gone = shipped.reevaluate(str(tmp_path / "nowhere"))
    assert (gone.verdict, "not at hand" in gone.message) == ("not re-evaluated", True)
    shipped.weights.unlink()
    found = shipped.reevaluate()
    assert (found.verdict, "ships no weights" in found.message) == ("not re-evaluated", True)
    shipped.change(lambda r: {"saved": []})
    assert "kept no weights" in shipped.reevaluate().message
    shipped.change(lambda r: {"status": "failed"})
    assert "the run is failed" in shipped.reevaluate().message
    (shipped.folder / "predictions.parquet").unlink()
    (shipped.folder / "record.json").write_text("{")
    found = shipped.reevaluate()
    assert (found.verdict, "can't be read" in found.message) == ("not re-evaluated", True)


def test_a_model_that_takes_all_memory_or_time_never_passes(shipped: Shipped) -> None:
    settings = records.read(shipped.folder).spec.settings
    shipped.spec(settings=settings | {"width": 1 << 20, "hidden": 1 << 20, "heads": 4})
    found = shipped.reevaluate()
    assert found.verdict == "not re-evaluated"
    assert "memory" in found.message
    shipped.spec(settings=settings)
    found = shipped.reevaluate(wait_s=0.05)
    assert (found.verdict, "had not predicted" in found.message) == ("not re-evaluated", True)


def test_a_device_that_is_not_there_is_the_users_error(shipped: Shipped) -> None:
    with pytest.raises(UsageError):
        reevaluate(shipped.folder, cards.load("sst2"), None, "cuda:7")


def test_predictions_are_alike_by_kind() -> None:
    same = reevaluation.same
    assert same("class", ["a", "b"], ["a", "a"], 0.1) == [True, False]
    assert same("text", ["a  b"], ["a b"], 0.1) == [True]
    assert same("tags", ["O B I", "O"], ["O B O", "O O"], 0.1) == [True, True, False, True, False]
    assert same("number", [0.0, 10.0], [0.4, 10.6], 0.1) == [True, False]
    assert same("words", [100.0, 0.01], [109.0, 0.2], 0.1) == [True, False]


def test_rows_are_counted_apart_from_tags() -> None:
    card, said = cards.load("wnut17"), ["O B-person", "O"]
    scored = metrics.score(card.metric, said, said, {}, [("a b",), ("c",)])
    built = reevaluation._Built("m", None, "tagging", "baseline", {}, reevaluation.FLOAT32)
    begun = Reevaluation("0" * 16, "not re-evaluated", "")
    found = reevaluation._judged(begun, card, built, scored, scored, said, said)
    assert (found.verdict, found.rows, found.predictions) == ("agrees", 2, 3)


def test_a_copy_of_a_teacher_has_no_weights_to_show(
    bench, shipped: Shipped, kept: Path, tmp_path: Path
) -> None:
    results = ["--results", tmp_path / "results", "--data", kept / "reviews"]
    made = bench("submit", shipped.folder, "--title", "T", "--authors", "A", "--weights", *results)
    assert made.code == 0, made.out + made.err
    (mine,) = (tmp_path / "results/sst2").iterdir()
    copy = mine / ("f" * 16)
    shutil.copytree(mine / shipped.folder.name, copy)
    record = records.read(copy).model_copy(update={"run_id": copy.name})
    (copy / "record.json").write_text(record.model_dump_json())
    shutil.rmtree(copy / "weights")
    entry = submission.read(mine).model_copy(update={"charged": [copy.name]})
    submission.write(entry, mine)
    said = bench("check", mine, "--reevaluate", "--format", "json", *results)
    (verdict,) = [v for v in json.loads(said.out)["entries"][0]["verdicts"] if v["rule"] == "T2"]
    assert (verdict["status"], verdict["where"][-16:]) == ("pass", shipped.folder.name)


def test_who_lets_weights_predict_may_say_so_in_an_entry(
    bench, shipped: Shipped, kept: Path, tmp_path: Path
) -> None:
    results = ["--results", tmp_path / "results", "--data", kept / "reviews"]
    made = bench("submit", shipped.folder, "--title", "T", "--authors", "A", "--weights", *results)
    assert made.code == 0, made.out + made.err
    (mine,) = (tmp_path / "results/sst2").iterdir()
    again = ["submit", "--reevaluates", f"sst2/{mine.name}", "--authors", "B", *results]
    said = bench(*again)
    assert said.code == 0, said.out + said.err
    entry = submission.read(tmp_path / f"results/sst2/reevaluation-of-{mine.name}")
    assert [r.same_share for r in entry.reevaluated] == [1.0]
    assert bench("check", mine, "--reevaluate", *results).out.split("\n")[0].endswith("T2")

    (mine / shipped.folder.name / lineage.WEIGHTS).unlink()
    said = bench(*again)
    assert said.code == 1
    assert "not all weights were evaluated and agree" in said.err
