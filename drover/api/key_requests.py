"""Models of what is kept for keys; a login has the format of Playwright's `storageState`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, field_validator

from drover.api.answers import ApiModel, Success, Timestamp
from drover.api.validation import Strict
from drover.browser.saved_state import SavedState
from drover.browser.storage_state import from_storage_state
from drover.sessions.persistence.kept_logins import KeptKey

MAX_STATE_BYTES = 16 * 1024 * 1024
"""Maximum body of a login: local storage may have 5 MB per origin."""


class CookieState(Strict):
    """A cookie."""

    name: Annotated[str, Field(examples=["sid"])]
    """Its name."""
    value: Annotated[str, Field(examples=["b2c4d"])]
    """Its value."""
    domain: Annotated[str, Field(min_length=1, examples=["example.org"])]
    """Its domain."""
    path: Annotated[str, Field(examples=["/"])] = "/"
    """Its path."""
    expires: Annotated[float, Field(examples=[-1])] = -1
    """Seconds since the epoch; -1 for a cookie that ends with the browser."""
    httpOnly: bool = Field(default=False, examples=[True])  # noqa: N815 - the name in the format
    """Whether scripts cannot read it."""
    secure: bool = Field(default=False, examples=[True])
    """Whether it is sent over https only."""
    sameSite: Literal["Strict", "Lax", "None"] = Field(default="Lax", examples=["Lax"])  # noqa: N815 - as above
    """When it is sent with requests of other sites."""
    partitionKey: Annotated[str, Field(examples=["https://example.org"])] | None = None  # noqa: N815 - as above
    """Site in whose pages only it is valid."""
    cross_site_ancestor: bool | None = Field(default=None, alias="_crHasCrossSiteAncestor", examples=[False])
    """Part of the partition key."""


class StoredValue(Strict):
    """A value in local storage."""

    name: Annotated[str, Field(examples=["theme"])]
    """Its name."""
    value: Annotated[str, Field(examples=["dark"])]
    """Its value."""


class OriginState(Strict):
    """The storage of an origin."""

    origin: Annotated[str, Field(pattern=r"^https?://[^/]+$", examples=["https://example.org"])]
    """The origin."""
    localStorage: list[StoredValue] = Field(default=[])  # noqa: N815 - the name in the format
    """Its local storage."""
    indexedDB: list[Any] = Field(default=[], examples=[[]])  # noqa: N815 - as above
    """Its databases, which cannot be restored: must be empty."""

    @field_validator("indexedDB")
    @classmethod
    def _is_empty(cls, value: list[Any]) -> list[Any]:
        if value:
            raise ValueError("IndexedDB cannot be restored; use a session with profile keep instead")
        return value


class LoginState(Strict):
    """A login: cookies and local storage."""

    cookies: list[CookieState] = Field(default=[])
    """The cookies."""
    origins: list[OriginState] = Field(default=[])
    """Local storage by origin."""

    def saved_state(self) -> SavedState:
        """Return it in the form that is restored into browsers."""
        return from_storage_state(
            [cookie.model_dump(by_alias=True) for cookie in self.cookies],
            {
                one.origin: {value.name: value.value for value in one.localStorage}
                for one in self.origins
                if one.localStorage
            },
        )


class KeyObject(ApiModel):
    """What is kept for a key."""

    key: str = Field(examples=["account-17"])
    """The key."""
    last_used: Timestamp
    """Time at which the session that left it was last used or ended, or at which a client sent it."""
    size_mb: float = Field(examples=[24.1])
    """What it takes on disk, in units of 1,000,000 bytes."""
    profile: Literal["fresh", "keep"] = Field(examples=["keep"])
    """`keep`: the whole profile; `fresh`: cookies, storage and address only."""

    @classmethod
    def of(cls, kept: KeptKey) -> KeyObject:
        """Return what is kept for a key as clients see it."""
        return cls.filled(kept, profile="keep" if kept.has_profile else "fresh")


class KeyList(Success):
    """Everything that is kept for keys."""

    keys: list[KeyObject]
    """The keys, the most recently used first."""
    max_kept_mb: int = Field(examples=[4096])
    """MB that kept profiles may have together; 0 = no limit."""


class KeyAnswer(Success):
    """What was done for a key."""

    message: str = Field(examples=["Forgot what was kept for key account-17"])
    """The result, for people."""
    key: str = Field(examples=["account-17"])
    """The key."""


class LoginAnswer(ApiModel):
    """A login, in the format of Playwright's `storageState`."""

    header_meanings: ClassVar[Mapping[str, str]] = {"Cache-Control": "`no-store`: it is a secret"}

    cookies: list[dict[str, Any]] = Field(
        examples=[[{"name": "sid", "value": "b2c4d", "domain": "example.org", "path": "/", "expires": -1}]]
    )
    """The cookies."""
    origins: list[dict[str, Any]] = Field(
        examples=[[{"origin": "https://example.org", "localStorage": [{"name": "theme", "value": "dark"}]}]]
    )
    """Local storage by origin."""

    def headers(self) -> dict[str, str]:
        """Return the headers of the response, which `header_meanings` describes."""
        return {"Cache-Control": "no-store"}
