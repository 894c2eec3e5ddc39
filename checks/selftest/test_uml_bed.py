"""Directors with kernels of their own: real IPVS between native hosts, faults and witnesses as everywhere.

    cl 10.0.0.10
         │
─────────┴──┬─────────────┬──────────────┬──── lan 10.0.0.0/24
            │             │              │
      lb1 10.0.0.11  lb2 10.0.0.12   m1 10.0.0.21
      keepalived     keepalived      VIP on lo, no ARP for it
      IPVS, DR       IPVS, DR
            └─ VIP 10.0.0.100:6443
"""

from __future__ import annotations

import re
import signal
import time
from dataclasses import replace
from pathlib import Path

import pytest

from checks.selftest.fault_beds import NewTestbed
from harness import faults, session
from harness.errors import UsageError
from harness.kernel import ladder
from harness.nodes.uml import UmlNode
from harness.services.keepalived import Keepalived, VrrpInstance, render
from harness.services.master import Master
from harness.session import Image
from harness.testbed import Testbed
from harness.timeline import Event
from harness.topology import Interface, NodeSpec, ProbeSpec, Segment, Topology, Vip

pytestmark = pytest.mark.skipif(bool(ladder.why_no_uml()), reason=ladder.why_no_uml())
VIP = "10.0.0.100"
ADVERT_S = 0.3
SEEN_WITHIN_NS = 20_000_000

_POOL = f"""virtual_server {VIP} 6443 {{
    delay_loop 1
    lvs_sched rr
    lvs_method DR
    protocol TCP
    real_server 10.0.0.21 6443 {{
        TCP_CHECK {{
            connect_timeout 1
        }}
    }}
}}
"""


def director(number: int) -> NodeSpec:
    instance = VrrpInstance("api", "eth0", 51, 200 - number, ADVERT_S, (f"{VIP}/24",))
    service = Keepalived(render((instance,), blocks=(_POOL,)))
    interface = Interface("eth0", "lan", (f"10.0.0.{10 + number}/24",))
    return NodeSpec(f"lb{number}", "balancer", (interface,), services=(service,), needs=("ip_vs", "ip_vs_rr"))


def directors() -> Topology:
    quiet = {"net.ipv4.conf.all.arp_ignore": "1", "net.ipv4.conf.all.arp_announce": "2"}
    member = NodeSpec(
        "m1",
        "member",
        (Interface("eth0", "lan", ("10.0.0.21/24",)),),
        sysctls=quiet,
        services=(Master("m1", "0.0.0.0", 6443, names=("api.cluster.test",)),),  # noqa: S104  # VIP and own
    )
    client = NodeSpec("cl", "client", (Interface("eth0", "lan", ("10.0.0.10/24",)),))
    return Topology(
        "bed",
        {},
        (Segment("lan"),),
        (member, director(1), director(2), client),
        (Vip(VIP, 6443, "masters"),),
        (ProbeSpec("cl", VIP, 6443, "api.cluster.test"),),
    )


@pytest.fixture
def bed(new_testbed: NewTestbed) -> Testbed:
    """The directors of the drawing, on whatever kernel has IPVS, lb1 the owner and the client served."""
    made = new_testbed(directors())
    made.node("m1").run(["ip", "address", "add", f"{VIP}/32", "dev", "lo"])
    # The member has the VIP too, on lo.
    owned = lambda: made.situation.holders.get(VIP) == {"lb1", "m1"}  # noqa: E731
    made.recorder.wait(owned, 20, "lb1 to own the VIP", made.situation.summary)
    await_service(made)
    return made


def await_service(bed: Testbed) -> None:
    """Wait until the client is answered through the VIP, several times in a row, from now on."""
    bed.situation.forget_streaks()
    bed.recorder.wait(lambda: bed.situation.streak.get("cl", 0) >= 5, 20, "the client to be served")


def await_first(bed: Testbed, kind: str, since: int, **fields: object) -> Event:
    """The first event of a kind after a moment."""

    def come() -> bool:
        return bed.recorder.timeline.first(kind, since=since, **fields) is not None

    bed.recorder.wait(come, 20, f"{kind} {fields}")
    found = bed.recorder.timeline.first(kind, since=since, **fields)
    assert found is not None
    return found


def test_real_ipvs_serves_clients_and_everything_inside_is_seen(bed: Testbed) -> None:
    node = bed.node("lb1")
    assert re.search(r"10\.0\.0\.21:6443 +Route", node.run(["ipvsadm", "-Ln"]))
    began = time.monotonic_ns()
    node.run(["ip", "address", "add", "192.0.2.9/32", "dev", "lo"])
    ended = time.monotonic_ns()
    added = await_first(bed, "address", began, node="lb1", address="192.0.2.9/32")
    assert began <= added.t <= ended + SEEN_WITHIN_NS
    bed.process("lb1", "keepalived").signal_tree(signal.SIGKILL)
    exited = await_first(bed, "service", ended, node="lb1", service="keepalived", state="exited")
    assert exited.status == -signal.SIGKILL


