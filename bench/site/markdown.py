"""Markdown of this repository as HTML of the site: its links lead to the site's pages, and nothing
in it can do harm.

HTML in it is text. A link leads to a page of the site or out by https; any other is what it says,
without a link.
"""

from __future__ import annotations

import html
import posixpath
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from bench.errors import MissingExtra
from bench.site import paths

if TYPE_CHECKING:
    from markdown_it import MarkdownIt
    from markdown_it.token import Token
    from markupsafe import Markup

    from bench.site.contents import Contents

BESIDE = "bench/docs"  # where the documents lie in the repository
PICTURES = (".svg", ".png")
_UNSEEN = re.compile("[\u00ad\u061c\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufeff]")
"""Signs that can't be seen, and those that turn reading around."""


@dataclass(frozen=True)
class Heading:
    id: str
    text: Markup  # without links
    level: int


@dataclass(frozen=True)
class Read:
    """A text with its first heading apart, where it begins with one."""

    title: Markup
    body: Markup
    headings: tuple[Heading, ...]  # of the body
    first: str  # sentence of its first paragraph


def from_markdown(text: str, at: str, contents: Contents | None = None) -> Markup:
    """All of a text for the page at `at`. Links to results lead somewhere where `contents` has
    them."""
    tokens = _tokens(text, at, contents)
    return _html(tokens)


def read(text: str, at: str, contents: Contents | None = None) -> Read:
    tokens = _tokens(text, at, contents)
    title = _bare([])
    if tokens and tokens[0].type == "heading_open" and tokens[0].tag == "h1":
        title = _bare(tokens[1].children or [])
        tokens = tokens[3:]
    return Read(
        title=title,
        body=_html(tokens),
        headings=tuple(
            Heading(str(token.attrs["id"]), _bare(inline.children or []), int(token.tag[1:]))
            for token, inline in pairwise(tokens)
            if token.type == "heading_open"
        ),
        first=_first_sentence(tokens),
    )


def _tokens(text: str, at: str, contents: Contents | None) -> list[Token]:
    found = _parser().parse(_UNSEEN.sub("", text))
    _name_headings(found)
    for token in found:
        if token.children:
            token.children = list(_relinked(token.children, at, contents))
    return list(_tables(found))


@cache
def _parser() -> MarkdownIt:
    """CommonMark and tables. MissingExtra without markdown-it."""
    try:
        from markdown_it import MarkdownIt
    except ImportError:
        raise MissingExtra("a site", "site") from None
    parser = MarkdownIt("commonmark", {"html": False}).enable("table")
    for name in ("fence", "code_block"):
        parser.add_render_rule(name, _code)
    return parser


def _html(tokens: Sequence[Token]) -> Markup:
    """Of what the parser made: it escapes every text."""
    from markupsafe import Markup

    return Markup(_parser().renderer.render(tokens, _parser().options, {}))


def _code(renderer: Any, tokens: Sequence[Token], at: int, *options: Any) -> str:
    """A keyboard can scroll it."""
    return f'<pre tabindex="0"><code>{html.escape(tokens[at].content, quote=False)}</code></pre>\n'


def _bare(children: Sequence[Token]) -> Markup:
    """Without links, as a link's own text or a title has room for none."""
    from markdown_it.token import Token

    kept = [t for t in children if t.type not in ("link_open", "link_close", "image")]
    return _html([Token("inline", "", 0, children=kept)])


def _text(children: Sequence[Token]) -> str:
    return html.unescape(_bare(children).striptags())


def _first_sentence(tokens: Sequence[Token]) -> str:
    for token, inline in pairwise(tokens):
        if token.type == "paragraph_open" and token.level == 0:
            return re.split(r"(?<=[.?!])\s", _text(inline.children or []), maxsplit=1)[0]
    return ""


# --- headings ----------------------------------------------------------------------------------


def _name_headings(tokens: Sequence[Token]) -> None:
    """Each has an id, as links of the documents name it: that of GitHub."""
    taken: dict[str, int] = {}
    for token, inline in pairwise(tokens):
        if token.type == "heading_open":
            said = "".join(t.content for t in inline.children or [] if t.content)
            token.attrs["id"] = _id(said, taken)


def _id(said: str, taken: dict[str, int]) -> str:
    name = re.sub(r"[^\w\- ]", "", said.lower()).replace(" ", "-") or "section"
    times = taken[name] = taken.get(name, -1) + 1
    return f"{name}-{times}" if times else name


# --- links -------------------------------------------------------------------------------------


