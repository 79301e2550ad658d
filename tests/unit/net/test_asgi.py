"""The target of a request in its scope."""

from __future__ import annotations

from drover.net.asgi import header, with_target


def test_the_host_of_an_absolute_target_replaces_the_header() -> None:
    headers = [(b"accept", b"*/*"), (b"host", b"first.example")]
    scope = {"raw_path": b"http://localhost:5010/%61", "path": "http://localhost:5010/a", "headers": headers}
    read, refusal = with_target(scope)
    assert (read["path"], read["raw_path"], header(read, b"host")) == ("/a", b"/a", "localhost:5010")
    assert (header(read, b"accept"), refusal) == ("*/*", None)


def test_the_decoded_path_is_read_if_the_server_does_not_tell_the_one_that_was_sent() -> None:
    assert with_target({"path": "/ä b", "headers": []})[0]["path"] == "/%C3%A4%20b"
