"""Available memory: what the control groups of both versions leave to the service."""

from __future__ import annotations

from pathlib import Path

import pytest

from drover.processes.host import memory
from drover.processes.host.memory import available_memory_mb, left_in_groups, swapped_out_bytes

MB = 1_000_000
V1_UNLIMITED = 9223372036854771712


def write(folder: Path, **files: object) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name.replace("__", ".")).write_text(f"{content}\n", encoding="ascii")


def test_the_limit_of_version_2_counts_without_the_page_cache(tmp_path: Path) -> None:
    stat = f"anon 1\ninactive_file {50 * MB}\nactive_file {20 * MB}\nslab_reclaimable {5 * MB}"
    write(
        tmp_path / "app",
        memory__max=512 * MB,
        memory__high="max",
        memory__current=300 * MB,
        memory__stat=stat,
    )
    assert left_in_groups("0::/app\n", tmp_path) == (512 - 300 + 75) * MB


def test_the_throttling_limit_of_version_2_counts_too(tmp_path: Path) -> None:
    write(tmp_path / "app", memory__max=512 * MB, memory__high=400 * MB, memory__current=300 * MB)
    assert left_in_groups("0::/app\n", tmp_path) == 100 * MB


def test_a_limit_of_a_group_above_counts(tmp_path: Path) -> None:
    write(tmp_path / "pod", memory__max=500 * MB, memory__current=450 * MB)
    write(tmp_path / "pod" / "app", memory__max="max", memory__current=100 * MB)
    assert left_in_groups("0::/pod/app\n", tmp_path) == 50 * MB


def test_the_limit_of_version_1_counts(tmp_path: Path) -> None:
    group = tmp_path / "memory" / "docker" / "1"
    write(
        group,
        memory__limit_in_bytes=512 * MB,
        memory__usage_in_bytes=500 * MB,
        memory__stat=f"total_inactive_file {100 * MB}\ntotal_active_file 0",
    )
    write(tmp_path / "memory", memory__limit_in_bytes=V1_UNLIMITED, memory__usage_in_bytes=900 * MB)
    assert left_in_groups("4:memory:/docker/1\n3:cpu:/docker/1\n0::/\n", tmp_path) == 112 * MB


def test_a_container_that_sees_the_path_of_the_machine_reads_what_is_mounted(tmp_path: Path) -> None:
    write(tmp_path / "memory", memory__limit_in_bytes=256 * MB, memory__usage_in_bytes=56 * MB)
    assert left_in_groups("4:memory:/docker/9a0c\n", tmp_path) == 200 * MB


def test_more_than_the_limit_leaves_nothing(tmp_path: Path) -> None:
    write(tmp_path, memory__max=100 * MB, memory__current=120 * MB)
    assert left_in_groups("0::/\n", tmp_path) == 0


@pytest.mark.parametrize("own_groups", ["", "0::/\n", "2:cpu:/a\n", "nonsense"])
def test_a_machine_without_limits_leaves_what_it_has(own_groups: str, tmp_path: Path) -> None:
    write(tmp_path, memory__max="max", memory__current=120 * MB)
    assert left_in_groups(own_groups, tmp_path) is None


def test_this_machine_has_memory() -> None:
    assert available_memory_mb() > 0
    assert swapped_out_bytes() >= 0


def test_a_windows_without_performance_counters_has_no_number_of_swapped_bytes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail() -> None:
        raise RuntimeError("PdhAddEnglishCounterW failed. Performance counters may be disabled.")

    monkeypatch.setattr(memory.sys, "platform", "win32")  # type: ignore[attr-defined]
    monkeypatch.setattr(memory.psutil, "swap_memory", fail)  # type: ignore[attr-defined]
    assert memory.swapped_out_bytes() == 0
