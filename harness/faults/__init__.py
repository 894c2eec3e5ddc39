"""Faults: what can go wrong, each a context manager that heals. One small file for each family.

A fault is written `NAME[:TARGET][,KEY=VALUE...]`, on the command line, in scenarios and in tests alike:

    host-crash                       delay:lb1:eth0,ms=50,direction=out
    kill:lb1/haproxy                 partition:lan,shape=oneway,source=lb1,sink=lb2
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from harness.errors import UsageError, one_of

if TYPE_CHECKING:
    from harness.faults.base import Fault
    from harness.testbed import Testbed
    from harness.topology import Topology

# Name on the command line: module (of this package) and class. Modules are loaded on use.
FAULTS: dict[str, tuple[str, str]] = {
    "host-crash": ("host", "HostCrash"),
    "host-reboot": ("host", "HostReboot"),
    "kernel-panic": ("host", "KernelPanic"),
    "freeze": ("host", "Freeze"),
    "kill": ("process", "Kill"),
    "stop": ("process", "Stop"),
    "hang": ("process", "Hang"),
    "trip": ("trip", "Trip"),
    "restart": ("reload", "Restart"),
    "reload": ("reload", "Reload"),
    "drain": ("drain", "Drain"),
    "link-down": ("link", "LinkDown"),
    "link-blocked": ("link", "LinkBlocked"),
    "link-oneway": ("link", "LinkOneWay"),
    "loss": ("impairment", "Loss"),
    "delay": ("impairment", "Delay"),
    "jitter": ("impairment", "Jitter"),
    "duplicate": ("impairment", "Duplicate"),
    "reorder": ("impairment", "Reorder"),
    "rate": ("impairment", "Rate"),
    "partition": ("partition", "Partition"),
    "vrrp-drop": ("filter", "VrrpDrop"),
    "port-security": ("filter", "PortSecurity"),
    "garp-drop": ("arp", "GarpDrop"),
    "arp-spoof": ("arp", "ArpSpoof"),
    "address-removed": ("address", "AddressRemoved"),
    "cpu-steal": ("cpu", "Steal"),
    "cpu-quota": ("cpu", "Quota"),
    "fds-exhausted": ("resources", "DescriptorsOut"),
    "disk-full": ("resources", "DiskFull"),
    "conntrack-full": ("resources", "ConntrackFull"),
    "file-missing": ("files", "FileMissing"),
    "file-mode": ("files", "FileMode"),
    "backend-refuse": ("backend", "Refuse"),
    "backend-blackhole": ("backend", "Blackhole"),
    "backend-hang": ("backend", "Hangs"),
    "backend-slow": ("backend", "Slow"),
    "backend-close": ("backend", "Closes"),
    "backend-reset": ("backend", "Resets"),
    "backend-status": ("backend", "Status"),
    "backend-badcert": ("backend", "BadCertificate"),
    "backend-plain": ("backend", "Plain"),
    "backend-limit": ("backend", "Limit"),
    "backend-flap": ("backend", "Flap"),
}


def find(name: str) -> type[Fault]:
    """A fault's class by its name; raises UsageError naming the known ones."""
    if name not in FAULTS:
        raise one_of("fault", name, list(FAULTS))
    module, cls = FAULTS[name]
    found: type[Fault] = getattr(import_module(f"harness.faults.{module}"), cls)
    return found


def split(text: str) -> tuple[str, str, dict[str, str]]:
    """`NAME[:TARGET][,KEY=VALUE...]` as name, target ('' without one) and parameters."""
    head, *pairs = text.split(",")
    name, _, target = head.partition(":")
    given: dict[str, str] = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals or not key:
            raise UsageError(f"{text!r}: a fault's parameters are given as KEY=VALUE, not {pair!r}")
        if key in given:
            raise UsageError(f"{text!r}: {key} is given twice")
        given[key] = value
    return name, target, given


def check(text: str, topology: Topology | None = None) -> None:
    """Raise UsageError for what is wrong with a fault as written, as far as no testbed is needed to tell."""
    name, target, given = split(text)
    fault = find(name)
    fault.values_of(given)
    if topology is not None:
        fault.check_target(topology, target)
        fault.check_options(topology, given)


def parse(text: str, testbed: Testbed) -> Fault:
    """A fault as written, `NAME[:TARGET][,KEY=VALUE...]`, aimed but not injected yet."""
    name, target, given = split(text)
    return find(name)(testbed, target, **given)
