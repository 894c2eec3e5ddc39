"""Scenario files: what happens to an architecture, when, for how long, and what is to be found then.

    architecture: vip-l7
    options: {advert-int: 1, track: none}     # as --advert-int 1 --track none
    time: virtual                             # or real
    seed: 7
    rate: 0.1                                 # new connections per second and client
    faults:
      - {fault: host-crash, at: 2h, for: 1h}
      - {fault: "loss:lb2:eth0,percent=5", at: 150m, for: 10m}
    watch: 4h                                 # all of it, from the steady state on
    expect:
      vip-migration: pass
      flow-survival: limitation

Read with the lines where things stand, so that a mistake is told with its place.  Every value is taken as
the text that it is: YAML would make a number, a truth or a date of some.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness import faults, world
from harness.errors import UsageError, one_of
from harness.plan import Plan, Step, checked_rate, duration_s, which_world

if TYPE_CHECKING:
    from harness.topology import Topology

SUFFIXES = (".yaml", ".yml")
EXPECTED = ("pass", "limitation", "fail")
_KEYS = ("architecture", "options", "time", "seed", "rate", "faults", "watch", "expect")
_FAULT_KEYS = ("fault", "at", "for")
_PLAIN_TAGS = "tag:yaml.org,2002:"
_SEEDS = 1 << 63


@dataclass(frozen=True)
class Scenario:
    """A file's content, checked. `seed` is None where the file leaves it open; `rate` likewise."""

    path: Path
    architecture: str
    watch_s: float
    options: Mapping[str, str] = field(default_factory=dict)
    virtual: bool = False
    seed: int | None = None
    rate: float | None = None
    steps: tuple[Step, ...] = ()
    expect: Mapping[str, str] = field(default_factory=dict)

    def plan(self, seed: int, rate: float, kernel: str) -> Plan:
        """What is to be drilled, with what the file leaves open."""
        return Plan(
            self.architecture,
            options=dict(self.options),
            seed=seed,
            rate=rate,
            kernel=kernel,
            steps=self.steps,
            watch_s=self.watch_s,
        )


def is_file(word: str) -> bool:
    """Whether a word of the command line means a scenario file."""
    return word.endswith(SUFFIXES)


def read_scenario(path: Path) -> Scenario:
    """Read a file; raises UsageError that names file, line, and what to do, for the first mistake in it."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{path}: cannot be read ({error.strerror}); give a scenario file") from None
    except UnicodeDecodeError:
        raise UsageError(f"{path}: is no text in UTF-8; save it as such") from None
    return _Reader(path).scenario(_composed(path, text))


def _composed(path: Path, text: str) -> Any:
    """YAML's nodes: nothing is made of them, whatever their tags say."""
    import yaml

    try:
        return yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f"{path}:{mark.line + 1}" if mark else str(path)
        said = error.problem or error.context
        raise UsageError(f"{place}: is no YAML: {said}; correct it (docs/scenario.md)") from None
    except yaml.YAMLError as error:
        said = " ".join(str(error).split())
        raise UsageError(f"{path}: is no YAML: {said}; correct it (docs/scenario.md)") from None
    except RecursionError:
        raise UsageError(f"{path}: is nested too deeply; a scenario has three levels") from None


