"""Text for a terminal of any width, in which no number is parted from its unit or its range."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderableType
    from rich.measure import Measurement

_UNITS = r"(?:kWh|Wh|kg|g|lb|t|USD|hours?|h|kW|W|mJ|µJ|J|GB|TFLOP/s|k|M|B)(?![\w-])|%"
_WITHIN = re.compile(
    rf"(?<=\d) (?=to [\d-])|(?<=\d to) (?=[\d-])|(?<=[\d±≈]) (?={_UNITS})|(?<=[\dg] [kMBg]) (?=\w)"
    r"|(?<=[ k]g) (?=CO2e)|(?<=\d) (?=±)|(?<=±) (?=\d)"
)
_NO_BREAK = "\N{NO-BREAK SPACE}"


def wrapped(text: str, width: int) -> str:
    """Lines of at most so many characters, as far as words and numbers with their units are; what
    goes on of an indented line is indented further."""
    lines = []
    for line in text.splitlines():
        indent = line[: len(line) - len(line.lstrip())]
        lines += textwrap.wrap(
            _WITHIN.sub(_NO_BREAK, line), max(width, 1), break_on_hyphens=False,
            subsequent_indent=2 * indent,
        )  # fmt: skip
    return "\n".join(lines).replace(_NO_BREAK, " ")


class Wrapped:
    """The same for Rich, at whatever width it is shown."""

    def __init__(self, text: str, style: str = "") -> None:
        self._text, self._style = text, style

    def __rich_console__(
        self, console: Console, options: ConsoleOptions
    ) -> Iterator[RenderableType]:
        from rich.text import Text

        yield Text(wrapped(self._text, options.max_width), self._style)

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        from rich.measure import Measurement

        least = max(map(len, wrapped(self._text, 1).split("\n")))
        most = max(map(len, self._text.split("\n")))
        return Measurement(least, most).with_maximum(options.max_width)
