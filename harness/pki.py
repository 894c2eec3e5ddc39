"""The testbed's certificates: one CA, a server certificate for given names, and bad ones on purpose.

Made once for each cache folder and set of names, published by a rename, and reused by every run.
Keys are readable by their owner only and stay in the cache: nothing here is ever an artifact.
"""

from __future__ import annotations

import datetime
import hashlib
import ipaddress
import os
import shutil
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias, cast

if TYPE_CHECKING:
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

DEFAULT_NAMES = ("api.cluster.test", "*.cluster.test", "*.apps.cluster.test", "localhost", "127.0.0.1", "::1")

# Valid in every world: a guest in virtual time may think it is 1970.
_EVER = datetime.datetime(1970, 1, 1), datetime.datetime(2199, 12, 31)
_LONG_PAST = datetime.datetime(1960, 1, 1), datetime.datetime(1960, 12, 31)
_FORMAT = "v1"

_Period: TypeAlias = tuple[datetime.datetime, datetime.datetime]


def ensure_pki(directory: Path, names: Sequence[str] = DEFAULT_NAMES) -> Path:
    """The folder of certificates whose server answers to `names` (DNS names and addresses).

    In it: `ca.pem`; `server.pem`, `server.key`; and as much for each way of being bad: `untrusted`
    (another CA's), `expired`, `wrong-name`.  All keys are ECDSA P-256.
    """
    digest = hashlib.sha256("\n".join([_FORMAT, *names]).encode()).hexdigest()[:16]
    authority = _once(directory / f"ca-{_FORMAT}", _write_authority)
    return _once(directory / f"server-{digest}", lambda folder: _write_servers(folder, authority, names))


def _once(folder: Path, write: Callable[[Path], None]) -> Path:
    """Make a folder whole or not at all; whoever comes second uses the first one's."""
    if folder.is_dir():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    draft = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        write(draft)
        os.rename(draft, folder)
    except OSError:
        if not folder.is_dir():
            raise
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return folder


def _write_authority(folder: Path) -> None:
    for name in ("ca", "other-ca"):
        key = _new_key()
        certificate = _certificate(f"vipdrill {name}", key, None, key, ())
        _write(folder / f"{name}.key", _key_pem(key))
        _write(folder / f"{name}.pem", _cert_pem(certificate))


def _write_servers(folder: Path, authority: Path, names: Sequence[str]) -> None:
    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    kinds: dict[str, tuple[str, Sequence[str], _Period]] = {
        "server": ("ca", names, _EVER),
        "untrusted": ("other-ca", names, _EVER),
        "expired": ("ca", names, _LONG_PAST),
        "wrong-name": ("ca", ("wrong.invalid",), _EVER),
    }
    for kind, (issuer, for_names, period) in kinds.items():
        issuer_key = load_pem_private_key((authority / f"{issuer}.key").read_bytes(), None)
        issuer_cert = x509.load_pem_x509_certificate((authority / f"{issuer}.pem").read_bytes())
        key = _new_key()
        signer = cast("EllipticCurvePrivateKey", issuer_key)
        certificate = _certificate(for_names[0], key, issuer_cert, signer, for_names, period)
        _write(folder / f"{kind}.key", _key_pem(key))
        _write(folder / f"{kind}.pem", _cert_pem(certificate))
    shutil.copyfile(authority / "ca.pem", folder / "ca.pem")


def _certificate(
    subject: str,
    key: EllipticCurvePrivateKey,
    issuer: x509.Certificate | None,
    issuer_key: EllipticCurvePrivateKey,
    names: Sequence[str],
    period: _Period = _EVER,
) -> x509.Certificate:
    """A CA's certificate (without `issuer`), or a server's for these names."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes

    own_name = x509.Name([x509.NameAttribute(x509.oid.NameOID.COMMON_NAME, subject)])
    identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    builder = (
        x509.CertificateBuilder()
        .subject_name(own_name)
        .issuer_name(issuer.subject if issuer else own_name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(period[0])
        .not_valid_after(period[1])
        .add_extension(x509.BasicConstraints(ca=issuer is None, path_length=None), critical=True)
        .add_extension(identifier, critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), critical=False
        )
        .add_extension(_usage(ca=issuer is None), critical=True)
    )
    if issuer is not None:
        builder = builder.add_extension(
            x509.ExtendedKeyUsage([x509.oid.ExtendedKeyUsageOID.SERVER_AUTH]), critical=False
        ).add_extension(x509.SubjectAlternativeName([_general_name(name) for name in names]), critical=False)
    return builder.sign(issuer_key, hashes.SHA256())


def _usage(*, ca: bool) -> x509.KeyUsage:
    from cryptography import x509

    return x509.KeyUsage(
        digital_signature=not ca,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=ca,
        crl_sign=ca,
        encipher_only=False,
        decipher_only=False,
    )


def _general_name(name: str) -> x509.GeneralName:
    from cryptography import x509

    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _new_key() -> EllipticCurvePrivateKey:
    from cryptography.hazmat.primitives.asymmetric import ec

    return ec.generate_private_key(ec.SECP256R1())


def _key_pem(key: EllipticCurvePrivateKey) -> bytes:
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _cert_pem(certificate: x509.Certificate) -> bytes:
    from cryptography.hazmat.primitives.serialization import Encoding

    return certificate.public_bytes(Encoding.PEM)


def _write(path: Path, data: bytes) -> None:
    """Write a file that is never readable by others, not even while it is being written."""
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as out:
        out.write(data)
