"""The judgement of URLs and addresses, and what the guard makes of a resolver's answers (invariant 14)."""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import Sequence

import pytest

from receiptd.adapters.outbound.addresses import AddressGuard, SystemResolver
from receiptd.domain.addresses import (
    CLIENT,
    OPERATOR,
    Address,
    AddressPolicy,
    judge,
    origin,
    parse_url,
    validate_url,
)
from receiptd.domain.errors import DeniedAddressError, OutboundError

DENIED = {
    "0.0.0.0": "unspecified",
    "0.1.2.3": "unspecified",
    "10.0.0.1": "private",
    "100.64.0.1": "carrier",
    "100.100.100.200": "carrier",
    "127.0.0.1": "loopback",
    "127.255.255.254": "loopback",
    "168.63.129.16": "cloud",
    "169.254.169.254": "metadata",
    "169.254.170.2": "metadata",
    "172.16.0.1": "private",
    "172.31.255.255": "private",
    "192.0.0.192": "protocol",
    "192.0.2.1": "documentation",
    "192.31.196.1": "AS112",
    "192.52.193.1": "tunnel",
    "192.88.99.1": "6to4",
    "192.168.1.1": "private",
    "192.175.48.1": "AS112",
    "198.18.0.1": "benchmarking",
    "198.19.255.255": "benchmarking",
    "198.51.100.1": "documentation",
    "203.0.113.1": "documentation",
    "224.0.0.1": "multicast",
    "239.255.255.255": "multicast",
    "240.0.0.1": "reserved",
    "255.255.255.255": "broadcast",
    "::": "unspecified",
    "::1": "loopback",
    "::ffff:127.0.0.1": "loopback",
    "::ffff:169.254.169.254": "metadata",
    "::127.0.0.1": "loopback",
    "::10.0.0.1": "private",
    "::ffff:0:10.0.0.1": "private",
    "64:ff9b::10.0.0.1": "private",
    "64:ff9b::169.254.169.254": "metadata",
    "64:ff9b:1::8.8.8.8": "NAT64",
    "100::1": "discard",
    "100:0:0:1::1": "dummy",
    "2001::1": "Teredo",
    "2001:2::1": "benchmarking",
    "2001:10::1": "ORCHID",
    "2001:20::1": "ORCHIDv2",
    "2001:30::1": "protocol",
    "2001:db8::1": "documentation",
    "2002:7f00:1::": "loopback",
    "2002:a9fe:a9fe::1": "metadata",
    "2620:4f:8000::1": "AS112",
    "3fff::1": "documentation",
    "5f00::1": "segment",
    "fc00::1": "unique local",
    "fd12:3456::1": "unique local",
    "fd00:ec2::254": "metadata",
    "fe80::1": "link-local",
    "fe80::1%eth0": "scoped",
    "2a00:1450::1%1": "scoped",
    "fec0::1": "site-local",
    "ff02::1": "multicast",
    "ff0e::1": "multicast",
    "4000::1": "outside",
    "1::1": "outside",
    "2a00:1450:4001:800:0:5efe:10.0.0.1": "private",
    "2a00:1450:4001:800:200:5efe:127.0.0.1": "loopback",
}
ALLOWED = [
    *("8.8.8.8", "100.63.255.255", "100.128.0.1", "172.15.255.255", "172.32.0.1", "169.253.0.1", "192.0.1.1"),
    *("198.17.255.255", "198.20.0.1", "223.255.255.255", "2a00:1450:4001:800::200e", "2606:4700::1111"),
    *("::ffff:8.8.8.8", "64:ff9b::8.8.8.8", "2002:808:808::1", "2a00:1450:4001:800:0:5efe:8.8.8.8", "2001:4860::8888"),
]


@pytest.mark.parametrize(("text", "kind"), DENIED.items())
def test_client_policy_denies(text: str, kind: str) -> None:
    reason = judge(ipaddress.ip_address(text), CLIENT)
    assert reason is not None
    assert kind in reason


@pytest.mark.parametrize("text", ALLOWED)
def test_client_policy_allows_public_addresses(text: str) -> None:
    assert judge(ipaddress.ip_address(text), CLIENT) is None


@pytest.mark.parametrize("text", [*DENIED, *ALLOWED])
def test_operator_policy_allows_all(text: str) -> None:
    assert judge(ipaddress.ip_address(text), OPERATOR) is None


