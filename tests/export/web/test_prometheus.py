"""Debian's Prometheus and a 3.x scrape us over TLS with a password."""

from pathlib import Path

import bcrypt
import pytest
import trustme

from export.web.serving import Served, published
from scraping import Prometheus, programs


@pytest.mark.needs_program("prometheus")
@pytest.mark.parametrize("program", programs() or ("none",), ids=["debian", "3.x"][: len(programs()) or 1])
def test_prometheus_scrapes_over_tls_with_a_password(program: str, tmp_path: Path) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.crt")
    certificate = authority.issue_cert("127.0.0.1")
    certificate.cert_chain_pems[0].write_to_path(tmp_path / "server.crt")
    certificate.private_key_pem.write_to_path(tmp_path / "server.key")
    client = authority.issue_cert("prometheus.example")
    client.cert_chain_pems[0].write_to_path(tmp_path / "client.crt")
    client.private_key_pem.write_to_path(tmp_path / "client.key")
    web = tmp_path / "web.yml"
    web.write_text(
        "tls_server_config:\n  cert_file: server.crt\n  key_file: server.key\n  client_ca_file: ca.crt\n"
        "  client_auth_type: RequireAndVerifyClientCert\n  client_allowed_sans: [prometheus.example]\n"
        f"basic_auth_users:\n  prometheus: {bcrypt.hashpw(b'scrape', bcrypt.gensalt(4)).decode()}\n"
    )
    tls = {name: str(tmp_path / f"{file}") for name, file in (("ca_file", "ca.crt"), ("cert_file", "client.crt"))}
    with Served(config_file=str(web)) as served:
        job = {
            "job_name": "sockwatch",
            "scheme": "https",
            "tls_config": tls | {"key_file": str(tmp_path / "client.key")},
            "basic_auth": {"username": "prometheus", "password": "scrape"},
            "static_configs": [{"targets": [f"127.0.0.1:{served.port}"]}],
        }
        wrong = job | {"job_name": "wrong", "basic_auth": {"username": "prometheus", "password": "guess"}}
        config = {"global": {"scrape_interval": "500ms"}, "scrape_configs": [job, wrong]}
        with Prometheus(program, config, tmp_path) as prometheus:
            prometheus.wait_for('up{job="sockwatch"} == 1')
            prometheus.wait_for('up{job="wrong"} == 0')
            served.last = published(number=7)
            prometheus.wait_for("sockwatch_sockets == 7", rows=23)
            assert served.connections <= 3
        counts = served.counts("sockwatch_http_requests")
        assert counts["200"] >= 2
        assert counts["500"] == counts["503"] == 0
