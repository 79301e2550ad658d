"""The variable parts of REST paths, decoded one by one after the route was found."""

from __future__ import annotations

from werkzeug.routing import BaseConverter, PathConverter, UnicodeConverter

from drover.net.target import segment_text


class _Segment(UnicodeConverter):
    """One segment, which may hold an escaped slash."""

    def to_python(self, value: str) -> str:
        return segment_text(value)


class _Segments(PathConverter):
    """One or more segments."""

    def to_python(self, value: str) -> str:
        return segment_text(value)


SEGMENT_CONVERTERS: dict[str, type[BaseConverter]] = {
    "default": _Segment,
    "string": _Segment,
    "path": _Segments,
}
"""Converters for a `PATH_INFO` that is not decoded."""
