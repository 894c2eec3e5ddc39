"""maintenance: what reloads, restarts and drains may cost."""

from __future__ import annotations

from checks.selftest.pooled import PoolLab, haproxy
from checks.selftest.synthetic import VIP
from harness.properties import judge_all
from harness.verdict import Status, Verdict


def judge(lab: PoolLab) -> dict[str, Verdict]:
    """The findings by aspect."""
    return {v.aspect: v for v in judge_all(lab.timeline(), ["maintenance"])}


def maintained(fault: str, target: str, text: str = "") -> PoolLab:
    """lb1 owns the VIP throughout, every attempt is served; something is done at 2.03 s."""
    lab = PoolLab(text=text)
    lab.takes("lb1", 0.5, 5.0)
    lab.steady()
    lab.asks(1.0, 5.0)
    lab.fault(fault, target, 2.03)
    lab.done(5.0)
    return lab


class TestControls:
    def test_reloads_that_nobody_notices(self) -> None:
        for target in ("lb1/haproxy", "lb1/keepalived", "lb2/haproxy"):
            found = judge(maintained("reload", target))
            assert {v.status for v in found.values()} == {Status.PASS}
            assert set(found) == {"requests", "vip"}

    def test_an_address_that_the_new_configuration_lacks_may_go(self) -> None:
        lab = maintained("reload", "lb1/keepalived")
        text = next(e.text for e in lab.events if e.kind == "config" and e.service == "keepalived")
        new = text.replace(f"{VIP}/24", "10.0.0.77/24")
        path = "/etc/keepalived/keepalived.conf"
        lab.add(2.031, "config", node="lb1", service="keepalived", path=path, text=new)
        lab.address("lb1", 2.04, "del")
        assert judge(lab)["vip"].status is Status.PASS

    def test_a_restart_of_the_standby_s_proxy(self) -> None:
        assert {v.status for v in judge(maintained("restart", "lb2/haproxy")).values()} == {Status.PASS}

    def test_a_restart_closes_the_listeners_which_is_a_limitation(self) -> None:
        lab = maintained("restart", "lb1/haproxy")
        lab.attempt(2.045, None, result="refused")
        found = judge(lab)
        assert (found["requests"].status, found["vip"].status) == (Status.LIMITATION, Status.PASS)

    def test_a_restart_that_lasts_longer_than_tracking_forgives(self) -> None:
        for ready_s, status in ((4.0, Status.LIMITATION), (2.06, Status.FAIL)):
            block = 'vrrp_script c {\n script "/bin/true"\n interval 1\n timeout 1\n fall 2\n}'
            lab = PoolLab(blocks=block, instance=dict.fromkeys(("lb1", "lb2"), "track_script {\n c\n }"))
            lab.takes("lb1", 0.5, 3.5)
            lab.steady()
            lab.fault("restart", "lb1/haproxy", 2.03)
            lab.add(ready_s, "service", node="lb1", service="haproxy", state="ready")
            lab.takes("lb2", 3.6, 5.0)
            lab.done(5.0)
            assert judge(lab)["vip"].status is status

    def test_a_member_that_waits_before_it_stops_drains_without_loss(self) -> None:
        lab = maintained("stop", "m1/master")
        lab.add(4.5, "note", text="m1 shuts down: no longer listening", shutdown="drain")
        assert judge(lab)["drain"].status is Status.PASS

    def test_one_that_does_not_wait_cannot(self) -> None:
        lab = maintained("stop", "m1/master")
        lab.add(2.03, "note", text="m1 shuts down: no longer listening", shutdown="drain")
        lab.attempt(2.505, None)
        assert judge(lab)["drain"].status is Status.LIMITATION


class TestSaboteurs:
    def test_a_reload_that_loses_a_request(self) -> None:
        lab = maintained("reload", "lb1/haproxy")
        lab.attempt(2.045, None, result="reset")
        assert judge(lab)["requests"].status is Status.FAIL

    def test_losses_that_began_before_are_unknown(self) -> None:
        lab = maintained("reload", "lb1/haproxy")
        for at_s in (1.605, 1.705, 2.105):
            lab.attempt(at_s, None)
        assert judge(lab)["requests"].status is Status.UNKNOWN

    def test_a_reload_during_which_nobody_asked_is_unknown(self) -> None:
        lab = maintained("reload", "lb1/haproxy")
        lab.events = [e for e in lab.events if e.kind != "probe" or e.t < 5e12 + 2e9]
        assert judge(lab)["requests"].status is Status.UNKNOWN

    def test_a_reload_that_takes_the_address_away_and_gives_it_back(self) -> None:
        lab = maintained("reload", "lb1/keepalived")
        lab.address("lb1", 2.04, "del")
        lab.address("lb1", 2.05)
        assert judge(lab)["vip"].status is Status.FAIL

    def test_a_reload_that_says_goodbye(self) -> None:
        lab = maintained("reload", "lb1/keepalived")
        lab.advert("lb1", 2.05, priority=0)
        assert judge(lab)["vip"].status is Status.FAIL

    def test_a_reload_that_moves_the_vip(self) -> None:
        lab = maintained("reload", "lb1/haproxy")
        lab.advert("lb2", 2.5)
        assert judge(lab)["vip"].status is Status.FAIL

    def test_a_member_that_waited_long_enough_and_still_lost_requests(self) -> None:
        lab = maintained("stop", "m1/master", haproxy())
        lab.add(4.5, "note", text="m1 shuts down: no longer listening", shutdown="drain")
        lab.attempt(4.605, None, result="refused")
        assert judge(lab)["drain"].status is Status.FAIL
