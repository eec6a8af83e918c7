"""Secrets in texts: in URLs, settings, headers, JSON, XML and command lines, or recognizable by their own form.

A text is judged in the same way wherever it is: in evidence, in a message, as an element of a list. The time of every
rule grows at most linearly with the text, because answers may be hostile.
"""

from __future__ import annotations

import binascii
import html
import re
from base64 import b64decode
from urllib.parse import unquote

from collector.gcore.secret_names import MARKER, is_naming, is_secret_name
from collector.gcore.secret_tables import without_csv, without_lines_of_two
from collector.gcore.secret_values import without_assigned, without_members
from collector.gcore.words import AnyOf

_SHORTEST_TOKEN = 16
MOST_SIGNS = 20_000
"""A text with more signs was not written by a person. It is replaced as a whole if it may hold secrets."""
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
        "ldap",
        "$1$",
        "$2",
        "$5$",
        "$6$",
        "$7$",
        "$y$",
        "$gy$",
        "$apr1$",
        "$argon2",
        "$scrypt",
        "$pbkdf2",
        "sha}",
        "md5}",
        "crypt}",
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
    *(
        "whsec_",
        "hvs.",
        "sk-ant-",
        "sk-proj-",
        "sk-svcacct-",
        "pypi-",
        "dop_v1_",
        "ya29.",
        "gocspx-",
        "hooks.slack",
        "telegram.org/bot",
        "senha",
        "wachtwoord",
        "contrasena",
        "losenord",
        "haslo",
        "idrsa",
        "id_rsa",
        "saml",
        "magic",
        "reset",
        "jdbc",
    ),
)
"""If a text has none of these (in lower case), no rule finds anything."""
_SUSPICIOUS = AnyOf(SUSPICIOUS)

_USERINFO = re.compile(r"(//)[^\s/?#\"<>]*@")
_LOGIN = re.compile(
    r"(?<![\w.+\-/:%])(?!(?:mailto|sips?|xmpp|acct|ssh|git|im|tel):)([\w.+\-]{1,64}:)[^\s:@/\"'<>\[\]]{1,128}"
    r"(?=@[\w\-]+(?:\.[\w\-]+|:\d))"
)
"""`user:password@host.example` and `user:password@host:80`, without the scheme of a URL."""
_ORACLE = re.compile(r"(jdbc:oracle:\w{1,16}:[^\s/@]{1,64}/)[^\s@]{1,128}(?=@)", re.IGNORECASE)
_RUN = re.compile(r"[^\s\"<>]+")
_BEGIN_OF_USERINFO = re.compile(r"//[^\s/?#@:\"<>]*:(?!\d+(?:[/?#]|$))")
"""A password that itself contains / ? or #, as people paste them. `//host:5000/x@y` is left alone.

It is searched in two steps, because a single pattern would take quadratic time on a hostile answer.
"""
_WHOLE_URL = re.compile(
    r"\A(\s*[a-z][\w+.\-]*://)[^/?#@:]*:(?!\d+(?:[/?#]|\Z)).*@", re.IGNORECASE | re.DOTALL
)
"""A string that is only a URL may have anything in its password, even blanks and quotes."""
_PARAMETER = re.compile(r"([?&;#]([\w.\-\[\]%]{1,128})=)([^&;#\s\"'<>]+)")
_ESCAPED_PARAMETER = re.compile(
    r"(?:%(?:25)*(?:3F|26|3B|23)|(?<![\w.\-+%]))((?:[\w.\-]|%(?:25)*20|\+){1,128})%(?:25)*3[DA](?:%(?:25)*20)?",
    re.IGNORECASE,
)
_END_OF_ESCAPED = re.compile(r"%(?:25)*26|[&;#\s\"'<>]|\Z")
_ESCAPED_USERINFO = re.compile(
    r"(%(?:25)*2F%(?:25)*2F)(?:(?!%(?:25)*(?:2F|3F|23))[^\s/?#\"<>]){1,300}?%(?:25)*40", re.IGNORECASE
)
"""The same in a URL that is a parameter of another one."""
_FLAG = re.compile(r"(?<![\w\-])(--?[A-Za-z][\w.\-]*)([ \t]+)('[^']*'|\"[^\"]*\"|[^\s\-'\"][^\s'\"]*)")

