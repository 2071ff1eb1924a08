"""What was spent on checkpoints before anybody fine-tunes them, as far as it was published.

It is proposed to who submits, who may know better; a figure is of the machines, without their
building (PUE).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from bench.learn.models import listed, published
from bench.learn.models.listed import Pretrained
from bench.submission import Upstream


class Published(NamedTuple):
    """`energy_kwh` is None where nobody has published one; then `source` says what is known."""

    energy_kwh: float | None
    source: str


_OF: Mapping[str, Published] = {
    "bert-base": Published(
        953.8,  # 1,507 / 1.58
        "Strubell et al. 2019 (arXiv 1906.02243), table 3: 1,507 kWh with a PUE of 1.58, of "
        "another training of this size on 64 V100 in 79 h; that of the checkpoint itself, 4 days "
        "on 16 TPUv2, was not published",
    ),
    "bert-large": Published(None, "no energy published"),
    "distilbert": Published(
        None,
        "no energy published; Sanh et al. 2019 (arXiv 1910.01108) state 8 V100 for about 90 h, and "
        "its teacher bert-base comes on top",
    ),
    "all-minilm-l6": Published(
        None,
        "no energy published, neither of MiniLM-L12 and its teacher (arXiv 2002.10957) nor of the "
        "training on a billion sentence pairs on TPUv3-8",
    ),
    "electra-small": Published(
        None, "no energy published; Clark et al. 2020 (arXiv 2003.10555) state 4 days on one V100"
    ),
    "gpt2-small": Published(None, "no energy published"),
    "gpt2-medium": Published(None, "no energy published"),
    "gpt2-large": Published(None, "no energy published"),
    "gpt2-xl": Published(
        None,
        "no energy published; Strubell et al. 2019 (arXiv 1906.02243), table 3, state 168 h on 32 "
        "TPUv3",
    ),
}


def checkpoints() -> dict[str, Pretrained]:
    """The listed ones, by name."""
    return {**listed.PRETRAINED, **published.CHECKPOINTS}


def allowed() -> dict[str, str]:
    """Those of the track finetune: SHA-256 of the weights -> name."""
    return {c.sha256: name for name, c in checkpoints().items() if c.sha256}


def proposed(checkpoint_sha256: str) -> Upstream | None:
    """What an entry that starts from these weights may declare; None for weights of which the list
    knows nothing."""
    name = allowed().get(checkpoint_sha256)
    if name is None:
        return None
    known = _OF[name]
    return Upstream(
        what=f"pretraining of {name}", checkpoint_sha256=checkpoint_sha256,
        energy_kwh=known.energy_kwh, source=known.source,
    )  # fmt: skip
