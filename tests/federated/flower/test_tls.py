"""Certificates of our own authority: right for the host, wrong for any other."""

import ssl
from pathlib import Path

import pytest
from cryptography import x509

from sojourn.errors import ConfigError
from sojourn.federated.flower.tls import make_certificates, make_node_key, node_public, read_node_key


def test_the_server_certificate_names_the_host_and_the_loopback(tmp_path: Path) -> None:
    make_certificates(tmp_path, "fl.example.org")
    server = x509.load_pem_x509_certificate((tmp_path / "server.crt").read_bytes())
    names = server.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["fl.example.org", "localhost"]
    assert [str(address) for address in names.get_values_for_type(x509.IPAddress)] == ["127.0.0.1"]
    server.verify_directly_issued_by(x509.load_pem_x509_certificate((tmp_path / "ca.crt").read_bytes()))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "server.crt", tmp_path / "server.key")


def test_secrets_are_readable_by_their_owner_alone_and_never_overwritten(tmp_path: Path) -> None:
    make_certificates(tmp_path, "127.0.0.1")
    public = make_node_key(tmp_path / "node.key")
    assert public == node_public(read_node_key(tmp_path / "node.key"))
    assert {path.stat().st_mode & 0o077 for path in tmp_path.glob("*.key")} == {0}
    with pytest.raises(ConfigError, match="must not exist yet"):
        make_node_key(tmp_path / "node.key")
