"""Three nodes behind the nginx of deploy/nginx-cluster.conf: any request may reach any node."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

import pytest
import requests
from websockets.sync.client import connect

from tests.acceptance.clusters import Nodes
from tests.machine import PATIENCE, free_port, remove, short_folder, wait_until
from tests.postgres import MISSING, is_installed

pytestmark = [
    pytest.mark.exhaustive,
    pytest.mark.skipif(not is_installed(), reason=MISSING),
    pytest.mark.skipif(shutil.which("nginx") is None, reason="needs nginx"),
    pytest.mark.timeout(400),
    pytest.mark.xdist_group(name="cluster"),
]
CONF: Final = (Path(__file__).parents[2] / "deploy" / "nginx-cluster.conf").read_text(encoding="utf-8")
MAIN: Final = """
pid {folder}/pid;
error_log {folder}/error.log;
daemon off;
events {{}}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    include {folder}/cluster.conf;
}}
"""
ANSWER_S: Final = 60 * PATIENCE


@pytest.fixture
def proxy(nodes: Nodes) -> Iterator[str]:
    """Run three nodes and nginx before them; yield `host:port`. One node ends before the first request."""
    ports = {name: nodes.start(name, max_sessions=1) for name in ("a", "b", "c")}
    ports["c"].kill()
    port, folder = free_port(), short_folder()
    conf = CONF.replace("listen 5010", f"listen 127.0.0.1:{port}")
    conf = re.sub(r"server (\w):5010", lambda found: f"server 127.0.0.1:{ports[found[1]].port}", conf)
    (folder / "cluster.conf").write_text(conf, encoding="utf-8")
    (folder / "nginx.conf").write_text(MAIN.format(folder=folder), encoding="utf-8")
    command = ["nginx", "-c", str(folder / "nginx.conf"), "-p", str(folder), "-e", str(folder / "error.log")]
    subprocess.run([*command, "-t"], check=True, capture_output=True)
    process = subprocess.Popen(command)
    try:
        wait_until(lambda: answers(f"http://127.0.0.1:{port}/health"), "nginx answers", ANSWER_S)
        yield f"127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(ANSWER_S)
        remove(folder)


def answers(url: str) -> bool:
    """Return whether something answers with 200."""
    try:
        return bool(requests.get(url, timeout=ANSWER_S).status_code == requests.codes.ok)
    except requests.RequestException:
        return False


def test_requests_sockets_and_streams_pass_the_proxy_whichever_node_they_reach(proxy: str) -> None:
    url = f"http://{proxy}"
    one = {"session_id": "behind", "lease": {"ttl": 300}}
    assert requests.post(f"{url}/sessions", json=one, timeout=ANSWER_S).status_code == 201
    for _ in range(6):
        title = requests.get(f"{url}/wd/hub/session/behind/title", timeout=ANSWER_S)
        assert title.status_code == 200
        with connect(f"ws://{proxy}/sessions/behind/cdp") as socket:
            socket.send('{"id": 1, "method": "Browser.getVersion"}')
            assert '"id":1' in str(socket.recv(timeout=ANSWER_S)).replace(" ", "")
    with requests.get(f"{url}/events", stream=True, timeout=ANSWER_S) as events:
        lines = (line for line in events.iter_lines() if line.startswith(b"event:"))
        assert next(lines) == b"event: state"
    other = {"session_id": "beside", "lease": {"ttl": 300}}
    assert requests.post(f"{url}/sessions", json=other, timeout=ANSWER_S).status_code == 201
    # All places are taken: the request waits for one, and gets that of the session that ends.
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(
            requests.post, f"{url}/sessions", json={"session_id": "waits"}, timeout=ANSWER_S
        )
        wait_until(lambda: waits(url), "the request is in a wait queue", ANSWER_S)
        assert requests.delete(f"{url}/sessions/behind", timeout=ANSWER_S).status_code == 200
        assert requests.delete(f"{url}/sessions/beside", timeout=ANSWER_S).status_code == 200
        assert waiting.result().status_code == 201


def waits(url: str) -> bool:
    """Return whether a request waits at the node that is asked."""
    metrics = requests.get(f"{url}/metrics", timeout=ANSWER_S).text
    return "drover_waiting_requests 1.0" in metrics
