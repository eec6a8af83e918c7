"""Finds the API key in texts: whole or in part, plain or in a common encoding.

    plain: any few consecutive characters of the key
    otherwise: escaped (URL, JSON, HTML, C, quoted-printable, also several times), in base64 (from any offset, also
               for URLs, twice, of UTF-16), in base32, in hexadecimal, reversed, in another case or full width

A text is searched in steps of several characters, so that the time depends on the text alone and not on the key.
"""

from __future__ import annotations

import html
import re
from array import array
from base64 import b32encode, b64encode
from collections.abc import Iterable, Sequence
from functools import lru_cache
from itertools import chain

from collector.gcore.secret_names import MARKER
from collector.gcore.words import AnyOf

PART_IN_EVIDENCE = 8
PART_IN_MESSAGE = 4

_LEAST_OTHERWISE = 8
"""Shorter keys are only searched for in plain form: their encodings look too much like other text."""
_LEAST_IN_BASE64 = 12
_GLANCE = 4
_MOST_PLACES = 100_000
"""A text with more parts of a key is replaced as a whole."""
_LONGEST_UNESCAPED = 256 * 1024
"""So is a longer text with an escaped part of a key, because tracking the origin of each character needs too much
memory.
"""
_MOST_IN_RARE_SPELLINGS = 1024
"""A longer key is not looked for in base32, in UTF-16 or in base64 twice, because the parts of all these spellings take
40 MiB for a key of 8,000 characters."""
_ROUNDS = 2
_SHORT, _MOST_KNOWN = 8, 4096
_ESCAPED = re.compile(
    r"%(?:25)*(?:u00)?([0-9a-fA-F]{2})|\\+(?:u|U0000)([0-9a-fA-F]{4})|\\+x([0-9a-fA-F]{2})|\\+u\{0{0,4}([0-9a-fA-F]{1,4})\}"
    r"|\\+([01][0-7]{2})|(?:=(?=[0-9A-F]{2}=[0-9A-F]{2})|(?<==[0-9A-F]{2})=)[0-9A-F]{2}|\\+(.)"
    r"|&(?:amp;)*(?:#(\d{1,7});?|#[xX]([0-9a-fA-F]{1,6});?|([A-Za-z]{2,8});)",
    re.DOTALL,
)
_PRINTABLE = re.compile(r"=[0-9A-F]{2}=[0-9A-F]{2}")
"""Two characters of a text as e-mails quote it."""
_TO_LOWER = str.maketrans({**{chr(c): chr(c + 32) for c in range(65, 91)}, "-": "+", "_": "/"})
"""Maps letters to one case, and base64 for URLs to the usual one."""
_TO_LOWER |= {0xFEE0 + c: chr(c).translate(_TO_LOWER) for c in range(0x21, 0x7F)}
"""Full-width characters, too."""
_BYTES_TO_LOWER = bytes(ord(chr(c).translate(_TO_LOWER)) for c in range(256))


class Parts:
    """All runs of `size` characters of some texts; a shorter text is its own only part."""

    def __init__(self, texts: Sequence[str], size: int) -> None:
        self._by_size: dict[int, set[str]] = {}
        for text in texts:
            part = min(size, len(text))
            pieces = {text[i : i + part] for i in range(len(text) - part + 1)}
            self._by_size.setdefault(part, set()).update(pieces)
        self._by_size.pop(0, None)
        long = self._by_size.get(size, set())
        self._size = size
        self._glances = {piece[i : i + _GLANCE] for piece in long for i in range(size - _GLANCE + 1)}
        word = max(size - 2, 1)
        step = size - word + 1  # every run of `size` characters contains a whole word at a multiple of it
        short = (text for text in texts if len(text) < size)
        words = (text[at : at + word] for text in texts for at in range(0, len(text) - word + 1, step))
        self._words = AnyOf(chain(short, words))

    def stand_in(self, text: str) -> bool:
        return self._words.may_stand_in(text) and any(True for _ in self.places(text))

    def places(self, text: str) -> Iterable[tuple[int, int]]:
        """Where parts occur: begin and end, unordered, possibly overlapping."""
        for size, pieces in self._by_size.items():
            if size < self._size or size <= _GLANCE:
                yield from _each_place(text, pieces, size)
                continue
            # Every run of `size` characters contains a whole glance at a multiple of `step`.
            step = size - _GLANCE + 1
            done = 0
            for at in range(0, len(text), step):
                if text[at : at + _GLANCE] not in self._glances:
                    continue
                for begin in range(max(at - step + 1, done), at + 1):
                    if text[begin : begin + size] in pieces:
                        yield begin, begin + size
                done = at + 1


def _each_place(text: str, pieces: set[str], size: int) -> Iterable[tuple[int, int]]:
    if len(pieces) <= 8:
        for piece in pieces:
            at = text.find(piece)
            while at >= 0:
                yield at, at + size
                at = text.find(piece, at + 1)
    else:
        for at in range(len(text) - size + 1):
            if text[at : at + size] in pieces:
                yield at, at + size


