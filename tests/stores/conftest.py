"""An S3 server on this machine, and stores that several processes share."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import fsspec
import pytest
import pytest_socket

_KEYS = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret"}
_START_SECONDS = 60


@pytest.fixture(autouse=True)
def _no_network(socket_enabled) -> None:
    """Sockets to this machine: the server is there, and the one that children are forked from."""
    pytest_socket.socket_allow_hosts(["127.0.0.1", "localhost"], allow_unix_socket=True)


@contextmanager
def s3_server(folder: Path, **environment: str) -> Iterator[str]:
    """Run moto's S3 in a process of its own for the block; yields its address."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    command = [
        sys.executable,
        "-W",
        "ignore",
        "-m",
        "moto.server",
        "-H",
        "127.0.0.1",
        "-p",
        str(port),
    ]
    with (folder / "s3.log").open("wb") as log:
        server = subprocess.Popen(
            command, env={**os.environ, **_KEYS, **environment}, stdout=log, stderr=log
        )
    try:
        url = f"http://127.0.0.1:{port}"
        _wait_for(url)
        yield url
    finally:
        server.kill()
        server.wait()


def _wait_for(url: str) -> None:
    from botocore.exceptions import ClientError, EndpointConnectionError

    last = time.monotonic() + _START_SECONDS
    while True:
        try:
            client_of(url).list_buckets()
            return
        except ClientError:  # it is there, and wants other keys
            return
        except EndpointConnectionError:
            if time.monotonic() > last:
                raise
            time.sleep(0.2)


def client_of(url: str):
    """Return a client of a server that fsspec has no part in."""
    import boto3

    return boto3.client(
        "s3",
        endpoint_url=url,
        aws_access_key_id="key",
        aws_secret_access_key="secret",
        region_name="us-east-1",
    )


@pytest.fixture(scope="session")
def s3_url(tmp_path_factory) -> Iterator[str]:
    """Return the address of an S3 server that lets everybody in."""
    with s3_server(tmp_path_factory.mktemp("s3")) as url:
        yield url


def use_server(url: str, monkeypatch) -> None:
    """Have fsspec, here and in children, go to a server."""
    for name, value in (_KEYS | {"AWS_DEFAULT_REGION": "us-east-1"}).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("FSSPEC_S3_ENDPOINT_URL", url)
    monkeypatch.setitem(fsspec.config.conf, "s3", {"endpoint_url": url})


@pytest.fixture
def bucket(s3_url, monkeypatch, request) -> str:
    """Return the address of an empty bucket of its own."""
    use_server(s3_url, monkeypatch)
    name = f"bucket-{abs(hash(request.node.nodeid)):x}-{os.getpid()}"
    client_of(s3_url).create_bucket(Bucket=name)
    return f"s3://{name}"


@pytest.fixture(params=["s3", "file", "memory"])
def address(request, tmp_path) -> str:
    """Return an empty place of each kind."""
    if request.param == "s3":
        return f"{request.getfixturevalue('bucket')}/runs"
    if request.param == "memory":
        return f"memory://{tmp_path.name}/runs"
    return f"file://{tmp_path}/there"
