"""Whatever the notation, an address is judged by where a connection would go (invariant 14)."""

from __future__ import annotations

import socket
from ipaddress import IPv4Address, IPv6Address

from hypothesis import given
from hypothesis import strategies as st

from receiptd.domain.addresses import CLIENT, AddressPolicy, judge, parse_url

v4 = st.ip_addresses(v=4)
v6 = st.ip_addresses(v=6)
octets = st.integers(0, 255)


@given(v4)
def test_every_embedding_is_judged_as_the_address_inside(inner: IPv4Address) -> None:
    denied = judge(inner, CLIENT) is not None
    number = int(inner)
    embeddings = [
        IPv6Address(0xFFFF_0000_0000 | number),
        IPv6Address(int(IPv6Address("64:ff9b::")) | number),
        IPv6Address(int(IPv6Address("2002::")) | number << 80 | 1),
        IPv6Address(int(IPv6Address("2a00:1450::5efe:0:0")) | number),
    ]
    for address in embeddings:
        assert (judge(address, CLIENT) is not None) == denied, address


@given(v4 | v6)
def test_nothing_is_allowed_that_the_registry_calls_local(address: IPv4Address | IPv6Address) -> None:
    outermost = address.ipv4_mapped if isinstance(address, IPv6Address) and address.ipv4_mapped else address
    if not outermost.is_global or outermost.is_multicast:
        assert judge(address, CLIENT) is not None


@given(v4 | v6)
def test_opening_a_policy_never_closes_anything(address: IPv4Address | IPv6Address) -> None:
    wider = AddressPolicy(allow_loopback=True, allow_private=True)
    if judge(address, CLIENT) is None:
        assert judge(address, wider) is None
    if judge(address, wider) is None:
        assert judge(address, AddressPolicy(allow_any=True)) is None


notations = st.sampled_from(["{}", "0{:o}", "0x{:x}", "0X{:X}", "00{}"])


@st.composite
def numeric_hosts(draw: st.DrawFn) -> str:
    """What inet_aton takes for an address: one to four parts, each decimal, octal or hex, the last one filling up."""
    parts = draw(st.integers(1, 4))
    numbers = [draw(octets) for _ in range(parts - 1)] + [draw(st.integers(0, 256 ** (5 - parts) - 1))]
    return ".".join(draw(notations).format(number) for number in numbers)


@given(numeric_hosts())
def test_only_the_usual_notation_of_an_address_is_one(host: str) -> None:
    try:
        resolved = socket.inet_ntoa(socket.inet_aton(host))
    except OSError:
        resolved = None
    try:
        target = parse_url(f"https://{host}/")
    except ValueError:
        assert host != resolved
    else:
        assert str(target.address) == host == resolved


@given(st.text(alphabet="abz019-.[]:@/?#%\\ x\t\r\n\uff11é", max_size=30))
def test_a_url_that_is_taken_has_one_reading(rest: str) -> None:
    try:
        target = parse_url(f"https://{rest}")
    except ValueError:
        return
    again = parse_url(target.origin + target.path)
    assert again == target
    assert target.path.isascii()
    assert target.path.isprintable()
    assert not set("@#\\ %") & set(target.host)


@given(v6)
def test_an_ipv6_literal_keeps_its_address(address: IPv6Address) -> None:
    target = parse_url(f"https://[{address.exploded.upper()}]:8443/x")
    assert target.address == address
    assert parse_url(target.origin).address == address
