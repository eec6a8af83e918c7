"""Values beside a secret's name in a text: members of JSON, settings (`DB_PASSWORD=…`), headers.

The time of every rule grows at most linearly with the text, because answers may be hostile.
"""

from __future__ import annotations

import re
from urllib.parse import unquote

from collector.gcore.secret_names import MARKER, is_named, is_secret_name, last_word

_ASSIGNED = re.compile(
    r"(?<![\w.\-%\[\]])([\w.\-%\[\]]+)\*{0,3}[ \t\xa0]{0,4}"
    r"(=>|->|:=|=(?!=)|:|\N{FULLWIDTH COLON}|\N{FULLWIDTH EQUALS SIGN})[ \t\xa0]{0,4}"
)
_BLOCK = re.compile(r"[|>][+\-0-9]{0,2}[ \t]{0,8}\r?\n(?:[ \t][^\r\n]*(?:\r?\n|\Z)|\r?\n)+")
"""A value of YAML in the indented lines below its name."""
_SCHEME_BEFORE = re.compile(
    r"(?:api-?key|bearer|basic|digest|token|negotiate|hmac|aws4-hmac-sha256)[ \t]+", re.IGNORECASE
)
_NEXT_ASSIGNED = re.compile(r"[\s,;][\w.\-]+[ \t]?=")
_FIRST_WORDS = (
    "access|account|activation|admin|api|app|auth|backup|basic|bearer|client|connection|consumer|db|device|encryption|license"
    "|magic|master|one-?time|pass|private|proxy|recovery|refresh|reset|sas|secret|security|seed|service|session|set|shared|signing|ssh"
    "|storage|unlock|verification|webhook|wifi|x"
)
_OF_TWO_WORDS = re.compile(rf"\b(?:{_FIRST_WORDS})[ ]\Z", re.IGNORECASE)
_SECOND_WORDS = frozenset(
    ("key", "keys", "word", "phrase", "code", "codes", "header", "id", "string", "link", "url", "answer")
)
"""`api key: …`, `pass word=…`: only the last word of a name with blanks is directly before the sign."""
_NOTHING = re.compile(r"(?:null|none|nil|undefined)(?![\w.\-])|\s|\Z", re.IGNORECASE)
_NEXT_LINE = re.compile(
    r"[ \t]*\r?\n[ \t]*(?=[^\s:=]{4,128}[ \t]*(?:\r?\n|\Z))(?=[^\s:=]*[^\W_]{3})(?!\[redacted\])"
)
"""Before a value in a line of its own: `Password:` and a single word below it."""
_PORT = re.compile(r"\d{1,5}(?![\w.])")
_BEFORE_LINE = re.compile(
    rf"(?:\A|\n)[\s\-*>]*(?:(?:export|set|env|declare)\s+)?(?:(?:{_FIRST_WORDS})[ ]){{0,2}}\Z", re.IGNORECASE
)
_REST_OF_BARE = re.compile(r"[^\s'\"]+")
_REST_IN_URL = re.compile(r"[^&;#\s\"'<>]+")
_REST_IN_LIST = re.compile(r"[^\s,;&)}\]|\"'<>]+")
_LINE_END = re.compile(r"[\r\n]")


_MEMBER = re.compile(r"(\\{0,8}[\"'`])([\w.\-:@ ]{1,128})\1\]?\s{0,8}(?::|=>|->|=)\s{0,8}")
"""The name of a JSON member in a text, or something similar, perhaps escaped once more."""
_BRACKET = re.compile(r"[\[\]{}]")
_BARE = re.compile(r"[^\s,;}\])\"'\\]+")
_QUOTES = re.compile(r"\"\"\"|\'\'\'|\\{0,8}[\"'`]")
_PREFIX = re.compile(r"[bru]{1,2}(?=[\"'])")


def without_members(text: str, names_a_secret: bool) -> str:
    """A text without the values of JSON members with a secret's name."""
    kept, end = [], 0
    for member in _MEMBER.finditer(text):
        begin = member.end()
        if member.start() < end or text.startswith("null", begin) or text.startswith(MARKER, begin):
            continue
        if is_secret_name(member[2]) or (names_a_secret and is_named(member[2])):
            kept += [text[end:begin], MARKER]
            end = _end_of_value(text, begin)
    return "".join([*kept, text[end:]])


