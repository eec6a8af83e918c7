"""A glance at a whole record: which of its texts can hold no secret, by any rule.

Most records hold none but under a secret's name. To see that in one scan takes a tenth of the time of a walk through
all rules; whatever the scan is not sure of is walked through.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

from collector.gcore.secret_names import MARKER, is_naming, is_secret_name
from collector.gcore.secret_texts import SUSPICIOUS

_MOST_NAMES, _LONGEST_NAME = 64, 64
_OTHERS = bytes(c for c in range(1, 256) if not chr(c).isalpha() or c > 127)
_WORDS = tuple(word.encode() for word in SUSPICIOUS if word.isalpha())
"""Each rule for names and for texts needs one of these, once all but letters is taken out: `pass_word`."""
_SIGNS = tuple(word for word in SUSPICIOUS if not word.isalpha() and not word.startswith("%"))


def harmless(texts: Sequence[str]) -> Sequence[str]:
    """Those of the texts that hold no secret, and are no secret's name, judged by themselves."""
    joined = "\0".join(texts)
    if not joined.isascii():
        texts = [text for text in texts if text.isascii()]
        joined = "\0".join(texts)
    if joined.count("\0") != len(texts) - 1:
        return ()
    lower = joined.lower()
    letters = lower.encode().translate(None, _OTHERS)
    found: set[int] = set()
    for word in _WORDS:
        if word in letters:
            found.update(_places(letters, word, b"\0"))
    for sign in _SIGNS:
        if sign in lower:
            found.update(_places(lower, sign, "\0"))
    for sign in "@%":
        if sign in joined:
            found.update(_places(joined, sign, "\0"))
    for quote in '{["':  # JSON in a text is read
        if joined.startswith(quote):
            found.add(0)
        if "\0" + quote in joined:
            found.update(at + 1 for at in _places(joined, "\0" + quote, "\0"))
    return [text for i, text in enumerate(texts) if i not in found] if found else texts


def _places(joined: Any, part: Any, between: Any) -> set[int]:
    """In which of the joined texts a part stands."""
    found, at, index, counted = set(), joined.find(part), 0, 0
    while at >= 0:
        index += joined.count(between, counted, at)
        found.add(index)
        counted, at = at, joined.find(part, at + 1)
    return found


class _Shape(NamedTuple):
    """The names in one object, judged."""

    names: tuple[str, ...]
    hidden: tuple[str, ...]
    """Those whose values are secrets."""


@lru_cache(maxsize=256)
def _shape(names: tuple[str, ...]) -> _Shape | None:
    """None where what stands under the names has to be looked at together, or the names themselves may hold secrets."""
    if not all(name.isidentifier() for name in names):
        return None
    hidden = tuple(name for name in names if is_secret_name(name))
    return None if any(map(is_naming, hidden)) else _Shape(names, hidden)


class Survey:
    """One record: its texts, but for those under a secret's name, which are hidden at once."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.shapes: list[tuple[str, ...]] = []
        """The names in each object."""

    def of(self, value: dict[str, Any]) -> bool:
        """Look at an object and what is in it. False where that can't be told; it is as good as before."""
        names = tuple(value)
        if len(names) > _MOST_NAMES or max(map(len, names), default=0) > _LONGEST_NAME:
            return False
        shape = _shape(names)
        if shape is None:
            return False
        self.shapes.append(shape.names)
        for name in shape.hidden:
            if value[name] is not None:
                value[name] = MARKER
        return self._all(value.values())

    def _all(self, values: Any) -> bool:
        for value in values:
            kind = type(value)
            if kind is str:
                if value is not MARKER:
                    self.texts.append(value)
            elif kind is dict:
                if not self.of(value):
                    return False
            elif kind is list and not self._all(value):
                return False
        return True
