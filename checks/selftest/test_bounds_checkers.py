"""keepalived's checker arithmetic, against values that were worked out by hand from its source."""

from __future__ import annotations

import pytest

from harness.bounds.checkers import (
    Noticing,
    failing_check_s,
    has_quorum,
    removal,
    removal_by,
    return_after,
    return_to_service,
)
from harness.configs.ipvs_model import CheckedUrl, Checker, CheckerKind, VirtualServer
from harness.configs.source import Where

HERE = Where("keepalived.conf", 1)
_S = 1_000_000


def checker(
    kind: CheckerKind = "tcp",
    loop: float = 6,
    retry: int = 1,
    again: float = 1,
    connect: float = 5,
    pages: int = 1,
    *,
    fast: bool = False,
    script: float = 6,
) -> Checker:
    return Checker(
        kind=kind,
        keyword=kind.upper(),
        where=HERE,
        delay_loop_us=round(loop * _S),
        retry=retry,
        delay_before_retry_us=round(again * _S),
        connect_timeout_us=round(connect * _S),
        urls=tuple(CheckedUrl(f"/{n}") for n in range(pages)),
        fast_recovery=fast,
        script_timeout_us=round(script * _S),
    )


class TestRemoval:
    def test_a_refusing_server(self) -> None:
        bound = removal(Noticing(checker(), "refused"))
        assert bound is not None
        assert (bound.low, bound.high) == (1, 7)

    def test_a_silent_server_costs_a_connect_timeout_each_time(self) -> None:
        bound = removal(Noticing(checker(retry=2, connect=2), "black-hole"))
        assert bound is not None
        assert (bound.low, bound.high) == (3 * 2 + 2, 6 + 3 * 2 + 2)

    def test_a_neighbour_that_is_gone_is_unreachable_sooner(self) -> None:
        bound = removal(Noticing(checker(retry=0), "black-hole"))
        assert bound is not None
        assert (bound.low, bound.high) == (3, 6 + 5)

    def test_without_a_retry(self) -> None:
        bound = removal(Noticing(checker(retry=0), "refused"))
        assert bound is not None
        assert (bound.low, bound.high) == (0, 6)

    def test_one_ill_page_of_several_has_its_turn_only(self) -> None:
        bound = removal(Noticing(checker("http", pages=3), "wrong-answer", pages=3))
        assert bound is not None
        assert (bound.low, bound.high) == (1, 3 * 6 + 1 + 2 * 5)

    def test_a_script_counts_from_its_start(self) -> None:
        bound = removal(Noticing(checker("misc", retry=1, script=2), "hang"))
        assert bound is not None
        assert (bound.low, bound.high) == (0, 6 + 2 + 2)

    @pytest.mark.parametrize("illness", ["hang", "wrong-answer"])
    def test_a_connection_shows_nothing_of_these(self, illness: str) -> None:
        assert removal(Noticing(checker(), illness)) is None  # type: ignore[arg-type]
        assert failing_check_s(checker(), illness) is None  # type: ignore[arg-type]

    def test_of_several_checkers_the_first_decides(self) -> None:
        both = [Noticing(checker(loop=2), "refused"), Noticing(checker(loop=6, retry=0), "refused")]
        bound = removal_by(both)
        assert bound is not None
        assert (bound.low, bound.high) == (0, 3)
        assert removal_by([]) is None


class TestReturn:
    def test_a_connection_is_enough(self) -> None:
        bound = return_to_service(Noticing(checker(), "black-hole"))
        assert bound is not None
        assert (bound.low, bound.high) == (0, 5 + 6 + 5)

    @pytest.mark.parametrize(("fast", "low", "high"), [(False, 12, 18 + 15), (True, 0, 6 + 15)])
    def test_pages_are_all_asked_anew(self, fast: bool, low: float, high: float) -> None:
        bound = return_to_service(Noticing(checker("ssl", pages=2, fast=fast), "refused"))
        assert bound is not None
        assert (bound.low, bound.high) == (low, high)

    def test_the_longer_delay_counts_while_down(self) -> None:
        bound = return_to_service(Noticing(checker("http", loop=1, again=3, connect=0.5), "refused"))
        assert bound is not None
        assert (bound.low, bound.high) == (1, 3 + 1 + 2 * 0.5)

    def test_of_several_checkers_the_last_decides(self) -> None:
        bound = return_after([Noticing(checker(loop=2), "refused"), Noticing(checker(loop=6), "refused")])
        assert bound is not None
        assert bound.high == 6 + 5


@pytest.mark.parametrize(
    ("had", "weight", "has"),
    # The example of keepalived's doc/samples/keepalived.conf.quorum: quorum 7 hysteresis 2.
    [(False, 8, False), (False, 9, True), (True, 6, True), (True, 5, True), (True, 4, False)],
)
def test_quorum_has_a_hysteresis(had: bool, weight: int, has: bool) -> None:
    assert has_quorum(VirtualServer(HERE, quorum=7, hysteresis=2), weight, had=had) is has


def test_no_weight_at_all_is_no_quorum() -> None:
    assert not has_quorum(VirtualServer(HERE, quorum=1, hysteresis=1), 0, had=True)
