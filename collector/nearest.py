"""The names that are closest to what somebody typed."""

from __future__ import annotations

import difflib
from collections.abc import Hashable, Iterable, Mapping, Sequence

from collector.printable import printable

MOST = 10
"""Names that are listed if none is close."""
_CLOSE = 3
_LONGEST = 100


def nearest(typed: str, known: Iterable[str], most: int = _CLOSE) -> list[str]:
    """The closest of some names: those that begin alike first, then those spelled alike, then those that contain it."""
    wanted = typed.strip().casefold()
    names = {name.casefold(): name for name in known}
    begin = [each for each in names if wanted and (each.startswith(wanted) or _begins(wanted, each))]
    close = difflib.get_close_matches(wanted, list(names), n=most, cutoff=0.6)
    inside = [each for each in names if len(wanted) > 2 and wanted in each]
    return [names[each] for each in dict.fromkeys([*sorted(begin, key=len), *close, *inside])][:most]


def _begins(wanted: str, name: str) -> bool:
    """True if a name is the beginning of what was typed, like LU of Luxembourg."""
    return len(name) > 1 and wanted.startswith(name)


def instead(typed: str, known: Iterable[str] | Mapping[str, Hashable]) -> str:
    """What to type instead, as the end of a sentence: `did you mean ACTIVE?`, or the names that there are.

    `known`: names; or what each of them names, if one thing may have several.
    """
    named = known if isinstance(known, Mapping) else {name: name for name in known}
    close = [_shown(name) for name in _different(nearest(typed, named, 2 * _CLOSE), named)[:_CLOSE]]
    if not close:
        return f"known are: {listed(_different(named, named))}"
    *others, last = close
    return f"did you mean {', '.join(others)} or {last}?" if others else f"did you mean {last}?"


def _different(names: Iterable[str], named: Mapping[str, Hashable]) -> list[str]:
    """One name of each thing: the first."""
    first: dict[Hashable, str] = {}
    for name in names:
        first.setdefault(named[name], name)
    return list(first.values())


def listed(names: Sequence[str]) -> str:
    """Some names, and how many more there are; `none yet` if there are none."""
    more = f" and {len(names) - MOST:,} more" if len(names) > MOST else ""
    return ", ".join(map(_shown, names[:MOST])) + more or "none yet"


def _shown(name: str) -> str:
    """A name on one line. It may come from the cloud."""
    text = printable(name)
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"
