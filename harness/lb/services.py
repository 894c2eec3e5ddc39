"""The user's own services: their files at their real places, and what their units would have made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from harness.errors import ConfigRejected
from harness.services.haproxy import Haproxy
from harness.services.keepalived import CONFIG, Keepalived
from harness.services.nginx import Nginx

if TYPE_CHECKING:
    from harness.nodes.base import Node
    from harness.nodes.process import Process
    from harness.services.base import Context


# What `keepalived -t` (2.3) exits with where scripts are insecure, so that it may leave them out:
# KEEPALIVED_EXIT_CONFIG_TEST_SECURITY. It logs that, and starts all the same.
_ONLY_INSECURE = 6


class UserKeepalived(Keepalived):
    """keepalived with the user's file, which runs here if it runs at all."""

    def validate(self, node: Node) -> None:
        """`keepalived -t`: raises ConfigRejected with its message, unless that is about security only."""
        done = node.status(["keepalived", "--config-test", "--log-console", "-f", CONFIG])
        if done.status not in (0, _ONLY_INSECURE):
            raise ConfigRejected(node.name, self.name, CONFIG, done.stderr or done.stdout)


@dataclass(frozen=True)
class UserHaproxy(Haproxy):
    """HAProxy with the user's file, and other files that it may need."""

    extra: Mapping[str, str] = field(default_factory=dict)

    def files(self) -> dict[str, str]:
        """Its configuration first, then the others."""
        return {**super().files(), **self.extra}

    def start(self, node: Node, context: Context) -> Process:
        """As its unit: with /run/haproxy (Debian's tmpfiles, Red Hat's RuntimeDirectory), for its sockets."""
        node.run(["mkdir", "-p", "/run/haproxy"])
        return super().start(node, context)


@dataclass(frozen=True)
class UserNginx(Nginx):
    """Nginx with the user's file, and what that includes."""

    extra: Mapping[str, str] = field(default_factory=dict)

    def files(self) -> dict[str, str]:
        """Its configuration first, then the others."""
        return {**super().files(), **self.extra}
