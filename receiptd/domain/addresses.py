"""URLs and addresses of outbound calls: one strict reading of a URL, and the judgement of the address behind it.

Pure: nothing here resolves a name. A URL has exactly one reading here (RFC 3986, narrowed), so that what intake checks
is what the client later connects to: every notation that some resolver takes for an address (decimal, octal, hex,
short or full-width numbers) is refused as a host name. The table of special networks is written out because
``ipaddress.is_global`` alone says yes to several of them (NAT64, 6to4, IPv4-compatible, ISATAP, multicast).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum, auto
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network
from typing import Final, TypeAlias

from receiptd.domain.errors import DeniedAddressError

Address: TypeAlias = IPv4Address | IPv6Address
Network: TypeAlias = IPv4Network | IPv6Network

_URL_MAX_CHARS: Final = 2048
_HOST_MAX_CHARS: Final = 253  # RFC 1035, section 2.3.4
_PORT_MAX: Final = 65_535
_DEFAULT_PORTS: Final = {"http": 80, "https": 443}

_URL: Final = re.compile(
    r"(?P<scheme>https?)://"
    r"(?:\[(?P<v6>[0-9A-Fa-f:.]{2,45})\]|(?P<host>[A-Za-z0-9.-]+))"
    r"(?::(?P<port>[0-9]{1,5}))?"
    r"(?P<path>/(?:[A-Za-z0-9\-._~!$&'()*+,;=:@/\[\]]|%[0-9A-Fa-f]{2})*)?"
    r"(?P<query>\?(?:[A-Za-z0-9\-._~!$&'()*+,;=:@/?\[\]]|%[0-9A-Fa-f]{2})*)?",
    re.IGNORECASE | re.ASCII,
)
"""RFC 3986, sections 3.1 to 3.4, for http and https, without userinfo and fragment; brackets in queries are common."""

_LABEL: Final = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_NAME: Final = re.compile(rf"(?:{_LABEL}\.)*(?!(?:[0-9]+|0x[0-9a-f]*)\Z){_LABEL}")
"""A host name (RFC 1123, section 2.1) whose last label is no number to any reader (WHATWG URL, "ends in a number")."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AddressPolicy:
    """Where outbound calls may go. The default is for URLs that clients give: public addresses, by https.

    ``allow_private`` opens RFC 1918 and unique local addresses only; ``allow_any`` opens everything that ``denied``
    does not close.
    """

    allow_any: bool = False
    allow_loopback: bool = False
    allow_private: bool = False
    allow_http: bool = False
    denied: tuple[Network, ...] = ()


OPERATOR: Final = AddressPolicy(allow_any=True, allow_http=True)
"""For URLs that the operator names: a registrar on the private network is the operator's own decision."""

CLIENT: Final = AddressPolicy()
"""For URLs that clients give."""


@dataclass(frozen=True, slots=True)
class Target:
    """A URL, read once. ``host`` is in lower case and, for an IPv6 literal, canonical and without brackets."""

    scheme: str
    host: str
    port: int
    path: str
    """The request target in origin form (RFC 9112, section 3.2.1): path and query, starting with ``/``."""
    address: Address | None
    """The address, when the host is a literal one."""

    @property
    def origin(self) -> str:
        """``scheme://host:port``, always with the port."""
        return f"{self.scheme}://{self._bracketed}:{self.port}"

    @property
    def authority(self) -> str:
        """What the Host field says (RFC 9110, section 7.2): the port only when it is not the scheme's default."""
        return self._bracketed if self.port == _DEFAULT_PORTS[self.scheme] else f"{self._bracketed}:{self.port}"

    @property
    def _bracketed(self) -> str:
        return f"[{self.host}]" if ":" in self.host else self.host


