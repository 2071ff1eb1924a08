"""Compares the loop with others: 3,200 rows, batch 32, one epoch, all-MiniLM-L6, on this CPU.

Each is measured in a process of its own, from the first step to the end of training, in
CPU-seconds of all its threads; accuracy is on the scored split. Run with nothing else going on:
two runs at once take each other's caches.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

ROWS, BATCH, RATE, WARMUP, SEED = 3200, 32, 1e-4, 0.06, 1
MODEL = "all-minilm-l6"


class Stopwatch:
    """Wall and CPU seconds of this process, from `start` to `stop`."""

    def start(self) -> None:
        self._wall, self._cpu = time.perf_counter(), time.process_time()

    def stop(self) -> dict[str, float]:
        cpu_s = time.process_time() - self._cpu
        return {"cpu_s": cpu_s, "wall_s": time.perf_counter() - self._wall}


def task() -> Any:
    from bench.learn.data import read_task_folder

    return read_task_folder(Path(os.environ["BENCH_TASK_DIR"]))


def tokens() -> tuple[Any, Any, np.ndarray]:
    """Packed train and scored rows, and the scored labels."""
    from bench.learn import models, tokenize

    folder = task()
    number = {name: i for i, name in enumerate(folder.classes)}
    tokenizer = tokenize.load(models.locate(MODEL).folder)
    labels = [number[label] for label in folder.train.labels]
    train = tokenize.encode(tokenizer, folder.train.inputs, labels, 128)
    scored = tokenize.encode(tokenizer, folder.scored, None, 128)
    gold = json.loads(Path(os.environ["SPEED_LABELS"]).read_text())
    return train, scored, np.array([number[label] for label in gold])


def transformers_model() -> Any:
    from transformers import AutoModelForSequenceClassification

    from bench.learn import models

    return AutoModelForSequenceClassification.from_pretrained(
        models.locate(MODEL).folder, num_labels=2
    )


def accuracy_of(module: Any, scored: Any, gold: np.ndarray) -> float:
    import torch

    from bench.learn.batches import by_length

    module.eval()
    right = 0
    with torch.inference_mode():
        for rows in by_length(scored.lengths, 2048):
            ids, mask = padded(scored, rows)
            guesses = module(input_ids=ids, attention_mask=mask).logits.argmax(1).numpy()
            right += int((guesses == gold[rows]).sum())
    return right / len(gold)


def padded(rows: Any, chosen: np.ndarray) -> tuple[Any, Any]:
    import torch

    texts = [torch.from_numpy(rows.tokens[rows.starts[i] : rows.starts[i + 1]]) for i in chosen]
    ids = torch.nn.utils.rnn.pad_sequence(texts, batch_first=True).long()
    lengths = torch.from_numpy(rows.lengths[chosen])
    return ids, (torch.arange(ids.shape[1]) < lengths[:, None]).long()


def trainer(bf16: bool) -> dict[str, float]:
    """Hugging Face's Trainer: random batches, each padded to its longest text."""
    import torch
    from transformers import Trainer, TrainerCallback, TrainingArguments, set_seed

    train, scored, gold = tokens()
    set_seed(SEED)
    watch, measured = Stopwatch(), dict[str, float]()

    class Watch(TrainerCallback):
        def on_step_begin(self, args: Any, state: Any, control: Any, **others: Any) -> None:
            if state.global_step == 0:
                watch.start()

        def on_train_end(self, args: Any, state: Any, control: Any, **others: Any) -> None:
            measured.update(watch.stop())

    def collate(rows: list[int]) -> dict[str, Any]:
        ids, mask = padded(train, np.array(rows))
        labels = torch.from_numpy(train.labels[rows])
        return {"input_ids": ids, "attention_mask": mask, "labels": labels}

    with tempfile.TemporaryDirectory() as scratch:
        arguments = TrainingArguments(
            scratch,
            per_device_train_batch_size=BATCH,
            num_train_epochs=1,
            learning_rate=RATE,
            weight_decay=0.01,
            warmup_steps=round(WARMUP * ROWS / BATCH),
            bf16=bf16,
            use_cpu=True,
            report_to="none",
            save_strategy="no",
            logging_strategy="no",
            disable_tqdm=True,
            remove_unused_columns=False,
            dataloader_pin_memory=False,
        )
        model = transformers_model()
        Trainer(
            model,
            arguments,
            data_collator=collate,
            train_dataset=range(len(train)),
            callbacks=[Watch()],
        ).train()
    return measured | {"accuracy": accuracy_of(model, scored, gold)}


