"""Errors as problems of RFC 9457."""

from __future__ import annotations

from typing import Any

from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from collector.errors import CollectorError, DatabaseError, SchemaError, UsageError
from collector.logs import logger
from collector.nearest import instead
from collector.reports.cursors import AnotherHistoryError
from collector.web.data import BusyError
from collector.web.problems import problem

log = logger(__name__)


class ConflictError(CollectorError):
    """The question matches more than one thing."""


class Mistake(BaseModel):
    """One parameter that can't be used."""

    model_config = ConfigDict(extra="forbid")

    parameter: str = Field(description="Its name")
    detail: str = Field(description="What is wrong with it")


class Problem(BaseModel):
    """Why there is no answer, in the form of RFC 9457."""

    model_config = ConfigDict(extra="forbid")

    type: str = Field(description="Always about:blank: the status says what kind of problem it is")
    title: str = Field(description="The status in words")
    status: int = Field(description="The HTTP status")
    detail: str = Field(description="What is wrong here, and what to do")
    errors: list[Mistake] | None = Field(default=None, description="The parameters that can't be used")


def _of_ours(_: Request, error: Exception) -> Response:
    if isinstance(error, UsageError):
        return problem(404, str(error))
    if isinstance(error, AnotherHistoryError | ConflictError):
        return problem(409, str(error))
    if isinstance(error, BusyError | DatabaseError | SchemaError):
        return problem(503, str(error), {"retry-after": "5"})
    log.error("question_failed", error=str(error))
    return problem(500, str(error))


def _of_http(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101 - registered for these only
    details = {404: "there is nothing at this address", 405: "everything here only reads: GET or HEAD"}
    headers = dict(error.headers or {})
    return problem(error.status_code, details.get(error.status_code, str(error.detail)), headers)


def _of_parameters(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)  # noqa: S101 - registered for these only
    mistakes = []
    for each in error.errors():
        name = ".".join(str(part) for part in each["loc"][1:])
        message = str(each["msg"]).removeprefix("Value error, ")
        if each["type"] == "extra_forbidden":
            message = f"there is no such parameter; {instead(name, _parameters(request))}"
        mistakes.append({"parameter": name, "detail": message})
    return problem(422, "; ".join(f"{m['parameter']}: {m['detail']}" for m in mistakes), errors=mistakes)


def _parameters(request: Request) -> list[str]:
    """The names of the parameters that a question takes."""
    models = [each.field_info.annotation for each in request.scope["route"].dependant.query_params]
    return [each.alias or name for model in models for name, each in model.model_fields.items()]


def _unexpected(_: Request, error: Exception) -> Response:
    log.error("question_broke", exc_info=error)
    return problem(500, "the collector failed; its log says why")


HANDLERS: dict[Any, Any] = {
    CollectorError: _of_ours,
    HTTPException: _of_http,
    RequestValidationError: _of_parameters,
    Exception: _unexpected,
}
"""By the kind of error."""
