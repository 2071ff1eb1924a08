"""Hugging Face's Trainer on a checkpoint. Run it with

bench measure --task sst2 --track finetune -- python trainer.py google-bert/bert-base-uncased
"""

import json
import os
import sys
from pathlib import Path

from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    DataCollatorWithPadding,
    Trainer,
    TrainerCallback,
    TrainingArguments,
)

from bench.events import Events

events = Events()  # does nothing where no meter listens
task, out = Path(os.environ["BENCH_TASK_DIR"]), Path(os.environ["BENCH_OUT"])
facts = json.loads((task / "task.json").read_text())
checkpoint = sys.argv[1]


class Report(TrainerCallback):
    """Tells the meter how far the training is, and stops it when the meter asks."""

    def on_log(self, args, state, control, logs=None, **_):
        if logs and "loss" in logs:
            events.send(
                "step", step=state.global_step, total_steps=state.max_steps, loss=logs["loss"]
            )

    def on_step_end(self, args, state, control, **_):
        if events.stop_asked():
            events.send("run_stop", reason="budget")
            control.should_training_stop = True


events.send("phase_start", phase="prepare")
tokenizer = AutoTokenizer.from_pretrained(checkpoint)
model = AutoModelForSequenceClassification.from_pretrained(
    checkpoint, num_labels=len(facts["classes"]), ignore_mismatched_sizes=True
)


def rows(split):
    found = []
    for line in (task / f"{split}.jsonl").open():
        row = json.loads(line)
        features = dict(tokenizer(*(row[name] for name in facts["inputs"]), truncation=True))
        if "label" in row:
            features["labels"] = facts["classes"].index(row["label"])
        found.append(features)
    return found


trainer = Trainer(
    model,
    TrainingArguments(
        output_dir=str(out / "trainer"), num_train_epochs=1, per_device_train_batch_size=32,
        learning_rate=3e-5, seed=int(os.environ["BENCH_SEED"]), logging_steps=20,
        save_strategy="no", report_to="none", disable_tqdm=True,
    ),
    train_dataset=rows("train"),
    data_collator=DataCollatorWithPadding(tokenizer),
    callbacks=[Report()],
)  # fmt: skip
events.send("phase_start", phase="train")
trainer.train()
events.send("phase_start", phase="predict")
best = trainer.predict(rows("scored")).predictions.argmax(-1)
with (out / "predictions.jsonl").open("w") as file:
    for i, number in enumerate(best):
        file.write(json.dumps({"id": i, "prediction": facts["classes"][number]}) + "\n")
