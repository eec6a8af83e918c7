"""Finding any of many words in a text, in one pass over it.

The regular expressions of Rust do that, which pydantic brings along: a hundred times as fast as to look for one word
after another.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property

from pydantic_core import SchemaValidator, core_schema

MOST_WORDS = 4000
"""What finds them takes a kilobyte for each."""


class AnyOf:
    """Some words. Made to search on first use."""

    def __init__(self, words: Iterable[str]) -> None:
        self._words = frozenset(filter(_is_unicode, words)) - {""}

    def may_stand_in(self, text: str) -> bool:
        """False: none of the words stands in the text. True: one does, or that can't be known: there are too many
        words, or the text holds half a surrogate pair, and is none to Rust."""
        return self._finder is None or self._finder.isinstance_python(text) or not _is_unicode(text)

    @cached_property
    def _finder(self) -> SchemaValidator | None:
        if len(self._words) > MOST_WORDS:
            return None
        spelled = ("".join(f"\\x{{{ord(c):x}}}" for c in word) for word in sorted(self._words))
        return SchemaValidator(core_schema.str_schema(pattern="|".join(spelled) or r"[^\s\S]", strict=True))


def _is_unicode(text: str) -> bool:
    try:
        return text.isascii() or bool(text.encode())
    except UnicodeEncodeError:
        return False
