"""The pages of the service and their files, which are read from the package when they are requested."""

from __future__ import annotations

import mimetypes
import re
from pathlib import Path

from starlette.responses import Response

from drover.core.errors import NotFound
from drover.core.version import VERSION

_HERE = Path(__file__).parent
_INCLUDE = re.compile(r'{% include "([\w/.]+)" %}')

# On Windows the types come from the registry, where another program may have registered JavaScript as plain
# text; browsers do not run modules of that type.
mimetypes.add_type("text/javascript", ".js")

SAFE = {"X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer", "Cache-Control": "no-cache"}
"""Headers of every page and file. Browsers revalidate every file, and get 304 if it has not changed: an extra
request is better than a page with modules of two versions."""


def page(name: str, policy: str) -> Response:
    """Return a page with its parts and the version, and with a Content-Security-Policy."""
    html = _INCLUDE.sub(lambda found: _template(found[1]), _template(name)).replace("{{ version }}", VERSION)
    return Response(html, media_type="text/html", headers={"Content-Security-Policy": policy} | SAFE)


def file(folder: str, name: str, policy: str) -> Response:
    """Return a file of a folder below `static`.

    Raises:
        NotFound: There is no such file.
    """
    path = _HERE / "static" / folder / name
    if path.name != name or not path.is_file():
        raise NotFound(f"No file {name}; see /docs for all routes")
    headers = {"Content-Security-Policy": policy} | SAFE
    return Response(path.read_bytes(), media_type=mimetypes.guess_type(name)[0], headers=headers)


def _template(name: str) -> str:
    return (_HERE / "templates" / name).read_text(encoding="utf-8")
