"""What names somebody's machine in a text that others will read: paths, hosts, users."""

from __future__ import annotations

import getpass
import re
import socket
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import PurePosixPath

_QUOTED = re.compile(r"""(?P<quote>['"])(?P<path>[/~][^'"\n]*)(?P=quote)""")
_NAME = r"/[^\s/'\"<>|:;,()\[\]{}`]+"
# Two names at least: one says little, and '/' divides units. One will do below a home.
_PATH = re.compile(
    rf"(?:(?<=file://)|(?<![\w/.~)\]}}%>…-]))(?:{_NAME}){{2,}}/?|(?<![\w/.~-])~[\w.-]*(?:{_NAME})+/?"
)
_OF_SYSTEMS = {"proc", "sys", "dev", "etc", "usr", "lib", "lib64", "bin", "sbin", "boot"}
_LIBRARIES = ("site-packages", "dist-packages")
_RUN = re.compile(r"[0-9a-f]{16}")
_OF_MANY = {
    "localhost", "host", "vm", "node", "debian", "ubuntu", "root", "user", "admin", "runner"
}  # fmt: skip
"""Hosts and users that are called so everywhere."""

PATH, HOST, USER = "<path>", "<host>", "<user>"


def paths(text: str) -> list[str]:
    """The absolute paths in a text, but for those that every machine of a system has."""
    found = [m["path"] for m in _QUOTED.finditer(text)]
    found += [m[0] for m in _PATH.finditer(text)]
    return [path for path in dict.fromkeys(found) if _tells(path)]


def without_paths(text: str) -> str:
    """With what is no machine's own in their place: `…/site-packages/…`, the name of a file of
    Python or of a run, or `<path>`."""
    if "/" not in text:
        return text
    text = _QUOTED.sub(lambda m: m["quote"] + short(m["path"]) + m["quote"], text)
    return _PATH.sub(lambda m: short(m[0]), text)


def without(text: str) -> str:
    """Without paths, and without the names of this host and of who uses it."""
    text = without_paths(text)
    for name, instead in _names_here():
        text = _whole(name).sub(instead, text)
    return text


def hosts(text: str) -> list[str]:
    """The names of this host and its user, as far as they are in a text."""
    return [name for name, _ in _names_here() if _whole(name).search(text)]


def is_of_many(host: str) -> bool:
    """Whether a host of this name could be anybody's."""
    return host.lower() in _OF_MANY


def short(path: str) -> str:
    """What stands in the place of an absolute path; any other is as it is."""
    if not _tells(path):
        return path
    parts = PurePosixPath(path).parts
    for library in _LIBRARIES:
        if library in parts:
            return "/".join(["…", *parts[parts.index(library) :]])
    last = parts[-1]
    return f"…/{last}" if last.endswith(".py") or _RUN.fullmatch(last) else PATH


def _tells(path: str) -> bool:
    if not path.startswith(("/", "~")):
        return False
    parts = PurePosixPath(path).parts
    return len(parts) > 1 and parts[1] not in _OF_SYSTEMS


def _names_here() -> Iterator[tuple[str, str]]:
    """Each with what stands in its place. A user's name may be any word: it counts before an @."""
    host, user = _host(), _user()
    for name in dict.fromkeys([host, host.partition(".")[0]]):
        if name and not is_of_many(name):
            yield name, HOST
    if user and not is_of_many(user):
        yield f"{user}@", f"{USER}@"


def _whole(name: str) -> re.Pattern[str]:
    return re.compile(rf"(?<![\w.-]){re.escape(name)}" + ("" if name[-1] == "@" else r"(?![\w-])"))


_host: Callable[[], str] = socket.gethostname


@cache
def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a user without a name
        return ""
