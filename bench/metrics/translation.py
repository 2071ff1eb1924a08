"""sacreBLEU's metrics of translations, as shares of 1: sacreBLEU prints a hundred times as much.

Each has a twin, `<name>_of`, that computes it from its statistics. sacreBLEU is imported where it
is used.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from bench.metrics import Scored

ORDERS = range(1, 5)  # of BLEU's n-grams of words
CHARACTER_ORDERS = range(1, 7)  # of chrF's n-grams of characters
BETA = 2  # how much more chrF's recall counts than its precision


def bleu(labels: Sequence[str], predictions: Sequence[str]) -> Scored:
    """BLEU over the whole split: 13a tokens, case counts, one reference."""
    from sacrebleu.metrics import BLEU

    metric = BLEU(tokenize="13a", lowercase=False)
    found = metric.corpus_score(list(predictions), [list(labels)])
    statistics = {"prediction_tokens": found.sys_len, "label_tokens": found.ref_len}
    for order, right, all_ in zip(ORDERS, found.counts, found.totals, strict=True):
        statistics |= {f"right_{order}": right, f"all_{order}": all_}
    signature = metric.get_signature().format()
    return Scored(found.score / 100, {k: float(v) for k, v in statistics.items()}, None, signature)


def bleu_of(statistics: Mapping[str, float], n: int) -> float:
    from sacrebleu.metrics import BLEU

    found = BLEU.compute_bleu(
        [int(statistics[f"right_{order}"]) for order in ORDERS],
        [int(statistics[f"all_{order}"]) for order in ORDERS],
        int(statistics["prediction_tokens"]),
        int(statistics["label_tokens"]),
        smooth_method="exp",
    )
    return float(found.score / 100)


def chrf(labels: Sequence[str], predictions: Sequence[str]) -> Scored:
    """chrF2 over the whole split: n-grams of up to six characters, without spaces."""
    from sacrebleu.metrics import CHRF

    metric = CHRF(char_order=CHARACTER_ORDERS[-1], word_order=0, beta=BETA)
    metric.corpus_score(list(predictions[:1]), [list(labels[:1])])  # its signature needs a score
    statistics = _character_matches(labels, predictions)
    signature = metric.get_signature().format()
    return Scored(chrf_of(statistics, len(labels)), statistics, None, signature)


def _character_matches(labels: Sequence[str], predictions: Sequence[str]) -> dict[str, float]:
    """Of each order the n-grams of predictions, those of labels, and those that are in both. A
    label shorter than the order has none, and then what is predicted for it does not count."""
    from sacrebleu.metrics.helpers import extract_all_char_ngrams

    sums = {f"{kind}_{n}": 0.0 for n in CHARACTER_ORDERS for kind in ("predicted", "all", "right")}
    for label, prediction in zip(labels, predictions, strict=True):
        grams = (
            extract_all_char_ngrams(text, CHARACTER_ORDERS[-1]) for text in (label, prediction)
        )
        for n, (wanted, found) in zip(CHARACTER_ORDERS, zip(*grams, strict=True), strict=True):
            if wanted:
                sums[f"predicted_{n}"] += found.total()
                sums[f"all_{n}"] += wanted.total()
                sums[f"right_{n}"] += (wanted & found).total()
    return sums


def chrf_of(statistics: Mapping[str, float], n: int) -> float:
    """The F score of mean precision and mean recall, over the orders that both sides have."""
    sides = [[statistics[f"{s}_{o}"] for o in CHARACTER_ORDERS] for s in ("predicted", "all")]
    right = [statistics[f"right_{o}"] for o in CHARACTER_ORDERS]
    pairs = [(r / p, r / a) for r, p, a in zip(right, *sides, strict=True) if p and a]
    if not any(map(any, pairs)):
        return 0.0
    precision, recall = (sum(values) / len(pairs) for values in zip(*pairs, strict=True))
    return (1 + BETA**2) * precision * recall / (BETA**2 * precision + recall)
