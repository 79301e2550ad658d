"""How many file descriptors this process may have open.

systemd's default soft limit is 1,024, launchd's 256; each session, connection and process that
is waited for takes some. Windows has no such limit.
"""

from __future__ import annotations

import sys

_ENOUGH = 65_536
"""More is not asked for: some programs that we start walk through all descriptors that they may have."""

if sys.platform == "win32":

    def descriptor_limit() -> int:
        """Return how many descriptors this process may have open."""
        return _ENOUGH

    def raise_descriptor_limit() -> None:
        """Do nothing: there is no limit to raise."""

else:
    import resource

    def descriptor_limit() -> int:
        """Return how many descriptors this process may have open: the soft limit."""
        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        return _ENOUGH if soft == resource.RLIM_INFINITY else soft

    def raise_descriptor_limit() -> None:
        """Raise the soft limit to the hard limit, or to what is enough; a higher one stays."""
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        wanted = _ENOUGH if hard == resource.RLIM_INFINITY else min(hard, _ENOUGH)
        if soft != resource.RLIM_INFINITY and soft < wanted:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
