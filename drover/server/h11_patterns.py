"""Have h11 read heads and chunks in a time that is linear in their length.

Its patterns of a field and of the line before a chunk can divide white space between two of their parts.
Where such a line does not match, they try each division: 60,000 spaces in the head of one request, which
needs no token, keep the event loop busy for a minute (h11 0.16).
"""

from __future__ import annotations

import re

from h11 import _readers

_WHITE_SPACE = rb"[ \t]*"
_WHOLE_WHITE_SPACE = rb"(?<![ \t])[ \t]*"


def match_in_linear_time() -> None:
    """Replace h11's two patterns by those that match the same and take white space as a whole."""
    _readers.header_field_re = _linear(_readers.header_field_re)
    _readers.chunk_header_re = _linear(_readers.chunk_header_re)


def _linear(pattern: re.Pattern[bytes]) -> re.Pattern[bytes]:
    if _WHOLE_WHITE_SPACE in pattern.pattern:
        return pattern
    return re.compile(pattern.pattern.replace(_WHITE_SPACE, _WHOLE_WHITE_SPACE))
