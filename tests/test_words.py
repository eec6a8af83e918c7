"""Prose is plain, modern English: no dialect words, and no sentence that opens with "Of" or "Whether".

Code blocks, code in backticks, comments of HTML and targets of links are not prose. For code that is listed in `CLEAN`,
docstrings, comments and texts count too.
"""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.paths import ROOT

DIALECT = {
    r"anew": "again",
    r"told": "notified, shown, given",
    r"mend(s|ed|ing)?": "repair, fix",
    r"(?<!not )so many(?! that)": "how many, the number of",
    r"no more(?! than)": "no longer, no other",
    r"shall": "must, will, should",
    r"who(so)?ever": "anybody who, someone who",
    r"whence|thence|hence|thereof|therein|whereby|wherein|whereof": "a plain clause",
    r"but for": "except",
    r"as it should be": "what is expected",
    r"times? of the clock|of the clock": "wall-clock time",
    r"stands? in": "is in",
    r"heed(s|ed)?": "follow, obey",
    r"else's": "another's",
    r"be it": "a plain clause",
    r"by way of": "through",
    r"in the place of": "instead of",
    r"afresh|lest|save that|nought|oft|ere": "a plain word",
}
"""A word, and what to write instead."""

_WORD = re.compile(r"\b(" + "|".join(DIALECT) + r")\b", re.IGNORECASE)
_OPENING = re.compile(r"(?:^|[.!?:|]\s+|^[-*#>\d.]+\s+)(Of|Whether|Among)\s", re.MULTILINE)

_WHERE = re.compile(r"(?:^|[.!?]\s+|^[-*]\s+)(Where)\s[^.:?|]*, ", re.MULTILINE)
"""On pages: a condition before its consequence, and `where` for `if`."""

PAGES = sorted(
    path.relative_to(ROOT).as_posix()
    for pattern in ("README.md", "CHANGELOG.md", "docs/*.md", "deploy/**/*.md")
    for path in ROOT.glob(pattern)
)
CLEAN: tuple[str, ...] = ("collector", "tests/benchmarks", "tests/support")
"""Folders and modules of code whose docstrings, comments and texts are plain already."""


def prose(markdown: str) -> str:
    """The page without code, comments and targets of links; lines keep their numbers."""
    for pattern in (r"(?ms)^ *```.*?^ *```$", r"(?s)<!--.*?-->", r"(?s)``?[^`]+``?", r"\]\([^)]*\)"):
        markdown = re.sub(pattern, lambda found: "`" + "\n" * found[0].count("\n"), markdown)
    return markdown


def dialect(text: str) -> Iterator[str]:
    """Each dialect word or opening, with its line."""
    for pattern in (_WORD, _OPENING):
        for found in pattern.finditer(text):
            line = text.count("\n", 0, found.start(1)) + 1
            yield f"{line}: {found[1]!r} in {text.splitlines()[line - 1].strip()!r}"


def texts(source: str) -> str:
    """Comments and strings of a module, each on its own line."""
    lines = [""] * (source.count("\n") + 2)
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            lines[token.start[0] - 1] += token.string.lstrip("#: ")
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            for number, line in enumerate(node.value.split("\n")):
                lines[node.lineno - 1 + number] += f"\t{line.strip()}"
    return prose("\n".join(line.strip() for line in lines))


def comments(source: str, mark: str) -> str:
    """What follows the mark in each line of a file that is not Python."""
    return "\n".join(line.partition(mark)[2] for line in source.splitlines())


_MANY = re.compile(
    r" (?:(?!has |no |of )[a-z-]+ ){0,2}?(?:answer|anchor|attempt|claim|column|commit|connection|day|event|field|file|"
    r"gap|head|key|keystone|letter|line|name|observation|poll|receiver|record|region|row|source|span|tab|time|token|"
    r"transition|value|version|view)s\b|"
    r" (?:(?!has |no |of )[a-z-]+ ){0,2}?(?:copies|entities|replicas|retries|tries)\b"
)
_LIMIT = re.compile(r"\b(?:more than|at most|at least|than|of|all) $")
"""What may come before a number and a plural: the number is a limit, or a part."""
_NEVER_ONE = {
    *("len(found) regions", "recorded.polls times", "len(run.blind) times", "len(gaps) times", "blind times"),
    *(
        "missing regions",
        "length.days days",
        "self._max_threads earlier attempts",
        "count records",
        "others anchors",
    ),
}
"""The code around them has another text for 1, or it can't be 1."""
_NO_NUMBER = {
    *("region names", "what names", "version answers", "format_ prints rows"),
    "_setting(path) collector transitions",
}


