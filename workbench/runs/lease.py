"""A lease: what one process of many, on many machines, holds while it works on something.

A lock of the system is freed when its process dies, but it belongs to one machine: on a shared
folder it may exclude nobody, and that of a machine that died may stay. So a process that holds a
lease writes a claim and renews it; a claim that is not renewed is taken over.

    claims/0000007    {"host": …, "pid": …, "beat": 31, …}, written anew every `beat` seconds

Who is alive is judged without any clock being compared with another:

- **Here.** The claim of a process of this machine is free as soon as the process is gone, and never
  before.
- **Elsewhere.** Whoever wants what is claimed watches the claim. If it changes, its holder lives.
  If it stays the same for `expires` seconds of the watcher's own clock, in which it could be read
  all the time, the watcher makes the claim of the next number, which only one can; looks once more
  whether the old one has changed after all, and if so gives way; and removes the old one.
- **Itself.** A holder believes in its claim for less than `expires` seconds after it began to renew
  it the last time. After that (the machine slept, the store was out of reach) it renews it first,
  and then looks whether there is a later claim, before it writes anything (`workbench/fence.py`).

Of holder and watcher at least one sees the other, because each writes before it reads. filelock's
`SoftFileLease` has the same idea, but exchanges two names in one step to take a claim over, which
NFS and SMB refuse: there the claim of a dead machine would stay for good.
"""

import json
import os
import secrets
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import NoReturn

import psutil

from workbench.atomic import parse_json
from workbench.errors import BusyRun, ConfigError, LostRun, StoreError
from workbench.progress import Interrupted, raise_if_stopped, stopped_by
from workbench.runs.claims import Claims, claim_name

_BELIEVED = 0.8  # of the time after which others may take over
_LOOKS = 10  # at a claim in the time between two of its beats
_GONE = "gone"
_ours: set[str] = set()  # tokens of the leases that this process has or wants
_TRIES = 50  # to claim what others claim and leave at the same moment


@dataclass(frozen=True)
class LeaseTimes:
    """How long a lease lasts; the same for all who share a store.

    Attributes:
        expires: Seconds without a change after which a claim of another machine is taken over. A
            run whose machine died goes on elsewhere this long after somebody asks for it; up to
            twice as long where the store cannot be read now and then.
        beat: Seconds between two changes; the longest that somebody waits to hear that another
            machine works on a run.
        settle: Seconds to wait where a store lets two make the same file: more than a write takes.

    Raises:
        ConfigError: `expires` is less than three beats.
    """

    expires: float = 45.0
    beat: float = 10.0
    settle: float = 2.0

    def __post_init__(self) -> None:
        if not 0 < 3 * self.beat <= self.expires:
            raise ConfigError(
                f"a lease that expires after {self.expires:g} s cannot be renewed every "
                f"{self.beat:g} s: three times or more before it expires, and above 0."
            )


@dataclass(frozen=True)
class _Claim:
    """A claim as it was read.

    Attributes:
        number: Which one.
        content: What it says, whole.
        host, pid: Of its holder, for people; None where it cannot be read.
        machine, process: The same, to be compared.
        token: Of the lease.
        expires: Seconds that its holder counts on.
    """

    number: int
    content: bytes
    host: str | None = None
    pid: int | None = None
    machine: str = ""
    process: str = ""
    token: str = ""
    expires: float = 0.0

    @property
    def is_dead(self) -> bool:
        """Whether its holder was a process of this machine and is gone."""
        if self.pid is None or self.machine != _machine():
            return False
        if self.pid == os.getpid() and self.process == process_start(self.pid):
            return self.token not in _ours  # left behind by a lease that could not say its end
        found = process_start(self.pid)
        return found == _GONE or (found != self.process and "" not in (found, self.process))

    @property
    def is_alive(self) -> bool:
        """Whether its holder is a process of this machine and is there."""
        return self.pid is not None and self.machine == _machine() and not self.is_dead


