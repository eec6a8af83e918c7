"""Signs that an answer is one page of a longer list. Pure.

The endpoint has no parameters and answers with the whole list. Should it ever be paged like other lists of the same
API, an answer would lack regions that exist: so any sign of paging withholds all absences, in its members (`limit`,
`next`, `has_more`, `meta.pagination`) and in its headers (`Link`, `Content-Range`, `X-Next-Page`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from collector.gcore.jsontext import Number
from collector.gcore.wire import storable

_WORD = re.compile(
    r"cursor|limit|links?|more|next|offset|pages?|paginat\w*|paging|prev(ious)?|skip|truncated"
)
"""A member is a sign of paging if its name holds one of these, whatever its value: `next` is null on the last page."""
_TOTALS = frozenset({"total", "totals"})
"""A member with one of these in its name is a sign only if it counts other than what is listed."""
_WRAPPERS = frozenset({"meta", "metadata"})
"""Objects that tell about the list; they are looked into."""
_OTHER_RELATION = re.compile(
    r"alternate|author|canonical|cite-as|describedby|deprecation|dns-prefetch|help|icon|latest-version|license|manifest"
    r"|modulepreload|preconnect|prefetch|preload|privacy-policy|service-(desc|doc)|stylesheet|successor-version|sunset"
    r"|terms-of-service|type"
)
"""Relations of a Link header (RFC 8288) that say nothing of pages; every other one counts as a sign."""
_HEADER = re.compile(
    r"content-range|(x-)?(has-more|(current-|total-|per-)?pages?|(next|prev|previous|last)(-page)?|pag(ination.*|ing))"
)


def in_envelope(envelope: Mapping[str, Any], listed: int) -> tuple[str, ...]:
    """Paths of the members of an answer, without its `results`, that look like paging; `listed`: how many results."""
    return tuple(sorted(_members(envelope, listed)))


def _members(members: Mapping[str, Any], listed: int, within: str = "") -> Iterator[str]:
    for name, value in members.items():
        words = _split(name)
        path = f"{within}{storable(name)[:60]}"
        if any(map(_WORD.fullmatch, words)) or (_TOTALS.intersection(words) and _differs(value, listed)):
            yield path
        elif _WRAPPERS.intersection(words) and isinstance(value, dict) and not within:
            yield from _members(value, listed, f"{path}.")


def _split(name: str) -> list[str]:
    """`nextPageToken`, `next_page` and `@odata.nextLink` all hold the word "next"."""
    return re.findall(r"[a-z]+", re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", name).lower())


def _differs(value: Any, listed: int) -> bool:
    if isinstance(value, str) and value.strip().isdecimal() and len(value) < 20:
        return int(value) != listed
    return isinstance(value, Number) and value.as_int() != listed


def in_headers(headers: Mapping[str, str]) -> tuple[str, ...]:
    """Names of the headers that look like paging."""
    signs = (name for name, value in headers.items() if _is_sign(name.lower(), value))
    return tuple(sorted(f"header {name.lower()}" for name in signs))


def total_in_headers(headers: Mapping[str, str]) -> int | None:
    """How many records there are in all, where a header says so in a way that can be read."""
    given = (headers.get(name, "").strip() for name in ("X-Total-Count", "X-Total"))
    return next((int(text) for text in given if re.fullmatch(r"[0-9]{1,18}", text)), None)


def _is_sign(name: str, value: str) -> bool:
    if name == "link":
        given = re.findall(r';\s*rel\s*=\s*("[^"]*"|[^\s;,]+)', value, re.IGNORECASE)
        relations = [word for text in given for word in text.strip('"').lower().split()]
        return not all(map(_OTHER_RELATION.fullmatch, relations)) or not relations
    return _HEADER.fullmatch(name) is not None
