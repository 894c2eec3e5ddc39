"""How a fault makes a real server ill as keepalived's checkers see it.

A script asks for what its words say: the port is the last number among them, a page any word that
begins with a slash behind the command.  What a script does with the answer is its own affair.
"""

from __future__ import annotations

from collections.abc import Mapping

from harness.bounds.checkers import Noticing, failing_check_s
from harness.bounds.haproxy import Illness
from harness.configs.ipvs_model import Checker


def whole(checkers: tuple[Checker, ...], illness: Illness) -> tuple[Noticing, ...]:
    """The checkers that notice a member that is ill as a whole."""
    return tuple(Noticing(c, illness) for c in checkers if failing_check_s(c, illness) is not None)


def partly(
    checkers: tuple[Checker, ...], illness: Illness, listeners: list[str], paths: list[str]
) -> tuple[Noticing, ...]:
    """The checkers that notice an illness of some ports or pages only (none named: of all)."""
    found = []
    for checker in checkers:
        if failing_check_s(checker, illness) is None or (listeners and str(port(checker)) not in listeners):
            continue
        asked = pages(checker)
        ill = [page for page in asked if not paths or page in paths]
        if not ill and (paths or asked):
            continue
        found.append(Noticing(checker, illness, 1 if len(ill) == len(asked) else len(asked)))
    return tuple(found)


def not_ready(checkers: tuple[Checker, ...], health: set[str]) -> tuple[Noticing, ...]:
    """The checkers that ask for a page of readiness, which a member that shuts down fails first."""
    found = (c for c in checkers if set(pages(c)) & health)
    return tuple(Noticing(c, "wrong-answer", max(len(pages(c)), 1)) for c in found)


def slow(checkers: tuple[Checker, ...], given: Mapping[str, str]) -> tuple[Noticing, ...]:
    """The checkers that give a slow member up."""
    delay_us = float(given.get("delay_s", "0")) * 1e6
    patience = {c: c.script_timeout_us if c.kind == "misc" else c.connect_timeout_us for c in checkers}
    asking = [c for c in checkers if pages(c)]
    return tuple(Noticing(c, "hang") for c in asking if delay_us > patience[c])


def pages(checker: Checker) -> list[str]:
    """The paths that a checker asks for."""
    if checker.kind == "misc":
        return [word for word in checker.script.split()[1:] if word.startswith("/")]
    return [url.path for url in checker.urls]


def port(checker: Checker) -> int:
    """The port that a checker asks on."""
    if checker.kind == "misc":
        numbers = [int(word) for word in checker.script.split() if word.isdigit()]
        return numbers[-1] if numbers else checker.port
    return checker.port


def unnoticed(checkers: tuple[Checker, ...], illness: Illness) -> str:
    """Why none of these notices."""
    if not checkers:
        return "its real_server has no checker"
    kinds = ", ".join(dict.fromkeys(checker.keyword for checker in checkers))
    if all(checker.kind == "tcp" for checker in checkers):
        return f"{kinds} only connects, which a member with this illness ({illness}) lets it do"
    return f"what {kinds} asks for is well"
