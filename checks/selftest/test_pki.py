"""Certificates are made once, whole, and for their owner's eyes only."""

from __future__ import annotations

import stat
import threading
from pathlib import Path

from cryptography import x509

from harness.pki import ensure_pki

KINDS = ("server", "untrusted", "expired", "wrong-name")


def test_a_second_call_finds_what_the_first_one_made(tmp_path: Path) -> None:
    folder = ensure_pki(tmp_path)
    before = {path: path.read_bytes() for path in folder.iterdir()}
    assert ensure_pki(tmp_path) == folder
    assert {path: path.read_bytes() for path in folder.iterdir()} == before


def test_other_names_get_another_certificate_of_the_same_ca(tmp_path: Path) -> None:
    folders = [ensure_pki(tmp_path, names) for names in (["a.test"], ["b.test", "192.0.2.1", "2001:db8::1"])]
    assert folders[0] != folders[1]
    assert len({(folder / "ca.pem").read_bytes() for folder in folders}) == 1
    certificate = x509.load_pem_x509_certificate((folders[1] / "server.pem").read_bytes())
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["b.test"]
    assert [str(ip) for ip in names.get_values_for_type(x509.IPAddress)] == ["192.0.2.1", "2001:db8::1"]


def test_keys_are_for_their_owner_only(tmp_path: Path) -> None:
    ensure_pki(tmp_path / "cache")
    keys = list((tmp_path / "cache").rglob("*.key"))
    assert {key.stem for key in keys} == {*KINDS, "ca", "other-ca"}
    assert {stat.S_IMODE(path.stat().st_mode) for path in keys} == {0o600}
    assert {stat.S_IMODE(path.parent.stat().st_mode) for path in keys} == {0o700}


def test_many_at_once_agree_and_leave_no_drafts(tmp_path: Path) -> None:
    seen: list[bytes] = []
    threads = [
        threading.Thread(target=lambda: seen.append((ensure_pki(tmp_path) / "server.pem").read_bytes()))
        for _ in range(6)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(seen) == 6
    assert len(set(seen)) == 1
    assert {path.name.split("-")[0] for path in tmp_path.iterdir()} == {"ca", "server"}
