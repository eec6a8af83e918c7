"""Secrets in texts: in URLs, settings, headers, JSON, XML, command lines, or by their own form.

A text is judged alike wherever it stands: in evidence, in a message, as an element of a list. Every rule takes a time
that grows with the text, and no faster: answers may be hostile.
"""

from __future__ import annotations

import binascii
import re
from base64 import b64decode
from urllib.parse import unquote

from collector.gcore.secret_names import is_named, is_naming, is_secret_name, last_word

MARKER = "[redacted]"

_SHORTEST_TOKEN = 16
MOST_SIGNS = 20_000
"""A text with more of them is no text of a person. If it may hold secrets, it goes as a whole."""
SUSPICIOUS = (
    *(
        "pass",
        "pwd",
        "psw",
        "secret",
        "token",
        "key",
        "cred",
        "cookie",
        "bearer",
        "jwt",
        "sig",
        "hmac",
        "auth",
        "dsn",
    ),
    *(
        "psk",
        "pw",
        "otp",
        "pin",
        "pat",
        "sas",
        "sid",
        "ppk",
        "pfx",
        "csrf",
        "xsrf",
        "session",
        "private",
        "mnemonic",
    ),
    *(
        "salt",
        "nonce",
        "mfa",
        "cv",
        "puk",
        "wep",
        "assertion",
        "ticket",
        "verifier",
        "kennwort",
        "sessid",
        "identified",
    ),
    *(
        "paswd",
        "code",
        "phrase",
        "answer",
        "docker",
        "presigned",
        "-u",
        "login",
        "seed",
        "community",
        "webhook",
    ),
    *(
        "database",
        "broker",
        "amqp",
        "redis",
        "mongo",
        "mysql",
        "mariadb",
        "postgres",
        "db_ur",
        "db-ur",
        "dbur",
    ),
    *(
        "kubeconfig",
        "connection",
        "recovery",
        "backup",
        "basic",
        "digest",
        "negotiate",
        "eyj",
        "akia",
        "asia",
        "aiza",
    ),
    *(
        "%2f%2f",
        "ghp_",
        "gho_",
        "ghs_",
        "ghu_",
        "ghr_",
        "github",
        "glpat",
        "xox",
        "k_live_",
        "k_test_",
        "hf_",
        "npm_",
    ),
)
"""Without any of these, in lower case, no rule finds anything."""

# In URLs

_USERINFO = re.compile(r"(//)[^\s/?#\"<>]*@")
_RUN = re.compile(r"[^\s\"<>]+")
_BEGIN_OF_USERINFO = re.compile(r"//[^\s/?#@:\"<>]*:(?!\d+(?:[/?#]|$))")
"""A password that itself contains / ? or #, as people paste them. `//host:5000/x@y` is left alone. Looked for in
two steps: one pattern for both would take a time that grows with the square of what a hostile answer sends."""
_WHOLE_URL = re.compile(
    r"\A(\s*[a-z][\w+.\-]*://)[^/?#@:]*:(?!\d+(?:[/?#]|\Z)).*@", re.IGNORECASE | re.DOTALL
)
"""A string that is nothing but a URL may have anything in its password, blanks and quotes too."""
_PARAMETER = re.compile(r"([?&;#]([\w.\-\[\]%]{1,128})=)([^&;#\s\"'<>]+)")
_ESCAPED_PARAMETER = re.compile(
    r"(?:%(?:25)*(?:3F|26|3B|23)|(?<![\w.\-+%]))((?:[\w.\-]|%(?:25)*20|\+){1,128})%(?:25)*3[DA](?:%(?:25)*20)?",
    re.IGNORECASE,
)
_END_OF_ESCAPED = re.compile(r"%(?:25)*26|[&;#\s\"'<>]|\Z")
_ESCAPED_USERINFO = re.compile(
    r"(%(?:25)*2F%(?:25)*2F)(?:(?!%(?:25)*(?:2F|3F|23))[^\s/?#\"<>]){1,300}?%(?:25)*40", re.IGNORECASE
)
"""The same in a URL that is a parameter of another."""

# name=value, name: value

