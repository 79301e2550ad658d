"""A running ChromeDriver and its browser, described by plain values that can be stored."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from drover.processes.table import ProcessIdentity


@dataclass(frozen=True, slots=True)
class Screen:
    """What the first page of a browser with an emulated device has said of the device.

    Attributes:
        width: In CSS pixels, as the height.
        touch_points: How many fingers it takes; 0 for none.
    """

    width: int
    height: int
    pixel_ratio: float
    user_agent: str
    touch_points: int


@dataclass(frozen=True, slots=True)
class RunningBrowser:
    """One ChromeDriver, the browser that it drives, and the addresses of both.

    Attributes:
        driver: Identity of the ChromeDriver process.
        driver_url: ChromeDriver's address, on loopback.
        driver_session_id: ChromeDriver's own id of the WebDriver session.
        browser: Identity of Chrome's main process.
        browser_version: As Chrome reports it.
        debugger_address: `host:port` of Chrome's DevTools.
        browser_guid: The GUID in `/json/version`, unique to this start of the browser.
        granted: The capabilities as ChromeDriver granted them when the browser was started.
        bidi_url: ChromeDriver's WebSocket for BiDi; None if the client did not request it, or if it ended
            with an earlier ChromeDriver.
        window: The handle of the window that ChromeDriver has used first; None if it is not known.
        screen: The device that the browser emulates; None if it emulates none, or if it is not known.
    """

    driver: ProcessIdentity
    driver_url: str
    driver_session_id: str
    browser: ProcessIdentity
    browser_version: str
    debugger_address: str
    browser_guid: str
    granted: Mapping[str, object] = field(default_factory=dict, repr=False, hash=False, compare=False)
    bidi_url: str | None = None
    window: str | None = None
    screen: Screen | None = None

    @property
    def devtools_address(self) -> str:
        """The address of the browser's DevTools WebSocket."""
        return f"ws://{self.debugger_address}/devtools/browser/{self.browser_guid}"

    @property
    def pids(self) -> frozenset[int]:
        """The pids of ChromeDriver and of Chrome's main process."""
        return frozenset({self.driver.pid, self.browser.pid})
