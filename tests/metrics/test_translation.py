"""BLEU and chrF are sacreBLEU's own, and each can be computed again from its statistics."""

from __future__ import annotations

import random

import pytest
from sacrebleu.metrics import BLEU, CHRF

from bench import metrics
from bench.cards import MetricFacts

LABELS = [
    "Ein kleiner Hund läuft über das Gras.",
    "Zwei Männer (in Blau) sitzen auf einer Bank, und lesen.",
    "Ja.",
    'Eine Frau mit 2,5 Äpfeln und einem "Hut" steht vor der U-Bahn-Station.',
]


def spoiled(text: str, chance: random.Random) -> str:
    """The text with words left out, swapped or in another case."""
    words = [w for w in text.split() if chance.random() > 0.15]
    if len(words) > 2 and chance.random() < 0.5:
        i = chance.randrange(len(words) - 1)
        words[i], words[i + 1] = words[i + 1], words[i]
    return " ".join(w.lower() if chance.random() < 0.1 else w for w in words)


SPOILED = [spoiled(text, random.Random(i)) for i, text in enumerate(LABELS * 3)]
CASES = {
    "equal": (LABELS, LABELS),
    "spoiled": (LABELS * 3, SPOILED),
    "nothing in common": (LABELS, ["xyz 1"] * 4),
    "empty": (LABELS, [""] * 4),
    "too short for its n-grams": (["Ja.", "Nein"], ["Ja", "Ne"]),
}


@pytest.mark.parametrize(("labels", "predictions"), CASES.values(), ids=CASES.keys())
def test_both_are_sacrebleus_own(labels: list[str], predictions: list[str]) -> None:
    facts = MetricFacts(name="bleu", chance=0, also=["chrf"])
    found = metrics.score(facts, labels, predictions)
    ours = BLEU()
    assert found.value == pytest.approx(ours.corpus_score(predictions, [labels]).score / 100)
    assert found.signature == ours.get_signature().format()
    assert "tok:13a" in (found.signature or "")
    assert "case:mixed" in (found.signature or "")
    expected = CHRF().corpus_score(predictions, [labels]).score / 100
    assert found.also["chrf"] == pytest.approx(expected)


@pytest.mark.parametrize("name", ["bleu", "chrf"])
@pytest.mark.parametrize(("labels", "predictions"), CASES.values(), ids=CASES.keys())
def test_each_follows_from_its_statistics(
    name: str, labels: list[str], predictions: list[str]
) -> None:
    found = metrics.score(MetricFacts(name=name, chance=0), labels, predictions)
    assert metrics.recompute(found) == pytest.approx(found.value)
    doubled = {key: 2 * value for key, value in found.statistics.items()}
    assert metrics.recompute(found.model_copy(update={"statistics": doubled})) == pytest.approx(
        found.value, abs=0.02
    )
    if 0 < found.value < 1:
        fewer = found.statistics | {"right_1": found.statistics["right_1"] - 1}
        assert metrics.recompute(found.model_copy(update={"statistics": fewer})) < found.value


def test_chrfs_signature_is_sacrebleus() -> None:
    found = metrics.score(MetricFacts(name="chrf", chance=0), LABELS, LABELS)
    ours = CHRF()
    ours.corpus_score(LABELS, [LABELS])
    assert found.signature == ours.get_signature().format()
