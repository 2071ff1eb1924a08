"""Finds checkpoints: a folder, an installed package, the local Hub cache, the Hub."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from bench.errors import BenchError, MissingExtra, UsageError

if TYPE_CHECKING:
    from bench.learn.models import Located
    from bench.learn.models.listed import Pretrained

FILES = ["config.json", "model.safetensors", "tokenizer.json"]
PREFLIGHT_S = 3.0


def listed_checkpoint(name: str, model: Pretrained) -> Located:
    """The pinned checkpoint, with its hash checked where the list has one."""
    from bench.learn.models import Located

    folder = _installed(model.package) or _from_hub(model.repository, model.revision)
    found = sha256(folder / "model.safetensors")
    if model.sha256 is None:
        note = f"the list has no hash for {name}: it is pinned by its revision alone"
        return Located("finetune", folder, found, [note])
    if found != model.sha256:
        raise BenchError(
            f"{folder / 'model.safetensors'} is not {name}: its SHA-256 is {found[:12]}…, "
            f"not {model.sha256[:12]}…",
            f"use it as a model of your own (track open): --model {folder}",
        )
    return Located("finetune", folder, found)


def foreign_checkpoint(name: str) -> Located:
    """A folder, or an id on the Hub (at `main`, or `owner/name@revision`)."""
    from bench.learn.models import Located

    if Path(name).is_dir():
        folder = Path(name).resolve()
        missing = [f for f in FILES if not (folder / f).is_file()]
        if missing:
            raise UsageError(
                f"{name} lacks {', '.join(missing)}",
                f"a checkpoint is a folder of {', '.join(FILES)} (pickled weights are not read)",
            )
    else:
        repository, _, revision = name.partition("@")
        folder = _from_hub(repository, revision or "main")
    return Located("open", folder, sha256(folder / "model.safetensors"))


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


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

    def fetch(file: str, **options: Any) -> str:
        return huggingface_hub.hf_hub_download(repository, file, revision=revision, **options)

    try:
        return _folder(fetch, local_files_only=True)
    except errors.LocalEntryNotFoundError:
        _preflight(repository)
    try:
        return _folder(fetch, etag_timeout=PREFLIGHT_S)
    except errors.GatedRepoError:
        message, hint = "asks for a login", "`hf auth login`, and accept its terms on its page"
    except errors.RepositoryNotFoundError:
        message, hint = "is not on the Hub (or is private)", "`bench models` lists those known"
    except errors.RevisionNotFoundError:
        message, hint = f"has no revision {revision}", "give owner/name@revision"
    except errors.RemoteEntryNotFoundError as error:
        message = f"lacks one of {', '.join(FILES)}"
        hint = "only safetensors are read; many models have them under another revision"
        if "model.safetensors" not in str(error):
            hint = "a fast tokenizer (tokenizer.json) is needed"
    except (errors.HfHubHTTPError, OSError) as error:
        message, hint = f"could not be downloaded: {str(error).splitlines()[0]}", "try again"
    raise BenchError(f"{repository} {message}", hint)


def _folder(fetch: Callable[..., str], **options: Any) -> Path:
    return [Path(fetch(file, **options)).parent for file in FILES][-1]


def _preflight(repository: str) -> None:
    """Fail within seconds where the Hub can't be reached: its client tries for minutes."""
    if os.environ.get("HF_HUB_OFFLINE", "0").upper() in ("1", "ON", "YES", "TRUE"):
        raise BenchError(f"{repository} is not in the local cache, and HF_HUB_OFFLINE is set")
    address = urlsplit(os.environ.get("HF_ENDPOINT", "https://huggingface.co"))
    host, port = address.hostname or "", address.port or (443 if address.scheme == "https" else 80)
    try:
        socket.create_connection((host, port), timeout=PREFLIGHT_S).close()
    except OSError as error:
        raise BenchError(
            f"{repository} is not in the local cache, and {host} can't be reached ({error})",
            "`--model transformer-small` needs no download; a mirror goes into HF_ENDPOINT",
        ) from None
