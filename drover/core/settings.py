"""Every `DROVER_` variable: its meaning, unit, default and allowed values.

Values come from the environment first, then from a `.env` file in the working directory.
"""

from __future__ import annotations

import io
import os
import re
import shlex
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from platformdirs import user_data_path
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, ValidationError

from drover.core.errors import StartRefused

PREFIX = "DROVER_"
_ENV_FILE = Path(".env")
_SECRET = (f"{PREFIX}API_TOKEN", f"{PREFIX}GRID_SECRET", f"{PREFIX}DATABASE_URL")
_HTTP_URL = re.compile(r"https?://(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::[0-9]{1,5})?/?")
_IN_DOUBLE_QUOTES = re.compile(
    r'^[ \t]*(?:export[ \t]+)?(?P<name>\w+)[ \t]*=[ \t]*"(?P<value>[^"\n]*)"[ \t]*(?:#.*)?$', re.MULTILINE
)


def _split_hosts(value: object) -> object:
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


def _split_args(value: object) -> object:
    return split_switches(value, sys.platform) if isinstance(value, str) else value


def split_switches(text: str, system: str) -> list[str]:
    """Return the switches in a text, as the shell of the system separates them.

    On Windows a backslash belongs to a path and an apostrophe to a name; only double quotes keep spaces.

    Raises:
        ValueError: A quotation mark is missing.
    """
    lexer = shlex.shlex(text, posix=True, punctuation_chars=False)
    lexer.whitespace_split = True
    lexer.commenters = ""
    if system == "win32":
        lexer.escape, lexer.quotes = "", '"'
    return list(lexer)


def quoted_values(text: str) -> dict[str, str]:
    r"""Return by name the values that a `.env` file has in double quotes, as they stand.

    python-dotenv reads a `\t` in double quotes as a tab, so `"C:\new\tools"` would be no path.
    """
    return {found["name"]: found["value"] for found in _IN_DOUBLE_QUOTES.finditer(text)}


def _in_env_file() -> dict[str, str | None]:
    """Return the variables of the `.env` file; None for one without a `=`.

    On Windows values in double quotes keep their backslashes.
    """
    if not _ENV_FILE.is_file():
        return {}
    import dotenv  # noqa: PLC0415 - most users have no such file, and no start should wait for its import

    text = _ENV_FILE.read_text(encoding="utf-8-sig")
    values = dotenv.dotenv_values(stream=io.StringIO(text)) | (
        quoted_values(text) if sys.platform == "win32" else {}
    )
    return {name.upper(): value for name, value in values.items()}


def _lower(value: object) -> object:
    return value.lower() if isinstance(value, str) else value


def _not_blank(value: object) -> object:
    if isinstance(value, str) and not value.strip():
        raise ValueError("must be the path of a folder")
    return value


def default_data_dir(system: str) -> Path:
    """Return the system's folder for user data; on macOS a shorter path.

    With `~/Library/Application Support/drover`, a user name of more than three characters would make the
    paths of Chrome's sockets too long.

    Raises:
        StartRefused: The user has no home folder, as in a container that runs with any user id.
    """
    try:
        return Path.home() / ".drover" if system == "darwin" else user_data_path("drover", appauthor=False)
    except RuntimeError as error:
        raise StartRefused(
            f"{PREFIX}DATA_DIR is not set and this user has no home folder: set it to the path of a folder"
        ) from error


def _http_url(value: str | None) -> str | None:
    if value is None or (_HTTP_URL.fullmatch(value) and _has_valid_address(value)):
        return value
    raise ValueError("must be an address such as http://127.0.0.1:5555")


def _has_valid_address(url: str) -> bool:
    try:
        return urlsplit(url).port != 0
    except ValueError:
        # An IPv6 address or a port that there cannot be.
        return False


def _absolute(path: Path) -> Path:
    first = path.parts[0] if path.parts else ""
    # ntpath guesses the folder of another user, whether there is such a user or not.
    is_guess = sys.platform == "win32" and first.startswith("~") and first != "~"
    try:
        expanded = path if is_guess else path.expanduser()
    except RuntimeError:
        is_guess = True
    if is_guess:
        raise ValueError(f"unknown user in {first!r}; use an absolute path")
    return Path(os.path.abspath(expanded))  # noqa: PTH100 - Path.absolute() keeps `..`


Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Megabytes = Annotated[int, Field(ge=0)]


