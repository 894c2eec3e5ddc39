"""Private keys do not belong into an artifact folder, which people attach to tickets."""

from __future__ import annotations

import os
import re
from pathlib import Path

from harness.timeline import Timeline

_KEY = re.compile(r"(-----BEGIN ([A-Z0-9 ]*PRIVATE KEY)-----).*?(-----END \2-----|\Z)", re.DOTALL)
_REPLACEMENT = r"\1\n(removed by vipdrill)\n-----END \2-----"
_LARGEST_BYTES = 1 << 20
_TIMELINE = "timeline.jsonl"


def without_keys(text: str) -> str:
    """The text with the body of every PEM private key taken out."""
    return _KEY.sub(_REPLACEMENT, text)


def remove_private_keys(folder: Path, timeline: Timeline) -> list[str]:
    """Take private keys out of a folder's configurations and timeline; tells where there were any."""
    paths = [p for p in sorted((folder / "configs").rglob("*")) if p.is_file() and not p.is_symlink()]
    found = [str(path.relative_to(folder)) for path in paths if _clean(path)]
    cleaned = False
    for event in timeline.of("config"):
        text = str(event.text)
        if (clean := without_keys(text)) != text:
            event.data["text"] = clean
            cleaned = True
    if cleaned and (folder / _TIMELINE).exists():
        timeline.save(folder / _TIMELINE)
        found.append(_TIMELINE)
    return [f"private keys were taken out of {', '.join(found)}"] if found else []


def _clean(path: Path) -> bool:
    if path.stat().st_size > _LARGEST_BYTES:
        return False
    text = path.read_text(encoding="utf-8", errors="surrogateescape")
    clean = without_keys(text)
    if clean == text:
        return False
    part = path.with_name(f".{path.name}.part")
    part.write_text(clean, encoding="utf-8", errors="surrogateescape")
    os.replace(part, path)
    return True
