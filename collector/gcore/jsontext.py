"""JSON as evidence: read strictly, written in one canonical form.

The reader refuses what different parsers read differently: duplicate keys, NaN and Infinity, invalid UTF-8, and
nesting over `MAX_DEPTH`. Numbers keep their literal text, so nothing is rounded.

The canonical form, version `CANONICAL_VERSION`: no white space, ASCII only (other characters as \\uXXXX, including
lone surrogates), object keys sorted by code point, numbers unchanged.
"""

from __future__ import annotations

import json
from json.encoder import encode_basestring_ascii
from typing import Any, NoReturn

CANONICAL_VERSION = 1
MAX_DEPTH = 64


class Number:
    """A number with its literal text: `3.0` and `3` are the same value, but not the same evidence."""

    __slots__ = ("literal",)

    def __init__(self, literal: str) -> None:
        self.literal = literal

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Number) and other.literal == self.literal

    def __hash__(self) -> int:
        return hash(self.literal)

    def __repr__(self) -> str:
        return f"Number({self.literal!r})"

    def as_int(self) -> int | None:
        """The integer with this value (`3`, `3.0`, `3e0`) if it fits signed 64 bits, otherwise None."""
        if len(self.literal) > 400:
            return None
        try:
            value = int(self.literal)
        except ValueError:
            return self._integral()
        return value if -(2**63) <= value < 2**63 else None

    def _integral(self) -> int | None:
        mantissa, _, exponent = self.literal.lower().partition("e")
        if len(exponent) > 5:
            return None
        whole, _, fraction = mantissa.partition(".")
        shift = int(exponent or 0) - len(fraction)
        digits = whole + fraction
        if not digits.strip("-0"):
            return 0
        if shift < 0:
            digits, dropped = digits[:shift], digits[shift:]
            if dropped.strip("0") or not digits.strip("-"):
                return None
        elif shift > 19:
            return None
        value = int(digits) * 10 ** max(shift, 0)
        return value if -(2**63) <= value < 2**63 else None


class StrictJSONError(ValueError):
    """The text is not JSON, or parsers may disagree about it."""


def loads(body: bytes, levels: int = MAX_DEPTH) -> Any:
    """Parse strictly, at most `levels` deep. Numbers become `Number`.

    Raises StrictJSONError with a message for people.
    """
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError as error:
        raise StrictJSONError(f"not valid UTF-8 at byte {error.start}") from None
    try:
        value = json.loads(
            text.removeprefix("\ufeff"),
            object_pairs_hook=_object,
            parse_int=Number,
            parse_float=Number,
            parse_constant=_refuse_constant,
        )
    except json.JSONDecodeError as error:
        raise StrictJSONError(f"not JSON: {error.msg.removesuffix(' at')} at character {error.pos}") from None
    except RecursionError:
        raise StrictJSONError(f"nested deeper than {MAX_DEPTH} levels") from None
    _check_depth(value, levels)
    return value


def dumps(value: Any) -> str:
    """The canonical text of a parsed value."""
    if isinstance(value, str):
        return encode_basestring_ascii(value)
    if isinstance(value, Number):
        return value.literal
    if value is None:
        return "null"
    if value is True:
        return "true"
    if value is False:
        return "false"
    if isinstance(value, dict):
        return (
            "{" + ",".join([f"{encode_basestring_ascii(k)}:{dumps(value[k])}" for k in sorted(value)]) + "}"
        )
    if isinstance(value, list):
        return "[" + ",".join([dumps(item) for item in value]) + "]"
    raise TypeError(f"not a parsed JSON value: {type(value).__name__}")


def pretty(value: Any, indent: str = "") -> str:
    """A parsed value for people: indented, otherwise as in the canonical form; numbers unchanged."""
    inner = indent + "  "
    if isinstance(value, dict) and value:
        members = [f"{inner}{dumps(k)}: {pretty(v, inner)}" for k, v in sorted(value.items())]
        return "{\n" + ",\n".join(members) + f"\n{indent}}}"
    if isinstance(value, list) and value:
        return "[\n" + ",\n".join(inner + pretty(item, inner) for item in value) + f"\n{indent}]"
    return dumps(value)


def type_name(value: Any) -> str:
    """The JSON type of a parsed value."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "boolean"
    return {str: "string", Number: "number", int: "number", dict: "object", list: "array"}[type(value)]


def integer(value: Any) -> int | None:
    """The integer value of a parsed number that fits signed 64 bits, otherwise None."""
    if isinstance(value, Number):
        return value.as_int()
    return value if type(value) is int else None


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise StrictJSONError(f"the key {key[:60]!a} occurs twice in one object")
            seen.add(key)
    return result


def _refuse_constant(name: str) -> NoReturn:
    raise StrictJSONError(f"{name} is not JSON")


def _check_depth(value: Any, levels: int) -> None:
    level = [value] if isinstance(value, dict | list) else []
    for _ in range(levels):
        children = (child for node in level for child in (node.values() if isinstance(node, dict) else node))
        level = [child for child in children if isinstance(child, dict | list)]
        if not level:
            return
    raise StrictJSONError(f"nested deeper than {MAX_DEPTH} levels")
