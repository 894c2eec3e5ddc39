"""Illnesses of a fake server, had by command: what they do is told in `harness.services.fake_illness`."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

from harness.errors import UsageError
from harness.faults.base import Fault
from harness.faults.parameters import Parameter
from harness.faults.target import Target

if TYPE_CHECKING:
    from harness.nodes.process import Process

_PATIENCE_S = 5.0
_LISTENERS = Parameter("listeners", "", "names of its ports (6443+1936), joined by +; without: all")
_PATHS = Parameter("paths", "", "the request paths concerned (/readyz+/livez), joined by +; without: all")
_ESTABLISHED = Parameter("established", "no", "whether open connections are hit too", choices=("yes", "no"))


class BackendFault(Fault):
    """A fake server is ill in a way of its own; healed by command. Its process runs on."""

    illness: ClassVar[str]
    default_target = "member"
    default_service: ClassVar[dict[str, str]] = {"balancer": ""}
    ends_with_node = True

    def _options(self) -> dict[str, Any]:
        """What the server is told beside the illness's name."""
        options = {key: value for key, value in self.values.items() if value != ""}
        for name in ("listeners", "paths"):
            if name in options:
                options[name] = options[name].split("+")
        if "established" in options:
            options["established"] = options["established"] == "yes"
        return options

    def _prepare(self, targets: list[Target]) -> None:
        self._patients = {t: self.testbed.process(t.node, t.service) for t in targets}
        for target, process in self._patients.items():
            if process.commands < 0:
                raise UsageError(f"{target} is no fake server, so it cannot be told to be ill")

    def _act(self, target: Target) -> None:
        self._fall_ill(self._patients[target])

    def _fall_ill(self, process: Process) -> None:
        process.command(do="ill", illness=self.illness, id=self.id, **self._options())

    def _get_well(self, process: Process) -> None:
        process.command(do="well", id=self.id)

    def _verify(self, target: Target) -> None:
        self._await(target, "ill", self.injected_ns)

    def _heal(self, target: Target) -> None:
        # A server that was started again since is well already.
        if self._patients[target].status is None:
            self._get_well(self._patients[target])

    def _verify_healed(self, target: Target) -> None:
        if self._patients[target].status is None:
            self._await(target, "well", self.healed_ns)

    def _await(self, target: Target, state: str, since_ns: int) -> None:
        recorder, process = self.testbed.recorder, self._patients[target]

        def told() -> bool:
            notes = recorder.timeline.of("note", node=target.node, id=self.id, since=since_ns)
            for note in notes:
                if note.get("refused"):
                    raise self._fails(note.text)
            return any(note.get("state") == state for note in notes)

        recorder.wait(told, _PATIENCE_S, f"{target} {state}", partial(repr, process))


class Refuse(BackendFault):
    """A member refuses connections: nothing listens, its kernel answers with a reset."""

    name, illness = "backend-refuse", "refuse"
    parameters: ClassVar[tuple[Parameter, ...]] = (_LISTENERS, _ESTABLISHED)


class Blackhole(BackendFault):
    """A member's port swallows every packet: no connection, no reset, nothing acknowledged."""

    name, illness = "backend-blackhole", "blackhole"
    parameters: ClassVar[tuple[Parameter, ...]] = (
        _LISTENERS,
        Parameter("established", "yes", "whether open connections are hit too", choices=("yes", "no")),
    )


class Hangs(BackendFault):
    """A member accepts connections and never answers."""

    name, illness = "backend-hang", "hang"
    parameters: ClassVar[tuple[Parameter, ...]] = (
        _LISTENERS,
        _PATHS,
        Parameter(
            "stage",
            "request",
            "accept: says nothing, not even TLS; request: no answer",
            choices=("accept", "request"),
        ),
    )


class Slow(BackendFault):
    """A member answers late."""

    name, illness = "backend-slow", "slow"
    parameters: ClassVar[tuple[Parameter, ...]] = (
        _LISTENERS,
        _PATHS,
        Parameter("delay_s", 3.0, "how much later, in seconds", low=0, high=3600),
    )


class Closes(BackendFault):
    """A member ends connections in order (FIN) instead of answering."""

    name, illness = "backend-close", "close"
    parameters: ClassVar[tuple[Parameter, ...]] = (
        _LISTENERS,
        _PATHS,
        Parameter(
            "stage",
            "accept",
            "when: on accept, after the request, half-way through the answer",
            choices=("accept", "request", "answer"),
        ),
    )


class Resets(Closes):
    """A member resets connections (RST) instead of answering."""

    name, illness = "backend-reset", "reset"


class Status(BackendFault):
    """A member answers requests with an error status."""

    name, illness = "backend-status", "status"
    parameters: ClassVar[tuple[Parameter, ...]] = (
        _LISTENERS,
        _PATHS,
        Parameter("status", 500, "the HTTP status", low=100, high=599),
    )


class BadCertificate(BackendFault):
    """A member shows a bad certificate on new connections."""

    name, illness = "backend-badcert", "bad_cert"
    parameters: ClassVar[tuple[Parameter, ...]] = (
        _LISTENERS,
        Parameter("kind", "expired", "what is wrong with it", choices=("expired", "untrusted", "wrong-name")),
    )

    def _options(self) -> dict[str, Any]:
        options = super()._options()
        kind, folder = options.pop("kind"), self.testbed.pki()
        return {**options, "cert": str(folder / f"{kind}.pem"), "key": str(folder / f"{kind}.key")}


class Plain(BackendFault):
    """A member speaks plain HTTP where TLS is expected."""

    name, illness = "backend-plain", "plain"
    parameters: ClassVar[tuple[Parameter, ...]] = (_LISTENERS,)


class Limit(BackendFault):
    """A member serves only so many connections at a time; further ones wait, connected, for their turn."""

    name, illness = "backend-limit", "limit"
    parameters: ClassVar[tuple[Parameter, ...]] = (
        _LISTENERS,
        Parameter("connections", 1, "how many", low=1, high=1_000_000),
    )


class Flap(BackendFault):
    """A member refuses connections and serves again, by turns; healed well. Timed by the engine, +-5 ms."""

    name, illness = "backend-flap", "refuse"
    parameters: ClassVar[tuple[Parameter, ...]] = (
        _LISTENERS,
        Parameter("period_s", 4.0, "from falling ill to falling ill, in seconds", low=0.02, high=3600),
        Parameter("ill_percent", 50.0, "how much of the period it is ill", low=1, high=99),
        Parameter(
            "illness",
            "refuse",
            "what it has then",
            choices=("refuse", "blackhole", "hang", "reset", "status"),
        ),
    )

    def _options(self) -> dict[str, Any]:
        options = super()._options()
        return {"listeners": options["listeners"]} if "listeners" in options else {}

    def _fall_ill(self, process: Process) -> None:
        process.command(do="ill", illness=self.values["illness"], id=self.id, **self._options())

    def _verify(self, target: Target) -> None:
        super()._verify(target)
        self._turn(target, 1)

    def _turn(self, target: Target, number: int) -> None:
        """Have the `number`th change of state come when it is due, however late the last one was."""
        period_ns = self.values["period_s"] * 1e9
        due = number // 2 * period_ns + (number % 2) * period_ns * self.values["ill_percent"] / 100

        def change() -> None:
            process = self._patients[target]
            if self.healed_ns or process.status is not None or self._rebooted(target):
                return
            (self._get_well if number % 2 else self._fall_ill)(process)
            self._turn(target, number + 1)

        self.testbed.when_due(self.injected_ns + round(due), change)
