from __future__ import annotations

from tests.machine import PORTS, SHARES, own_ports


def test_workers_choose_among_different_ports() -> None:
    shares = [set(own_ports(f"gw{number}")) for number in range(SHARES)]
    assert set().union(*shares) == set(PORTS) == set(own_ports(None))
    assert sum(map(len, shares)) == len(PORTS)
    assert own_ports("gw12") == own_ports("gw0")
