"""A run under a lower power limit: who may, what the record says, what is left behind."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench import recipes
from bench.errors import UsageError
from tests.command import write_reviews
from tests.power.conftest import MakeGpus, make_gpus, nvml_library
from tests.power.simulated import SimulatedGpu
from tests.power.test_limit import Board, state
from tests.test_continuing import TINY, found
from tests.test_run import bench as in_a_process
from tests.test_run import start

__all__ = ["make_gpus", "nvml_library"]  # fixtures
ON_A_CPU = """
from dataclasses import dataclass
from bench.recipes import power_limit

@dataclass
class Recipe(power_limit.Recipe):
    @classmethod
    def refusal(cls, use, settings):
        return None
"""
FEW = [*map(str, TINY), "--set", "max_steps=2", "--recipe", "./on_a_cpu.py"]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """With a recipe that limits the GPUs though the processor learns: here is no CUDA."""
    write_reviews(tmp_path / "reviews", train=60, scored=20)
    (tmp_path / "on_a_cpu.py").write_text(ON_A_CPU)
    monkeypatch.chdir(tmp_path)
    state(tmp_path, monkeypatch)
    return tmp_path


def auto(*more: str) -> list[str]:
    """Without `--device cpu`, which hides the GPUs."""
    at = FEW.index("--device")
    return ["run", *FEW[:at], *FEW[at + 2 :], *more]


def test_a_run_is_limited_and_says_so(folder: Path, make_gpus: MakeGpus) -> None:
    board = Board(folder, make_gpus)
    in_a_process(*auto("--set", "limit_share=0.5"))
    (run,) = found()
    assert run.status == "complete"
    assert run.machine["gpus"][0]["power_limit_w"] == 350
    assert run.spec.settings["limit_share"] == 0.5
    warned = {w.id: w for w in run.warnings}
    text = "power limited to 350 of 700 W: NVIDIA H100 80GB HBM3"
    assert warned["power-limited"].message == text
    assert "power-limit-changed" not in warned, "it was so from before the window to its end"
    assert board.set_w() == [700, 350, 700], "checked, limited, put back"


def test_a_plan_is_made_under_the_limit(folder: Path, make_gpus: MakeGpus) -> None:
    board = Board(folder, make_gpus)
    in_a_process(*auto("--plan", "--set", "limit_w=300"))
    assert board.set_w() == [700, 300, 700]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("limit_w=150", "a power limit of 150 W is not what NVIDIA H100 80GB HBM3 takes"),
        ("limit_share=0.2", "it takes 200 to 700 W, and 700 W by default"),
    ],
)
def test_a_limit_out_of_range_is_refused(
    folder: Path, make_gpus: MakeGpus, given: str, said: str
) -> None:
    board = Board(folder, make_gpus)
    assert said in refused(*auto("--set", given))
    assert board.set_w() == []


def test_who_may_not_is_told_the_command_that_may(folder: Path, make_gpus: MakeGpus) -> None:
    make_gpus(SimulatedGpu())
    said = refused(*auto())
    assert "only an administrator may change the power limit of GPU-" in said
    assert 'sudo -E env "PATH=$PATH" bench run' in said
    assert not found()


def refused(*arguments: str) -> str:
    process = start(*arguments)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 2, err
    assert "Traceback" not in err
    return " ".join(err.split())


def test_the_processor_has_no_such_limit() -> None:
    use = recipes.Use("classification", "transformer-tiny", "encoder", False, "cpu")
    with pytest.raises(UsageError, match="can't be used here: it is a setting of NVIDIA GPUs"):
        recipes.check("power-limit", use, {})


@pytest.mark.parametrize(
    ("given", "watts"), [({}, 280.0), ({"limit_share": "0.5"}, 200.0), ({"limit_w": "250"}, 250.0)]
)
def test_watts_come_before_a_share(given: dict[str, str], watts: float) -> None:
    for name in ("power-limit", "power-limit+bf16"):
        settings = recipes.resolve(name, "transformer-tiny", given)
        assert recipes.build(name, settings).power_limit_w(400.0) == pytest.approx(watts)
    plain = recipes.resolve("bf16", "transformer-tiny", {})
    assert recipes.build("bf16", plain).power_limit_w(400.0) is None
