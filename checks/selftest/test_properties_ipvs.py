"""The properties where IPVS directors forward packets: removal, flows, shares, drains, own clients."""

from __future__ import annotations

import pytest

from checks.selftest.directed import CHECK, DirectorLab, virtual_server
from harness.properties import judge_all
from harness.verdict import Status, Verdict, worst

PAGE = "SSL_GET {\nconnect_timeout 0.5\nurl {\npath /readyz\n}\n}"


def judge(lab: DirectorLab, name: str) -> dict[str, Verdict]:
    """The findings of a property by aspect."""
    return {v.aspect: v for v in judge_all(lab.timeline(), [name])}


def removed(
    after_s: float,
    fault: str = "kill",
    *,
    check: str = CHECK,
    detail: str = "",
    loses: bool = True,
    tabled_s: float | None = None,
    end_s: float = 9.0,
) -> DirectorLab:
    """m1 falls ill at 2 s and is asked no more `after_s` later; the table says so when it is told to."""
    lab = DirectorLab(virtual_server(check))
    lab.takes("lb1", 0.5, end_s)
    lab.tabled(0.6)
    lab.steady()
    lab.asks(1.0, 2.0)
    lab.fault(fault, "m1/master", 2.0)
    lab.detail(detail)
    lab.asks(2.0, min(2.0 + after_s, end_s), ill="m1" if loses else "")
    lab.asks(min(2.0 + after_s, end_s), end_s, "m2 m3")
    if tabled_s is not None:
        lab.tabled(2.0 + tabled_s, "del")
    lab.done(end_s)
    return lab


class TestPersistence:
    LINES = "persistence_timeout 60\ninhibit_on_failure"

    def stuck(self, *, until_s: float, expires: bool) -> dict[str, Verdict]:
        """m1 dies at 2 s and has weight 0 at 3 s; the client is sent to it until a moment."""
        options = {"expire_quiescent_template": expires}
        lab = DirectorLab(virtual_server(lines=self.LINES), options=options)
        lab.takes("lb1", 0.5, 9.0)
        lab.tabled(0.6)
        lab.steady()
        lab.asks(1.0, 2.0, "m1")
        lab.fault("kill", "m1/master", 2.0)
        lab.asks(2.0, until_s, "m1", ill="m1")
        lab.asks(until_s, 9.0, "m2")
        lab.tabled(3.0, "weight", weight=0)
        lab.done(9.0)
        return judge(lab, "member-removal")

    def test_a_client_stays_with_a_dead_member(self) -> None:
        found = self.stuck(until_s=9.0, expires=False)
        assert (found["removal"].status, found["table"].status) == (Status.LIMITATION, Status.PASS)
        assert "persistence_timeout 60" in found["removal"].sentence

    def test_unless_its_template_expires(self) -> None:
        assert self.stuck(until_s=3.0, expires=True)["removal"].status is Status.PASS
        assert self.stuck(until_s=9.0, expires=True)["removal"].status is Status.FAIL


class TestMemberRemoval:
    @pytest.mark.parametrize("after_s", [0.55, 1.45])
    def test_a_refused_connection_and_its_retry(self, after_s: float) -> None:
        found = judge(removed(after_s, tabled_s=after_s), "member-removal")
        assert worst(found.values()) is Status.PASS
        assert found["table"].measured == pytest.approx(after_s)
        assert found["table"].bound is not None
        assert (found["table"].bound.low, found["table"].bound.high) == pytest.approx((0.5, 1.55))

    @pytest.mark.parametrize(("started_s", "status"), [(1.2, Status.PASS), (-9.0, Status.FAIL)])
    def test_a_first_check_is_not_repeated(self, started_s: float, status: Status) -> None:
        """A director that began just before the fault has its first check, and needs but one, after it."""
        lab = removed(0.2, tabled_s=0.2)
        lab.add(started_s, "service", node="lb1", service="keepalived", state="started", pid=1)
        assert judge(lab, "member-removal")["table"].status is status

    @pytest.mark.parametrize(("after_s", "aspect"), [(0.2, "removal"), (2.0, "removal")])
    def test_too_early_and_too_late_are_caught(self, after_s: float, aspect: str) -> None:
        assert judge(removed(after_s), "member-removal")[aspect].status is Status.FAIL

    @pytest.mark.parametrize("tabled_s", [0.3, 1.9])
    def test_the_table_is_held_to_the_bound_as_well(self, tabled_s: float) -> None:
        found = judge(removed(1.0, tabled_s=tabled_s), "member-removal")
        assert (found["removal"].status, found["table"].status) == (Status.PASS, Status.FAIL)

    def test_a_member_that_stays_in_the_table_is_caught(self) -> None:
        assert judge(removed(1.0), "member-removal")["table"].status is Status.FAIL

    @pytest.mark.parametrize("fault", ["backend-hang", "backend-status"])
    def test_a_connection_alone_does_not_show_these(self, fault: str) -> None:
        found = judge(removed(9.0, fault), "member-removal")["removal"]
        assert found.status is Status.LIMITATION
        assert "only connects" in found.sentence

    def test_a_page_shows_what_a_connection_does_not(self) -> None:
        lab = removed(1.0, "backend-status", check=PAGE, detail="paths=/readyz", loses=False, tabled_s=1.0)
        assert worst(judge(lab, "member-removal").values()) is Status.PASS

    def test_a_page_that_is_spared_is_told(self) -> None:
        lab = removed(9.0, "backend-status", check=PAGE, detail="paths=/version")
        assert judge(lab, "member-removal")["removal"].status is Status.LIMITATION

    def test_a_checker_of_another_port_is_told(self) -> None:
        other = "HTTP_GET {\nconnect_port 1936\nurl {\npath /healthz/ready\n}\n}"
        lab = removed(9.0, "backend-refuse", check=other, detail="listeners=6443")
        assert judge(lab, "member-removal")["removal"].status is Status.LIMITATION

    def test_a_real_server_without_a_checker_stays(self) -> None:
        found = judge(removed(9.0, check=""), "member-removal")["removal"]
        assert (found.status, found.outright) == (Status.LIMITATION, True)
        assert "no checker" in found.sentence

    def test_scripts_notice_by_their_words(self) -> None:
        script = 'MISC_CHECK {\nmisc_path "/bin/check https /readyz 10.0.0.21 6443"\nmisc_timeout 1\n}'
        lab = removed(1.0, "backend-status", check=script, detail="paths=/readyz", loses=False, tabled_s=1.0)
        assert judge(lab, "member-removal")["table"].status is Status.PASS


