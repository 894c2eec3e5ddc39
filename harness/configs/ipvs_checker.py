"""The checkers of one real server: from their blocks to the values that keepalived acts on.

Defaults were checked against keepalived 2.3.3: check_api.c and check_http.c (1 retry, none for
MISC_CHECK, 3 for DNS_CHECK; 1 s before it, 3 s for HTTP_GET and SSL_GET), check_data.c (what is taken
over from the real server, and that from the virtual server), check_misc.c (a script may run for the
virtual server's delay_loop).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from harness.configs.ipvs_model import WELL, CheckedUrl, Checker, CheckerKind
from harness.configs.keepalived_tree import Statement
from harness.configs.keepalived_values import (
    Reader,
    Values,
    flag,
    number,
    read_block,
    switch,
    text,
    timer,
)

LONGEST_US = 4_294_000_000
MOST = 2**31 - 1
_SECOND_US = 1_000_000
_KINDS: dict[str, CheckerKind] = {
    "TCP_CHECK": "tcp",
    "HTTP_GET": "http",
    "SSL_GET": "ssl",
    "MISC_CHECK": "misc",
    "SMTP_CHECK": "other",
    "DNS_CHECK": "other",
    "BFD_CHECK": "other",
    "UDP_CHECK": "other",
    "PING_CHECK": "other",
    "FILE_CHECK": "other",
}
_RETRIES = {"MISC_CHECK": 0, "DNS_CHECK": 3}
_RETRY_DELAYS_US = {"HTTP_GET": 3 * _SECOND_US, "SSL_GET": 3 * _SECOND_US}
_RANGE = re.compile(r"(\d+)(?:-(\d+))?")

TIMING: dict[str, Reader] = {
    "delay_loop": timer("delay_loop_us", 1, LONGEST_US),
    "retry": number("retry", 0, MOST),
    "delay_before_retry": timer("delay_before_retry_us", 0, LONGEST_US),
    "connect_timeout": timer("connect_timeout_us", 1, LONGEST_US),
    "warmup": timer("warmup_us", 0, LONGEST_US),
}
"""The keywords that virtual servers, real servers and checkers have in common."""

_READERS: dict[str, Reader] = {
    **TIMING,
    "alpha": switch("alpha"),
    "connect_ip": text("address"),
    "connect_port": number("port", 1, 65535),
}
_HTTP_READERS: dict[str, Reader] = {
    **_READERS,
    "nb_get_retry": number("retry", 0, MOST),
    "fast_recovery": switch("fast_recovery"),
}
_URL_READERS: dict[str, Reader] = {
    "path": text("path"),
    "digest": text("digest"),
    "virtualhost": text("virtualhost"),
}
_MISC_READERS: dict[str, Reader] = {
    **{name: reader for name, reader in _READERS.items() if not name.startswith("connect_")},
    "misc_timeout": number("script_timeout_s", 0, MOST // _SECOND_US),
    "misc_dynamic": flag("dynamic"),
}


@dataclass(frozen=True)
class Surroundings:
    """What a checker takes over: the fields given at its real server and at its virtual server."""

    address: str
    port: int
    real: Mapping[str, Any]
    virtual: Mapping[str, Any]

    def value(self, name: str, default: Any) -> Any:
        """The nearer of the two, or the default."""
        return self.real.get(name, self.virtual.get(name, default))


def read_checkers(statement: Statement, around: Surroundings, values: Values) -> Iterator[Checker]:
    """The checkers in a `real_server` block."""
    for child in statement.block or ():
        if child.keyword in _KINDS:
            checker = _checker(child, around, values)
            if checker is not None:
                yield checker


def is_checker(statement: Statement) -> bool:
    """Whether a statement of a `real_server` block begins a checker."""
    return statement.keyword in _KINDS


def _checker(statement: Statement, around: Surroundings, values: Values) -> Checker | None:
    keyword = statement.keyword
    kind = _KINDS[keyword]
    readers = {"http": _HTTP_READERS, "ssl": _HTTP_READERS, "misc": _MISC_READERS}.get(kind, _READERS)
    given, _ = read_block(statement.block or (), readers, values)
    delay_loop_us = given.get("delay_loop_us", around.value("delay_loop_us", 60 * _SECOND_US))
    inherited = {
        "delay_loop_us": delay_loop_us,
        "retry": around.value("retry", _RETRIES.get(keyword, 1)),
        "delay_before_retry_us": around.value(
            "delay_before_retry_us",
            delay_loop_us if keyword == "DNS_CHECK" else _RETRY_DELAYS_US.get(keyword, _SECOND_US),
        ),
        "connect_timeout_us": around.value("connect_timeout_us", 5 * _SECOND_US),
        "warmup_us": around.value("warmup_us", delay_loop_us),
        "alpha": around.value("alpha", False),
        "address": around.address,
        "port": around.port,
    }
    own: dict[str, Any] = {}
    if kind in ("http", "ssl"):
        own["urls"] = tuple(_urls(statement, values))
        if not own["urls"]:
            values.remark(statement.where, f"{keyword} has no url: it is left out")
            return None
    elif kind == "misc":
        timeout_s = given.pop("script_timeout_s", 0)
        default_us = around.virtual.get("delay_loop_us", 60 * _SECOND_US)
        own["script_timeout_us"] = timeout_s * _SECOND_US or default_us
        own["script"] = _script(statement)
        if not own["script"]:
            values.remark(statement.where, "MISC_CHECK has no misc_path: it is left out")
            return None
    return Checker(kind=kind, keyword=keyword, where=statement.where, **{**inherited, **given, **own})


def _script(statement: Statement) -> str:
    paths = statement.children("misc_path")
    return paths[-1].text.partition("misc_path")[2].strip().strip('"') if paths else ""


def _urls(statement: Statement, values: Values) -> Iterator[CheckedUrl]:
    for child in statement.children("url"):
        given, _ = read_block(child.block or (), _URL_READERS, values)
        if not given.get("path"):
            values.remark(child.where, f"a url of {statement.keyword} has no path: it is left out")
            continue
        yield CheckedUrl(**given, statuses=tuple(_statuses(child, values)) or WELL)


def _statuses(statement: Statement, values: Values) -> Iterator[tuple[int, int]]:
    for child in statement.children("status_code"):
        for word in child.arguments:
            match = _RANGE.fullmatch(word)
            low = int(match.group(1)) if match else 0
            high = int(match.group(2) or low) if match else 0
            if not 100 <= low <= high <= 599:
                values.remark(child.where, f"{word!r} is no status from 100 to 599 nor a range, ignored")
                continue
            yield low, high