@pytest.mark.parametrize("text", ["127.0.0.1", "::1", "::ffff:127.0.0.1"])
def test_loopback_can_be_opened_alone(text: str) -> None:
    policy = AddressPolicy(allow_loopback=True)
    assert judge(ipaddress.ip_address(text), policy) is None
    for other in ("0.0.0.0", "::", "10.0.0.1", "169.254.169.254"):
        assert judge(ipaddress.ip_address(other), policy)


def test_private_networks_can_be_opened_without_the_metadata_service() -> None:
    policy = AddressPolicy(allow_private=True)
    for text in ("10.0.0.1", "172.16.0.1", "192.168.0.1", "fd12::1", "::ffff:10.0.0.1", "64:ff9b::10.0.0.1"):
        assert judge(ipaddress.ip_address(text), policy) is None
    for text in ("127.0.0.1", "169.254.169.254", "fd00:ec2::254", "100.64.0.1", "fe80::1", "fec0::1"):
        assert judge(ipaddress.ip_address(text), policy)


def test_denied_networks_go_before_everything() -> None:
    denied = (ipaddress.ip_network("8.8.8.0/24"), ipaddress.ip_network("2606:4700::/32"))
    for policy in (AddressPolicy(denied=denied), AddressPolicy(allow_any=True, denied=denied)):
        for text in ("8.8.8.8", "::ffff:8.8.8.8", "64:ff9b::8.8.8.8", "2002:808:808::1", "2606:4700::1111"):
            assert judge(ipaddress.ip_address(text), policy), text
        assert judge(ipaddress.ip_address("9.9.9.9"), policy) is None


@pytest.mark.parametrize(
    "host",
    [
        *("2130706433", "017700000001", "0177.0.0.1", "0x7f.1", "0x7f000001", "0X7F.0.0.1", "127.1", "127.0.1", "0"),
        *("127.0.0.01", "127.0.0.1.", "127.0.0.256", "1.2.3.4.5", "example.1", "example.0x1", "example.0x"),
        *("\uff11\uff12\uff17.0.0.1", "①②⑦.0.0.1", "127。0。0。1", "127.0.0.1%00", "%31%32%37.0.0.1", "exa%6dple.com"),
        *(
            "example.com.",
            ".example.com",
            "example..com",
            ".",
            "-a.com",
            "a-.com",
            "a_b.com",
            "münchen.de",
            "\u017f.com",
        ),
        *("[::1", "::1", "[fe80::1%25eth0]", "[fe80::1%eth0]", "[::ffff:127.0.0.1.1]", "[v1.x]", "[]", "[127.0.0.1]"),
        *("", "a" * 64 + ".com", "a." * 127 + "com", "exa mple.com", "example.com\\@evil.com", "exam\tple.com"),
    ],
)
@pytest.mark.parametrize("policy", [CLIENT, OPERATOR], ids=["client", "operator"])
def test_hosts_in_unusual_notations_are_refused(host: str, policy: AddressPolicy) -> None:
    with pytest.raises(ValueError, match="URL"):
        validate_url(f"https://{host}/hook", policy)


@pytest.mark.parametrize(
    "url",
    [
        *(
            "https://user@example.com/",
            "https://user:pw@example.com/",
            "https://@example.com/",
            "https://example.com@/",
        ),
        *("https://example.com/#top", "https://example.com#", "https://example.com/a b", "https://example.com/é"),
        *(
            "https://example.com/\r\nX: y",
            "https://example.com/\n",
            "https://example.com/\x00",
            "\nhttps://example.com/",
        ),
        *("https://example.com/%", "https://example.com/%2", "https://example.com/?a=%zz", "https://example.com\\x"),
        *("https://example.com:0/", "https://example.com:65536/", "https://example.com:/", "https://example.com:8x/"),
        *("ftp://example.com/", "file:///etc/passwd", "javascript:alert(1)", "//example.com/", "example.com", ""),
        *("https:/example.com", "https:example.com", "https:///x", "http+unix://x/", "https://example.com:+80/"),
        "https://example.com/" + "a" * 2048,
    ],
)
def test_malformed_urls_are_refused(url: str) -> None:
    with pytest.raises(ValueError, match="URL"):
        parse_url(url)


