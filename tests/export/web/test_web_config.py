"""The web config file: the good and bad cases of the exporter-toolkit (web/testdata there), and what else may be wrong.

`promtool` says what the toolkit says. Where it is older than a key, or where we are stricter, the case says so.
"""

import os
import re
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import bcrypt
import pytest
import trustme
from hypothesis import given, settings, strategies as st

from export.web.serving import HandClock
from sockwatch.errors import ConfigError, UsageError
from sockwatch.export.web.web_config import read
from sockwatch.export.web.web_config_file import WebConfigFile

CERTIFICATE = "  cert_file: server.crt\n  key_file: server.key\n"
TLS = "tls_server_config:\n" + CERTIFICATE
HASH = bcrypt.hashpw(b"fakepassword", b"$2b$04$" + b"." * 22).decode()
ALL_CIPHERS = "".join(
    f"  - TLS_{name}\n"
    for name in (
        "ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
        "ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
        "ECDHE_RSA_WITH_AES_128_GCM_SHA256",
        "ECDHE_RSA_WITH_AES_256_GCM_SHA384",
        "ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
        "ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
        "AES_128_GCM_SHA256",
        "AES_256_GCM_SHA384",
        "CHACHA20_POLY1305_SHA256",
        "ECDHE_ECDSA_WITH_AES_128_CBC_SHA",
        "ECDHE_ECDSA_WITH_AES_256_CBC_SHA",
        "ECDHE_RSA_WITH_AES_128_CBC_SHA",
        "ECDHE_RSA_WITH_AES_256_CBC_SHA",
    )
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A file, what we say of it ("" is nothing), and whether promtool 2.42 says otherwise."""

    text: str
    says: str = ""
    differs: bool = False


CASES = {
    "empty": Case(text=""),
    "only a comment": Case(text="# nothing\n"),
    "junk": Case(
        text="hWkNKCp3fvIx3jKnsaBI\nTuEjdwNS8A2vYdFbiKqr\n", says="1: the file must be a table of keys and values"
    ),
    "junk key": Case(
        text='tls_server_config:\n  cert_filse: "server.crt"\n',
        says='2: unknown key in tls_server_config "cert_filse"; did you mean cert_file?',
    ),
    "unknown table": Case(
        text="tls_config:\n  x: 1\n", says='1: unknown key "tls_config"; did you mean tls_server_config?'
    ),
    "TLS": Case(text=TLS),
    "TLS given": Case(text=TLS + "  client_auth_type: VerifyClientCertIfGiven\n"),
    "TLS of its own folder": Case(text=TLS.replace("server.crt", "./server.crt")),
    "certificate path empty": Case(
        text='tls_server_config:\n  cert_file: ""\n  key_file: server.key\n', says="2: missing one of cert or cert_file"
    ),
    "key path empty": Case(
        text='tls_server_config:\n  cert_file: server.crt\n  key_file: ""\n', says="3: missing one of key or key_file"
    ),
    "key missing": Case(text="tls_server_config:\n  cert_file: server.crt\n", says="2: missing one of key or key_file"),
    "both paths empty": Case(
        text='tls_server_config:\n  cert_file: ""\n  key_file: ""\n  client_auth_type: x\n',
        says='4: unknown client_auth_type "x"',
    ),
    "certificate inline": Case(text="tls_server_config:\n{inline}", differs=True),  # newer than promtool 2.42
    "key inline": Case(text="tls_server_config:\n  cert_file: server.crt\n{inline_key}", differs=True),  # newer
    "certificate inline and empty": Case(
        text='tls_server_config:\n  cert: ""\n  key_file: server.key\n', says="2: missing one of cert or cert_file"
    ),
    "certificate path wrong": Case(
        text="tls_server_config:\n  cert_file: somefile\n  key_file: server.key\n",
        says="2: cert_file: {folder}/somefile: No such file or directory",
    ),
    "key path wrong": Case(
        text="tls_server_config:\n  cert_file: server.crt\n  key_file: somefile\n",
        says="3: key_file: {folder}/somefile: No such file or directory",
    ),
    "certificate and key swapped": Case(
        text="tls_server_config:\n  cert_file: server.key\n  key_file: server.crt\n",
        says="2: cert_file: no certificate with its key",
    ),
    "key of another": Case(
        text="tls_server_config:\n  cert_file: server.crt\n  key_file: other.key\n",
        says="2: cert_file: no certificate with its key: key values mismatch",
    ),
    "client CA without a policy": Case(
        text=TLS + "  client_ca_file: ca.crt\n", says="4: client_ca_file without a client_auth_type"
    ),
    "client CA without a policy, not there": Case(
        text=TLS + "  client_ca_file: somefile\n", says="4: client_ca_file without a client_auth_type"
    ),
    "client CA not there": Case(
        text=TLS + "  client_ca_file: somefile\n  client_auth_type: RequireAndVerifyClientCert\n",
        says="4: client_ca_file: {folder}/somefile: No such file or directory",
    ),
    "client CA is none": Case(  # Go's pool takes no certificate, and with it no client, in silence
        text=TLS + "  client_ca_file: /dev/null\n  client_auth_type: RequireAndVerifyClientCert\n",
        says="4: client_ca_file: /dev/null: no regular file",
        differs=True,
    ),
    "client CA": Case(text=TLS + "  client_ca_file: ca.crt\n  client_auth_type: RequireAndVerifyClientCert\n"),
    "no client CA": Case(text=TLS + "  client_auth_type: RequireAndVerifyClientCert\n"),
    "no client certificate": Case(text=TLS + "  client_auth_type: NoClientCert\n"),
    **{
        name: Case(
            text=TLS + f"  client_auth_type: {name}\n", says=f"4: client_auth_type {name} cannot be had", differs=True
        )
        for name in ("RequestClientCert", "RequireAnyClientCert", "RequireClientCert")
    },
    "names of clients": Case(  # newer
        text=TLS
        + "  client_auth_type: RequireAndVerifyClientCert\n  client_ca_file: ca.crt\n  client_allowed_sans: [one]\n",
        differs=True,
    ),
    "names of clients, unasked": Case(
        text=TLS + "  client_allowed_sans: [one]\n", says="4: client_allowed_sans without a client_auth_type"
    ),
    "all ciphers": Case(text=TLS + "  cipher_suites:\n" + ALL_CIPHERS),
    "invented cipher": Case(
        text=TLS + "  cipher_suites:\n  - TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA2048\n",
        says='5: unknown cipher "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA2048"; did you mean TLS_ECDHE_',
    ),
    "some ciphers": Case(
        text=TLS
        + "  cipher_suites:\n  - TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384\n  - TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256\n"
        + "  prefer_server_cipher_suites: false\n  min_version: TLS12\n  max_version: TLS12\n"
    ),
    "ciphers of TLS 1.3 for TLS 1.2": Case(
        text=TLS + "  cipher_suites: [TLS_AES_128_GCM_SHA256]\n  max_version: TLS12\n",
        says="4: cipher_suites has none of TLS 1.2",
        differs=True,
    ),
    "one curve": Case(text=TLS + "  min_version: TLS13\n  curve_preferences:\n  - CurveP521\n"),
    "all curves": Case(
        text=TLS + "  curve_preferences: [CurveP256, CurveP384, CurveP521, X25519]\n",
        says="4: Python's ssl takes one curve",
        differs=True,
    ),
    "invented curve": Case(
        text=TLS + "  curve_preferences:\n  - CurveP257\n", says='5: unknown curve "CurveP257"; did you mean CurveP256?'
    ),
    "TLS 1.11": Case(text=TLS + "  min_version: TLS111\n", says='4: unknown TLS version "TLS111"; did you mean TLS11?'),
    "TLS 1.1": Case(
        text=TLS + "  min_version: TLS11\n",
        says="4: min_version TLS11: older than TLS 1.2 is not spoken here",
        differs=True,
    ),
    "TLS upside down": Case(
        text=TLS + "  min_version: TLS13\n  max_version: TLS12\n",
        says="4: min_version is above max_version",
        differs=True,
    ),
    "HTTP/2 off": Case(text=TLS + "http_server_config:\n  http2: false\n"),
    "HTTP/2 odd": Case(text="http_server_config:\n  http2: maybe\n", says="2: must be true or false"),
    "headers": Case(
        text="http_server_config:\n  headers:\n    X-Frame-Options: deny\n    X-XSS-Protection: 1\n"
        "    Strict-Transport-Security: max-age=31536000; includeSubDomains\n    X-Content-Type-Options: nosniff\n"
        "    Content-Security-Policy: \"default-src 'self' *.test.example.net\"\n"
    ),
    "header value": Case(
        text="http_server_config:\n  headers:\n    X-Content-Type-Options: sniff\n",
        says="3: X-Content-Type-Options must be nosniff",
    ),
    "frame options": Case(
        text="http_server_config:\n  headers:\n    X-Frame-Options: foo\n",
        says="3: X-Frame-Options must be deny or sameorigin",
    ),
    "another header": Case(
        text="http_server_config:\n  headers:\n    Content-Type: foo\n",
        says='3: unknown key in http_server_config.headers "Content-Type"',
    ),
    "a header of two lines": Case(
        text='http_server_config:\n  headers:\n    X-XSS-Protection: "1\\r\\nSet-Cookie: x"\n',
        says="3: X-XSS-Protection must be printable ASCII on one line",
        differs=True,
    ),
    "users": Case(text=TLS + f"basic_auth_users:\n  alice: {HASH}\n  bob: $2y$12${HASH[7:]}\n"),
    "users without TLS": Case(text=f"basic_auth_users:\n  alice: {HASH}\n"),
    "no hash": Case(
        text="basic_auth_users:\n  john: doe\n", says="2: basic_auth_users: what user john has is no bcrypt hash"
    ),
    "an empty hash": Case(
        text="basic_auth_users:\n  john:\n", says="2: basic_auth_users: what user john has is no bcrypt hash"
    ),
    "rate": Case(text='rate_limit:\n  interval: "1s"\n  burst: 0\n', differs=True),  # newer
    "no rate": Case(text="rate_limit:\n  interval: 0\n  burst: 0\n", differs=True),
    "rate without a unit": Case(
        text="rate_limit:\n  interval: 1.5\n", says="2: interval must be a duration, as 100ms or 1s"
    ),
    "negative burst": Case(
        text="rate_limit:\n  interval: 1s\n  burst: -1\n", says="3: must be a whole number, 0 or more"
    ),
    "a list for a table": Case(
        text="tls_server_config: [1]\n", says="1: tls_server_config must be a table of keys and values"
    ),
    "a table for a string": Case(text="tls_server_config:\n  cert_file: {a: b}\n", says="2: must be a string"),
    "a string for a list": Case(text=TLS + "  cipher_suites: x\n", says="4: must be a list"),
    "twice the same key": Case(
        text="http_server_config:\nhttp_server_config:\n", says="2: http_server_config is there twice"
    ),
    "no YAML": Case(text="tls_server_config:\n  cert_file: [\n", says="3: "),
    "a tab": Case(text="tls_server_config:\n\tcert_file: x\n", says="2: found character '\\t'"),
    "two documents": Case(text="http_server_config:\n---\nhttp_server_config:\n", says="2: ", differs=True),
    "an object": Case(
        text="basic_auth_users:\n  a: !!python/object/apply:os.system [ls]\n", says="2: must be a string"
    ),
}


def issue(folder: Path) -> None:
    """A CA, a certificate with its key, and another's key."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(folder / "ca.crt")
    certificate = authority.issue_cert("localhost", "127.0.0.1")
    (folder / "server.crt").write_bytes(certificate.cert_chain_pems[0].bytes())
    certificate.private_key_pem.write_to_path(folder / "server.key")
    authority.issue_cert("localhost").private_key_pem.write_to_path(folder / "other.key")
    for key in folder.glob("*.key"):
        key.chmod(0o600)


def write(folder: Path, text: str, name: str = "web.yml") -> Path:
    inline = {
        name: f"  {name}: |\n" + "".join(f"    {line}\n" for line in (folder / file).read_text().splitlines())
        for name, file in (("cert", "server.crt"), ("key", "server.key"))
    }
    path = folder / name
    path.write_text(text.replace("{inline}", inline["cert"] + inline["key"]).replace("{inline_key}", inline["key"]))
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("web")
    issue(made)
    return made


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_a_file_is_right_or_wrong(case: Case, folder: Path) -> None:
    path = write(folder, case.text)
    if not case.says:
        WebConfigFile(path, clock=HandClock())
        return
    with pytest.raises(ConfigError) as error:
        WebConfigFile(path, clock=HandClock())
    assert error.value.mistakes[0].startswith(f"{path}:{case.says.replace('{folder}', str(folder))}")
    assert "\n" not in str(error.value)


@pytest.mark.needs_program("promtool")
def test_promtool_says_the_same(folder: Path) -> None:
    """All cases in one go: promtool goes on after a bad file."""
    paths = {name: write(folder, case.text, f"{number}.yml") for number, (name, case) in enumerate(CASES.items())}
    command = ["promtool", "check", "web-config", *map(str, paths.values())]
    told = subprocess.run(command, capture_output=True, text=True, check=False)
    good = re.findall(r"^(.*) SUCCESS$", told.stdout + told.stderr, re.MULTILINE)
    differing = {name for name, case in CASES.items() if (str(paths[name]) in good) != (not case.says)}
    assert differing == {name for name, case in CASES.items() if case.differs}


def test_the_example_of_the_docs_is_right(folder: Path) -> None:
    text = (Path(__file__).parents[3] / "docs" / "http.md").read_text()
    (example,) = re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)
    WebConfigFile(write(folder, example), clock=HandClock())


