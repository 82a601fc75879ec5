"""The address a visitor counts by: the one part of a request that nobody can make up.

What a socket says is true but may be a proxy's. What `X-Forwarded-For` says is true only as far
as trusted proxies wrote it, each at its right end; whatever stands further left is the visitor's.
"""

import ipaddress
import os
from collections.abc import Mapping

from starlette.datastructures import Headers
from starlette.types import Scope

from workbench.errors import ConfigError

PROXIES = "WORKBENCH_PROXIES"
"""Environment variable: how many proxies stand in front, each adding to `X-Forwarded-For`."""

_MOST_PROXIES = 9
_NETWORK = 56  # bits of an IPv6 address that a provider gives to one customer
_UNKNOWN = "unknown"  # peers that came by no network share one address
_Address = ipaddress.IPv4Address | ipaddress.IPv6Address


def num_proxies(environment: Mapping[str, str] = os.environ) -> int | None:
    """Return how many proxies are trusted; None for those of a Space, however many they are.

    Raises:
        ConfigError: not a small number.
    """
    given = environment.get(PROXIES, "").strip()
    if not given:
        return None if "SPACE_ID" in environment else 0
    if not given.isdecimal() or int(given) > _MOST_PROXIES:
        raise ConfigError(
            f"{PROXIES} {given[:40]!r}: not a number of proxies from 0 to {_MOST_PROXIES}. Count "
            "those in front of this server that add to X-Forwarded-For; without any, leave it out."
        )
    return int(given)


def believe_sockets_alone() -> None:
    """Let the web server pass on who a socket says it is.

    Otherwise uvicorn writes over it what anybody on this machine, so also every visitor behind a
    proxy on it, puts into `X-Forwarded-For`.
    """
    os.environ["FORWARDED_ALLOW_IPS"] = ""


def client_address(scope: Scope, proxies: int | None) -> str:
    """Return the address a request counts by; of IPv6 the network of 56 bits.

    Providers give a customer at home that many or fewer to choose the rest from (RIPE-690, section
    4.2): by 64 bits, one customer would be 256 visitors. Who has 48 bits still is.

    Args:
        scope: The request's, with the socket's peer as its client.
        proxies: How many entries at the right end of `X-Forwarded-For` are trusted. None takes
            the last public one: visitors of a Space come from the internet, its proxies do not.
    """
    peer = (scope.get("client") or (_UNKNOWN, 0))[0]
    written = ",".join(Headers(scope=scope).getlist("x-forwarded-for")).split(",")
    found = _last_public(written) if proxies is None else _counted(written, proxies)
    found = found or _parsed(peer)
    return peer if found is None else _of_one_customer(found)


def _counted(written: list[str], proxies: int) -> _Address | None:
    """Return the entry of the outermost trusted proxy, if all of them wrote one."""
    return _parsed(written[-proxies]) if 0 < proxies <= len(written) else None


def _last_public(written: list[str]) -> _Address | None:
    for entry in reversed(written):
        address = _parsed(entry)
        if address is None or address.is_global:
            return address
    return None


def _parsed(entry: str) -> _Address | None:
    """Return an address, written with or without a port; None if it is none."""
    text = entry.strip()
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    inner = getattr(address, "ipv4_mapped", None)
    return inner or address


def _of_one_customer(address: _Address) -> str:
    if address.version == 4:
        return str(address)
    return str(ipaddress.IPv6Network((int(address), _NETWORK), strict=False).network_address)
