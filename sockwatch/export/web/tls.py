"""A TLS context from the settings of a web config file, as far as Python's ssl reaches."""

import logging
import os
import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from sockwatch.errors import ConfigError, UsageError
from sockwatch.export.web.regular_file import FileContent, read_regular

_log = logging.getLogger(__name__)
ANY_CERTIFICATE = -1
"""In CLIENT_AUTH: to ask for a certificate and not verify it. Python's ssl cannot."""
CLIENT_AUTH: Mapping[str, int] = {
    "NoClientCert": ssl.CERT_NONE,
    "RequestClientCert": ANY_CERTIFICATE,
    "RequireAnyClientCert": ANY_CERTIFICATE,
    "RequireClientCert": ANY_CERTIFICATE,
    "VerifyClientCertIfGiven": ssl.CERT_OPTIONAL,
    "RequireAndVerifyClientCert": ssl.CERT_REQUIRED,
}
VERSIONS: Mapping[str, ssl.TLSVersion | None] = {
    "TLS13": ssl.TLSVersion.TLSv1_3,
    "TLS12": ssl.TLSVersion.TLSv1_2,
    "TLS11": None,
    "TLS10": None,
}
CURVES = {"CurveP256": "prime256v1", "CurveP384": "secp384r1", "CurveP521": "secp521r1", "X25519": "X25519"}
CIPHERS = {
    "TLS_AES_128_GCM_SHA256": "",
    "TLS_AES_256_GCM_SHA384": "",
    "TLS_CHACHA20_POLY1305_SHA256": "",
    "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA": "ECDHE-ECDSA-AES128-SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA": "ECDHE-ECDSA-AES256-SHA",
    "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA": "ECDHE-RSA-AES128-SHA",
    "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA": "ECDHE-RSA-AES256-SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256": "ECDHE-ECDSA-AES128-GCM-SHA256",
    "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384": "ECDHE-ECDSA-AES256-GCM-SHA384",
    "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256": "ECDHE-RSA-AES128-GCM-SHA256",
    "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384": "ECDHE-RSA-AES256-GCM-SHA384",
    "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256": "ECDHE-RSA-CHACHA20-POLY1305",
    "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256": "ECDHE-ECDSA-CHACHA20-POLY1305",
}
"""What Go's tls.CipherSuites() has, as OpenSSL calls it; those of TLS 1.3 are always on, in Go as here."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pem:
    """Certificates or a key: a file, or the text itself. `origin` is FILE:LINE: KEY, for messages."""

    origin: str
    file: Path | None = None
    text: str = ""

    def read(self) -> FileContent:
        """The PEM bytes. Raises ConfigError."""
        if self.file is None:
            return FileContent(data=self.text.encode(), status=None)
        try:
            return read_regular(self.file)
        except UsageError as error:
            raise ConfigError(f"{self.origin}: {error}") from None


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsSettings:
    """The table tls_server_config, checked."""

    certificate: Pem
    key: Pem
    client_ca: Pem | None = None
    client_auth: ssl.VerifyMode = ssl.CERT_NONE
    client_sans: frozenset[str] = frozenset()
    least: ssl.TLSVersion = ssl.TLSVersion.TLSv1_2
    most: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3
    ciphers: tuple[str, ...] = ()
    """OpenSSL's names; those of TLS 1.3 are empty."""
    server_prefers: bool = True
    curve: str = ""


def context(settings: TlsSettings) -> ssl.SSLContext:
    """A server's context, with certificates and keys as they are now. Raises ConfigError."""
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.minimum_version, made.maximum_version = settings.least, settings.most
    made.set_alpn_protocols(["http/1.1"])
    if not settings.server_prefers:
        made.options &= ~ssl.OP_CIPHER_SERVER_PREFERENCE
    if any(settings.ciphers):
        made.set_ciphers(":".join(filter(None, settings.ciphers)))
    elif settings.ciphers:
        made.minimum_version = ssl.TLSVersion.TLSv1_3
    if settings.curve:
        made.set_ecdh_curve(settings.curve)
    _load_certificate(made, settings)
    _load_client_ca(made, settings)
    made.verify_mode = settings.client_auth
    return made


def names(certificate: Mapping[str, Any] | None) -> frozenset[str]:
    """The alternative names of a peer's certificate, as ssl gives it: DNS names, IP and e-mail addresses, URIs."""
    found = (certificate or {}).get("subjectAltName", ())
    return frozenset(canonical(name) for kind, name in found if kind in {"DNS", "IP Address", "email", "URI"})


def canonical(name: str) -> str:
    """An IP address in its one spelling; any other name as it is."""
    try:
        return str(ip_address(name))
    except ValueError:
        return name


def _load_certificate(made: ssl.SSLContext, settings: TlsSettings) -> None:
    certificate, key = settings.certificate.read(), settings.key.read()
    if b"ENCRYPTED" in key.data:
        raise ConfigError(f"{settings.key.origin}: the key is encrypted, and nobody is here to decrypt it")
    if key.public:
        _log.warning("%s: every user of this host may read the key", settings.key.origin)
    try:
        with _as_file(certificate.data) as certificate_file, _as_file(key.data) as key_file:
            made.load_cert_chain(certificate_file, key_file, password="")  # never ask on the terminal
    except ssl.SSLError as error:
        raise ConfigError(f"{settings.certificate.origin}: no certificate with its key: {_reason(error)}") from None


def _load_client_ca(made: ssl.SSLContext, settings: TlsSettings) -> None:
    if settings.client_ca is None:
        if settings.client_auth != ssl.CERT_NONE:  # as Go does
            _log.warning("%s: no client CA: clients of every CA that this host trusts are let in", settings.key.origin)
            made.load_default_certs(ssl.Purpose.CLIENT_AUTH)
        return
    try:
        with _as_file(settings.client_ca.read().data) as file:
            made.load_verify_locations(file)
    except ssl.SSLError as error:
        raise ConfigError(f"{settings.client_ca.origin}: no certificate: {_reason(error)}") from None


@contextmanager
def _as_file(data: bytes) -> Iterator[str]:
    """A path with these bytes, in memory only: ssl takes certificates and keys from files alone."""
    try:
        descriptor = os.memfd_create("pem", os.MFD_CLOEXEC)
    except OSError as error:  # no file descriptor left
        raise ConfigError(f"cannot hand a certificate to OpenSSL: {error.strerror}") from None
    with os.fdopen(descriptor, "wb", buffering=0) as file:
        file.write(data)
        yield f"/proc/self/fd/{descriptor}"


def _reason(error: ssl.SSLError) -> str:
    return (error.reason or "unreadable").lower().replace("_", " ")