_ASSIGNS = re.compile(r"[=:\N{FULLWIDTH COLON}\N{FULLWIDTH EQUALS SIGN}]|->")
_QUOTED_PAIR = re.compile(
    r"([(\[]\s{0,8}[bu]?([\"'])([\w.\-]{1,64})\2\s{0,8},\s{0,8}[bu]?)('[^']*'|\"[^\"]*\")"
)
"""`('password', '…')`: a pair as Python and other languages print it."""
_QUOTED_AFTER = re.compile(
    r"\b(pass(?:word|wd|phrase|code)|pwd|secret|identified[ ](?:with[ ]\w{1,64}[ ])?(?:by|as))"
    r"([ \t]{0,4}\([ \t]{0,4}|[ \t]{1,4}(?:(?:is|was|to|of)[ \t]{1,4})?)"
    r"('[^']+'|\"[^\"]+\"|`[^`]+`|“[^”]+”|‘[^’]+’)",
    re.IGNORECASE,
)
"""`ALTER USER x PASSWORD '…'`, `PASSWORD('…')`, and quoted values in sentences."""
_QUOTED_TOKEN = re.compile(
    r"\b((?:token|api[ _-]?key|access[ _-]key|credentials?)[ \t]{1,4}(?:(?:is|was|of)[ \t]{1,4})?)[\"'`“‘]"
    r"(?=[^\s\"'`”’]{0,200}\d)[^\s\"'`”’]{8,}[\"'`”’]",
    re.IGNORECASE,
)
"""`the token 'a1b2c3d4' has expired`. `Unexpected token 'function'` holds none."""
_SAID = re.compile(
    r"\b((?:pass(?:word|wd|phrase|code)|pwd|secret|token|api[ _-]?key)[ \t]{1,4}"
    r"(?:(?:is|was):?|=|(?:provided|supplied|given|entered|received):)[ \t]{1,4})"
    r"(?=[^\s\d$#@!%^&*_+~]{0,200}[\d$#@!%^&*_+~])[^\s\"'<>]{4,}",
    re.IGNORECASE,
)
"""`the password is hunter2`. A plain word is not a password: `the password is wrong`."""
_OF_A_USER = re.compile(
    r"((?<!\S)(?:-u|-U|--(?:proxy-)?user)(?:[ \t]{0,4}|=)['\"]?[^\s:'\"]{1,128}:)[^\s'\"]+"
)
_COMMAND = re.compile(
    r"\b((?:sshpass|(?:docker|podman|helm|oras|az|registry)[ \t](?:[\w\-]{1,32}[ \t]){0,2}login"
    r"|(?:mysql|mariadb)[\w\-]{0,16}|ldap(?:add|delete|modify|passwd|search|whoami)|redis-cli)\b"
    r"(?:[ \t][^\s;|]{1,128}){0,8}?[ \t]-[apw](?:[ \t]{1,4}|(?=[^\s\-])))(?!\[)('[^']*'|\"[^\"]*\"|[^\s'\"]+)"
)
"""`sshpass -p …`, `mysql -p…`, `docker login -p …`: programs whose short option is a password."""
_OF_A_SHELL = re.compile(
    r"((?<!\S)(?:ENV|ARG|setenv|setx)[ \t]{1,4}([\w.\-]{1,64})[ \t]{1,4})(?!\[)[^\s=][^\r\n]*"
)
_OF_A_ROUTER = re.compile(
    r"\b((?:password|secret|key|community|psk)[ \t]\d{1,2}[ \t]|pre-?shared-key[ \t]|snmp-server[ \t]community[ \t])"
    r"(?=\S{6})[^\s\[]\S*",
    re.IGNORECASE,
)
"""`enable secret 5 …`: the number is that of an encoding."""
_OF_A_MACHINE = re.compile(r"(\blogin[ \t]{1,4}\S{1,128}\s{1,4}passw(?:or)?d[ \t]{1,4})\S+", re.IGNORECASE)
"""`curl -u user:…`, and a line of .netrc."""
_FORM = re.compile(r"(\bname=\"?([\w.\-]{1,64})\"?[^\r\n]{0,200}\r?\n\r?\n)[^\r\n]+")
"""A field of a form as it is sent."""
_NAMES_A_NAME = re.compile(
    r"(?<![\w.\-])([\w.\-]{1,64})(?:\\{0,8}[\"'])?\s{0,8}[=:]>?\s{0,8}"
    r"(?:\\{0,8}[\"']([\w.\- ]{1,64})|([\w.\-]{1,64}))"
)
"""`"name": "password"`, `name=password`: the places that may hold a secret's name."""


