"""A certificate authority of the coordinator's own, and the keys by which Flower knows a node."""

import ipaddress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from sojourn.extras import need
from sojourn.federated.governance.keys import write_private

_YEARS = 3
_CURVE = "cryptography.hazmat.primitives.asymmetric.ec"


def make_certificates(folder: Path, host: str) -> None:
    """Write ca.crt, ca.key, server.crt and server.key.

    Parameters
    ----------
    folder : where to.
    host : name or address under which the sites reach the coordinator; the loopback is always included.
    """
    x509, hashes = need("cryptography.x509", "federated"), need("cryptography.hazmat.primitives.hashes", "federated")
    ca_key, server_key = _new_key(), _new_key()
    ca_name = _name("Sojourn federation")
    not_both = {"key_cert_sign": True, "crl_sign": True}
    ca = (
        _certificate(ca_name, ca_name, ca_key.public_key())
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(**not_both), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(ca_key.public_key()), critical=False)
        .sign(ca_key, hashes.SHA384())
    )
    of_ca = x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key())
    server = (
        _certificate(_name(host), ca_name, server_key.public_key())
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(digital_signature=True), critical=True)
        .add_extension(x509.ExtendedKeyUsage([x509.ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectAlternativeName(_names(host)), critical=False)
        .add_extension(of_ca, critical=False)
        .sign(ca_key, hashes.SHA384())
    )
    write_private(folder / "ca.key", _pem(ca_key))
    write_private(folder / "server.key", _pem(server_key))
    encoding = need("cryptography.hazmat.primitives.serialization", "federated").Encoding.PEM
    (folder / "ca.crt").write_bytes(ca.public_bytes(encoding))
    (folder / "server.crt").write_bytes(server.public_bytes(encoding))


def make_node_key(path: Path) -> str:
    """Make a node's EC P-384 key, keep it in a file, and return the public half as PEM."""
    key = _new_key()
    write_private(path, _pem(key))
    return node_public(key)


def node_public(key: Any) -> str:
    """The public half of a node's key, as Flower registers it."""
    return _public_pem(key.public_key())


def is_node_public(text: str) -> bool:
    """Whether a text is the public half of a node's key, in the one form in which `node_public` writes it."""
    serialization, ec = need("cryptography.hazmat.primitives.serialization", "federated"), need(_CURVE, "federated")
    exceptions = need("cryptography.exceptions", "federated")
    try:
        key = serialization.load_pem_public_key(text.encode())
    except (ValueError, exceptions.UnsupportedAlgorithm):
        return False
    is_curve = isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, ec.SECP384R1)
    return is_curve and _public_pem(key) == text


def is_certificate(text: str) -> bool:
    """Whether a text is one certificate, as PEM."""
    x509 = need("cryptography.x509", "federated")
    try:
        return len(x509.load_pem_x509_certificates(text.encode())) == 1
    except ValueError:
        return False


def read_node_key(path: Path) -> Any:
    """The private key of a node."""
    serialization = need("cryptography.hazmat.primitives.serialization", "federated")
    return serialization.load_pem_private_key(path.read_bytes(), None)


def _new_key() -> Any:
    ec = need(_CURVE, "federated")
    return ec.generate_private_key(ec.SECP384R1())


def _public_pem(key: Any) -> str:
    serialization = need("cryptography.hazmat.primitives.serialization", "federated")
    content: bytes = key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    return content.decode()


def _pem(key: Any) -> bytes:
    serialization = need("cryptography.hazmat.primitives.serialization", "federated")
    content: bytes = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return content


def _name(text: str) -> Any:
    x509 = need("cryptography.x509", "federated")
    return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, text[:64])])


def _names(host: str) -> list[Any]:
    """The host as the certificate must name it, and the loopback."""
    x509 = need("cryptography.x509", "federated")
    names = []
    for one in dict.fromkeys((host, "localhost", "127.0.0.1")):
        try:
            names.append(x509.IPAddress(ipaddress.ip_address(one)))
        except ValueError:
            names.append(x509.DNSName(one))
    return names


def _certificate(subject: Any, issuer: Any, public: Any) -> Any:
    x509 = need("cryptography.x509", "federated")
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=365 * _YEARS))
    )


def _usage(**given: bool) -> Any:
    x509 = need("cryptography.x509", "federated")
    names = [
        *("digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement"),
        *("key_cert_sign", "crl_sign", "encipher_only", "decipher_only"),
    ]
    return x509.KeyUsage(**dict.fromkeys(names, False) | given)