_ASSIGNED = re.compile(
    r"(?<![\w.\-%\[\]])([\w.\-%\[\]]+)\*{0,3}[ \t\xa0]{0,4}"
    r"(=>|->|:=|=(?!=)|:|\N{FULLWIDTH COLON}|\N{FULLWIDTH EQUALS SIGN})[ \t\xa0]{0,4}"
)
_BLOCK = re.compile(r"[|>][+\-0-9]{0,2}[ \t]{0,8}\r?\n(?:[ \t][^\r\n]*(?:\r?\n|\Z)|\r?\n)+")
"""A value of YAML that stands in the lines below, indented."""
_SCHEME_BEFORE = re.compile(
    r"(?:api-?key|bearer|basic|digest|token|negotiate|hmac|aws4-hmac-sha256)[ \t]+", re.IGNORECASE
)
_NEXT_ASSIGNED = re.compile(r"[\s,;][\w.\-]+[ \t]?=")
_FIRST_WORDS = (
    "access|account|admin|api|app|auth|basic|bearer|client|connection|consumer|db|encryption|license|master|pass|private|proxy|refresh"
    "|sas|secret|service|session|set|shared|signing|ssh|storage|wifi|x"
)
_OF_TWO_WORDS = re.compile(rf"\b(?:{_FIRST_WORDS})[ ]\Z", re.IGNORECASE)
_SECOND_WORDS = frozenset(("key", "keys", "word", "phrase", "code", "header", "id", "string"))
"""`api key: …`, `pass word=…`: of a name with blanks only the last word stands before the sign."""
_NOTHING = re.compile(r"(?:null|none|nil|undefined)(?![\w.\-])|\s|\Z", re.IGNORECASE)
_PORT = re.compile(r"\d{1,5}(?![\w.])")
_BEFORE_LINE = re.compile(
    rf"(?:\A|\n)[\s\-*>]*(?:(?:export|set|env|declare)\s+)?(?:(?:{_FIRST_WORDS})[ ]){{0,2}}\Z", re.IGNORECASE
)
_REST_OF_BARE = re.compile(r"[^\s'\"]+")
_REST_IN_URL = re.compile(r"[^&;#\s\"'<>]+")
_REST_IN_LIST = re.compile(r"[^\s,;&)}\]|\"'<>]+")
_LINE_END = re.compile(r"[\r\n]")
_FLAG = re.compile(r"(?<![\w\-])(--?[A-Za-z][\w.\-]*)([ \t]+)('[^']*'|\"[^\"]*\"|[^\s\-'\"][^\s'\"]*)")

_ASSIGNS = re.compile(r"[=:\N{FULLWIDTH COLON}\N{FULLWIDTH EQUALS SIGN}]|->")

# JSON and what looks like it

_MEMBER = re.compile(r"(\\{0,8}[\"'`])([\w.\-:@ ]{1,128})\1\]?\s{0,8}(?::|=>|->|=)\s{0,8}")
"""The name of a member of JSON that stands in a text, or of what looks like it; perhaps escaped once more."""
_BRACKET = re.compile(r"[\[\]{}]")
_BARE = re.compile(r"[^\s,;}\])\"'\\]+")
_QUOTES = re.compile(r"\"\"\"|\'\'\'|\\{0,8}[\"'`]")
_PREFIX = re.compile(r"[bru]{1,2}(?=[\"'])")
_QUOTED_PAIR = re.compile(
    r"([(\[]\s{0,8}[bu]?([\"'])([\w.\-]{1,64})\2\s{0,8},\s{0,8}[bu]?)('[^']*'|\"[^\"]*\")"
)
"""`('password', '…')`: a pair as Python and others show it."""
_QUOTED_AFTER = re.compile(
    r"\b(pass(?:word|wd|phrase|code)|pwd|secret|identified[ ]by)([ \t]{1,4}(?:(?:is|was|to|of)[ \t]{1,4})?)"
    r"('[^']+'|\"[^\"]+\"|`[^`]+`)",
    re.IGNORECASE,
)
"""`ALTER USER x PASSWORD '…'`, and what a sentence puts in quotes."""
_SAID = re.compile(
    r"\b((?:pass(?:word|wd|phrase|code)|pwd|secret|token|api[ _-]?key)[ \t]{1,4}(?:is|was|=)[ \t]{1,4})"
    r"(?=[^\s\d$#@!%^&*_+~]{0,200}[\d$#@!%^&*_+~])[^\s\"'<>]{4,}",
    re.IGNORECASE,
)
"""`the password is hunter2`. A plain word after it is none: `the password is wrong`."""
_OF_A_USER = re.compile(
    r"((?<!\S)(?:-u|-U|--(?:proxy-)?user)(?:[ \t]{1,4}|=)['\"]?[^\s:'\"]{1,128}:)[^\s'\"]+"
)
_OF_A_MACHINE = re.compile(r"(\blogin[ \t]{1,4}\S{1,128}\s{1,4}passw(?:or)?d[ \t]{1,4})\S+", re.IGNORECASE)
"""`curl -u user:…`, and a line of .netrc."""
_FORM = re.compile(r"(\bname=\"?([\w.\-]{1,64})\"?[^\r\n]{0,200}\r?\n\r?\n)[^\r\n]+")
"""A field of a form as it is sent."""
_NAMES_A_NAME = re.compile(
    r"(?<![\w.\-])([\w.\-]{1,64})(?:\\{0,8}[\"'])?\s{0,8}[=:]>?\s{0,8}"
    r"(?:\\{0,8}[\"']([\w.\- ]{1,64})|([\w.\-]{1,64}))"
)
"""`"name": "password"`, `name=password`: what the name of a secret may stand in."""

