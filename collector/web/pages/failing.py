"""What is shown where a page can't be: what is wrong, and what to do."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from collector.errors import CollectorError, SchemaError, UsageError
from collector.web.data import BusyError
from collector.web.pages.rendering import Shown, rendered

if TYPE_CHECKING:
    from collector.web.app import Web


def handlers_of(web: Web) -> Mapping[Any, Any]:
    """By what went wrong."""

    def shown(request: Request, status: int, title: str, text: str) -> Response:
        headers = {"retry-after": "5"} if status == 503 else {}
        facts = {"title": title, "text": text}
        return rendered(
            Shown("failing.html", facts, status, headers), request.scope.get("root_path", ""), web.clock()
        )

    def of_ours(request: Request, error: Exception) -> Response:
        if isinstance(error, UsageError):
            return shown(
                request, 404 if "there is no" in str(error) else 400, "That can't be shown", str(error)
            )
        if isinstance(error, BusyError):
            return shown(request, 503, "Busy", str(error))
        title = "Not yet" if isinstance(error, SchemaError) else "The database can't be asked"
        return shown(request, 503, title, str(error))

    def of_http(request: Request, error: Exception) -> Response:
        status = error.status_code if isinstance(error, HTTPException) else 500
        return shown(request, status, "There is no such page" if status == 404 else "That can't be shown", "")

    return {CollectorError: of_ours, HTTPException: of_http}
