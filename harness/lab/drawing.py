"""A lab drawn: its segments with who hangs on them, as text or for Graphviz, as things stand now."""

from __future__ import annotations

from typing import Any

from harness.lab.registry import LabInfo

_SHAPES = {"balancer": "box", "member": "component", "client": "ellipse", "router": "diamond"}


class Drawing:
    """The nodes of a lab and what `status` told of them."""

    def __init__(self, info: LabInfo, status: dict[str, Any]) -> None:
        self._info, self._status = info, status

    def text(self) -> list[str]:
        """One block for each segment: a line that its nodes hang on."""
        lines: list[str] = []
        for segment in self._info.segments:
            rows = [
                (f"{name}:{i['name']}", ", ".join(i["addresses"]), node["role"], self._remarks(name))
                for name, node in self._info.nodes.items()
                for i in node["interfaces"]
                if i["segment"] == segment
            ]
            widths = [max((len(row[column]) for row in rows), default=0) for column in range(3)]
            lines += ["", f"── {segment} ──┐"]
            stem = " " * (len(segment) + 6)
            for number, row in enumerate(rows, 1):
                cells = "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=False))
                joint = "└" if number == len(rows) else "├"
                lines.append(f"{stem}{joint}── {cells}  {row[3]}".rstrip())
        lines += ["", *(f"fault {fault['id']} acts on {fault['target']}" for fault in self._status["faults"])]
        return lines[1:] if self._status["faults"] else lines[1:-1]

    def _remarks(self, node: str) -> str:
        """What runs there, which VIPs it has, and how it is if not well."""
        held = self._vips_on(node)
        state = self._status["nodes"].get(node, "up")
        return "  ".join(
            part
            for part in (
                "" if state == "up" else state.upper(),
                ", ".join(self._info.nodes[node]["services"]),
                f"◀ VIP {', '.join(held)}" if held else "",
            )
            if part
        )

    def _vips_on(self, node: str) -> list[str]:
        holders: dict[str, list[str]] = self._status["holders"]
        return [vip for vip in self._status["vips"] if node in holders.get(vip, ())]

    def dot(self) -> list[str]:
        """The same for Graphviz (`dot -Tsvg`)."""
        hit = {node: fault["fault"] for fault in self._status["faults"] for node in fault["nodes"]}
        lines = [f"graph {_quoted(self._info.name)} {{", "  rankdir=TB; node [fontname=monospace];"]
        lines += [
            f"  {_quoted('segment ' + segment)} [label={_quoted(segment)}, shape=plaintext];"
            for segment in self._info.segments
        ]
        for name, node in self._info.nodes.items():
            state = self._status["nodes"].get(name, "up")
            label = [name, *node["services"], *(f"VIP {vip}" for vip in self._vips_on(name))]
            label += [] if state == "up" else [state.upper()]
            label += [hit[name]] if name in hit else []
            style = ", style=dashed" if state == "down" else ""
            style += ", color=red" if name in hit else ""
            shape = _SHAPES.get(node["role"], "box")
            lines.append(f"  {_quoted(name)} [label={_quoted(chr(10).join(label))}, shape={shape}{style}];")
            for interface in node["interfaces"]:
                ends = f"{_quoted(name)} -- {_quoted('segment ' + interface['segment'])}"
                what = "\n".join([interface["name"], *interface["addresses"]])
                lines.append(f"  {ends} [label={_quoted(what)}];")
        return [*lines, "}"]


def _quoted(text: str) -> str:
    """An ID of the DOT language: in double quotes, a line's end as `\\n`."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'
