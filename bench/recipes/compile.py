"""torch.compile of a model's passes, for texts of any length, in a phase of its own.

It is for models that run through transformers. bench's own layers write gradients straight into one
buffer, each in a backward pass of its own, which torch.compile can't trace; the same block without
that was no faster compiled (`bench/docs/recipes.md`). What a run compiles it pays for: nothing is
taken from runs before it.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import islice
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, ClassVar

from bench.errors import BenchError, UsageError
from bench.recipes import Use, baseline
from bench.record import Scalar

if TYPE_CHECKING:
    from bench.learn.loop import Training

_OWN = "bench's own layers write gradients into one buffer, which torch.compile can't trace"
_PASSES = 2  # of different batches: after the second, shapes are known to change


@dataclass
class Recipe(baseline.Recipe):
    """Passes forward and backward are compiled before the first step, those of predictions, too."""

    summary: ClassVar[str] = "passes of a transformers model compiled by torch.compile"
    paper: ClassVar[str] = "https://doi.org/10.1145/3620665.3640366"
    place: ClassVar[int] = 8
    refuses: ClassVar[Mapping[str, str]] = dict.fromkeys(
        ("freeze", "layer-drop", "lora", "quantise", "sparse-embedding"),
        "it compiles models of transformers, and the other is for those that bench computes itself",
    )

    @classmethod
    def refusal(cls, use: Use, settings: Mapping[str, Scalar]) -> str | None:
        from bench.learn import models

        if use.model in models.names():
            return _OWN
        if use.device == "cpu" and not _compiler():
            return "there is no C++ compiler (apt install g++, or CXX=... names one)"
        if use.device == "cuda" and find_spec("triton") is None:
            return "triton is not installed, which makes the code for GPUs (pip install triton)"
        return None

    def prepare(self, training: Training) -> None:
        from bench.learn.models.foreign import ForeignModel

        super().prepare(training)
        model = training.model
        if not isinstance(model, ForeignModel):
            raise UsageError(f"compile can't be used here: {_OWN}")
        self._code = TemporaryDirectory(prefix="compiled-", dir=os.environ.get("BENCH_OUT"))
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = self._code.name
        training.events.send("phase_start", phase="compile")
        training.events.send("progress", text="compiling")
        model.compile()
        self._first_passes(training)
        training.events.send("phase_start", phase="prepare")

    def _first_passes(self, training: Training) -> None:
        """Those in which it is compiled; no weight is changed."""
        import numpy as np
        import torch

        model, random = training.model, np.random.default_rng(training.seed)
        for rows in islice(self.batches(training.train, 0, random), _PASSES):
            batch = training.train.batch(rows, model.device)
            try:
                model.begin_step(batch)
                self.backward(training, self.loss(training, batch, model.outputs(batch, None)))
                model.begin_evaluation()
                with torch.inference_mode():
                    model.outputs(batch, None)
            except torch._dynamo.exc.TorchDynamoException as error:
                raise BenchError(
                    f"torch.compile failed: {str(error).splitlines()[0]}", "leave out compile"
                ) from None

    def facts(self, training: Training) -> dict[str, Any]:
        from torch._dynamo.utils import counters

        done = {
            "compiled_graphs": counters["stats"]["unique_graphs"],
            "graph_breaks": sum(counters["graph_break"].values()),
        }
        return super().facts(training) | done


def _compiler() -> str | None:
    """As torch looks for it."""
    names = [os.environ.get("CXX", ""), "g++", "clang++"]
    return next((found for name in names if name and (found := shutil.which(name))), None)
