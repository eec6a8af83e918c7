"""Pages for errors: what is wrong, and what to do."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from collector.errors import CollectorError, SchemaError, TooLongError, UsageError
from collector.web.data import BusyError
from collector.web.pages.asking import Asked
from collector.web.pages.rendering import Shown, rendered

if TYPE_CHECKING:
    from collector.web.app import Web

WAIT = {"retry-after": "5"}


def handlers_of(web: Web) -> Mapping[Any, Any]:
    """By the kind of error."""

    def shown(request: Request, status: int, title: str, text: str, advice: str = "") -> Response:
        facts = {"title": title, "text": text, "advice": advice, "status": status}
        page = Shown("failing.html", facts, status, WAIT if status == 503 else {})
        return rendered(page, Asked.bare(request, web))

    def of_ours(request: Request, error: Exception) -> Response:
        said = _sentence(str(error))
        if isinstance(error, UsageError):
            status = 404 if "there is no" in str(error) else 400
            return shown(request, status, "Not found" if status == 404 else "This can't be shown", said)
        if isinstance(error, BusyError):
            return shown(request, 503, "Busy", said)
        if isinstance(error, TooLongError):
            advice = "Ask for less: a shorter time, one source, one region. COLLECTOR_HTTP_TIME_LIMIT sets the limit."
            return shown(request, 503, "This took too long", said, advice)
        if isinstance(error, SchemaError):
            return shown(
                request,
                503,
                "Nothing can be shown yet",
                said,
                "Reload this page to try again.",
            )
        return shown(request, 503, "The database is not available", said, "Reload this page to try again.")

    def of_http(request: Request, error: Exception) -> Response:
        status = error.status_code if isinstance(error, HTTPException) else 500
        return shown(request, status, "There is no such page" if status == 404 else "This can't be shown", "")

    return {CollectorError: of_ours, HTTPException: of_http}


def _sentence(text: str) -> str:
    """Turn a message, which begins in lower case, into a sentence."""
    text = text.strip()
    return f"{text[:1].upper()}{text[1:]}" + ("" if text.endswith((".", "?", "!")) else ".")
