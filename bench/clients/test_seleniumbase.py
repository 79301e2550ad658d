"""A test for SeleniumBase, run with `pytest --server=… --port=…`."""

import os
import urllib.request
from typing import Any


def test_desk(sb: Any) -> None:  # noqa: ANN401 - SeleniumBase is not installed with Drover's tools
    """Type on a page, and read it again."""
    sb.open(os.environ["PAGE"])
    sb.assert_title("Desk")
    sb.type("#name", "typed")
    urllib.request.urlopen(os.environ["KILL"]).close()  # noqa: S310 - the address is that of run.py
    sb.assert_equal(sb.get_value("#name"), "typed")
    sb.click("button")
    sb.assert_title("Clicked")
