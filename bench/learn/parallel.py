"""Data-parallel training: one process a device, each with its part of every batch.

All hold the whole model and make the same steps. Between the backward pass and the update the
gradients, which lie in one flat buffer, are added up over the processes: the algorithm of PyTorch's
DistributedDataParallel (Li et al. 2020) with a single bucket, which needs no `nn.Module`. Where
there is one process, nothing here does anything.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from itertools import islice
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor

from bench.errors import BenchError
from bench.learn.batches import Batch
from bench.learn.embedding import Table
from bench.learn.parameters import Parameters

if TYPE_CHECKING:
    from bench.learn.loop import Training

T = TypeVar("T")

_PATIENCE = timedelta(days=30)
"""One process may work for long while others wait; torchrun sees when one is gone."""
_ALIKE = 1e-4
"""By how much the sums of weights may differ between processors of different makes."""


def begin(device: torch.device) -> None:
    """Join the other processes, as the environment that torchrun made says."""
    if device.type == "cuda":
        torch.cuda.set_device(device)
        dist.init_process_group("cpu:gloo,cuda:nccl", timeout=_PATIENCE)
    else:
        dist.init_process_group("gloo", timeout=_PATIENCE)


def end() -> None:
    """Leave them, when all have come so far."""
    if size() > 1:
        dist.barrier()
        dist.destroy_process_group()


def size() -> int:
    """How many processes train together."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """The number of this one."""
    return dist.get_rank() if size() > 1 else 0


# --- a step --------------------------------------------------------------------------------------


def part(rows: np.ndarray) -> np.ndarray:
    """The rows of a batch that are this process's, every n-th: those of a batch are in the order of
    length. Where there are fewer rows than processes, one that counts nothing."""
    own = rows[rank() :: size()]
    return own if len(own) else rows[:1]


@dataclass(frozen=True)
class Share:
    """What a process has of a step's batch."""

    batch: Batch
    weight: float | None  # of its mean loss in that of the whole; None: it is the whole
    tokens: int  # of the whole batch

    def weighted(self, loss: Tensor) -> Tensor:
        """Its addend of the mean loss of the whole batch."""
        return loss if self.weight is None else loss * self.weight


def share(batch: Batch, rows: np.ndarray) -> Share:
    """Of the batch of these rows `batch` is the part of this process, or the whole. BenchError
    where the processes have come to different batches."""
    if size() == 1:
        return Share(batch, None, batch.total)
    idle = rank() >= len(rows)
    told = [
        0 if idle else _losses(batch),
        0 if idle else batch.total,
        batch.highest_token,
        zlib.crc32(rows.tobytes()),
    ]
    losses, tokens, highest, rows_of = _told(told).t()
    if (rows_of != rows_of[0]).any():
        raise BenchError("the processes are at different batches: a recipe draws by chance")
    return Share(
        replace(batch, highest_token=int(highest.max())),
        float(losses[rank()] / losses.sum()),
        int(tokens.sum()),
    )


def _told(numbers: list[int]) -> Tensor:  # [processes, numbers]
    """What each process says, on the CPU: nobody waits for a GPU."""
    own = torch.tensor(numbers)
    found = [torch.empty_like(own) for _ in range(size())]
    dist.all_gather(found, own)
    return torch.stack(found)


def _losses(batch: Batch) -> int:
    """What the mean loss of a batch is a mean of: rows, or tokens that are asked for."""
    if batch.target is not None:
        return len(batch.target.tokens)
    if batch.labels is not None:
        return len(batch.labels)
    assert batch.marks is not None
    return int((batch.marks >= 0).sum())


def reduce(parameters: Parameters, table: Table | None = None) -> None:
    """After the backward pass: the gradients of the whole batch, in each process."""
    if size() == 1:
        return
    parameters.reduce(dist.all_reduce)
    if table is not None and table.learns:
        table.reduce(dist.all_reduce)


def total(value: Tensor) -> Tensor:
    """The sum over the processes, without a gradient."""
    if size() == 1:
        return value
    found = value.detach().clone()
    dist.all_reduce(found)
    return found


# --- a training ----------------------------------------------------------------------------------


@contextmanager
def together(training: Training) -> Iterator[None]:
    """Within the block each process drops elements of its own. Before it and after it, all have the
    same weights, which is looked at, and the same chances."""
    if size() == 1:
        yield
        return
    _check_alike(training)
    _draw_apart(training)
    yield
    _check_alike(training)
    torch.set_rng_state(from_first(torch.get_rng_state))
    if (device := training.model.device).type == "cuda":
        torch.cuda.set_rng_state(from_first(lambda: torch.cuda.get_rng_state(device)), device)


def _draw_apart(training: Training) -> None:
    if rank() == 0:  # as if it were alone
        return
    seed = np.random.SeedSequence([training.seed, training.step, rank()])
    training.dropout.random.state = np.random.SFC64(seed).state
    torch.manual_seed(int(seed.generate_state(1)[0]))


def _check_alike(training: Training) -> None:
    """BenchError where the weights are not those of the first process: something has changed them
    by what only one of them knows."""
    model = training.model
    weights = list(model.parameters.named().values())
    if model.table is not None:
        weights.append(model.table.rows)
    sums = torch.stack([w.double().sum() for w in weights]).tolist()
    sizes = torch.stack([w.double().abs().sum() for w in weights]).tolist()
    everybody = np.array(_gathered([sums, sizes]))
    apart = np.abs(everybody - everybody[0]).max(1) > _ALIKE * everybody[0, 1]
    if other := next((i for i, found in enumerate(apart) if found.any()), 0):
        raise BenchError(
            f"after step {training.step} the weights of process {other} are not those of process 0",
            "a recipe that changes them by itself can't be used with --nproc",
        )


# --- what is computed once -----------------------------------------------------------------------


def mine(parts: Iterable[T]) -> Iterator[T]:
    """Those that this process computes."""
    return islice(parts, rank(), None, size())


def gathered(own: list[T]) -> list[T]:
    """What all computed of such parts, at each of them: tensors in tuples then lie on the CPU."""
    if size() == 1:
        return own
    return [one for several in _gathered([_on_cpu(one) for one in own]) for one in several]


def _on_cpu(one: Any) -> Any:
    if isinstance(one, tuple):
        return tuple(map(_on_cpu, one))
    return one.cpu() if isinstance(one, Tensor) else one


def first_says(yes: bool) -> bool:
    """What the first process says, in each step: for less work than `from_first`."""
    said = torch.tensor(int(yes))
    if size() > 1:
        dist.broadcast(said, 0)
    return bool(said)


def from_first(make: Callable[[], T]) -> T:
    """What the first process makes, at each of them."""
    if size() == 1:
        return make()
    found = [make() if rank() == 0 else None]
    dist.broadcast_object_list(found, 0)
    return found[0]  # type: ignore[return-value]


def agreed(own: T) -> T:
    """Of what each has computed in the same way, that of the first: a last bit may differ."""
    return from_first(lambda: own)


def _gathered(own: T) -> list[T]:
    """What each process has, in order."""
    found: list[Any] = [None] * size()
    dist.all_gather_object(found, own)
    return found
