"""Texts to token ids: WordPiece trained on the training split, or a checkpoint's tokenizer."""

from __future__ import annotations

import json
from array import array
from collections.abc import Sequence
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np
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
from bench.learn.words import END, Words

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]


def train(texts: Sequence[str], vocabulary_size: int, cased: bool = False) -> Tokenizer:
    """A WordPiece tokenizer (as BERT's) that puts [CLS] and [SEP] around texts; the same one for
    the same texts. It lowers capitals and strips accents unless it is `cased`."""
    trained = _tokenizer(models.WordPiece(unk_token="[UNK]"), cased)
    characters = sorted(set("".join(map(trained.normalizer.normalize_str, _alphabet(texts)))))
    inner = [f"##{character}" for character in characters if not character.isspace()]
    trainer = trainers.WordPieceTrainer(
        vocab_size=vocabulary_size,
        # The trainer numbers what it meets in random order, and breaks ties by number.
        special_tokens=SPECIAL + inner,
        min_frequency=2,
        limit_alphabet=len(characters),
        show_progress=False,
    )
    trained.train_from_iterator(texts, trainer)
    vocabulary = trained.get_vocab()
    tokenizer = _tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"), cased)
    tokenizer.add_special_tokens(SPECIAL)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[(token, vocabulary[token]) for token in ("[CLS]", "[SEP]")],
    )
    return tokenizer


def _tokenizer(model: models.Model, cased: bool) -> Tokenizer:
    tokenizer = Tokenizer(model)
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=not cased)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    return tokenizer


def _alphabet(texts: Sequence[str]) -> list[str]:
    return sorted(set().union(*texts))


def load(folder: Path) -> Tokenizer:
    """The tokenizer of a checkpoint."""
    path = folder / "tokenizer.json"
    if not path.is_file():
        raise BenchError(f"{folder} has no tokenizer.json")
    return Tokenizer.from_file(str(path))


def encode(
    tokenizer: Tokenizer | Words,
    inputs: Sequence[tuple[str, ...]],
    labels: Sequence[int] | np.ndarray | None,
    max_length: int,
) -> Packed:
    """Each input (one text or a pair) as ids with special tokens, cut to `max_length`."""
    if isinstance(tokenizer, Words):
        return tokenizer.encode(inputs, labels, max_length)
    tokenizer.no_padding()
    if inputs and len(inputs[0]) > 1:
        tokenizer.enable_truncation(max_length)
        encoded = tokenizer.encode_batch_fast(inputs)
        return pack([e.ids for e in encoded], [e.type_ids for e in encoded], labels)
    texts = [text for (text,) in inputs]
    if _splits_at_spaces(tokenizer):
        return pack(_encode_by_word(tokenizer, texts, max_length), None, labels)
    tokenizer.enable_truncation(max_length)
    return pack([e.ids for e in tokenizer.encode_batch_fast(texts)], None, labels)


def _splits_at_spaces(tokenizer: Tokenizer) -> bool:
    """Whether a text's ids are those of its words, as in BERT's tokenizers."""
    facts = json.loads(tokenizer.to_str())
    kinds = [(facts[part] or {}).get("type") for part in ("normalizer", "pre_tokenizer", "model")]
    return kinds == ["BertNormalizer", "BertPreTokenizer", "WordPiece"]


def _encode_by_word(tokenizer: Tokenizer, texts: list[str], max_length: int) -> list[list[int]]:
    """Encode each distinct word once: an eighth of the time on the many phrases of SST-2."""
    split = [text.split(" ") for text in texts]
    first, ids, last = _ids_of_words(tokenizer, split)
    return [
        [first, *islice(chain.from_iterable(map(ids.__getitem__, s)), max_length - 2), last]
        for s in split
    ]


def _ids_of_words(
    tokenizer: Tokenizer | Words, split: list[list[str]]
) -> tuple[int, dict[str, list[int]], int]:
    """The ids of each word, and of what stands before and after a text."""
    words = sorted(set(chain.from_iterable(split)))
    if isinstance(tokenizer, Words):
        return END, {word: tokenizer.numbers(word) for word in words}, END
    tokenizer.no_padding()
    tokenizer.no_truncation()
    first, last = tokenizer.encode("").ids
    encoded = tokenizer.encode_batch_fast(words, add_special_tokens=False)
    return first, {word: e.ids for word, e in zip(words, encoded, strict=True)}, last


