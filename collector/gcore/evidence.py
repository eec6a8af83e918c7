"""A usable answer as evidence, or the description of an unusable one."""

from __future__ import annotations

from collector.gcore.body import error_fields
from collector.gcore.document import Document, NotAListingError
from collector.gcore.exchange import Answer, Failure
from collector.gcore.jsontext import StrictJSONError, dumps
from collector.gcore.reader import Reader
from collector.gcore.redaction import scrub_message


def read(answer: Answer, key: str, reader: Reader) -> Document | Failure:
    """The answer as evidence, or why it is not usable. `key`: must not be stored."""
    try:
        return reader.read(answer.body, (key,))
    except StrictJSONError as error:
        looks = "; it looks like an HTML page" if answer.body.lstrip()[:1] == b"<" else ""
        looks = (
            "; it looks compressed but has no Content-Encoding" if answer.body[:2] == b"\x1f\x8b" else looks
        )
        looks = "; the body is empty" if not answer.body.strip() else looks
        message = scrub_message(f"status 200, but {error}{looks}", (key,))
        return Failure(answer.exchange, "not_json", message, 200)
    except NotAListingError as error:
        said = error_fields(dumps(error.document).encode()) if error.document else {}
        said = {name: scrub_message(text, (key,), 200) for name, text in said.items()}
        return Failure(
            answer.exchange,
            "not_a_listing",
            f"status 200, but {error}" + (f": {said['message']}" if "message" in said else ""),
            200,
            exception_class=said.get("exception_class"),
            request_id=said.get("request_id"),
        )