def plain(bf16: bool) -> dict[str, float]:
    """The usual loop in PyTorch with batches of similar length and the fused AdamW."""
    import torch

    from bench.learn.batches import similar_lengths

    train, scored, gold = tokens()
    torch.manual_seed(SEED)
    model = transformers_model().train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE, weight_decay=0.01, fused=True)
    batches = list(similar_lengths(train.lengths, BATCH, np.random.default_rng(SEED)))
    total, warmup = len(batches), round(WARMUP * len(batches))
    watch = Stopwatch()
    watch.start()
    for step, rows in enumerate(batches):
        share = (step + 1) / warmup if step < warmup else (total - step) / (total - warmup)
        optimizer.param_groups[0]["lr"] = RATE * share
        ids, mask = padded(train, rows)
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            labels = torch.from_numpy(train.labels[rows])
            loss = model(input_ids=ids, attention_mask=mask, labels=labels).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
    return watch.stop() | {"accuracy": accuracy_of(model, scored, gold)}


def bench(bf16: bool) -> dict[str, float]:
    """This project's loop, as `bench run` calls it."""
    from bench import recipes
    from bench.events import Events
    from bench.learn import evaluate, loop, models, worker
    from bench.record import Data, Spec

    recipe = "bf16" if bf16 else "baseline"
    given = {"epochs": "1", "batch_size": str(BATCH), "learning_rate": str(RATE)}
    given |= {"evaluations": "0", "warmup_share": str(WARMUP)}
    located = models.locate(MODEL)
    nobody = dict.fromkeys(("task_version", "seed"), SEED) | dict.fromkeys(
        ("edition", "task", "device", "hardware"), "speed"
    )
    spec = Spec(
        **nobody,
        data=Data(source="local", official=False, fingerprints={}, labels_sha256="", rows={}),
        track=located.track,
        model=MODEL,
        checkpoint_sha256=located.sha256,
        recipe=recipe,
        settings=recipes.resolve(recipe, MODEL, given),
        budget=None,
        seed_origin="user",
    )
    device = worker.start("cpu", SEED)
    job = worker.Job(spec, located.folder, None)
    prepared = worker.prepare(job, Path(os.environ["BENCH_TASK_DIR"]), device, Events())
    watch = Stopwatch()
    watch.start()
    loop.train(prepared.training, prepared.training.batches())
    measured = watch.stop()
    gold = tokens()[2]
    guesses = evaluate.probabilities(prepared.training.model, prepared.scored).argmax(1)
    return measured | {"accuracy": float((guesses == gold).mean())}


def floor(bf16: bool) -> dict[str, float]:
    """The matrix products of the encoder's layers alone: forward, and twice that backward, over
    the tokens of every text, at the best rate that this processor shows now.

    `bench` can come below it: it leaves out what nobody reads of the last layer, 14 % of it.
    """
    import torch

    dtype = torch.bfloat16 if bf16 else torch.float32
    train = tokens()[0]
    n, width = 416, 384
    operations = 3 * 2 * 12 * width**2 * 6 * int(train.lengths.sum())
    x, w = torch.randn(n, width).to(dtype), torch.randn(4 * width, width).to(dtype)
    y = torch.randn(n, 4 * width).to(dtype)
    products: list[Callable[[], Any]] = [lambda: x @ w.t(), lambda: y @ w, lambda: y.t() @ x]
    rounds = 1 if bf16 else 20
    measured = []
    for _ in range(10):
        watch = Stopwatch()
        watch.start()
        for _ in range(rounds):
            for product in products:
                product()
        measured.append(watch.stop())
    best = min(measured, key=lambda m: m["cpu_s"])
    scale = operations / (rounds * 3 * 2 * n * 4 * width * width)
    return {
        "cpu_s": best["cpu_s"] * scale,
        "wall_s": best["wall_s"] * scale,
        "gflops_per_cpu": operations / (best["cpu_s"] * scale) / 1e9,
    }


