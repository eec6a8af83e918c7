"""Signs that an answer is one page of a longer list. Pure.

The endpoint has no parameters and returns the whole list. If it is ever paged like other lists of the same API, an
answer will lack regions that exist. So any sign of paging withholds all absences: in members (`limit`, `next`,
`has_more`, `meta.pagination`) and in headers (`Link`, `Content-Range`, `X-Next-Page`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from collector.gcore.jsontext import Number
from collector.gcore.wire import storable

_SIGN = (
    r"(continuation|cursors?|limit|links?|marker|more|next|offsets?|paged?|pager|pages|paginat\w*|paging|prev(ious)?|resumption"
    r"|scroll|skip|truncated)"
)
_WORD = re.compile(
    # Names may be written as one word: `hasnextpage`.
    rf"(has|is|first|last|current|start|end|num|nb|max|per|total|(item|result|row|record|region)s?)*{_SIGN}+"
    r"(token|urls?|uri|href|key|id|start|count|index|info|no|num(ber)?|size|len(gth)?|available|data|(item|result|row|record|region)s?)*"
    r"|max(items|keys|results)|start(at|from|index)"
)
"""A member is a sign of paging if its name contains one of these, whatever its value: `next` is null on the last
page.
"""
_LONGEST_WORD = 40
_ENDS = r"(start|begin|end|first|last|from|to|min|max)"
_PLACE = r"(after|before|from|id|index|item|key|position|record|result|row|to|token)"
_PHRASE = re.compile(
    r"cont(inue)?(_token)?|max_(items|keys|results)|start(_at)?|from|to|top|after|before|bookmark|range|since|until|since_id|seek"
    r"|(batch|chunk)(_(id|no|num|number|size|start|token))?|(continue|delta|sync|resume)_token|resume(_from)?"
    rf"|(exclusive_)?{_ENDS}_(evaluated_)?{_PLACE}|(row|record|item|result|index|range)_{_ENDS}"
    r"|(search|starting)_after|ending_before|(query_)?(locator|iterator)|(has_)?additional(_(items|pages|records|regions|results))?"
    r"|scroll(_id)?|checkpoint"
)
"""A member with such a name is one, too; in longer names these words have other meanings."""
_TOTALS = frozenset(("total", "totals"))
"""A member with one of these words in its name is a sign only if its value differs from what is listed."""
_COUNTING = re.compile(
    r"(all|count|elements|entries|filtered|found|full|hits|items|length|matched|matches|matching|n|nb|no|num|number|objects|odata|of"
    r"|overall|quantity|records|regions|results|returned|rows|shown|size|unfiltered|_)+"
    r"|(current_)?(approximate|element|entry|estimated|exact|grand|hit|item|list|match|object|query|record|region|result|result_set|row)"
    r"_(count|num|number|size)"
    r"|(total|num|nb)(count|elements|entries|found|hits|items|objects|records|regions|results|rows|size)"
)
"""The same applies to a member whose name consists of these words only."""
_OF_ALL = r"(_(answer|data|list|listing|response|results?))?"
_INCOMPLETE = re.compile(
    rf"(is_|was_)?(abridged|capped|clipped|cut(_off)?|incomplete|limited|partial|sampled|shortened|timed_out|terminated_early){_OF_ALL}"
    r"|partial_(success|content)"
)
_COMPLETE = re.compile(
    rf"(is_)?(all|complete|done|(end|last)(_of_(list|records|results))?|eof|exhausted|exhaustive|final|finished|full|whole){_OF_ALL}"
)
"""Names that state, as true or false, that this is everything."""
_LEFT = re.compile(
    r"remaining|((results?|items?|records?|regions?|rows?)_)?(left|rest|leftover)"
    r"|((elements|items|objects|records|regions|results|rows)_)?(excluded|hidden|missing|not_shown|omitted|skipped|unlisted)"
    r"(_(elements|items|objects|records|regions|results|rows))?(_count)?"
)
_FAILED = re.compile(
    r"unreachable(_\w+)?|(failed|missing|omitted|skipped|unavailable)_(backends?|locations?|regions?|shards?|zones?)"
)
"""Lists of places whose regions are not in the answer."""
_DEEPEST = 3
"""Objects are searched up to this depth."""
_OTHER_RELATION = re.compile(
    r"alternate|author|canonical|cite-as|describedby|deprecation|dns-prefetch|help|icon|latest-version|license|manifest"
    r"|modulepreload|preconnect|prefetch|preload|privacy-policy|service-(desc|doc)|stylesheet|successor-version|sunset"
    r"|terms-of-service|type"
)
"""Relations of a Link header (RFC 8288) that have nothing to do with pages; every other one counts as a sign."""
_NOUN = r"(elements?|entries|hits?|items?|objects?|records?|regions?|results?|rows?)"
_HEADER = re.compile(
    r"(?!accept-|if-)(.+-)?range|(x-)?(limit|offset|skip|truncated|is-truncated|more|page|pages|paged)"
    r"|(.+-)?(has-)?(more|next)-?(available|data|page|results?|items?|records?|regions?)|(x-)?has-?(more|next)"
    r"|(.+-)?(results?|response|list|answer|query)-truncated|(.+-)?last-evaluated-key|(x-)?pager|(x-)?paginate"
    r"|(x-)?(after|before|batch|continue|links|max-results|start-index)|x-link|(.+-)?(since|max|min)-id"
    r"|(.+-)?(sync|delta)-token"
    r"|(.+-)?(pagination|paging)(-.+)?|(.+-)?(bookmark|continuation|cursor|marker|resumption)(-token|-key)?"
    r"|(.+-)?(next|prev|previous|first|last)(-?(page|cursor|link|marker|token|url|uri|offset|batch|range|start|key|id|index))"
    r"(-(token|url|link|number))?"
    r"|(.+-)?(cursor|link|marker|offset|page|token)-(next|prev|previous|first|last)"
    r"|(x-)?(next|prev|previous|last)|(.+-)?(current|total|per|num)-?pages?|(.+-)?page-?(count|index|no|num|number|size|token)"
)
_TOTAL_HEADER = re.compile(
    r"(?!.*(rate-?limit|quota))"  # these count requests
    rf"((.+-)?totals?(-?(counts?|found|length|matched|number|size|{_NOUN}(-count)?))?"
    rf"|(x-)?((all|filtered|list|collection|full|odata|overall|container-object|{_NOUN})-?)?count"
    r"|(x-)?(elements|entries|items|matched|objects|records|regions|results|rows)|x-result-size"
    rf"|(.+-)?{_NOUN}-total|(x-)?num(ber)?(-of)?-?{_NOUN})"
)
"""Headers that give the total number of records."""


def in_envelope(envelope: Mapping[str, Any], listed: int) -> tuple[str, ...]:
    """Paths of members outside `results` that look like paging. `listed`: the number of results."""
    return tuple(sorted(_members(envelope, listed)))


def _members(members: Mapping[str, Any], listed: int, within: str = "", depth: int = 1) -> Iterator[str]:
    for name, value in members.items():
        path = f"{within}{storable(name)[:60]}"
        if _is_member_of_a_page(name, value, listed) and path != "count":  # the reader compares this one
            yield path
        elif isinstance(value, dict) and depth < _DEEPEST:
            yield from _members(value, listed, f"{path}.", depth + 1)


def _is_member_of_a_page(name: str, value: Any, listed: int) -> bool:
    words = _split(name)
    phrase = "_".join(words)
    if any(len(w) <= _LONGEST_WORD and _WORD.fullmatch(w) for w in words) or _PHRASE.fullmatch(phrase):
        return True
    if isinstance(value, bool):
        return (_INCOMPLETE if value else _COMPLETE).fullmatch(phrase) is not None
    if isinstance(value, list):
        return bool(value) and _FAILED.fullmatch(phrase) is not None
    if "remaining" in words or _LEFT.fullmatch(phrase):
        return _differs(value, 0)
    return bool(_TOTALS.intersection(words) or _COUNTING.fullmatch(phrase)) and _differs(value, listed)


def _split(name: str) -> list[str]:
    """The words of a name: `nextPageToken`, `next_page` and `@odata.nextLink` all contain "next"."""
    return re.findall(r"[a-z]+", re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", name).lower())


def _differs(value: Any, listed: int) -> bool:
    if isinstance(value, dict):  # {"value": 35, "relation": "eq"}
        return any(_differs(inner, listed) for inner in value.values())
    if isinstance(value, str) and value.strip().isdecimal() and len(value) < 20:
        return int(value) != listed
    return isinstance(value, Number) and value.as_int() != listed


def in_headers(headers: Mapping[str, str]) -> tuple[str, ...]:
    """Names of the headers that look like paging."""
    signs = (name for name, value in headers.items() if _is_sign(name.lower(), value))
    return tuple(sorted(f"header {name.lower()}" for name in signs))


def total_in_headers(headers: Mapping[str, str]) -> tuple[int, str] | None:
    """The total number of records, and the readable header that gives it; the largest if there are several."""
    given = [
        (int(text), f"header {name.lower()}")
        for name, value in headers.items()
        if _TOTAL_HEADER.fullmatch(name.lower())
        for text in re.split(r"\s*,\s*", value.strip())
        if re.fullmatch(r"[0-9]{1,18}", text)
    ]
    return max(given, default=None)


def _is_sign(name: str, value: str) -> bool:
    if name == "link":
        given = re.findall(r';\s*rel\s*=\s*("[^"]*"|[^\s;,]+)', value, re.IGNORECASE)
        relations = [word for text in given for word in text.strip('"').lower().split()]
        return not all(map(_OTHER_RELATION.fullmatch, relations)) or not relations
    flag = {"true": _INCOMPLETE, "false": _COMPLETE}.get(value.strip().lower())
    if flag is not None and flag.fullmatch(name.removeprefix("x-").replace("-", "_")):
        return True
    return _HEADER.fullmatch(name) is not None
