"""Routes on what is kept for keys: list, forget, and read or replace the login."""

from __future__ import annotations

from drover.api.key_requests import KeyAnswer, KeyList, KeyObject, LoginAnswer, LoginState
from drover.browser.storage_state import to_storage_state
from drover.core.errors import NothingKept, SessionInUse, StorageUnavailable
from drover.web.calls import request_deadline, services
from drover.web.rest_routes import RestRoutes

routes = RestRoutes("Keys")


@routes.add("get", "/keys", errors=(StorageUnavailable,))
def list_keys() -> KeyList:
    """List what is kept for which key.

    Cookies, storage and address of ended sessions, and whole profiles (`profile` is `keep`). The least
    recently used profiles are removed beyond `DROVER_MAX_KEPT_MB`; cookies and storage stay.
    """
    kept = services().kept_logins.keys(request_deadline())
    keys = [KeyObject.of(one) for one in kept]
    return KeyList(success=True, keys=keys, max_kept_mb=services().settings.max_kept_mb)


@routes.add(
    "delete",
    "/keys/{key}",
    errors=(NothingKept, StorageUnavailable),
    confirm="This forgets the login that is kept for the key.",
)
def forget_key(key: str) -> KeyAnswer:
    """Forget what is kept for a key.

    The next session of the key starts empty. A session of the key that exists is not closed, and leaves what
    it has when it ends.
    """
    services().kept_logins.forget(key, request_deadline())
    return KeyAnswer(success=True, message=f"Forgot what was kept for key {key}", key=key)


@routes.add("get", "/keys/{key}/state", errors=(NothingKept, StorageUnavailable))
def read_login(key: str) -> LoginAnswer:
    """Get the login of a key.

    Cookies and local storage in the format of Playwright's `storageState`: of the session of the key, or what
    is kept for it.
    """
    return LoginAnswer.model_validate(to_storage_state(services().kept_logins.state_of(key)))


@routes.add(
    "put",
    "/keys/{key}/state",
    errors=(SessionInUse, StorageUnavailable),
    short={"cookies": [], "origins": []},
)
def put_login(key: str, body: LoginState) -> KeyAnswer:
    """Keep a login for the next session of a key.

    Takes Playwright's `storageState`, so that a login travels from one machine to another. It replaces
    everything that is kept for the key. Refused while the key has a session.
    """
    services().kept_logins.put(key, body.saved_state(), request_deadline())
    return KeyAnswer(success=True, message=f"Kept for the next session of key {key}", key=key)
