"""The official client of the Model Context Protocol, over standard input and output of `collector mcp`."""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from mcp import Client, StdioServerParameters, stdio_client
from mcp_types import Tool

from tests.support.command import environment

Call = tuple[str, dict[str, Any]]


@dataclass(frozen=True)
class Reply:
    """What a model reads after one call."""

    text: str
    is_error: bool

    @property
    def json(self) -> Any:
        """The answer. Raises AssertionError for an error."""
        assert not self.is_error, self.text
        return json.loads(self.text)

    @property
    def rows(self) -> list[dict[str, Any]]:
        answer = self.json
        return [dict(zip(answer["columns"], row, strict=True)) for row in answer["rows"]]

    def refused(self, *named: str) -> None:
        """It is an error that names these, without a traceback."""
        assert self.is_error, self.text
        assert "Traceback" not in self.text
        for name in named:
            assert name in self.text, self.text


@dataclass(frozen=True)
class Session:
    """What a session gave."""

    tools: Sequence[Tool]
    instructions: str
    replies: Sequence[Reply]
    said: str
    """On standard error."""


def session(database_url: str, calls: Sequence[Call]) -> Session:
    """Start `collector mcp`, list its tools, make calls one after the other, and end it."""
    with tempfile.TemporaryFile("w+", encoding="utf-8") as errors:
        tools, instructions, replies = asyncio.run(_session(database_url, calls, errors))
        errors.seek(0)
        return Session(tools, instructions, replies, errors.read())


async def _session(database_url: str, calls: Sequence[Call], errors: Any) -> tuple[Any, str, list[Reply]]:
    server = StdioServerParameters(
        command=sys.executable,
        args=["-m", "collector", "mcp"],
        env=environment({"database_url": database_url}),
    )
    async with Client(stdio_client(server, errlog=errors)) as client:
        tools = (await client.list_tools()).tools
        replies = []
        for name, arguments in calls:
            result = await client.call_tool(name, arguments)
            (content,) = result.content
            replies.append(Reply(content.text, bool(result.is_error)))  # type: ignore[union-attr]
        return tools, client.instructions or "", replies
