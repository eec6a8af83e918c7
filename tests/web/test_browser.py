"""Pages in Debian's Chromium: usable by keyboard and screen reader, in light and dark, on narrow and wide screens."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from datetime import timedelta
from typing import TYPE_CHECKING

import httpx
import pytest
import sqlalchemy as sa

from tests.support.builders import region
from tests.support.demo import DemoDatabase
from tests.support.frozen import NOW
from tests.support.history import History, failure
from tests.support.pages import serving
from tests.support.receivers import Receiver

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

CHROMIUM = shutil.which("chromium")
pytestmark = pytest.mark.skipif(
    CHROMIUM is None, reason="there is no chromium; Debian's package is called so"
)

LUXEMBOURG = "regions/demo/76"
PAGES = {
    "overview": "",
    "as of a time": "?as_of=2026-11-15",
    "grouped": "?group=zone&sort=-since",
    "nothing matches": "?q=nothing",
    "region": LUXEMBOURG,
    "two moments": f"{LUXEMBOURG}?earlier=2026-11-10&from=2026-11-20",
    "changes": "changes",
    "coverage": "coverage",
    "stretches": "evidence",
    "evidence": "evidence/demo/5",
    "questions": "ask",
    "question": "ask/which-regions-flap",
    "api": "api/v1/docs",
    "not found": "nothing",
}
WIDTHS = (360, 768, 1280, 2560)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One for all tests of this file that a process runs."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield found
        found.close()


@pytest.fixture(scope="module")
def client(demo_database: DemoDatabase) -> Iterator[httpx.Client]:
    told = (Receiver.configured("https://inventory.example/hook", name="inventory"),)
    with serving(f"sqlite:///{demo_database.file}", clock=lambda: NOW, webhooks=told) as found:
        yield found


@pytest.fixture
def url(client: httpx.Client) -> str:
    return str(client.base_url)


def violations(page: Page) -> list[str]:
    """What axe finds on a page, each with the first place where it is."""
    from axe_playwright_python.sync_playwright import Axe

    found = Axe().run(page).response["violations"]
    return [f"{each['id']}: {each['nodes'][0]['html'][:200]}" for each in found]


@pytest.mark.long
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", PAGES)
def test_axe_finds_nothing_and_no_page_is_wider_than_the_screen(
    browser: Browser, url: str, name: str, scheme: str
) -> None:
    context = browser.new_context(color_scheme=scheme, viewport={"width": 1280, "height": 900})  # type: ignore[arg-type]
    page = context.new_page()
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.goto(url + PAGES[name])
    assert violations(page) == []
    if scheme == "light":  # both have the same layout, and differ in colours
        for width in WIDTHS:
            page.set_viewport_size({"width": width, "height": 900})
            assert page.evaluate("document.documentElement.scrollWidth") <= width, width
        page.set_viewport_size({"width": 360, "height": 800})
        assert violations(page) == []
    assert [text for text in said if "404" not in text] == []
    context.close()


@pytest.mark.long
def test_what_was_seen_long_ago_is_not_wider_than_a_phone_either(
    browser: Browser, demo_database: DemoDatabase
) -> None:
    page = browser.new_page(viewport={"width": 360, "height": 800})
    with serving(f"sqlite:///{demo_database.file}", clock=lambda: NOW + timedelta(days=1)) as stale:
        page.goto(str(stale.base_url))
        assert "as last seen" in page.locator("tbody").inner_text()
        assert page.evaluate("document.documentElement.scrollWidth") <= 360
        assert violations(page) == []
    page.close()


HOSTILE = (
    "<script>alert(1)</script>'\"><img src=x onerror=alert(1)>",
    "W" * 300,
    "\u202ereversed",
    "👩‍👩‍👧" * 60,
)


@pytest.mark.long
def test_no_name_does_anything_or_makes_a_page_wider_than_the_screen(
    browser: Browser, sqlite_engine: sa.Engine
) -> None:
    history = History(sqlite_engine)
    for step in range(3):
        history.poll(
            [
                region(
                    number + 1,
                    HOSTILE[(number + step) % 4] if step else "ACTIVE",
                    display_name=name,
                    slug=name,
                    country=name,
                    zone=name,
                    keystone={"id": number + 1001, "state": name, "url": name},
                )
                for number, name in enumerate(HOSTILE)
            ]
        )
    history.poll(failure(message=HOSTILE[0]))
    page = browser.new_page()
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("dialog", lambda dialog: said.append(dialog.message))
    url = sqlite_engine.url.render_as_string(hide_password=False)
    with serving(url, clock=lambda: history.time(history.at + 3600)) as client:
        for path in (
            "",
            "?sort=-name&group=zone",
            "regions/gcore/2",
            "changes",
            "changes/gcore/2/region/2",
            "evidence/gcore/2",
            "evidence",
            "coverage",
        ):
            for width in WIDTHS:
                page.set_viewport_size({"width": width, "height": 900})
                answer = page.goto(f"{client.base_url}{path}")
                assert answer is not None
                assert answer.status == 200, path
                wide = page.evaluate("document.documentElement.scrollWidth")
                assert wide <= width, (path, width, wide)
            assert page.locator("main script, main img, main [onerror]").count() == 0
    assert said == []
    page.close()


def test_a_strip_is_one_stop_in_which_arrows_move_and_each_day_has_a_name(browser: Browser, url: str) -> None:
    page = browser.new_page()
    page.goto(f"{url}?q=luxembourg-2")
    assert violations(page) == []
    strip = page.locator(".strip")
    assert strip.count() == 1
    page.locator("tbody th a").focus()
    page.keyboard.press("Tab")
    assert strip.evaluate("strip => strip === document.activeElement")
    assert strip.get_attribute("role") == "slider"
    assert strip.get_attribute("aria-label").startswith("Luxembourg-2, 90 days: ACTIVE")  # type: ignore[union-attr]
    assert (strip.get_attribute("aria-valuetext") or "").startswith("2026-11-25: MAINTENANCE")
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowLeft")
    said = strip.get_attribute("aria-valuetext") or ""
    assert said.startswith("2026-11-23: ACTIVE 20 h ")
    assert "MAINTENANCE 3 h " in said
    assert page.locator(".tip").inner_text() == said
    page.keyboard.press("Home")
    assert (strip.get_attribute("aria-valuetext") or "").endswith(": not on record")
    page.keyboard.press("Tab")
    assert page.locator(".tip").is_hidden()
    page.close()


def test_a_time_says_on_hover_what_it_is_here(browser: Browser, url: str) -> None:
    context = browser.new_context(timezone_id="Asia/Kathmandu", locale="en-GB")
    page = context.new_page()
    page.goto(url + LUXEMBOURG)
    time = page.locator("time[datetime='2026-11-23T21:00:00.500000Z']").first
    assert time.inner_text() == "2026-11-23 21:00"
    title = time.get_attribute("title") or ""
    assert title.startswith("2026-11-23 21:00:00.500Z · here 24 Nov 2026")
    assert "02:45" in title
    context.close()


def test_everything_works_without_javascript(browser: Browser, url: str) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(url)
    page.get_by_label("State", exact=True).select_option("MAINTENANCE")
    page.get_by_role("button", name="Apply").click()
    assert page.locator("tbody th a").all_inner_texts() == ["Luxembourg-2"]
    page.get_by_label("As of").fill("2026-11-20")
    page.get_by_role("button", name="Go").click()
    assert "state=MAINTENANCE" in page.url
    assert page.locator(".banner").inner_text().startswith("As of 2026-11-20 00:00:00 UTC")
    assert (
        page.locator(".strip").first.get_attribute("role") == "img"
        if page.locator(".strip").count()
        else True
    )
    page.get_by_role("link", name="back to now").click()
    page.get_by_role("link", name="Luxembourg-2").first.click()
    page.get_by_role("button", name="Compare").click()
    assert "MAINTENANCE" in page.locator("#compare").inner_text()
    context.close()


def test_choices_apply_at_once_and_a_slash_goes_to_the_search(browser: Browser, url: str) -> None:
    page = browser.new_page()
    page.goto(url)
    page.get_by_label("GPU", exact=True).select_option("no")
    page.wait_for_url("**/?gpu=no&sort=name")
    page.keyboard.press("/")
    assert page.locator("#q").evaluate("field => field === document.activeElement")
    page.keyboard.type("frank")
    page.keyboard.press("Enter")
    page.wait_for_url("**/?q=frank&gpu=no&sort=name")
    assert page.locator("tbody th a").all_inner_texts() == ["Frankfurt"]
    page.close()


def test_each_question_of_a_newcomer_is_answered_within_three_clicks(browser: Browser, url: str) -> None:
    page = browser.new_page()

    page.goto(url)  # which regions have GPUs in EMEA now
    page.get_by_label("GPU", exact=True).select_option("yes")
    page.wait_for_url("**gpu=yes**")
    page.get_by_label("Zone", exact=True).select_option("EMEA")
    page.wait_for_url("**zone=EMEA**")
    assert "Sines-3" in page.locator("tbody th a").all_inner_texts()

    page.goto(url)  # what changed last week
    page.get_by_role("link", name="Changes", exact=True).click()
    page.get_by_role("link", name="7 days").click()
    assert "went from" in page.locator("main").inner_text()

    page.goto(url)  # since when is Luxembourg-2 in maintenance, and how sure are we
    page.locator("tbody").get_by_role("link", name="Luxembourg-2").click()
    said = page.locator(".sentence").inner_text()
    assert (
        said
        == "Luxembourg-2 is MAINTENANCE, since a moment between 2026-11-23 20:40 and 21:00:01, within 20 min."
    )

    page.goto(url)  # when were we blind, and what may have happened then
    page.get_by_role("link", name="Coverage", exact=True).click()
    page.get_by_role("link", name="1 change").last.click()
    assert "San Jose went from ACTIVE to MAINTENANCE" in " ".join(page.locator("main").inner_text().split())

    page.goto(url)  # what did we know on 20 November
    page.get_by_label("As of").fill("20 November")
    page.get_by_role("button", name="Go").click()
    assert page.locator(".banner").inner_text().startswith("As of 2026-11-20")
    assert "ACTIVE" in page.locator("tbody tr", has_text="Luxembourg-2").inner_text()
    page.close()