class Settings(BaseModel):
    """The validated settings of the service; times are in seconds.

    What is not given is read from the environment, then from the `.env` file.
    """

    model_config = ConfigDict(frozen=True, validate_default=True)

    def __init__(self, **given: Any) -> None:  # noqa: ANN401 - validated
        environment = _in_env_file() | {name.upper(): value for name, value in os.environ.items()}
        variables = {name: environment.get(PREFIX + name.upper()) for name in type(self).model_fields}
        super().__init__(**{name: value for name, value in variables.items() if value is not None} | given)

    host: str = Field(
        default="127.0.0.1", description="address to listen on; anything but loopback needs API_TOKEN"
    )
    port: int = Field(default=5010, ge=1, le=65535, description="TCP port to listen on")
    data_dir: Annotated[Path, BeforeValidator(_not_blank), AfterValidator(_absolute)] = Field(
        default_factory=lambda: default_data_dir(sys.platform),
        description="folder for sessions, profiles and the instance lock",
    )
    max_sessions: int = Field(default=10, ge=1, le=1000, description="maximum number of sessions")
    queue_timeout: float = Field(
        default=30, ge=0, le=3600, description="seconds that a request waits if all sessions are in use"
    )
    idle_timeout: Seconds = Field(
        default=1800, description="seconds without use after which a session is closed; 0 = never"
    )
    health_timeout: float = Field(
        default=2, gt=0, le=60, description="seconds that a health probe waits for an answer"
    )
    adopt_grace: Seconds = Field(
        default=60, description="seconds for which cleanups leave the sessions of a stopped instance alone"
    )
    watch_interval: Seconds = Field(
        default=15, description="seconds between health checks of unused sessions; 0 = off"
    )
    warm_sessions: int = Field(
        default=0, ge=0, le=1000, description="number of browsers kept ready for new sessions"
    )
    keep_browsers: bool = Field(
        default=False,
        description="1 = leave the browsers running at a clean stop; the next start adopts them",
    )
    drain_timeout: Seconds = Field(
        default=60,
        description="seconds for which sessions go on in a drain; if set, SIGTERM begins a drain as well",
    )
    max_downloads_mb: Megabytes = Field(
        default=1024, description="MB that a session's downloads may have together; 0 = no limit"
    )
    max_profile_mb: Megabytes = Field(
        default=2048, description="MB that a session's profile may have; 0 = no limit"
    )
    profile: Annotated[Literal["fresh", "keep"], BeforeValidator(_lower)] = Field(
        default="fresh",
        description="`keep`: the whole profile of every session with a key is kept for its key",
    )
    max_kept_mb: Megabytes = Field(
        default=4096, description="MB that kept profiles may have together; 0 = no limit"
    )
    min_free_memory_mb: Megabytes = Field(
        default=256, description="MB of memory that must be available to start a browser; 0 = no limit"
    )
    recycle_after: Seconds = Field(
        default=0, description="seconds after which an unused session gets a new browser; 0 = never"
    )
    recycle_memory_mb: Megabytes = Field(
        default=0, description="MB of memory above which an unused session gets a new browser; 0 = never"
    )
    cleanup_interval: Seconds = Field(default=0, description="seconds between automatic cleanups; 0 = off")
    cleanup_scope: Literal["system", "owned"] = Field(
        default="system", description="`owned`: a cleanup never ends a ChromeDriver that Drover did not start"
    )
    headless: bool = Field(default=True, description="run Chrome without windows")
    chrome_binary: str | None = Field(
        default=None, description="path of Chrome; found automatically if unset"
    )
    chromedriver: str | None = Field(
        default=None, description="path of ChromeDriver; found automatically if unset"
    )
    chrome_args: Annotated[tuple[str, ...], BeforeValidator(_split_args)] = Field(
        default=(), description="additional switches for every Chrome, separated by spaces"
    )
    api_token: SecretStr | None = Field(
        default=None, min_length=1, description="token that every request must carry"
    )
    allowed_hosts: Annotated[tuple[str, ...], BeforeValidator(_split_hosts)] = Field(
        default=(), description="additional host names allowed in the Host header, separated by commas"
    )
    allow_unsafe_capabilities: bool = Field(
        default=False, description="1 = pass on capabilities that are refused or unknown otherwise"
    )
    node_label: str | None = Field(
        default=None, min_length=1, description="label that the capability `drover:node` has to name"
    )
    grid_node_url: Annotated[str | None, AfterValidator(_http_url)] = Field(
        default=None, description="address of the Selenium Grid node that relays its sessions to this service"
    )
    grid_secret: SecretStr = Field(default=SecretStr(""), description="registration secret of that Grid")
    database_url: SecretStr | None = Field(
        default=None,
        min_length=1,
        description="postgresql:// address of the database that several machines share",
    )
    node_name: str | None = Field(
        default=None,
        min_length=1,
        max_length=64,
        description="name of this machine among several; host name and port if unset",
    )
    node_url: Annotated[str | None, AfterValidator(_http_url)] = Field(
        default=None, description="http(s):// address at which the other machines reach this one"
    )
    log_format: Literal["text", "json"] = Field(default="text", description="`json` = one object per line")
    log_level: Annotated[Literal["debug", "info", "warning", "error"], BeforeValidator(_lower)] = Field(
        default="info",
        description="lowest level that is logged; `debug` adds every request, and the steps of starts and "
        "recoveries",
    )

    @property
    def token(self) -> str | None:
        """The token that clients have to present, if one is configured."""
        return self.api_token.get_secret_value() if self.api_token else None

    @property
    def own_hosts(self) -> tuple[str, ...]:
        """The hosts, as in a `Host` header, by which clients and other nodes reach the service."""
        own = () if self.node_url is None else (urlsplit(self.node_url).netloc,)
        return (*self.allowed_hosts, *own)

    @property
    def drains_upon_sigterm(self) -> bool:
        """Whether SIGTERM begins a drain: only if the operator has chosen how long it may take."""
        return "drain_timeout" in self.model_fields_set


