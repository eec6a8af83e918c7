"""Names that mark their value as a secret, judged by their words, however these are joined.

`apiKey`, `API-KEY`, `api.key`, `APIKey`, `apikey` and `api key` are the same name. Ordinary words that merely contain
such a word (`keystone`, `monkey`, `tokenizer`, `compass`) are not secret names.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache
from itertools import pairwise

MARKER = "[redacted]"
"""Replaces a secret."""

_LONGEST_CACHED = 64
_LONGEST_JUDGED = 64 * 1024

_ORDINARY = re.compile(
    r"keystone|(?<![a-z])(?:mon|tur|don|hoc|joc|whis|lac|flun|mic)keys?"
    r"|key(?:board|word|note|stroke|space|frame|hole)s?"
    r"|tokeni[sz]\w*|secretar\w*"
    r"|(?<![a-z])(?:com|encom|by|sur|under|over|tres)pass(?:es|ed|ing)?(?![a-z])"
    r"|passenger\w*|passiv\w*|passed|passing|passag\w*|passthrough|passport\w*|passion\w*"
    r"|pass(?:et|ign|ert|ess|ist|oc|embl|um)s?"  # mapAssets, groupAssignments
)
"""Removed from a word before it is judged, so that `keystone_key` still counts as a key."""

_IN_A_WORD = re.compile(
    r"pass|pwd|pswd|secret|token|key|credential|cookie|bearer|jwt|signature|hmac|authori[sz]ation|authentication"
    r"|authori[sz]|kubeconfig|mnemonic|^dsn|dsn$|[a-z](?:psk|pw|otp)$|^o?auth(?:header|code|data|info|str|value|param)"
    r"|[a-z]auth$|creds$|paswd|sessid|kennwort|contrase[nñ]a|^senha$|wachtwoord|l[oö]senord|^has[lł]o$|парол|密[码碼]"
    r"|パスワード|비밀번호"
)
"""Any word with such a part is a secret's name."""

_WORDS = frozenset(
    re.findall(
        r"\w+",
        "auth oauth pw psw psk otp totp pin pincode puk cvv cvc mfa sig pat sas sid cred creds ppk pfx csrf xsrf"
        " session private salt nonce wep assertion ticket verifier seed community",
    )
)
"""Secret only as whole words: `pin` is, `spin` is not."""
_LAST_WORDS = frozenset(("private", "session", "seed", "community"))
"""Secret only if no other word follows: `private_network` is not. See `_JOINED` for `session_id`."""
_HARMLESS_AFTER_AUTH = frozenset(
    re.findall(
        r"\w+",
        "url uri type types method methods mode enabled required scheme version provider protocol realm",
    )
)
_QUESTIONS = frozenset(("has", "is", "needs", "supports", "uses", "requires", "allows"))
"""`has_auth` asks a question and holds no secret."""

_JOINED = re.compile(
    r"password|passwd|passphrase|passcode|secret|apikey|credential|authori[sz]ation|connection(?:str|uri)|session(?:id|key)"
    r"|privatepem|(?:recovery|backup|activation|unlock|verification|access|device|onetime)codes?$|seedphrase"
    r"|securityanswer|kubeconfig|dockerconfig|dockercfg|codeverifier|presignedur[il]|^idrsa$|samlre(?:sponse|quest)"
    r"|(?:magic|reset)(?:link|ur[il])s?$|(?:webhook|database|jdbc|db|broker|amqp|redis|mongo(?:db)?|mysql|mariadb|postgres(?:ql)?)ur[il]s?$"
)
"""Found across words: `pass_word`, `connection-string`, `sessionId`.

A webhook's URL is enough to call it, and the URL of a database or a broker usually contains its password.
"""

_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_APART = re.compile(r"[\W_\d]+")

_NAMING = frozenset(
    re.findall(
        r"\w+",
        "name names key keys id field fields header headers param parameter variable var option opt label type kind"
        " title attribute attr property prop setting env entry item k n path slug code identifier tag ref question set",
    )
)
_NAMED = frozenset(
    re.findall(
        r"\w+",
        "value values val vals v default content contents data text string str raw plain plaintext payload body"
        " current input new old before after previous next to answer literal",
    )
)


def is_secret_name(name: str) -> bool:
    """True if a key with this name holds a secret, regardless of case and of how its words are joined."""
    if len(name) > _LONGEST_JUDGED:  # not a real name: what it belongs to is not worth the risk
        return True
    return _judged(name) if len(name) <= _LONGEST_CACHED else _judge(name)


def is_naming(name: str) -> bool:
    """True if the value of this key may be a name: `{"name": "password", "value": …}`."""
    return len(name) <= _LONGEST_CACHED and last_word(name) in _NAMING


def is_named(name: str) -> bool:
    """True if this key may hold the value that another key names."""
    return len(name) <= _LONGEST_CACHED and (last_word(name) in _NAMED or name.lower().startswith("val"))


@lru_cache(maxsize=4096)
def last_word(name: str) -> str:
    """The last word of a name in lower case; empty if there is none. For short names only, since it is cached."""
    words = _words(_plain(name))
    return words[-1] if words else ""


@lru_cache(maxsize=4096)
def _judged(name: str) -> bool:
    """Judge a name. There are few, and they recur in every record."""
    return _judge(name)


def _judge(name: str) -> bool:
    name = _plain(name)
    in_camel_case, in_one_case = _words(name), _split(name.lower())
    return (
        any(_IN_A_WORD.search(_ORDINARY.sub(" ", word)) for word in {*in_camel_case, *in_one_case})
        or _has_whole_word(in_camel_case)
        or _has_whole_word(in_one_case)
        or bool(_JOINED.search(_ORDINARY.sub(" ", "".join(in_one_case))))
    )


def _has_whole_word(words: list[str]) -> bool:
    if words and words[0] in _QUESTIONS:
        return False
    for word, following in pairwise([*words, ""]):
        if word not in _WORDS or (word in _LAST_WORDS and following):
            continue
        if not (word in ("auth", "oauth") and following in _HARMLESS_AFTER_AUTH):
            return True
    return False


def _words(name: str) -> list[str]:
    return _split(_CAMEL.sub(" ", name).lower())


def _split(text: str) -> list[str]:
    return [word for word in _APART.split(text) if word]


def _plain(name: str) -> str:
    """The name without invisible or look-alike characters: full-width letters, zero-width characters."""
    if name.isascii():
        return name
    return "".join(c for c in unicodedata.normalize("NFKC", name) if unicodedata.category(c) != "Cf")
