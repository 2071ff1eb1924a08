"""Compares translation with plain PyTorch: torch.nn.Transformer over padded texts, from the same
weights, on the same pairs of Multi30k, on this CPU.

`random` takes the same number of pairs a step in random order, each side padded to its longest;
`similar` takes the very batches that bench takes. Each is measured in a process of its own, from
the first step to the last, in CPU-seconds of all its threads. All must reach about one loss.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import numpy as np

MODEL, SEED = "transformer-tiny", 1


def prepared(data: str, pairs: int, dropout: float) -> tuple[Any, list[np.ndarray]]:
    """A training of one epoch that has not begun, and the rows of each of its steps."""
    from dataclasses import replace

    from bench import cards, recipes
    from bench.events import Events
    from bench.learn import data as learn_data
    from bench.learn import models, sources, worker
    from bench.learn.loop import Training
    from bench.learn.objectives.translation import Objective

    device = worker.start("cpu", SEED)
    card = cards.load("multi30k")
    found = sources.resolve(card, data)
    found = replace(found, train=found.train.take(range(min(pairs, len(found.train)))))
    given = {"epochs": "1", "evaluations": "0", "dropout": str(dropout), "schedule": "linear"}
    recipe = recipes.build("baseline", recipes.resolve("baseline", MODEL, given, card.family))
    task = learn_data.TaskFolder(
        name=card.name, version=card.version, family=card.family, kind=card.kind,
        inputs=card.inputs, choices=[], words={}, classes=[], metric=card.metric.name,
        train=found.train, tune=found.tune, scored=found.scored.inputs,
    )  # fmt: skip
    objective: Any = Objective(task, recipe)
    entry: Any = models.entry(MODEL, family=card.family)
    tokenizer = entry.tokenizer(objective.texts(), recipe, None)
    splits = objective.encode(tokenizer, recipe.max_length)
    model = entry.build(None, tokenizer, recipe, objective.outputs, False, SEED, device)
    training = Training(recipe, objective, model, splits["train"], splits["tune"], SEED, Events())
    return training, list(recipe.batches(training.train, 0, training.random))


def bench(data: str, pairs: int, dropout: float) -> dict[str, float]:
    """This project's loop, as `bench run` calls it."""
    from bench.learn.loop import train

    training, steps = prepared(data, pairs, dropout)
    watch = Stopwatch()
    train(training, iter(steps))
    return watch.stop() | {"loss": loss_of(training, None)}


def plain(data: str, pairs: int, dropout: float, random: bool = False) -> dict[str, float]:
    """The usual loop."""
    import torch
    import torch.nn.functional as F

    training, steps = prepared(data, pairs, dropout)
    if random:
        order = np.random.default_rng(SEED).permutation(len(training.train))
        steps = np.array_split(order, len(steps))
    recipe = training.recipe
    module = Plain(training.model, dropout)
    optimizer = torch.optim.AdamW(
        module.parameters(), betas=(0.9, recipe.beta2), weight_decay=recipe.weight_decay, fused=True
    )
    watch = Stopwatch()
    for step, rows in enumerate(steps):
        optimizer.param_groups[0]["lr"] = recipe.rate(step, len(steps))
        logits, wanted = module(*padded(training.train, rows))
        F.cross_entropy(
            logits.flatten(0, 1), wanted.flatten(), label_smoothing=recipe.label_smoothing
        ).backward()
        torch.nn.utils.clip_grad_norm_(module.parameters(), recipe.clip_norm)
        optimizer.step()
        optimizer.zero_grad()
    return watch.stop() | {"loss": loss_of(training, module)}


def padded(pairs: Any, rows: np.ndarray) -> Iterator[Any]:
    """[B, L] of the texts, what is read of their translations, and what is wanted; -100 at ends."""
    import torch

    for side, tokens in (
        (pairs.source, pairs.source.tokens),
        (pairs.target, pairs.target.tokens),
        (pairs.target, pairs.target.marks),
    ):
        texts = [torch.from_numpy(tokens[side.starts[i] : side.starts[i + 1]]) for i in rows]
        yield torch.nn.utils.rnn.pad_sequence(texts, batch_first=True, padding_value=-100).long()


