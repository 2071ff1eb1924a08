"""Recipes from a user's side: names, settings, and what is said about a wrong one."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from pathlib import Path

import pytest

from bench import recipes
from bench.errors import UsageError


def test_the_two_first_recipes_are_found() -> None:
    assert {"baseline", "bf16"} <= set(recipes.names())


def test_a_description_names_every_setting_with_its_type() -> None:
    facts = recipes.describe("baseline")
    kinds = {s["name"]: s["type"] for s in facts["settings"]}
    assert kinds["batch_size"] == "int"
    assert kinds["learning_rate"] == "float"
    assert all(s["about"] for s in facts["settings"])
    assert facts["summary"]


def test_what_is_not_given_comes_from_the_model() -> None:
    scratch = recipes.resolve("baseline", "transformer-small", {})
    tuned = recipes.resolve("baseline", "all-minilm-l6", {})
    assert scratch["learning_rate"] > 3 * tuned["learning_rate"]
    assert {name for name, value in scratch.items() if value is None} == {
        "layers", "width", "heads", "hidden"
    }, "None: the size of the model's name"  # fmt: skip


def test_what_is_given_wins_and_has_its_type() -> None:
    settings = recipes.resolve("bf16", "bert-base", {"batch_size": "8", "epochs": "0.5"})
    assert settings["batch_size"] == 8
    assert settings["epochs"] == 0.5


@pytest.mark.parametrize(
    ("given", "message", "hint"),
    [
        ({"learning_rat": "1"}, "no setting 'learning_rat'", "learning_rate"),
        ({"batch_size": "many"}, "batch_size=many: not a whole number", None),
        ({"batch_size": "0"}, "batch_size=0: must be at least 1", None),
        ({"learning_rate": "0"}, "learning_rate=0.0: must be above 0", None),
        ({"learning_rate": "nan"}, "learning_rate=nan: must be above 0", None),
        ({"epochs": "inf"}, "epochs=inf: must be finite", None),
        ({"dropout": "1.5"}, "dropout=1.5: must be at most 0.9", None),
    ],
)
def test_a_wrong_setting_is_refused(given: dict[str, str], message: str, hint: str | None) -> None:
    with pytest.raises(UsageError) as caught:
        recipes.resolve("baseline", "transformer-tiny", given)
    assert message in caught.value.message
    assert hint is None or hint in (caught.value.hint or "")


def test_an_unknown_recipe_names_the_near_one() -> None:
    with pytest.raises(UsageError, match="no recipe is called 'basline'") as caught:
        recipes.describe("basline")
    assert "baseline" in (caught.value.hint or "")


OWN = """
from dataclasses import dataclass
from typing import ClassVar
from bench.recipes import baseline, setting

@dataclass
class Recipe(baseline.Recipe):
    summary: ClassVar[str] = "half the rate"
    share: float = setting(0.5, "of the rate", above=0)

    def rate(self, step, total_steps):
        return self.share * super().rate(step, total_steps)
"""


def test_a_recipe_file_of_the_user_combines_with_another(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text(OWN)
    name = f"{path}+bf16"
    settings = recipes.resolve(name, "transformer-tiny", {"share": "0.25"})
    both = recipes.build(name, settings)
    plain = recipes.build("baseline", recipes.resolve("baseline", "transformer-tiny", {}))
    assert both.precision == "bfloat16"
    assert both.rate(50, 100) == pytest.approx(0.25 * plain.rate(50, 100))
    assert "half the rate" in recipes.describe(name)["summary"]


def test_a_recipe_does_not_combine_with_itself() -> None:
    with pytest.raises(UsageError, match="twice"):
        recipes.describe("bf16+bf16")


def test_baseline_is_no_part_of_a_combination() -> None:
    with pytest.raises(UsageError, match="baseline is in every recipe") as caught:
        recipes.named("bf16+baseline")
    assert caught.value.hint == "--recipe bf16"


def own(folder: Path, name: str, body: str) -> str:
    """A recipe file of the user's."""
    path = folder / f"{name}.py"
    lines = "\n".join(f"    {line}" for line in body.splitlines())
    path.write_text(
        "from dataclasses import dataclass\nfrom bench.recipes import baseline, setting\n\n"
        f"@dataclass\nclass Recipe(baseline.Recipe):\n{lines}\n"
    )
    return str(path)


TWICE = (
    "place = 20\ndef rate(self, step, total_steps):\n    return 2 * super().rate(step, total_steps)"
)
PLUS = (
    "place = 30\ndef rate(self, step, total_steps):\n    return 1 + super().rate(step, total_steps)"
)