_ELEMENT = re.compile(r"<([\w:.\-]{1,128})(\s[^<>]{0,500})?>(<!\[CDATA\[[^<]*\]\]>|[^<]+)(?=</)")
_NESTING = re.compile(r"<([\w:.\-]{1,128})(?:\s[^<>]{0,500})?>(?=\s{0,64}<\w)")
_NAME_AND_VALUE = re.compile(
    r"(<(key|name|td|th|dt)>\s{0,8}([\w.\- ]{1,64}?)\s{0,8}</\2>\s{0,64}<(?:\w{1,32})>)([^<]+)", re.IGNORECASE
)
"""`<key>password</key><string>…</string>`: a property list, a table."""
_NAME_OF_ELEMENT = re.compile(r"\b(?:name|key|id)\s?=\s?[\"']([\w.\-]{1,64})[\"']", re.IGNORECASE)


_SCHEME = re.compile(r"\b((?:apikey|bearer)\s+)[^\s,;\"'<>]+", re.IGNORECASE)
_BASIC = re.compile(r"\b(basic|token|digest|negotiate)(\s+)([A-Za-z0-9+/_.\-]{8,}={0,2})", re.IGNORECASE)
_PEM = re.compile(
    r"-{4,5} ?BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)? ?-{4,5}|Private-Lines: \d{1,4}(?=\r?\n)"
)
"""A private key as OpenSSL, GnuPG, SSH and PuTTY write it."""
_END_OF_PEM = re.compile(r"-{4,5} ?END [A-Z0-9 ]{0,60}-{4,5}|Private-MAC:|\Z")
_END_OF_PRIVATE = re.compile(r"-{4,5} ?END [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)? ?-{4,5}")
_IN_PEM = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/=\r\n")
_OF_A_WEBHOOK = re.compile(
    r"(hooks\.slack\.com/(?:services|workflows|triggers)/|discord(?:app)?\.com/api/(?:v\d{1,2}/)?webhooks/"
    r"|\.office\.com/webhookb2/|api\.telegram\.org/(?:file/)?bot)[^\s\"'<>?#]+",
    re.IGNORECASE,
)
"""Addresses of well-known services that are enough to send messages."""
_TOKEN = re.compile(
    r"(?<![A-Za-z0-9_\-])(?:eyJ[\w\-]{6,}\.[\w\-]{6,}[\w.\-]*"
    r"|gh[opsur]_\w{20,}|github_pat_\w{20,}|glpat-[\w\-]{16,}|xox[abeprs]-[\w\-]{10,}|[srp]k_(?:live|test)_\w{10,}"
    r"|AKIA[0-9A-Z]{16}|ASIA[0-9A-Z]{16}|AIza[\w\-]{30,}|hf_\w{20,}|npm_\w{30,}|whsec_[\w+/=]{20,}|hvs\.[\w\-]{20,}"
    r"|sk-(?:ant|proj|svcacct)-[\w\-]{16,}|pypi-[\w\-]{40,}"
    r"|\$(?:2[abxy]?|[156y7]|gy|apr1|argon2(?:id?|d)|scrypt|pbkdf2[\w\-]{0,16}|sha1|md5)\$[\w./$=,+\-]{8,}"
    r"|\{(?:S?SHA|S?MD5|CRYPT)\}[\w+/=$.]{8,}"
    r"|dop_v1_\w{40,}|ya29\.[\w\-]{20,}|GOCSPX-[\w\-]{20,}|AGE-SECRET-KEY-1[0-9A-Z]{20,})"
)
"""JSON Web Tokens, the prefixes that well-known issuers use for their tokens, and hashes of passwords."""


_ESCAPED_SIGN = re.compile(
    r"&(?:amp;)*(quot|apos|lt|gt|#0{0,4}(?:3[489]|58|6[012])|#x0{0,4}(?:2[267]|3[acde]));|\\{1,8}u00(2[267]|3[acde])",
    re.IGNORECASE,
)
"""A quotation mark, `&`, `:`, `<`, `=` or `>` as HTML and JSON write it."""


def scrub_text(text: str) -> str:
    """A text without its secrets; the names beside them stay."""
    if not may_hold_secrets(text):
        return text
    if signs(text) > MOST_SIGNS:
        return MARKER
    text = _scrubbed(text)
    plain = _ESCAPED_SIGN.sub(_sign, text)
    if plain == text:
        return text
    scrubbed = _scrubbed(plain) if signs(plain) <= MOST_SIGNS else MARKER
    return text if scrubbed == plain else scrubbed


def _sign(escaped: re.Match[str]) -> str:
    return html.unescape(f"&{escaped[1].lower()};") if escaped[1] else chr(int(escaped[2], 16))


def _scrubbed(text: str) -> str:
    for _ in range(4):  # one rule may uncover matches for another
        scrubbed = _scrub(text)
        if scrubbed == text:
            break
        text = scrubbed
    return text


def signs(text: str) -> int:
    """Number of places that the rules examine."""
    return sum(map(text.count, "=:-<\n"))


