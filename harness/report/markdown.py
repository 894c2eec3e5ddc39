"""A drill or a suite in Markdown, for the summary pages of CI systems: `summary.md`.

GitHub Actions shows what is appended to `$GITHUB_STEP_SUMMARY`; GitLab and Jenkins take it as an artifact.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

NAME = "summary.md"
_SIGNS = {"pass": "✅", "fail": "❌", "unknown": "❔", "limitation": "🔻", "not-applicable": "▫️"}
_SPECIAL = str.maketrans({c: f"\\{c}" for c in "\\`*_[]<>|#"} | {"\n": " "})


def sign(status: str) -> str:
    """A verdict's sign."""
    return _SIGNS.get(status, "❔")


def plain(text: object) -> str:
    """Text that means only itself in Markdown."""
    return str(text).translate(_SPECIAL)


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """A table; cells are Markdown already."""
    return [f"| {' | '.join(head)} |", "|---" * len(head) + "|", *(f"| {' | '.join(row)} |" for row in rows)]


def drill_summary(data: Mapping[str, Any]) -> str:
    """One drill, from its result (docs/result.md)."""
    status = str(data["verdict"])
    lines = [f"### {sign(status)} {status.upper()}: {plain(data['summary'])}", ""]
    fault = f"{data['fault']} of {data['target']}" if data["fault"] else "no fault"
    facts = [str(data["architecture"]), fault, f"seed {data['seed']}"]
    versions = data["versions"]
    facts += [f"{name} {versions[name]}" for name in ("keepalived", "haproxy") if name in versions]
    facts += [f"configurations {data['configs']}"] if data.get("configs") else []
    lines += [plain(" · ".join(facts)), ""]
    shown = [check for check in data["checks"] if check["verdict"] != "not-applicable"]
    if shown:
        lines += table(("", "check", "measured", "promised"), (_check(check) for check in shown))
        lines.append("")
    lines += [f"- {plain(check['sentence'])}" for check in shown if check["verdict"] in ("fail", "unknown")]
    lines += [f"- {plain(note)}" for note in data["notes"]]
    if data["again"]:
        lines += ["", f"Again: `{str(data['again']).replace('`', '')}`"]
    return "\n".join(lines).rstrip() + "\n"


def _check(check: Mapping[str, Any]) -> tuple[str, str, str, str]:
    title = f"{check['property']}: {check['aspect']}" if check["aspect"] else str(check["property"])
    about = f" ({check['subject']})" if check["subject"] else ""
    measured = "" if check["measured"] is None else f"{check['measured']:g} {check['unit']}"
    return sign(str(check["verdict"])), plain(title + about), plain(measured), plain(_bound(check))


def _bound(check: Mapping[str, Any]) -> str:
    bound = check["bound"]
    if bound is None:
        return ""
    low, high = bound["low"], bound["high"]
    if high is None:
        return "never" if low is None else f"{low:g} {check['unit']} or more"
    return f"{high:g} {check['unit']}" if low == high else f"{low:g} to {high:g} {check['unit']}"
