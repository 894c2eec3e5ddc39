"""What of a testbed is written down for those who want to know of a lab without asking it."""

from __future__ import annotations

import time

from harness.lab.registry import LabInfo
from harness.testbed import Testbed


def describe(name: str, testbed: Testbed) -> LabInfo:
    """The lab that a testbed is."""
    topology = testbed.topology
    return LabInfo(
        name=name,
        architecture=topology.architecture,
        artifacts=str(testbed.artifacts),
        started_s=time.time(),
        nodes={
            spec.name: {
                "role": spec.role,
                "interfaces": [
                    {"name": i.name, "segment": i.segment, "addresses": list(i.addresses)}
                    for i in spec.interfaces
                ],
                "services": [service.name for service in spec.services],
                "opaque": spec.opaque,
                "own_kernel": spec.kernel == "uml",
            }
            for spec in topology.nodes
        },
        segments=[segment.name for segment in topology.segments],
    )
