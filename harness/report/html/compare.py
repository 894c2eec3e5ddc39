"""Two runs side by side: figures, checks, and the lanes of both on one axis that begins with the fault."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import zip_longest
from pathlib import Path
from typing import Any

from markupsafe import Markup

from harness.report.analyze import Analysis, checks_by_name
from harness.report.html import tables
from harness.report.html.page import write_html
from harness.report.html.payload import Payload, embedded
from harness.report.lanes import lanes_of
from harness.report.packet_numbers import PacketNumbers
from harness.report.summary import Summary

NAME = "comparison.html"
_FIGURES = (
    ("takeover_s", "takeover", "s"),
    ("outage_s", "longest outage", "s"),
    ("requests", "requests lost", ""),
    ("long_lived", "lost on long connections", ""),
)
_SAME_S = 0.001


def write_comparison(path: Path, first: Analysis, second: Analysis) -> None:
    """Write the page that compares two runs; which one is better is for `vipdrill compare` to say."""
    sides = [_side(name, analysis) for name, analysis in (("A", first), ("B", second))]
    words: dict[str, Any] = {
        "sides": sides,
        "figures": [_figure(key, name, unit, first, second) for key, name, unit in _FIGURES],
        "options": list(_options(first, second)),
        "checks": list(_checks(first, second)),
        "data": Markup(embedded(_data(first, second))),  # noqa: S704 -- escaped by `embedded`
    }
    write_html(path, "compare.html.j2", words)


def _side(name: str, analysis: Analysis) -> dict[str, Any]:
    data = analysis.result
    fault = tables.fault_text(Summary.of(analysis.timeline))
    return {"name": name, "folder": analysis.folder.absolute().name, "fault": fault, "result": data}


def _figure(key: str, name: str, unit: str, first: Analysis, second: Analysis) -> dict[str, str]:
    one, other = first.result[key], second.result[key]
    if isinstance(one, dict):
        change = other["lost"] - one["lost"]
        texts = [f"{value['lost']:,} of {value['sent']:,}" for value in (one, other)]
        difference = f"{change:+,}" if change else ""
    else:
        texts = ["none" if value is None else f"{value:.3f} {unit}" for value in (one, other)]
        change = 0.0 if None in (one, other) else other - one
        difference = f"{change:+.3f} {unit}" if abs(change) >= _SAME_S else ""
    return {"name": name, "one": texts[0], "other": texts[1], "difference": difference}


def _options(first: Analysis, second: Analysis) -> Iterator[tuple[str, str, str]]:
    """What the two were made with, as far as it differs."""
    made = [
        {**side.result["options"], "architecture": side.result["architecture"], "seed": side.result["seed"]}
        | {f"version of {name}": value for name, value in side.result["versions"].items()}
        | {"configurations": side.result["configs"]}
        for side in (first, second)
    ]
    for name in dict.fromkeys([*made[0], *made[1]]):
        one, other = made[0].get(name), made[1].get(name)
        if one != other:
            yield name, str(one), str(other)


def _checks(first: Analysis, second: Analysis) -> Iterator[dict[str, Any]]:
    named = [checks_by_name(side.result) for side in (first, second)]
    for name in dict.fromkeys([*named[0], *named[1]]):
        one, other = named[0].get(name), named[1].get(name)
        changed = (one or {}).get("verdict") != (other or {}).get("verdict")
        yield {"name": name, "cells": [_cell(one), _cell(other)], "changed": changed}


def _cell(check: Any) -> dict[str, str] | None:
    if check is None:
        return None
    measured = "" if check["measured"] is None else f"{check['measured']:.4g} {check['unit']}"
    bound = check["bound"]
    high = None if bound is None else bound["high"]
    promised = "" if high is None else f" of {high:.4g}"
    return {"status": check["verdict"], "text": measured + promised, "sentence": check["sentence"]}


def _data(first: Analysis, second: Analysis) -> dict[str, Any]:
    """The lanes of both, each pair of the same name together; one table of texts for both."""
    texts: dict[str, int] = {}
    found = []
    for analysis in (first, second):
        nowhere = PacketNumbers(analysis.folder / "nothing", analysis.timeline)
        payload = Payload(analysis.timeline, Summary.of(analysis.timeline), nowhere, texts)
        found.append(payload.data(lanes_of(analysis.timeline, analysis.verdicts)))
    spans = [side["span"] for side in found]
    data = {
        "span": [min(s[0] for s in spans), max(s[1] for s in spans)],
        "views": [*max(found, key=lambda side: side["span"][1])["views"]],
        "bands": [
            [*band[:3], f"{name}: {band[3]}"]
            for name, side in zip("AB", found, strict=True)
            for band in side["bands"]
        ],
        "groups": list(_groups(found)),
        "streams": [
            {**stream, "name": f"{name}: {stream['name']}"}
            for name, side in zip("AB", found, strict=True)
            for stream in side["streams"]
        ],
    }
    return {**data, "texts": list(texts)}


def _groups(found: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    by_name = [{group["name"]: group["lanes"] for group in side["groups"]} for side in found]
    for name in dict.fromkeys([*by_name[0], *by_name[1]]):
        sides = [{lane["name"]: lane for lane in side.get(name, ())} for side in by_name]
        lanes: list[dict[str, Any]] = []
        for lane in dict.fromkeys([*sides[0], *sides[1]]):
            pair = zip_longest("AB", (side.get(lane) for side in sides))
            lanes += [{**one, "name": f"{letter}: {lane}"} for letter, one in pair if one is not None]
        yield {"name": name, "lanes": lanes}
