"""A bag of word vectors in plain PyTorch. Run it with

bench measure --task sst2 --track scratch -- python plain.py
"""

import csv
import json
import os
from pathlib import Path

import torch
from torch import nn

from bench.events import Events

events = Events()  # does nothing where no meter listens
task, out = Path(os.environ["BENCH_TASK_DIR"]), Path(os.environ["BENCH_OUT"])
torch.manual_seed(int(os.environ["BENCH_SEED"]))
device = "cuda" if torch.cuda.is_available() else "cpu"
facts = json.loads((task / "task.json").read_text())


def rows(split):
    return [json.loads(line) for line in (task / f"{split}.jsonl").open()]


def texts(split):
    return [" ".join(row[name] for name in facts["inputs"]).lower().split() for row in split]


with events.phase("prepare"):
    train, scored = rows("train"), rows("scored")
    vocabulary = {w: i for i, w in enumerate(sorted({w for t in texts(train) for w in t}), 1)}


def bags(split):
    """Word numbers of all texts in a row, and where each text begins."""
    numbers = [[vocabulary.get(w, 0) for w in text] or [0] for text in texts(split)]
    starts = torch.tensor([0] + [len(n) for n in numbers[:-1]]).cumsum(0)
    return torch.tensor([i for n in numbers for i in n]).to(device), starts.to(device)


model = nn.Sequential(
    nn.EmbeddingBag(len(vocabulary) + 1, 64), nn.ReLU(), nn.Linear(64, len(facts["classes"]))
).to(device)
with events.phase("train"):
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    labels = torch.tensor([facts["classes"].index(row["label"]) for row in train]).to(device)
    batches = [b for _ in range(3) for b in torch.randperm(len(train)).split(64)]
    for step, batch in enumerate(batches, 1):
        words, starts = bags([train[i] for i in batch])
        loss = nn.functional.cross_entropy(model[1:](model[0](words, starts)), labels[batch])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        events.send("step", step=step, total_steps=len(batches), loss=loss.item())
        if events.stop_asked():  # a budget is spent: predict with what there is
            events.send("run_stop", reason="budget")
            break

with events.phase("predict"), torch.inference_mode():
    words, starts = bags(scored)
    best = model[1:](model[0](words, starts)).argmax(1)
with (out / "predictions.csv").open("w", newline="") as file:
    writer = csv.writer(file)
    writer.writerow(["id", "prediction"])
    writer.writerows([i, facts["classes"][number]] for i, number in enumerate(best.tolist()))
