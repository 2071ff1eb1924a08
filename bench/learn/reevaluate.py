"""The child that lets kept weights predict: `python -m bench.learn.reevaluate JOB.json`.

The model is built as a training would build it, from its name and settings alone; the tokenizer is
trained on the task's own rows, or that of the checkpoint that the training began with. Then the
weights take their places, if they are those of this model by name and shape. It has the scored
inputs (BENCH_TASK_DIR) and leaves predictions in BENCH_OUT; labels never reach it.
"""

from __future__ import annotations

import json
import os
import resource
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench import recipes
from bench.errors import BenchError
from bench.record import Scalar

if TYPE_CHECKING:
    from bench.learn.assembly import Assembly
    from bench.learn.data import Predictions

SAID = "said.json"
"""In BENCH_OUT: why there are no predictions."""


class Misfit(BenchError):
    """The weights are not those of the model."""


@dataclass(frozen=True)
class Job:
    """What the parent asks for. `shapes` are of the file of weights, whose header it has read."""

    model: str
    checkpoint: Path | None
    objective: str
    recipe: str
    settings: dict[str, Scalar]
    device: str
    weights: Path
    shapes: dict[str, tuple[int, ...]]
    memory_bytes: int | None  # that may be asked for; None: as much as there is

    @classmethod
    def read(cls, path: Path) -> Job:
        facts = json.loads(path.read_bytes())
        checkpoint = facts.pop("checkpoint")
        return cls(
            **facts
            | {
                "checkpoint": Path(checkpoint) if checkpoint else None,
                "weights": Path(facts["weights"]),
                "shapes": {name: tuple(shape) for name, shape in facts["shapes"].items()},
            }
        )


def main(arguments: list[str]) -> int:
    out = Path(os.environ["BENCH_OUT"])
    try:
        job = Job.read(Path(arguments[0]))
        if job.memory_bytes is not None:
            resource.setrlimit(resource.RLIMIT_DATA, (job.memory_bytes, job.memory_bytes))
        predict(job, Path(os.environ["BENCH_TASK_DIR"])).write(out / "predictions.parquet")
    except BenchError as error:
        return _say(out, type(error).__name__, error.message)
    except ModuleNotFoundError as error:
        return _say(out, "Missing", f"its recipe needs {error.name}, which is not installed")
    except (MemoryError, RuntimeError) as error:
        said = (str(error).splitlines() or ["out of memory"])[0]
        return _say(out, type(error).__name__, said)
    return 0


def _say(out: Path, kind: str, message: str) -> int:
    (out / SAID).write_text(json.dumps({"kind": kind, "message": message}), encoding="utf-8")
    return 1


def predict(job: Job, task_folder: Path) -> Predictions:
    """What the weights say of the scored split."""
    from bench.learn import data, worker
    from bench.learn.assembly import Parts, assemble

    device = worker.start(job.device, seed=0)
    recipe = recipes.build(job.recipe, job.settings)
    task = data.read_task_folder(task_folder)
    parts = Parts(task, job.objective, recipe, job.model, job.checkpoint, 0, device)
    made = assemble(parts)
    take_shape(made, job.shapes)
    _fill(made, job.weights)
    recipe.ready(made.model)
    return made.objective.predict(made.model, made.splits["scored"])


def take_shape(made: Assembly, shapes: dict[str, tuple[int, ...]]) -> None:
    """Give the model that of the shapes which its recipe may leave it that the weights have; Misfit
    when they have none of them."""
    from bench.learn.encoder import Layers
    from bench.learn.models import saved

    model, outputs = made.model, made.objective.outputs
    possible: list[Any] = [None]
    if isinstance(model, Layers):
        possible = made.parts.recipe.left(model.shape)
    why: str | None = None
    for shape in possible:
        if isinstance(model, Layers) and shape != model.shape:
            model.reshape(shape)
        if (why := saved.differs(shapes, saved.shapes(model, outputs))) is None:
            return
    raise Misfit(str(why))


def _fill(made: Assembly, weights: Path) -> None:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    from bench.learn.models import saved

    try:
        tensors = load_file(weights)
    except (OSError, SafetensorError) as error:
        raise Misfit(f"the weights can't be loaded: {str(error).splitlines()[0]}") from None
    saved.refill(made.model, made.objective.outputs, tensors)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
