"""Dialogs of pages (alert, confirm, prompt, beforeunload), and how an open one is answered."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass

BEFORE_UNLOAD = "beforeunload"
MAX_PROMPT = 4096
"""Characters that are kept of a dialog's message and suggestion; a page can make them megabytes long."""
_ACCEPTING = frozenset({"accept", "accept and notify"})


@dataclass(frozen=True, slots=True)
class Dialog:
    """An open dialog.

    Attributes:
        kind: alert, confirm, prompt or beforeunload.
        default_prompt: The text that a prompt suggests.
        message: What it says, shortened.
    """

    kind: str
    default_prompt: str = ""
    message: str = ""


def is_accepted(behavior: object, kind: str) -> bool:
    """Return whether a dialog is accepted, which a session must have requested; otherwise it is dismissed.

    A `beforeunload` is never accepted, because the page and what was typed into it would be lost.

    Args:
        behavior: The session's capability `unhandledPromptBehavior`: a text, or one for each kind of dialog.
    """
    if kind == BEFORE_UNLOAD:
        return False
    if isinstance(behavior, Mapping):
        behavior = behavior.get(kind, behavior.get("default"))
    return behavior in _ACCEPTING


class DialogAnswers:
    """How dialogs are answered during a re-attach, and which ones were.

    Args:
        accepts: Returns whether a dialog of this kind is accepted.
    """

    def __init__(self, accepts: Callable[[str], bool]) -> None:
        self._accepts = accepts
        self._kinds: dict[str, None] = {}
        self._by_page: Counter[str] = Counter()

    def answer(self, dialog: Dialog) -> dict[str, object]:
        """Return the parameters of `Page.handleJavaScriptDialog` for a dialog."""
        if not self._accepts(dialog.kind):
            return {"accept": False}
        return {"accept": True, "promptText": dialog.default_prompt}

    def note(self, target_id: str, dialog: Dialog) -> None:
        """Record that a dialog of a page was answered."""
        self._kinds[dialog.kind] = None
        self._by_page[target_id] += 1

    def count(self, target_id: str) -> int:
        """Return how many dialogs of a page were answered."""
        return self._by_page[target_id]

    @property
    def lost(self) -> tuple[str, ...]:
        """The kinds of the answered dialogs, as `recovery.lost` names them."""
        return tuple(f"dialog:{kind}" for kind in tuple(self._kinds))