def test_a_url_is_read_once_and_in_one_way() -> None:
    target = parse_url("HTTPS://Shop.Example.COM:8443/hook/%41?x=[1]&y=?/@")
    assert (target.scheme, target.host, target.port) == ("https", "shop.example.com", 8443)
    assert target.path == "/hook/%41?x=[1]&y=?/@"
    assert target.address is None
    assert (target.origin, target.authority) == ("https://shop.example.com:8443", "shop.example.com:8443")
    assert parse_url("http://xn--mnchen-3ya.de?q").path == "/?q"
    v6 = parse_url("https://[2A00:1450::0:1]/")
    assert (v6.host, v6.address) == ("2a00:1450::1", ipaddress.ip_address("2a00:1450::1"))
    assert (v6.origin, v6.authority) == ("https://[2a00:1450::1]:443", "[2a00:1450::1]")


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://example.com", "https://example.com:443"),
        ("https://EXAMPLE.com:443/a?b", "https://example.com:443"),
        ("http://example.com/", "http://example.com:80"),
        ("http://example.com:0080/", "http://example.com:80"),
        ("https://[::FFFF:8.8.8.8]:1/", "https://[::ffff:808:808]:1"),
        ("https://1.2.3.4", "https://1.2.3.4:443"),
    ],
)
def test_origin_is_normalised(url: str, expected: str) -> None:
    assert origin(url) == expected


def test_client_urls_are_judged_without_resolving() -> None:
    validate_url("https://example.com:12345/hook", CLIENT)
    validate_url("https://localhost/hook", CLIENT)  # a name: its address is judged when it is resolved
    validate_url("http://example.com/", AddressPolicy(allow_http=True))
    with pytest.raises(DeniedAddressError, match="only https"):
        validate_url("http://example.com/", CLIENT)
    with pytest.raises(DeniedAddressError, match="metadata") as caught:
        validate_url("https://169.254.169.254/latest/secret-token", CLIENT)
    assert "169.254.169.254" in str(caught.value)
    assert "secret-token" not in str(caught.value)
    with pytest.raises(DeniedAddressError, match="loopback"):
        validate_url("https://[::ffff:7f00:1]/", CLIENT)


def answering(*answers: Sequence[str], asked: list[str]):
    """A resolver that gives the answers one after the other, and notes what it was asked."""

    async def resolve(host: str) -> Sequence[Address]:
        asked.append(host)
        return [ipaddress.ip_address(text) for text in answers[len(asked) - 1]]

    return resolve


async def test_one_denied_address_refuses_the_host() -> None:
    guard = AddressGuard(CLIENT, answering(["8.8.8.8", "127.0.0.1"], asked=[]))
    with pytest.raises(DeniedAddressError, match=r"hook\.example.*loopback"):
        await guard.addresses(parse_url("https://hook.example/"))


async def test_every_attempt_under_the_client_policy_asks_anew() -> None:
    asked: list[str] = []
    guard = AddressGuard(CLIENT, answering(["8.8.8.8"], ["10.0.0.1"], asked=asked))
    target = parse_url("https://hook.example/")
    assert list(await guard.addresses(target)) == [ipaddress.ip_address("8.8.8.8")]
    with pytest.raises(DeniedAddressError, match="private"):
        await guard.addresses(target)
    assert asked == ["hook.example"] * 2


async def test_operators_hosts_are_kept_for_seconds_and_forgotten_on_failure() -> None:
    asked: list[str] = []
    guard = AddressGuard(OPERATOR, answering(["10.0.0.1"], ["10.0.0.2"], asked=asked))
    target = parse_url("http://tax.internal/")
    assert await guard.addresses(target) == await guard.addresses(target)
    assert len(asked) == 1
    guard.forget(target)
    assert list(await guard.addresses(target)) == [ipaddress.ip_address("10.0.0.2")]


async def test_a_host_without_addresses_is_a_failure_before_sending() -> None:
    async def fails(host: str) -> Sequence[Address]:
        raise OSError(f"{host}: no such name")

    for resolver in (fails, answering([], asked=[])):
        with pytest.raises(OutboundError, match="does not resolve") as caught:
            await AddressGuard(OPERATOR, resolver).addresses(parse_url("http://tax.internal/"))
        assert not caught.value.sent


async def test_system_resolver_knows_localhost_and_its_own_limits() -> None:
    resolver = SystemResolver(concurrency=1, timeout_s=5.0)
    try:
        found = await resolver("localhost")
        assert found
        assert all(address.is_loopback for address in found)
        release = asyncio.Event()
        resolver._timeout_s = 0.05
        resolver._threads.submit(asyncio.run_coroutine_threadsafe(release.wait(), asyncio.get_running_loop()).result)
        with pytest.raises(TimeoutError):  # its only thread is held
            await resolver("localhost")
        release.set()
    finally:
        resolver.close()