def test_hooks_are_in_the_order_of_places_however_the_parts_are_named(tmp_path: Path) -> None:
    twice, plus = own(tmp_path, "a_twice", TWICE), own(tmp_path, "a_plus", PLUS)
    for asked in (f"{twice}+{plus}", f"{plus}+{twice}"):
        assert recipes.named(asked) == "a_twice+a_plus"
        recipe = recipes.build(asked, recipes.resolve(asked, "transformer-tiny", {}))
        assert recipe.rate(99, 100) > 2, "2 * (1 + rate)"


def test_a_default_that_one_part_changes_is_that_of_the_combination(tmp_path: Path) -> None:
    outer = own(tmp_path, "an_outer", "place = 10")
    inner = own(tmp_path, "an_inner", "place = 90\nclip_norm: float = setting(0.25, 'less', low=0)")
    for asked in (f"{outer}+{inner}", f"{inner}+{outer}"):
        assert recipes.resolve(asked, "transformer-tiny", {})["clip_norm"] == 0.25


def test_what_does_not_combine_says_why_in_either_order(tmp_path: Path) -> None:
    alone = own(tmp_path, "a_loner", "refuses = {'bf16': 'it wants all bits'}")
    for asked in (f"{alone}+bf16", f"bf16+{alone}"):
        with pytest.raises(UsageError, match="a_loner and bf16 don't combine: it wants all bits"):
            recipes.named(asked)
    assert "bf16: it wants all bits" in recipes.describe(alone)["combines"]


@pytest.mark.parametrize(
    ("one", "other", "called"),
    [
        ("share: float = setting(0.5, 'of rows')", "share: int = setting(2, 'of layers')", "share"),
        ("share: int = setting(1, 'of heads')", "share: int = setting(2, 'of layers')", "share"),
        ("def finish(self, training):\n    self._kept = 1", "_kept = 2", "_kept"),
        ("def seen(self):\n    pass", "def seen(self):\n    pass", "seen"),
    ],
)
def test_parts_that_mean_other_things_by_one_name_do_not_combine(
    tmp_path: Path, one: str, other: str, called: str
) -> None:
    asked = own(tmp_path, "a_first", one) + "+" + own(tmp_path, "a_second", other)
    with pytest.raises(UsageError, match=f"a_first and a_second don't combine: .* {called}$"):
        recipes.resolve(asked, "transformer-tiny", {})


def test_a_setting_of_two_parts_may_be_one(tmp_path: Path) -> None:
    body = (
        "before: bool = setting(True, 'predict before')\ndef batch(self, training, rows):\n    pass"
    )
    asked = own(tmp_path, "a_first", body) + "+" + own(tmp_path, "a_second", body)
    assert recipes.resolve(asked, "transformer-tiny", {"before": "no"})["before"] is False


def test_each_part_is_asked_whether_it_can_be_used(tmp_path: Path) -> None:
    body = """@classmethod
def refusal(cls, use, settings):
    return f'{use.model} has no ears' if use.device == 'cpu' else None"""
    asked = own(tmp_path, "an_ear", body) + "+bf16"
    settings = recipes.resolve(asked, "transformer-tiny", {})
    use = recipes.Use("classification", "transformer-tiny", "encoder", False, "cpu")
    with pytest.raises(UsageError, match="an_ear can't be used here: transformer-tiny has no ears"):
        recipes.check(asked, use, settings)
    recipes.check(asked, dataclasses.replace(use, device="cuda"), settings)


def test_a_file_may_not_have_the_name_of_another_recipe(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there is a recipe bf16 already"):
        recipes.named(own(tmp_path, "bf16", "place = 1"))
    first = own(tmp_path, "the_same", "place = 1")
    (tmp_path / "b").mkdir()
    second = own(tmp_path / "b", "the_same", "place = 1")
    assert recipes.named(first) == "the_same"
    with pytest.raises(UsageError, match="there is a recipe the_same already"):
        recipes.named(second)


def test_the_rate_rises_then_falls_to_nearly_zero() -> None:
    settings = recipes.resolve("baseline", "transformer-tiny", {"warmup_share": "0.1"})
    recipe = recipes.build("baseline", settings)
    rates = [recipe.rate(step, 100) for step in range(100)]
    assert rates[0] == pytest.approx(recipe.learning_rate / 10)
    assert max(rates) == rates[9] == pytest.approx(recipe.learning_rate)
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert 0 < rates[-1] < recipe.learning_rate / 50


def test_recipes_and_models_are_described_without_torch() -> None:
    code = """
import sys
from bench import recipes
from bench.learn import models
for name in recipes.names(): recipes.describe(name)
for name in models.names(): models.describe(name); recipes.resolve("baseline", name, {})
models.locate("transformer-tiny")
heavy = {"torch", "transformers", "tokenizers", "safetensors"} & set(sys.modules)
assert not heavy, heavy
"""
    subprocess.run([sys.executable, "-c", code], check=True)
