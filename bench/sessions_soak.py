"""Sessions opened and closed, four at a time, some of them killed in between: what is left afterwards?

    python bench/sessions_soak.py [--sessions 1000] [--seed N]

Processes and folders must be back at zero, threads and file handles of the service at their base line, and
its memory at most a tenth above. The base line is taken after a first tenth of the sessions, eight at a time.
The seed is printed; the exit status is 0 if all bounds held. Linux.
"""

from __future__ import annotations

import argparse
import random
import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Final

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import psutil

from tests.acceptance.faults import send_kill
from tests.acceptance.service import Service, expect, pids_of, running
from tests.machine import wait_until

AT_A_TIME: Final = 4
KILLED_ONE_IN: Final = 4
SETTLED_S: Final = 30.0
MORE_MEMORY: Final = 1.10
MORE_HANDLES: Final = 4
"""A tolerance for connections that a client keeps open."""
MIB: Final = 1 << 20


def one(service: Service, number: int, seed: int) -> None:
    """Open a session, perhaps kill a process of it and acquire it again, and close it."""
    chance = random.Random(seed + number)  # noqa: S311 - to be had again, not to be secret
    session = service.create(session_id=f"soak-{number}")
    if chance.randrange(KILLED_ONE_IN) == 0:
        send_kill(chance.choice(sorted(pids_of(session))))
        expect(service.get(f"/sessions/soak-{number}"))
    expect(service.delete(f"/sessions/soak-{number}"))


def many(service: Service, numbers: range, seed: int, at_a_time: int) -> None:
    """Open and close many sessions, some at a time."""
    with ThreadPoolExecutor(at_a_time) as pool:
        for done in pool.map(partial(one, service, seed=seed), numbers):
            assert done is None


def resources(service: Service) -> Mapping[str, float]:
    """Return the resources of the service, once no session is left."""
    wait_until(
        lambda: not service.processes() and not service.session_folders(), "nothing is left", SETTLED_S
    )
    process = psutil.Process(service.process.pid)
    return {
        "threads": process.num_threads(),
        "file handles": process.num_fds(),
        "memory in MiB": round(process.memory_full_info().uss / MIB, 1),
    }


def main() -> int:
    """Run, print the resources before and after, and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sessions", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    options = parser.parse_args()
    print(f"{options.sessions} sessions, --seed {options.seed}", flush=True)
    first = max(AT_A_TIME, options.sessions // 10)
    with running(max_sessions=2 * AT_A_TIME) as service:
        many(service, range(first), options.seed, 2 * AT_A_TIME)
        before = resources(service)
        many(service, range(first, options.sessions), options.seed, AT_A_TIME)
        after = resources(service)
    most = {
        "threads": before["threads"],
        "file handles": before["file handles"] + MORE_HANDLES,
        "memory in MiB": before["memory in MiB"] * MORE_MEMORY,
    }
    for what, found in after.items():
        verdict = "kept" if found <= most[what] else "MISSED"
        print(
            f"{what:<14} before {before[what]:8.1f}, after {found:8.1f}, at most {most[what]:8.1f}  {verdict}"
        )
    return int(any(found > most[what] for what, found in after.items()))


if __name__ == "__main__":
    sys.exit(main())
