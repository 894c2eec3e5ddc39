"""vipdrill.yaml beside the nodes' folders: what their files cannot tell. All of it may be left out.

interfaces:                       # addresses, where no unicast_src_ip tells them
  lb1: {ens192: 10.0.0.11/24}
ports:                            # what clients ask on a balanced port
  6443: {tls: true, path: /version, server_name: api.cluster.example}
  80: {tls: false}
sysctls:                          # of every balancer
  net.ipv4.ip_nonlocal_bind: 1
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import ip_interface
from typing import Any

from harness.errors import UsageError, one_of
from harness.lb.folder import SETTINGS


@dataclass(frozen=True)
class Port:
    """What clients ask on a port; None where it is to be derived."""

    tls: bool | None = None
    path: str = "/"
    server_name: str = ""


@dataclass(frozen=True)
class Settings:
    """The file's content; `interfaces` by node and interface, in CIDR form."""

    interfaces: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    ports: Mapping[int, Port] = field(default_factory=dict)
    sysctls: Mapping[str, str] = field(default_factory=dict)


_KEYS = ["interfaces", "ports", "sysctls"]


def read_settings(text: str | None, nodes: list[str]) -> Settings:
    """Read the file's text; raises UsageError that names what is wrong, with the line where YAML knows it."""
    if text is None:
        return Settings()
    import yaml

    try:
        data = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise UsageError(f"{SETTINGS} is no YAML: {error}") from None
    given = _mapping(data or {}, "the file")
    for key in given:
        if key not in _KEYS:
            raise one_of(f"key of {SETTINGS}", str(key), _KEYS)
    interfaces: dict[str, dict[str, str]] = {}
    for node, found in _mapping(given.get("interfaces", {}), "interfaces").items():
        if node not in nodes:
            raise one_of(f"node in {SETTINGS}", str(node), nodes)
        interfaces[str(node)] = {
            str(name): _address(value, f"{node}:{name}")
            for name, value in _mapping(found, f"interfaces of {node}").items()
        }
    ports = {
        _number(number): _port(_mapping(found, f"port {number}"), number)
        for number, found in _mapping(given.get("ports", {}), "ports").items()
    }
    sysctls = _mapping(given.get("sysctls", {}), "sysctls").items()
    return Settings(interfaces, ports, {str(key): str(value) for key, value in sysctls})


def _mapping(data: Any, what: str) -> Mapping[Any, Any]:
    if not isinstance(data, dict):
        raise UsageError(f"{SETTINGS}: {what} must be a mapping (NAME: VALUE), not {data!r}")
    return data


def _address(value: Any, what: str) -> str:
    try:
        if "/" not in str(value):
            raise ValueError
        return str(ip_interface(str(value)))
    except ValueError:
        raise UsageError(
            f"{SETTINGS}: {what} takes an address with its prefix, as 10.0.0.11/24, not {value!r}"
        ) from None


def _number(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 < value < 65536:
        raise UsageError(f"{SETTINGS}: ports are numbers from 1 to 65535, not {value!r}")
    return value


def _port(found: Mapping[Any, Any], number: Any) -> Port:
    for key, value in found.items():
        if key not in ("tls", "path", "server_name"):
            raise one_of(f"key of port {number} in {SETTINGS}", str(key), ["tls", "path", "server_name"])
        if not isinstance(value, bool if key == "tls" else str):
            raise UsageError(f"{SETTINGS}: {key} of port {number} cannot be {value!r}")
    if not str(found.get("path", "/")).startswith("/"):
        raise UsageError(f"{SETTINGS}: path of port {number} begins with /, unlike {found['path']!r}")
    return Port(**found)
