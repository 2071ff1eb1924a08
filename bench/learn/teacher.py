"""A model that teaches another one of the same task: trained inside the other's run or loaded, and
asked once what it says of every training row."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from bench.errors import UsageError
from bench.events import Events
from bench.learn import parallel
from bench.learn.adamw import AdamW
from bench.learn.assembly import Assembly, beside
from bench.learn.batches import Batch, Packed, by_length, send
from bench.learn.encoder import Encoder
from bench.learn.evaluate import outputs as outputs_of
from bench.learn.evaluate import per_token
from bench.learn.inner import Inner, counted, try_steps
from bench.learn.layers import linear
from bench.learn.loop import NotFinite, Training, train
from bench.learn.model import Model
from bench.learn.parameters import Parameters
from bench.learn.shapes import dense

TEACHER = "teacher"
STEPS, ANSWERS = "teacher steps", "teacher answers"
"""Phases: a run has the first; in the trial of a forecast, what grows with steps and with rows has
phases of its own."""

ASKED_TOKENS = 16_384
"""At a time: between two such parts the meter may ask for a stop."""


# --- a teacher -----------------------------------------------------------------------------------


def trained(
    pupil: Training, model: str, checkpoint: Path | None, recipe: Any, states: bool
) -> Assembly | None:
    """A teacher that this run trains first, and whose states can be read if they are wanted; None
    where the meter ended that."""
    made = loaded(pupil, model, checkpoint, recipe, states)
    training = Training(
        recipe, made.objective, made.model, made.splits["train"], made.splits["tune"], pupil.seed,
        Inner(pupil.events, TEACHER), source=made,
    )  # fmt: skip
    try:
        if pupil.trial_steps is not None:
            try_steps(pupil, training, STEPS, TEACHER)
        elif train(training, training.batches()) == "budget":
            return None
    except NotFinite as error:
        hint = "a lower --set teacher_learning_rate=... usually helps"
        raise NotFinite(f"of the teacher, {error.message}", hint) from None
    return made


def loaded(
    pupil: Training, model: str, checkpoint: Path | None, recipe: Any, states: bool
) -> Assembly:
    """A teacher as it is in a folder, or before its training."""
    assert pupil.source is not None
    pupil.events.send("progress", text="preparing the teacher", done=0, total=1)
    theirs = replace(
        pupil.source.parts, recipe=recipe, model=model, checkpoint=checkpoint, state=None
    )  # fmt: skip
    made = beside(pupil.source, theirs)
    if states:
        with_states(made.model)
    return made


# --- what it says --------------------------------------------------------------------------------


class Answers:
    """What a teacher says of the rows of its pupil's training split; NaN where it was not asked."""

    def __init__(self, outputs: Tensor, states: Tensor | None) -> None:
        self.outputs = outputs  # [rows, n]; of what is answered per token, [T, n]
        self.states = states  # what its outputs were made from: [rows, m] or [T, m], float16
        self._known = ~np.isnan(outputs[:, 0].cpu().numpy())

    def of(self, rows: Packed, batch: Batch) -> Said:
        """Those for a batch of these rows."""
        index = batch.rows if batch.marks is None else _tokens(rows, batch)
        chosen = None
        if not (known := self._known[index]).all():
            places = np.flatnonzero(known)
            index, chosen = index[places], send(places, self.outputs.device)
        at = send(index, self.outputs.device)
        states = None if self.states is None else self.states.index_select(0, at).float()
        return Said(self.outputs.index_select(0, at), states, chosen)

    def lacks(self, rows: Packed, wanted: np.ndarray) -> np.ndarray:
        """Those of the wanted rows for which there is no answer."""
        known = self._known
        if rows.marks is not None:
            known = np.add.reduceat(known, rows.starts[:-1]) > 0
        return wanted[~known[wanted]]

    def with_more(self, more: Answers) -> Answers:
        """These, and for what they lack those."""
        outputs = torch.where(self.outputs.isnan(), more.outputs, self.outputs)
        if self.states is None or more.states is None:
            return Answers(outputs, None)
        return Answers(outputs, torch.where(self.states.isnan(), more.states, self.states))


