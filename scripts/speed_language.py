"""Compares the loop on running text with plain PyTorch: the same GPT-2 or BERT, from the same
weights, on the same blocks in the same order, on this CPU.

`plain` is transformers' GPT2LMHeadModel or BertForMaskedLM (their attention is torch's fused one)
with a fused AdamW.
Each is measured in a process of its own, from the first step to the last, in CPU-seconds of all
its threads. Without dropout both must reach one loss. Where there is dropout, it is the
architecture's own in `plain` (in attention, too).
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import json
import os
import subprocess
import sys
import time
from typing import Any

import numpy as np

SEED, RATE, WARMUP = 1, 1e-3, 0.06


@dataclasses.dataclass(frozen=True)
class Sizes:
    width: int = 128
    layers: int = 2
    heads: int = 2
    vocabulary: int = 4000
    block: int = 128
    batch: int = 16
    steps: int = 30
    dropout: float = 0.0
    model: str = "gpt2-tiny"  # whose architecture it is


SIZES = {
    "tiny": Sizes(),
    "tiny-dropout": Sizes(dropout=0.1),
    "masked": Sizes(model="bert-tiny"),
    "wide": Sizes(width=384, layers=6, heads=6, vocabulary=8000, block=256, batch=8, steps=8),
    "wide-dropout": Sizes(384, 6, 6, 8000, 256, 8, 8, dropout=0.1),
}


def prepared(sizes: Sizes, data: str) -> tuple[Any, list[np.ndarray]]:
    """A training that has not begun, and the rows of each of its steps."""
    import torch

    from bench import cards, recipes
    from bench.events import Events
    from bench.learn import sources, tokenize, worker
    from bench.learn.language import LanguageModel
    from bench.learn.loop import Training
    from bench.learn.models.published import SCRATCH
    from bench.learn.objectives.causal import Objective
    from bench.learn.windows import Following, Masked, Stream, Windows

    device = worker.start("cpu", SEED)
    card = cards.load("wikitext2")
    found = sources.resolve(card, data)
    given = {"max_length": sizes.block, "batch_size": sizes.batch, "max_steps": sizes.steps}
    given |= {"epochs": 100, "evaluations": 0, "dropout": sizes.dropout, "learning_rate": RATE}
    text = {name: str(value) for name, value in (given | {"warmup_share": WARMUP}).items()}
    settings = recipes.resolve("baseline", sizes.model, text, card.family, pretrained=False)
    recipe = recipes.build("baseline", settings)
    texts = [text for (text,) in found.train.inputs]
    tokenizer = tokenize.train_bytes(texts, sizes.vocabulary, ["[MASK]"])
    stream = Stream.of(tokenizer, texts)
    blocks: Windows = Following(stream, sizes.block)
    if sizes.model == "bert-tiny":
        blocks = Masked(stream, sizes.block, 0, tokenizer.get_vocab_size())
    size = dataclasses.replace(
        SCRATCH[sizes.model], width=sizes.width, layers=sizes.layers, heads=sizes.heads
    )
    shape = size.shape(tokenizer.get_vocab_size(), sizes.block)
    model = LanguageModel(shape, torch.float32, device)
    model.initialise(SEED)
    objective: Any = Objective(found, recipe)
    training = Training(recipe, objective, model, blocks, blocks, SEED, Events())
    return training, list(itertools.islice(training.batches(), training.total_steps))


def bench(sizes: Sizes, data: str) -> dict[str, float]:
    """This project's loop, as `bench run` calls it."""
    from bench.learn.loop import train

    training, steps = prepared(sizes, data)
    watch = Stopwatch()
    train(training, iter(steps))
    return watch.stop() | {"loss": loss_after(training, None)}


def plain(sizes: Sizes, data: str) -> dict[str, float]:
    """The usual loop."""
    import torch

    training, steps = prepared(sizes, data)
    module = transformers_model(sizes, training.model)
    matrices = [p for p in module.parameters() if p.dim() > 1]
    others = [p for p in module.parameters() if p.dim() == 1]
    groups = [{"params": matrices}, {"params": others, "weight_decay": 0.0}]
    recipe = training.recipe
    optimizer = torch.optim.AdamW(groups, weight_decay=recipe.weight_decay, fused=True)
    module.train()
    watch = Stopwatch()
    for step, rows in enumerate(steps):
        for group in optimizer.param_groups:
            group["lr"] = recipe.rate(step, len(steps))
        batch = training.train.batch(rows, torch.device("cpu"))
        plain_loss(module, batch).backward()
        torch.nn.utils.clip_grad_norm_(module.parameters(), recipe.clip_norm)
        optimizer.step()
        optimizer.zero_grad()
    return watch.stop() | {"loss": loss_after(training, module)}


