"""The settings: read once at start from one TOML file and ``RECEIPTD_*`` variables, validated, then frozen.

A variable overrides the file: ``RECEIPTD_HTTP__PORT=9000`` is ``port`` of ``[http]``. Registrars are files of their
own, one each, in the directory that ``registrars_dir`` names. A secret may be written as ``env:NAME`` or
``file:PATH``; it is then read from there at start.
"""

from __future__ import annotations

import os
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from receiptd.domain.errors import ConfigurationError
from receiptd.domain.retry import Backoff


def _resolve_secret(value: SecretStr) -> SecretStr:
    text = value.get_secret_value()
    kind, _, rest = text.partition(":")
    if kind == "env":
        if rest not in os.environ:
            raise ValueError(f"names the environment variable {rest}, which is not set")
        return SecretStr(os.environ[rest])
    if kind == "file":
        try:
            return SecretStr(Path(rest).read_text(encoding="utf-8").strip())
        except OSError as error:
            raise ValueError(f"names the file {rest}, which cannot be read: {error.strerror}") from error
    return value


Secret = Annotated[SecretStr, AfterValidator(_resolve_secret)]
_NOT_SETTINGS = frozenset({"RECEIPTD_CRASH_AT"})
"""Variables that other parts read: fault injection."""

Seconds = Annotated[float, Field(gt=0, le=31_536_000)]
Days = Annotated[int, Field(ge=0, le=40_000)]
RetentionClass = Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{0,62}$")]
STANDARD_RETENTION = "standard"
"""The retention class of a type that names none."""


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class HttpSettings(_Section):
    """The listener, and the bounds of what it takes."""

    host: str = "127.0.0.1"
    port: int = Field(default=8080, ge=0, le=65535)
    public_url: str = Field(default="", pattern=r"^(https?://[^\s]+)?$")
    """Where registrars reach this service; empty: the listener's own address."""
    body_max_bytes: int = Field(default=1_048_576, ge=1024, le=67_108_864)
    connections_max: int = Field(default=10_000, ge=1)
    buffered_max_bytes: int = Field(default=67_108_864, ge=65_536)
    in_flight_max: int = Field(default=2_000, ge=1)
    """POSTs between their first byte of work and their answer; one more is answered 503."""
    key_overlap_hours: float = Field(default=6.0, ge=0, le=24)
    """So long into a UTC day are the idempotency keys of the day before looked for: a key holds at least this long.

    It costs each receipt of those hours a read (5 % of its CPU on SQLite, a read unit on DynamoDB).
    """
    wait_max_s: float = Field(default=30.0, ge=0, le=300)
    """The longest ``Prefer: wait`` that is honoured."""
    waiters_max: int = Field(default=5_000, ge=0)


class StorageSettings(_Section):
    """Where receipts are kept."""

    backend: Literal["embedded", "aws"] = "embedded"
    path: Path = Path("var/receiptd")
    retention_days: dict[RetentionClass, Days] = Field(default_factory=dict, validate_default=True)
    """How long settled receipts are kept, by the retention class of their type; 0: for ever.

    ``standard`` is always there, and 0 unless it says otherwise. Set days only where something else keeps the receipts.
    """

    @field_validator("retention_days")
    @classmethod
    def _has_a_standard(cls, value: dict[str, int]) -> dict[str, int]:
        return {STANDARD_RETENTION: 0, **value}


class AwsSettings(_Section):
    """The AWS account, for ``storage.backend = "aws"``. Credentials come from where every AWS tool takes them."""

    region: str = Field(default="", pattern=r"^([a-z]{2}(-[a-z]+)+-\d)?$")
    """Empty: ``AWS_REGION``, or what the instance says."""
    endpoint_url: str = Field(default="", pattern=r"^(https?://[^\s/]+)?/?$")
    """Where all AWS services answer: an emulator's URL. Empty: AWS itself."""
    prefix: str = Field(default="receiptd", pattern=r"^[a-z][a-z0-9-]{0,23}$")
    """What the names of tables, queues and buckets begin with: the parameter ``Prefix`` of cloudformation/data.yaml."""


class WriterSettings(_Section):
    """Group commit: how long a change may wait for company."""

    linger_ms: float = Field(default=5.0, ge=0, le=1000)
    lazy_linger_ms: float = Field(default=100.0, ge=0, le=10_000)
    """The same for changes that nobody waits for; they usually ride along with one that somebody does."""
    batch_max: int = Field(default=500, ge=1, le=10_000)
    live_max: int = Field(default=20_000, ge=100)
    live_max_bytes: int = Field(default=134_217_728, ge=1_048_576)
    """Unsettled receipts kept in memory; beyond either, idle ones are read from the ledger when needed."""


