"""Names of regions as people write them, the same on both databases."""

from __future__ import annotations

import csv
import io
import unicodedata

import pytest
import sqlalchemy as sa

from collector.cli.rows import csv_lines
from collector.database.transactions import reading
from collector.errors import UsageError
from collector.reports.filters import find_region
from collector.reports.inventory import RegionFilter, regions_as_of
from tests.support.builders import region
from tests.support.history import History

NAMES = {1: "Östersund", 2: "Straße 7", 3: "San José-2", 4: "İzmir", 5: "ΑΘΉΝΑΣ", 6: "東京"}
SPELLINGS = [
    ("Östersund", 1),
    ("ÖSTERSUND", 1),
    ("östersund", 1),
    (unicodedata.normalize("NFD", "östersund"), 1),
    ("Straße 7", 2),
    ("STRASSE 7", 2),
    ("Straße\N{NO-BREAK SPACE}7", 2),
    ("  straße \t 7 ", 2),
    ("san josé-2", 3),
    (unicodedata.normalize("NFD", "SAN JOSÉ-2"), 3),
    ("San José\N{NON-BREAKING HYPHEN}2", 3),
    ("San\N{NO-BREAK SPACE}José\N{EN DASH}2", 3),
    ("İZMİR", 4),
    ("Αθήνας", 5),
    ("αθήνασ", 5),
    ("東\N{ZERO WIDTH SPACE}京", 6),
    ("\N{FULLWIDTH DIGIT SIX}", 6),
]


def called(history: History, form: str = "NFC", field: str = "display_name") -> list[dict[str, object]]:
    return [region(i, **{field: unicodedata.normalize(form, name)}) for i, name in NAMES.items()]


@pytest.mark.parametrize("form", ["NFC", "NFD"])
@pytest.mark.parametrize("field", ["display_name", "slug"])
def test_a_region_is_found_by_its_name_and_by_a_former_one(
    shared_engine: sa.Engine, form: str, field: str
) -> None:
    history = History(shared_engine, name=f"{form} {field}")
    history.poll(called(history, form, field), at=0)
    for _ in ("now", "formerly"):
        with reading(shared_engine) as connection:
            for spelling, number in SPELLINGS:
                found = find_region(connection, spelling, history.source.name)
                assert [i for _, i in found] == [number], spelling
            for nobody in ("Ostersund", "Strase 7", "San Jose-2", "東"):
                with pytest.raises(UsageError):
                    find_region(connection, nobody, history.source.name)
        history.poll([region(i, display_name=f"Else {i}", slug=f"else-{i}") for i in NAMES], at=60)


@pytest.mark.parametrize("blank", ["", " ", "\N{ZERO WIDTH SPACE}"])
def test_a_name_of_blanks_is_nobodys(shared_engine: sa.Engine, blank: str) -> None:
    history = History(shared_engine, name=f"blank {len(blank)}{ord(blank[:1] or 'x')}")
    history.poll([region(1, slug=None, display_name=" ")], at=0)
    with reading(shared_engine) as connection, pytest.raises(UsageError, match="there is no region"):
        find_region(connection, blank, history.source.name)


def test_words_are_found_in_any_case_on_both_databases(shared_engine: sa.Engine) -> None:
    history = History(shared_engine, name="words")
    history.poll([region(1, "ACTIVE", zone="EMEA"), region(2, "active", zone="Öst"), region(3, "ÅBEN")], at=0)

    def listed(**wanted: str) -> list[int]:
        with reading(shared_engine) as connection:
            rows = regions_as_of(connection, history.time(1), RegionFilter(source="words", **wanted))
        return [row["region_id"] for row in rows]

    assert listed(state="Active") == [1, 2]
    assert listed(zone="emea") == [1, 3]
    assert listed(zone="öst") == listed(zone="ÖST") == listed(zone=unicodedata.normalize("NFD", "Öst")) == [2]
    assert listed(state="åben") == [3]


@pytest.mark.parametrize(
    "name", ["a\rb", "\r", "a\nb", "a\r\nb", 'a"b', "a,b", "", " a ", "=1+1", "a\r", "-1"]
)
def test_a_name_with_any_line_end_is_one_field_of_one_record(name: str) -> None:
    lines = list(csv_lines(["id", "name"], [[1, name], [2, None], [3, "x"]]))
    assert lines[0] == "id,name\n"
    assert len(lines) == 4
    assert ('"' in lines[1]) == any(c in name for c in '\r\n",')
    rows = list(csv.reader(io.StringIO("".join(lines), newline="")))
    assert rows == [["id", "name"], ["1", name], ["2", ""], ["3", "x"]]
