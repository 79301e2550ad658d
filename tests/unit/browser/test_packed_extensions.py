"""Packed extensions: reading them, their limits and ids, unpacking, and what Chrome did not load."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import struct
import zipfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drover.browser import extensions
from drover.browser.capabilities import packed_extensions
from drover.browser.capabilities.packed_extensions import (
    MAX_EXTENSIONS,
    NotAnExtension,
    extension_id_of,
    read_extension,
    read_extensions,
)
from drover.browser.devtools_connection import DevToolsFailed
from drover.core.errors import InvalidRequest, SessionNotCreated
from tests.unit.examples import packed_extension

KEY = b"a public key"


def field(number: int, content: bytes) -> bytes:
    """Return a length-delimited field of a protobuf message."""
    return varint(number << 3 | 2) + varint(len(content)) + content


def varint(value: int) -> bytes:
    encoded = b""
    while value > 0x7F:
        encoded += bytes([value & 0x7F | 0x80])
        value >>= 7
    return encoded + bytes([value])


def crx2(archive: bytes) -> bytes:
    return b"Cr24" + struct.pack("<III", 2, len(KEY), 3) + KEY + b"sig" + archive


def crx3(archive: bytes) -> bytes:
    crx_id = hashlib.sha256(KEY).digest()[:16]
    proofs = field(2, field(1, b"another key") + field(2, b"sig")) + field(
        3, field(1, KEY) + field(2, b"sig")
    )
    header = proofs + field(10_000, field(1, crx_id))
    return b"Cr24" + struct.pack("<II", 3, len(header)) + header + archive


def test_the_id_is_the_one_that_chrome_makes() -> None:
    # The example of Chromium's components/crx_file/id_util_unittest.cc: sha256("test"), first half, a to p.
    assert extension_id_of(b"test") == "jpignaibiiemhngfjkcpokkamffknabf"


@pytest.mark.parametrize("pack", [crx2, crx3])
def test_a_crx_file_keeps_the_id_of_its_key(pack: Any) -> None:  # noqa: ANN401 - a function
    archive = packed_extension()
    read = read_extension(pack(archive))
    assert read.archive == archive
    assert read.extension_id == extension_id_of(KEY)
    assert base64.b64decode(read.manifest["key"]) == KEY


def test_the_key_of_the_manifest_comes_first() -> None:
    declared = base64.b64encode(b"declared").decode()
    packed = packed_extension({"name": "x", "key": f"{declared[:4]}\n{declared[4:]}"})
    assert read_extension(crx3(packed)).extension_id == extension_id_of(b"declared")


def test_a_zip_file_has_the_same_id_every_time() -> None:
    packed, other = packed_extension(), packed_extension({"name": "other"})
    first, second = read_extension(packed), read_extension(packed)
    assert first.extension_id == second.extension_id != read_extension(other).extension_id


def test_a_manifest_may_have_comments_and_a_byte_order_mark() -> None:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as opened:
        opened.writestr(
            "manifest.json",
            b'\xef\xbb\xbf{ // one\n "name": "a // b", /* two\n */ "homepage_url": "http://x/"}',
        )
    assert read_extension(archive.getvalue()).manifest["name"] == "a // b"


def with_files(*names: str) -> bytes:
    return packed_extension(files=dict.fromkeys(names, b"x"))


@pytest.mark.parametrize(
    ("packed", "words"),
    [
        (b"", "neither a CRX nor a ZIP"),
        (b"hello", "neither a CRX nor a ZIP"),
        (b"Cr24", "header is damaged"),
        (b"Cr24" + struct.pack("<II", 4, 0), "version 4"),
        (b"Cr24" + struct.pack("<II", 3, 4) + b"\x12\xff\xff\xff" + packed_extension(), "header is damaged"),
        (b"Cr24" + struct.pack("<II", 3, 20) + b"\x80" * 20 + packed_extension(), "header is damaged"),
        (b"PK\x05\x06" + b"\0" * 18, "no manifest.json"),
        (packed_extension()[:-30], "neither a CRX nor a ZIP"),
        (with_files("../x"), "'../x'"),
        (with_files("a/../../x"), "x"),
        (with_files("/etc/x"), "'/etc/x'"),
        (with_files("C:\\x"), "x"),
        (with_files("a" * 300), "name is too long"),
        (packed_extension({"name": "x", "key": "!!!"}), "key in its manifest"),
        (packed_extension({"name": "x", "key": "é"}), "key in its manifest"),
    ],
)
def test_what_is_not_a_packed_extension_is_told_with_the_reason(packed: bytes, words: str) -> None:
    with pytest.raises(NotAnExtension, match=words):
        read_extension(packed)


@pytest.mark.parametrize("text", [b"[]", b"{", b"\xff", b"[" * 100_000])
def test_a_manifest_that_is_not_an_object_is_refused(text: bytes) -> None:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as opened:
        opened.writestr("manifest.json", text)
    with pytest.raises(NotAnExtension):
        read_extension(archive.getvalue())


@pytest.mark.parametrize("unended", [b'\\"', b"/* ", b'"\\'])
def test_a_manifest_full_of_what_has_no_end_is_refused_at_once(unended: bytes) -> None:
    # With a search from each of them this would take days.
    text = b"{" + unended * 300_000
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as opened:
        opened.writestr("manifest.json", text)
    with pytest.raises(NotAnExtension, match="not valid JSON"):
        read_extension(archive.getvalue())


def test_what_would_fill_the_disk_or_the_memory_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    bomb = packed_extension(files={"zeros": bytes(3_000_000)})
    assert len(bomb) < 10_000
    monkeypatch.setattr(packed_extensions, "MAX_UNPACKED_BYTES", 1_000_000)
    with pytest.raises(NotAnExtension, match="unpacked"):
        read_extension(bomb)
    monkeypatch.setattr(packed_extensions, "MAX_FILES", 2)
    with pytest.raises(NotAnExtension, match="more than 2 files"):
        read_extension(with_files("a", "b"))
    monkeypatch.setattr(packed_extensions, "MAX_DIRECTORY_BYTES", 100)
    with pytest.raises(NotAnExtension, match="files"):
        read_extension(with_files("a"))


def test_number_and_size_of_all_extensions_together_are_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    encoded = base64.b64encode(packed_extension()).decode()
    assert len(read_extensions([encoded] * MAX_EXTENSIONS, "f")) == MAX_EXTENSIONS
    with pytest.raises(InvalidRequest, match="at most 8"):
        read_extensions([encoded] * (MAX_EXTENSIONS + 1), "f")
    monkeypatch.setattr(packed_extensions, "MAX_PACKED_BYTES", len(encoded))
    with pytest.raises(InvalidRequest, match="together"):
        read_extensions([encoded] * 2, "f")
    for text in ("*", "é"):
        with pytest.raises(InvalidRequest, match="is not valid base64"):
            read_extensions([text], "f")


@given(st.binary(max_size=300) | st.binary(max_size=40).map(lambda head: b"Cr24" + head + packed_extension()))
def test_any_bytes_are_an_extension_or_a_reason(packed: bytes) -> None:
    try:
        read = read_extension(packed)
    except NotAnExtension as error:
        assert str(error)  # noqa: PT017 - most are refused, some are not
    else:
        assert read.manifest["name"] == "example"


def test_extensions_are_unpacked_each_into_a_folder_of_its_own(tmp_path: Path) -> None:
    packed = [packed_extension(files={"js/a.js": b"1", "img/": b""}), packed_extension({"name": "two"})]
    extensions.unpack([read_extension(one) for one in packed], tmp_path / "e")
    first, second = map(Path, extensions.unpacked(tmp_path / "e"))
    assert (first / "js" / "a.js").read_bytes() == b"1"
    assert json.loads((second / "manifest.json").read_text())["name"] == "two"
    assert "key" in json.loads((first / "manifest.json").read_text())


def test_a_session_without_extensions_has_none_unpacked(tmp_path: Path) -> None:
    extensions.unpack([], tmp_path / "e")
    assert (extensions.unpacked(tmp_path / "e"), list(tmp_path.iterdir())) == ([], [])


@pytest.mark.parametrize("files", [{"a": b"x", "a/b": b"x"}, {"broken": b"0123456789" * 100}])
def test_an_archive_that_cannot_be_unpacked_is_the_clients_mistake(
    tmp_path: Path, files: dict[str, bytes]
) -> None:
    packed = bytearray(packed_extension(files=files))
    if "broken" in files:
        at = packed.index(b"broken") + len(b"broken")
        packed[at : at + 8] = b"\xff" * 8
    with pytest.raises(SessionNotCreated, match="Extension 0 cannot be unpacked"):
        extensions.unpack([read_extension(bytes(packed))], tmp_path / "e")


class Chrome:
    """A DevTools connection to a Chrome that has loaded these extensions."""

    def __init__(self, *loaded: str, fails: bool = False) -> None:
        self.loaded = loaded
        self.fails = fails
        self.open = 0

    def call(self, method: str, _timeout: float, **_: object) -> dict[str, object]:
        if self.fails:
            raise DevToolsFailed("no such page")
        self.open += 1 if method == "Target.createTarget" else -1
        return {"targetId": "t"}

    def call_page(self, _target: str, _method: str, _timeout: float, **_: object) -> dict[str, object]:
        return {"result": {"value": json.dumps(self.loaded)}}


def not_loaded(chrome: Chrome, *packed: bytes) -> list[tuple[str, str]]:
    wanted = [read_extension(one) for one in packed]
    return [(one.name, one.reason) for one in extensions.not_loaded(chrome, wanted)]  # type: ignore[arg-type]


def test_what_chrome_did_not_load_is_named() -> None:
    good, old = packed_extension(), packed_extension({"manifest_version": 2, "name": "old one"})
    chrome = Chrome(read_extension(good).extension_id, "mhjfbmdgcfjbbpaeojofohoefgiehjai")
    assert not_loaded(chrome, good, old) == [
        ("extension 'old one'", "Chrome did not load it (manifest version 2)")
    ]
    assert chrome.open == 0


def test_if_chrome_does_not_say_what_it_loaded_all_are_named() -> None:
    found = not_loaded(Chrome(fails=True), packed_extension())
    assert found == [("extension 'example'", "Chrome does not say whether it loaded it (no such page)")]