class RecoverySettings(_Section):
    """The dead man's switch."""

    delay_s: Seconds = 30.0
    """When a receipt's recovery message first comes round; later rounds are as far apart as the receipt is old."""
    interval_max_s: Seconds = 900.0
    """The longest pause between two rounds (SQS delays by at most 900 s)."""


class WebhookSettings(_Section):
    """Delivery of webhooks to clients (Standard Webhooks 1.0)."""

    schedule_s: tuple[Seconds, ...] = (5, 300, 1800, 7200, 18_000, 36_000, 50_400, 72_000, 86_400)
    timeout_s: Seconds = 15.0
    concurrency: int = Field(default=128, ge=1, le=4096)
    concurrency_per_client: int = Field(default=32, ge=1)
    queue_max: int = Field(default=4_096, ge=1)
    queue_max_per_client: int = Field(default=1_024, ge=1)
    """Webhooks in memory; what does not fit waits in the durable queue."""
    allow_loopback: bool = False
    """Development only: lets webhooks go to this machine."""
    allow_private: bool = False
    allow_http: bool = False
    """Development only: lets webhooks go without TLS."""


class AuthSettings(_Section):
    """The embedded token issuer."""

    issuer: str = "urn:receiptd:embedded"
    token_lifetime_s: int = Field(default=3600, ge=60, le=86_400)


class LogSettings(_Section):
    """Logs go to standard error: JSON lines, or coloured text for a terminal."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["auto", "json", "console"] = "auto"
    receipts: bool = True
    """One wide event per settled receipt."""
    facts: bool = False
    """Its number, seller, currency, total and count of lines in that event, without what its type calls personal."""


class ShutdownSettings(_Section):
    """The drain: stop taking, finish what is in hand, flush the writer last."""

    deadline_s: Seconds = 20.0
    readiness_delay_s: float = Field(default=0.0, ge=0, le=300)
    """How long /readyz fails before the listener closes, so that a load balancer notices first."""


class ReceiptTypeSettings(_Section):
    """Where receipt types are found, beside the bundled ones."""

    roots: tuple[Path, ...] = ()
    bundled: bool = True


class RegistrarAuth(_Section):
    """How the daemon introduces itself to a registrar."""

    type: Literal["none", "bearer", "basic", "header"] = "none"
    token: Secret = SecretStr("")
    username: str = ""
    password: Secret = SecretStr("")
    header: str = Field(default="X-Api-Key", pattern=r"^[A-Za-z0-9-]+$")


class RetrySettings(_Section):
    """Capped exponential backoff with jitter."""

    base_s: Seconds = 0.25
    cap_s: Seconds = 300.0
    max_attempts: int = Field(default=60, ge=1, le=10_000)
    hot_max_s: float = Field(default=2.0, ge=0, le=60)
    """A retry nearer than this waits in memory; one further away waits in the registrar's durable queue."""

    def backoff(self) -> Backoff:
        """Return the domain's value for these settings."""
        return Backoff(base_s=self.base_s, cap_s=self.cap_s, max_attempts=self.max_attempts)


class BreakerSettings(_Section):
    """The circuit breaker: opens after failures in a row, probes by itself, closes after successes."""

    failures: int = Field(default=10, ge=1)
    open_s: Seconds = 1.0
    open_max_s: Seconds = 60.0
    successes: int = Field(default=2, ge=1)


class CallbackSettings(_Section):
    """How a registrar that answers later reports its verdict (signed by Standard Webhooks 1.0)."""

    secrets: tuple[Secret, ...] = ()
    """Base64, with or without ``whsec_``; several while a secret is rotated."""
    deadline_s: Seconds = 60.0
    """Without a callback by then the registrar is asked (``status_url``) or the submission is repeated."""


class RegistrarSettings(_Section):
    """One registrar: a file of ``registrars_dir``, named after it."""

    id: str = Field(pattern=r"^[a-z][a-z0-9-]{0,31}$")
    url: str = Field(pattern=r"^https?://[^\s]+$")
    status_url: str = Field(default="", pattern=r"^(https?://[^\s]+)?$")
    """Asked (GET) about an overdue receipt; ``{receipt_id}`` is filled in. Empty: the submission is repeated."""
    answers: Literal["callback", "synchronous"] = "callback"
    sends: Literal["original", "canonical"] = "original"
    auth: RegistrarAuth = RegistrarAuth()
    timeout_s: Seconds = 10.0
    concurrency: int = Field(default=32, ge=1, le=1024)
    queue_max: int = Field(default=2_000, ge=1)
    rate_per_s: float = Field(default=0.0, ge=0)
    """Calls a second at most; 0: as many as ``concurrency`` allows."""
    refusal_statuses: tuple[int, ...] = (400, 422)
    """Statuses that refuse a submitted receipt for good; every other failure is tried again.

    409 is not among them: under the IETF's Idempotency-Key it says that the first call is still being worked on.
    """
    retry: RetrySettings = RetrySettings()
    breaker: BreakerSettings = BreakerSettings()
    callback: CallbackSettings = CallbackSettings()

    @field_validator("status_url")
    @classmethod
    def _names_the_receipt(cls, value: str) -> str:
        if value and "{receipt_id}" not in value:
            raise ValueError("must contain {receipt_id}")
        return value