OFTEN: dict[str, object] = {"sync_threshold": "3 10"}


def moved(
    *, sync: str = "", options: dict[str, object] | None = None, lost: bool, lines: str = ""
) -> Verdict:
    """lb1 dies at 2.03 s; the connection stalls until 2.6 s, or is reset and made anew."""
    sync_lines = f"global_defs {{\n{sync}\n}}\n" if sync else ""
    lab = DirectorLab(sync_lines + virtual_server(lines=lines), options=options)
    lab.events[0].data["patience_s"] = {"cl": 3.0}
    lab.takes("lb1", 0.5, 2.05)
    lab.steady()
    lab.exchanges(1.0, 2.0)
    lab.fault("host-crash", "lb1", 2.03)
    lab.announce("lb2", 2.365, 6.0)
    for due in (2.1, 2.2, 2.3):
        lab.exchange(due, "reset" if lost else "timeout")
    lab.exchange(2.6, again=lost)
    lab.exchanges(2.7, 5.0)
    lab.done(6.0)
    return judge(lab, "flow-survival")["continuity"]


class TestFlowSurvival:
    @pytest.mark.parametrize(
        ("lines", "status"), [("", Status.LIMITATION), ("inhibit_on_failure", Status.FAIL)]
    )
    def test_a_connection_ends_as_its_member_leaves_the_table(self, lines: str, status: Status) -> None:
        """It serves on, all but the page that is asked for; with weight 0 its connections go on."""
        lab = DirectorLab(virtual_server(PAGE, lines=lines))
        lab.takes("lb1", 0.5, 6.0)
        lab.steady()
        lab.exchanges(1.0, 2.0)
        lab.fault("backend-status", "m1/master", 2.03)
        lab.detail("paths=/readyz")
        lab.exchanges(2.1, 3.0)
        lab.exchange(3.1, "timeout")
        lab.exchange(3.7, member="m2", again=True)
        lab.done(6.0)
        assert judge(lab, "flow-survival")["continuity"].status is status

    def test_a_director_that_was_not_told_resets(self) -> None:
        found = moved(lost=True)
        assert found.status is Status.LIMITATION
        assert "knows nothing" in found.sentence

    def test_one_that_was_told_goes_on(self) -> None:
        assert moved(sync="lvs_sync_daemon eth0", options=OFTEN, lost=False).status is Status.PASS

    def test_one_that_was_told_and_resets_is_caught(self) -> None:
        assert moved(sync="lvs_sync_daemon eth0", options=OFTEN, lost=True).status is Status.FAIL

    def test_a_connection_too_young_to_be_told_of(self) -> None:
        found = moved(sync="lvs_sync_daemon eth0", options={"sync_threshold": "900 1000"}, lost=True)
        assert found.status is Status.LIMITATION
        assert "from its packet 900 on" in found.sentence

    def test_one_that_began_before_the_daemon_did_is_left_to_chance(self) -> None:
        """The daemon follows the instance, which became MASTER half a second before."""
        found = moved(sync="lvs_sync_daemon eth0 inst VI", lost=True)
        assert found.status is Status.NOT_APPLICABLE

    def test_sloppy_tcp_promises_nothing_in_turn(self) -> None:
        found = moved(options={"sloppy_tcp": True}, lost=True)
        assert found.status is Status.NOT_APPLICABLE


