"""Runs with known power and pace, made without waiting: their folders are those of real ones."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from bench import EDITION, account, measure
from bench import record as records
from bench.power.energy import Series
from bench.power.probes import Domain
from bench.power.trace import Trace
from bench.record import Data, Record, Spec, Status

S = 1_000_000_000
ZERO_NS = 1000 * S
Watts = Callable[[np.ndarray], np.ndarray]


def constant(watts: float) -> Watts:
    return lambda t: np.full_like(t, watts)


def noisy(watts: float, share: float, seed: int = 1) -> Watts:
    """Around a mean, by the reading."""

    def curve(t: np.ndarray) -> np.ndarray:
        return watts * (1 + share * np.random.default_rng(seed).standard_normal(len(t)))

    return curve


@dataclass
class Training:
    """What is to be seen: 10 s of preparation, a training, a prediction; times in s from the
    opening of the window, power by time."""

    watts: Watts = field(default_factory=lambda: constant(200.0))
    train_s: float = 200.0
    step_s: float = 0.5
    prepare_s: float = 10.0
    predict_s: float = 5.0
    evaluate_s: float = 0.0  # after a half of the training
    steps: int | None = None  # planned
    per_epoch: int = 100
    tokens: int | None = 1000  # a step
    status: Status = "complete"
    trial: str | None = None
    model: str = "bert-tiny"
    task: str = "wikitext2"
    recipe: str = "baseline"
    device: str = "NVIDIA H200"
    kind: str = "gpu"
    level: str = "M1"
    settings: dict[str, Any] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=lambda: {"parameters": 1_000_000})

    @property
    def made_steps(self) -> int:
        return round(self.train_s / self.step_s)

    @property
    def whole_s(self) -> float:
        return self.prepare_s + self.train_s + self.evaluate_s + self.predict_s

    def events(self) -> list[dict[str, Any]]:
        half_s, total = self.train_s / 2, self.steps or self.made_steps
        said: list[tuple[float, str, dict[str, Any]]] = [
            (0, "window_start", {"by": "meter"}), (0, "phase_start", {"phase": "prepare"}),
            (self.prepare_s, "model", {"name": self.model, **self.facts}),
            (self.prepare_s, "phase_start", {"phase": "train"}),
        ]  # fmt: skip
        late_s, evaluated = 0.0, not self.evaluate_s
        for step in range(1, self.made_steps + 1):
            if not evaluated and step * self.step_s > half_s:
                at = self.prepare_s + (step - 1) * self.step_s
                late_s, evaluated = self.evaluate_s, True
                said.append((at, "phase_start", {"phase": "evaluate"}))
                said.append((at + late_s, "phase_start", {"phase": "train"}))
            facts = {"step": step, "total_steps": total, "epoch": step / self.per_epoch}
            if self.tokens is not None:
                facts["tokens"] = step * self.tokens
            said.append((self.prepare_s + step * self.step_s + late_s, "step", facts))
        ended_s = self.whole_s - self.predict_s
        said.append((ended_s, "phase_start", {"phase": "predict"}))
        said.append((self.whole_s, "run_stop", {"reason": "done"}))
        said.append((self.whole_s, "window_stop", {"by": "meter"}))
        outcome = {"by": "meter", "status": self.status, "failure": None, "code": 0}
        if self.status == "failed":
            outcome["failure"] = "NotFinite: the loss is nan"
        said.append((self.whole_s + 1, "outcome", outcome))
        return [{"event": e, "t_ns": ZERO_NS + round(t * S), **f} for t, e, f in said]

    def trace(self) -> Trace:
        t = np.arange(-1.0, self.whole_s + 1.0, 0.1)
        watts = self.watts(t)
        joules = np.concatenate([[0.0], np.cumsum((watts[1:] + watts[:-1]) / 2 * np.diff(t))])
        nothing = np.full_like(t, np.nan)
        uuid = "GPU-1" if self.kind == "gpu" else None
        name = "gpu:GPU-1" if self.kind == "gpu" else "cpu:package-0"
        domain = Domain(name=name, kind=self.kind, device=self.device, uuid=uuid,
                        gain=0.0, level=self.level)  # fmt: skip
        t_ns = (ZERO_NS + t * S).astype(np.int64)
        return Trace([domain], {name: Series(t_ns, watts, joules, nothing, nothing, nothing)})

    def spec(self) -> Spec:
        data = Data(source="local", official=False, fingerprints={"train": "a", "scored": "b"},
                    labels_sha256="c", rows={"train": 100, "tune": 10, "scored": 10})  # fmt: skip
        settings = {"batch_size": 8, "max_length": 128, "epochs": 4.0, "evaluations": 3}
        return Spec(
            edition=EDITION, task=self.task, task_version=1, data=data, track="scratch",
            model=self.model, checkpoint_sha256=None, recipe=self.recipe,
            settings={**settings, **self.settings}, device="cuda", hardware=f"1 x {self.device}",
            budget=None, seed=1, seed_origin="harness",
        )  # fmt: skip

    def write(self, root: Path) -> Path:
        """Its folder."""
        visible = ["GPU-1"] if self.kind == "gpu" else []
        start = account.begin(visible, None, spec=self.spec(), trial=self.trial)
        folder = root / self.task / start.run_id
        folder.mkdir(parents=True)
        lines = [json.dumps(e) for e in self.events()]
        (folder / "events.jsonl").write_text("\n".join(lines) + "\n")
        trace = self.trace()
        from bench.child import Outcome

        failure = "NotFinite: the loss is nan" if self.status == "failed" else None
        measure.finish(folder, start, trace, None, Outcome(self.status, failure, 0))
        return folder

    def after(self, train_s: float) -> Training:
        """The same, ended after so long a training."""
        return replace(self, train_s=train_s, predict_s=0.0, steps=self.steps or self.made_steps)


def record_of(folder: Path) -> Record:
    return records.read(folder)


def said_by(lines: Sequence[tuple[str, str]], label: str) -> str:
    return next(text for name, text in lines if name == label)