def _relinked(children: Sequence[Token], at: str, contents: Contents | None) -> Iterator[Token]:
    """With links and pictures that lead somewhere, and what the others say."""
    from markdown_it.token import Token

    leads = file = False
    for token in children:
        if token.type == "link_open":
            href = str(token.attrs["href"])
            to = address(href, at, contents)
            leads, file = to is not None, to is None and _is_file(href)
            if to is None:
                continue
            token.attrs = {"href": to}
            if to.startswith("https:"):
                token.attrs["rel"] = "noopener noreferrer"
        elif token.type == "link_close" and not leads:
            file = False
            continue
        elif token.type == "image":
            to = _picture(str(token.attrs["src"]), at)
            said = token.content
            token = _picture_token(token, to) if to else Token("text", "", 0, content=said)
        elif token.type == "text" and file:
            token = Token("code_inline", "code", 0, content=token.content)
        yield token


def address(href: str, at: str, contents: Contents | None = None) -> str | None:
    """Where a link leads from the page at `at`; None if it is neither https nor to a page."""
    if href.startswith("https://"):
        return href
    if href.startswith("#"):
        return href
    path, mark, fragment = href.partition("#")
    to = next((to for file in _files(path) if (to := _page(file, contents))), None)
    return to and paths.relative(at, to) + mark + fragment


def _files(path: str) -> tuple[str, str]:
    """A path beside the documents, or one below the repository's root."""
    return posixpath.normpath(f"{BESIDE}/{path}"), posixpath.normpath(path)


def _is_file(href: str) -> bool:
    """Of the repository, not on the site."""
    return re.fullmatch(r"[\w./+-]+", href) is not None and href[0] != "/" and "results" not in href


def _page(file: str, contents: Contents | None) -> str | None:
    """The page of a file of the repository."""
    folder, name = posixpath.split(file)
    if folder == BESIDE and name.endswith(".md"):
        return paths.document(name.removesuffix(".md"))
    if folder == "tasks" and name.endswith(".toml"):
        return f"{paths.TASKS}#{name.removesuffix('.toml')}"
    if file == "tasks":
        return paths.TASKS
    if file == "CHANGELOG.md":
        return paths.CHANGES
    if file.partition("/")[0] == "results" and contents:
        return _result(file.split("/")[1:], contents)
    return None


def _result(parts: Sequence[str], contents: Contents) -> str | None:
    match parts:
        case []:
            return paths.HOME
        case [task]:
            return paths.board(task) if task in contents.tasks else None
        case [task, name]:
            return paths.entry(f"{task}/{name}") if f"{task}/{name}" in contents.by_place else None
        case [task, name, run_id]:
            runs = contents.by_place.get(f"{task}/{name}", ())
            return paths.run(run_id) if any(r.record.run_id == run_id for r in runs) else None
    return None


def _picture(source: str, at: str) -> str | None:
    """One that lies beside the documents."""
    beside = re.fullmatch(r"[\w-]+(\.\w+)", source)
    return paths.relative(at, paths.picture(source)) if beside and beside[1] in PICTURES else None


def _picture_token(token: Token, to: str) -> Token:
    token.attrs = {"src": to, "alt": token.content, "class": "picture", "loading": "lazy"}
    return token


# --- tables ------------------------------------------------------------------------------------


def _tables(tokens: Sequence[Token]) -> Iterator[Token]:
    """In a region that scrolls; numbers right; a row of rules has the rule's id."""
    from markdown_it.token import Token

    said, of_rules, taken = "", False, dict[str, int]()
    for i, token in enumerate(tokens):
        if token.type == "heading_open":
            said = _text(tokens[i + 1].children or [])
        elif token.type in ("th_open", "td_open"):
            _cell(token, tokens[i + 1].content)
        elif token.type == "th_close" and not tokens[i - 1].content:
            token.tag = "td"
        elif token.type == "thead_open":
            of_rules = tokens[i + 3].content == "rule"
        elif token.type == "tr_open" and of_rules and (rule := _rule(tokens, i)):
            token.attrs["id"] = rule
        if token.type == "table_open":
            yield Token("div_open", "div", 1, attrs=_region(said, taken), block=True)
        yield token
        if token.type == "table_close":
            yield Token("div_close", "div", -1, block=True)


def _region(said: str, taken: dict[str, int]) -> dict[str, str | int | float]:
    """Named by the heading above; of several, each by another name."""
    times = taken[said] = taken.get(said, 0) + 1
    label = ("Table" if times == 1 else f"Table {times}") + (f": {said}" if said else "")
    return {"class": "scroll", "tabindex": 0, "role": "region", "aria-label": label}


def _cell(token: Token, said: str) -> None:
    """A heading that says nothing is none."""
    right = "right" in str(token.attrs.pop("style", ""))
    if right:
        token.attrs["class"] = "n"
    if token.type == "th_open":
        if said:
            token.attrs["scope"] = "col"
        else:
            token.tag = "td"


def _rule(tokens: Sequence[Token], at: int) -> str | None:
    """The id of the rule that a row is of: D4."""
    first = tokens[at + 2].content if tokens[at + 1].type == "td_open" else ""
    return first if re.fullmatch(r"[A-Z]\d{1,2}", first) else None
