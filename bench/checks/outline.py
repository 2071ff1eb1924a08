"""What a Parquet file says of its parts, read before any library opens it: a footer of some bytes
can claim billions of rows, one page of some kilobytes can unpack to gigabytes, and many columns can
all lie in the same bytes. What is refused raises `Fault`.

Format: parquet-format's `parquet.thrift`, in Thrift's compact protocol. Only what bench itself
writes is let through: plain, dictionary and run-length encodings, not packed or by Snappy or Zstd.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

from bench.checks.safe import Fault

RULE = "S7"
MAGIC = b"PAR1"
MOST_ROWS, MOST_VALUES = 20_000_000, 100_000_000  # of a file; of a column of lists
MOST_UNPACKED_BYTES, MOST_PAGE_BYTES = 2 << 30, 256 << 20
MOST_CHUNKS, MOST_PAGES = 10_000, 100_000
_MOST_PARTS, _MOST_NESTED = 1_000_000, 16  # of what Thrift says
_CODECS = {0, 1, 6}  # none, Snappy, Zstd
_ENCODINGS = {0, 2, 3, 8}  # plain, dictionary (old), run lengths, dictionary
_DATA, _DICTIONARY, _DATA_2 = 0, 2, 3  # pages
_HEADS = {_DATA: 5, _DICTIONARY: 7, _DATA_2: 8}  # the field that describes such a page

Struct = dict[int, Any]
Wanted = TypeVar("Wanted")


@dataclass(frozen=True)
class Chunk:
    """A column of a group of rows: where it lies, and what it is said to hold."""

    begin: int
    end: int
    values: int
    codec: int


def check(data: bytes) -> None:
    """Fault where a file is not Parquet of bearable size."""
    if len(data) < 12 or data[:4] != MAGIC or data[-4:] != MAGIC:
        raise Fault(RULE, "is not Parquet")
    length = int.from_bytes(data[-8:-4], "little")
    end = len(data) - 8 - length
    if end < 4:
        raise Fault(RULE, "is not Parquet: its footer is longer than the file")
    footer = _Thrift(data, end, len(data) - 8).struct()
    rows = _get(footer, 3, int)
    if not 0 <= rows <= MOST_ROWS:
        raise Fault(RULE, f"is said to have {rows:,} rows", {"rows": rows, "most": MOST_ROWS})
    groups = [_struct(group) for group in _get(footer, 4, list)]
    if sum(_get(group, 3, int) for group in groups) != rows:
        raise Fault(RULE, "has other rows in its parts than in all")
    chunks = sorted(_chunks(groups), key=lambda chunk: chunk.begin)
    _check_places(chunks, end)
    _check_pages(data, chunks)


def _chunks(groups: list[Struct]) -> Iterator[Chunk]:
    for group in groups:
        rows = _get(group, 3, int)
        for column in _get(group, 1, list):
            if 1 in _struct(column):
                raise Fault(RULE, "says that its data lies in another file")
            about = _struct(_get(column, 3, dict))
            values, codec, size = _get(about, 5, int), _get(about, 4, int), _get(about, 7, int)
            begin = _get(about, 9, int)
            if 0 < about.get(11, 0) < begin:
                begin = about[11]
            deep = len(_get(about, 3, list)) > 1  # a list in each row
            if codec not in _CODECS:
                raise Fault(RULE, f"is packed in a way that is not read here ({codec})")
            if rows < 0 or not 0 <= values <= MOST_VALUES or (not deep and values != rows):
                raise Fault(RULE, f"is said to have {values:,} values in {rows:,} rows")
            yield Chunk(begin, begin + size, values, codec)


def _check_places(chunks: list[Chunk], end: int) -> None:
    """One behind the other, between the magic and the footer."""
    if len(chunks) > MOST_CHUNKS:
        raise Fault(RULE, f"has {len(chunks):,} pieces", {"most": MOST_CHUNKS})
    at = 4
    for chunk in chunks:
        if not at <= chunk.begin <= chunk.end <= end:
            raise Fault(RULE, "has columns that overlap, or reach out of it")
        at = chunk.end


def _check_pages(data: bytes, chunks: list[Chunk]) -> None:
    """Each column is pages from its first byte to its last, which hold as many values as are said,
    and together unpack to no more than can be borne."""
    unpacked = pages = 0
    for chunk in chunks:
        at, values = chunk.begin, 0
        while at < chunk.end:
            thrift = _Thrift(data, at, chunk.end)
            page = thrift.struct()
            kind, full, packed = (_get(page, field, int) for field in (1, 2, 3))
            head = _struct(page.get(_HEADS.get(kind, -1)))
            encoding = _get(head, 4 if kind == _DATA_2 else 2, int)
            count = _get(head, 1, int)
            if encoding not in _ENCODINGS:
                raise Fault(
                    RULE, f"holds values written in a way that is not read here ({encoding})"
                )
            if packed < 0 or count < 0 or not 0 <= full <= MOST_PAGE_BYTES:
                raise Fault(RULE, f"has a page that unpacks to {full:,} bytes", {"bytes": full})
            if chunk.codec == 0 and full != packed:
                raise Fault(RULE, "has a page that is not packed, and of two sizes")
            values += count if kind != _DICTIONARY else 0
            at = thrift.at + packed
            unpacked, pages = unpacked + full, pages + 1
            if unpacked > MOST_UNPACKED_BYTES or pages > MOST_PAGES:
                text = (
                    f"unpacks to more than {MOST_UNPACKED_BYTES:,} bytes, or {MOST_PAGES:,} pages"
                )
                raise Fault(RULE, text, {"bytes": unpacked, "pages": pages})
        if at != chunk.end or values != chunk.values:
            text = f"holds {values:,} values of a column where {chunk.values:,} are said to be"
            raise Fault(RULE, text, {"values": values, "stated": chunk.values})


def _get(of: Struct, field: int, kind: type[Wanted]) -> Wanted:
    found = of.get(field)
    if not isinstance(found, kind):
        raise Fault(RULE, "is not Parquet: its footer or a page lacks what it must say")
    return found


def _struct(value: Any) -> Struct:
    return _get({0: value}, 0, dict)


class _Thrift:
    """Reads Thrift's compact protocol between two places; `at` is where it has come to."""

    def __init__(self, data: bytes, at: int, end: int) -> None:
        self._data, self.at, self._end = data, at, end
        self._parts = 0

    def struct(self, depth: int = 0) -> Struct:
        """Field id -> value: int, float, bytes, bool, list, or dict of a struct."""
        if depth > _MOST_NESTED:
            raise self._damaged()
        found: Struct = {}
        field = 0
        while head := self._byte():
            kind, step = head & 15, head >> 4
            field = field + step if step else self._zigzag()
            found[field] = kind == 1 if kind in (1, 2) else self._value(kind, depth)
        return found

    def _value(self, kind: int, depth: int) -> Any:
        self._parts += 1
        if self._parts > _MOST_PARTS:
            raise self._damaged()
        readers: dict[int, Callable[[], Any]] = {
            1: self._byte, 2: self._byte, 3: self._byte, 4: self._zigzag, 5: self._zigzag,
            6: self._zigzag, 7: lambda: self._bytes(8), 8: lambda: self._bytes(self._varint()),
            9: lambda: self._list(depth), 10: lambda: self._list(depth),
            12: lambda: self.struct(depth + 1),
        }  # fmt: skip
        if kind not in readers:
            raise self._damaged()
        return readers[kind]()

    def _list(self, depth: int) -> list[Any]:
        if depth > _MOST_NESTED:
            raise self._damaged()
        head = self._byte()
        count = head >> 4 if head >> 4 < 15 else self._varint()
        if count > self._end - self.at:  # each takes a byte at least
            raise self._damaged()
        return [self._value(head & 15, depth + 1) for _ in range(count)]

    def _byte(self) -> int:
        return self._bytes(1)[0]

    def _bytes(self, count: int) -> bytes:
        if count > self._end - self.at:
            raise self._damaged()
        self.at += count
        return self._data[self.at - count : self.at]

    def _varint(self) -> int:
        number = 0
        for shift in range(0, 70, 7):
            byte = self._byte()
            number |= (byte & 127) << shift
            if byte < 128:
                return number
        raise self._damaged()

    def _zigzag(self) -> int:
        number = self._varint()
        return (number >> 1) ^ -(number & 1)

    def _damaged(self) -> Fault:
        return Fault(RULE, "is not Parquet: its footer, or a page, can't be read")
