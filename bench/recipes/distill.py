"""A student learns from what a teacher says of each training row, beside the labels.

The loss is (1 - alpha) times the task's and alpha times the distance to the teacher: of classes the
Kullback-Leibler divergence at a temperature, of numbers the mean square. The teacher is trained in
the run (`teacher_model`), or another run has kept it (`teacher`); either is charged in full. It is
asked once for each row that the student will see.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, cast

from bench import recipes
from bench import record as records
from bench.cards import Family
from bench.errors import UsageError
from bench.recipes import Use, baseline, setting
from bench.record import Scalar

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from bench.learn.assembly import Assembly
    from bench.learn.batches import Batch
    from bench.learn.loop import Training
    from bench.learn.teacher import Answers

TAUGHT = ("classification", "regression", "tagging", "choice")
"""Objectives whose outputs are few enough to keep those for every row."""


@dataclass
class Recipe(baseline.Recipe):
    """What is kept of the teacher are its answers: it is gone before the student's first step."""

    summary: ClassVar[str] = "a student learns from the outputs of a teacher, which is charged"
    charges: ClassVar[str] = (
        "the teacher in full, trained in the run or by reference; preparation, training, "
        "evaluation, prediction"
    )
    paper: ClassVar[str] = "https://arxiv.org/abs/1503.02531"
    place: ClassVar[int] = 40

    teacher: str = setting("", "a run of this task that kept its weights", names="run")
    teacher_model: str = setting("", "or a model that is trained first, in the run", names="model")
    teacher_epochs: float = setting(0.0, "passes of teacher_model; 0: its own", low=0)
    teacher_learning_rate: float = setting(0.0, "rate of teacher_model; 0: its own", low=0)
    alpha: float = setting(0.5, "share of the teacher in the loss", low=0, high=1)
    temperature: float = setting(2.0, "what logits of classes are divided by", above=0)
    hidden_loss: float = setting(
        0.0, "weight of the distance between what both make their outputs from; 0: none", low=0
    )

    @classmethod
    def refusal(cls, use: Use, settings: Mapping[str, Scalar]) -> str | None:
        from bench.learn import models, objectives

        teacher, model = str(settings["teacher"] or ""), str(settings["teacher_model"] or "")
        if not teacher and not model:
            return "it has no teacher; --set teacher_model=NAME, or --set teacher=RUN"
        if teacher and model:
            return "there are two teachers; --set teacher_model=NAME, or --set teacher=RUN"
        if teacher and (settings["teacher_epochs"] or settings["teacher_learning_rate"]):
            return "teacher_epochs and teacher_learning_rate are of teacher_model, not of a run"
        own = objectives.name_of(use.family, cast(Any, use.kind), use.model)
        if own not in TAUGHT:
            return f"the outputs of {use.model} for {use.family} are too many to keep for each row"
        if settings["hidden_loss"] and use.kind == "elmo":
            return f"hidden_loss: the states of {use.model} can't be read"
        if model:
            kind = models.describe(model, models.start(model, use.family), use.family)["kind"]
            return _other_kind(objectives.name_of(use.family, kind, model), own, model)
        return None

    def prepare(self, training: Training) -> None:
        super().prepare(training)
        self._answers: Answers | None = None
        self._projection: Any = None
        self._told: dict[str, Scalar] = {}
        self._untaught = 0
        if self.hidden_loss:
            self._check_states(training)
        assert training.source is not None
        if training.source.parts.state is None:  # else `resume` knows what there is
            self._learn_of(training)

    def _check_states(self, training: Training) -> None:
        from bench.learn.teacher import with_states

        if self.precision == "float16":
            raise UsageError(
                "hidden_loss and fp16 don't combine: its projection knows nothing of a scaled loss",
                "--recipe distill+bf16, or --set hidden_loss=0",
            )
        with_states(training.model)

    def _learn_of(self, training: Training) -> None:
        """Have a teacher, and ask it about the rows for which there is no answer yet."""
        from bench.learn.loop import synchronise
        from bench.learn.teacher import TEACHER, visited

        events, rows = training.events, visited(training)
        if self._answers is not None:
            rows = self._answers.lacks(cast(Any, training.train), rows)
        if not len(rows):
            return
        events.send("phase_start", phase=TEACHER)
        more = self._asked(training, rows)
        synchronise(training.model.device)
        events.send("phase_start", phase="prepare")
        if more is None:
            message = "the budget ended before the teacher had answered: what follows is untaught"
            events.send("warning", id="untaught", message=message)
        else:
            self._take(training, self._answers.with_more(more) if self._answers else more)

    def _asked(self, training: Training, rows: np.ndarray) -> Answers | None:
        from bench.learn.teacher import ask

        teacher = self._teacher(training)
        if teacher is None:
            return None
        answers = ask(training, teacher, rows, self.hidden_loss > 0)
        self._told["teacher_parameters"] = teacher.model.facts().get("parameters")
        tune = teacher.splits["tune"]
        if answers is not None and training.trial_steps is None and len(tune):
            metric, score = teacher.objective.evaluate(teacher.model, tune)
            training.events.send("teacher_eval", split="tune", metric=metric, value=score)
            self._told |= {"teacher_tune_metric": metric, "teacher_tune_score": score}
        return answers

    def _teacher(self, training: Training) -> Assembly | None:
        from bench.learn import models, objectives, teacher

        assert training.source is not None
        parts = training.source.parts
        family, states = parts.task.family, self.hidden_loss > 0
        if self.teacher_model:
            model, folder = self.teacher_model, training.weights.get("teacher_model")
            given = self._given(training, folder is None)
            plain = self._plain(model, family, folder is not None, given)
            return teacher.trained(training, model, folder, plain, states)
        folder = training.weights["teacher"]
        kind = models.describe(str(folder))["kind"]
        objective = objectives.name_of(family, kind, self.teacher)
        if reason := _other_kind(objective, parts.objective, f"run {self.teacher}"):
            raise UsageError(f"distill can't be used here: {reason}")
        plain = self._plain(str(folder), family, True, _longest(folder))
        return teacher.loaded(training, str(folder), folder, plain, states)

    def _given(self, training: Training, from_scratch: bool) -> dict[str, str]:
        """Settings of a teacher that is trained here. From scratch, it reads texts as a student
        from scratch does, so that they are split into tokens once."""
        given = {"epochs": self.teacher_epochs, "learning_rate": self.teacher_learning_rate}
        assert training.source is not None
        if from_scratch and training.source.parts.checkpoint is None:
            given |= {"vocabulary_size": self.vocabulary_size, "max_length": self.max_length}
        return {name: str(value) for name, value in given.items() if value}

    def _plain(self, model: str, family: Family, pretrained: bool, given: dict[str, str]) -> Any:
        """The recipe of a teacher: the plain one, in the precision of this one."""
        given = given | {"evaluations": "0"}
        return self.plain(recipes.resolve(recipes.DEFAULT, model, given, family, pretrained))

    def _take(self, training: Training, answers: Answers) -> None:
        from bench.learn.teacher import Projection

        self._answers = answers
        model, rows = cast(Any, training.model), cast(Any, training.train)
        if answers.states is not None and self._projection is None:
            width = answers.states.shape[1] // rows.group
            if width != model.shape.width:
                self._projection = Projection(training, width)

    def loss(self, training: Training, batch: Batch, outputs: Tensor) -> Tensor:
        from bench.learn.teacher import distance, states_apart

        loss = super().loss(training, batch, outputs)
        if self._answers is None:
            return loss
        assert training.source is not None
        said = self._answers.of(cast(Any, training.train), batch)
        if batch.marks is None:
            self._untaught += len(batch.rows) - len(said.outputs)
        taught = distance(training.source.parts.objective, batch, outputs, said, self.temperature)
        loss = (1 - self.alpha) * loss + self.alpha * taught
        if not self.hidden_loss:
            return loss
        return loss + self.hidden_loss * states_apart(training.model, batch, said, self._projection)

    def update(self, training: Training, rate: float) -> None:
        super().update(training, rate)
        if self._projection:
            self._projection.step(rate, self.clip_norm)

    def facts(self, training: Training) -> dict[str, Any]:
        from bench.learn import parallel

        count = sum(parallel.gathered([self._untaught]))
        untaught = {"untaught_examples": count} if count else {}
        return super().facts(training) | self._told | untaught

    def state(self, training: Training) -> dict[str, Tensor]:
        import torch

        found = super().state(training)
        if self._answers is None:
            return found
        told = bytearray(json.dumps([self._told, self._untaught]).encode())
        found |= {
            "distill.told": torch.frombuffer(told, dtype=torch.uint8),
            "distill.outputs": self._answers.outputs,
        }
        if self._answers.states is not None:
            found["distill.states"] = self._answers.states
        return found | {f"distill.projection.{name}": t for name, t in self._projected().items()}

    def resume(self, training: Training, state: dict[str, Tensor]) -> None:
        from bench.learn.teacher import Answers

        super().resume(training, state)
        if "distill.outputs" in state:
            told = bytes(state["distill.told"].cpu().numpy())
            self._told, self._untaught = json.loads(told)
            self._take(training, Answers(state["distill.outputs"], state.get("distill.states")))
            for name, tensor in self._projected().items():
                tensor.copy_(state[f"distill.projection.{name}"])
        self._learn_of(training)

    def _projected(self) -> dict[str, Tensor]:
        found: dict[str, Tensor] = self._projection.state() if self._projection else {}
        return found


def _other_kind(objective: str, own: str, teacher: str) -> str | None:
    """Why a teacher of another objective can't teach."""
    if objective == own:
        return None
    return f"{teacher} learns by {objective}, and what it would teach by {own}"


def _longest(folder: Path) -> dict[str, str]:
    """Up to where the run that kept these weights read a text."""
    read = records.read(folder.parent).spec.settings.get("max_length")
    return {"max_length": str(read)} if read else {}
