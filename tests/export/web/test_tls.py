"""TLS with real certificates: who gets in, and new certificates without a restart."""

import logging
import ssl
from collections.abc import Callable
from pathlib import Path

import pytest
import trustme

from export.web.serving import Served, closing, rest, until, write_whole
from sockwatch.export.web.tls import canonical, names

TLS = "tls_server_config:\n  cert_file: server.crt\n  key_file: server.key\n"
CLIENTS = TLS + "  client_ca_file: ca.crt\n  client_auth_type: "
REFUSED = (ssl.SSLError, ConnectionError)


class Folder:
    """A web config with its files, and the clients that go with it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.authority = trustme.CA()
        self.authority.cert_pem.write_to_path(path / "ca.crt")
        self.issue()

    def issue(self) -> None:
        """A new certificate for the server; the key first, as by one who is not careful."""
        certificate = self.authority.issue_cert("localhost")
        certificate.private_key_pem.write_to_path(self.path / "server.key")
        (self.path / "server.key").chmod(0o600)
        certificate.cert_chain_pems[0].write_to_path(self.path / "server.crt")

    def config(self, text: str) -> str:
        write_whole(self.path / "web.yml", text)
        return str(self.path / "web.yml")

    def client(self, certificate: trustme.LeafCert | None = None) -> ssl.SSLContext:
        made = ssl.create_default_context()
        self.authority.configure_trust(made)
        if certificate is not None:
            certificate.configure_cert(made)
        return made


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


def serial(served: Served, client: ssl.SSLContext) -> str:
    """Of the server's certificate."""
    with client.wrap_socket(served.connect(), server_hostname="localhost") as connection:
        certificate = connection.getpeercert()
        assert certificate is not None
        return str(certificate["serialNumber"])


def speaks(served: Served, client: ssl.SSLContext) -> tuple[str, str]:
    """The version and the cipher that were agreed on."""
    with client.wrap_socket(served.connect(), server_hostname="localhost") as connection:
        cipher = connection.cipher()
        assert cipher is not None
        return connection.version() or "", cipher[0]


def test_everything_is_served_over_tls(folder: Folder) -> None:
    with Served(config_file=folder.config(TLS)) as served:
        for path in ("/", "/metrics", "/api/v1/report", "/-/ready"):
            assert served.get(path, tls=folder.client()).status == 200
        assert served.get("/", {"Host": "evil.example"}, tls=folder.client()).status == 421


