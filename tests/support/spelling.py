"""Values of JSON, and other spellings of them."""

from __future__ import annotations

import json
import random
from typing import Any

from hypothesis import strategies as st

from collector.gcore.jsontext import Number

literals = st.from_regex(r"-?(0|[1-9][0-9]{0,5})(\.[0-9]{1,4})?([eE][+-]?[0-9]{1,2})?", fullmatch=True)
texts = st.text(max_size=8)
"""Control characters, NUL and lone surrogates among them."""
any_texts = texts | st.text(st.characters(min_codepoint=0xD7F0, max_codepoint=0xE00F), max_size=4)
values = st.recursive(
    st.none() | st.booleans() | literals.map(Number) | any_texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(any_texts, inner, max_size=3),
    max_leaves=12,
)


def spelled(value: Any, seed: int) -> bytes:
    """A value as JSON text: keys in some order, white space here and there, characters escaped or not."""
    chance = random.Random(seed)

    def blank() -> str:
        return chance.choice(["", "", "", " ", "\n", "\t", "\r\n "])

    def text(of: str) -> str:
        return '"' + "".join(letter(c) for c in of) + '"'

    def letter(of: str) -> str:
        if 0xD800 <= ord(of) < 0xE000 or of < " " or of in '"\\' or chance.random() < 0.3:
            units = of.encode("utf-16-be", "surrogatepass")
            escapes = [f"\\u{units[i : i + 2].hex()}" for i in range(0, len(units), 2)]
            return "".join(e.upper().replace("\\U", "\\u") if chance.random() < 0.5 else e for e in escapes)
        return of

    def spell(of: Any) -> str:
        if isinstance(of, Number):
            return of.literal
        if isinstance(of, str):
            return text(of)
        if isinstance(of, list):
            return "[" + ",".join(blank() + spell(item) + blank() for item in of) + "]"
        if isinstance(of, dict):
            keys = chance.sample(list(of), len(of))
            members = [f"{blank()}{text(k)}{blank()}:{blank()}{spell(of[k])}{blank()}" for k in keys]
            return "{" + ",".join(members) + "}"
        return json.dumps(of)

    return (blank() + spell(value) + blank()).encode()


def joined(value: Any) -> Any:
    """Two lone surrogates side by side are one character in JSON: as a parser reads them."""
    if isinstance(value, str):
        return value.encode("utf-16-be", "surrogatepass").decode("utf-16-be", "surrogatepass")
    if isinstance(value, list):
        return [joined(item) for item in value]
    if isinstance(value, dict):
        return {joined(k): joined(v) for k, v in value.items()}
    return value


records = st.one_of(
    values,
    st.builds(
        lambda number, more: more | {"id": number},
        st.integers(-3, 3).map(lambda n: Number(str(n))) | st.just(Number("1.0")) | values,
        st.dictionaries(any_texts, values, max_size=2),
    ),
)
listings = st.builds(
    lambda envelope, results: envelope | {"results": results},
    st.dictionaries(any_texts, values, max_size=2),
    st.lists(records, max_size=5),
)