# XML

_ELEMENT = re.compile(r"<([\w:.\-]{1,128})(\s[^<>]{0,500})?>(<!\[CDATA\[[^<]*\]\]>|[^<]+)(?=</)")
_NAME_OF_ELEMENT = re.compile(r"\b(?:name|key|id)\s?=\s?[\"']([\w.\-]{1,64})[\"']", re.IGNORECASE)

# By form

_SCHEME = re.compile(r"\b(apikey|bearer)(\s+)([^\s,;\"'<>]+)", re.IGNORECASE)
_BASIC = re.compile(r"\b(basic|token|digest|negotiate)(\s+)([A-Za-z0-9+/_.\-]{8,}={0,2})", re.IGNORECASE)
_PEM = re.compile(r"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----")
_END_OF_PEM = re.compile(r"-----END [A-Z0-9 ]{0,60}-----|\Z")
_TOKEN = re.compile(
    r"(?<![A-Za-z0-9_\-])(?:eyJ[\w\-]{6,}\.[\w\-]{6,}[\w.\-]*"
    r"|gh[opsur]_\w{20,}|github_pat_\w{20,}|glpat-[\w\-]{16,}|xox[abeprs]-[\w\-]{10,}|[srp]k_(?:live|test)_\w{10,}"
    r"|AKIA[0-9A-Z]{16}|ASIA[0-9A-Z]{16}|AIza[\w\-]{30,}|hf_\w{20,}|npm_\w{30,})"
)
"""JSON Web Tokens, and what well-known makers of tokens begin theirs with."""


def scrub_text(text: str) -> str:
    """A text without its secrets; the names beside them stay."""
    if not may_hold_secrets(text):
        return text
    if signs(text) > MOST_SIGNS:
        return MARKER
    for _ in range(2):  # what one rule leaves another may see
        scrubbed = _scrub(text)
        if scrubbed == text:
            break
        text = scrubbed
    return text


def signs(text: str) -> int:
    """How many places there are at which the rules look."""
    return sum(map(text.count, "=:-<"))


def may_hold_secrets(text: str) -> bool:
    """A glance, since almost all texts hold none."""
    if "//" in text and "@" in text:
        return True
    lower = text.lower()
    for word in SUSPICIOUS:  # `any` takes twice as long, and every text comes by here
        if word in lower:
            return True
    return not text.isascii() and ("=" in text or ":" in text)


def _scrub(text: str) -> str:
    if "//" in text and "@" in text:
        text = _WHOLE_URL.sub(rf"\1{MARKER}@", text)
        text = _RUN.sub(_without_userinfo, _USERINFO.sub(rf"\1{MARKER}@", text))
    if "-----BEGIN" in text:
        text = _without_private_keys(text)
    text = _QUOTED_AFTER.sub(rf"\1\2{MARKER}", text)
    text = _SAID.sub(rf"\1{MARKER}", text)
    text = _QUOTED_PAIR.sub(lambda m: m[1] + MARKER if is_secret_name(m[3]) else m[0], text)
    text = _OF_A_MACHINE.sub(rf"\1{MARKER}", text)
    if "\n" in text:
        text = _FORM.sub(lambda m: m[1] + MARKER if is_secret_name(m[2]) else m[0], text)
    if _ASSIGNS.search(text):
        names_a_secret = any(
            is_naming(m[1]) and is_secret_name(m[2] or m[3]) for m in _NAMES_A_NAME.finditer(text)
        )
        text = _without_members(text, names_a_secret)
        text = _PARAMETER.sub(_without_parameter, text)
        text = _without_assigned(text, names_a_secret)
    if "%" in text:
        text = _without_escaped_parameters(text)
        text = _ESCAPED_USERINFO.sub(rf"\1{MARKER}%40", text)
    if "</" in text:
        text = _ELEMENT.sub(_without_content, text)
    if " -" in text or text.startswith("-"):
        text = _OF_A_USER.sub(rf"\1{MARKER}", text)
        text = _FLAG.sub(lambda m: f"{m[1]}{m[2]}{MARKER}" if is_secret_name(m[1]) else m[0], text)
    if " " in text or "\t" in text:
        text, many = _SCHEME.subn(rf"\1\2{MARKER}", text, MOST_SIGNS)
        if many == MOST_SIGNS:
            return MARKER
        text = _BASIC.sub(lambda m: f"{m[1]}{m[2]}{MARKER}" if _is_credentials(m[3]) else m[0], text)
    return _TOKEN.sub(MARKER, text) if len(text) >= _SHORTEST_TOKEN else text


