"""What several commands read from their command line in the same way."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

from harness.errors import UsageError


def extra_options(words: list[str]) -> dict[str, str | bool]:
    """`--advert-int 1 --preempt=no --opaque` as {"advert_int": "1", "preempt": "no", "opaque": True}."""
    options: dict[str, str | bool] = {}
    rest = list(words)
    while rest:
        word = rest.pop(0)
        if not word.startswith("--"):
            raise UsageError(
                f"unexpected argument {word!r}; options of the architecture are given as --NAME VALUE"
            )
        name, equals, value = word[2:].partition("=")
        bare = not equals and (not rest or rest[0].startswith("--"))
        if not equals and not bare:
            value = rest.pop(0)
        options[name.replace("-", "_")] = bare or value
    return options


def command_again(seed: int, *, without: tuple[str, ...] = ()) -> str:
    """The command line with the seed that was drawn, and without options that name a folder of this run."""
    words = ["vipdrill", *sys.argv[1:]]
    for option in without:
        words = _without(option, words)
    given = any(word == "--seed" or word.startswith("--seed=") for word in words)
    return shlex.join(words if given else [*words, "--seed", str(seed)])


def _without(option: str, words: list[str]) -> list[str]:
    if option in words:
        at = words.index(option)
        return [*words[:at], *words[at + 2 :]]
    return [word for word in words if not word.startswith(f"{option}=")]


def check_json_file(path: Path | None) -> None:
    """Raise UsageError before anything runs if the file of `--json` has no folder to be in."""
    if path is not None and not path.absolute().parent.is_dir():
        raise UsageError(f"--json: there is no folder {path.absolute().parent}")
