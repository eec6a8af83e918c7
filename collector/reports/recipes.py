"""The cookbook's questions for any database: fixed statements, whose dates move with the time.

They are written only on the page docs/cookbook.md. Its dates are those of its demo. Here they lie as far before now as
they lie before the demo's end: by whole months if a month begins there, otherwise by whole days. The name of the
region is a parameter.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

import sqlalchemy as sa

DEMO = datetime(2026, 11, 25, 17, tzinfo=UTC)
"""When the cookbook's demo ends."""
REGION = "luxembourg-2"
"""The region that the cookbook's statements name."""
MOST = 500
"""Most rows of an answer."""
_DATE = re.compile(r"'(\d{4})-(\d{2})-(\d{2})(T[\d:.]+Z)?'")


@dataclass(frozen=True, slots=True)
class Recipe:
    """A question and the statement that answers it."""

    chapter: str
    question: str
    said: str
    """Notes on the answer, in paragraphs; `*Not said:*` begins what it does not say."""
    sql: str
    slug: str

    @property
    def names_a_region(self) -> bool:
        return f"'{REGION}'" in self.sql


@cache
def recipes(database: str) -> tuple[Recipe, ...]:
    """The recipes that run on a database (`SQLite` or `PostgreSQL`), in the order of the page."""
    return tuple(_recipes(_page(), database))


def _page() -> str:
    """The page, which is inside the package when installed, and beside it in a checkout."""
    package = Path(str(resources.files("collector")))
    installed = package / "reports" / "cookbook.md"
    path = installed if installed.exists() else package.parent / "docs" / "cookbook.md"
    return path.read_text(encoding="utf-8")


def _recipes(page: str, database: str) -> Iterator[Recipe]:
    chapter = ""
    counts: dict[str, int] = {}
    for section in re.split(r"(?m)^(?=##)", page):
        heading, _, body = section.partition("\n")
        if heading.startswith("## "):
            chapter = heading.removeprefix("## ")
            continue
        if not heading.startswith("### "):
            continue
        question = heading.removeprefix("### ")
        said: list[str] = []
        for part in re.split(r"(?ms)^(```\w*\n.*?^```)$", body):
            if not part.startswith("```"):
                said += [" ".join(text.split()) for text in part.split("\n\n") if text.strip()]
                continue
            if not part.startswith("```sql\n"):
                continue
            sql = part.removeprefix("```sql\n").removesuffix("```").strip()
            named = re.match(r"-- (PostgreSQL|SQLite)\b", sql)
            if (named and named[1] != database) or not re.match(r"(--.*\n)*\s*(SELECT|WITH)\b", sql):
                continue
            slug = re.sub(r"[^a-z0-9]+", "-", question.lower()).strip("-")
            counts[slug] = counts.get(slug, 0) + 1
            is_another = counts[slug] > 1
            name = f"{question} ({counts[slug]})" if is_another else question
            own = f"{slug}-{counts[slug]}" if is_another else slug
            yield Recipe(chapter, name, "\n\n".join(said), sql, own)


def moved(sql: str, now: datetime) -> str:
    """A statement whose dates lie as far before now as those of the cookbook lie before its demo's end."""
    now = now.astimezone(UTC)
    days = (now.date() - DEMO.date()).days
    months = (now.year - DEMO.year) * 12 + now.month - DEMO.month

    def move(match: re.Match[str]) -> str:
        year, month, day = (int(match[n]) for n in (1, 2, 3))
        if day == 1 and not match[4]:
            count = year * 12 + month - 1 + months
            return f"'{count // 12:04}-{count % 12 + 1:02}-01'"
        there = datetime(year, month, day, tzinfo=UTC) + timedelta(days=days)
        return f"'{there:%Y-%m-%d}{match[4] or ''}'"

    return _DATE.sub(move, sql)


def moved_words(text: str, now: datetime) -> str:
    """The same for days in a text, like `15 November` and `2026-11-15`."""
    days = (now.astimezone(UTC).date() - DEMO.date()).days

    def move(match: re.Match[str]) -> str:
        there = datetime(DEMO.year, _MONTHS.index(match[2]) + 1, int(match[1]), tzinfo=UTC) + timedelta(
            days=days
        )
        return f"{there.day} {_MONTHS[there.month - 1]}"

    text = re.sub(r"\b2026-\d\d-\d\d\b", lambda match: moved(f"'{match[0]}'", now).strip("'"), text)
    return re.sub(rf"\b(\d{{1,2}}) ({'|'.join(_MONTHS)})\b", move, text)


_MONTHS = (
    *("January", "February", "March", "April", "May", "June", "July"),
    *("August", "September", "October", "November", "December"),
)


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer to a statement."""

    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]
    is_cut: bool
    """True if there are more rows than these."""


def answer(connection: sa.Connection, sql: str, region: str) -> Answer:
    """Run a statement of the cookbook, and fetch its first rows. The region replaces `'luxembourg-2'`."""
    named = f"'{REGION}'"
    text = sql.replace(":", "\\:").replace(named, ":region")
    found = connection.execute(sa.text(text), {"region": region} if named in sql else {})
    rows = found.fetchmany(MOST + 1)
    return Answer(list(found.keys()), [tuple(row) for row in rows[:MOST]], len(rows) > MOST)