def test_all_mistakes_are_told_at_once(folder: Path) -> None:
    path = write(
        folder, "tls_server_config:\n  min_version: TLS9\nhttp_server_config:\n  http2: x\nbasic_auth_users:\n  a: b\n"
    )
    with pytest.raises(ConfigError) as error:
        read(path)
    assert [mistake.split(":")[1] for mistake in error.value.mistakes] == ["2", "2", "2", "4", "6"]


def test_no_secret_is_told(folder: Path) -> None:
    path = write(folder, 'tls_server_config:\n  key: [geheim]\nbasic_auth_users:\n  a: geheim\n  b: "geheim\n')
    with pytest.raises(ConfigError) as error:
        read(path)
    assert "geheim" not in str(error.value)


BOMB = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{chr(98 + i)}: &{chr(98 + i)} [{', '.join(['*' + chr(97 + i)] * 9)}]\n" for i in range(9)
)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (BOMB, "aliases are not read here"),
        ("a: &a\n  <<: *a\n", "aliases are not read here"),
        ("[" * 50_000, "too deep for a web config file"),
        ("{a: " * 50_000, "too deep for a web config file"),
        ("- " * 50_000, "too deep for a web config file"),
        ("x: " + "y" * (1 << 18), "larger than 256 KiB"),
        ("x: " + "y" * (1 << 20), "larger than 1 MiB"),
        ("rate_limit:\n  burst: " + "9" * 5000, "must be a whole number"),
        ("rate_limit:\n  interval: " + "9" * 5000 + "s", "must be a duration"),
        ("a\0b: c", "not allowed"),
        ("a: \x1b[2J", "not allowed"),
    ],
    ids=range(11),
)
def test_no_file_costs_much(text: str, says: str, tmp_path: Path) -> None:
    path = tmp_path / "web.yml"
    path.write_text(text)
    with pytest.raises(UsageError, match=says):
        read(path)