def encode_words(
    tokenizer: Tokenizer | Words,
    texts: Sequence[str],
    marks: Sequence[Sequence[int]],
    max_length: int,
) -> Packed:
    """Each text as the ids of its words, which single spaces part, cut to `max_length`; the first
    id of each word bears the word's mark. A word of which the tokenizer leaves nothing is [UNK]."""
    split = [text.split(" ") for text in texts]
    first, ids, last = _ids_of_words(tokenizer, split)
    unknown: list[Any] = [] if isinstance(tokenizer, Words) else [tokenizer.token_to_id("[UNK]")]
    first_pieces = {word: (len(found) or 1) - 1 for word, found in ids.items()}
    tokens, marked = [], []
    for words, numbers in zip(split, marks, strict=True):
        found, borne = [first], [-1]
        for word, number in zip(words, numbers, strict=True):
            found += ids[word] or unknown
            borne += [number, *[-1] * first_pieces[word]]
        tokens.append([*found[: max_length - 1], last])
        marked.append([*borne[: max_length - 1], -1])
    packed = pack(tokens, None, None)
    packed.marks = np.fromiter(chain.from_iterable(marked), np.int16, packed.starts[-1])
    return packed


# Byte-level tokenizers, which lose nothing of a text

_AT_ONCE = 1 << 16  # words that are encoded, or looked up
FRAMED = ("[CLS]", "[SEP]", "[MASK]")  # the special tokens of one that puts them around texts
_LINE_END = "Ċ"  # how they write the byte that ends a line, which no canonical text holds


def train_bytes(
    texts: Sequence[str], vocabulary_size: int, special: Sequence[str] = ()
) -> Tokenizer:
    """A byte-level BPE tokenizer (as GPT-2's), the same one for the same texts. `special` tokens
    come first and stand in no text. With [CLS] and [SEP] among them it puts these around texts."""
    trained = Tokenizer(models.BPE())
    trained.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary_size,
        special_tokens=list(special),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        min_frequency=2,
        show_progress=False,
    )
    trained.train_from_iterator(texts, trainer)
    model = json.loads(trained.to_str())["model"]
    tokenizer = Tokenizer(models.BPE(model["vocab"], [tuple(pair) for pair in model["merges"]]))
    tokenizer.pre_tokenizer = trained.pre_tokenizer
    tokenizer.decoder = decoders.ByteLevel()
    framed = {"[CLS]", "[SEP]"} <= set(special)
    parts = ["[CLS]", "[SEP]"] if framed else [_LINE_END]
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]" if framed else "$A",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1" if framed else f"$A {_LINE_END} $B:1",
        special_tokens=[(part, model["vocab"][part]) for part in parts],
    )
    return tokenizer


def loses_nothing(tokenizer: Tokenizer) -> bool:
    """Whether it is byte-level, as GPT-2's: what it makes of a text spells the text."""
    facts = json.loads(tokenizer.to_str())
    before, model = facts["pre_tokenizer"] or {}, facts["model"]
    return (
        facts["normalizer"] is None
        and (before.get("type"), model["type"]) == ("ByteLevel", "BPE")
        and (before["add_prefix_space"], before.get("use_regex", True)) == (False, True)
        and set(pre_tokenizers.ByteLevel.alphabet()) <= set(model["vocab"])
    )


def line_end(tokenizer: Tokenizer) -> int:
    """The token of a byte-level tokenizer that stands for a line's end."""
    found = tokenizer.token_to_id(_LINE_END)
    assert found is not None
    return int(found)


def encode_lines(
    tokenizer: Tokenizer, texts: Sequence[str]
) -> tuple[np.ndarray, np.ndarray]:  # [N] int32, [rows]
    """The tokens of canonical texts by a byte-level tokenizer, a line's end after each, and how
    many each has. Each distinct word is encoded once: no token spans a space."""
    tokenizer.no_padding()
    tokenizer.no_truncation()
    numbers = {"": 0}  # of a word with the space before it; 0 is a line's end
    words = array("i")
    counts = np.empty(len(texts), dtype=np.int64)
    for row, text in enumerate(texts):
        parts = text.replace(" ", "\n ").split("\n") if text else []
        words.extend([numbers.setdefault(part, len(numbers)) for part in parts])
        words.append(0)
        counts[row] = len(parts) + 1
    names, ids = list(numbers)[1:], [[line_end(tokenizer)]]
    for first in range(0, len(names), _AT_ONCE):
        some = names[first : first + _AT_ONCE]
        ids += [e.ids for e in tokenizer.encode_batch_fast(some, add_special_tokens=False)]
    distinct = pack(ids, None, None)
    read = np.frombuffer(words, np.intc)
    lengths = distinct.lengths.astype(np.int32)[read]
    tokens = np.empty(int(lengths.sum()), np.int32)
    end = 0
    for part in np.array_split(read, 1 + len(read) // _AT_ONCE):
        index = distinct.places_of(part)[0]
        tokens[end : (end := end + len(index))] = distinct.tokens[index]
    firsts = np.cumsum(counts) - counts
    return tokens, np.add.reduceat(lengths, firsts)