def may_hold_secrets(text: str) -> bool:
    """A quick test, since almost no text holds secrets."""
    if "@" in text and ":" in text:
        return True
    return _SUSPICIOUS.may_stand_in(text.lower()) or (not text.isascii() and ("=" in text or ":" in text))


def _scrub(text: str) -> str:
    if "//" in text and "@" in text:
        text = _WHOLE_URL.sub(rf"\1{MARKER}@", text)
        text = _RUN.sub(_without_userinfo, _USERINFO.sub(rf"\1{MARKER}@", text))
    if "@" in text and ":" in text:
        text = _LOGIN.sub(rf"\1{MARKER}", _ORACLE.sub(rf"\1{MARKER}", text))
    if "BEGIN " in text or "END " in text or "Private-Lines" in text:
        text = _without_private_keys(text)
    text = _QUOTED_AFTER.sub(rf"\1\2{MARKER}", text)
    if "'" in text or '"' in text or "`" in text or not text.isascii():
        text = _QUOTED_TOKEN.sub(rf"\1{MARKER}", text)
    text = _SAID.sub(rf"\1{MARKER}", text)
    if "/" in text:
        text = _OF_A_WEBHOOK.sub(rf"\1{MARKER}", text)
    text = _QUOTED_PAIR.sub(lambda m: m[1] + MARKER if is_secret_name(m[3]) else m[0], text)
    text = _OF_A_MACHINE.sub(rf"\1{MARKER}", text)
    if "\n" in text:
        text = without_csv(text)
        text = _FORM.sub(lambda m: m[1] + MARKER if is_secret_name(m[2]) else m[0], text)
    if "</" in text:
        text = _NAME_AND_VALUE.sub(lambda m: m[1] + MARKER if is_secret_name(m[3]) else m[0], text)
        text = _ELEMENT.sub(_without_content, text)  # before `key="password"` is a setting
    if "|" in text or "\t" in text:
        text = without_lines_of_two(text)
    if _ASSIGNS.search(text):
        names_a_secret = any(
            is_naming(m[1]) and is_secret_name(m[2] or m[3]) for m in _NAMES_A_NAME.finditer(text)
        )
        text = without_members(text, names_a_secret)
        text = _PARAMETER.sub(_without_parameter, text)
        text = without_assigned(text, names_a_secret)
    if "%" in text:
        text = _without_escaped_parameters(text)
        text = _ESCAPED_USERINFO.sub(rf"\1{MARKER}%40", text)
    if "<" in text and ">" in text:
        text = _without_nested(text)
    if " -" in text or text.startswith("-"):
        text = _OF_A_USER.sub(rf"\1{MARKER}", text)
        text = _COMMAND.sub(rf"\1{MARKER}", text)
        text = _FLAG.sub(lambda m: f"{m[1]}{m[2]}{MARKER}" if is_secret_name(m[1]) else m[0], text)
    if " " in text or "\t" in text:
        text = _OF_A_SHELL.sub(lambda m: m[1] + MARKER if is_secret_name(m[2]) else m[0], text)
        for rule in (_OF_A_ROUTER, _SCHEME):
            text, many = rule.subn(rf"\1{MARKER}", text, MOST_SIGNS)
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
    text = "".join([*kept, text[end:]])
    if tail := _END_OF_PRIVATE.search(text):  # its beginning was cut off
        start = tail.start()
        while start and text[start - 1] in _IN_PEM:
            start -= 1
        text = f"{text[:start]}{MARKER}{text[tail.end() :]}"
    return text


def _without_nested(text: str) -> str:
    """A text without what is in elements of a secret's name that hold other elements."""
    kept, end = [], 0
    for element in _NESTING.finditer(text):
        if element.start() < end or not is_secret_name(element[1]):
            continue
        closing = text.find(f"</{element[1]}", element.end())
        kept += [text[end : element.end()], MARKER]
        end = closing if closing >= 0 else len(text)
    return "".join([*kept, text[end:]])


def _without_content(element: re.Match[str]) -> str:
    named = _NAME_OF_ELEMENT.search(element[2] or "")
    if not element[3].strip() or not (is_secret_name(element[1]) or (named and is_secret_name(named[1]))):
        return element[0]
    return element[0][: element.start(3) - element.start()] + MARKER


def _is_credentials(text: str) -> bool:
    """True if the text after a scheme is not a word: `Basic dXNlcjpwYXNz`, but not `basic network`."""
    if re.search(r"=\Z|[a-z0-9][A-Z]|[A-Z][0-9]", text):
        return True
    try:
        return b":" in b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError):
        return False