def parse_url(url: str) -> Target:
    """Read an absolute http or https URL.

    Raises:
        ValueError: it is not one in the strict form: no userinfo, no fragment, no control character, a port from 1 to
            65535, and a host that is a DNS name (IDNA as ``xn--`` only), a dotted quad or a bracketed IPv6 address.
    """
    matched = _URL.fullmatch(url) if len(url) <= _URL_MAX_CHARS else None
    if matched is None:
        raise ValueError("not a plain http or https URL")
    scheme = matched["scheme"].lower()
    port = int(matched["port"]) if matched["port"] else _DEFAULT_PORTS[scheme]
    if not 1 <= port <= _PORT_MAX:
        raise ValueError("the URL's port is not from 1 to 65535")
    address = _literal(matched["host"], matched["v6"])
    host = str(address) if address else (matched["host"] or "").lower()
    if address is None and not (len(host) <= _HOST_MAX_CHARS and _NAME.fullmatch(host)):
        raise ValueError("the URL's host is neither a DNS name nor an address in its usual form")
    return Target(scheme, host, port, (matched["path"] or "/") + (matched["query"] or ""), address)


def _literal(host: str | None, v6: str | None) -> Address | None:
    """Return the literal address, or None: ``IPv4Address`` takes four decimals without leading zeros, nothing else."""
    try:
        return IPv4Address(host) if host is not None else IPv6Address(v6 or "")
    except ValueError:
        return None


def origin(url: str) -> str:
    """Return the normalised origin of ``url`` as ``scheme://host:port``, always with the port. Raises ValueError."""
    return parse_url(url).origin


def validate_url(url: str, policy: AddressPolicy) -> None:
    """Judge a URL without resolving its host: its syntax, its scheme, and its address when that is a literal one.

    Raises:
        ValueError: the URL is malformed.
        DeniedAddressError: the policy forbids its scheme or its literal address.
    """
    check_target(parse_url(url), policy)


def check_target(target: Target, policy: AddressPolicy) -> None:
    """Judge a parsed URL as ``validate_url`` does. Raises DeniedAddressError."""
    if target.scheme == "http" and not policy.allow_http:
        raise DeniedAddressError(f"{target.host}: not allowed: plain http, only https is")
    if target.address is not None:
        require_allowed(target.host, target.address, policy)


def require_allowed(host: str, address: Address, policy: AddressPolicy) -> None:
    """Raise DeniedAddressError, naming ``host`` and the kind of address, when ``policy`` forbids ``address``."""
    if reason := judge(address, policy):
        raise DeniedAddressError(f"{host}: not allowed: {reason}")


def judge(address: Address, policy: AddressPolicy) -> str | None:
    """Return why ``policy`` denies ``address`` (the kind of address and its standard), or None when it may be called.

    An address that carries an IPv4 address inside is judged by that one.
    """
    if any(address in network for network in policy.denied):
        return "network that the operator denies"
    if isinstance(address, IPv6Address):
        if address.scope_id is not None and not policy.allow_any:
            return "scoped address (RFC 4007)"
        if _interface_is_isatap(address) and (reason := judge(IPv4Address(int(address) & 0xFFFF_FFFF), policy)):
            return f"{reason}, inside ISATAP (RFC 5214)"
    for row in _V4_TABLE if address.version == 4 else _V6_TABLE:  # noqa: PLR2004 - the IP version
        if address in row.network:
            if row.kind is _Kind.EMBEDDING:
                inner = judge(IPv4Address(int(address) >> row.shift & 0xFFFF_FFFF), policy)
                return f"{inner}, inside an {row.name}" if inner else None
            return None if _permits(policy, row.kind) else row.name
    return None


def _interface_is_isatap(address: IPv6Address) -> bool:
    """Whether bits 64 to 95 are ``[02]00:5efe``, with the universal bit set or not (RFC 5214, section 6.1)."""
    return int(address) >> 32 & 0xFDFF_FFFF == 0x0000_5EFE  # noqa: PLR2004 - named in the docstring


class _Kind(Enum):
    PUBLIC = auto()
    SPECIAL = auto()
    LOOPBACK = auto()
    PRIVATE = auto()
    EMBEDDING = auto()


def _permits(policy: AddressPolicy, kind: _Kind) -> bool:
    return (
        policy.allow_any
        or kind is _Kind.PUBLIC
        or (kind is _Kind.LOOPBACK and policy.allow_loopback)
        or (kind is _Kind.PRIVATE and policy.allow_private)
    )


@dataclass(frozen=True, slots=True)
class _Row:
    """A network and what it is. ``shift`` is how far from the right the embedded IPv4 address ends, in bits."""

    network: Network
    name: str
    kind: _Kind = _Kind.SPECIAL
    shift: int = 0


