"""Connecting to a Ray cluster, and refusing one that is not there, not ours, or open to anybody.

Ray itself waits for minutes, in many lines, where one sentence would do; so what can be known is
looked at before, and Ray is tried in a process of its own that can be given up.
"""

import hashlib
import os
import socket
import subprocess
import sys
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from workbench.errors import ConfigError
from workbench.workers.work import UnfitWorker

_MODE, _TOKEN, _TOKEN_FILE = "RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"
_OWN_TOKEN_FILE = Path("~/.ray/auth_token")  # where `ray get-auth-token --generate` puts it
_PORT_SECONDS = 5.0
_TRY_SECONDS = 40.0  # starting Python, importing Ray, and a slow network
_TRY = (
    "import sys, ray; ray.init(sys.argv[1], log_to_driver=False, logging_level='ERROR'); "
    "ray.shutdown()"
)
_LOCAL_NAMES = ("127.0.0.1", "localhost", "::1")


@contextmanager
def connected(address: str) -> Iterator[Any]:
    """Connect to a cluster for the block; return the module `ray`.

    Args:
        address: "host:port" of the head, or "auto" for the cluster that this machine is part of.

    Raises:
        ConfigError: no Ray here, no token, or no such cluster; says what to do.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_SCHEDULER_EVENTS", "0")
    ray = _import_ray()
    _check_token(os.environ)
    if address != "auto":
        _check_port(address)
    _try(address)
    with warnings.catch_warnings(action="ignore"), _silence():
        ray.init(address, log_to_driver=False, logging_level="ERROR", configure_logging=False)
    ray._private.worker._worker_logs_enabled = False  # prints beside what a command prints
    try:
        yield ray
    finally:
        ray.shutdown()


@contextmanager
def _silence() -> Iterator[None]:
    """Let nothing be written to the errors of this process for the block, by C++ either."""
    with suppress(OSError, ValueError):
        sys.stderr.flush()
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


def _import_ray() -> Any:
    try:
        import ray  # noqa: PLC0415  not everybody has it
    except ImportError as error:
        raise ConfigError(
            "--cluster: the package 'ray' is not installed. Install it on all machines: "
            "pip install 'prompt-workbench[cluster]'"
        ) from error
    return ray


def _check_token(environment: Mapping[str, str]) -> None:
    """Refuse to use a cluster without a token: whoever reaches one runs what he likes on it.

    Raises:
        ConfigError: says how.
    """
    if environment.get(_MODE) == "token":
        files = (environment.get(_TOKEN_FILE, ""), str(_OWN_TOKEN_FILE.expanduser()))
        with suppress(OSError):
            if environment.get(_TOKEN) or any(Path(file).is_file() for file in files if file):
                return
    raise ConfigError(
        f"--cluster: set {_MODE}=token and {_TOKEN} or {_TOKEN_FILE}, the same here and on all "
        "machines before `ray start` (make one with: ray get-auth-token --generate). Without a "
        "token whoever reaches a cluster runs what he likes on it; a token does not encrypt, so "
        "keep the cluster in a network of your own. See docs/cluster.md."
    )


def check_token_here(where: str) -> None:
    """Refuse a machine of the cluster that was started without a token; called on it.

    Raises:
        UnfitWorker: it was.
    """
    if os.environ.get(_MODE) != "token":
        raise UnfitWorker(
            f"{where}: its node was started without {_MODE}=token. Stop it, and start it with the "
            "token of the others; see docs/cluster.md."
        )


def local_folder(store: str) -> Path:
    """Return the folder in which a machine of the cluster keeps runs of a store at an address."""
    from workbench.models.weights import cache_folder  # noqa: PLC0415  it loads the stack

    return cache_folder() / "runs" / hashlib.sha256(store.encode()).hexdigest()[:16]


def _check_port(address: str) -> None:
    """Refuse an address where nobody listens.

    Raises:
        ConfigError: nobody does, or it is no address.
    """
    host, sign, port = address.rpartition(":")
    host = host.strip("[]")
    if not sign or not host or "/" in host or not port.isdecimal():
        raise ConfigError(
            f"--cluster {address}: host:port of the cluster's head is needed, or auto. Example: "
            "--cluster 10.0.0.1:6379"
        )
    try:
        socket.create_connection((host, int(port)), timeout=_PORT_SECONDS).close()
    except (OSError, OverflowError, UnicodeError) as error:
        raise ConfigError(
            f"--cluster {address}: nobody answers there ({error}). Start the cluster, or give the "
            "address that `ray start --head` printed."
        ) from error


def _try(address: str) -> None:
    """Refuse a cluster that cannot be connected to, in bounded time.

    Raises:
        ConfigError: says what Ray says, in a sentence.
    """
    environment = os.environ | {
        "RAY_BACKEND_LOG_LEVEL": "warning",
        "RAY_NUM_REDIS_GET_RETRIES": "2",
        "PYTHONWARNINGS": "ignore",
    }
    try:
        done = subprocess.run(  # noqa: S603  our own words
            [sys.executable, "-c", _TRY, address],
            env=environment,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_TRY_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        said = error.stderr if isinstance(error.stderr, bytes) else b""
        raise _refusal(address, said.decode(errors="replace"), is_late=True) from None
    if done.returncode:
        raise _refusal(address, done.stderr, is_late=False)


def _refusal(address: str, said: str, *, is_late: bool) -> ConfigError:
    """Return why a cluster cannot be connected to, from what Ray said."""
    if "AuthToken" in said:
        return ConfigError(
            f"--cluster {address}: the cluster does not take this token. Set {_TOKEN} or "
            f"{_TOKEN_FILE} to the one that its nodes were started with."
        )
    hints = "This machine has to be a node of the cluster too: ray start --address=HEAD:PORT"
    if address.rpartition(":")[0].strip("[]") in _LOCAL_NAMES:
        hints += (
            ". Ray reads this address as that of the network card: give the one that `ray start "
            "--head` printed"
        )
    if is_late:
        reason = f"no Ray cluster answered within {_TRY_SECONDS:.0f} seconds"
    else:
        lines = [line.strip() for line in said.strip().splitlines() if line.strip()]
        reason = (lines[-1] if lines else "Ray ended without a word").rstrip(".")
    return ConfigError(f"--cluster {address}: {reason}. {hints}.")