def test_not_utf_8(tmp_path: Path) -> None:
    path = tmp_path / "web.yml"
    path.write_bytes(b"http_server_config:\n  # \xff\n")
    with pytest.raises(ConfigError, match=r"web\.yml:2: not UTF-8$"):
        read(path)


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir, os.fspath], ids=["fifo", "folder", "nothing"])
def test_what_is_no_file_is_not_waited_for(make: Callable[[Path], object], tmp_path: Path) -> None:
    make(tmp_path / "web.yml")
    with pytest.raises(UsageError, match=r"web\.yml: (no regular file|Is a directory|No such file or directory)$"):
        read(tmp_path / "web.yml")


LINES = (*CASES["users"].text.splitlines(), "a: b", "- x", "  ", "? [", "!!set {a}", "%YAML 9", "|", "'")


@settings(max_examples=100, deadline=None)
@given(text=st.text(max_size=200) | st.lists(st.sampled_from(LINES)).map("\n".join))
def test_any_text_is_read_or_refused_in_one_line(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    path = tmp_path_factory.getbasetemp() / "any.yml"
    path.write_text(text, encoding="utf-8", errors="ignore")
    mistakes: tuple[str, ...] = ()
    try:
        read(path)
    except ConfigError as error:
        mistakes = error.mistakes
    assert all(mistake.startswith(str(path)) and mistake.isprintable() for mistake in mistakes)


@pytest.mark.parametrize(("mode", "who"), [(0o646, "everybody"), (0o664, f"group {os.getgid()}")])
def test_a_file_that_others_may_write_lets_nobody_in(tmp_path: Path, mode: int, who: str) -> None:
    path = tmp_path / "web.yml"
    path.write_text(f"basic_auth_users:\n  ann: {HASH}\n")
    path.chmod(0o640)
    assert read(path).users == {"ann": HASH}
    path.chmod(mode)
    with pytest.raises(ConfigError, match=f"^{path}: the file may be written by {who}; it says who is let in"):
        read(path)


def test_a_directory_in_which_others_may_replace_the_file_lets_nobody_in(tmp_path: Path) -> None:
    path = tmp_path / "web.yml"
    path.write_text("")
    path.chmod(0o640)
    tmp_path.chmod(0o777)
    with pytest.raises(ConfigError, match=f"the directory {tmp_path} may be written by everybody"):
        read(path)
