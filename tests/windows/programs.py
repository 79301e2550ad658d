"""The programs that the tests of Windows start."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.acceptance.service import APP, START_S, variables


def run_app(
    folder: Path, *arguments: str, encoding: str = "utf-8", python: Path | None = None, **settings: object
) -> subprocess.CompletedProcess[str]:
    """Run a command of app.py to its end, in a folder that also has its data folder."""
    clean_environment = {name: value for name, value in os.environ.items() if not name.startswith("DROVER_")}
    return subprocess.run(
        [str(python or sys.executable), str(APP), *arguments],
        env=clean_environment
        | {"PYTHONIOENCODING": encoding}
        | variables(**({"data_dir": folder / "d"} | settings)),
        cwd=folder,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding=encoding,
        timeout=START_S,
        check=False,
    )