class Settings(BaseSettings):
    """Everything that can be set, with defaults that run on a laptop."""

    model_config = SettingsConfigDict(
        frozen=True,
        extra="forbid",
        env_prefix="RECEIPTD_",
        env_nested_delimiter="__",
        nested_model_default_partial_update=True,
    )

    http: HttpSettings = HttpSettings()
    storage: StorageSettings = StorageSettings()
    aws: AwsSettings = AwsSettings()
    writer: WriterSettings = WriterSettings()
    recovery: RecoverySettings = RecoverySettings()
    webhooks: WebhookSettings = WebhookSettings()
    auth: AuthSettings = AuthSettings()
    log: LogSettings = LogSettings()
    shutdown: ShutdownSettings = ShutdownSettings()
    receipt_types: ReceiptTypeSettings = ReceiptTypeSettings()
    registrars_dir: Path = Path("registrars")
    """Relative to the settings file."""

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Let variables win over the file's content, which comes as arguments; nothing else is read."""
        del settings_cls, dotenv_settings, file_secret_settings
        return (env_settings, init_settings)


class Configuration(BaseModel):
    """The settings and the registrars together: what the composition root builds from."""

    model_config = ConfigDict(frozen=True)

    file: Path | None
    settings: Settings
    registrars: tuple[RegistrarSettings, ...]


def load(file: Path | None = None, *, needs_registrars: bool = True) -> Configuration:
    """Read the settings from ``file`` (a TOML file; None: the defaults) and the environment.

    Without ``needs_registrars`` there may be none: the directory that the defaults name need not exist.

    Raises:
        ConfigurationError: a file cannot be read, or a value is wrong; each line names a setting and what to mend.
    """
    content = {} if file is None else _read_toml(file)
    _refuse_unknown_variables(Settings)
    try:
        settings = Settings(**content)
    except ValidationError as error:
        raise ConfigurationError(_explain(error, str(file or "the environment"))) from error
    base = file.parent if file is not None else Path("config")
    folder = base / settings.registrars_dir
    is_default = file is None and "registrars_dir" not in settings.model_fields_set
    skipped = is_default and not needs_registrars and not folder.is_dir()
    return Configuration(file=file, settings=settings, registrars=() if skipped else _load_registrars(folder))


def _load_registrars(folder: Path) -> tuple[RegistrarSettings, ...]:
    if not folder.is_dir():
        raise ConfigurationError(f"registrars_dir: there is no directory {folder}")
    problems: list[str] = []
    registrars: list[RegistrarSettings] = []
    for path in sorted(folder.glob("*.toml")):
        content = _read_toml(path)
        try:
            registrar = RegistrarSettings.model_validate({"id": path.stem, **content})
        except ValidationError as error:
            problems.append(_explain(error, str(path)))
            continue
        if registrar.answers == "callback" and not registrar.callback.secrets:
            problems.append(
                f"{path}: callback.secrets: a registrar that answers by callback needs a secret to sign with"
            )
        registrars.append(registrar)
    if problems:
        raise ConfigurationError("\n".join(problems))
    return tuple(registrars)


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigurationError(f"{path}: cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path}: is not TOML: {error}") from error


def _refuse_unknown_variables(model: type[Settings]) -> None:
    """Refuse a misspelt variable: it would otherwise be ignored, and the operator would believe it."""
    unknown = []
    for name in os.environ:
        if not name.startswith("RECEIPTD_"):
            continue
        section = name.removeprefix("RECEIPTD_").lower().split("__")[0]
        if name in _NOT_SETTINGS:
            continue
        if section not in model.model_fields:
            unknown.append(f"{name}: there is no such setting; sections are {', '.join(sorted(model.model_fields))}")
    if unknown:
        raise ConfigurationError("\n".join(unknown))


def _explain(error: ValidationError, source: str) -> str:
    lines = []
    for item in error.errors(include_url=False, include_input=False, include_context=False):
        place = ".".join(str(part) for part in item["loc"]) or "(the whole)"
        lines.append(f"{source}: {place}: {item['msg']}")
    return "\n".join(lines)
