"""The table tls_server_config of a web config file."""

import ssl
from collections.abc import Mapping
from pathlib import Path

import yaml

from sockwatch.export.web.tls import (
    ANY_CERTIFICATE,
    CIPHERS,
    CLIENT_AUTH,
    CURVES,
    VERSIONS,
    Pem,
    TlsSettings,
    canonical,
)
from sockwatch.export.web.yaml_lines import YamlLines

_KEYS = (
    "cert",
    "key",
    "client_ca",
    "cert_file",
    "key_file",
    "client_auth_type",
    "client_ca_file",
    "client_allowed_sans",
    "min_version",
    "max_version",
    "cipher_suites",
    "prefer_server_cipher_suites",
    "curve_preferences",
)


def read_tls(lines: YamlLines, folder: Path, node: yaml.Node | None) -> TlsSettings | None:
    """Its settings; None if it is empty, or wrong, which `lines` knows. Names of files are relative to `folder`."""
    table = lines.table(node, _KEYS, "tls_server_config")
    if node is None or not table:
        return None
    auth = _client_auth(lines, table)
    client_ca = _pem(lines, folder, table, "client_ca")
    if auth == ssl.CERT_NONE:
        for name in ("client_ca", "client_ca_file", "client_allowed_sans"):
            if name in table and (client_ca is not None or name == "client_allowed_sans"):
                lines.mistake(table[name], f"{name} without a client_auth_type")
    least, most = _versions(lines, table)
    certificate, key = (_pem(lines, folder, table, name) for name in ("cert", "key"))
    for name, pem in (("cert", certificate), ("key", key)):
        if pem is None:
            lines.mistake(table.get(f"{name}_file") or table.get(name) or node, f"missing one of {name} or {name}_file")
    ciphers = tuple(lines.choice(item, CIPHERS, "", "cipher") for _, item in lines.texts(table.get("cipher_suites")))
    if ciphers and not any(ciphers) and most == ssl.TLSVersion.TLSv1_2:
        lines.mistake(table["cipher_suites"], "cipher_suites has none of TLS 1.2, and max_version is TLS12")
    prefers = lines.flag(table.get("prefer_server_cipher_suites"), default=True)
    sans = frozenset(canonical(text) for text, _ in lines.texts(table.get("client_allowed_sans")))
    curve = _curve(lines, table)
    if certificate is None or key is None:
        return None
    return TlsSettings(
        certificate=certificate,
        key=key,
        client_ca=client_ca,
        client_auth=auth,
        client_sans=sans,
        least=least,
        most=most,
        ciphers=ciphers,
        server_prefers=prefers,
        curve=curve,
    )


def _client_auth(lines: YamlLines, table: Mapping[str, yaml.Node]) -> ssl.VerifyMode:
    node = table.get("client_auth_type")
    auth = lines.choice(node, CLIENT_AUTH, ssl.CERT_NONE, "client_auth_type")
    if auth == ANY_CERTIFICATE:
        lines.mistake(
            node,
            f"client_auth_type {lines.text(node)} cannot be had: Python's ssl verifies each certificate it asks for; "
            "VerifyClientCertIfGiven and RequireAndVerifyClientCert can be had",
        )
        return ssl.CERT_REQUIRED
    return ssl.VerifyMode(auth)


def _versions(lines: YamlLines, table: Mapping[str, yaml.Node]) -> tuple[ssl.TLSVersion, ssl.TLSVersion]:
    found: list[ssl.TLSVersion] = []
    for name, default in (("min_version", ssl.TLSVersion.TLSv1_2), ("max_version", ssl.TLSVersion.TLSv1_3)):
        version = lines.choice(table.get(name), VERSIONS, default, "TLS version")
        if version is None:
            lines.mistake(table[name], f"{name} {lines.text(table[name])}: older than TLS 1.2 is not spoken here")
        found.append(version or default)
    least, most = found
    if least > most:
        lines.mistake(table["min_version"], "min_version is above max_version")
    return least, most


def _curve(lines: YamlLines, table: Mapping[str, yaml.Node]) -> str:
    curves = [lines.choice(item, CURVES, "", "curve") for _, item in lines.texts(table.get("curve_preferences"))]
    if len(curves) > 1:
        lines.mistake(
            table["curve_preferences"], "Python's ssl takes one curve: name one, or none to have all of OpenSSL's"
        )
    return curves[0] if curves else ""


def _pem(lines: YamlLines, folder: Path, table: Mapping[str, yaml.Node], key: str) -> Pem | None:
    """The one of `key` and `key_file` that is there."""
    inline, file = lines.text(table.get(key)), lines.text(table.get(f"{key}_file"))
    if inline and file:
        lines.mistake(table[key], f"{key} and {key}_file: only one of them")
    if file:
        return Pem(origin=lines.where(table[f"{key}_file"], f"{key}_file"), file=folder / file)
    return Pem(origin=lines.where(table[key], key), text=inline) if inline else None