def Plain(model: Any, dropout: float) -> Any:
    """torch.nn.Transformer with the weights of `model`."""
    import torch
    from torch import nn

    from bench.learn.translator import sinusoids

    shape = model.shape

    class Module(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table = nn.Parameter(model.parameters.named()["tokens"].clone())
            self.body = nn.Transformer(
                shape.width, shape.heads, shape.layers, shape.layers, shape.hidden, dropout,
                batch_first=True,
            )  # fmt: skip
            self.body.encoder.norm = self.body.decoder.norm = None
            self.dropout = nn.Dropout(dropout)
            self.register_buffer("sinusoids", sinusoids(200, shape.width))
            fill(self.body, model.parameters.named(), shape)

        def forward(self, source: Any, target: Any, wanted: Any) -> tuple[Any, Any]:
            ahead = torch.ones(target.shape[1], target.shape[1], dtype=torch.bool).triu(1)
            hidden = source < 0
            states = self.body(
                self.embed(source), self.embed(target), tgt_mask=ahead,
                src_key_padding_mask=hidden, memory_key_padding_mask=hidden,
            )  # fmt: skip
            return states @ self.table.t(), wanted

        def embed(self, tokens: Any) -> Any:
            x = self.table[tokens.clamp(min=0)] * math.sqrt(shape.width)
            return self.dropout(x + self.sinusoids[: tokens.shape[1]])

    return Module()


def fill(body: Any, weights: dict[str, Any], shape: Any) -> None:
    """Copy the weights into torch's layers."""
    import torch

    names = {"self_attn.out_proj": "mix", "linear1": "up", "linear2": "down", "norm1": "mix_norm"}
    of_encoder = names | {"norm2": "down_norm"}
    of_decoder = names | {
        "multihead_attn.out_proj": "cross", "norm2": "cross_norm", "norm3": "down_norm"
    }  # fmt: skip
    for side, ours in (("encoder", of_encoder), ("decoder", of_decoder)):
        for i, layer in enumerate(getattr(body, side).layers):
            for part in ("weight", "bias"):
                for theirs, name in ours.items():
                    found = layer.get_submodule(theirs)
                    getattr(found, part).data.copy_(weights[f"{side}.{i}.{name}.{part}"])
                projection = getattr(layer.self_attn, f"in_proj_{part}")
                projection.data.copy_(weights[f"{side}.{i}.qkv.{part}"])
                if side == "decoder":
                    memory = weights[f"memory.{part}"].split(2 * shape.width)[i]
                    whole = torch.cat((weights[f"decoder.{i}.q.{part}"], memory))
                    getattr(layer.multihead_attn, f"in_proj_{part}").data.copy_(whole)


def loss_of(training: Any, module: Any) -> float:
    """The mean loss over tune's first pairs, after training; the same for all."""
    import torch
    import torch.nn.functional as F

    rows = np.arange(min(64, len(training.tune)))
    if module is None:
        model = training.model
        model.begin_evaluation()
        batch = training.tune.batch(rows, model.device)
        with torch.inference_mode():
            logits = model.outputs(batch, None) @ model.parameters["tokens"].value.t()
            return float(F.cross_entropy(logits, batch.target.marks))
    with torch.no_grad():
        logits, wanted = module.eval()(*padded(training.tune, rows))
        return float(F.cross_entropy(logits.flatten(0, 1), wanted.flatten()))


class Stopwatch:
    """Wall and CPU seconds of this process from now to `stop`."""

    def __init__(self) -> None:
        self._wall, self._cpu = time.perf_counter(), time.process_time()

    def stop(self) -> dict[str, float]:
        cpu_s = time.process_time() - self._cpu
        return {"cpu_s": cpu_s, "wall_s": time.perf_counter() - self._wall}


def random(data: str, pairs: int, dropout: float) -> dict[str, float]:
    return plain(data, pairs, dropout, random=True)


WHAT = {"random": random, "similar": plain, "bench": bench}
TITLES = {
    "random": "torch.nn.Transformer, random batches, padded",
    "similar": "torch.nn.Transformer, similar lengths, padded",
    "bench": "bench",
}


def measure(name: str, arguments: argparse.Namespace) -> dict[str, float]:
    command = [sys.executable, __file__, "--child", name, "--data", arguments.data]
    command += ["--pairs", str(arguments.pairs), "--dropout", str(arguments.dropout)]
    done = subprocess.run(command, env=os.environ, stdout=subprocess.PIPE, check=True)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", default="embedded", help="the folder of Multi30k, or embedded")
    parser.add_argument("--pairs", type=int, default=3000)
    parser.add_argument("--dropout", type=float, default=0.0)
    parser.add_argument("--child", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        found = WHAT[arguments.child](arguments.data, arguments.pairs, arguments.dropout)
        print(json.dumps(found))
        return
    print(f"{MODEL}, {arguments.pairs} pairs of {arguments.data}, dropout {arguments.dropout:g}")
    print(f"{'':48} CPU-s  wall-s  of random   loss")
    base = 0.0
    for name in WHAT:
        found = measure(name, arguments)
        base = base or found["cpu_s"]
        print(
            f"{TITLES[name]:48} {found['cpu_s']:5.1f} {found['wall_s']:7.1f} "
            f"{found['cpu_s'] / base:10.2f} {found['loss']:6.3f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
