"""Reads saved answers in the same way as those of the API."""

from __future__ import annotations

from dataclasses import dataclass

from collector.archive.githistory import GitFile
from collector.archive.saved import Folder, Saved, UnreadableError
from collector.gcore.document import Document
from collector.gcore.evidence import read
from collector.gcore.exchange import Answer, Exchange, Failure
from collector.inventory.observation import Observer
from collector.poll import Unread
from collector.store.writer import Writer


@dataclass(frozen=True, slots=True)
class SavedAnswer:
    """A saved answer with its bytes."""

    saved: Saved
    said: Document | Unread
    body_hash: bytes
    is_bare: bool

    def document(self) -> Document:
        said = self.said.read() if isinstance(self.said, Unread) else self.said
        assert isinstance(said, Document)  # noqa: S101 - the same bytes were read before
        return said


@dataclass(slots=True)
class SavedAnswers:
    """Reads saved answers as `collector.poll.look` reads those of the API."""

    archive: Folder | GitFile
    writer: Writer
    observer: Observer
    key: str
    """The source's key, if it has one: it must not be stored if an answer echoes it."""
    whole_lists: bool
    newest: tuple[bytes, Document] | None = None
    """The last answer and the hash of its bytes, because most answers repeat it."""

    def read(self, saved: Saved, exchange: Exchange) -> SavedAnswer:
        """Read a saved answer. Raises UnreadableError with the reason if it is not an answer."""
        body = self.archive.read(saved)
        bare = body.removeprefix(b"\xef\xbb\xbf").lstrip()
        if bare.startswith(b"["):
            return self._bare(saved, exchange, bare)
        answer = Answer(exchange, body)
        if self.writer.remembers(answer.body_hash(), self.observer):
            return SavedAnswer(saved, Unread(answer, self.key, self.writer.reader), answer.body_hash(), False)
        return SavedAnswer(saved, self._document(answer), answer.body_hash(), False)

    def _bare(self, saved: Saved, exchange: Exchange, body: bytes) -> SavedAnswer:
        """Read a bare list. It does not give the total number, so it is an answer without `count` and proves no
        absence.
        """
        answer = Answer(exchange, b'{"results":' + body + b"}")
        document = self._document(answer)
        if document.envelope:
            raise UnreadableError("not JSON: there is more text after the list")
        if self.whole_lists:
            answer = Answer(exchange, b'{"count":%d,' % len(document.records) + answer.body[1:])
            document = self._document(answer)
        return SavedAnswer(saved, document, answer.body_hash(), True)

    def _document(self, answer: Answer) -> Document:
        body_hash = answer.body_hash()
        if self.newest is not None and self.newest[0] == body_hash:
            return self.newest[1]
        said = read(answer, self.key, self.writer.reader)
        if isinstance(said, Failure):
            raise UnreadableError(said.message.removeprefix("status 200, but "))
        self.newest = body_hash, said
        return said
