"""The revision of the configurations with which a run began, as a short digest: same files, same digest."""

from __future__ import annotations

import hashlib

from harness.report.private_keys import Secrets
from harness.timeline import Timeline


def configs_digest(timeline: Timeline) -> str:
    """Twelve hexadecimal digits of SHA-256 over node, service, path and text of every configuration.

    Of those in force when the first fault came, with passwords and keys hidden; an empty string where none
    is known.
    """
    inject = timeline.first("fault", state="inject")
    until = timeline.span[1] if inject is None else inject.t
    latest = {(e.node, e.service, e.path): str(e.text) for e in timeline.of("config", until=until)}
    if not latest:
        return ""
    digest, secrets = hashlib.sha256(), Secrets()
    for key, text in sorted(latest.items()):
        digest.update("\0".join([*key, secrets.hidden(text), ""]).encode())
    return digest.hexdigest()[:12]
