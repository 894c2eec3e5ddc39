"""How the parts of a lab are: nodes, services, members as each balancer sees them, clients of late."""

from __future__ import annotations

from collections import deque

from harness.report.lines import Line
from harness.timeline import Event

_LATE_NS = 5_000_000_000


class Board:
    """Takes events in as they come, and lays out a few lines."""

    def __init__(self) -> None:
        self._roles: dict[str, str] = {}
        self._nodes: dict[str, str] = {}
        self._services: dict[tuple[str, str], str] = {}
        self._health: dict[str, dict[str, bool]] = {}
        self._attempts: dict[str, deque[tuple[int, bool]]] = {}

    def take(self, event: Event) -> None:
        """Take an event into account."""
        if event.kind == "probe" and event.stream == "new":
            self._attempts.setdefault(event.client, deque()).append((event.t, event.result == "ok"))
        elif event.kind == "run":
            self._roles = {node["name"]: node["role"] for node in event.nodes}
        elif event.kind == "node":
            self._nodes[event.node] = {"crashed": "down", "frozen": "frozen"}.get(event.state, "up")
        elif event.kind == "service":
            self._services[event.node, event.service] = event.state
        elif event.kind == "health":
            self._health.setdefault(event.node, {})[f"{event.pool}/{event.server}"] = bool(event.up)

    def lines(self, now_ns: int) -> list[Line]:
        """Nodes by role and what is wrong with them, members' health, and the clients' last seconds."""
        return [*self._node_lines(), *self._health_lines(), *self._client_lines(now_ns)]

    def _node_lines(self) -> list[Line]:
        lines: list[Line] = []
        for role in dict.fromkeys(self._roles.values()):
            line: Line = [(f"{role + 's':<10}", "dim")]
            for node in (name for name, its in self._roles.items() if its == role):
                state = self._nodes.get(node, "up")
                ended = sorted(s for (n, s), was in self._services.items() if n == node and was == "exited")
                wrong = state if state != "up" else f"no {', '.join(ended)}" if ended else ""
                line.append(
                    (f"{node} ({wrong})  " if wrong else f"{node} up  ", "bold red" if wrong else "green")
                )
            lines.append(line)
        return lines

    def _health_lines(self) -> list[Line]:
        lines: list[Line] = []
        for node, servers in sorted(self._health.items()):
            down = sorted(server for server, up in servers.items() if not up)
            seen = f"{len(servers) - len(down)} of {len(servers)} members up"
            told = (f"{seen}; down: {', '.join(down)}", "bold red") if down else (seen, "green")
            lines.append([(f"{node + ' sees':<10}", "dim"), told])
        return lines

    def _client_lines(self, now_ns: int) -> list[Line]:
        line: Line = [(f"{'last 5 s':<10}", "dim")]
        for client, attempts in sorted(self._attempts.items()):
            while attempts and attempts[0][0] < now_ns - _LATE_NS:
                attempts.popleft()
            answered = sum(ok for _, ok in attempts)
            if attempts:
                share = 100 * answered / len(attempts)
                style = "green" if answered == len(attempts) else "bold red"
                line.append((f"{client} {share:.1f} % of {len(attempts)}  ", style))
            else:
                line.append((f"{client} nothing asked  ", "yellow"))
        return [line] if len(line) > 1 else []
