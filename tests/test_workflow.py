"""The workflows: what checks pull requests may read, knows no secret, and does on a real merge what
it is there for; what publishes the site makes one, and only its last job may write."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.checks import bundles
from tests.conftest import REPOSITORY

yaml = pytest.importorskip("yaml")

PATH = REPOSITORY / ".github/workflows/check.yml"
WORKFLOW: dict[Any, Any] = yaml.safe_load(PATH.read_text(encoding="utf-8"))
STEPS = WORKFLOW["jobs"]["check"]["steps"]


def test_it_may_read_and_nothing_else() -> None:
    assert WORKFLOW["permissions"] == {"contents": "read"}
    assert all("permissions" not in job for job in WORKFLOW["jobs"].values())
    assert "secrets" not in PATH.read_text(encoding="utf-8")
    assert list(WORKFLOW[True]) == ["pull_request"]  # YAML 1.1 reads `on` as true


def test_actions_are_pinned_and_keep_no_token() -> None:
    used = [step for step in STEPS if "uses" in step]
    assert all(re.search(r"@[0-9a-f]{40}$", step["uses"]) for step in used)
    checkouts = [step["with"] for step in used if "checkout" in step["uses"]]
    assert checkouts
    assert all(c["persist-credentials"] is False for c in checkouts)
    assert all(c["submodules"] is False and c["lfs"] is False for c in checkouts)


def test_no_step_takes_a_text_of_the_pull_request_into_a_shell() -> None:
    assert not [step["run"] for step in STEPS if "${{" in step.get("run", "")]


def test_what_is_installed_and_run_is_the_branchs_own() -> None:
    (install,) = [step["run"] for step in STEPS if "pip install" in step.get("run", "")]
    assert install.split()[-1] == "./present"
    assert STEPS[-1]["working-directory"] == "present"


def git(folder: Path, *arguments: str) -> None:
    said = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_AUTHOR_DATE": "2026-01-01T00:00:00Z"}
    options = ["-c", "user.name=A", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false"]
    subprocess.run(
        ["git", *options, *arguments], cwd=folder, check=True, capture_output=True,
        env={**os.environ, **said},
    )  # fmt: skip


@pytest.fixture
def merge(tmp_path: Path) -> Path:
    """A checkout of the merge that a pull request with a new entry proposes: `proposed`."""
    origin = tmp_path / "proposed"
    bundles.write(origin / "results", name="old")
    git(tmp_path, "init", "-q", "-b", "main", str(origin))
    git(origin, "add", ".")
    git(origin, "commit", "-qm", "base")
    git(origin, "switch", "-qc", "submission")
    bundles.write(origin / "results", bundles.plans(first=3), name="new")
    (origin / "bench.py").write_text("raise SystemExit('code of the pull request was run')")
    git(origin, "add", ".")
    git(origin, "commit", "-qm", "an entry")
    git(origin, "switch", "-q", "main")
    git(origin, "commit", "-q", "--allow-empty", "-m", "went on")
    git(origin, "merge", "-q", "--no-ff", "submission")
    return tmp_path


def run_steps(folder: Path) -> subprocess.CompletedProcess[str]:
    """What the workflow runs, less the installation."""
    (worktree,) = [s["run"] for s in STEPS if "worktree" in s.get("run", "")]
    subprocess.run(worktree, shell=True, cwd=folder, check=True, capture_output=True)
    command = STEPS[-1]["run"].replace("python", sys.executable, 1)
    return subprocess.run(
        command, shell=True, cwd=folder / "present", capture_output=True, text=True, check=False,
        env={**os.environ, "BENCH_TASKS": str(folder / "tasks")},
    )  # fmt: skip


def test_its_steps_check_the_entry_that_a_merge_adds(merge: Path) -> None:
    bundles.write_card(merge / "tasks")
    said = run_steps(merge)
    assert said.returncode == 0, said.stdout + said.stderr
    assert "::warning file=results/toy/new/entry.json," in said.stdout  # and stops nobody
    assert "::notice title=bench check::toy/new" in said.stdout


def test_its_steps_refuse_a_merge_that_changes_what_stands(merge: Path) -> None:
    bundles.write_card(merge / "tasks")
    shutil.rmtree(merge / "proposed/results/toy/old")
    git(merge / "proposed", "add", ".")
    git(merge / "proposed", "commit", "-q", "--amend", "--no-edit")
    said = run_steps(merge)
    assert said.returncode == 1, said.stdout + said.stderr
    assert "::error" in said.stdout
    assert "H9" in said.stdout


# --- the site ----------------------------------------------------------------------------------

SITE = REPOSITORY / ".github/workflows/site.yml"
PUBLISH: dict[Any, Any] = yaml.safe_load(SITE.read_text(encoding="utf-8"))
JOBS = PUBLISH["jobs"]


def test_only_the_job_that_publishes_may_write_and_it_runs_nothing() -> None:
    assert PUBLISH["permissions"] == {}
    assert JOBS["build"]["permissions"] == {"contents": "read"}
    assert JOBS["publish"]["permissions"] == {"pages": "write", "id-token": "write"}
    assert not [step for step in JOBS["publish"]["steps"] if "run" in step]
    assert "secrets" not in SITE.read_text(encoding="utf-8")


def test_the_site_is_published_from_the_default_branch_alone_and_one_at_a_time() -> None:
    on = PUBLISH[True]
    assert list(on) == ["push", "workflow_dispatch"]
    assert on["push"]["branches"] == ["main"]
    assert {"results/**", "tasks/**", "bench/**"} <= set(on["push"]["paths"])
    assert PUBLISH["concurrency"] == {"group": "pages", "cancel-in-progress": False}


def test_the_actions_of_the_site_are_pinned_and_keep_no_token() -> None:
    steps = [step for job in JOBS.values() for step in job["steps"]]
    used = [step for step in steps if "uses" in step]
    assert all(re.search(r"@[0-9a-f]{40}$", step["uses"]) for step in used)
    assert used[0]["with"]["persist-credentials"] is False
    assert not [step["run"] for step in steps if "${{" in step.get("run", "")]


def test_its_step_makes_the_site_that_is_published(tmp_path: Path) -> None:
    bundles.write(tmp_path / "results", name="first")
    bundles.write_card(tmp_path / "cards")
    (build,) = [s["run"] for s in JOBS["build"]["steps"] if "site build" in s.get("run", "")]
    said = subprocess.run(
        build.replace("python", sys.executable, 1), shell=True, cwd=tmp_path, capture_output=True,
        text=True, check=False,
        env={
            **os.environ, "BENCH_TASKS": str(tmp_path / "cards"),
            "GITHUB_REPOSITORY": "somebody/bench", "GITHUB_REPOSITORY_OWNER": "somebody",
        },
    )  # fmt: skip
    assert said.returncode == 0, said.stdout + said.stderr
    assert said.stderr == ""
    (upload,) = [s["with"] for s in JOBS["build"]["steps"] if "upload" in s.get("uses", "")]
    site = tmp_path / upload["path"]
    assert (site / "index.html").is_file()
    assert "https://somebody.github.io/bench/" in (site / "feed.xml").read_text()
