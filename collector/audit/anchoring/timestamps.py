"""Time stamps of RFC 3161: requests one, and checks one offline against certificates in a file.

The library `rfc3161-client` makes requests, and reads and checks answers; we parse no ASN.1. It requires strict DER.
Many authorities, including all that use OpenSSL, send their certificates in another order, which no signature covers.
`asn1crypto` rewrites such an answer in DER before it is read; the stored answer stays unchanged.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from collector.audit.anchoring.signing import NEEDS
from collector.errors import SettingsError

if TYPE_CHECKING:
    from cryptography.x509 import Certificate
    from rfc3161_client import TimeStampResponse

MAX_TOKEN = 64 * 1024
"""Bytes; more than an authority's answer with its certificates needs."""


class TokenError(Exception):
    """Something is not a token, or a token for something else."""


@dataclass(frozen=True, slots=True)
class Token:
    """What an authority says."""

    imprint: str
    """What it signed: a hash, in hex digits."""
    attested_at: datetime
    nonce: int | None


def are_available() -> bool:
    """True if the libraries are installed."""
    return all(find_spec(name) is not None for name in ("asn1crypto", "rfc3161_client"))


def check_available() -> None:
    """Raise SettingsError if the libraries are not installed."""
    if not are_available():
        raise SettingsError(f"a time-stamping authority {NEEDS}")


def request_of(statement: bytes) -> tuple[bytes, int]:
    """The request for a time stamp of a statement's SHA-256, and the nonce that the answer must contain."""
    from rfc3161_client import HashAlgorithm, TimestampRequestBuilder

    request = (
        TimestampRequestBuilder()
        .data(statement)
        .hash_algorithm(HashAlgorithm.SHA256)
        .nonce(nonce=True)
        .cert_request(cert_request=True)
        .build()
    )
    return request.as_bytes(), request.nonce or 0


def read(answer: bytes) -> Token:
    """Read an authority's answer without checking it. Raises TokenError."""
    try:
        response = _decode(answer)
    except Exception as error:  # noqa: BLE001 - the library may raise anything for bytes that anybody may have sent
        raise TokenError(f"not an answer of a time-stamping authority: {type(error).__name__}") from None
    if response.status not in (0, 1):
        said = "; ".join(str(text) for text in response.status_string or ())
        raise TokenError(
            f"the authority refused, with status {response.status}" + f": {said[:200]}" * bool(said)
        )
    try:
        info = response.tst_info
        moment = info.gen_time
        return Token(
            imprint=bytes(info.message_imprint.message).hex(),
            attested_at=moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC),
            nonce=info.nonce,
        )
    except Exception as error:  # noqa: BLE001 - the same
        raise TokenError(f"the token can't be read: {type(error).__name__}") from None


def _decode(answer: bytes) -> TimeStampResponse:
    from rfc3161_client import decode_timestamp_response

    try:
        return decode_timestamp_response(answer)
    except ValueError:
        from asn1crypto.tsp import TimeStampResp

        return decode_timestamp_response(TimeStampResp.load(answer).dump(force=True))


def certificates_in(path: Path) -> list[Certificate]:
    """Certificates of a PEM file. Raises SettingsError."""
    try:
        from cryptography.x509 import load_pem_x509_certificates
    except ImportError:
        raise SettingsError(f"a CA file {NEEDS}") from None
    try:
        return load_pem_x509_certificates(path.expanduser().read_bytes())
    except OSError as error:
        raise SettingsError(f"the CA file {path} can't be read: {error.strerror}") from None
    except ValueError:
        raise SettingsError(f"the CA file {path} holds no certificates in PEM") from None


def check(answer: bytes, value: str, trusted: list[Certificate]) -> None:
    """Check that an authority with a trusted certificate signed this value. Raises TokenError.

    A certificate that has expired since is accepted: it must have been valid when it signed.
    """
    from rfc3161_client import VerificationError, VerifierBuilder

    roots = [each for each in trusted if each.subject == each.issuer]
    builder = VerifierBuilder()
    for each in roots:
        builder = builder.add_root_certificate(each)
    for each in trusted:
        builder = builder if each in roots else builder.add_intermediate_certificate(each)
    try:
        builder.build().verify(_decode(answer), bytes.fromhex(value))
    except VerificationError as error:
        reason = re.search(r'Verify error: ([^"]+)"', str(error))
        said = f": {reason[1]}" if reason else ""
        raise TokenError(f"it is not signed by an authority of the CA file{said}") from None
    except Exception as error:  # noqa: BLE001 - the same
        raise TokenError(f"the token can't be checked: {type(error).__name__}") from None