def load_settings() -> Settings:
    """Read and validate the settings.

    Raises:
        StartRefused: A value is invalid; the message is one line with the variable, its value and the rule.
    """
    try:
        return Settings()
    except (UnicodeDecodeError, OSError) as error:
        raise StartRefused(f"The file .env cannot be read: {error}; save it as UTF-8 text") from error
    except ValidationError as error:
        first = error.errors()[0]
        name = PREFIX + str(first["loc"][0]).upper()
        shown = "(hidden)" if name in _SECRET else repr(first["input"])
        raise StartRefused(f"{name} is {shown}: {_allowed(first['msg'], str(first['loc'][0]))}") from error


def unknown_variables(names: Iterable[str]) -> tuple[str, ...]:
    """Return the names that begin with `DROVER_` but name no setting; most likely typing errors."""
    known = {PREFIX + name.upper() for name in Settings.model_fields}
    return tuple(sorted({name for name in names if name.startswith(PREFIX) and name.upper() not in known}))


def named_variables() -> tuple[str, ...]:
    """Return the names of all variables that are set in the environment or in `.env`."""
    return (*os.environ, *_in_env_file())


def describe_settings() -> Iterable[tuple[str, str, str]]:
    """Return the variable, default and meaning of every setting, for `--help`."""
    for name, field in Settings.model_fields.items():
        try:
            default = field.get_default(call_default_factory=True, validated_data={})
        except StartRefused:
            default = None
        yield PREFIX + name.upper(), _shown_default(default), field.description or ""


def _allowed(message: str, field: str) -> str:
    sentence = message[:1].lower() + message[1:]
    return f"{sentence} ({Settings.model_fields[field].description})"


def _shown_default(value: object) -> str:
    if value is None or value == () or value == SecretStr(""):
        return "unset"
    if isinstance(value, bool):
        return str(int(value))
    return str(value)