def transformers_model(sizes: Sizes, model: Any) -> Any:
    """The same GPT-2 or BERT, with the weights of `model`."""
    import torch
    from transformers import BertConfig, BertForMaskedLM, GPT2Config, GPT2LMHeadModel

    from bench.learn.models.checkpoints import their_names

    gpt2 = sizes.model == "gpt2-tiny"
    rates = ["resid_pdrop", "embd_pdrop", "attn_pdrop"]
    if not gpt2:
        rates = ["hidden_dropout_prob", "attention_probs_dropout_prob"]
    dropout: dict[str, Any] = dict.fromkeys(rates, sizes.dropout)
    module: Any
    if gpt2:
        module = GPT2LMHeadModel(GPT2Config(
            vocab_size=model.shape.vocabulary, n_positions=sizes.block, n_embd=sizes.width,
            n_layer=sizes.layers, n_head=sizes.heads, bos_token_id=0, eos_token_id=0, **dropout,
        ))  # fmt: skip
    else:
        module = BertForMaskedLM(BertConfig(
            vocab_size=model.shape.vocabulary, max_position_embeddings=sizes.block,
            hidden_size=sizes.width, num_hidden_layers=sizes.layers, **dropout,
            num_attention_heads=sizes.heads, intermediate_size=4 * sizes.width,
        ))  # fmt: skip
    kind = "gpt2" if gpt2 else "bert language model"
    prefix = "transformer." if gpt2 else "bert."
    theirs = {name.removeprefix(prefix): p for name, p in module.named_parameters()}
    with torch.no_grad():
        for name, weight in model.parameters.named().items():
            found = [theirs[n] for n in their_names(name, kind)]
            turned = gpt2 and name not in ("tokens", "positions")
            for part, ours in zip(found, weight.chunk(len(found)), strict=True):
                part.copy_(ours.t() if turned else ours)
    return module


def plain_loss(module: Any, batch: Any) -> Any:
    """The mean loss of the tokens that are asked for, from the scores of all, as is usual."""
    import torch
    import torch.nn.functional as F

    scores = module(batch.tokens.view(batch.size, -1)).logits.flatten(0, 1)
    if batch.chosen is None:
        return F.cross_entropy(scores, batch.labels)
    labels = torch.full((len(scores),), -100).index_copy(0, batch.chosen, batch.labels)
    return F.cross_entropy(scores, labels)


def loss_after(training: Any, module: Any) -> float:
    """The mean loss over some blocks, after training; the same for both."""
    import torch

    losses = []
    with torch.inference_mode():
        for rows in np.arange(64).reshape(-1, 8):
            batch = training.train.batch(rows, torch.device("cpu"))
            if module is None:
                training.model.begin_evaluation()
                found = training.model.mean_nats(training.model.outputs(batch, None), batch.labels)
            else:
                found = plain_loss(module.eval(), batch)
            losses.append(found.item())
    return float(np.mean(losses))


class Stopwatch:
    """Wall and CPU seconds of this process from now to `stop`."""

    def __init__(self) -> None:
        self._wall, self._cpu = time.perf_counter(), time.process_time()

    def stop(self) -> dict[str, float]:
        cpu_s = time.process_time() - self._cpu
        return {"cpu_s": cpu_s, "wall_s": time.perf_counter() - self._wall}


WHAT = {"plain": plain, "bench": bench}


def measure(name: str, size: str, data: str) -> dict[str, float]:
    command = [sys.executable, __file__, "--child", name, "--size", size, "--data", data]
    done = subprocess.run(command, env=os.environ, stdout=subprocess.PIPE, check=True)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", default="embedded", help="the folder of WikiText-2, or embedded")
    parser.add_argument("--size", choices=SIZES, help="one size; else all")
    parser.add_argument("--rounds", type=int, default=1, help="of plain and bench in turn")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        print(json.dumps(WHAT[arguments.child](SIZES[arguments.size], arguments.data)))
        return
    print(f"{'':44} CPU-s  wall-s  of plain   loss")
    for size in [arguments.size] if arguments.size else SIZES:
        s = SIZES[size]
        print(f"{size}: width {s.width}, {s.layers} layers, {s.vocabulary} tokens, "
              f"{s.steps} steps of {s.batch} x {s.block}, dropout {s.dropout:g}")  # fmt: skip
        for _ in range(arguments.rounds):
            base = 0.0
            for name in WHAT:
                found = measure(name, size, arguments.data)
                base = base or found["cpu_s"]
                print(
                    f"  {name:42} {found['cpu_s']:5.1f} {found['wall_s']:7.1f} "
                    f"{found['cpu_s'] / base:9.2f} {found['loss']:6.3f}",
                    flush=True,
                )


if __name__ == "__main__":
    main()