def test_plain_http_gets_nothing_and_says_nothing_in_the_log(folder: Folder) -> None:
    with Served(config_file=folder.config(TLS)) as served:
        assert b"HTTP/1.1 200" not in served.say(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n")
        until(lambda: served.closed("tls") == 1)
        assert served.connections == 0


def test_no_less_than_tls_1_2(folder: Folder) -> None:
    with Served(config_file=folder.config(TLS)) as served:
        assert speaks(served, folder.client())[0] == "TLSv1.3"
        client = folder.client()
        client.maximum_version = ssl.TLSVersion.TLSv1_2
        assert speaks(served, client)[0] == "TLSv1.2"
        with pytest.warns(DeprecationWarning, match="TLSv1_1"):
            client.minimum_version = ssl.TLSVersion.TLSv1_1
        with pytest.warns(DeprecationWarning, match="TLSv1_1"):
            client.maximum_version = ssl.TLSVersion.TLSv1_1
        client.set_ciphers("ALL:@SECLEVEL=0")
        with pytest.raises(REFUSED):
            speaks(served, client)


def test_versions_ciphers_and_a_curve_of_the_file(folder: Folder) -> None:
    config = folder.config(TLS + "  min_version: TLS13\n  curve_preferences: [CurveP521]\n")
    client = folder.client()
    with Served(config_file=config) as served:
        assert speaks(served, client)[0] == "TLSv1.3"
        client.maximum_version = ssl.TLSVersion.TLSv1_2
        with pytest.raises(REFUSED):
            speaks(served, client)
        client = folder.client()
        client.set_ecdh_curve("secp384r1")
        with pytest.raises(REFUSED):
            speaks(served, client)
        folder.config(TLS + "  max_version: TLS12\n  cipher_suites: [TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384]\n")
        assert speaks(served, folder.client()) == ("TLSv1.2", "ECDHE-ECDSA-AES256-GCM-SHA384")
        folder.config(TLS + "  cipher_suites: [TLS_AES_128_GCM_SHA256]\n")
        assert speaks(served, folder.client())[0] == "TLSv1.3"


def test_the_servers_order_of_ciphers_or_the_clients(folder: Folder) -> None:
    order = ("AES_256_GCM_SHA384", "AES_128_GCM_SHA256")
    text = TLS + "  max_version: TLS12\n  cipher_suites:\n" + "".join(f"  - TLS_ECDHE_ECDSA_WITH_{o}\n" for o in order)
    client = folder.client()
    client.set_ciphers("ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES256-GCM-SHA384")
    with Served(config_file=folder.config(text)) as served:
        assert speaks(served, client)[1] == "ECDHE-ECDSA-AES256-GCM-SHA384"
        folder.config(text + "  prefer_server_cipher_suites: false\n")
        assert speaks(served, client)[1] == "ECDHE-ECDSA-AES128-GCM-SHA256"


@pytest.mark.parametrize(
    ("policy", "without", "ours", "others"),
    [
        ("NoClientCert", True, True, True),
        ("VerifyClientCertIfGiven", True, True, False),
        ("RequireAndVerifyClientCert", False, True, False),
    ],
)
def test_client_certificates(policy: str, without: bool, ours: bool, others: bool, folder: Folder) -> None:  # noqa: FBT001 - the table's
    text = TLS if policy == "NoClientCert" else CLIENTS + policy + "\n"
    clients = {
        folder.client(): without,
        folder.client(folder.authority.issue_cert("client.example")): ours,
        folder.client(trustme.CA().issue_cert("client.example")): others,
    }
    with Served(config_file=folder.config(text)) as served:
        for client, admitted in clients.items():
            if admitted:
                assert served.get("/", tls=client).status == 200
            else:
                with pytest.raises(REFUSED):
                    served.get("/", tls=client)
        until(lambda: served.closed("tls") == [*clients.values()].count(False))


@pytest.mark.parametrize(
    ("identity", "admitted"),
    [
        ("test3", True),
        ("192.0.2.7", True),
        ("2001:db8::7", True),
        ("who@box.example", True),
        ("test4", False),
        ("*.test3", False),
    ],
)
def test_names_of_client_certificates(identity: str, admitted: bool, folder: Folder) -> None:  # noqa: FBT001 - the table's
    sans = '  client_allowed_sans: [one, test3, 192.0.2.7, "2001:DB8:0::7", who@box.example]\n'
    client = folder.client(folder.authority.issue_cert(identity))
    with Served(config_file=folder.config(CLIENTS + "RequireAndVerifyClientCert\n" + sans)) as served:
        if admitted:
            assert served.get("/", tls=client).status == 200
        else:
            with pytest.raises(REFUSED):
                served.get("/", tls=client)
        assert served.closed("client_name") == (not admitted)


def test_without_a_certificate_there_is_no_name(folder: Folder) -> None:
    text = CLIENTS + "VerifyClientCertIfGiven\n  client_allowed_sans: [test3]\n"
    with Served(config_file=folder.config(text)) as served, pytest.raises(REFUSED):
        served.get("/", tls=folder.client())


def test_what_python_says_of_a_certificate() -> None:
    certificate = {
        "subjectAltName": (("DNS", "a"), ("IP Address", "2001:DB8:0:0:0:0:0:7"), ("DirName", ((("x", "y"),),)))
    }
    assert names(certificate) == {"a", "2001:db8::7"}
    assert names(None) == names({}) == frozenset()
    assert canonical("<invalid>") == "<invalid>"


def test_a_new_certificate_is_used_without_a_restart(folder: Folder) -> None:
    client = folder.client()
    with Served(config_file=folder.config(TLS)) as served:
        first = serial(served, client)
        assert serial(served, client) == first
        folder.issue()
        assert serial(served, client) != first
        assert served.counts("sockwatch_web_config_last_reload_successful")[""] == 1


def damage(name: str, text: str) -> Callable[[Folder], object]:
    return lambda folder: write_whole(folder.path / name, text)


@pytest.mark.parametrize(
    "change",
    [
        damage("server.crt", ""),
        damage("server.key", "-----BEGIN PRIVATE KEY-----\n"),
        damage("web.yml", ""),
        damage("web.yml", "tls_server_config:\n  cert_file: nowhere\n  key_file: server.key\n"),
        lambda folder: (folder.path / "server.key").unlink(),
        lambda folder: (folder.path / "web.yml").unlink(),
        lambda folder: trustme.CA().issue_cert("x").private_key_pem.write_to_path(folder.path / "server.key"),
    ],
    ids=range(7),
)
def test_what_is_wrong_later_changes_nothing(change: Callable[[Folder], object], folder: Folder) -> None:
    client = folder.client()
    with Served(config_file=folder.config(TLS)) as served:
        first = serial(served, client)
        change(folder)
        assert [serial(served, client) for _ in range(3)] == [first] * 3
        assert served.counts("sockwatch_web_config_last_reload_successful")[""] == 0
        assert len(served.forget_errors()) == 1
        folder.config(TLS + "  min_version: TLS12\n")
        folder.issue()
        assert serial(served, client) != first
        assert served.counts("sockwatch_web_config_last_reload_successful")[""] == 1


def test_what_was_no_change_of_a_file_is_tried_again(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    """A failure to open it, say, which leaves no trace in what stat() tells."""
    client = folder.client()
    with Served(config_file=folder.config(TLS)) as served:
        first = serial(served, client)
        with monkeypatch.context() as broken:
            broken.setattr("sockwatch.export.web.tls.os.memfd_create", _no_files)
            folder.issue()
            assert serial(served, client) == first
            assert len(served.forget_errors()) == 1
        assert serial(served, client) == first
        served.clock.ahead += 10.1
        assert serial(served, client) != first


def _no_files(*_: object) -> int:
    raise OSError(24, "Too many open files")


def test_a_key_that_everybody_may_read_is_warned_of(folder: Folder, caplog: pytest.LogCaptureFixture) -> None:
    (folder.path / "server.key").chmod(0o644)
    with Served(config_file=folder.config(TLS)):
        pass
    assert [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING] == [
        f"{folder.path}/web.yml:3: key_file: every user of this host may read the key"
    ]


def test_half_open_handshakes_give_way_and_end(folder: Folder) -> None:
    with Served(config_file=folder.config(TLS), max_connections=5) as served:
        clients = [served.connect() for _ in range(23)]
        with closing(clients):
            for client in clients:
                client.sendall(b"\x16\x03\x01")
            until(lambda: served.closed("evicted") == 18)
            assert served.get("/", tls=folder.client()).status == 200
            served.clock.ahead += 5.1
            assert rest(clients[-1]) == b""
            until(lambda: served.connections == 0)


def test_a_connection_has_a_buffer_for_one_record(folder: Folder) -> None:
    with Served(config_file=folder.config(TLS)) as served:
        assert served.get("/", tls=folder.client()).status == 200
        with folder.client().wrap_socket(served.connect(), server_hostname="localhost"):
            until(lambda: any(c.transport is not None for c in served.server.open_connections))
            (connection,) = served.server.open_connections
            protocol = vars(connection.transport)["_ssl_protocol"]
            assert len(vars(protocol)["_ssl_buffer"]) == 16 * 1024


def test_an_encrypted_key_is_not_asked_about_on_the_terminal(folder: Folder) -> None:
    key = (folder.path / "server.key").read_text().replace("BEGIN", "BEGIN ENCRYPTED")
    (folder.path / "server.key").write_text(key)
    with pytest.raises(Exception, match="the key is encrypted, and nobody is here to decrypt it"):
        Served(config_file=folder.config(TLS))
