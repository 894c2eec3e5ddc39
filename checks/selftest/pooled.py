"""Timelines made by hand in which a balancer has three members: whom it asks, and whom it leaves out."""

from __future__ import annotations

from collections.abc import Mapping

from checks.selftest.synthetic import VIP, Lab, ns

MEMBERS = {"m1": "10.0.0.21", "m2": "10.0.0.22", "m3": "10.0.0.23"}
CHECK = "check check-ssl verify none inter 1s fall 2 rise 2"
HTTP = "option httpchk\n http-check send meth GET uri /readyz\n"
TARGET = f"{VIP}:6443"


def haproxy(check: str = CHECK, http: str = HTTP, weights: Mapping[str, int] | None = None) -> str:
    """A haproxy.cfg for these members."""
    servers = "".join(
        f" server {name} {address}:6443 weight {(weights or {}).get(name, 1)} {check}\n"
        for name, address in MEMBERS.items()
    )
    return (
        f"defaults\n mode tcp\n timeout connect 1s\nfrontend api\n bind *:6443\n default_backend be\n"
        f"backend be\n balance roundrobin\n {http}{servers}"
    )


def nginx(words: str = "max_fails=1 fail_timeout=2s", method: str = "") -> str:
    """An nginx.conf for these members."""
    servers = "".join(f"server {address}:6443 {words}; # {name}\n" for name, address in MEMBERS.items())
    return (
        f"stream {{\nproxy_connect_timeout 500ms;\nupstream be {{\n{method}\n{servers}}}\n"
        "server {\nlisten 6443;\nproxy_pass be;\n}\n}\n"
    )


class PoolLab(Lab):
    """A lab whose owner lb1 passes a hundred attempts a second to its members in turn."""

    def __init__(
        self,
        proxy: str = "haproxy",
        text: str = "",
        *,
        blocks: str = "",
        instance: Mapping[str, str] | None = None,
        priorities: Mapping[str, int] | None = None,
    ) -> None:
        super().__init__(priorities, blocks=blocks, instance=instance)
        self.nodes = self.events[0].data["nodes"]
        self.nodes[:] = [node for node in self.nodes if node["role"] != "member"]
        for name, address in MEMBERS.items():
            interface = {"name": "eth0", "segment": "front", "mac": "", "addresses": [f"{address}/24"]}
            self.nodes.append({"name": name, "role": "member", "interfaces": [interface]})
        path = {"haproxy": "/etc/haproxy/haproxy.cfg", "nginx": "/etc/nginx/nginx.conf"}[proxy]
        for node in self.priorities:
            self.add(0, "config", node=node, service=proxy, path=path, text=text or haproxy())
        self._turn = 0

    def steady(self, at_s: float = 1.0) -> None:
        """The baseline begins."""
        self.add(at_s, "phase", name="steady")

    def healed(self, at_s: float) -> None:
        """The consequences of healing are over."""
        self.add(at_s, "phase", name="healed")

    def attempt(self, at_s: float, member: str | None, client: str = "cl", result: str = "timeout") -> None:
        """One attempt, answered by a member or lost."""
        ok = member is not None
        self.add(
            at_s,
            "probe",
            client=client,
            stream="new",
            seq=len(self.events),
            target=TARGET,
            end=ns(at_s + (0.002 if ok else 0.5)),
            result="ok" if ok else result,
            member=member,
        )

    def asks(
        self, from_s: float, to_s: float, members: str = "m1 m2 m3", ill: str = "", client: str = "cl"
    ) -> None:
        """Attempts passed to these members in turn; those that the `ill` ones get are lost."""
        names = members.split()
        for step in range(round(from_s * 100), round(to_s * 100)):
            name = names[self._turn % len(names)]
            self._turn += 1
            self.attempt(step / 100, None if name in ill.split() else name, client)

    def exchange(self, at_s: float, result: str = "ok", member: str = "m1", *, again: bool = False) -> None:
        """One exchange on the client's long-lived connection."""
        fields = {"reconnected": True} if again else {}
        self.add(
            at_s,
            "probe",
            client="cl",
            stream="long",
            seq=len(self.events),
            target=TARGET,
            end=ns(at_s + (0.002 if result == "ok" else 0.3)),
            result=result,
            member=member if result == "ok" else None,
            **fields,
        )

    def exchanges(self, from_s: float, to_s: float, member: str = "m1") -> None:
        """Exchanges ten times a second, all good."""
        for step in range(round(from_s * 10), round(to_s * 10)):
            self.exchange(step / 10, member=member)

    def detail(self, text: str) -> None:
        """The parameters of the faults so far."""
        for event in self.events:
            if event.kind == "fault":
                event.data["detail"] = text

    def done(self, at_s: float) -> None:
        """The end of the drill."""
        self.add(at_s, "phase", name="done")
