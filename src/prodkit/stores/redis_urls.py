"""From a URL to where a Redis is, how it is deployed, and who we are to it. Nothing here repeats a password."""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Literal
from urllib.parse import parse_qsl, unquote, urlsplit

from prodkit.core.exceptions import SettingsError, SettingsFault
from prodkit.stores.redis_connection import TLS, Address, Credentials

if TYPE_CHECKING:
    from urllib.parse import SplitResult

__all__ = ["SCHEMES", "Target", "parse"]

Kind = Literal["alone", "sentinel", "cluster"]

SCHEMES: Final[dict[str, Kind]] = {
    "redis": "alone",
    "rediss": "alone",
    "unix": "alone",
    "redis+sentinel": "sentinel",
    "rediss+sentinel": "sentinel",
    "redis+cluster": "cluster",
    "rediss+cluster": "cluster",
}
"""Which URLs are ours, and what stands behind them; `rediss` is TLS."""

_PORTS: Final[dict[Kind, int]] = {"alone": 6379, "sentinel": 26379, "cluster": 6379}
_TLS_OPTIONS: Final = frozenset({"ssl_ca_certs", "ssl_certfile", "ssl_keyfile", "ssl_cert_reqs"})
_OPTIONS: Final = frozenset({"db", "sentinel_username", "sentinel_password"}) | _TLS_OPTIONS
_HIGHEST_PORT: Final = 65535


@dataclass(frozen=True, slots=True)
class Target:
    """What a URL says.

    Attributes:
        kind: how it is deployed.
        name: the URL without credentials and options.
        addresses: of the server, of the Sentinels, or of some members of the cluster.
        credentials: for the servers.
        service: which master the Sentinels are asked for.
        guards: credentials for the Sentinels.
    """

    kind: Kind
    name: str
    addresses: tuple[Address, ...]
    credentials: Credentials
    service: str = ""
    guards: Credentials = field(default_factory=Credentials)


def parse(url: str, *, setting: str = "PRODKIT_STORE", allow_unverified_tls: bool = False) -> Target:
    """Read *url*.

    * `redis://[user:password@]host[:port][/db]`, and `rediss://` for TLS;
    * `unix://[user:password@]/path/to/socket[?db=1]`;
    * `redis+sentinel://[user:password@]host[:port],host[:port]/service[/db]`; user and password are those of the servers,
      those of the Sentinels are the options `sentinel_username` and `sentinel_password`;
    * `redis+cluster://[user:password@]host[:port],host[:port]`; any members, the others are learned from them.

    With TLS the server's certificate and name are verified. Options: `ssl_ca_certs` (a file, else those of the system),
    `ssl_certfile` and `ssl_keyfile` (who we are). `ssl_cert_reqs=none` turns verification off, and is refused unless
    *allow_unverified_tls*: whoever can answer in the server's place could then read and change everything.

    Args:
        url: what an operator wrote.
        setting: the name to complain under.
        allow_unverified_tls: for development only.

    Raises:
        SettingsError: it cannot be used. The message does not repeat the URL, which may hold a password.
    """
    reader = _Reader(setting)
    try:
        parts = urlsplit(url)
        kind = SCHEMES.get(parts.scheme)
        query = dict(parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query)))
    except ValueError:
        raise _fault(setting, "it is no URL.", "Write it like redis://host:6379/0.") from None
    if kind is None:
        raise _fault(
            setting, f"its scheme {parts.scheme!r} is not known.", f"Use one of {', '.join(SCHEMES)}."
        )
    if parts.fragment:
        raise _fault(setting, "a # begins a part that means nothing.", "Write a # in a password as %23.")
    if unknown := sorted(set(query) - _OPTIONS):
        raise _fault(
            setting,
            f"it has unknown options: {', '.join(unknown)}.",
            f"Known are {', '.join(sorted(_OPTIONS))}.",
        )
    user_info, _, hosts = parts.netloc.rpartition("@")
    username, _, password = user_info.partition(":")
    tls = reader.tls(parts.scheme, query, allow_unverified=allow_unverified_tls)
    addresses, place = reader.addresses(parts, hosts, kind)
    service, db = reader.path(parts, query, kind)
    return Target(
        kind,
        f"{parts.scheme}://{place}{f'/{service}' if service else ''}{f'/{db}' if db else ''}",
        addresses,
        Credentials(unquote(username), unquote(password), db, tls),
        service,
        Credentials(query.get("sentinel_username", ""), query.get("sentinel_password", ""), 0, tls),
    )


