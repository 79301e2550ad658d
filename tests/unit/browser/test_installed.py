"""Unit tests for the pair of programs that changes while the service runs."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from drover.browser import installed
from drover.browser.binaries import Binaries
from drover.browser.installed import InstalledBrowser
from drover.core.deadline import Deadline
from drover.core.errors import BrowserUnavailable, StartRefused


class Disk:
    """A Chrome and a ChromeDriver whose content is their version, and Selenium Manager's ChromeDriver."""

    def __init__(self, folder: Path, chrome: str, driver: str) -> None:
        self.pair = Binaries(folder / "chrome", folder / "chromedriver")
        self.fetched = folder / "fetched"
        self.put(self.pair.chrome, chrome)
        self.put(self.pair.chromedriver, driver)
        self.searches = 0
        self.matches = 0

    def put(self, path: Path, version: str) -> None:
        """Replace a program, as an update does."""
        new = path.with_suffix(".new")
        new.write_text(version)
        os.replace(new, path)  # noqa: PTH105 - as updates do

    def find(self) -> Binaries:
        self.searches += 1
        return self.pair

    def match(self, found: Binaries) -> Binaries:
        self.matches += 1
        if not self.fetched.exists():
            raise BrowserUnavailable("Selenium Manager has no network")
        return Binaries(found.chrome, self.fetched)


@pytest.fixture(autouse=True)
def versions_from_content(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        installed, "versions", lambda found: (found.chrome.read_text(), found.chromedriver.read_text())
    )


def installed_browser(disk: Disk) -> InstalledBrowser:
    return InstalledBrowser(disk.find, disk.match)


def test_the_pair_is_looked_for_once_while_its_files_are_the_same(folder: Path) -> None:
    disk = Disk(folder, "156.0.1", "156.0.2")
    browser = installed_browser(disk)
    assert browser.get(Deadline(1)) == browser.get(Deadline(1)) == disk.pair
    assert disk.searches == 1


@pytest.mark.parametrize("updated", ["chrome", "chromedriver"])
def test_an_updated_program_is_looked_for_anew_and_its_version_is_read(folder: Path, updated: str) -> None:
    disk = Disk(folder, "156.0.1", "156.0.2")
    browser = installed_browser(disk)
    browser.get(Deadline(1))
    assert browser.version_warning is None
    disk.put(folder / updated, "157.0.0.1")
    browser.get(Deadline(1))
    assert disk.searches == 2
    assert browser.version_warning is not None
    assert "157.0.0.1" in browser.version_warning


def test_a_mismatch_is_healed_by_selenium_managers_chromedriver(folder: Path) -> None:
    disk = Disk(folder, "157.0.1", "156.0.2")
    disk.put(disk.fetched, "157.0.3")
    browser = installed_browser(disk)
    browser.get(Deadline(1))
    assert browser.match(Deadline(1))
    assert browser.get(Deadline(1)) == Binaries(disk.pair.chrome, disk.fetched)
    assert browser.version_warning is None


def test_a_mismatch_that_cannot_be_healed_is_tried_once_for_each_pair_of_files(folder: Path) -> None:
    disk = Disk(folder, "157.0.1", "156.0.2")
    browser = installed_browser(disk)
    browser.get(Deadline(1))
    assert not browser.match(Deadline(1))
    assert not browser.match(Deadline(1))
    assert disk.matches == 1
    assert browser.get(Deadline(1)) == disk.pair
    disk.put(disk.pair.chrome, "158.0.1")
    browser.get(Deadline(1))
    browser.match(Deadline(1))
    assert disk.matches == 2


def test_a_browser_from_before_the_update_is_attached_to_with_its_own_chromedriver(folder: Path) -> None:
    disk = Disk(folder, "157.0.1", "156.0.2")
    disk.put(disk.fetched, "157.0.3")
    browser = installed_browser(disk)
    browser.get(Deadline(1))
    browser.match(Deadline(1))
    assert browser.driver_for("156.0.1", Deadline(1)) == disk.pair.chromedriver
    assert browser.driver_for("157.0.1", Deadline(1)) == disk.fetched
    assert browser.driver_for("99.0.1", Deadline(1)) == disk.fetched


def test_a_chromedriver_that_is_too_old_is_refused_until_it_is_updated(folder: Path) -> None:
    disk = Disk(folder, "156.0.1", "114.0.2")
    browser = installed_browser(disk)
    assert browser.obstacle() is not None
    with pytest.raises(BrowserUnavailable, match=r"ChromeDriver 114\.0\.2 .* not supported"):
        browser.get(Deadline(1))
    disk.put(disk.pair.chromedriver, "156.0.2")
    assert browser.obstacle() is None


def test_a_version_that_could_not_be_read_is_read_again(folder: Path) -> None:
    disk = Disk(folder, "", "")
    browser = installed_browser(disk)
    assert "--version` failed" in str(browser.obstacle())
    disk.put(disk.pair.chrome, "156.0.1")
    disk.put(disk.pair.chromedriver, "156.0.1")
    assert browser.obstacle() is None


def test_a_configured_program_that_is_away_for_now_is_unavailable(folder: Path) -> None:
    disk = Disk(folder, "156.0.1", "156.0.2")
    present = disk.pair.chromedriver.exists

    def find() -> Binaries:
        if not present():
            raise StartRefused("DROVER_CHROMEDRIVER is not an executable file")
        return disk.pair

    browser = InstalledBrowser(find, disk.match)
    browser.get(Deadline(1))
    away = disk.pair.chromedriver.rename(folder / "away")
    with pytest.raises(BrowserUnavailable, match="not an executable file"):
        browser.get(Deadline(1))
    away.rename(disk.pair.chromedriver)
    assert browser.get(Deadline(1)) == disk.pair


def test_a_setting_that_was_never_right_refuses_the_start() -> None:
    def find() -> Binaries:
        raise StartRefused("DROVER_CHROMEDRIVER is not an executable file")

    with pytest.raises(StartRefused):
        InstalledBrowser(find, lambda found: found).get(Deadline(1))
