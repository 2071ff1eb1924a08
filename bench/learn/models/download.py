"""Finds checkpoints: a folder, an installed package, the local Hub cache, the Hub."""

from __future__ import annotations

import importlib.util
import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from bench.errors import BenchError, MissingExtra, UsageError
from bench.learn import hub
from bench.record import file_sha256

if TYPE_CHECKING:
    from bench.learn.models.listed import Pretrained
    from bench.learn.objectives import ModelKind

Track = Literal["scratch", "finetune", "open"]
TRACKS: list[Track] = ["scratch", "finetune", "open"]
"""A run is on the last of those of the models that it uses."""
FILES = ["config.json", "model.safetensors", "tokenizer.json"]
OWN: dict[str, ModelKind] = {
    "bench-encoder": "encoder",
    "bench-decoder": "decoder",
    "bench-encoder-decoder": "encoder-decoder",
    "bench-elmo": "elmo",
}
"""What transformers does not have: the model_type of weights that a run of bench has kept."""


@dataclass(frozen=True)
class Located:
    """Where a model's weights are. `folder` and `sha256` are None for one from scratch."""

    track: Track
    folder: Path | None = None
    sha256: str | None = None
    notes: list[str] = field(default_factory=list)


def listed_checkpoint(name: str, model: Pretrained) -> Located:
    """The pinned checkpoint, with its hash checked where the list has one."""
    folder = _installed(model.package) or _from_hub(model.repository, model.revision)
    found = file_sha256(folder / "model.safetensors")
    if model.sha256 is None:
        note = f"the list has no hash for {name}, only a revision: it runs on the track open"
        return Located("open", folder, found, [note])
    if found != model.sha256:
        raise BenchError(
            f"{folder / 'model.safetensors'} is not {name}: its SHA-256 is {found[:12]}…, "
            f"not {model.sha256[:12]}…",
            f"use it as a model of your own (track open): --model {folder}",
        )
    return Located("finetune", folder, found)


def foreign_checkpoint(name: str) -> Located:
    """A folder, or an id on the Hub (at `main`, or `owner/name@revision`)."""
    if Path(name).is_dir():
        folder = Path(name).resolve()
        missing = [f for f in files(folder) if not (folder / f).is_file()]
        if missing:
            raise UsageError(
                f"{name} lacks {', '.join(missing)}",
                f"a checkpoint is a folder of {', '.join(FILES)} (pickled weights are not read)",
            )
    else:
        repository, _, revision = name.partition("@")
        folder = _from_hub(repository, revision or "main")
    return Located("open", folder, file_sha256(folder / "model.safetensors"))


def config_of(folder: str | Path) -> dict[str, Any]:
    """What a folder's config.json says; nothing where there is none that can be read."""
    try:
        config = json.loads((Path(folder) / "config.json").read_bytes())
    except (OSError, ValueError):  # what is wrong with a folder is said when it is located
        return {}
    return config if isinstance(config, dict) else {}


def kind_of(name: str | Path) -> ModelKind:
    """What a folder's config.json says of it; of a model on the Hub nothing is known yet."""
    kind = config_of(name).get("model_type")
    return "decoder" if kind == "gpt2" else OWN.get(str(kind), "encoder")


def files(folder: Path) -> list[str]:
    """What makes a checkpoint. ELMo's words are read as they are: it has no tokenizer."""
    return FILES[:2] if kind_of(folder) == "elmo" else FILES


def _installed(package: tuple[str, str] | None) -> Path | None:
    """The folder inside an installed package (import name, folder), if it is installed."""
    if package is None:
        return None
    found = importlib.util.find_spec(package[0])  # does not run the package
    if found is None or not found.submodule_search_locations:
        return None
    folder = Path(found.submodule_search_locations[0]) / package[1]
    return folder if (folder / "model.safetensors").is_file() else None


def _from_hub(repository: str, revision: str) -> Path:
    """The folder of the three files in the local Hub cache, downloaded if they are not there."""
    try:
        import huggingface_hub
        from huggingface_hub import errors
    except ImportError:
        raise MissingExtra("a pretrained model") from None

    def fetch(**options: Any) -> Path:
        paths = [
            huggingface_hub.hf_hub_download(repository, file, revision=revision, **options)
            for file in FILES
        ]
        return Path(paths[0]).parent

    try:
        return fetch(local_files_only=True)
    except errors.LocalEntryNotFoundError:
        _preflight(repository, revision)
    try:
        return fetch(endpoint=hub.endpoint(), etag_timeout=hub.PREFLIGHT_S)
    except errors.GatedRepoError:
        message, hint = "asks for a login", "`hf auth login`, and accept its terms on its page"
    except errors.RemoteEntryNotFoundError as error:
        missing = next((f for f in FILES if f in str(error)), "a file")
        message, hint = f"has no {missing}", f"a checkpoint is {', '.join(FILES)}"
    except (errors.HfHubHTTPError, OSError) as error:
        message, hint = f"could not be downloaded: {str(error).splitlines()[0]}", "try again"
    raise BenchError(f"{repository} {message}", hint)


def _preflight(repository: str, revision: str) -> None:
    """Fail within seconds where the Hub can't be used: its client tries again for minutes."""
    hint = (
        "--scratch, or a model such as transformer-small, needs no download; a mirror goes into "
        "HF_ENDPOINT"
    )
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE"):
        raise BenchError(f"{repository} is not in the local cache, and HF_HUB_OFFLINE is set", hint)
    try:
        hub.preflight(f"{hub.endpoint()}/api/models/{repository}/revision/{revision}")
    except BenchError as error:
        reason = f"{repository} is not in the local cache, and {error.message}"
        raise BenchError(reason, hint) from None