WHAT = {"floor": floor, "trainer": trainer, "plain": plain, "bench": bench}
TITLES = {
    "floor": "matrix products alone",
    "trainer": "Hugging Face Trainer, dynamic padding",
    "plain": "plain loop, similar lengths, fused AdamW",
    "bench": "bench",
}


def names(bf16: bool) -> Iterator[str]:
    for precision in ["float32"] + ["bf16"] * bf16:
        yield from (f"{what}-{precision}" for what in WHAT)


def measure(name: str, environment: dict[str, str]) -> dict[str, float]:
    command = [sys.executable, __file__, "--child", name]
    done = subprocess.run(command, env=os.environ | environment, stdout=subprocess.PIPE, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def write_task(data: str | None, folder: Path) -> tuple[str, dict[str, str]]:
    """The first rows of SST-2 as a task's folder: where they come from, and the environment."""
    from dataclasses import replace

    from bench import cards
    from bench.learn import data as learn_data
    from bench.learn import sources

    card = cards.load("sst2")
    found = sources.resolve(card, data)
    train = head(found, ROWS)
    identity = found.identity.model_copy(
        update={"rows": found.identity.rows | {"train": ROWS, "tune": 0}}
    )
    nothing = learn_data.Rows([], [])
    part = replace(found, train=train, tune=nothing, identity=identity)
    learn_data.write_task_folder(part, card, folder)
    labels = folder / "labels.json"
    labels.write_text(json.dumps(found.scored.labels))
    environment = {"BENCH_TASK_DIR": str(folder), "SPEED_LABELS": str(labels)}
    return f"{found.source}, {found.place}", environment


def head(found: Any, n: int) -> Any:
    """The first rows of what the worker may train on."""
    from bench.learn.data import Rows

    return Rows(found.train.inputs[:n], found.train.labels[:n])


def processor() -> str:
    facts = dict(
        line.split(":", 1) for line in Path("/proc/cpuinfo").read_text().splitlines() if ":" in line
    )
    trimmed = {key.strip(): value.strip() for key, value in facts.items()}
    return f"{trimmed.get('model name', 'unknown')}, {len(os.sched_getaffinity(0))} cores"


def has_bf16() -> bool:
    from bench.learn.worker import has_bf16_products

    return has_bf16_products()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help="trainer-float32, bench-bf16, ...; else all")
    parser.add_argument("--data", help="the folder of SST-2; else as `bench run` finds it")
    parser.add_argument("--all", action="store_true", help="bf16 also where it is emulated")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        what, _, precision = arguments.child.partition("-")
        print(json.dumps(WHAT[what](precision == "bf16")))
        return
    bf16 = arguments.all or has_bf16()
    print(f"processor: {processor()}")
    if not bf16:
        print("bf16: left out, this processor emulates it (--all runs it, in many minutes)")
    with tempfile.TemporaryDirectory() as scratch:
        place, environment = write_task(arguments.data, Path(scratch))
        print(f"data: {place}; {ROWS} rows, batch {BATCH}, one epoch, {MODEL}\n")
        print(f"{'':58} CPU-s  wall-s  of Trainer  accuracy")
        base: dict[str, float] = {}
        for name in arguments.names or list(names(bf16)):
            what, _, precision = name.partition("-")
            found = measure(name, environment)
            base = found if what == "trainer" else base
            row = f"{TITLES[what]}, {precision}"
            if "gflops_per_cpu" in found:
                row += f" ({found['gflops_per_cpu']:.0f} GFLOP/CPU-s)"
            share = f"{found['cpu_s'] / base['cpu_s']:.2f}" if base else ""
            accuracy = f"{found['accuracy']:.1%}" if "accuracy" in found else ""
            print(
                f"{row:58} {found['cpu_s']:5.1f} {found['wall_s']:7.1f} {share:>11} {accuracy:>9}",
                flush=True,
            )


if __name__ == "__main__":
    main()
