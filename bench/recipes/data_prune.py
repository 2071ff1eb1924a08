"""Learns from a part of the rows, which are chosen before the training.

Of those scores that need a model, it is the one that is trained, after a short training of its own
with the same settings (a proxy), whose weights are thrown away. All of that lies in a phase
`select`, inside the window. Chance is what is done where nothing is said: few rows are chosen no
better by any score (Ayed and Hayou 2023).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from bench.errors import UsageError
from bench.recipes import Use, baseline, setting
from bench.record import Scalar

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from bench.learn.batches import Rows
    from bench.learn.loop import Training

OF_CLASSES = ("el2n", "forgetting")
OF_PROXIES = ("loss", *OF_CLASSES)
OF_TEXTS = ("length", "duplicate")
UNRANKED = ("random", "duplicate")
CLASSES = ("classification", "completion")
PROXY_EPOCHS = {"loss": 0.2, "el2n": 0.2, "forgetting": 3.0}
KEPT, STEPS = "data-prune.kept", "data-prune.proxy_steps"


@dataclass
class Recipe(baseline.Recipe):
    """Rows keep their numbers; the batches have some of them."""

    summary: ClassVar[str] = "learns from a part of the rows, by chance or by rank"
    charges: ClassVar[str] = "all; choosing rows in a phase of its own, the proxy's training too"
    paper: ClassVar[str] = "https://arxiv.org/abs/2107.07075"
    place: ClassVar[int] = 10

    kept_share: float = setting(0.3, "of the rows", above=0, high=1)
    by: str = setting(
        "random",
        "what rows are ranked by: the error or the loss of a proxy, how often it forgets a row, "
        "tokens, or nothing; duplicate leaves out equal texts and then ranks by nothing",
        choices=("random", *OF_TEXTS, *OF_PROXIES),
    )
    which: str = setting("hardest", "of the ranks", choices=("hardest", "middle", "easiest"))
    proxy_epochs: float = setting(
        0.0, "passes by which a proxy learns; 0: 0.2, or 3 to count what it forgets", low=0
    )
    balanced: bool = setting(
        True, "keep the same share of each class", families=("classification",)
    )

    @classmethod
    def refusal(cls, use: Use, settings: Mapping[str, Scalar]) -> str | None:
        by, text = settings["by"], use.family == "language-modelling"
        if text and use.kind == "elmo":
            return "it reads on where the last block ended: there are no rows to leave out"
        if text and by in OF_TEXTS:
            return (
                f"by={by}: rows of running text are windows of one length, none a text of its own"
            )
        if by in OF_CLASSES and use.family not in CLASSES:
            return f"by={by} is of classes, and a task of {use.family} has none (by=loss)"
        if by in UNRANKED and settings["which"] != "hardest":
            return f"which={settings['which']}: by={by} ranks nothing"
        if by == "forgetting" and use.processes > 1:
            return "by=forgetting: each process sees a row now and then, none each time (--nproc 1)"
        if by == "forgetting" and 0 < float(settings["proxy_epochs"] or 0) < 2:
            return (
                "by=forgetting wants proxy_epochs of 2 or more: what is seen once isn't forgotten"
            )
        return super().refusal(use, settings)

    def prepare(self, training: Training) -> None:
        import numpy as np

        from bench.learn import parallel

        self._proxy_steps = 0
        training.events.send("phase_start", phase="select")
        kept = self._remembered(training)
        if kept is None:
            kept = parallel.agreed(np.sort(self._chosen(training)))
        self._kept_rows: np.ndarray = kept
        training.events.send("phase_start", phase="prepare")
        super().prepare(training)

    def _remembered(self, training: Training) -> np.ndarray | None:
        """What an earlier part of the training chose."""
        state = training.source and training.source.parts.state
        kept = state.remembered(KEPT) if state else None
        return None if kept is None else kept.numpy()

    def _chosen(self, training: Training) -> np.ndarray:
        import numpy as np

        from bench.learn import selection

        random = np.random.default_rng(training.seed)
        scores, among = self._scores(training), None
        if self.by == "duplicate":
            among = self._firsts(training)
        chosen = []
        for group in self._groups(training):
            some = group if among is None else np.intersect1d(group, among)
            count = max(1, round(self.kept_share * len(group)))
            chosen.append(selection.choose(scores, count, self.which, random, some))
        return np.concatenate(chosen)

    def _scores(self, training: Training) -> np.ndarray:
        """Of each row, higher for the harder one; equal where nothing is ranked."""
        import numpy as np

        from bench.learn import selection

        rows = training.train
        if self.by == "length":
            return rows.lengths
        if self.by in UNRANKED:
            return np.zeros(len(rows))
        asked = "logits" if self.by in OF_CLASSES else "losses"
        if not any(hasattr(training.objective, name) for name in ("logits", asked)):
            raise UsageError(f"data-prune: by={self.by} is of classes, and here are none (by=loss)")
        found = selection.scores(training, self.by, self._proxy())
        if found is None:
            message = "the budget was spent while rows were chosen: they are chosen by chance"
            training.events.send("warning", id="not-selected", message=message)
            return np.zeros(len(rows))
        scores, self._proxy_steps = found
        return scores

    def _proxy(self) -> Any:
        """What the proxy learns by: these settings, in a plain training of this precision."""
        passes = self.proxy_epochs or PROXY_EPOCHS[self.by]
        return self.plain({"epochs": passes, "max_steps": 0, "max_tokens": 0, "evaluations": 0})

    def _firsts(self, training: Training) -> np.ndarray:
        from bench.learn import selection

        assert training.source is not None
        texts = training.source.parts.task.train
        if len(texts) != len(training.train):
            raise UsageError(
                "data-prune: by=duplicate is of texts, and rows here are parts of them"
            )
        return selection.firsts(texts.inputs, texts.labels)

    def _groups(self, training: Training) -> list[np.ndarray]:
        """The rows of each class; all rows together where they have none, or it doesn't matter."""
        import numpy as np

        if not (self.balanced and hasattr(training.objective, "logits")):
            return [np.arange(len(training.train))]
        labels: np.ndarray = training.train.labels  # type: ignore[attr-defined]
        return [np.flatnonzero(labels == label) for label in np.unique(labels)]

    def batches(self, rows: Rows, epoch: int, random: np.random.Generator) -> Iterator[np.ndarray]:
        from bench.learn.batches import Some

        kept = getattr(self, "_kept_rows", None)
        if kept is None:  # nothing is chosen yet
            yield from super().batches(rows, epoch, random)
            return
        for batch in super().batches(Some(rows, kept), epoch, random):
            yield kept[batch]

    def facts(self, training: Training) -> dict[str, Any]:
        rows, kept = training.train, self._kept_rows
        return super().facts(training) | {
            "rows_kept": len(kept),
            "rows_kept_share": len(kept) / len(rows),
            "tokens_kept_share": int(rows.lengths[kept].sum()) / int(rows.lengths.sum()),
            "proxy_steps": self._proxy_steps,
        }

    def state(self, training: Training) -> dict[str, Tensor]:
        import torch

        steps = torch.tensor(self._proxy_steps)
        return super().state(training) | {KEPT: torch.from_numpy(self._kept_rows), STEPS: steps}

    def resume(self, training: Training, state: dict[str, Tensor]) -> None:
        super().resume(training, state)
        self._proxy_steps = int(state[STEPS])
