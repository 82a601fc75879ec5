"""Two apps over the tiny model, a public and a local one; sockets to this machine only."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
import pytest_socket

from security.crowd import begun, stream
from security.flows import Belongings, belongings
from security.raw import Visitor
from security.serving import audited, running_app
from visitors import ANNA, BEN
from workbench.service.profile import Profile
from workbench.serving.desk import ModelDesk
from workbench.ui.context import AppContext


@pytest.fixture(autouse=True)
def _no_network(socket_enabled) -> None:
    """Sockets to this machine: client and app have to talk to each other."""
    pytest_socket.socket_allow_hosts(["127.0.0.1", "localhost"])


@dataclass(frozen=True)
class Site:
    """A running app.

    Attributes:
        address: Where it answers.
        root: Its folder of runs.
        scratch: Its log and temporary files.
        notes: What it and its jobs noted about whom they talk to.
    """

    address: str
    root: Path
    scratch: Path
    notes: Path


@pytest.fixture(scope="package")
def sites(tiny_folder, tmp_path_factory) -> Iterator[dict[str, Site]]:
    """Return a public and a local app, started beside each other."""
    with ExitStack() as stack, ThreadPoolExecutor() as pool:

        def start(profile: str) -> Site:
            scratch = tmp_path_factory.mktemp(profile)
            root, notes = scratch / "runs", scratch / "notes.log"
            app = running_app(root, profile, tiny_folder, scratch=scratch, **audited(notes))
            return Site(stack.enter_context(app), root, scratch, notes)

        names = ("public", "local")
        yield dict(zip(names, pool.map(start, names), strict=True))


@pytest.fixture(scope="package")
def public(sites) -> Site:
    """Return the app whose visitors do not know each other."""
    return sites["public"]


@pytest.fixture(scope="package")
def local(sites) -> Site:
    """Return the app of one person on one machine."""
    return sites["local"]


@pytest.fixture(scope="package")
def author(public) -> Iterator[Visitor]:
    """Return Anna in the session in which she makes things, with her page open."""
    visitor = Visitor(public.address, ANNA)
    with begun(public.address, "127.0.0.1", stream(visitor.session)):
        yield visitor
    visitor.close()


@pytest.fixture(scope="package")
def made(author, lora_export) -> Belongings:
    """Return one of everything that a visitor can make; all of it is Anna's."""
    return belongings(author, lora_export)


@pytest.fixture
def anna(public) -> Iterator[Visitor]:
    """Return a visitor of the public app."""
    visitor = Visitor(public.address, ANNA)
    yield visitor
    visitor.close()


@pytest.fixture
def ben(public) -> Iterator[Visitor]:
    """Return another visitor of the public app."""
    visitor = Visitor(public.address, BEN)
    yield visitor
    visitor.close()


@pytest.fixture
def owner(local) -> Iterator[Visitor]:
    """Return the user of the local app, who needs no token."""
    visitor = Visitor(local.address, "")
    yield visitor
    visitor.close()


@pytest.fixture
def app_context(tmp_path):
    """Return a function that makes what handlers are given, for calls past Gradio's checks."""

    def make(root: Path, profile: Profile) -> AppContext:
        exports = tmp_path / "exports"
        return AppContext(root.resolve(), profile, ModelDesk(), exports, lambda _: "finished")

    return make
