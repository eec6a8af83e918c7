"""Reads answers that are mostly like the last one: only new records are read, the others are remembered.

    body ─▶ raw records, as bytes ─▶ those of the last answer: as they were read then ──────────┐
                              └────▶ new ones, all as documented: in one call, nothing to hide ─┤
                              └────▶ other new ones: strict JSON ─▶ redacted ─▶ canonical ──────┴─▶ Document

A record is identified by the SHA-256 of its bytes, which takes less memory than they do. Before anything is used, it
is proven that the records and what surrounds them are the body. If that fails, or anything is unusual, `document_of`
reads the whole body and reports what is wrong. So the result is always that of `document_of`.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from typing import Any

from msgspec import Struct

from collector.gcore import documented, jsontext, wire
from collector.gcore.document import (
    LIMITS,
    MAX_AT_ONCE,
    MAX_VALUES_AT_ONCE,
    USUAL,
    Document,
    KeyJudge,
    Limits,
    NotAListingError,
    Record,
    assembled,
    count_of_values,
    document_of,
    fits_at_once,
    id_of,
    too_many_records,
    too_many_values,
    too_much_to_judge,
)
from collector.gcore.jsontext import StrictJSONError
from collector.gcore.listing import understand
from collector.gcore.pieces import LEVELS, DoubtError, Pieces, part
from collector.gcore.redaction import Judged, Redaction, TooMuchToJudgeError, judged_harmless

MAX_REMEMBERED = 64 * 1024 * 1024
"""Bytes of a source's records that are kept until its next answer."""
FEW_ESCAPES = 200
"""Number of characters of a record that may be escapes; with more, searching it for the key takes long."""


class _Known(Struct, frozen=True, gc=False):
    """A raw record that was read."""

    record: Record
    values: int
    """As counted by `count_of_values`."""
    judged: Judged
    closely: int
    """Number of characters that had to be examined closely."""


class Reader:
    """Reads the answers of one source, one after another. For one thread at a time."""

    def __init__(self, limits: Limits = LIMITS) -> None:
        self._limits = limits
        self._secrets: tuple[str, ...] = ()
        """The keys of the last call. What may be shown depends on them."""
        self._known: dict[bytes, _Known] = {}
        """The records of the last answer."""

    def read(self, body: bytes, secrets: Sequence[str] = ()) -> Document:
        """Read a body as received. Raises StrictJSONError or NotAListingError."""
        # Before each becomes an object. A value and its comma take two bytes, so most answers need not be counted.
        if len(body) > 2 * self._limits.values and body.count(b",") > self._limits.values:
            raise too_many_values(self._limits)
        if tuple(secrets) != self._secrets:
            self._known, self._secrets = {}, tuple(secrets)
        try:
            return self._read(body)
        except (DoubtError, StrictJSONError, NotAListingError, TooMuchToJudgeError) as error:
            doubt = error.with_traceback(None)  # its frames hold what was read
        if count_of_values(body) > self._limits.values:
            raise too_many_values(self._limits)
        if isinstance(doubt, TooMuchToJudgeError):
            if fits_at_once(body):
                jsontext.loads(body)  # raises StrictJSONError for the part that was not read yet
            raise too_much_to_judge(self._limits)
        if fits_at_once(body):
            return document_of(body, secrets, self._limits)
        if isinstance(doubt, DoubtError):
            raise NotAListingError(
                f"the answer holds more than {MAX_AT_ONCE:,} bytes or {MAX_VALUES_AT_ONCE:,} values, and such an "
                f"answer is read only if it is a plain list of regions: {doubt}",
                None,
            )
        raise doubt

    def _read(self, body: bytes) -> Document:
        pieces = part(body)
        raws, _, around = pieces
        if len(raws) > self._limits.records:
            raise too_many_records(len(raws), self._limits)
        names = [sha256(raw).digest() for raw in raws]
        found = list(map(self._known.get, names))
        new = [i for i, known in enumerate(found) if known is None]
        counts = [count_of_values(bytes(raws[i])) for i in new]
        old = [known for known in found if known is not None]
        values = len(raws) - 1 + count_of_values(around) + sum(counts) + sum(known.values for known in old)
        if values > self._limits.values:
            raise too_many_values(self._limits)
        _check_unusual(pieces, counts)
        redaction = Redaction(documented=wire.documented_names(), effort=self._limits.effort)
        keys = KeyJudge(self._secrets, self._limits)
        envelope = _envelope(pieces, redaction, keys)
        redaction.pay([known.judged for known in old])
        before = [known.record for known in self._known.values()]
        self._known, with_key = {}, []
        size, closely = sum(len(known.record.text) for known in old), sum(known.closely for known in old)
        _check_closely(closely, body)
        for i, count in zip(new, counts, strict=True):
            like = before[i] if i < len(before) else None
            record, judged, has_key = _record(bytes(raws[i]), redaction, keys, like)
            found[i] = each = _Known(record, count, judged, _closely(record.text, judged, has_key))
            size += len(record.text)
            closely += each.closely
            _check_closely(closely, body)
            if size > self._limits.bytes:
                raise NotAListingError(
                    f"its canonical form is longer than {self._limits.bytes:,} characters", None
                )
            if has_key:
                with_key.append(i)
        known = [each for each in found if each is not None]  # all of them by now
        self._remember(names, known, with_key)
        return assembled(envelope, [each.record for each in known])

    def _remember(self, names: Sequence[bytes], known: Sequence[_Known], but: Sequence[int]) -> None:
        """Keep the records of this answer, and no earlier ones."""
        self._known = dict(zip(names, known, strict=True))
        for i in but:  # the cost of removing a key counts every time
            self._known.pop(names[i], None)
        size = sum(map(len, names)) + sum(len(each.record.text) for each in known)
        while size > MAX_REMEMBERED:
            name, last = self._known.popitem()
            size -= len(name) + len(last.record.text)


