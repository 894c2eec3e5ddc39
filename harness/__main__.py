"""Entry of the `vipdrill` command and of `python -m harness`."""

from __future__ import annotations

import signal


def main() -> None:
    """Load the command and run it; an interrupt while it is being loaded ends it without a word."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    from harness import cli

    signal.signal(signal.SIGINT, signal.default_int_handler)
    cli.main()


if __name__ == "__main__":
    main()
