"""When the power of a training is stable: blocks of its training phase, their mean, and how sure
that is.

A block ends with the first step that is told of BLOCK_S and BLOCK_STEPS after the one before, or
LONGEST_S: it holds whole steps, so that what goes up and down within a step is in no block's way.
What comes first is left out, a quarter of the training phase and FIRST_S at least: clocks,
temperatures and caches settle, and the first steps allocate. A share, so that a slow start ends up
outside, too. Power is stable when, over LEAST blocks or more, the 95 % half-width of the mean is
within SHARE of it (by Student's t; of as many independent blocks as their correlation leaves), and
the means of both halves are no further apart than that.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

BLOCK_S, BLOCK_STEPS, LONGEST_S = 5.0, 10, 30.0
FIRST_S, FIRST_SHARE = 15.0, 0.25
LEAST, SHARE = 12, 0.01
_FEWEST = 2.0  # independent blocks: fewer have no scatter
_MOST_CORRELATED = 0.9
_WANDERS = 0.5  # from here on blocks that differ are a trend and no scatter

RULE = (
    f"blocks of {BLOCK_S:g} s or {BLOCK_STEPS} steps; the first quarter, {FIRST_S:g} s at least, "
    f"left out; {LEAST} blocks or more, whose mean is known to {100 * SHARE:g} % (95 %, by "
    f"Student's t, their correlation counted) and whose halves differ by no more"
)


@dataclass(frozen=True)
class Told:
    """What a `step` event says: when, which step, and the tokens learned from until then."""

    t_s: float
    step: int
    tokens: int | None = None


@dataclass(frozen=True)
class Block:
    """A piece of the training phase between two steps that were told of."""

    start_s: float
    stop_s: float
    energy_j: float
    steps: int
    tokens: int | None = None

    @property
    def duration_s(self) -> float:
        return self.stop_s - self.start_s

    @property
    def power_w(self) -> float:
        return self.energy_j / self.duration_s


@dataclass(frozen=True)
class Mean:
    """Of a ratio over blocks. `half_width` is that of 95 %; None of too few blocks."""

    value: float
    half_width: float | None
    blocks: int
    correlation: float = 0.0  # of neighbours
    independent: float = 0.0  # blocks that would say as much if they were

    @property
    def share(self) -> float:
        return math.inf if self.half_width is None else self.half_width / abs(self.value or 1.0)


@dataclass(frozen=True)
class Verdict:
    """`left_out_s`: of the training phase, at its beginning."""

    stable: bool
    why: str
    left_out_s: float
    power_w: Mean | None
    drift_w: float | None = None  # of the later half, less the earlier

    @property
    def drift_share(self) -> float:
        return abs(self.drift_w or 0.0) / self.power_w.value if self.power_w else math.inf


def edges(
    told: Sequence[Told], block_s: float = BLOCK_S, steps: int = BLOCK_STEPS
) -> Iterator[tuple[Told, Told]]:
    """Where the blocks of one stretch of training begin and end; what is left over is in none."""
    if not told:
        return
    since = told[0]
    for now in told[1:]:
        passed_s = now.t_s - since.t_s
        whole = passed_s >= block_s and now.step - since.step >= steps
        if now.step > since.step and (whole or passed_s >= LONGEST_S):
            yield since, now
            since = now


def left_out_s(train_s: float) -> float:
    """How much of a training phase is left out at its beginning; of a short one, half."""
    return max(FIRST_SHARE * train_s, min(FIRST_S, train_s / 2))


def settled(blocks: Sequence[Block], out_s: float) -> list[Block]:
    """Those that begin when so much of the training phase is over."""
    kept, passed_s = [], 0.0
    for block in blocks:
        if passed_s >= out_s:
            kept.append(block)
        passed_s += block.duration_s
    return kept


def judge(blocks: Sequence[Block], train_s: float, share: float = SHARE) -> Verdict:
    """Of the blocks of a training phase that has lasted `train_s`."""
    out_s = left_out_s(train_s)
    kept = settled(blocks, out_s)
    if len(kept) < 2:
        return Verdict(False, f"{_count(len(kept))} after the first {out_s:.0f} s", out_s, None)
    power_w = mean([(b.energy_j, b.duration_s) for b in kept])
    half = len(kept) // 2
    drift_w = _power_w(kept[-half:]) - _power_w(kept[:half])
    found = Verdict(False, "", out_s, power_w, drift_w)
    why = _why_not(found, share)
    said = why or f"known to {100 * power_w.share:.2g} % by {_count(len(kept))}"
    return Verdict(not why, said, out_s, power_w, drift_w)


def _why_not(found: Verdict, share: float) -> str:
    power_w = found.power_w
    assert power_w
    if power_w.value <= 0:
        return "no power was read"
    if power_w.blocks < LEAST:
        return f"{_count(power_w.blocks)}, and {LEAST} are wanted"
    drifts = found.drift_share > share
    if power_w.share > share and not (drifts and power_w.correlation > _WANDERS):
        return f"the mean is known to {100 * power_w.share:.2g} %, not to {100 * share:g} %"
    if drifts:
        way = "rises" if (found.drift_w or 0.0) > 0 else "falls"
        return f"it {way}: the later half differs by {100 * found.drift_share:.2g} %"
    return ""


def _count(blocks: int) -> str:
    return f"{blocks} block{'' if blocks == 1 else 's'}"


def _power_w(blocks: Sequence[Block]) -> float:
    return sum(b.energy_j for b in blocks) / sum(b.duration_s for b in blocks)


def mean(pairs: Sequence[tuple[float, float]]) -> Mean:
    """The ratio of two sums over blocks, such as joules over seconds, and how sure it is: residuals
    of neighbours that go together make it less so."""
    n, over = len(pairs), sum(b for _, b in pairs)
    value = sum(a for a, _ in pairs) / over
    rest = [a - value * b for a, b in pairs]
    squares = sum(r * r for r in rest)
    together = _correlation(rest, squares)
    independent = max(_FEWEST, n * (1 - together) / (1 + together))
    if n < 2:
        return Mean(value, None, n, together, independent)
    deviation = math.sqrt(squares / (n - 1)) / (over / n)
    half = _quantile(independent - 1) * deviation / math.sqrt(independent)
    return Mean(value, half, n, together, independent)


def _correlation(rest: Sequence[float], squares: float) -> float:
    """Of neighbours; one below zero makes nothing surer."""
    if len(rest) < 4 or not squares:
        return 0.0
    neighbours = sum(a * b for a, b in pairwise(rest))
    return min(_MOST_CORRELATED, max(0.0, neighbours / squares))


def _quantile(freedom: float) -> float:
    """Student's t for 95 % on both sides."""
    from scipy.special import stdtrit

    return float(stdtrit(freedom, 0.975))