def _end_of_value(text: str, begin: int) -> int:
    """The end of a JSON value in a text; the text's end if it can't be found."""
    if text[begin : begin + 1] in ("{", "["):
        depth = 0
        for bracket in _BRACKET.finditer(text, begin):
            depth += 1 if bracket[0] in "[{" else -1
            if not depth:
                return bracket.end()
        return len(text)
    if (prefix := _PREFIX.match(text, begin)) is not None:  # b'…', as Python prints bytes
        begin = prefix.end()
    if (quotes := _QUOTES.match(text, begin)) is not None:
        return _end_of_quoted(text, quotes)
    bare = _BARE.match(text, begin)
    return bare.end() if bare else begin


def _end_of_quoted(text: str, quotes: re.Match[str]) -> int:
    closing = re.compile(rf"(?<!\\){re.escape(quotes[0])}").search(text, quotes.end())
    return closing.end() if closing else len(text)


def without_assigned(text: str, names_a_secret: bool) -> str:
    """A text without the values of settings (`DB_PASSWORD=…`) and headers (`Authorization: …`)."""
    kept, end = [], 0
    for assigned in _ASSIGNED.finditer(text):
        if assigned.start() < end or not _is_secret_here(text, assigned, names_a_secret):
            continue
        begin = assigned.end()
        if (scheme := _SCHEME_BEFORE.match(text, begin)) is not None:
            begin = scheme.end()
        if assigned[2] == ":" and (below := _NEXT_LINE.match(text, begin)) is not None:
            begin = below.end()
        if _NOTHING.match(text, begin):
            continue
        after = _end_of_assigned(text, assigned, begin)
        if after > begin:
            kept += [text[end:begin], MARKER]
            end = after
    return "".join([*kept, text[end:]])


def _is_secret_here(text: str, assigned: re.Match[str], names_a_secret: bool) -> bool:
    name, start = assigned[1], assigned.start()
    if name.lower() in _SECOND_WORDS and (first := _OF_TWO_WORDS.search(text, max(start - 16, 0), start)):
        name = first[0] + name
    if not (is_secret_name(unquote(name) if "%" in name else name) or (names_a_secret and is_named(name))):
        return False
    return assigned[2] != ":" or _is_header(text, assigned, name)


def _is_header(text: str, assigned: re.Match[str], name: str) -> bool:
    """True for a header: a colon may also follow a word of a sentence or a host, or precede a port."""
    start, end = assigned.start(), assigned.end()
    if name.lower() in ("key", "keys") or text[start - 1 : start] == "/" or text.startswith("//", end):
        return False
    if name.lower().endswith(".pw"):  # a host
        return False
    return not _PORT.match(text, end) or ("." not in name and is_secret_name(last_word(name[-64:])))


def _end_of_assigned(text: str, assigned: re.Match[str], begin: int) -> int:
    start = assigned.start()
    before = text[start - 1 : start]
    if text.startswith(MARKER, begin):
        rest = _REST_IN_LIST.match(text, begin + len(MARKER))
        return rest.end() if rest else begin
    if (quotes := _QUOTES.match(text, begin)) is not None:
        return _end_of_quoted(text, quotes)
    if text[begin] in "{[":
        return _end_of_value(text, begin)
    if (block := _BLOCK.match(text, begin)) is not None:
        return begin + len(block[0].rstrip("\r\n"))
    if before in ("?", "&", ";", "#"):
        pattern = _REST_IN_URL
    elif _BEFORE_LINE.search(text, max(start - 40, 0), start):
        return _end_of_line(text, begin, ends_at_next=assigned[2] != ":")
    elif assigned[2] == ":" and last_word(assigned[1][-64:]) in ("authorization", "cookie"):
        closing = text.find(before, begin) if before in ("'", '"') else -1
        return closing if closing >= 0 else _end_of_line(text, begin, ends_at_next=False)
    else:
        pattern = _REST_OF_BARE if before.isspace() else _REST_IN_LIST
    bare = pattern.match(text, begin)
    return bare.end() if bare else begin


def _end_of_line(text: str, begin: int, *, ends_at_next: bool) -> int:
    line = _LINE_END.search(text, begin)
    end = line.start() if line else len(text)
    following = _NEXT_ASSIGNED.search(text, begin, end) if ends_at_next else None
    return following.start() if following else end