class Lease:
    """Holds something for this process while others may be anywhere.

    Args:
        claims: Where it is claimed.
        times: How long claims last.
        what: What is held, as messages begin: "run x".
        doing: What its holder is doing, as messages go on.
    """

    def __init__(
        self, claims: Claims, times: LeaseTimes, what: str, doing: str = "working on it"
    ) -> None:
        self._claims, self._times, self._what, self._doing = claims, times, what, doing
        self._token = secrets.token_hex(8)
        self._number = self._beat = self._tries = 0
        self._believed_until = 0.0
        self._loss = ""  # how it was lost, as the end of a sentence
        self._changing = threading.RLock()  # the thread that renews, and whoever asks
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def is_lost(self) -> bool:
        """Whether another process is known to have it."""
        return bool(self._loss)

    def acquire(self) -> None:
        """Claim it, or take it over after watching for as long as a claim may go unchanged.

        Raises:
            BusyRun: a living process has it.
            StoreError: the claims cannot be read or written.
        """
        _ours.add(self._token)
        is_held = False
        try:
            self._acquire()
            is_held = True
        finally:
            if not is_held:
                self._withdraw()
        self._thread = threading.Thread(target=self._renew_on, name="lease", daemon=True)
        self._thread.start()

    def _acquire(self) -> None:
        times, seen, since, looked = self._times, None, 0.0, 0.0
        began = time.monotonic()
        while True:
            raise_if_stopped()
            latest = self._latest()
            now = time.monotonic()
            wait = max(times.expires, 0.0 if latest is None else latest.expires)
            if latest is None or latest.is_dead:
                if self._claim_at_once(latest):
                    return
            elif latest.is_alive or self._tries > _TRIES or now > began + 2 * wait + times.beat:
                self._refuse(latest)
            elif seen is None or now - looked > wait / 3:  # the store may have been slow for all
                seen, since = latest, now
            elif latest.number < seen.number:  # the later one's maker had died over this one
                seen, since, began = latest, now, now
            elif latest != seen:
                self._refuse(latest)
            elif now - since >= wait and self._claim(latest):
                return
            looked = now
            if latest is not None and not latest.is_dead:
                time.sleep(times.beat / _LOOKS)

    def check(self) -> None:
        """Refuse to go on if another process has it.

        Raises:
            LostRun: another process has it.
            StoreError: that cannot be asked, and it was too long ago that it was known.
        """
        if not self._loss and _clock() > self._believed_until:
            self._renew()
        if self._loss:
            raise LostRun(
                f"{self._what}: this process no longer holds it: {self._loss}. It had been asleep "
                "or without its store for too long, and writes no more there. Ask for it again to "
                "get its result."
            )

    def release(self) -> None:
        """Let others have it at once; where that cannot be said, it expires."""
        self._ended.set()
        if self._thread is not None:
            self._thread.join(self._times.beat)
        with self._changing, suppress(StoreError):
            if not self._loss and self._is_own():
                self._claims.remove(claim_name(self._number))
        _ours.discard(self._token)

    def _refuse(self, claim: _Claim | None) -> NoReturn:
        host, pid = (None, None) if claim is None else (claim.host, claim.pid)
        who = "another process" if pid is None else f"process {pid} on {host}"
        raise BusyRun(busy_message(self._what, who, self._doing), host=host, pid=pid)

    def _latest(self) -> _Claim | None:
        """Return the claim of the highest number; None if there is none."""
        for name in reversed(self._claims.names()):
            content = self._claims.read(name)
            if content is not None:
                return _read(int(name), content)
        return None

    def _claim(self, before: _Claim | None) -> bool:
        """Make the claim after one that may be taken over; return whether it is held."""
        if before is not None and self._remove_over_older(before):
            return False
        number = before.number + 1 if before is not None else 1
        name, content = claim_name(number), self._content()
        began = _clock()
        if not self._claims.create(name, content) and self._claims.read(name) != content:
            return False
        is_sure = self._claims.settle(name, content, self._times.settle)
        if not is_sure and self._claims.read(name) != content:
            return False
        old = None if before is None else claim_name(before.number)
        lives = before is not None and self._claims.read(old or "") not in (before.content, None)
        if lives or set(self._claims.names()) - {name, old}:
            self._claims.remove(name)
            return False
        if old is not None:
            self._claims.remove(old)
        self._number, self._believed_until = number, began + _BELIEVED * self._times.expires
        return True

    def _withdraw(self) -> None:
        """Remove what this lease may have claimed before it failed."""
        with suppress(StoreError):
            for name in self._claims.names():
                content = self._claims.read(name)
                if content is not None and self._token.encode() in content:
                    self._claims.remove(name)
        _ours.discard(self._token)

    def _claim_at_once(self, free: _Claim | None) -> bool:
        """Claim what nobody holds; return whether it is held: others may want it too."""
        if self._claim(free):
            return True
        self._tries += 1
        if self._tries > _TRIES:
            self._refuse(free)
        time.sleep(self._times.beat / _LOOKS / _LOOKS)
        return False

    def _remove_over_older(self, latest: _Claim) -> bool:
        """Remove a claim that may be taken over, if older ones are left beside it; say so.

        Its maker died before it had removed those. If one of their holders lives after all, it has
        given way to this claim, or will; else the older one is taken over next.
        """
        if all(int(name) >= latest.number for name in self._claims.names()):
            return False
        self._claims.remove(claim_name(latest.number))
        return True

    def _renew_on(self) -> None:
        """Renew it until it is released or lost; a store out of reach is tried again."""
        while not self._ended.wait(self._times.beat) and not self._loss:
            with suppress(StoreError):
                self._renew()

    def _renew(self) -> None:
        with self._changing:
            if self._loss or self._ended.is_set():
                return
            began = _clock()
            if not self._is_own():
                self._loss = self._taken_by()
                return
            self._beat += 1
            self._claims.write(claim_name(self._number), self._content())
            if any(int(name) > self._number for name in self._claims.names()):
                self._loss = self._taken_by()
                self._claims.remove(claim_name(self._number))
                return
            self._believed_until = began + _BELIEVED * self._times.expires

    def _is_own(self) -> bool:
        content = self._claims.read(claim_name(self._number))
        return content is not None and self._token.encode() in content

    def _taken_by(self) -> str:
        with suppress(StoreError):
            latest = self._latest()
            is_other = latest is not None and self._token.encode() not in latest.content
            if latest is not None and latest.pid is not None and is_other:
                return f"process {latest.pid} on {latest.host} has taken it over"
        return "its claim is gone"

    def _content(self) -> bytes:
        pid = os.getpid()
        said = {
            "host": socket.gethostname(),
            "pid": pid,
            "machine": _machine(),
            "process": process_start(pid),
            "token": self._token,
            "expires": self._times.expires,
            "beat": self._beat,
        }
        return json.dumps(said).encode()


