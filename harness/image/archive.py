"""Where Debian packages come from: the host's own mirror and proxy settings, and the trusted keys.

`VIPDRILL_MIRROR` names a mirror; set but empty it means mmdebstrap's default.  Without it a Debian
host's own mirror is used for every suite, as it is the one known to be reachable.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

# Debian's signing keys of release 13 travel with us, as the keyring package of an old Ubuntu is
# older than they are; the host's keyring knows newer ones.
SHIPPED_KEYS = Path(__file__).with_name("keys")
HOST_KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")

PROXY_VARIABLES = ("http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY")
PROXY_OPTIONS = ("Acquire::http::Proxy", "Acquire::https::Proxy", "Acquire::http::Proxy-Auto-Detect")

TARGET = "$(RELEASE)|$(COMPONENT)|$(REPO_URI)|$(SIGNED_BY)"


def options() -> list[str]:
    """mmdebstrap's options for keys and proxies; none of them changes what an image holds."""
    chosen = [f"--keyring={SHIPPED_KEYS}"]
    if HOST_KEYRING.exists():
        chosen.append(f"--keyring={HOST_KEYRING}")
    # apt's own download user could not read keys and lists below a closed home.  A mirror that is
    # a snapshot, or lags, has an expired Release file: good enough for a laboratory.
    apt = ("APT::Sandbox::User root", "Acquire::Retries 3", "Acquire::Check-Valid-Until false")
    chosen += [f"--aptopt={option}" for option in apt]
    for option in PROXY_OPTIONS:
        # Lines such as: Acquire::http::Proxy::HOST "DIRECT"; an empty value is an unset one.
        lines = _output(["apt-config", "dump", option]).splitlines()
        chosen += [f"--aptopt={line}" for line in lines if not line.endswith('"";')]
    return chosen


def environment() -> dict[str, str]:
    """The variables that a download needs from the caller's environment."""
    return {name: os.environ[name] for name in PROXY_VARIABLES if name in os.environ}


def sources(suite: str) -> list[str]:
    """Lines of sources.list for `suite`; empty for mmdebstrap's own."""
    given = os.environ.get("VIPDRILL_MIRROR")
    if given is None:
        main, security = _host_mirrors()
    else:
        main, security = given, ""
    if not main:
        return []
    lines = [f"deb {main} {suite} main"]
    if suite != "sid":
        lines.append(f"deb {main} {suite}-updates main")
        if security:
            lines.append(f"deb {security} {suite}-security main")
    return lines


def _host_mirrors() -> tuple[str, str]:
    """The archive and the security archive that this host, if it is Debian, is set to use."""
    release = _os_release()
    if release.get("ID") != "debian":
        return "", ""
    names = {release.get("VERSION_CODENAME", ""), "stable", "testing", "unstable", "sid"}
    main = security = ""
    for line in _output(["apt-get", "indextargets", "--format", TARGET, "Created-By: Packages"]).splitlines():
        suite, component, uri, signed_by = line.split("|", 3)
        # A third party's repository may have the same suite and component, but never Debian's key.
        if component != "main" or not uri.startswith("http"):
            continue
        if signed_by not in ("", "$(SIGNED_BY)") and "debian-archive" not in signed_by:
            continue
        if suite in names:
            main = main or uri
        elif suite.removesuffix("-security") in names:
            security = security or uri
    return main, security


def _os_release() -> dict[str, str]:
    try:
        lines = Path("/etc/os-release").read_text().splitlines()
    except OSError:
        return {}
    return {name: value.strip('"') for name, _, value in (line.partition("=") for line in lines)}


def _output(command: list[str]) -> str:
    """What a query of apt prints; nothing where apt is not there or does not know."""
    try:
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout
    except OSError:
        return ""
