"""The families of errors.

A failed check is a *finding* about the load balancer.  A `TestbedError` means that the testbed
itself broke, so nothing was learned about the load balancer.  A `UsageError` is the user's
mistake, or a lack of the machine's, and says in one sentence what to do about it.
"""

from __future__ import annotations

INTERRUPTED = 130
"""What a command exits with that Ctrl-C ended (128 + SIGINT, as shells tell it)."""


class VipdrillError(Exception):
    """Any error that vipdrill raises on purpose; its text is meant for a person.

    `exit_code` is what the command line exits with when the error reaches it.
    """

    exit_code = 3


class UsageError(VipdrillError):
    """Something given by the user is wrong: an unknown name, an impossible combination."""

    exit_code = 2


class ConfigRejected(UsageError):
    """A service's own syntax check refused its configuration; carries the service's message."""

    def __init__(self, node: str, service: str, path: str, message: str) -> None:
        self.node, self.service, self.path, self.message = node, service, path, message
        super().__init__(f"{service} on {node} rejects {path}:\n{message.rstrip()}")


class MissingCapability(UsageError):
    """This machine cannot do what was asked; `cure` says what would make it able to."""

    def __init__(self, problem: str, cure: str) -> None:
        self.problem, self.cure = problem, cure
        super().__init__(f"{problem}; {cure}")


class CannotWrite(UsageError):
    """A file of the run could not be written; what was written before is still there."""

    def __init__(self, path: object, error: OSError) -> None:
        super().__init__(
            f"cannot write {path}: {error.strerror}; free some room there, or choose another folder "
            "(--artifacts, VIPDRILL_ARTIFACTS, VIPDRILL_CACHE)"
        )


class TestbedError(VipdrillError):
    """The testbed broke: no finding about the load balancer can be taken from this run."""

    __test__ = False


class CommandFailed(TestbedError):
    """A checked command in a node exited with an error."""

    def __init__(self, node: str, argv: list[str], status: int, output: str) -> None:
        self.node, self.argv, self.status, self.output = node, argv, status, output
        text = output.strip()
        super().__init__(f"{' '.join(argv)!r} on {node} exited with {status}" + (f": {text}" if text else ""))


class WaitExpired(TestbedError):
    """A wait reached its deadline; says what was awaited and what was seen last."""

    def __init__(self, awaited: str, timeout_s: float, last_seen: str) -> None:
        self.awaited, self.timeout_s, self.last_seen = awaited, timeout_s, last_seen
        super().__init__(f"{awaited}: not within {timeout_s:g} s; last seen: {last_seen}")


class FaultNotEffective(TestbedError):
    """A fault was injected but its effect could not be seen."""


class CheckFailed(AssertionError):
    """The load balancer failed a check: a finding, never a defect of the testbed.

    `verdict` is the finding as data (harness.verdict.Verdict), where there is one.
    """

    def __init__(self, text: str, verdict: object = None) -> None:
        self.verdict = verdict
        super().__init__(text)


def one_of(what: str, given: str, known: list[str]) -> UsageError:
    """The error for an unknown name, which names the one that was probably meant, and the known ones."""
    import difflib

    near = difflib.get_close_matches(given, known, n=1, cutoff=0.8)
    meant = f"; did you mean {near[0]!r}?" if near else ";"
    return UsageError(f"unknown {what} {given!r}{meant} known: {', '.join(sorted(known))}")