def _without_userinfo(run: re.Match[str]) -> str:
    end = run[0].rfind("@") + 1
    begin = _BEGIN_OF_USERINFO.search(run[0], 0, end)
    return run[0] if begin is None else f"{run[0][: begin.start()]}//{MARKER}@{run[0][end:]}"


def _without_parameter(parameter: re.Match[str]) -> str:
    return parameter[1] + MARKER if is_secret_name(unquote(parameter[2])) else parameter[0]


def _without_escaped_parameters(text: str) -> str:
    kept, end = [], 0
    for parameter in _ESCAPED_PARAMETER.finditer(text):
        begin = parameter.end()
        if parameter.start() < end or not is_secret_name(unquote(parameter[1])):
            continue
        last = _END_OF_ESCAPED.search(text, begin)
        after = last.start() if last else len(text)
        if after > begin:
            kept += [text[end:begin], MARKER]
            end = after
    return "".join([*kept, text[end:]])


def _without_private_keys(text: str) -> str:
    kept, end = [], 0
    while (begin := _PEM.search(text, end)) and (last := _END_OF_PEM.search(text, begin.end())):
        kept += [text[end : begin.start()], MARKER]
        end = last.end()
    return "".join([*kept, text[end:]])


def _without_content(element: re.Match[str]) -> str:
    named = _NAME_OF_ELEMENT.search(element[2] or "")
    if not element[3].strip() or not (is_secret_name(element[1]) or (named and is_secret_name(named[1]))):
        return element[0]
    return element[0][: element.start(3) - element.start()] + MARKER


def _is_credentials(text: str) -> bool:
    """Whether what stands after a scheme's word is no word itself: `Basic dXNlcjpwYXNz`, but not `basic network`."""
    if re.search(r"=\Z|[a-z0-9][A-Z]|[A-Z][0-9]", text):
        return True
    try:
        return b":" in b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError):
        return False


def _without_members(text: str, names_a_secret: bool) -> str:
    """A text without the values of members with a secret's name, where JSON stands in it."""
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
    """Where a value of JSON in a text ends; the text's end where that can't be told."""
    if text[begin : begin + 1] in ("{", "["):
        depth = 0
        for bracket in _BRACKET.finditer(text, begin):
            depth += 1 if bracket[0] in "[{" else -1
            if not depth:
                return bracket.end()
        return len(text)
    if (prefix := _PREFIX.match(text, begin)) is not None:  # b'…', as Python shows bytes
        begin = prefix.end()
    if (quotes := _QUOTES.match(text, begin)) is not None:
        return _end_of_quoted(text, quotes)
    bare = _BARE.match(text, begin)
    return bare.end() if bare else begin


def _end_of_quoted(text: str, quotes: re.Match[str]) -> int:
    closing = re.compile(rf"(?<!\\){re.escape(quotes[0])}").search(text, quotes.end())
    return closing.end() if closing else len(text)


def _without_assigned(text: str, names_a_secret: bool) -> str:
    """A text without the values of settings (`DB_PASSWORD=…`) and headers (`Authorization: …`)."""
    kept, end = [], 0
    for assigned in _ASSIGNED.finditer(text):
        if assigned.start() < end or not _is_secret_here(text, assigned, names_a_secret):
            continue
        begin = assigned.end()
        if (scheme := _SCHEME_BEFORE.match(text, begin)) is not None:
            begin = scheme.end()
        if _NOTHING.match(text, begin):
            continue
        after = _end_of_assigned(text, assigned, begin)
        if after > begin:
            kept += [text[end:begin], MARKER]
            end = after
    return "".join([*kept, text[end:]])


def _is_secret_here(text: str, assigned: re.Match[str], names_a_secret: bool) -> bool:
    name, start = assigned[1], assigned.start()
    if name.lower() in _SECOND_WORDS and (first := _OF_TWO_WORDS.search(text, max(start - 12, 0), start)):
        name = first[0] + name
    if not (is_secret_name(unquote(name) if "%" in name else name) or (names_a_secret and is_named(name))):
        return False
    return assigned[2] != ":" or _is_header(text, assigned, name)


def _is_header(text: str, assigned: re.Match[str], name: str) -> bool:
    """A colon also stands after a word of a sentence, after a host, and before a port."""
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
