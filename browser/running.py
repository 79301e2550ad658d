"""A running ChromeDriver with its browser, as values that outlive the objects that started them."""

from __future__ import annotations

from dataclasses import dataclass

from processes.table import ProcessIdentity


@dataclass(frozen=True, slots=True)
class RunningBrowser:
    """One ChromeDriver, the browser that it drives, and how to reach both.

    Attributes:
        driver: Identity of the ChromeDriver process.
        driver_url: ChromeDriver's address, on loopback.
        driver_session_id: ChromeDriver's own id of the WebDriver session.
        browser: Identity of Chrome's main process.
        browser_version: As Chrome reports it.
        debugger_address: `host:port` of Chrome's DevTools.
        browser_guid: The GUID in `/json/version`, which no other start of a browser has.
    """

    driver: ProcessIdentity
    driver_url: str
    driver_session_id: str
    browser: ProcessIdentity
    browser_version: str
    debugger_address: str
    browser_guid: str

    @property
    def pids(self) -> frozenset[int]:
        """Give the pids of ChromeDriver and of Chrome's main process."""
        return frozenset({self.driver.pid, self.browser.pid})
