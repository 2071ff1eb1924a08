"""Text of a page from its template. What a record says may be hostile: every text that a template
shows is made plain here, then escaped."""

from __future__ import annotations

import hashlib
import json
from functools import cache, lru_cache, partial
from typing import TYPE_CHECKING, Any

from bench import __version__
from bench.errors import MissingExtra
from bench.rank.render import plain
from bench.site import paths

if TYPE_CHECKING:
    from jinja2 import Environment

LONGEST = 1000  # characters of one text
TRACKS = {"scratch": "from scratch", "finetune": "fine-tuned", "open": "open track"}
"""As people read them; templates have it as `tracks`."""
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "font-src 'self'; base-uri 'none'; form-action 'none'"
)
"""What a page may load: nothing of others, nothing inline. `bench site serve` sends it as well."""


def render(template: str, at: str, **facts: Any) -> str:
    """The page at `at`; its template has `link(to)`, the address of another page of the site."""
    link = partial(paths.relative, at)
    return environment().get_template(template).render(at=at, link=link, **facts)


@cache
def environment() -> Environment:
    """MissingExtra without jinja2."""
    try:
        from jinja2 import Environment, PackageLoader, StrictUndefined
    except ImportError:
        raise MissingExtra("a site", "site") from None
    made = Environment(
        loader=PackageLoader("bench.site"), autoescape=True, undefined=StrictUndefined,
        finalize=_shown, trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    made.globals |= {"paths": paths, "policy": POLICY, "version": __version__, "tracks": TRACKS}
    made.filters["short"] = _short
    return made


def _shown(value: Any) -> Any:
    """Markup, which a template or this package has made, stays as it is."""
    if isinstance(value, str) and not hasattr(value, "__html__"):
        return _short(value)
    return value


def _short(text: str, longest: int = LONGEST) -> str:
    """As `plain`; what is said on every page is looked at once."""
    return _known(text, longest) if len(text) < _OFTEN else plain(text, longest)


_OFTEN = 60  # signs of what many pages say: longer texts are sentences about one thing
_known = lru_cache(1 << 14)(plain)


def number(text: str) -> str:
    """A number as it is set: with a minus sign, since a hyphen is shorter than a plus."""
    return text.strip().replace("-", "−")


def as_script(call: str, *facts: Any) -> str:
    """A classic script that hands over facts: `bench.run({...})`. No text in it can end a script
    element or a line of it."""
    said = ",".join(json.dumps(f, separators=(",", ":"), allow_nan=False) for f in facts)
    for sign in "<>&\u2028\u2029":
        said = said.replace(sign, f"\\u{ord(sign):04x}")
    return f"{call}({said});\n"


def digest(*facts: Any) -> str:
    """Of what a piece follows from: anything whose `repr` says all of it."""
    return hashlib.sha256(repr(facts).encode("utf-8", "surrogatepass")).hexdigest()[:24]
