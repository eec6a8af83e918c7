"""A statement in SQL as far as it must be understood to ask it safely: its tokens, its kind, its parameters.

What a statement may do is decided by the database, in a transaction that only reads. What is refused here gets a better
message.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from collector.errors import UsageError

KINDS = ("SELECT", "WITH", "VALUES", "EXPLAIN", "TABLE", "SHOW")
EXAMPLE = '"SELECT slug, state FROM current_regions"'
_TOKEN = re.compile(
    r"""
      (?P<blank>\s+|--[^\n]*|/\*.*?(?:\*/|\Z))
    | (?P<text>[eE]'(?:[^'\\]|''|\\.)*(?:'|\Z)|'(?:[^']|'')*(?:'|\Z)|\$(?P<tag>(?:[^\W\d]\w*)?)\$.*?(?:\$(?P=tag)\$|\Z))
    | (?P<quoted>"(?:[^"]|"")*(?:"|\Z)|`[^`]*(?:`|\Z))
    | (?P<parameter>(?<!:):\w+)
    | (?P<word>[^\W\d]\w*)
    | (?P<number>\d[\w.]*)
    | (?P<sign>::|<=|>=|<>|!=|==|.)
    """,
    re.VERBOSE | re.DOTALL,
)


@dataclass(frozen=True, slots=True)
class Token:
    """A piece of a statement."""

    kind: str
    """text, quoted (a name), parameter, word, number or sign."""
    text: str

    @property
    def name(self) -> str:
        """A word or a quoted name as it names something."""
        return self.text[1:-1].replace('""', '"') if self.kind == "quoted" else self.text.lower()


@dataclass(frozen=True, slots=True)
class Statement:
    """One statement that asks, without a semicolon at its end."""

    sql: str
    tokens: tuple[Token, ...]
    """All but blanks and comments."""

    @property
    def parameters(self) -> tuple[str, ...]:
        """Names of its parameters, each once, in order."""
        return tuple(dict.fromkeys(each.text[1:] for each in self.tokens if each.kind == "parameter"))


def read_statement(text: str) -> Statement:
    """One statement that only asks. Raises UsageError for none, for several, and for one that does something else."""
    found = [(match.lastgroup or "", match[0], match.start()) for match in _TOKEN.finditer(text)]
    real = [each for each in found if each[0] != "blank"]
    while real and real[-1][1] == ";":
        real.pop()
    if not real:
        raise UsageError(f"there is no statement; write one like {EXAMPLE}")
    if any(kind == "sign" and text == ";" for kind, text, _ in real):
        raise UsageError("there is more than one statement; ask one at a time")
    tokens = tuple(Token(kind, text) for kind, text, _ in real)
    first = next((each for each in tokens if each.text != "("), tokens[0])
    if first.text.upper() not in KINDS:
        raise UsageError(
            f"{first.text[:40]!r} is refused: collector sql only reads; begin with SELECT, WITH, VALUES or EXPLAIN"
        )
    _, last, start = real[-1]
    return Statement(text[: start + len(last)], tokens)


def with_placeholders(statement: Statement) -> str:
    """The statement with parameters as PostgreSQL's driver writes them: `%(name)s`."""
    said = []
    for match in _TOKEN.finditer(statement.sql):
        is_parameter = match.lastgroup == "parameter"
        said.append(f"%({match[0][1:]})s" if is_parameter else match[0].replace("%", "%%"))
    return "".join(said)