def _row(network: str, name: str, kind: _Kind = _Kind.SPECIAL, shift: int = 0) -> _Row:
    return _Row(ip_network(network), name, kind, shift)


# The first row that matches decides. Sources: the IANA special-purpose registries (RFC 6890) and the RFCs named.
_V4_TABLE: Final = (
    _row("0.0.0.0/8", "unspecified address (RFC 791)"),
    _row("10.0.0.0/8", "private address (RFC 1918)", _Kind.PRIVATE),
    _row("100.64.0.0/10", "shared address of a carrier's NAT (RFC 6598)"),
    _row("127.0.0.0/8", "loopback address (RFC 1122)", _Kind.LOOPBACK),
    _row("168.63.129.16/32", "cloud platform's own service"),
    _row("169.254.0.0/16", "link-local or metadata address (RFC 3927)"),
    _row("172.16.0.0/12", "private address (RFC 1918)", _Kind.PRIVATE),
    _row("192.0.0.0/24", "protocol assignment (RFC 6890)"),
    _row("192.0.2.0/24", "documentation address (RFC 5737)"),
    _row("192.31.196.0/24", "AS112 address (RFC 7535)"),
    _row("192.52.193.0/24", "multicast tunnel address (RFC 7450)"),
    _row("192.88.99.0/24", "6to4 relay (RFC 7526)"),
    _row("192.168.0.0/16", "private address (RFC 1918)", _Kind.PRIVATE),
    _row("192.175.48.0/24", "AS112 address (RFC 7534)"),
    _row("198.18.0.0/15", "benchmarking address (RFC 2544)"),
    _row("198.51.100.0/24", "documentation address (RFC 5737)"),
    _row("203.0.113.0/24", "documentation address (RFC 5737)"),
    _row("224.0.0.0/4", "multicast address (RFC 5771)"),
    _row("255.255.255.255/32", "broadcast address (RFC 919)"),
    _row("240.0.0.0/4", "reserved address (RFC 1112)"),
)

_V6_TABLE: Final = (
    _row("::/128", "unspecified address (RFC 4291)"),
    _row("::1/128", "loopback address (RFC 4291)", _Kind.LOOPBACK),
    _row("::ffff:0:0/96", "IPv4-mapped address (RFC 4291)", _Kind.EMBEDDING),
    _row("::/96", "IPv4-compatible address (RFC 4291)", _Kind.EMBEDDING),
    _row("::ffff:0:0:0/96", "IPv4-translated address (RFC 2765)", _Kind.EMBEDDING),
    _row("64:ff9b::/96", "IPv6 address for NAT64 (RFC 6052)", _Kind.EMBEDDING),
    _row("64:ff9b:1::/48", "local NAT64 address (RFC 8215)"),
    _row("100::/64", "discard address (RFC 6666)"),
    _row("100:0:0:1::/64", "dummy address (RFC 9780)"),
    _row("2001::/32", "Teredo address (RFC 4380)"),
    _row("2001:2::/48", "benchmarking address (RFC 5180)"),
    _row("2001:10::/28", "ORCHID (RFC 4843)"),
    _row("2001:20::/28", "ORCHIDv2 (RFC 7343)"),
    _row("2001::/23", "protocol assignment (RFC 2928)"),
    _row("2001:db8::/32", "documentation address (RFC 3849)"),
    _row("2002::/16", "IPv6 address for 6to4 (RFC 3056)", _Kind.EMBEDDING, 80),
    _row("2620:4f:8000::/48", "AS112 address (RFC 7534)"),
    _row("3fff::/20", "documentation address (RFC 9637)"),
    _row("5f00::/16", "segment routing address (RFC 9602)"),
    _row("fd00:ec2::/32", "cloud platform's own service, such as its metadata"),
    _row("fc00::/7", "unique local address (RFC 4193)", _Kind.PRIVATE),
    _row("fe80::/10", "link-local address (RFC 4291)"),
    _row("fec0::/10", "site-local address (RFC 3879)"),
    _row("ff00::/8", "multicast address (RFC 4291)"),
    _row("2000::/3", "global unicast address (RFC 4291)", _Kind.PUBLIC),
    _row("::/0", "address outside global unicast (RFC 4291)"),
)
