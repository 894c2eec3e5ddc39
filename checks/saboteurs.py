"""The table of every check with its saboteurs, which must be caught, and its controls, which must not be.

Made from the suites themselves: `python -m checks.saboteurs` writes docs/saboteurs.md, and a selftest
compares the two.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
TABLE = ROOT / "docs" / "saboteurs.md"
_HEAD = """# Checks, their saboteurs and their controls

A check that was never seen failing does not exist: every check has *saboteurs*, which break something that
it must catch, and *controls*, which do something that it must not flag. The suite runs them all. This table
is made from the suites (`python -m checks.saboteurs` writes it anew), and a test keeps it so. Rows are the
test files, most of them named after the check that they are about; client-outage is caught in vip-migration
and incidents-ports.

"""


@dataclass(frozen=True)
class Marked:
    """A saboteur or a control: the test, its name as a sentence, and how many cases it has."""

    check: str
    mark: str
    name: str
    cases: int

    def __str__(self) -> str:
        words = self.name.removeprefix("test_").replace("_s_", "'s ").replace("_", " ")
        return words if self.cases == 1 else f"{words} ({self.cases} cases)"


def marked(folder: Path = ROOT / "checks") -> list[Marked]:
    """All saboteurs and controls of the suites, in their order."""
    return [found for path in sorted(folder.glob("test_*.py")) for found in _in_file(path)]


def _in_file(path: Path) -> Iterator[Marked]:
    tree = ast.parse(path.read_text())
    constants = {
        target.id: node.value
        for node in tree.body
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    check = path.stem.removeprefix("test_").removesuffix("_l4").replace("_", "-")
    for node in tree.body:
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
            marks = dict(_mark(decorator) for decorator in node.decorator_list)
            cases = 1
            for name, call in marks.items():
                if name == "parametrize" and call is not None:
                    values = call.args[1]
                    listed = constants.get(values.id, values) if isinstance(values, ast.Name) else values
                    cases *= len(listed.elts) if isinstance(listed, ast.List | ast.Tuple) else 1
            for mark in ("saboteur", "control"):
                if mark in marks:
                    yield Marked(check, mark, node.name, cases)


def _mark(decorator: ast.expr) -> tuple[str, ast.Call | None]:
    """A decorator's own name, with its call if it is one."""
    call = decorator if isinstance(decorator, ast.Call) else None
    function = call.func if call is not None else decorator
    return (function.attr if isinstance(function, ast.Attribute) else ""), call


def render(found: list[Marked]) -> str:
    """The table as Markdown."""
    counts = {mark: sum(m.cases for m in found if m.mark == mark) for mark in ("saboteur", "control")}
    lines = [
        f"{counts['saboteur']} saboteurs, {counts['control']} controls.",
        "",
        "| tests | saboteurs: must be caught | controls: must not be flagged |",
        "|---|---|---|",
    ]
    for check in dict.fromkeys(m.check for m in found):
        cells = [
            "<br>".join(str(m) for m in found if (m.check, m.mark) == (check, mark))
            for mark in ("saboteur", "control")
        ]
        lines.append(f"| {check} | {cells[0]} | {cells[1]} |")
    return _HEAD + "\n".join(lines) + "\n"


if __name__ == "__main__":
    TABLE.write_text(render(marked()))
