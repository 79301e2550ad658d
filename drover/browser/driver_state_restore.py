"""Set again in a new ChromeDriver what a client had set in the one before."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace

from drover.browser import driver_client
from drover.browser.driver_state import (
    FIND_ROOT,
    LOST_ACTIONS,
    LOST_FRAME,
    DriverState,
    Override,
    frame_of,
    lost_name,
)
from drover.browser.running_browser import RunningBrowser

COMMAND_S = 5.0


def restore_driver_state(
    running: RunningBrowser, state: DriverState, handles: Sequence[str], chosen: str
) -> tuple[DriverState, tuple[str, ...]]:
    """Send a client's overrides to their tabs and choose its window and frame; return what is left of them.

    Args:
        running: The browser with its new ChromeDriver.
        chosen: The handle of the client's window.

    Returns:
        The state as it is now, and the names of what is lost, as `recovery.lost` has them.

    Raises:
        CommandFailed: The client's window cannot be chosen.
    """
    lost = list(state.not_set_again)
    kept: list[Override] = []
    current: str | None = None
    for one in state.overrides:
        window = one.window or chosen
        if window not in handles:
            continue  # its tab was closed
        if window != current:
            driver_client.choose_window(running, window, COMMAND_S)
            current = window
        try:
            value = driver_client.send(running, one.path, json.loads(one.body), COMMAND_S)
        except driver_client.CommandFailed:
            lost.append(lost_name(one.key))
            continue
        identifier = value.get("identifier") if isinstance(value, dict) else None
        kept.append(replace(one, current=str(identifier)) if one.known is not None else one)
    if current != chosen:
        driver_client.choose_window(running, chosen, COMMAND_S)
    input_lost = state.input_lost or LOST_ACTIONS in state.not_set_again
    now = replace(state, overrides=tuple(kept), not_set_again=(), input_lost=input_lost)
    if state.frame and not _choose_frame(running, state):
        driver_client.send(running, "/frame", {"id": None}, COMMAND_S)
        now = replace(now, frame=(), frame_id=None, frame_lost=True)
        lost.append(LOST_FRAME)
    return now, tuple(dict.fromkeys(lost))


def _choose_frame(running: RunningBrowser, state: DriverState) -> bool:
    """Choose the client's frame; return whether it is still the one that was noted."""
    try:
        for choice in state.frame:
            driver_client.send(running, "/frame", {"id": json.loads(choice)}, COMMAND_S)
        root = driver_client.send(running, "/element", FIND_ROOT, COMMAND_S)
    except driver_client.CommandFailed:
        return False
    return state.frame_id is not None and frame_of(root) == state.frame_id