@contextmanager
def leased(
    claims: Claims, times: LeaseTimes, what: str, doing: str = "working on it"
) -> Iterator[Lease]:
    """Hold something by a lease for the block, whose long work ends soon after it is lost.

    Raises:
        BusyRun: a living process has it.
        LostRun: another process took it over meanwhile.
        StoreError: the claims cannot be read or written.
    """
    lease = Lease(claims, times, what, doing)
    lease.acquire()
    try:
        with stopped_by(lambda: lease.is_lost):
            yield lease
    except Interrupted:
        if lease.is_lost:
            lease.check()
        raise
    finally:
        lease.release()


def busy_message(what: str, who: str, doing: str) -> str:
    """Return what to tell somebody who wants what another process has."""
    return f"{what}: {who} is {doing}. Wait for it, or use another folder with --out."


def process_start(pid: int) -> str:
    """Return what tells a process from others that had or get its number; "" if not to be told.

    Of a process that is gone it is "gone"; that includes one which only its parent remembers.
    """
    if not psutil.pid_exists(pid):
        return _GONE
    try:
        if Path("/proc/self/stat").exists():
            # The start in ticks since the machine's, which no clock that is set changes: proc(5).
            fields = (
                Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
            )
            return _GONE if fields[0] in "ZX" else fields[19]
        process = psutil.Process(pid)
        is_gone = process.status() == psutil.STATUS_ZOMBIE
        return _GONE if is_gone else str(process.create_time())
    except (OSError, IndexError, psutil.Error):  # that of another user, hidden
        return ""


def _read(number: int, content: bytes) -> _Claim:
    """Return a claim; of one that is torn only what it says is known, to be watched."""
    try:
        said = parse_json(content)
        return _Claim(
            number,
            content,
            str(said["host"]),
            int(said["pid"]),
            str(said["machine"]),
            str(said["process"]),
            str(said["token"]),
            min(float(said["expires"]), 3600.0),
        )
    except (ValueError, TypeError, KeyError, OverflowError):
        return _Claim(number, content)


@cache
def _machine() -> str:
    """Return what tells this machine, since its start, from others of its name.

    Numbers of processes mean nothing outside a container, so each is a machine of its own.
    """
    boot, namespace = f"{uuid.getnode():x}", ""
    with suppress(OSError):
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        namespace = str(os.stat("/proc/self/ns/pid").st_ino)
    return f"{socket.gethostname()}/{boot}/{namespace}"


def _clock() -> float:
    """Return seconds that go on while the machine sleeps, where the system counts them."""
    boot = getattr(time, "CLOCK_BOOTTIME", None)
    return time.monotonic() if boot is None else time.clock_gettime(boot)
