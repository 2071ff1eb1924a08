"""Settings of some families of tasks alone, and the two schedules."""

from __future__ import annotations

import pytest

from bench import recipes
from bench.errors import UsageError


def resolve(family: str | None, **given: object) -> dict[str, object]:
    text = {name: str(value) for name, value in given.items()}
    return recipes.resolve("baseline", "transformer-small", text, family)  # type: ignore[arg-type]


def test_a_task_has_the_settings_of_its_family() -> None:
    translation, classification = resolve("translation"), resolve("classification")
    assert {"batch_tokens", "beam_size"} <= translation.keys()
    assert not {"batch_tokens", "beam_size"} & classification.keys()
    assert "batch_size" in classification
    for settings in (translation, classification):
        assert recipes.build("baseline", settings).epochs == settings["epochs"]


def test_a_setting_of_another_family_is_refused() -> None:
    assert resolve("translation", beam_size=2)["beam_size"] == 2
    with pytest.raises(UsageError, match="beam_size is a setting of translation"):
        resolve("classification", beam_size=2)
    with pytest.raises(UsageError, match=r"batch_size is a setting of .*, and this task is tr"):
        resolve("translation", batch_size=2)


def test_a_setting_says_which_families_it_is_of() -> None:
    about = {s["name"]: s["about"] for s in recipes.describe("baseline")["settings"]}
    assert about["beam_size"].endswith("(translation)")
    assert "(" not in about["dropout"]


def test_a_schedule_is_one_of_two() -> None:
    with pytest.raises(UsageError, match="schedule=cosine: it is linear or inverse-sqrt"):
        resolve(None, schedule="cosine")


def test_the_rate_falls_with_the_root_of_the_steps() -> None:
    given = {"learning_rate": 0.5, "warmup_share": 0.04, "schedule": "inverse-sqrt"}
    recipe = recipes.build("baseline", resolve(None, **given))
    rates = [recipe.rate(step, 1000) for step in range(1000)]
    assert rates[0] == pytest.approx(0.5 / 40)
    assert max(rates) == rates[39] == pytest.approx(0.5)
    # As published: min(step ** -0.5, step * warmup ** -1.5), up to a factor.
    for step in (10, 40, 41, 160, 1000):
        published = min(step**-0.5, step * 40**-1.5) / 40**-0.5
        assert rates[step - 1] == pytest.approx(0.5 * published)
    none = recipes.build("baseline", resolve(None, **given | {"warmup_share": 0}))
    assert none.rate(3, 10) == pytest.approx(0.25)
