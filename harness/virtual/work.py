"""What a guest does for `vipdrill run`: the half of a run that is left of the timeline, and no more.

Imports cost ten times as much here as outside, so this knows neither the command line nor reports.
"""

from __future__ import annotations

import base64
import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

from harness.errors import VipdrillError
from harness.kernel import ladder
from harness.plan import Plan
from harness.testbed import Testbed
from harness.topology import Topology
from harness.virtual.init import EXCHANGE, FOLDER


def run(job: dict[str, Any], begin: Callable[[], None]) -> int:
    """Carry out the drill that `job` describes; 0, or the exit code of what went wrong, told in a file."""
    plan = Plan.of(job["plan"])
    topology: Topology = pickle.loads(base64.b64decode(job["topology"]))  # noqa: S301 -- the half outside's
    try:
        testbed = Testbed(
            ladder.choose(topology, plan.kernel).topology,
            Path(job["rootfs"]),
            Path(FOLDER),
            seed=plan.seed,
            versions=job["versions"],
            probe_rate=plan.rate,
        )
        begin()
        with testbed:
            plan.drill(testbed)
    except VipdrillError as error:
        told = {"text": str(error), "exit_code": error.exit_code}
        Path(EXCHANGE, "error.json").write_text(json.dumps(told))
        return error.exit_code
    return 0
