"""Texts to token ids: WordPiece trained on the training split, or a checkpoint's tokenizer."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from tokenizers import (
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)

from bench.errors import BenchError
from bench.learn.batches import Packed, pack

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]


def train(texts: Iterable[str], vocabulary_size: int) -> Tokenizer:
    """A lower-case WordPiece tokenizer (as BERT's) that puts [CLS] and [SEP] around texts."""
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    trainer = trainers.WordPieceTrainer(
        vocab_size=vocabulary_size, special_tokens=SPECIAL, min_frequency=2, show_progress=False
    )
    tokenizer.train_from_iterator(texts, trainer)
    ids = {token: tokenizer.token_to_id(token) for token in ("[CLS]", "[SEP]")}
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=list(ids.items()),
    )
    return tokenizer


def load(folder: Path) -> Tokenizer:
    """The tokenizer of a checkpoint."""
    path = folder / "tokenizer.json"
    if not path.is_file():
        raise BenchError(f"{folder} has no tokenizer.json")
    return Tokenizer.from_file(str(path))


def encode(
    tokenizer: Tokenizer,
    inputs: Sequence[tuple[str, ...]],
    labels: Sequence[int] | None,
    max_length: int,
) -> Packed:
    """Each input (one text or a pair) as ids with special tokens, cut to `max_length`."""
    tokenizer.no_padding()
    tokenizer.enable_truncation(max_length)
    pairs = len(inputs) > 0 and len(inputs[0]) > 1
    encoded = tokenizer.encode_batch_fast(inputs if pairs else [i[0] for i in inputs])
    segments = [e.type_ids for e in encoded] if pairs else None
    return pack([e.ids for e in encoded], segments, labels)
