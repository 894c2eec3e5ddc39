"""Secrets do not belong into an artifact folder, which people attach to tickets.

Private keys lose their bodies; passwords of keepalived, HAProxy and BIRD become `hidden1`, `hidden2`, ...,
the same secret the same word, so that whether two nodes agree can still be judged.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from harness.timeline import Event, Timeline, parse_event

_KEY = re.compile(r"(-----BEGIN ([A-Z0-9 ]*PRIVATE KEY)-----).*?(-----END \2-----|\Z)", re.DOTALL)
_REPLACEMENT = r"\1\n(removed by vipdrill)\n-----END \2-----"
# keepalived.conf(5) auth_pass; HAProxy's userlist and "stats auth"; BIRD's "password".
_PASSWORD = re.compile(
    r"""(?mx)
    (\b auth_pass \s+ "? | \b (?:insecure-)?password \s+ "? | \b stats \s+ auth \s+ [^\s:]+ :)
    ([^\s"};\#]+)"""
)
_COUNTED = 8  # of an auth_pass only so many characters count
_LARGEST_BYTES = 1 << 20
_TIMELINE, _WHOLE = "timeline.jsonl", "timeline-whole.jsonl"


def without_keys(text: str) -> str:
    """The text with the body of every PEM private key taken out."""
    return _KEY.sub(_REPLACEMENT, text)


class Secrets:
    """Hides secrets; remembers them, so that the same one is hidden by the same word everywhere."""

    def __init__(self) -> None:
        self._words: dict[str, str] = {}

    def hidden(self, text: str) -> str:
        """The text without secrets; hidden a second time, it stays as it is."""
        return _PASSWORD.sub(self._hide, without_keys(text))

    def _hide(self, found: re.Match[str]) -> str:
        secret = found[2][:_COUNTED]
        word = self._words.setdefault(secret, f"hidden{len(self._words) + 1}")
        return found[1] + word


def remove_private_keys(folder: Path, timeline: Timeline) -> list[str]:
    """Take secrets out of a folder's configurations and timeline; tells where there were any."""
    secrets = Secrets()
    cleaned = _clean_timeline(timeline, secrets)
    paths = [p for p in sorted((folder / "configs").rglob("*")) if p.is_file() and not p.is_symlink()]
    found = [str(path.relative_to(folder)) for path in paths if _clean(path, secrets)]
    if cleaned and (folder / _TIMELINE).exists():
        timeline.save(folder / _TIMELINE)
        found.append(_TIMELINE)
    if (folder / _WHOLE).exists() and _clean_lines(folder / _WHOLE, secrets):
        found.append(_WHOLE)
    return [f"private keys and passwords were taken out of {', '.join(found)}"] if found else []


def _clean_timeline(timeline: Timeline, secrets: Secrets) -> bool:
    """Configurations, and options that hold parts of one."""
    cleaned = False
    for event in timeline.of("config"):
        text = str(event.text)
        if (clean := secrets.hidden(text)) != text:
            event.data["text"] = clean
            cleaned = True
    for event in timeline.of("run"):
        options = event.options if isinstance(event.options, dict) else {}
        for name, value in options.items():
            if isinstance(value, str) and (clean := secrets.hidden(value)) != value:
                options[name] = clean
                cleaned = True
    return cleaned


def _clean_lines(path: Path, secrets: Secrets) -> bool:
    """Clean a timeline of any size, line by line."""
    part = path.with_name(f".{path.name}.part")
    changed = False
    with path.open(encoding="utf-8") as lines, part.open("w", encoding="utf-8") as out:
        for line in lines:
            event = _config(line)
            if event is None or (text := secrets.hidden(str(event.text))) == event.text:
                out.write(line)
                continue
            event.data["text"] = text
            out.write(event.to_json() + "\n")
            changed = True
    if changed:
        os.replace(part, path)
    else:
        part.unlink()
    return changed


def _config(line: str) -> Event | None:
    """A configuration's event, where a line holds a whole one."""
    try:
        return parse_event(line) if '"kind":"config"' in line else None
    except ValueError:
        return None


def _clean(path: Path, secrets: Secrets) -> bool:
    if path.stat().st_size > _LARGEST_BYTES:
        return False
    text = path.read_text(encoding="utf-8", errors="surrogateescape")
    clean = secrets.hidden(text)
    if clean == text:
        return False
    part = path.with_name(f".{path.name}.part")
    part.write_text(clean, encoding="utf-8", errors="surrogateescape")
    os.replace(part, path)
    return True
