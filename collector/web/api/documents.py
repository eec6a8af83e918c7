"""The OpenAPI document and the page that shows it. They are made here, so nothing is loaded from elsewhere."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response

from collector.clock import Clock
from collector.web.api.problems import Problem
from collector.web.pages.asking import Asked
from collector.web.pages.rendering import Shown, rendered
from collector.web.problems import MEDIA_TYPE

Json = dict[str, Any]
_WHY = {
    "400": "The request can't be read",
    "401": "A token is needed",
    "404": "There is no such region, source, state, zone, country or time zone, or nothing is known about that time",
    "409": "The name fits several things, or the cursor comes from another history",
    "413": "Requests must not have a body",
    "414": "The address is too long",
    "421": "The API is not served under this name",
    "422": "A parameter has an unusable value, is unknown, or is given twice",
    "500": "An error of the collector",
    "503": "The database is not available, or took too long",
}
_ABOUT = (
    "What a collector knows about Gcore's AI regions. The API only reads. Fields have the names of the views' columns. "
    "Times are RFC 3339 in UTC with microseconds. Every answer gives its time, the time up to which it was confirmed, "
    "and the head on which it depends. An answer with an ETag is valid until a difference is observed: repeat the "
    "question with If-None-Match. The header Collector-Last-Confirmed-At says up to when the answer was confirmed. A "
    "304 has it, too."
)


def describe(api: FastAPI, clock: Clock) -> None:
    """Add the document and its page to an application with all its questions."""
    document = openapi_of(api)

    @api.get("/openapi.json", include_in_schema=False)
    async def openapi(request: Request) -> Response:
        """The OpenAPI document."""
        return JSONResponse(document | {"servers": [{"url": request.scope.get("root_path", "") or "/"}]})

    @api.get("/docs", include_in_schema=False)
    async def docs(request: Request) -> Response:
        """The same, for people."""
        here = request.scope.get("root_path", "")
        root = here.removesuffix("/api/v1")
        facts = {
            "about": _ABOUT,
            "questions": list(_questions(document)),
            "rows": list(_rows(document)),
            "base": here,
        }
        return rendered(Shown("api.html", facts), Asked.plain("/api/v1/docs", root, clock()))

    @api.get("/", include_in_schema=False)
    async def index(request: Request) -> Response:
        """Redirects to the page that shows the API."""
        return RedirectResponse(f"{request.scope.get('root_path', '')}/docs")


def openapi_of(api: FastAPI) -> Json:
    """The OpenAPI document. All questions have the same errors."""
    document: Json = get_openapi(
        title=api.title, version=api.version, openapi_version="3.1.0", description=_ABOUT, routes=api.routes
    )
    schemas = document["components"]["schemas"]
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    problem = Problem.model_json_schema(ref_template="#/components/schemas/{model}")
    schemas |= problem.pop("$defs")
    schemas["Problem"] = problem
    document["components"]["headers"] = {
        "ETag": {
            "description": "Changes whenever the answer changes",
            "schema": {"type": "string"},
        },
        "LastConfirmed": {
            "description": "The time up to which the answer was confirmed",
            "schema": {"type": "string", "format": "date-time"},
        },
    }
    headers = {
        "ETag": {"$ref": "#/components/headers/ETag"},
        "Collector-Last-Confirmed-At": {"$ref": "#/components/headers/LastConfirmed"},
    }
    said = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    for of_path in document["paths"].values():
        operation = of_path["get"]
        good = operation["responses"]["200"]
        operation["responses"] = {
            "200": {**good, "description": "The answer", "headers": headers},
            "304": {"description": "The answer has not changed", "headers": headers},
            **{status: {"description": why, "content": said} for status, why in _WHY.items()},
        }
    return document


def _questions(document: Json) -> Iterator[Mapping[str, Any]]:
    """Each address with its description, its parameters, and the fields of its answer."""
    for path, of_path in document["paths"].items():
        operation = of_path["get"]
        schema = operation["responses"]["200"]["content"]["application/json"]["schema"]
        parameters = [
            {
                "name": each["name"],
                "about": each.get("description") or each["schema"].get("description", ""),
                "kind": _kind(each["schema"]).removesuffix(" or null"),  # a client never sends null
                "default": each["schema"].get("default"),
            }
            for each in operation.get("parameters", ())
        ]
        yield {
            "path": path,
            "about": operation["description"],
            "parameters": parameters,
            "fields": list(_fields(document["components"]["schemas"][_name(schema)])),
        }


def _rows(document: Json) -> Iterator[Mapping[str, Any]]:
    """The fields of rows and of problems."""
    for name, schema in sorted(document["components"]["schemas"].items()):
        if "as_of" not in schema["properties"]:
            yield {"name": name, "about": schema.get("description", ""), "fields": list(_fields(schema))}


def _fields(schema: Json) -> Iterator[Mapping[str, str]]:
    for name, each in schema["properties"].items():
        yield {"name": name, "kind": _kind(each), "about": each.get("description", "")}


def _kind(schema: Json) -> str:
    """A type in words, like `text or null`."""
    if "$ref" in schema:
        return _name(schema)
    if "const" in schema:
        return str(schema["const"])
    if "enum" in schema:
        return ", ".join(map(str, schema["enum"]))
    for several in ("anyOf", "oneOf"):
        if several in schema:
            return " or ".join(dict.fromkeys(_kind(each) for each in schema[several]))
    kind = schema.get("type", "any")
    if kind == "array":
        return f"list of {_kind(schema['items'])}" if schema.get("items") else "list"
    words: dict[str, str] = {"date-time": "time", "date": "date", "string": "text"}
    return words.get(str(schema.get("format", kind)), str(kind))


def _name(schema: Json) -> str:
    return str(schema["$ref"]).rpartition("/")[2]
