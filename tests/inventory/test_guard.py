"""The guard against false absence: what looks like a page, what misses too many, and what a cache gave."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest
import sqlalchemy as sa

from collector.database.transactions import reading
from collector.gcore import freshness, paging
from collector.gcore.client import Client
from collector.gcore.jsontext import Number, dumps, loads
from collector.inventory.entities import Listing, Region, Shown, Sighting
from collector.inventory.judgement import GUARD, Earlier, Guard, Judgement, judge
from collector.poll import poll
from collector.reports.status import SourceStatus, statuses
from collector.settings.models import Source
from collector.store import lease
from collector.store.opening import guard_of, open_writer
from tests.support.builders import answer, body, region
from tests.support.history import History, failure
from tests.support.loopback import Server, reply

FLEET = [region(i) for i in range(1, 36)]
PAGE = FLEET[:20]


def status_of(history: History) -> SourceStatus:
    with reading(history.engine) as connection:
        (status,) = statuses(connection, history.time(history.at), history.source.name)
    return status


# Pure: what is suspicious


def listing(ids: Any) -> Listing:
    shown = {i: Sighting(Region(id=i, state="ACTIVE")) for i in ids}
    nothing = Shown({}, frozenset(), None)
    return Listing(
        declared=len(shown),
        listed=len(shown),
        paging=(),
        shown={"region": Shown(shown, frozenset(), None), "keystone": nothing, "metrics_database": nothing},
        rejected=(),
        drift=frozenset(),
    )


def judged(
    present: dict[int, str | None],
    ids: Any,
    held_before: int = 0,
    guard: Guard = GUARD,
    paging: str | None = None,
) -> Judgement:
    """Judge an answer that lists these ids, after a number of held answers that missed the same ones."""
    missing = frozenset(present) - set(ids)
    earlier = [Earlier("held", missing, held_before)] if held_before else []
    earlier.append(Earlier("ok", frozenset(), 1))
    return judge(listing(ids), present, earlier, ever_complete=True, guard=guard, paging=paging)


def active(number: int) -> dict[int, str | None]:
    return dict.fromkeys(range(1, number + 1), "ACTIVE")


@pytest.mark.parametrize(
    ("present", "listed", "outcome"),
    [
        (35, 34, "ok"),  # one is no crowd
        (35, 32, "ok"),  # three are less than a tenth
        (35, 31, "held"),
        (30, 27, "ok"),  # exactly a tenth
        (30, 26, "held"),
        (3, 2, "ok"),
        (3, 1, "held"),
        (2, 1, "ok"),
        (1, 0, "held"),  # empty
        (2, 0, "held"),
        (26, 25, "held"),  # as long as a page
        (1001, 1000, "held"),
        (21, 20, "held"),
        (11, 10, "held"),
        (12, 11, "ok"),
    ],
)
def test_more_than_one_and_more_than_a_tenth_missing_wait(present: int, listed: int, outcome: str) -> None:
    assert judged(active(present), range(1, listed + 1)).outcome == outcome


@pytest.mark.parametrize("is_same", [True, False])
def test_a_region_that_is_given_twice_may_be_there_in_place_of_another(
    history: History, is_same: bool
) -> None:
    history.poll(FLEET)
    twice = [*FLEET[:34], FLEET[3] if is_same else FLEET[3] | {"state": "MAINTENANCE"}]
    assert history.poll(twice).outcome == "held"
    assert history.poll([*FLEET, FLEET[3]]).outcome == "ok", "nothing is missing"
    other = [*FLEET[1:], FLEET[3]]
    assert [history.poll(answer).outcome for answer in (twice, other, twice, twice)] == ["held"] * 4
    assert history.poll(twice).outcome == "ok", "three agree"
    leaving = [*FLEET[:33], FLEET[33] | {"state": "DELETED"}]
    history.poll(leaving)
    assert history.poll([*leaving[:33], FLEET[3]]).outcome == "ok", "it was expected to disappear"
    assert [row["id"] for row in history.rows("regions") if row["absent_since"]] == [34, 35]


def test_a_list_of_a_round_length_that_misses_nothing_is_complete() -> None:
    for size in GUARD.page_sizes:
        assert judged(active(size), range(1, size + 1)).outcome == "ok"
        assert judged(active(size - 3), range(1, size + 1)).outcome == "ok", "it only grew"


@pytest.mark.parametrize("state", ["DELETED", "DELETING", "deleting", "Deleted"])
def test_regions_that_were_leaving_may_all_be_gone_at_once(state: str) -> None:
    present = active(15) | dict.fromkeys(range(16, 31), state)
    assert judged(present, range(1, 16)).outcome == "ok"
    assert judged(present, range(1, 15)).outcome == "ok", "one more is no crowd"
    assert judged(present, range(1, 14)).outcome == "held", "two of fifteen are"
    assert judged(present, ()).outcome == "held", "nothing at all is suspicious, whatever was there"
    assert judged(active(20) | {21: state}, range(1, 21)).outcome == "ok", "a page would have cut another"


@pytest.mark.parametrize("state", ["DELETION_FAILED", "INACTIVE", "MAINTENANCE", "", None])
def test_regions_in_other_states_were_not_leaving(state: str | None) -> None:
    assert judged(active(15) | dict.fromkeys(range(16, 31), state), range(1, 16)).outcome == "held"


def test_a_page_needs_three_times_the_confirmations() -> None:
    assert [judged(active(35), range(1, 32), n).outcome for n in (1, 2)] == ["held", "ok"]
    assert [judged(active(35), range(1, 21), n).outcome for n in (2, 7, 8)] == ["held", "held", "ok"]


def test_thresholds_are_settings() -> None:
    lax = Guard(
        confirmations=1, max_missing=100, max_missing_share=0.5, page_sizes=frozenset(), page_factor=1
    )
    assert judged(active(35), range(1, 21), guard=lax).outcome == "ok"
    strict = Guard(max_missing=0, max_missing_share=0.0)
    assert judged(active(35), range(1, 35), guard=strict).outcome == "held"
    forty = Guard(page_sizes=frozenset({34}), page_factor=2)
    assert [judged(active(35), range(1, 35), n, forty).outcome for n in (4, 5)] == ["held", "ok"]
    changed = Source(confirmations=5, max_missing=2, max_missing_share=0.2, page_sizes="7, 9", page_factor=4)
    assert guard_of(changed) == Guard(5, 2, 0.2, frozenset({7, 9}), 4)
    assert guard_of(Source(page_sizes="none")).page_sizes == frozenset()
    assert guard_of(Source()) == GUARD


@pytest.mark.parametrize(
    ("share", "present"), [(0.29, 100), (0.58, 50), (0.57, 100), (1e-05, 200_000), (0.1, 10)]
)
def test_exactly_the_allowed_share_may_be_missing(share: float, present: int) -> None:
    """0.29 * 100 is a little less than 29."""
    guard = Guard(max_missing_share=share, page_sizes=frozenset())
    most = round(share * present)
    assert judged(active(present), range(1, present - most + 1), guard=guard).outcome == "ok"
    assert judged(active(present), range(1, present - most), guard=guard).outcome == "held"


def test_any_sign_of_paging_is_partial_however_often_it_comes() -> None:
    page = judged(active(35), range(1, 21), 100, paging="limit")
    assert page == Judgement("partial", frozenset(range(21, 36)))
    assert judged(active(35), range(1, 36), paging="header link").outcome == "partial"


# Pure: what looks like paging


@pytest.mark.parametrize(
    "name",
    [
        *(
            "limit",
            "offset",
            "next",
            "previous",
            "links",
            "_links",
            "nextPageToken",
            "next_cursor",
            "hasMore",
        ),
        *(
            "has_more",
            "page",
            "per_page",
            "pageSize",
            "total_pages",
            "current-page",
            "@odata.nextLink",
            "NEXT",
        ),
        *("pagination", "paging", "isTruncated", "skip", "first_page_url"),
        *(
            "perpage",
            "pagesize",
            "nextlink",
            "hasmore",
            "totalpages",
            "continuationToken",
            "continue",
            "startAt",
        ),
        *("maxResults", "marker", "scroll_id", "paged", "cursors"),
        *(
            "hasnextpage",
            "nextpagetoken",
            "nextpageurl",
            "hasmorepages",
            "moreresults",
            "nextoffset",
            "itemsperpage",
        ),
        *(
            "pagelen",
            "startpage",
            "resultsperpage",
            "nextmarker",
            "HASNEXTPAGE",
            "LastEvaluatedKey",
            "MaxKeys",
        ),
        *(
            "resumptionToken",
            "bookmark",
            "starting_after",
            "ending_before",
            "search_after",
            "after",
            "since_id",
        ),
        *(
            "pager",
            "nextUri",
            "moreavailable",
            "batch",
            "chunkSize",
            "from",
            "to",
            "since",
            "$top",
            "lastId",
            "min_id",
        ),
        *(
            "exclusiveStartKey",
            "startRow",
            "rowEnd",
            "fromIndex",
            "end_index",
            "startAfter",
            "end_before",
            "resume",
        ),
        *("queryLocator", "iterator", "has_additional", "continueToken", "deltaToken", "scroll"),
    ],
)
def test_a_member_of_such_a_name_is_a_sign_whatever_its_value(name: str) -> None:
    for value in ("null", "20", '"x"', "[]", "{}", "false"):
        assert paging.in_envelope(loads(f'{{"count": 2, {dumps(name)}: {value}}}'.encode()), 2) == (name,)
        inside = loads(f'{{"count": 2, "meta": {{{dumps(name)}: {value}}}}}'.encode())
        assert paging.in_envelope(inside, 2) == (f"meta.{name}",)
        deeper = loads(f'{{"info": {{"list": {{{dumps(name)}: {value}}}}}}}'.encode())
        assert paging.in_envelope(deeper, 2) == (f"info.list.{name}",)


@pytest.mark.parametrize(
    "said",
    [
        *("{}", '{"count": 2}', '{"request_id": "x", "version": 2}', '{"unlimited": true, "contextual": 1}'),
        *(
            '{"total": 2}',
            '{"total_count": "2"}',
            '{"total": null}',
            '{"meta": {"took": 3, "meta": {"meta": {"next": 1}}}}',
            '{"info": {"count": 2}, "size": 2, "remaining": 0, "is_last": true, "complete": true}',
            '{"started_at": 1, "recount": 3, "active_count": 1, "incomplete": false}',
            '{"limits": {"gpu": 3}, "prevention": 1, "linkage": 1, "moreover": 1, "pageant": 1, "contexts": 3}',
            '{"left": 0, "skipped": 0, "unreachable": [], "missing": [1], "timedOut": false, "endOfList": true}',
            '{"window": 1, "maintenance": {"window": 1, "ends": 2}, "filtered": true, "query": 3, "to_do": 1}',
            '{"numberReturned": 2, "regionCount": 2, "numFound": "2", "done": true, "ranges": [], "hereafter": 1}',
        ),
    ],
)
def test_other_members_say_nothing_of_pages(said: str) -> None:
    assert paging.in_envelope(loads(said.encode()), 2) == ()


@pytest.mark.parametrize(
    "name",
    [
        "total",
        "total_count",
        "totalResults",
        "grandTotal",
        "totalcount",
        "@odata.count",
        "full_count",
        "hits",
        *(
            "numberMatched",
            "numFound",
            "nbHits",
            "regionCount",
            "item_count",
            "totalregions",
            "regions",
            "found",
        ),
        *(
            "recordsFiltered",
            "currentItemCount",
            "matches",
            "nRegions",
            "no_of_regions",
            "resultSetSize",
            "list_count",
        ),
    ],
)
def test_a_total_is_a_sign_where_it_counts_otherwise(name: str) -> None:
    for value in (Number("35"), Number("35.0"), "35", Number("1")):
        assert paging.in_envelope({name: value}, 2) == (name,)
    assert paging.in_envelope({name: Number("2.0")}, 2) == ()
    assert paging.in_envelope({name: {"value": Number("35")}}, 2) == (name,)


@pytest.mark.parametrize(
    "said",
    [
        *('"remaining": 15', '"incomplete_results": true', '"complete": false', '"is_last": false'),
        *(
            '"done": false',
            '"eof": false',
            '"partialResults": true',
            '"capped": true',
            '"list": {"isComplete": false}',
        ),
        *('"complete_list": false', '"exhausted": false', '"all": false'),
        *(
            '"timed_out": true',
            '"partialSuccess": true',
            '"clipped": true',
            '"endOfRecords": false',
            '"left": 15',
        ),
        *('"skipped": 3', '"omittedRegions": "3"', '"unreachable": ["lux"]', '"failed_regions": ["lux-2"]'),
    ],
)
def test_an_answer_that_says_it_is_not_all_is_a_page(said: str) -> None:
    assert len(paging.in_envelope(loads(f'{{"count": 2, {said}}}'.encode()), 2)) == 1


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("Link", '<https://api.gcore.com/cloud/v1/ai/regions?offset=20>; rel="next"'),
        ("link", "<x>; rel=next, <y>; rel=last"),
        ("Link", "<x>; rel=preload, <y>; title=a; rel=prev"),
        ("Link", '<x>; rel="canonical first"'),
        ("Link", "<x>"),
        ("Link", ""),
        ("Content-Range", "regions 0-19/35"),
        ("X-Next-Page", "2"),
        ("X-Page", "1"),
        ("X-Total-Pages", "2"),
        ("X-Per-Page", "20"),
        ("X-Pagination", '{"total": 35}'),
        ("Pagination-Count", "35"),
        ("X-Has-More", "true"),
        ("X-Page-Size", "20"),
        ("X-PageNumber", "1"),
        ("X-Limit", "20"),
        ("X-Offset", "0"),
        ("X-Next-Cursor", "a"),
        ("X-Next-Page-Token", ""),
        ("x-ms-continuation", "a"),
        ("X-Continuation-Token", "a"),
        ("opc-next-page", "a"),
        ("X-WP-TotalPages", "2"),
        ("X-First-Page", "1"),
        ("X-Content-Range", "items 0-19/35"),
        ("Items-Range", "0-19"),
        ("Next-Range", "id ]20..; max=20"),
        ("X-More-Results", "true"),
        ("X-Has-Next-Page", "true"),
        ("X-Next-Batch", "2"),
        ("X-Results-Truncated", "true"),
        ("X-Resumption-Token", "a"),
        ("X-Last-Evaluated-Key", "a"),
        ("X-Cursor-Next", "a"),
        ("X-Link-Next", "https://api.gcore.com/cloud/v1/ai/regions?offset=20"),
        ("X-Partial", "true"),
        ("X-Incomplete-Results", "True"),
        ("X-Is-Complete", "false"),
        ("X-Last", "false"),
        ("X-Pager", "1"),
        ("X-Paginate", "true"),
        ("X-Link", '<https://x>; rel="next"'),
        ("X-Query-Truncated", "true"),
        ("X-Max-Results", "20"),
        ("X-Start-Index", "0"),
        ("X-Since-Id", "7"),
        ("X-Sync-Token", "a"),
        ("X-Continue", "a"),
    ],
)
def test_a_header_of_such_a_name_is_a_sign(name: str, value: str) -> None:
    assert paging.in_headers({name: value}) == (f"header {name.lower()}",)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("Link", '</style.css>; rel=preload; as=style, <https://x>; rel="preconnect"'),
        ("Link", '<https://docs.example>; rel="service-doc help"'),
        ("X-RateLimit-Limit", "100"),
        ("Accept-Ranges", "bytes"),
        ("X-Request-Id", "next-page"),
        ("X-Page-Speed", "1.13"),
        ("X-Nextjs-Cache", "HIT"),
        ("X-Total-Count", "35"),
        ("Accept-Range", "bytes"),
        ("If-Range", "x"),
        ("Last-Modified", "Fri, 01 May 2026 12:00:00 GMT"),
        ("X-Cache-Key", "a"),
        ("X-Nextcloud-Id", "a"),
        ("X-Start", "1"),
        ("X-Request-Start", "t=1"),
        ("X-Link-Speed", "1"),
        ("X-Partial", "false"),
        ("X-Complete", "true"),
        ("X-Complete", "no"),
    ],
)
def test_other_headers_say_nothing_of_pages(name: str, value: str) -> None:
    assert paging.in_headers({name: value}) == ()


@pytest.mark.parametrize(
    ("name", "value", "total"),
    [
        ("X-Total-Count", "35", 35),
        ("x-total", "35, 36", 36),
        ("Total-Count", "35", 35),
        ("X-Result-Count", "35", 35),
        ("X-WP-Total", "35", 35),
        ("opc-total-items", "35", 35),
        ("X-Total-Count", "many", None),
        ("X-Total-Time", "35", None),
        ("X-Total-Regions", "35", 35),
        ("X-Region-Count", "35", 35),
        ("X-Num-Results", "35", 35),
        ("OData-Count", "35", 35),
        ("X-Overall-Count", "35", 35),
        ("X-Total-Found", "35", 35),
        ("X-Container-Object-Count", "35", 35),
        ("X-Total-Record-Count", "35", 35),
        ("X-Totals", "35", 35),
        ("X-Total-Size", "35", 35),
        ("X-Filtered-Count", "35", 35),
        ("X-Records", "35", 35),
        ("X-Region", "35", None),
        ("X-Hits", "35", None),
        ("X-RateLimit-Total", "100", None),
        ("X-Rate-Limit-Total-Count", "100", None),
        ("X-Cache-Hit-Count", "3", None),
        ("X-Retry-Count", "35", None),
    ],
)
def test_how_many_there_are_in_all_by_a_header(name: str, value: str, total: int | None) -> None:
    assert paging.total_in_headers({name: value}) == (total and (total, f"header {name.lower()}"))


def test_of_several_headers_the_one_that_counts_most_is_named() -> None:
    headers = {"X-Total-Count": "20", "Opc-Total-Items": "35", "X-Result-Count": "7"}
    assert paging.total_in_headers(headers) == (35, "header opc-total-items")


# Pure: how old an answer is

NOW = datetime(2026, 5, 1, 12, 0, tzinfo=UTC)


def http_date(before: float) -> str:
    return format_datetime(NOW - timedelta(seconds=before), usegmt=True)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, 0),
        ({"age": "0"}, 0),
        ({"age": "1800"}, 1800),
        ({"age": " 7 "}, 7),
        ({"age": "5, 1800"}, 1800),
        ({"age": "1.5"}, 1.5),
        ({"age": "9" * 40}, 2**31),
        ({"age": "-5"}, 0),
        ({"age": "soon"}, 0),
        ({"age": "1800", "date": http_date(0)}, 1800),
        ({"date": http_date(1800)}, 0),  # nobody says that a cache gave it: the clock may be wrong
        ({"date": http_date(1800), "x-cache": "HIT from proxy"}, 1800),
        ({"date": http_date(1800), "cf-cache-status": "STALE"}, 1800),
        ({"date": "Fri May  1 11:30:00 2026", "cf-cache-status": "STALE"}, 1800),
        ({"date": http_date(1800), "cache": "HIT"}, 1800),
        ({"date": http_date(1800), "cache-status": "Nginx; hit; ttl=30"}, 1800),
        ({"date": http_date(1800), "warning": '110 proxy "Response is Stale"'}, 1800),
        ({"date": http_date(1800), "x-cache": "TCP_MEM_HIT from squid"}, 1800),
        ({"date": http_date(1800), "x-nginx-cache": "HIT"}, 1800),
        ({"date": http_date(1800), "akamai-cache-status": "Hit from child"}, 1800),
        ({"date": http_date(1800), "x-cache-hits": "0, 1"}, 1800),
        ({"date": http_date(1800), "warning": '113 proxy "Heuristic Expiration"'}, 1800),
        ({"date": http_date(1800), "x-rack-cache": "fresh"}, 1800),
        ({"date": http_date(1800), "x-from-cache": "1"}, 1800),
        ({"date": http_date(1800), "x-varnish": "32770 5"}, 1800),
        ({"date": http_date(1800), "server-timing": 'edge;dur=3, cdn-cache; desc="HIT"'}, 1800),
        # The CDN of Gcore itself: its Date is that of the response.
        ({"date": http_date(0), "cache": "HIT", "x-cached-since": "2026-05-01T11:30:00+00:00"}, 1800),
        ({"date": http_date(0), "x-cached-since": "2026-05-01T11:30:00Z", "age": "5"}, 1800),
        ({"date": http_date(0), "cdn-cachedat": http_date(1800)}, 1800),
        ({"date": http_date(0), "x-cache-date": http_date(1800)}, 1800),
        ({"date": http_date(0), "x-cache-age": "1800"}, 1800),
        ({"date": http_date(1800), "x-cached": "HIT"}, 1800),
        ({"date": http_date(1800), "x-is-cached": "true"}, 1800),
        ({"date": http_date(1800), "x-cache-hit": "1"}, 1800),
        ({"date": http_date(1800), "x-served-from": "cache"}, 1800),
        ({"date": http_date(1800), "x-cache-result": "TCP_HIT"}, 1800),
        ({"date": http_date(1800), "x-cache": "cached"}, 1800),
        ({"date": http_date(0), "x-cached-since": "soon"}, 0),
        ({"date": http_date(0), "x-cached-since": "2026-05-01T13:00:00Z"}, 0),
        ({"date": http_date(1800), "x-cache": "not cached"}, 0),
        ({"date": http_date(1800), "x-cache-hit": "0"}, 0),
        ({"date": http_date(1800), "x-cached": "false"}, 0),
        ({"date": http_date(1800), "x-cache-control": "max-age=1800"}, 0),
        ({"date": http_date(1800), "x-varnish": "32770"}, 0),
        ({"date": http_date(1800), "x-from-cache": "0"}, 0),
        ({"date": http_date(1800), "server-timing": "cdn-cache; desc=MISS, origin; desc=hit"}, 0),
        ({"date": http_date(1800), "warning": '199 proxy "113"'}, 0),
        ({"date": http_date(1800), "age": "-5"}, 1800),  # only a cache sends it, whatever it writes there
        ({"date": http_date(1800), "age": "half an hour"}, 1800),
        ({"date": http_date(1800), "x-cache-hits": "0"}, 0),
        ({"date": http_date(1800), "cache-status": "Nginx; hit=?0"}, 0),
        ({"date": http_date(1800), "x-cache-lookup": "HIT from proxy"}, 0),  # found, and yet asked for again
        ({"date": http_date(1800), "x-cache": "MISS from proxy"}, 0),
        ({"date": http_date(1800), "cf-cache-status": "DYNAMIC"}, 0),
        ({"date": http_date(-30), "x-cache": "HIT"}, 0),
        ({"date": "yesterday", "x-cache": "HIT"}, 0),
    ],
)
def test_how_old_an_answer_is(headers: dict[str, str], seconds: float) -> None:
    given = {name.title(): value for name, value in headers.items()} | headers
    assert freshness.age_of(given, NOW) == timedelta(seconds=seconds)


@pytest.mark.parametrize(
    ("date", "age", "offset"),
    [
        (0, 0, 0),
        (7200, 7200, 0),  # the cache kept the origin's Date
        (0, 7200, 0),  # the cache gave its own
        (7200, 0, 7200),  # this clock is ahead
        (7205, 7200, 5),
        (9000, 60, 8940),  # no cache explains that
        (-9000, 60, -9000),
    ],
)
def test_a_cache_does_not_pass_for_a_wrong_clock(date: float, age: float, offset: float) -> None:
    found = freshness.clock_offset({"Date": http_date(date)}, NOW, timedelta(seconds=age))
    assert found == timedelta(seconds=offset)


# What it does to a history


def test_twenty_of_thirty_five_regions_with_a_fitting_count_are_not_believed(history: History) -> None:
    history.poll(FLEET)
    assert [history.poll(PAGE).outcome for _ in range(8)] == ["held"] * 8
    assert len(history.present()) == 35
    assert "missing" in status_of(history).why
    assert history.poll(PAGE).outcome == "ok"
    gone = [t for t in history.transitions() if t["kind"] == "disappeared"]
    assert len(gone) == 15
    assert {(t["basis"], t["not_before"]) for t in gone} == {("absence", history.time(59.5))}


@pytest.mark.parametrize("sign", [{"limit": 20}, {"next": None}, {"links": {}}, {"total": 35}])
def test_a_page_proves_no_absence_for_as_long_as_it_is_one(history: History, sign: dict[str, Any]) -> None:
    history.poll(FLEET)
    outcomes = {history.poll(answer(PAGE, **sign)).outcome for _ in range(12)}
    assert outcomes == {"partial"}
    assert len(history.present()) == 35
    row = history.rows("observations")[-1]
    assert (row["paging"], row["polls"]) == (next(iter(sign)), 12)
    assert "looks paginated (" in status_of(history).why
    assert history.poll(FLEET).outcome == "ok"
    assert all(t["basis"] == "baseline" for t in history.transitions())
    history.verify()


def test_a_first_page_of_what_was_never_seen_whole_is_no_baseline_of_absences(history: History) -> None:
    history.poll(answer(PAGE, offset=0))
    history.poll(FLEET)
    assert {t["basis"] for t in history.transitions()} == {"baseline"}


def test_a_page_and_a_wrong_count_are_two_stretches(history: History) -> None:
    history.poll(FLEET)
    history.poll(PAGE, paging=("header link",))
    history.poll(PAGE, total=(35, "header x-total"))
    history.poll(answer(PAGE, count=35))
    history.poll(PAGE, paging=("header link",))
    assert [o["paging"] for o in history.rows("observations")] == [
        None,
        "header link",
        "header x-total",
        None,
        "header link",
    ]
    assert history.outcomes() == ["ok", "partial", "partial", "partial", "partial"]
    history.verify()


def test_the_same_bytes_with_a_link_header_are_no_complete_answer(history: History) -> None:
    history.poll(FLEET)
    assert history.poll(FLEET).outcome == "ok"
    assert history.poll(FLEET, paging=("header link",)).outcome == "partial"
    assert history.poll(FLEET, total=(36, "header x-total")).outcome == "partial"
    assert history.poll(FLEET, total=(35, "header x-total")).outcome == "ok"


def test_headers_reach_the_history_over_http(engine: sa.Engine) -> None:
    source = Source(api_key="key-one")
    page = {"Link": '<https://api.example/cloud/v1/ai/regions?offset=20>; rel="next"'}
    with Server(
        reply(body=body(answer(FLEET))),
        reply(body=body(answer(PAGE)), **page),
        reply(body=body(answer(PAGE)), X_WP_Total="35"),
        reply(body=body(answer(FLEET)), Age="1800"),
    ) as server:
        source = source.model_copy(update={"base_url": server.url})
        client = Client()
        writer = open_writer(engine, source, lease.process_name())
        results = [poll(source, client.fetch, writer) for _ in range(4)]
        client.close()
        assert {r.headers["cache-control"] for r in server.requests} == {"no-cache"}
    assert [r.outcome for r in results] == ["ok", "partial", "partial", "failed"]
    assert [r.recorded.paging for r in results] == [None, "header link", "header x-wp-total", None]
    assert results[3].failure is not None
    assert results[3].failure.cause == "stale"


def test_the_age_of_an_answer_widens_its_window(history: History) -> None:
    half = timedelta(minutes=30)
    history.change(interval=timedelta(hours=1))
    history.poll([region(1, "NEW")], at=0)
    history.poll([region(1, "NEW")], at=3600, age=half, clock_offset=half)
    history.poll([region(1)], at=7200)
    change = history.transitions()[-1]
    assert (change["not_before"], change["observed_at"]) == (history.time(1799.5), history.time(7200))
    assert change["basis"] == "direct"
    history.poll([region(1, "MAINTENANCE")], at=10800, age=half, clock_offset=half)
    change = history.transitions()[-1]
    assert (change["not_before"], change["observed_at"]) == (history.time(7199.5), history.time(10800))
    row = history.rows("observations")[-1]
    assert (row["age_ms"], row["first_asked_at"]) == (1_800_000, history.time(10800 - 1800.5))
    history.verify()


def test_an_answer_that_may_be_older_than_the_last_one_is_not_applied(history: History) -> None:
    history.poll([region(1)], at=0)
    history.poll([region(1, "NEW")], at=60, age=timedelta(seconds=60))
    history.poll([region(1, "NEW")], at=120, age=timedelta(hours=2))
    assert history.transitions()[-1]["to_state"] == "ACTIVE"
    _, stale = history.rows("observations")
    assert (stale["outcome"], stale["cause"], stale["polls"]) == ("failed", "stale", 2)
    assert "cache" in stale["message"]
    assert "clock" not in stale["message"]
    assert "a cache" in status_of(history).why
    history.poll(failure(), at=180)
    # Judged by the last answer that was applied, and failures are none.
    history.poll([region(1, "NEW")], at=240, age=timedelta(seconds=239.5))
    change = history.transitions()[-1]
    assert (change["to_state"], change["not_before"]) == ("NEW", history.time(-0.5))
    history.verify()


def test_the_same_bytes_from_a_cache_confirm_nothing(history: History) -> None:
    history.poll([region(1)], at=0)
    history.poll([region(1)], at=60, age=timedelta(seconds=90))
    assert history.outcomes() == ["ok", "failed"]
    history.poll([region(1)], at=120)
    history.poll([region(1)], at=180, age=timedelta(seconds=59))
    row = history.rows("observations")[-1]
    assert (row["polls"], row["last_asked_at"]) == (2, history.time(120.5))


# Neighbouring rules


def test_an_appearance_to_a_new_key_has_no_lower_bound(history: History) -> None:
    """What the old key was not shown may have been there all the time."""
    history.poll([region(1)], at=0)
    history.change(api_key="key-two")
    history.poll([region(1), region(2)], at=60)
    appeared = history.transitions(entity_id=2)[-1]
    assert (appeared["basis"], appeared["not_before"]) == ("observer_change", None)
    history.change(api_key="key-one")
    history.poll([region(1)], at=120)
    history.change(api_key="key-two")
    history.poll([region(1), region(2), region(3)], at=180)
    back, new = history.transitions(entity_id=2)[-1], history.transitions(entity_id=3)[-1]
    assert (back["kind"], back["basis"], back["not_before"]) == (
        "reappeared",
        "observer_change",
        history.time(59.5),
    )
    assert (new["kind"], new["basis"], new["not_before"]) == (
        "appeared",
        "observer_change",
        history.time(59.5),
    )
    history.verify()


@pytest.mark.parametrize(
    ("looks", "not_before"),
    [
        ([("two", False), ("two", True), ("one", False), ("two", True)], 59.5),  # was shown after own proof
        ([("two", True), ("two", False), ("one", False), ("two", True)], 59.5),  # own proof came after
        ([("one", True), ("one", False), ("two", True)], -0.5),  # nobody with this key ever looked before
    ],
)
def test_a_return_to_another_key_begins_with_its_own_proof_or_with_the_last_sight(
    history: History, looks: list[tuple[str, bool]], not_before: float
) -> None:
    for number, (key, shows) in enumerate(looks):
        history.change(api_key=f"key-{key}")
        history.poll([region(1), region(2)] if shows else [region(1)], at=60 * number)
    back = history.transitions(entity_id=2)[-1]
    assert (back["kind"], back["basis"]) == ("reappeared", "observer_change")
    assert back["not_before"] == history.time(not_before)
    history.verify()


@pytest.mark.parametrize("how", ["partial", "held"])
def test_an_absent_region_that_is_named_is_doubted_whatever_the_answer(history: History, how: str) -> None:
    bad = region(3, state=None)
    history.poll([region(1), region(2), region(3)])
    history.poll([region(1), region(2)])
    history.poll(answer([region(1), region(2), bad], count=9) if how == "partial" else [bad])
    assert history.outcomes()[-1] == how
    found = [w for w in history.rows("withheld_absences") if w["entity"] == "region"]
    assert [(w["scope"], w["cause"]) for w in found][-1:] == [("3", "not_given")]
    history.verify()


def test_an_answer_that_was_moved_forward_is_not_direct(history: History) -> None:
    history.poll([region(1, "NEW")], at=60)
    history.poll([region(1)], at=30)
    assert history.transitions()[-1]["basis"] == "across_gap"
    history.poll([region(1, "NEW")], at=90)
    assert history.transitions()[-1]["basis"] == "direct"
    history.verify()


@pytest.mark.parametrize(("before", "after"), [(60, 300), (300, 60)])
def test_another_interval_is_no_gap(history: History, before: int, after: int) -> None:
    history.change(interval=timedelta(seconds=before))
    history.poll([region(1, "NEW")], at=0)
    history.change(interval=timedelta(seconds=after))
    history.poll([region(1)], at=750)
    assert history.transitions()[-1]["basis"] == "direct"
    history.poll([region(1, "NEW")], at=750 + 2.5 * after + 0.001)
    assert history.transitions()[-1]["basis"] == "across_gap"
