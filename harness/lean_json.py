"""JSON for agents: the C half of the standard library's `json`, without the import of its Python half.

`import json` compiles regular expressions and costs 6 ms natively and ten times that in a UML guest,
for every agent of every testbed; the C scanner and encoder that it wraps cost 0.3 ms.  Where a
Python does not offer them in the known form, this falls back to `json` itself.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

try:
    import _json

    class _Strict:
        strict = True
        object_hook = object_pairs_hook = None
        parse_float, parse_int, parse_constant = float, int, float

    # Their signatures are CPython's own business; the line after shows that they are as expected.
    _make_scanner: Any = _json.make_scanner
    _make_encoder: Any = _json.make_encoder
    _scan = _make_scanner(_Strict)
    _encode = _make_encoder(None, None, _json.encode_basestring_ascii, None, ":", ",", False, False, True)
    if "".join(_encode({"a": [1, None]}, 0)) != '{"a":[1,null]}' or _scan('{"a": 1}', 0) != ({"a": 1}, 8):
        raise ImportError
except (ImportError, AttributeError, TypeError):  # pragma: no cover - a Python that hides them
    import json

    def loads(text: str) -> Any:
        """Read one JSON value; raises ValueError."""
        return json.loads(text)

    def dumps(value: Any) -> str:
        """Write a value as compact JSON."""
        return json.dumps(value, separators=(",", ":"))

else:

    def loads(text: str) -> Any:
        """Read one JSON value; raises ValueError."""
        text = text.strip()
        try:
            value, end = _scan(text, 0)
        except StopIteration:
            raise ValueError(f"not JSON: {text[:80]!r}") from None
        if end != len(text):
            raise ValueError(f"more than one JSON value: {text[:80]!r}")
        return value

    def dumps(value: Any) -> str:
        """Write a value as compact JSON."""
        return "".join(_encode(value, 0))