def test_the_standby_takes_over_and_gives_back(bed: Testbed) -> None:
    """Other faults of such nodes are drilled in checks/test_vip_migration_l4.py."""
    with faults.parse("kernel-panic:lb1", bed) as acting:
        taken = await_first(bed, "address", acting.injected_ns, node="lb2", address=f"{VIP}/24", change="add")
        # 3 adverts and a skew of less than one: RFC 9568, section 6.1.
        assert taken.t - acting.injected_ns <= 4 * ADVERT_S * 1e9 + SEEN_WITHIN_NS
        await_service(bed)
        assert "10.0.0.21:6443" in bed.node("lb2").run(["ipvsadm", "-Ln"])
    assert bed.node("lb1").alive
    await_first(bed, "address", acting.healed_ns, node="lb1", address=f"{VIP}/24", change="add")
    await_service(bed)


def test_a_director_whose_link_is_shaped_boots_and_is_shaped_as_before(bed: Testbed) -> None:
    with faults.parse("rate:lb1,mbit=50", bed):
        with faults.parse("host-crash:lb1", bed):
            assert not bed.node("lb1").alive
        assert "tbf" in bed.node("lb1").run(["tc", "qdisc", "show", "dev", "eth0"])
        await_service(bed)
    assert "tbf" not in bed.node("lb1").run(["tc", "qdisc", "show", "dev", "eth0"])


@pytest.mark.parametrize("transport", ["best", "raw"])
def test_several_interfaces_families_and_sizes_by_either_way_in(
    vipdrill_image: Image, artifact_folder: Path, transport: str
) -> None:
    """A router and a host on kernels of their own between two native hosts, one segment with large frames."""
    by = {"0.0.0.0/0": "10.1.0.1"}
    nodes = (
        _host("a", "lan", "10.0.0.10/24", "fd00::10/64", routes={"0.0.0.0/0": "10.0.0.1"}),
        _host("b", "large", "10.1.0.10/24", routes=by),
        replace(_host("c", "large", "10.1.0.11/24", routes=by), kernel="uml"),
        NodeSpec(
            "r",
            "router",
            (
                Interface("eth0", "lan", ("10.0.0.1/24", "fd00::1/64")),
                Interface("inside", "large", ("10.1.0.1/24",)),
            ),
            sysctls={"net.ipv4.ip_forward": "1"},
            kernel="uml",
        ),
    )
    segments = (Segment("lan"), Segment("large", 9000))
    topology = Topology("bed", {}, segments, nodes, (), ())
    kernel = session.kernel(build=False).rootfs
    bed = Testbed(topology, vipdrill_image.rootfs, artifact_folder, kernel=kernel, capture=False)
    try:
        for node in bed.nodes.values():
            if isinstance(node, UmlNode) and transport == "raw":
                node.chassis.transport = "raw"
        bed.build_network()
        for source, target, size in (
            ("a", "10.1.0.11", 56),
            ("a", "fd00::1", 56),
            ("b", "10.1.0.11", 8900),
            ("c", "10.0.0.10", 1400),
        ):
            argv = ["ping", "-c", "1", "-W", "5", "-M", "do", "-s", str(size), target]
            bed.node(source).run(argv)
    finally:
        bed.close()


def _host(name: str, segment: str, *addresses: str, routes: dict[str, str]) -> NodeSpec:
    return NodeSpec(name, "client", (Interface("eth0", segment, addresses),), routes)


def test_a_kernel_that_ends_by_itself_is_told_and_its_node_is_down(bed: Testbed) -> None:
    node = bed.node("lb1")
    assert isinstance(node, UmlNode)
    assert node.machine is not None
    began = time.monotonic_ns()
    node.machine.signal(signal.SIGKILL)
    note = await_first(bed, "note", began)
    assert note.text.startswith("the kernel of lb1 ended by itself")
    await_first(bed, "node", began, node="lb1", state="crashed")
    assert not node.alive
    bed.power_on("lb1")
    assert node.alive


def test_what_needs_the_host_s_kernel_is_refused_in_a_sentence(bed: Testbed) -> None:
    for text, why in (
        ("fds-exhausted:lb1/keepalived", "cannot reach lb1/keepalived, which is on a kernel of its own"),
        ("cpu-steal:lb1", "lb1 has a kernel of its own, in which cpu cannot run"),
        ("kernel-panic:m1", "m1 runs on the host's kernel, which must not panic"),
    ):
        with pytest.raises(UsageError, match=why):
            faults.parse(text, bed).inject()
