"""`python -m harness.image [--check]`: have the default node image, or tell whether it is there.

The set-up script calls this, so it imports little: with the image there it takes a moment only.
"""

from __future__ import annotations

import sys

from harness.errors import INTERRUPTED, VipdrillError
from harness.image import store
from harness.image.progress import Display
from harness.image.spec import ImageSpec


def main(arguments: list[str]) -> int:
    """Exit status: 0 if the image is there at the end, else the error's."""
    spec = ImageSpec()
    if "--check" in arguments:
        return 0 if store.find(spec) else 1
    try:
        with Display(f"node image {spec.suite}") as display:
            store.ensure(spec, display)
    except VipdrillError as error:
        print(f"vipdrill: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        return INTERRUPTED
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