class _Reader:
    """Reads the nodes of one file."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def scenario(self, root: Any) -> Scenario:
        """All of it."""
        if root is None:
            raise UsageError(f"{self._path}: is empty; a scenario has at least `architecture` and `watch`")
        given = self._mapping(root, "a scenario", _KEYS)
        for key, why in (("architecture", "one of `vipdrill list`"), ("watch", "for how long in all, as 4h")):
            if key not in given:
                raise self._wrong(root, f"there is no `{key}`; add it: {why}")
        architecture = self._text(given["architecture"], "architecture")
        options = self._options(given.get("options"))
        topology = self._topology(given, architecture, options)
        watch_s = self._length(given["watch"], "watch")
        if not watch_s:
            raise self._wrong(given["watch"], "`watch` is no time at all; watch for a second or more")
        return Scenario(
            path=self._path,
            architecture=architecture,
            watch_s=watch_s,
            options=options,
            virtual=self._virtual(given.get("time")),
            seed=self._seed(given.get("seed")),
            rate=self._rate(given.get("rate")),
            steps=tuple(self._steps(given.get("faults"), topology, watch_s)),
            expect=self._expect(given.get("expect")),
        )

    # -- its parts -----------------------------------------------------------------------------

    def _options(self, node: Any) -> dict[str, str]:
        found = {} if node is None else self._mapping(node, "`options`")
        return {key.replace("-", "_"): self._text(value, f"`{key}`") for key, value in found.items()}

    def _topology(self, given: Mapping[str, Any], architecture: str, options: dict[str, str]) -> Topology:
        import topologies

        with_all = {"architecture": given["architecture"]}
        with_all |= {} if "options" not in given else self._mapping(given["options"], "`options`")
        try:
            return topologies.make(architecture, options)
        except UsageError as error:
            # Whichever of them the sentence is about, as it says which.
            named = [node for key, node in with_all.items() if key.replace("_", "-") in _dashed(error)]
            raise self._wrong((named or list(with_all.values()))[-1], str(error)) from None

    def _virtual(self, node: Any) -> bool:
        given = world.REAL if node is None else self._text(node, "`time`")
        virtual: bool = self._checked(node, which_world, "`time`", given)
        return virtual

    def _seed(self, node: Any) -> int | None:
        if node is None:
            return None
        given = self._text(node, "`seed`")
        if not (given.isascii() and given.isdigit() and int(given) < _SEEDS):
            raise self._wrong(node, f"`seed` is a whole number from 0, not {given!r}")
        return int(given)

    def _rate(self, node: Any) -> float | None:
        if node is None:
            return None
        given = self._text(node, "`rate`")
        try:
            rate = float(given)
        except ValueError:
            raise self._wrong(node, f"`rate` is a number of connections a second, not {given!r}") from None
        self._checked(node, checked_rate, rate)
        return rate

    def _steps(self, node: Any, topology: Topology, watch_s: float) -> Iterator[Step]:
        seen: list[tuple[Step, int]] = []
        for item in [] if node is None else self._list(node, "`faults`"):
            step = self._step(item, topology, watch_s)
            for other, line in seen:
                if other.fault == step.fault and _together(other, step):
                    raise self._wrong(
                        item,
                        f"{step.fault} acts already, by line {line}; let one end before the other begins",
                    )
            seen.append((step, _line(item)))
            yield step

    def _step(self, item: Any, topology: Topology, watch_s: float) -> Step:
        given = self._mapping(item, "a fault", _FAULT_KEYS)
        for key, why in (
            ("fault", "as `vipdrill list` shows them"),
            ("at", "so long after the steady state"),
        ):
            if key not in given:
                raise self._wrong(item, f"a fault without `{key}`; add it: {why}")
        written = self._text(given["fault"], "`fault`")
        self._checked(given["fault"], faults.check, written, topology)
        at_s = self._length(given["at"], "at")
        for_s = self._length(given["for"], "for") if "for" in given else None
        ends_s = at_s + (for_s or 0.0)
        if ends_s > watch_s:
            what = "begins" if at_s > watch_s else "is healed"
            raise self._wrong(
                item, f"{written} {what} {ends_s:g} s in, after `watch` ends ({watch_s:g} s); watch longer"
            )
        return Step(written, at_s, for_s)

    def _expect(self, node: Any) -> dict[str, str]:
        from harness.properties import PROPERTIES

        found = {} if node is None else self._mapping(node, "`expect`", tuple(PROPERTIES))
        expected = {}
        for name, value in found.items():
            expected[name] = self._text(value, f"`{name}`")
            if expected[name] not in EXPECTED:
                raise self._wrong(value, str(one_of(f"verdict for {name}", expected[name], list(EXPECTED))))
        return expected

    # -- nodes ---------------------------------------------------------------------------------

    def _wrong(self, node: Any, sentence: str) -> UsageError:
        return UsageError(f"{self._path}:{_line(node)}: {sentence}")

    def _checked(self, node: Any, check: Any, *given: Any) -> Any:
        """What a check gives that raises UsageError, which gets its place."""
        try:
            return check(*given)
        except UsageError as error:
            raise self._wrong(node, str(error)) from None

    def _length(self, node: Any, key: str) -> float:
        seconds: float = self._checked(node, duration_s, f"`{key}`", self._text(node, f"`{key}`"))
        return seconds

    def _text(self, node: Any, what: str) -> str:
        import yaml

        self._plain(node)
        if not isinstance(node, yaml.ScalarNode):
            raise self._wrong(node, f"{what} takes one value, not a {_kind(node)}")
        if not node.value or (node.value in ("~", "null") and node.style is None):
            raise self._wrong(node, f"{what} has no value; give it one, or leave it out")
        return str(node.value)

    def _list(self, node: Any, what: str) -> list[Any]:
        import yaml

        self._plain(node)
        if not isinstance(node, yaml.SequenceNode):
            raise self._wrong(node, f"{what} takes a list (- …), not a {_kind(node)}")
        return list(node.value)

    def _mapping(self, node: Any, what: str, known: tuple[str, ...] = ()) -> dict[str, Any]:
        """The values by their keys; only `known` ones, where any are given."""
        import yaml

        self._plain(node)
        if not isinstance(node, yaml.MappingNode):
            raise self._wrong(node, f"{what} takes keys with values (KEY: VALUE), not a {_kind(node)}")
        found: dict[str, Any] = {}
        for key, value in node.value:
            name = self._text(key, f"a key of {what}")
            if known and name not in known:
                hint = "; a fault with commas stands in quotes" if "=" in name else ""
                raise self._wrong(key, f"{one_of(f'key of {what}', name, list(known))}{hint}")
            if name in found:
                raise self._wrong(key, f"`{name}` is given twice; leave one out")
            found[name] = value
        return found

    def _plain(self, node: Any) -> None:
        if not str(node.tag).startswith(_PLAIN_TAGS) or "python" in node.tag:
            raise self._wrong(node, f"the tag {node.tag} has no place in a scenario; leave it out")


def _line(node: Any) -> int:
    return int(node.start_mark.line) + 1


def _kind(node: Any) -> str:
    return {"scalar": "single value", "sequence": "list", "mapping": "mapping"}[node.id]


def _dashed(error: UsageError) -> str:
    return str(error).replace("_", "-")


def _together(one: Step, other: Step) -> bool:
    """Whether the two act at the same time."""
    ends = [float("inf") if s.for_s is None else s.at_s + s.for_s for s in (one, other)]
    return one.at_s < ends[1] and other.at_s < ends[0]
