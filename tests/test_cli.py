"""The command line as a user meets it, without a training."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

COMMANDS = [
    "run",
    "leaderboard",
    "show",
    "compare",
    "tasks",
    "models",
    "recipes",
    "rules",
    "doctor",
]


def cpu_seconds(code: str) -> float:
    """User and system time of a fresh Python process."""
    import resource

    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def test_help_answers_at_once() -> None:
    code = "import sys; sys.argv = ['bench', '--help']; from bench.cli import main; main()"
    assert min(cpu_seconds(code) for _ in range(3)) < 0.3


def test_the_leaderboard_answers_at_once() -> None:
    results = str(Path(__file__).parent.parent / "results")
    code = (
        f"import sys; sys.argv = ['bench', 'leaderboard', '--results', {results!r}]; "
        "from bench.cli import main; main()"
    )
    assert min(cpu_seconds(code) for _ in range(3)) < 1.5


def test_help_names_every_command(bench) -> None:
    said = bench("--help")
    assert said.code == 0
    for name in COMMANDS:
        assert name in said.out


@pytest.mark.parametrize(
    ("arguments", "says", "hint"),
    [
        (["run", "--task", "sst3"], "no task is called 'sst3'", "sst2"),
        (["run", "--task", "sst2", "--recipe", "basline"], "no recipe is called", "baseline"),
        (["run", "--task", "sst2", "--model", "bert-bse"], "bert-bse", "bert-base"),
        (["run", "--task", "sst2", "--set", "epochs"], "names no value", "learning_rate"),
        (["run", "--task", "sst2", "--set", "epoch=2"], "epoch", "epochs"),
        (["run", "--task", "sst2", "--set", "epochs=many"], "epochs", ""),
        (["run", "--task", "sst2", "--budget", "much"], "not a budget", "kWh"),
        (["run", "--task", "sst2", "--region", "Germny"], "Germny", "Germany"),
        (["run", "--task", "sst2", "--device", "tpu"], "not a device", "cuda"),
        (["run", "--task", "sst2", "--data", "nowhere"], "nowhere", ""),
        (["run", "--task", "sst2", "--seed", "1", "--runs", "2"], "replays one run", ""),
        (["show", "abc"], "no run is called 'abc'", ""),
        (["compare", "abc"], "one run can't be compared", ""),
        (["leaderboard", "--by", "enrgy"], "enrgy", "energy"),
        (["tasks", "sst"], "no task", "sst2"),
    ],
)
def test_wrong_use_gets_one_line_a_hint_and_code_2(bench, arguments, says, hint) -> None:
    said = bench(*arguments)
    assert said.code == 2
    assert "Traceback" not in said.err
    error, *rest = [line for line in said.err.splitlines() if line.strip()]
    assert error.startswith("error: ")
    assert says in said.err
    assert all(line.startswith("hint: ") for line in rest)
    assert hint in "".join(rest)


def test_lists(bench) -> None:
    assert "SST-2" in bench("tasks").out
    assert "bench run --task sst2" in bench("tasks", "sst2").out
    assert "transformer-small" in bench("models").out
    assert "baseline" in bench("recipes").out
    assert "learning_rate" in bench("recipes", "baseline").out
    assert "edition 1.0" in bench("rules").out.lower()


def test_doctor_says_what_can_be_measured(bench) -> None:
    said = bench("doctor", "--json")
    assert said.code == 0
    assert {"nvml", "rapl"} <= {item["name"] for item in json.loads(said.out)["meters"]}
    assert "nvml" in bench("doctor").out


def test_an_empty_leaderboard_says_what_to_do(bench, tmp_path: Path) -> None:
    said = bench("leaderboard", "--results", tmp_path)
    assert said.code == 0
    assert "bench run" in said.out + said.err


WITHOUT_TORCH = """
import sys
for name in ("torch", "transformers", "datasets", "tokenizers", "safetensors"):
    sys.modules[name] = None
sys.argv = ["bench", *{arguments!r}]
from bench.cli import main
main()
"""


@pytest.mark.parametrize(
    "arguments", [[c] for c in COMMANDS if c not in ("run", "show", "compare")]
)
def test_everything_but_training_works_without_torch(tmp_path: Path, arguments: list[str]) -> None:
    code = WITHOUT_TORCH.format(arguments=arguments)
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


def test_training_without_torch_names_the_install_line(tmp_path: Path) -> None:
    code = WITHOUT_TORCH.format(arguments=["run", "--task", "sst2", "--data", "embedded"])
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 1
    assert "pip install 'wattbench[train]'" in done.stderr
