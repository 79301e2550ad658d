"""Threads that the service has before it may need them."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

from tests.acceptance.service import Service

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or importlib.util.find_spec("uvloop") is None, reason="names of threads on Linux"
)


def test_libuv_has_its_threads_before_the_first_request(service: Service) -> None:
    names = [path.read_text().strip() for path in Path(f"/proc/{service.process.pid}/task").glob("*/comm")]
    assert names.count("libuv-worker") == 4
