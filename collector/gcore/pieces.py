"""Splits an answer into its raw records without building objects.

The parts are proven to be the answer: if each record is valid by itself, and so is the rest with one value in place
of all records, then the whole is valid and has the same meaning. msgspec only finds the positions.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec

from collector.gcore import jsontext
from collector.gcore.jsontext import MAX_DEPTH, Number, StrictJSONError

LEVELS = MAX_DEPTH - 2
"""Maximum nesting of a record: the answer and its list take two levels."""
_STAND_IN = b"-7.00e-7"
_BETWEEN = re.compile(rb"[ \t\n\r]*,[ \t\n\r]*")
_OBJECT = ord("{")


class _Answer(msgspec.Struct):
    results: list[msgspec.Raw]


_CUTTER = msgspec.json.Decoder(_Answer)


class DoubtError(ValueError):
    """An answer has unusual parts and has to be read as a whole."""


class Pieces(NamedTuple):
    """An answer in parts."""

    records: Sequence[msgspec.Raw]
    """Views of the answer's bytes. Each begins with { and must still be read strictly, at most `LEVELS` deep."""
    sizes: Sequence[int]
    """Number of bytes of each record."""
    around: bytes
    """The answer with one value in place of all records."""

    def members(self) -> dict[str, Any]:
        """Everything but the records, read strictly, with empty `results`. Raises DoubtError or StrictJSONError."""
        value = jsontext.loads(self.around)
        if not isinstance(value, dict) or value.get("results") != [Number(_STAND_IN.decode())]:
            raise DoubtError("its records are not in `results`")
        value["results"] = []
        return value


def part(body: bytes) -> Pieces:
    """The parts of an answer. Raises DoubtError or StrictJSONError if it has no records or records that are not
    objects.
    """
    try:
        raws = _CUTTER.decode(body.removeprefix(b"\xef\xbb\xbf")).results
    except msgspec.ValidationError as error:
        raise DoubtError(str(error)) from None
    except msgspec.DecodeError as error:
        if "surrogate" in str(error):  # which is valid JSON
            raise DoubtError("it holds half a surrogate pair") from None
        raise StrictJSONError(f"not JSON: {str(error).removeprefix('JSON is malformed: ')}") from None
    except RecursionError:
        raise StrictJSONError(f"nested deeper than {MAX_DEPTH} levels") from None
    if not raws:
        raise DoubtError("it has no records")
    sizes = list(map(len, raws))
    begin = end = body.find(raws[0])
    between = b""
    for raw, size in zip(raws, sizes, strict=True):
        if end > begin:
            if not body.startswith(between, end) or body[end + len(between)] != _OBJECT:
                if (found := _BETWEEN.match(body, end)) is None:
                    raise DoubtError("its records are not adjacent")
                between = found[0]
            end += len(between)
        if body[end] != _OBJECT or not body.startswith(raw, end):
            raise DoubtError("its records are not all objects, or not adjacent")
        end += size
    around = body[:begin] + _STAND_IN + body[end:]
    if around.count(_STAND_IN) != 1:
        raise DoubtError("it holds an odd number")
    return Pieces(raws, sizes, around)
