"""The recipes for CI systems: they parse, their shell is shell, and their commands are commands of ours."""

from __future__ import annotations

import random
import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from checks.selftest.estates import pair
from checks.selftest.test_plugin import Repository
from checks.selftest.test_shards import cells_of_a_run, shards_of
from harness.cli import app

RECIPES = Path(__file__).parents[2] / "ci" / "recipes"
NAMES = ("github.yml", "github-shards.yml", "gitlab.yml", "tekton.yml", "Jenkinsfile", "Containerfile")
# What the systems put in before a shell sees it, as each would.
_EXPRESSIONS = {"${{ matrix.shard }}": "2", "$(params.base)": "origin/main"}
_VARIABLES = {"$CI_NODE_INDEX": "2", "$CI_NODE_TOTAL": "4"}


def scripts(name: str) -> list[str]:
    """Every piece of shell in a recipe."""
    text = (RECIPES / name).read_text()
    if name == "Jenkinsfile":
        return re.findall(r"sh '([^']*)'", text)
    if name == "Containerfile":
        return [line.removeprefix("RUN ") for line in instructions() if line.startswith("RUN ")]
    found = list(_found(yaml.safe_load(text)))
    for expression, value in _EXPRESSIONS.items():
        found = [script.replace(expression, value) for script in found]
    return found


def _found(data: Any) -> Iterator[str]:
    if isinstance(data, dict):
        for key, value in data.items():
            if key in ("run", "script"):
                yield from value if isinstance(value, list) else [value]
            else:
                yield from _found(value)
    elif isinstance(data, list):
        for value in data:
            yield from _found(value)


def instructions() -> list[str]:
    """The Containerfile's instructions, one a line."""
    lines = [line for line in (RECIPES / "Containerfile").read_text().splitlines() if line[:1] != "#"]
    return "\n".join(lines).replace("\\\n", " ").splitlines()


def commands(program: str) -> list[tuple[str, list[str]]]:
    """Every use of a program, with the recipe that it is in."""
    lines = [
        (name, line.strip()) for name in NAMES for script in scripts(name) for line in script.splitlines()
    ]
    for variable, value in _VARIABLES.items():
        lines = [(name, line.replace(variable, value)) for name, line in lines]
    return [(name, shlex.split(line)[1:]) for name, line in lines if line.startswith(f"{program} ")]


def test_every_recipe_is_here_and_has_something_to_run() -> None:
    assert {path.name for path in RECIPES.iterdir()} == set(NAMES)
    assert all(scripts(name) for name in NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_its_shell_is_shell(name: str) -> None:
    for script in scripts(name):
        done = subprocess.run(["bash", "-n", "-c", script], capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{script}\n{done.stderr}"


def test_what_vipdrill_is_asked_for_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pair(tmp_path / "lb")
    pair(tmp_path / "base" / "lb")
    shards_of(tmp_path / "shards", cells_of_a_run(random.Random(1)), 4)
    monkeypatch.chdir(tmp_path)
    found = commands("vipdrill")
    assert {words[0] for _, words in found} == {"check", "merge"}
    assert {name for name, _ in found} == set(NAMES) - {"Containerfile"}
    for name, words in found:
        dry = ["--plan"] if words[0] == "check" else []
        done = CliRunner().invoke(app, [*words, *dry])
        assert done.exit_code == 0, f"{name}: {words}: {done.output} {done.exception}"


def test_what_pytest_is_asked_for_is_there(tmp_path: Path) -> None:
    repository = Repository(tmp_path)
    repository.write("import pytest\n\n@pytest.mark.parametrize('n', range(8))\ndef test_it(n):\n    pass\n")
    found = {tuple(words) for _, words in commands("pytest")}
    assert {"2/4"} <= {word for words in found for word in words}
    for words in found:
        done = repository.run(*words, "--collect-only", "-n", "0")
        assert done.returncode == 0, f"{words}: {done.stdout}{done.stderr}"
        expected = (
            "2/8 tests collected (6 deselected)" if "--vipdrill-shard" in words else "8 tests collected"
        )
        assert expected in done.stdout


def test_actions_have_a_version() -> None:
    for name in NAMES[:2]:
        used = re.findall(r"uses: (\S+)", (RECIPES / name).read_text())
        assert used
        assert all(re.fullmatch(r"actions/[a-z-]+@v\d+", action) for action in used)


def test_the_containerfile_uses_what_is_there() -> None:
    known = ("FROM", "RUN", "COPY", "ENV", "VOLUME", "CMD", "WORKDIR")
    assert [line for line in instructions() if line.split()[0] not in known] == []
    assert instructions()[0].startswith("FROM debian:")
    root = RECIPES.parents[1]
    for path in re.findall(r"/opt/vipdrill-source/(\S+)", " ".join(instructions())):
        assert (root / path).exists()


def test_jenkins_braces_are_balanced() -> None:
    text = re.sub(r"'[^']*'|//.*", "", (RECIPES / "Jenkinsfile").read_text())
    depth = 0
    for sign in re.findall(r"[{}]", text):
        depth += 1 if sign == "{" else -1
        assert depth >= 0
    assert depth == 0