class Keys:
    """Keys, and how to find them. `size`: the number of consecutive characters that may not be shown."""

    def __init__(self, keys: Sequence[str], size: int) -> None:
        self._plain = Parts(keys, size)
        self._otherwise = Parts([_folded(text) for key in keys for text in _spellings(key)], PART_IN_EVIDENCE)

    def stand_in(self, text: str) -> bool:
        return self._plain.stand_in(text) or self._otherwise.stand_in(_folded(text))

    def scrub(self, text: str) -> str:
        """Replace every run of parts."""
        plain, folded = self._plain.places(text), _folded(text)
        if not self._otherwise.stand_in(folded):
            return without(text, plain)
        otherwise = self._otherwise.places(folded)
        if _may_have_escapes(text):
            if len(text) > _LONGEST_UNESCAPED:
                return MARKER
            positions = _positions(text)
            otherwise = ((positions[begin], positions[end]) for begin, end in otherwise)
        return without(text, chain(plain, otherwise))


@lru_cache(maxsize=256)
def keys_of(keys: tuple[str, ...], size: int) -> Keys:
    """Cached, since one key is searched for again and again. Keys are in memory all the time anyway."""
    return Keys(keys, size)


def _spellings(key: str) -> Iterable[str]:
    """Other encodings of a key, apart from escapes and case."""
    if len(key) < _LEAST_OTHERWISE:
        return
    data = key.encode("utf-8", "surrogatepass")
    yield key
    yield key[::-1]
    yield data.decode("latin-1")
    for between in ("", ":", " ", "-"):
        yield data.hex(between) if between else data.hex()
    if len(key) >= _LEAST_IN_BASE64:
        yield from _in_base64(data)
    if len(key) > _MOST_IN_RARE_SPELLINGS:
        return
    wide = key.encode("utf-16-le", "surrogatepass")
    yield wide.hex()
    if len(key) >= _LEAST_IN_BASE64:
        yield from _in_base64(wide)
        yield from _in_base64(b64encode(data)[:-4])
        for before in range(5):
            yield b32encode(b"-" * before + data).decode().rstrip("=")[-(-before * 8 // 5) : -1]


def _in_base64(data: bytes) -> Iterable[str]:
    """It depends on the offset modulo three. Characters that depend on their neighbours are left out."""
    for before, mixed in ((0, 0), (1, 2), (2, 3)):
        yield b64encode(b"-" * before + data).decode().rstrip("=")[mixed:-1]


def _folded(text: str) -> str:
    """A text without escapes, in one case.

    Escapes of one kind are undone however often they are nested, escapes of several kinds twice.
    """
    for _ in range(_ROUNDS):
        if not _may_have_escapes(text):
            break
        text = _ESCAPED.sub(_character, text)
    if text.isascii():
        return text.encode().translate(_BYTES_TO_LOWER).decode()
    return text.translate(_TO_LOWER)


def _positions(text: str) -> Sequence[int]:
    """The position in the text of each character of the folded text, and its end."""
    positions: Sequence[int] = range(len(text) + 1)
    for _ in range(_ROUNDS):
        if not _may_have_escapes(text):
            break
        inner, end = array("Q"), 0
        for escaped in _ESCAPED.finditer(text):
            inner.extend(range(end, escaped.start()))
            inner.extend([escaped.start()] * len(_character(escaped)))
            end = escaped.end()
        inner.extend(range(end, len(text) + 1))
        positions = array("Q", (positions[at] for at in inner))
        text = _ESCAPED.sub(_character, text)
    return positions


def _may_have_escapes(text: str) -> bool:
    return "%" in text or "\\" in text or "&" in text or ("=" in text and _PRINTABLE.search(text) is not None)


class _Known(dict[str, str]):
    """The meanings of escapes seen so far. There are few short ones, but an answer may hold millions of them."""

    def __missing__(self, text: str) -> str:
        if text.startswith("="):  # one only beside others
            return chr(int(text[1:], 16))
        escaped = _ESCAPED.fullmatch(text)
        character = _of_escape(escaped) if escaped else text
        if len(text) <= _SHORT and len(self) < _MOST_KNOWN:
            self[text] = character
        return character


_known = _Known()


def _character(escaped: re.Match[str]) -> str:
    """The meaning of an escape; the escape itself if it has none."""
    return _known[escaped[0]]


def _of_escape(escaped: re.Match[str]) -> str:
    url, unicode, byte, braced, octal, itself, decimal, hexadecimal, name = escaped.groups()
    if itself is not None:
        return itself
    if name is not None:
        known = html.unescape(f"&{name};")
        return known if len(known) == 1 else escaped[0]
    if decimal or octal:
        number = int(decimal) if decimal else int(octal, 8)
    else:
        number = int(url or unicode or byte or braced or hexadecimal, 16)
    return chr(number) if number < 0x110000 else escaped[0]


def without(text: str, places: Iterable[tuple[int, int]]) -> str:
    """A text without these places, which may be in any order; only the marker if there are very many."""
    runs: list[tuple[int, int]] = []
    begin, end = -1, -1
    for n, (first, last) in enumerate(places):
        if n > _MOST_PLACES:
            return MARKER
        if begin <= first <= end:
            end = max(end, last)
            continue
        if end >= 0:
            runs.append((begin, end))
        begin, end = first, last
    if end < 0:
        return text
    runs.append((begin, end))
    kept: list[str] = []
    done = 0
    begin, end = -1, -1
    for first, last in sorted(runs):
        if first > end:
            if end >= 0:
                kept += [text[done:begin], MARKER]
                done = end
            begin, end = first, last
        else:
            end = max(end, last)
    return "".join([*kept, text[done:begin], MARKER, text[end:]])
