"""The cookbook's questions, each with its statement and its answer on this database. There are no other statements."""

from __future__ import annotations

from itertools import groupby

import sqlalchemy as sa

from collector.database.url import is_sqlite
from collector.errors import UsageError
from collector.reports.filters import places
from collector.reports.recipes import REGION, answer, moved, moved_words, recipes
from collector.reports.words import in_order
from collector.web.pages.asking import Asked
from collector.web.pages.rendering import Shown


def _database(connection: sa.Connection) -> str:
    return "SQLite" if is_sqlite(connection) else "PostgreSQL"


def index(connection: sa.Connection, asked: Asked) -> Shown:
    """The questions, by chapter."""
    found = recipes(_database(connection))
    chapters = [
        (chapter, [(each.slug, moved_words(each.question, asked.moment)) for each in own])
        for chapter, own in groupby(found, key=lambda each: each.chapter)
    ]
    return Shown("questions.html", {"chapters": chapters})


def show(connection: sa.Connection, asked: Asked) -> Shown:
    """One question: the statement and its result."""
    found = next((r for r in recipes(_database(connection)) if r.slug == asked.parts["slug"]), None)
    if found is None:
        raise UsageError("there is no such question")
    sql = moved(found.sql, asked.moment)
    slugs = sorted({str(p["slug"]) for p in places(connection).values() if p["slug"]}, key=in_order)
    region = asked.text("region")
    if region not in slugs:
        region = REGION if REGION in slugs or not slugs else slugs[0]
    said = answer(connection, sql, region)
    return Shown(
        "question.html",
        {
            "chapter": found.chapter,
            "question": moved_words(found.question, asked.moment),
            "sql": sql.replace(f"'{REGION}'", "'{}'".format(region.replace("'", "''"))),
            "answer": said,
            "paragraphs": moved_words(found.said, asked.moment).split("\n\n") if found.said else [],
            "slugs": slugs if found.names_a_region else [],
            "region": region,
            "is_numeric": [
                bool(said.rows)
                and all(isinstance(row[n], int | float) or row[n] is None for row in said.rows)
                for n in range(len(said.columns))
            ],
        },
    )
