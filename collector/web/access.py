"""Access control: bearer tokens and passwords from files, compared in constant time."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from collector.errors import SettingsError
from collector.logs import logger
from collector.settings.models import Settings
from collector.spelling import shown_path, text_in

LEAST = 16
"""Minimum length of a token and of a password."""

log = logger(__name__)


class Access:
    """Whom the settings' files admit. They are read again when they change; without files, everybody is admitted."""

    def __init__(self, settings: Settings) -> None:
        """Raises SettingsError for an unusable file."""
        self._files = {
            kind: path
            for kind, path in (("token", settings.http_token_file), ("user", settings.http_users_file))
            if path is not None
        }
        self._stamps: dict[str, tuple[int, ...]] = {}
        self._known: dict[str, tuple[bytes, ...]] = {}
        for kind, path in self._files.items():
            self._known[kind] = secrets_in(path, kind)
            self._stamps[kind] = _stamp(path)

    @property
    def challenge(self) -> str:
        """The WWW-Authenticate header. A browser asks its user for a name and a password."""
        return 'Basic realm="collector", charset="UTF-8", Bearer realm="collector"'

    def admits(self, headers: Sequence[str]) -> bool:
        """True if there is exactly one Authorization header and it has a known token or user.

        A token also counts as a password, with any user name, because browsers can't ask for tokens.
        """
        if not self._files:
            return True
        if len(headers) != 1:
            return False
        self._renew()
        scheme, _, given = headers[0].strip().partition(" ")
        given = given.strip()
        if scheme.lower() == "bearer":
            return self._is_known("token", given.encode())
        if scheme.lower() != "basic":
            return False
        try:
            pair = base64.b64decode(given, validate=True)
        except (binascii.Error, ValueError):
            return False
        is_user = self._is_known("user", pair)
        return self._is_known("token", pair.partition(b":")[2]) or is_user

    def _is_known(self, kind: str, given: bytes) -> bool:
        """Compares with all of them, so that the time does not show which one matched."""
        seen = _digest(given)
        found = [hmac.compare_digest(seen, each) for each in self._known.get(kind, ())]
        return any(found)

    def _renew(self) -> None:
        """Read changed files. A file that is broken while it is being written keeps its previous content."""
        for kind, path in self._files.items():
            with suppress(OSError):
                if (stamp := _stamp(path)) != self._stamps[kind]:
                    self._stamps[kind] = stamp
                    try:
                        self._known[kind] = secrets_in(path, kind)
                    except SettingsError as error:
                        log.error("access_not_renewed", error=str(error))  # noqa: TRY400 - a person's mistake


def secrets_in(path: Path, kind: str) -> tuple[bytes, ...]:
    """Digests of the tokens, or of the pairs of user and password, in a file: one per line; # begins a comment.

    Raises SettingsError, which never repeats the file's content.
    """
    where = f"the {kind}s file {shown_path(path)}"
    try:
        lines = text_in(path).split("\n")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "not text"
        raise SettingsError(f"{where} can't be read: {why}") from None
    found = []
    for number, line in enumerate(lines, 1):
        text = line.strip()
        if not text or text.startswith("#"):
            continue
        user, colon, password = text.partition(":")
        if kind == "user" and not (user and colon):
            raise SettingsError(f"{where}, line {number}: write user:password")
        if len(password if kind == "user" else text) < LEAST:
            raise SettingsError(
                f"{where}, line {number}: a {kind if kind == 'token' else 'password'} needs at least {LEAST} characters"
            )
        found.append(_digest(text.encode()))
    if not found:
        raise SettingsError(f"{where} is empty")
    return tuple(found)


def _digest(data: bytes) -> bytes:
    """A digest has the same length for every input, so comparing reveals no lengths."""
    return hashlib.sha256(data).digest()


def _stamp(path: Path) -> tuple[int, ...]:
    found = path.stat()
    return found.st_mtime_ns, found.st_ino, found.st_size
