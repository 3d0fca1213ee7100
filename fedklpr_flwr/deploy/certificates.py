"""Keys and certificates of a deployment: its own authority's, the SuperLink's; the boxes' keys.

All keys are ECDSA on P-384. The authority signs the SuperLink's certificate and nothing else:
SuperNodes are known by their registered keys, so a box carries no certificate of its own.
"""

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

AUTHORITY_DAYS = 3650
"""How long an authority's own certificate holds: ten years."""

SERVER_DAYS = 180
"""How long a SuperLink's holds where SITES.yaml says nothing (`server.days`)."""

SLOW_CLOCK = timedelta(days=1)
"""A certificate begins so long before it is made, for boxes whose clock is behind."""

_SELF = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True)
class Signed:
    """A certificate with its private key, both PEM.

    Attributes:
        certificate: X.509.
        key: PKCS #8, not encrypted.
    """

    certificate: bytes
    key: bytes


@dataclass(frozen=True)
class NodeKey:
    """A SuperNode's key pair, in OpenSSH's formats as Flower reads them."""

    private: bytes
    public: bytes


def make_authority(federation: str) -> Signed:
    """A new certificate authority, which signs the SuperLink of one federation.

    Args:
        federation: its name, at most 40 characters.

    Returns:
        Its self-signed certificate, valid for `AUTHORITY_DAYS`.
    """
    key = ec.generate_private_key(ec.SECP384R1())
    name = _name(f"{federation} authority")
    usage = x509.KeyUsage(False, False, False, False, False, True, True, False, False)
    builder = (
        _builder(name, name, key.public_key(), datetime.now(UTC), AUTHORITY_DAYS)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
    )
    return _signed(builder, key, key)


def sign_server(
    authority: Signed,
    federation: str,
    hosts: Sequence[str],
    days: int,
    *,
    begin: datetime | None = None,
) -> Signed:
    """A certificate for a SuperLink, for every name and address it is reached by.

    Args:
        authority: who signs.
        federation: the federation's name, at most 40 characters.
        hosts: host names and IP addresses; localhost and its addresses come with them.
        days: how long it holds.
        begin: when it was made; None = now.

    Returns:
        The certificate with a new key.
    """
    key = ec.generate_private_key(ec.SECP384R1())
    issuer = x509.load_pem_x509_certificate(authority.certificate)
    signer = serialization.load_pem_private_key(authority.key, None)
    if not isinstance(signer, ec.EllipticCurvePrivateKey):
        raise TypeError(f"an authority signs with an EC key, not {type(signer).__name__}")
    usage = x509.KeyUsage(True, False, False, False, False, False, False, False, False)
    alternatives = [_alternative(host) for host in dict.fromkeys((*hosts, *_SELF))]
    purpose = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH])
    by = x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key())
    subject = _name(f"{federation} SuperLink")
    builder = (
        _builder(subject, issuer.subject, key.public_key(), begin or datetime.now(UTC), days)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(purpose, critical=False)
        .add_extension(by, critical=False)
        .add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
    )
    return _signed(builder, key, signer)


def make_node_key(comment: str) -> NodeKey:
    """A new key pair by which a SuperLink knows a SuperNode.

    Args:
        comment: stands behind the public key; Flower ignores it.
    """
    key = ec.generate_private_key(ec.SECP384R1())
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.OpenSSH,
        serialization.NoEncryption(),
    )
    public = key.public_key().public_bytes(
        serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH
    )
    return NodeKey(private, public + f" {comment}\n".encode())


def is_address(host: str) -> bool:
    """Whether a host is an IP address, not a name."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _alternative(host: str) -> x509.GeneralName:
    if is_address(host):
        return x509.IPAddress(ipaddress.ip_address(host))
    return x509.DNSName(host)


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePublicKey,
    begin: datetime,
    days: int,
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin - SLOW_CLOCK)
        .not_valid_after(begin + timedelta(days=days))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def _signed(
    builder: x509.CertificateBuilder,
    key: ec.EllipticCurvePrivateKey,
    signer: ec.EllipticCurvePrivateKey,
) -> Signed:
    certificate = builder.sign(signer, hashes.SHA384())
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    return Signed(certificate.public_bytes(serialization.Encoding.PEM), private)