def _tokens(rows: Packed, batch: Batch) -> np.ndarray:
    """Where the tokens of a batch are among those of its rows, of which it may have less: the start
    of each text."""
    firsts = np.cumsum(batch.lengths) - batch.lengths
    return np.arange(batch.lengths.sum()) + np.repeat(
        rows.starts[batch.rows] - firsts, batch.lengths
    )


@dataclass(frozen=True)
class Said:
    """What a teacher says of a batch: of all its rows or tokens, or of those that are `chosen`."""

    outputs: Tensor
    states: Tensor | None
    chosen: Tensor | None

    def beside(self, x: Tensor) -> Tensor:
        """Of a pupil's outputs or states for the same batch, those that there are answers to."""
        return x if self.chosen is None else x.index_select(0, self.chosen)


def visited(pupil: Training) -> np.ndarray:
    """The rows that a pupil will learn from, by what its recipe says before the first step."""
    recipe = pupil.recipe
    epoch = list(recipe.batches(pupil.train, 0, np.random.default_rng(pupil.seed)))
    others = recipe.share_read(pupil) < 1  # which may take the place of a batch's rows
    steps = len(epoch) if others else pupil.planned_steps()
    return np.unique(np.concatenate(epoch[:steps]))


def ask(pupil: Training, teacher: Assembly, wanted: np.ndarray, states: bool) -> Answers | None:
    """What a teacher says of the wanted rows, in passes by length and without gradients; None where
    the meter ended that."""
    rows: Any = teacher.splits["train"]
    parts = [wanted[part] for part in by_length(rows.lengths[wanted], ASKED_TOKENS)]
    if pupil.trial_steps is None:
        values = _asked(pupil.events, teacher, parts, states, np.nan)
    else:
        part = parts[len(parts) // 2]
        whole = rows.lengths[wanted].sum() + teacher.splits["tune"].lengths.sum()
        share = float(rows.lengths[part].sum() / whole)
        with counted(pupil, ANSWERS, share, TEACHER):
            values = _asked(pupil.events, teacher, [part], states, 0.0)
    if values is None:
        return None
    if rows.marks is not None:
        values = _word_by_word(values, rows, pupil.train)
    found = torch.from_numpy(values).view(len(values), rows.group, -1)
    size = teacher.objective.outputs.size
    outputs = found[..., :size].reshape(len(values), -1).to(pupil.model.device)
    made_from = found[..., size:].reshape(len(values), -1).half().to(pupil.model.device)
    return Answers(outputs, made_from if states else None)


def _asked(
    events: Events,
    teacher: Assembly,
    parts: Sequence[np.ndarray],
    states: bool,
    otherwise: float,
) -> np.ndarray | None:
    """[rows or T, n]: the outputs, and the states that they were made from; `otherwise` for what is
    in no part."""
    model, rows = teacher.model, teacher.splits["train"]
    assert isinstance(rows, Packed)

    def read(batch: Batch, out: Tensor) -> Tensor:
        return torch.cat([out, with_states(model).last_states.float()], 1) if states else out

    values = np.zeros((0, 0), np.float32)
    for done, part in enumerate(parts):
        events.send("progress", text="asking the teacher", done=done, total=len(parts))
        if events.stop_asked():
            return None
        if rows.marks is None:
            index, said = part, outputs_of(model, rows, part, read)
        else:
            index = rows.places_of(part)[0]
            said = np.concatenate(per_token(model, rows, part, read))
        if not len(values):
            count = len(rows) if rows.marks is None else len(rows.tokens)
            values = np.full((count, said.shape[1]), otherwise, np.float32)
        values[index] = said
    return values


def with_states(model: Model) -> Encoder:
    """The model, if what its outputs are made from can be read; UsageError else."""
    if isinstance(model, Encoder):
        return model
    raise UsageError(
        f"the states of {type(model).__name__} can't be read",
        "--set hidden_loss=0: outputs alone",
    )


def _word_by_word(values: np.ndarray, theirs: Packed, mine: Any) -> np.ndarray:
    """What is said at the tokens of `theirs` that bear a label, [T, n], at those of `mine` that
    bear the same word's, however each splits words; NaN elsewhere."""
    (at, rows, numbers), (said_at, said_rows, _) = _words(mine), _words(theirs)
    firsts = np.searchsorted(said_rows, np.arange(len(theirs) + 1))
    known = numbers < np.diff(firsts)[rows]  # a text may have been cut earlier
    found = np.full((len(mine.tokens), values.shape[1]), np.nan, np.float32)
    found[at[known]] = values[said_at[(firsts[rows] + numbers)[known]]]
    return found


def _words(rows: Packed) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of each word: the token that bears its label, its row, and its number there."""
    assert rows.marks is not None
    at = np.flatnonzero(rows.marks >= 0)
    of = np.searchsorted(rows.starts, at, "right") - 1
    return at, of, np.arange(len(at)) - np.searchsorted(of, of)


# --- learning from it ----------------------------------------------------------------------------


def distance(
    objective: str, batch: Batch, outputs: Tensor, said: Said, temperature: float
) -> Tensor:
    """Between what a pupil returns for a batch and what its teacher said of it."""
    if objective == "choice":
        outputs = outputs.view(len(batch.rows), -1)
    own = said.beside(outputs)
    if not len(own):
        return own.sum()
    if objective == "regression":
        return F.mse_loss(own, said.outputs)
    return divergence(own, said.outputs, temperature)


def divergence(pupil: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """KL(teacher || pupil) of the softmax of logits [n, classes] at a temperature, the mean over n,
    times the temperature's square, which keeps gradients as large (Hinton et al. 2015)."""
    own, theirs = (F.log_softmax(x / temperature, -1) for x in (pupil, teacher))
    found = F.kl_div(own, theirs, reduction="batchmean", log_target=True)
    return found * temperature**2


def states_apart(
    model: Model, batch: Batch, said: Said, projection: Callable[[Tensor], Tensor] | None
) -> Tensor:
    """The mean square of what is between the states that a pupil's outputs were made from and those
    of its teacher's."""
    assert said.states is not None
    states = with_states(model).last_states
    width = states.shape[1]
    by_row = states if batch.marks is not None else states.view(len(batch.rows), -1)
    own = said.beside(by_row).reshape(-1, width).float()
    if not len(own):
        return own.sum()
    own = projection(own) if projection else own
    return F.mse_loss(own, said.states.view(len(own), -1))


class Projection:
    """From a pupil's states to a teacher's: a product that is trained beside the model, with an
    optimizer of its own, and is no part of it."""

    def __init__(self, pupil: Training, width: int) -> None:
        recipe, model = pupil.recipe, pupil.model
        assert isinstance(model, Encoder)
        shapes = dense("projection", model.shape.width, width)
        self._parameters = Parameters(shapes, torch.float32, model.device)
        self._optimizer = AdamW(self._parameters, None, recipe.weight_decay, recipe.beta2)
        random = torch.Generator().manual_seed(pupil.seed)
        self._parameters.master.zero_()
        weight = self._parameters.named()["projection.weight"]
        weight.copy_(torch.randn(weight.shape, generator=random) * model.shape.width**-0.5)

    def __call__(self, states: Tensor) -> Tensor:
        self._parameters.begin_step()
        weights = self._parameters
        return linear(states, weights["projection.weight"], weights["projection.bias"])

    def step(self, rate: float, clip_norm: float) -> None:
        parallel.reduce(self._parameters)
        self._optimizer.step(rate, clip_norm)

    def state(self) -> dict[str, Tensor]:
        """Writing to one changes it."""
        return {"weights": self._parameters.master, **self._optimizer.state()}