def served(
    lab: DirectorLab, *, by: str = "m1 m2 m3", client: str = "cl", until_s: float = 5.0
) -> DirectorLab:
    """A calm run."""
    lab.takes("lb1", 0.5, until_s + 1)
    lab.steady()
    lab.asks(1.0, until_s, by, client=client)
    lab.done(until_s + 1)
    return lab


class TestDistribution:
    def test_in_turn(self) -> None:
        assert judge(served(DirectorLab()), "distribution")["lb1"].status is Status.PASS

    def test_by_weight(self) -> None:
        blocks = virtual_server(scheduler="wrr", weights={"m1": 2})
        assert (
            judge(served(DirectorLab(blocks), by="m1 m2 m1 m3"), "distribution")["lb1"].status is Status.PASS
        )
        assert judge(served(DirectorLab(blocks)), "distribution")["lb1"].status is Status.FAIL

    @pytest.mark.parametrize(
        ("lines", "scheduler"), [("persistence_timeout 60", "rr"), ("", "sh"), ("", "mh")]
    )
    def test_a_client_stays_with_its_member(self, lines: str, scheduler: str) -> None:
        blocks = virtual_server(lines=lines, scheduler=scheduler)
        kept = judge(served(DirectorLab(blocks), by="m2"), "distribution")["lb1, affinity"]
        strays = judge(served(DirectorLab(blocks)), "distribution")["lb1, affinity"]
        assert (kept.status, strays.status) == (Status.PASS, Status.FAIL)


class TestDrain:
    @staticmethod
    def drained(scheduler: str, result: str) -> dict[str, Verdict]:
        lab = DirectorLab(virtual_server(scheduler=scheduler))
        lab.takes("lb1", 0.5, 5.0)
        lab.steady()
        lab.asks(1.0, 2.0)
        lab.fault("drain", "m1", 2.0)
        lab.asks(2.01, 4.0, "m2 m3")
        if result:
            lab.attempt(3.005, None, result=result)
        lab.done(5.0)
        return judge(lab, "maintenance")

    def test_in_turn_nothing_is_lost(self) -> None:
        assert worst(self.drained("rr", "").values()) is Status.PASS
        assert self.drained("rr", "refused")["drain"].status is Status.FAIL

    def test_a_hash_goes_on_choosing_it(self) -> None:
        found = self.drained("mh", "refused")["drain"]
        assert found.status is Status.LIMITATION
        assert "mh-fallback" in found.sentence


class TestSelfClient:
    def test_a_member_with_the_vip_asks_itself(self) -> None:
        found = judge(served(DirectorLab(), by="m1", client="m1"), "self-client")["member"]
        assert (found.status, found.outright) == (Status.LIMITATION, False)
        refuted = judge(served(DirectorLab(), client="m1"), "self-client")["member"]
        assert refuted.status is Status.FAIL

    def test_and_nobody_once_its_own_service_is_down(self) -> None:
        lab = DirectorLab()
        lab.takes("lb1", 0.5, 5.0)
        lab.steady()
        lab.asks(1.0, 2.0, "m1", client="m1")
        lab.fault("kill", "m1/master", 2.0, 4.0)
        lab.asks(2.1, 3.0, "m1", ill="m1", client="m1")
        lab.done(5.0)
        found = judge(lab, "self-client")["member alone"]
        assert (found.status, found.outright) == (Status.LIMITATION, True)

    def test_behind_nat_answers_pass_the_director_by(self) -> None:
        blocks = virtual_server(method="NAT")
        lab = DirectorLab(blocks)
        lab.takes("lb1", 0.5, 5.0)
        lab.steady()
        lab.asks(1.0, 3.0, "m1", ill="m1", client="m1")
        lab.done(5.0)
        found = judge(lab, "self-client")["member"]
        assert (found.status, found.outright) == (Status.LIMITATION, True)
        refuted = judge(served(DirectorLab(blocks), client="m1"), "self-client")["member"]
        assert refuted.status is Status.FAIL

    def test_masquerading_cures_it(self) -> None:
        lab = DirectorLab(virtual_server(method="NAT"), options={"masquerade": True})
        assert judge(served(lab, client="m1"), "self-client")["member"].status is Status.PASS
        lab = DirectorLab(virtual_server(method="NAT"), options={"masquerade": True})
        lab.attempt(2.005, None, client="m1")
        assert judge(served(lab, client="m1"), "self-client")["member"].status is Status.FAIL

    def test_it_is_no_client_like_others(self) -> None:
        lab = DirectorLab(virtual_server(method="NAT"))
        lab.asks(1.0, 3.0, "m1", ill="m1", client="m1")
        served(lab)
        assert worst(judge(lab, "client-outage").values()) is Status.PASS