def _check_unusual(pieces: Pieces, counts: Sequence[int]) -> None:
    """Check that what is read at once is no larger than the limits for a whole answer. Raises DoubtError."""
    size = len(pieces.around) + sum(size for size in pieces.sizes if size > USUAL)
    if size > MAX_AT_ONCE:
        raise DoubtError(
            f"records longer than {USUAL:,} bytes, and everything that is not a record, take more than {MAX_AT_ONCE:,}"
        )
    if max(count_of_values(pieces.around), *counts, 0) > MAX_VALUES_AT_ONCE:
        raise DoubtError(f"one record holds more than {MAX_VALUES_AT_ONCE:,} values")


def _check_closely(closely: int, body: bytes) -> None:
    if closely > MAX_AT_ONCE and len(body) > MAX_AT_ONCE:
        raise DoubtError(f"texts that may hold secrets take more than {MAX_AT_ONCE:,} characters")


def _closely(text: str, judged: Judged, has_key: bool) -> int:
    """Number of characters of a record that took more time than others."""
    if has_key or sum(map(text.count, "%&\\")) > FEW_ESCAPES:
        return len(text)
    return judged.closely


def _envelope(pieces: Pieces, redaction: Redaction, keys: KeyJudge) -> dict[str, Any]:
    """Everything but the records."""
    redacted: dict[str, Any] = redaction.of(pieces.members())
    if redacted.pop("results", None) != []:
        raise DoubtError("redaction changed the name of a member")
    return keys.envelope(redacted)


def _record(
    raw: bytes, redaction: Redaction, keys: KeyJudge, like: Record | None
) -> tuple[Record, Judged, bool]:
    """A record that was read, the cost of judging it, and True if it contained the key.

    `like`: a record that may be the same in another spelling.
    """
    region = documented.read(raw)
    if region is not None:
        values = documented.shown_of(region)
        judged = None if keys.stands_in(values) else judged_harmless(values)
        if judged is not None:
            if judged.effort:
                redaction.pay([judged])
            documented.hide(region)
            text = documented.text_of(region)
            if like is not None and like.text == text:
                return like, judged, False
            record = Record(text, region.id)
            understand(record, region)
            return record, judged, False
    value, judged = redaction.record(jsontext.loads(raw, LEVELS))
    text = jsontext.dumps(value)
    has_key = keys.stands_in(text)
    record = keys.record(value) if has_key else Record(text, id_of(value))
    understand(record)
    return record, judged, has_key
