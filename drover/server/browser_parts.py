"""The object graph of what starts, recovers and stops browsers."""

from __future__ import annotations

from functools import partial

from drover.browser.binaries import matching, resolve
from drover.browser.browsers import Browsers
from drover.browser.devtools import DevTools
from drover.browser.installed import InstalledBrowser
from drover.browser.launcher import Launcher
from drover.browser.reattach import Reattacher
from drover.browser.recovery import Recoverer
from drover.browser.survival import examine
from drover.core.settings import Settings
from drover.processes.host.memory import is_shared_memory_small
from drover.processes.host.permissions import is_root
from drover.server.storage_parts import StorageParts
from drover.sessions.background.memory_watch import wait_for_memory
from drover.sessions.pool.registry import SessionRegistry

_SPARING_SHARED_MEMORY = ("--disable-dev-shm-usage",)


def browsers_of(settings: Settings, storage: StorageParts, registry: SessionRegistry) -> Browsers:
    """Return the browsers and their parts; nothing runs yet."""
    sparing = _SPARING_SHARED_MEMORY if is_shared_memory_small() else ()
    launcher = Launcher(
        InstalledBrowser(
            partial(resolve, settings.chrome_binary, settings.chromedriver),
            partial(matching, chromedriver_setting=settings.chromedriver),
        ),
        headless=settings.headless,
        no_sandbox=is_root(),
        chrome_args=(*sparing, *settings.chrome_args),
    )
    devtools = DevTools(settings.max_downloads_mb)
    recoverer = Recoverer(
        launcher,
        Reattacher(launcher, devtools),
        devtools,
        storage.profiles,
        partial(examine, timeout=settings.health_timeout),
        partial(wait_for_memory, registry, settings.queue_timeout),
    )
    return Browsers(launcher, storage.folders, recoverer, devtools, settings.health_timeout)
