"""A task's data on the Hugging Face Hub, and in the caches that its client fills.

Caches are read without importing the client. A download runs `datasets` in a process of its own:
it freezes its settings when imported, and tries an answerless host for minutes, so a request of
three seconds at most decides first whether to start it at all.
"""

from __future__ import annotations

import http.client
import importlib.util
import json
import os
import re
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from bench.cards import HubFiles
from bench.errors import BenchError, MissingExtra

PREFLIGHT_S = 3.0
DOWNLOAD_S = 600.0


def endpoint() -> str:
    return os.environ.get("HF_ENDPOINT", "https://huggingface.co").rstrip("/")


def cached(hub: HubFiles) -> dict[str, list[Path]] | None:
    """The files of each split in the local caches, at the pinned revision; None when they are not
    all there: the Hub client's Parquet files, or the Arrow files that `datasets` made."""
    owner, _, name = hub.repo.partition("/")
    client = _cache("hub", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE") / f"datasets--{owner}--{name}"
    config = "data" if hub.config == "default" else hub.config
    places = [(client / "snapshots" / hub.revision / config, "{}-*.parquet")]
    for folder in _cache("datasets", "HF_DATASETS_CACHE").glob(
        f"{owner}___{name}/{hub.config}/*/{hub.revision}"
    ):
        places += [(folder, "*-{}.arrow"), (folder, "*-{}-*.arrow")]
    for folder, pattern in places:
        found = {split: shards(folder, pattern.format(split)) for split in hub.splits}
        if all(found.values()):
            return found
    return None


def shards(folder: Path, pattern: str) -> list[Path]:
    """The files of one split in order; none of them if one of `...-of-00003.*` is missing."""
    found = sorted(folder.glob(pattern))
    wanted = re.search(r"-of-(\d+)\.", found[0].name) if found else None
    return found if not wanted or len(found) == int(wanted[1]) else []


def _cache(folder: str, *variables: str) -> Path:
    """Where the Hub's client keeps a cache: it is told by the same variables."""
    for variable in variables:
        if os.environ.get(variable):
            return Path(os.environ[variable]).expanduser()
    caches = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    home = os.environ.get("HF_HOME") or os.path.join(caches, "huggingface")
    return Path(home).expanduser() / folder


def download(hub: HubFiles) -> dict[str, list[Path]]:
    """Download the pinned revision through `datasets`; the files of each split.

    BenchError, within about three seconds, when the Hub can't be reached or refuses.
    """
    for variable in ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE"):
        if os.environ.get(variable, "").upper() in ("1", "ON", "YES", "TRUE"):
            raise BenchError(f"the Hub was not asked, because {variable} is set")
    if not importlib.util.find_spec("datasets"):
        raise MissingExtra("data from the Hub")
    preflight(f"{endpoint()}/api/datasets/{hub.repo}/revision/{hub.revision}")
    answer = _run_datasets(hub)
    return {split: [Path(f) for f in answer[split]] for split in hub.splits}


def preflight(address: str) -> None:
    """BenchError unless the Hub answers for `address` in time.

    In a thread, because resolving a name can't be given a time limit.
    """
    failure = [f"did not answer within {PREFLIGHT_S:g} s"]

    def ask() -> None:
        failure[:] = _complaint(address)

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(PREFLIGHT_S)
    if failure:
        raise BenchError(f"the Hub at {endpoint()} {failure[0]}")


def _complaint(address: str) -> list[str]:
    """What is wrong with the Hub's answer; nothing if it is as it should be."""
    try:
        request = urllib.request.Request(address, headers={"User-Agent": "wattbench"})
        if token := _token():
            request.add_unredirected_header("Authorization", f"Bearer {token}")
        with urllib.request.urlopen(request, timeout=PREFLIGHT_S) as answer:
            json.load(answer)
    except urllib.error.HTTPError as error:
        error.close()
        return [_refusal(error.code)]
    except TimeoutError:
        return [f"did not answer within {PREFLIGHT_S:g} s"]
    except urllib.error.URLError as error:
        return [f"can't be reached: {error.reason}"]
    except (OSError, http.client.HTTPException) as error:
        return [f"can't be reached: {error or type(error).__name__}"]
    except ValueError as error:  # a bad HF_ENDPOINT, or the page of a hotel's network
        return [f"gave no answer that a Hub gives: {error}"]
    return []


_REFUSALS = {
    401: "it wants a token (HF_TOKEN), or has no such repository",
    403: "the token (HF_TOKEN) does not give access",
    404: "it has no such repository or revision",
    429: "too many requests: try again later, or set HF_TOKEN",
}


def _refusal(status: int) -> str:
    meaning = _REFUSALS.get(status) or http.client.responses.get(status, "no reason given").lower()
    return f"answered {status}: {meaning}"


def _token() -> str | None:
    """The user's token, as the Hub's client finds it."""
    try:
        from huggingface_hub import get_token
    except ImportError:
        return os.environ.get("HF_TOKEN")
    return get_token()


def _run_datasets(hub: HubFiles) -> dict[str, list[str]]:
    root = str(Path(__file__).parents[2])
    environment = {
        **os.environ,
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "HF_DATASETS_DISABLE_PROGRESS_BARS": "1",
        "PYTHONPATH": os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")])),
    }
    asked = [hub.repo, hub.config, hub.revision, *hub.splits]
    try:
        child = subprocess.run(
            [sys.executable, "-P", "-m", "bench.learn.hub", *asked],
            env=environment, capture_output=True, text=True, timeout=DOWNLOAD_S, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise BenchError(f"downloading {hub.repo} took more than {DOWNLOAD_S:g} s") from None
    try:
        answer = json.loads(child.stdout.splitlines()[-1])
    except (IndexError, ValueError):
        last = (child.stderr.strip() or f"exit code {child.returncode}").splitlines()[-1]
        raise BenchError(f"downloading {hub.repo} failed: {last}") from None
    if "failure" in answer:
        raise BenchError(f"downloading {hub.repo} failed: {answer['failure']}")
    return answer


def main(repo: str, config: str, revision: str, *splits: str) -> None:
    """The child: print where `datasets` put each split's Arrow files, or why it did not."""
    try:
        from datasets import load_dataset

        loaded = load_dataset(repo, config, revision=revision)
        files = {s: [f["filename"] for f in loaded[s].cache_files] for s in splits}
        print(json.dumps(files))
    except Exception as error:  # of any kind: the parent is told, and takes the next source
        print(json.dumps({"failure": _cause(error)}))


def _cause(error: BaseException) -> str:
    """The one line that says most: the Hub's refusal if there is one, else the first cause."""
    chain = list(_chain(error))
    for link in chain:
        status = getattr(getattr(link, "response", None), "status_code", None)
        if isinstance(status, int):
            return f"the Hub {_refusal(status)}"
    lines = str(chain[-1]).strip().splitlines()
    return f"{type(chain[-1]).__name__}: {lines[0] if lines else 'no reason given'}"


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


if __name__ == "__main__":
    main(*sys.argv[1:])
