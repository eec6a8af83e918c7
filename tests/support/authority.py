"""A time-stamping authority (RFC 3161) on loopback: OpenSSL's own, with a CA made for the test."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key

CONFIG = """
[req]
distinguished_name = name
prompt = no
[name]
CN = {name}
[ca]
basicConstraints = critical, CA:TRUE
keyUsage = critical, keyCertSign
subjectKeyIdentifier = hash
[tsa]
basicConstraints = critical, CA:FALSE
extendedKeyUsage = critical, timeStamping
[stamp]
serial = {folder}/serial
signer_cert = {folder}/tsa.pem
signer_key = {folder}/tsa.key
certs = {folder}/ca.pem
signer_digest = sha256
default_policy = 1.2.3.4.1
digests = sha256, sha512
accuracy = secs:1
ess_cert_id_alg = sha256
"""


class Authority:
    """A CA and an authority of it. `ca_file`: what has to be trusted."""

    def __init__(self, folder: Path, name: str = "Test CA") -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.ca_file, self.config = folder, folder / "ca.pem", folder / "openssl.cnf"
        self.config.write_text(CONFIG.format(folder=folder, name=name))
        (folder / "serial").write_text("01\n")
        new = (
            "req",
            "-new",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
            "-config",
            "openssl.cnf",
        )
        self._openssl(
            *new, "-x509", "-days", "3650", "-extensions", "ca", "-keyout", "ca.key", "-out", "ca.pem"
        )
        self._openssl(*new, "-subj", "/CN=Test TSA", "-keyout", "tsa.key", "-out", "tsa.csr")
        signed = (
            "-CA",
            "ca.pem",
            "-CAkey",
            "ca.key",
            "-CAcreateserial",
            "-days",
            "3650",
            "-extfile",
            "openssl.cnf",
        )
        self._openssl("x509", "-req", "-in", "tsa.csr", *signed, "-extensions", "tsa", "-out", "tsa.pem")
        self._lock = threading.Lock()

    def expire_soon(self) -> datetime:
        """Give the authority a certificate that ends a second or two from now; returns when."""
        ends_at = datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=2)
        ca = x509.load_pem_x509_certificate(self.ca_file.read_bytes())
        own = x509.load_pem_x509_certificate((self.folder / "tsa.pem").read_bytes())
        key = load_pem_private_key((self.folder / "ca.key").read_bytes(), None)
        assert isinstance(key, ec.EllipticCurvePrivateKey)
        made = x509.CertificateBuilder(
            ca.subject, own.subject, own.public_key(), own.serial_number + 1, ca.not_valid_before_utc, ends_at
        )
        for each in own.extensions:
            made = made.add_extension(each.value, each.critical)
        signed = made.sign(key, hashes.SHA256())
        (self.folder / "tsa.pem").write_bytes(signed.public_bytes(Encoding.PEM))
        return ends_at

    def answer(self, query: bytes) -> bytes:
        with self._lock:
            (self.folder / "query").write_bytes(query)
            self._openssl(
                "ts",
                "-reply",
                "-config",
                "openssl.cnf",
                "-section",
                "stamp",
                "-queryfile",
                "query",
                "-out",
                "answer",
            )
            return (self.folder / "answer").read_bytes()

    def _openssl(self, *arguments: str) -> None:
        subprocess.run(["openssl", *arguments], cwd=self.folder, check=True, capture_output=True)

    @contextmanager
    def serving(self) -> Iterator[str]:
        """Yields its URL."""
        authority = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                query = self.rfile.read(int(self.headers["content-length"]))
                answer = authority.answer(query)
                self.send_response(200)
                self.send_header("content-type", "application/timestamp-reply")
                self.send_header("content-length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *_: object) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/tsr"
        finally:
            server.shutdown()
            thread.join()
            server.server_close()
