"""Whose request it is: what a socket and trusted proxies say, never what a visitor writes."""

import asyncio

import pytest
from uvicorn.config import Config

from workbench.errors import ConfigError
from workbench.service.profile import Crowd
from workbench.ui.crowds import Crowds
from workbench.ui.peers import believe_sockets_alone, client_address, num_proxies

PROXY, VISITOR, INVENTED = "10.0.0.7", "93.184.216.34", "8.8.8.8"


def scope_of(peer, *forwarded):
    """Return a request from a peer with headers that say for whom it was forwarded."""
    headers = [(b"x-forwarded-for", value.encode()) for value in forwarded]
    client = None if peer is None else (peer, 4000)
    scope = {"type": "http", "method": "GET", "path": "/", "query_string": b""}
    return scope | {"headers": headers, "client": client}


@pytest.mark.parametrize(
    ("proxies", "peer", "forwarded", "address"),
    [
        (0, VISITOR, [], VISITOR),
        (0, VISITOR, [INVENTED], VISITOR),
        (0, "127.0.0.1", [INVENTED], "127.0.0.1"),
        (1, PROXY, [VISITOR], VISITOR),
        (1, PROXY, [f"{INVENTED}, {VISITOR}"], VISITOR),
        (1, PROXY, [INVENTED, VISITOR], VISITOR),
        (1, PROXY, [f"{VISITOR}:5000"], VISITOR),
        (1, PROXY, [], PROXY),
        (1, PROXY, [f"{INVENTED}, nobody"], PROXY),
        (2, PROXY, [f"{INVENTED}, {VISITOR}, 10.0.0.8"], VISITOR),
        (2, PROXY, [VISITOR], PROXY),
        (None, PROXY, [f"{INVENTED}, {VISITOR}"], VISITOR),
        (None, PROXY, [f"{INVENTED}, {VISITOR}, 10.0.0.8, 100.64.0.3"], VISITOR),
        (None, PROXY, ["10.0.0.8"], PROXY),
        (None, PROXY, [f"{INVENTED}, nobody, 10.0.0.8"], PROXY),
        (None, PROXY, [], PROXY),
        (0, "2a00:1450:4001:81b:1::5", [], "2a00:1450:4001:800::"),
        (1, PROXY, ["[2a00:1450:4001:8ff:2::6]:443"], "2a00:1450:4001:800::"),
        (0, "::ffff:93.184.216.34", [], VISITOR),
        (0, None, [INVENTED], "unknown"),
    ],
)
def test_an_address_is_what_nobody_can_make_up(proxies, peer, forwarded, address):
    assert client_address(scope_of(peer, *forwarded), proxies) == address


@pytest.mark.parametrize(
    ("environment", "proxies"),
    [
        ({}, 0),
        ({"SPACE_ID": "me/mine"}, None),
        ({"WORKBENCH_PROXIES": "2"}, 2),
        ({"SPACE_ID": "me/mine", "WORKBENCH_PROXIES": "1"}, 1),
    ],
)
def test_proxies_are_counted_by_who_runs_the_server(environment, proxies):
    assert num_proxies(environment) == proxies


@pytest.mark.parametrize("number", ["-1", "10", "one", "1.5", "²"])
def test_no_other_number_of_proxies_is_taken(number):
    with pytest.raises(ConfigError, match="not a number of proxies from 0 to 9"):
        num_proxies({"WORKBENCH_PROXIES": number})


def test_what_stands_behind_sees_the_visitors_address():
    """So handlers do: their request's client is the one of the scope."""
    seen = []

    async def app(scope, receive, send):
        seen.append(scope["client"])

    guard = Crowds(app, crowd=Crowd(), upload_bytes=1, proxies=1)
    asyncio.run(guard(scope_of(PROXY, f"{INVENTED}, {VISITOR}"), None, None))

    assert seen == [(VISITOR, 4000)]


def test_uvicorn_believes_no_header(monkeypatch):
    """It would otherwise overwrite the peer of everybody behind a proxy on this machine."""
    monkeypatch.setenv("FORWARDED_ALLOW_IPS", "*")
    seen = []

    async def app(scope, receive, send):
        seen.append(scope["client"])

    believe_sockets_alone()
    served = Config(app, log_config=None)
    served.load()
    asyncio.run(served.loaded_app(scope_of("127.0.0.1", INVENTED), None, None))

    assert seen == [("127.0.0.1", 4000)]