@dataclass(frozen=True, slots=True)
class _Reader:
    setting: str

    def addresses(self, parts: SplitResult, hosts: str, kind: Kind) -> tuple[tuple[Address, ...], str]:
        if parts.scheme == "unix":
            path = unquote(parts.path)
            if hosts or path in {"", "/"}:
                raise _fault(
                    self.setting,
                    "it names no socket.",
                    "Write unix:///path/to/redis.sock, with three slashes.",
                )
            return ((path, 0),), path
        found = tuple(self._address(host, _PORTS[kind]) for host in hosts.split(","))
        if kind == "alone" and len(found) > 1:
            raise _fault(
                self.setting,
                "several hosts are a cluster or Sentinels.",
                "Use redis+cluster:// or redis+sentinel://.",
            )
        return found, hosts

    def _address(self, text: str, port: int) -> Address:
        host, colon, digits = text.rpartition(":") if not text.endswith("]") else (text, "", "")
        if not colon:
            host = text
        elif digits.isascii() and digits.isdigit() and 0 < int(digits) <= _HIGHEST_PORT:
            port = int(digits)
        else:
            raise _fault(self.setting, "a port is not a number from 1 to 65535.", "Write host:6379.")
        host = host.removeprefix("[").removesuffix("]")
        if not host:
            raise _fault(self.setting, "it names no host.", "Write it like redis://host:6379/0.")
        return host, port

    def path(self, parts: SplitResult, query: dict[str, str], kind: Kind) -> tuple[str, int]:
        """The service and the number of the database."""
        steps = [] if parts.scheme == "unix" else [unquote(step) for step in parts.path.split("/") if step]
        service = ""
        if kind == "sentinel":
            if not steps:
                raise _fault(
                    self.setting, "it names no service.", "Write redis+sentinel://host:26379/service."
                )
            service = steps.pop(0)
        if "db" in query:
            steps.append(query["db"])
        if not steps:
            return service, 0
        if len(steps) > 1 or not (steps[0].isascii() and steps[0].isdigit()):
            raise _fault(self.setting, "its database is not one whole number.", "End it with /0.")
        db = int(steps[0])
        if db and kind == "cluster":
            raise _fault(self.setting, "a cluster has only database 0.", "Leave the number out.")
        return service, db

    def tls(self, scheme: str, query: dict[str, str], *, allow_unverified: bool) -> TLS | None:
        if not scheme.startswith("rediss"):
            if given := sorted(_TLS_OPTIONS & set(query)):
                raise _fault(
                    self.setting, f"{', '.join(given)} mean nothing without TLS.", "Begin it with rediss."
                )
            return None
        verified = query.get("ssl_cert_reqs", "required")
        if verified not in {"required", "none"}:
            raise _fault(self.setting, "ssl_cert_reqs is neither required nor none.", "Leave it out.")
        if verified == "none" and not allow_unverified:
            cure = "Leave ssl_cert_reqs out, and name the authority's certificate with ssl_ca_certs."
            raise _fault(self.setting, "ssl_cert_reqs=none lets anybody answer in the server's place.", cure)
        try:
            # Only to see now whether it can be done.
            context = ssl.create_default_context(cafile=query.get("ssl_ca_certs"))
            if "ssl_certfile" in query:
                context.load_cert_chain(query["ssl_certfile"], query.get("ssl_keyfile"))
        except (OSError, ValueError) as error:  # an SSLError is an OSError
            raise _fault(
                self.setting, f"its certificates cannot be read ({type(error).__name__}).", "Check the files."
            ) from error
        return TLS(
            query.get("ssl_ca_certs"),
            query.get("ssl_certfile"),
            query.get("ssl_keyfile"),
            is_verified=verified == "required",
        )


def _fault(setting: str, message: str, cure: str) -> SettingsError:
    return SettingsError([SettingsFault(setting, message, cure)])
