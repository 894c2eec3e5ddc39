"""Faults: what can go wrong, each a context manager that heals. One small file for each family."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from harness.errors import one_of

if TYPE_CHECKING:
    from harness.faults.base import Fault
    from harness.testbed import Testbed

# Name on the command line: module and class. Modules are loaded on use.
FAULTS: dict[str, tuple[str, str]] = {
    "host-crash": ("harness.faults.host", "HostCrash"),
    "freeze": ("harness.faults.host", "Freeze"),
    "kill": ("harness.faults.process", "Kill"),
    "stop": ("harness.faults.process", "Stop"),
    "link-down": ("harness.faults.link", "LinkDown"),
}


def find(name: str) -> type[Fault]:
    """A fault's class by its name; raises UsageError naming the known ones."""
    if name not in FAULTS:
        raise one_of("fault", name, list(FAULTS))
    module, cls = FAULTS[name]
    found: type[Fault] = getattr(import_module(module), cls)
    return found


def parse(text: str, testbed: Testbed) -> Fault:
    """A fault as given on the command line, `FAULT` or `FAULT:TARGET`, aimed but not injected yet."""
    name, _, target = text.partition(":")
    return find(name)(testbed, target)
