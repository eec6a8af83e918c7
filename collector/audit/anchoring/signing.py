"""Signatures of heads and anchors: Ed25519, with a key in a file.

With the public key, anybody can check that a head was signed with the private one. Such a head may be kept anywhere.
"""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from collector.errors import SettingsError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

NEEDS = "needs a library that is not installed: pip install 'gcore-collector[proof]'"


@dataclass(frozen=True, slots=True)
class Signer:
    """A private key, and the name of its public key."""

    signed_by: str
    """SHA-256 of the public key (SubjectPublicKeyInfo in DER), 64 hex digits."""
    _key: Ed25519PrivateKey = field(repr=False)

    def sign(self, statement: bytes) -> str:
        """The signature in base64."""
        return base64.b64encode(self._key.sign(statement)).decode("ascii")


def signer_of(path: Path) -> Signer:
    """The key in a PEM file. Raises SettingsError."""
    try:
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
        from cryptography.hazmat.primitives.serialization import load_pem_private_key
    except ImportError:
        raise SettingsError(f"COLLECTOR_SIGNING_KEY_FILE {NEEDS}") from None
    try:
        key = load_pem_private_key(path.read_bytes(), None)
    except OSError as error:
        raise SettingsError(f"the signing key {path} can't be read: {error.strerror}") from None
    except (TypeError, ValueError):
        raise SettingsError(
            f"{path} holds no private key that can be read without a password; create one with: openssl genpkey "
            "-algorithm ed25519 -out FILE"
        ) from None
    if not isinstance(key, Ed25519PrivateKey):
        raise SettingsError(
            f"{path} holds another kind of key; create one with: openssl genpkey -algorithm ed25519"
        )
    return Signer(name_of(key.public_key()), key)


def public_key_of(path: Path) -> Ed25519PublicKey:
    """The public key in a PEM file that holds either half. Raises SettingsError."""
    try:
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
        from cryptography.hazmat.primitives.serialization import load_pem_private_key, load_pem_public_key
    except ImportError:
        raise SettingsError(f"a public key {NEEDS}") from None
    try:
        text = path.read_bytes()
        private = load_pem_private_key(text, None) if b"PRIVATE KEY" in text else None
        if isinstance(private, Ed25519PrivateKey):
            return private.public_key()
        key = load_pem_public_key(text)
    except OSError as error:
        raise SettingsError(f"the key {path} can't be read: {error.strerror}") from None
    except (TypeError, ValueError):
        raise SettingsError(f"{path} holds no readable key") from None
    if not isinstance(key, Ed25519PublicKey):
        raise SettingsError(f"{path} holds another kind of key; only Ed25519 is supported")
    return key


def name_of(key: Ed25519PublicKey) -> str:
    """SHA-256 of a public key, by which signatures name it."""
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    return hashlib.sha256(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).hexdigest()


def is_signed(key: Ed25519PublicKey, statement: bytes, signature: str) -> bool:
    """True if a key made this signature."""
    from cryptography.exceptions import InvalidSignature

    try:
        key.verify(base64.b64decode(signature, validate=True), statement)
    except (InvalidSignature, ValueError):
        return False
    return True