def counts_in_words(source: str) -> Iterator[str]:
    """Each place of a module where a number is followed by a plural, which is wrong for 1."""
    for text in ast.walk(ast.parse(source)):
        pieces = text.values if isinstance(text, ast.JoinedStr) else []
        for before, number, after in zip([None, *pieces], pieces, pieces[1:], strict=False):
            opening = str(before.value) if isinstance(before, ast.Constant) else ""
            if not isinstance(number, ast.FormattedValue) or not isinstance(after, ast.Constant):
                continue
            is_constant = ast.unparse(number.value).rpartition(".")[2].isupper()
            found = _MANY.match(str(after.value))
            if found is None or is_constant or _LIMIT.search(opening):
                continue
            said = f"{ast.unparse(number.value)}{found[0]}"
            if said not in _NEVER_ONE | _NO_NUMBER:
                yield f"{number.lineno}: {said}"


def modules() -> Iterator[Path]:
    for name in CLEAN:
        path = ROOT / name
        assert path.exists(), name
        yield from sorted(path.rglob("*.py")) if path.is_dir() else [path]


@pytest.mark.parametrize("page", PAGES)
def test_pages_are_in_plain_words(page: str) -> None:
    text = prose((ROOT / page).read_text(encoding="utf-8"))
    assert [*dialect(text), *_WHERE.findall(text)] == []


MARKS = {".sql": "--", ".yaml": "#", ".yml": "#", ".service": "#", ".timer": "#", "": "#"}
"""What begins a comment, by the suffix of a file."""


def test_comments_of_views_and_deployment_files_are_in_plain_words() -> None:
    files = [
        path
        for folder in ("collector/reports/views", "deploy")
        for path in sorted((ROOT / folder).rglob("*"))
        if path.is_file() and path.suffix in MARKS
    ]
    assert {".sql", ".yaml", ".service"} <= {path.suffix for path in files}
    found = {
        path: list(dialect(comments(path.read_text(encoding="utf-8"), MARKS[path.suffix]))) for path in files
    }
    assert {str(path): said for path, said in found.items() if said} == {}


def test_code_that_is_clean_stays_clean() -> None:
    found = {path: list(dialect(texts(path.read_text(encoding="utf-8")))) for path in modules()}
    assert {str(path): said for path, said in found.items() if said} == {}


def test_a_number_and_its_noun_are_written_by_one_function() -> None:
    """`counted` knows the singular."""
    found = {
        path: list(counts_in_words(path.read_text(encoding="utf-8")))
        for path in sorted((ROOT / "collector").rglob("*.py"))
    }
    assert {str(path): said for path, said in found.items() if said} == {}


def test_a_number_before_a_plural_is_found() -> None:
    found = counts_in_words('f"{n} regions"; f"{a}: {len(b):,} new derived rows"; f"{n} copies, {m} answers"')
    assert [said.partition(": ")[2] for said in found] == [
        *("n regions", "len(b) new derived rows", "n copies", "m answers")
    ]
    assert not [*counts_in_words('f"more than {n} regions"; f"{MOST} rows"; f"{n} is one of our keys"')]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("The history is made anew.", ["anew"]),
        ("It fails. Whether it was there is unknown.", ["Whether"]),
        ("| `open` | Whether it is open |", ["Whether"]),
        ("- Of each region one row.", ["Of"]),
        ("Nobody asks whether it is one of them; no more than two do.", []),
        ("`told` and\n```\nso many\n```\nare code.", []),
        ("It polls\nno more.", ["no more"]),
    ],
)
def test_dialect_is_found_in_prose_only(text: str, found: list[str]) -> None:
    assert [said.split("'")[1] for said in dialect(prose(text))] == found


def test_docstrings_comments_and_texts_of_code_are_read() -> None:
    source = '"""A module.\n\nOf no use."""\n\nX = "made anew"  # so many\n'
    assert [said.split("'")[1] for said in dialect(texts(source))] == ["so many", "anew", "Of"]
