"""The command line of a machine: the program, its memory, disk, console, line and network interfaces."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

PROGRAM = "/usr/bin/linux.uml"
AGENT = "/vipdrill/agent"
# As its process finds them.
LINE_FD = 3

Transport = Literal["tap", "raw"]

# Debian's kernel has drivers for disks built in that measure how fast this processor computes parities:
# 0.8 s of a boot of 1.2 s.  Nothing here has such disks.
_NOT_STARTED = ("raid6_select_algo", "calibrate_xor_blocks", "raid6_init")
# Loops in a jiffy, which only very short delays are counted in; measuring it takes 0.1 s.
_LOOPS_PER_JIFFY = 10_000_000


@dataclass(frozen=True)
class Wire:
    """A network interface: how the kernel reaches the host's device `device`, and how far it may lag.

    `tap` passes frames as the kernel has them (unsegmented, checksums open) through a queue of 1000;
    `raw` is a packet socket on the device, whose room is counted in bytes.
    """

    transport: Transport
    device: str
    mtu: int = 1500
    depth: int = 128

    def option(self, number: int) -> str:
        """As an option of the kernel's vector driver."""
        # The MTU is the largest that it can be given later.  With gro=1 it has room for frames that were
        # not cut into segments, and takes them.
        how = f"transport={self.transport},ifname={self.device},depth={self.depth},mtu={self.mtu},gro=1"
        return f"vec{number}:{how}"


def command_line(name: str, memory_mb: int, wires: Sequence[Wire]) -> list[str]:
    """What starts a machine whose disk is at /node and whose line is descriptor 3.

    Its console goes to its standard output; everything else that a machine may have is left out.
    """
    return [
        PROGRAM,
        f"umid={name}",
        "uml_dir=/run/",
        f"hostname={name}",
        f"mem={memory_mb}M",
        "root=/dev/root",
        "rootfstype=hostfs",
        "rootflags=/node",
        "rw",
        f"init={AGENT}",
        "con=null",
        "con0=null,fd:1",
        "ssl=null",
        f"ssl0=fd:{LINE_FD}",
        "quiet",
        f"lpj={_LOOPS_PER_JIFFY}",
        f"initcall_blacklist={','.join(_NOT_STARTED)}",
        "pty.legacy_count=0",
        *(wire.option(number) for number, wire in enumerate(wires)),
    ]
