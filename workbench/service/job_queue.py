"""Who comes next: addresses in turn, of each address its visitors in turn, of each the oldest job.

A token costs nothing, an address does. So places are counted by address too, one that has none
always finds one, and whoever had a turn goes to the end of the line. `.queue.json` counts what was
submitted and started, so that no clock decides an order and deleting a job wins nothing; if it is
lost, the turns begin anew.

It also names the jobs that may wait or run, so that nobody reads those that ended, however many
there are. A job is named before it waits; where the names are lost, they are found in the folders.
"""

import hashlib
import hmac
import re
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from workbench.atomic import explained, parse_json, write_json
from workbench.errors import StoreError
from workbench.service.job_locks import put_aside, release, take
from workbench.service.job_status import UNFINISHED, JobStatus, has_ended, read_status
from workbench.service.profile import Caps

_LEDGER, _LOCK = ".queue.json", ".jobs.lock"
_LOCK_SECONDS = 5  # others read what is unfinished and write a few small files meanwhile
_MOST_SERVED = 2000  # addresses and visitors whose last turn is remembered
_MOST_ADDRESSES = 10  # times the places of the queue: the most addresses that wait with one job

_PART = "[A-Za-z0-9][A-Za-z0-9_.-]{0,159}"  # as names that visitors may ask for
_NAMED = rf"^(workspace|visitors/{_PART})/jobs/{_PART}$"


class Ledger(BaseModel):
    """What the queue of a root remembers beside its jobs.

    Attributes:
        key: Of the keyed hash of addresses, which are kept nowhere.
        count: Goes up with everything that is submitted, resumed or started.
        served: Count at the last start of an address, or of a visitor.
        unfinished: Folders, below the root, of jobs that may wait or run; None: not known.
    """

    model_config = ConfigDict(extra="ignore")

    key: str = Field(min_length=32)
    count: int = Field(0, ge=0)
    served: dict[str, int] = {}
    unfinished: list[Annotated[str, Field(pattern=_NAMED)]] | None = None

    def next(self) -> int:
        """Return a number that is higher than all before."""
        self.count += 1
        return self.count

    def hashed(self, address: str) -> str:
        """Return what stands for an address in the files of jobs."""
        digest = hmac.new(self.key.encode(), address.encode(errors="replace"), hashlib.sha256)
        return digest.hexdigest()[:24]


@dataclass(frozen=True)
class Entry:
    """A job below a root as the queue sees it."""

    folder: Path
    status: JobStatus

    @property
    def address(self) -> str:
        """Whose address it counts for."""
        return f"address {self.status.address}"

    @property
    def visitor(self) -> str:
        """Whose job it is."""
        return f"visitor {self.status.address} {self.folder.parent.parent.name}"


@contextmanager
def changing(root: Path) -> Iterator[Ledger]:
    """Hold the queue for the block, and keep the ledger's changes.

    Raises:
        StoreError: somebody else holds it, or the folder cannot be written.
    """
    with explained(root):
        root.mkdir(parents=True, exist_ok=True)
    held = take(root / _LOCK, seconds=_LOCK_SECONDS)
    if held is None:
        raise StoreError("jobs: the queue is busy. Try again in a few seconds.")
    try:
        ledger = _stored_ledger(root)
        is_known = ledger.unfinished is not None
        if not is_known:
            found = [Entry(folder, read_status(folder)) for folder in _all_jobs(root)]
            ledger.count = max([ledger.count, *(one.status.ticket for one in found)])
        folders = _named_jobs(root, ledger)
        ledger.unfinished = [_name(root, one) for one in folders if not has_ended(one)]
        if not is_known:
            _keep(root, ledger)  # looked for once, even if what follows is refused
        yield ledger
        if ledger != _stored_ledger(root):
            _keep(root, ledger)
    finally:
        release(held)


def name_unfinished(root: Path, ledger: Ledger, folder: Path) -> None:
    """Name a job that is about to wait or run, on the disk first: only what is named starts.

    Raises:
        StoreError: it cannot be written.
    """
    names = ledger.unfinished or []
    ledger.unfinished = [*names, *({_name(root, folder)} - {*names})]
    _keep(root, ledger)


def name_running(root: Path, folder: Path) -> None:
    """Name a job that goes on without having waited, if it can be; call it while its lock is held.

    Of one that cannot be named only the place is not counted.
    """
    known = _stored_ledger(root).unfinished
    if known is not None and _name(root, folder) not in known:
        with suppress(StoreError), changing(root) as ledger:
            name_unfinished(root, ledger, folder)


def entries(root: Path) -> list[Entry]:
    """Return the jobs of all visitors that wait or run; some that ended may be among them."""
    folders = _named_jobs(root, _stored_ledger(root))
    return [Entry(folder, read_status(folder)) for folder in folders]


def job_folders(folder: Path) -> Iterator[Path]:
    """Yield the folders of jobs in a folder; what is being made or deleted is hidden."""
    for path in folder.glob("[!.]*"):
        if _is_folder(path):
            yield path


def in_order(root: Path, found: Sequence[Entry]) -> list[Entry]:
    """Return the waiting jobs in the order in which they will start if nobody comes."""
    served = dict(_stored_ledger(root).served)
    left, ordered = [one for one in found if one.status.state == "queued"], []
    turn = 1 + max([*served.values(), *(one.status.ticket for one in left)], default=0)
    while left:
        first = min(left, key=_place(left, served))
        ordered.append(first)
        left.remove(first)
        served[first.address] = served[first.visitor] = turn
        turn += 1
    return ordered


def note_start(ledger: Ledger, entry: Entry) -> None:
    """Remember that an address and a visitor had their turn."""
    turn = ledger.next()
    ledger.served |= {entry.address: turn, entry.visitor: turn}
    latest = sorted(ledger.served.items(), key=lambda pair: pair[1])[-_MOST_SERVED:]
    ledger.served = dict(latest)


def check_places(found: Sequence[Entry], caps: Caps, jobs: Path, address: str) -> None:
    """Refuse one more unfinished job of a visitor, of an address, or of all.

    Args:
        found: All jobs below the root that wait or run.
        caps: How many there may be.
        jobs: The visitor's folder of jobs.
        address: As the ledger hashes it.

    Raises:
        StoreError: says how many there are.
    """
    unfinished = [one for one in found if one.status.state in UNFINISHED]
    mine = sum(one.folder.parent == jobs for one in unfinished)
    here = sum(one.status.address == address for one in unfinished)
    if mine >= caps.jobs:
        raise StoreError(
            f"jobs: you have {mine} unfinished, at most {caps.jobs} are allowed. Wait for one, or "
            "stop it."
        )
    # A place for whoever has none yet is always left.
    most = caps.waiting if here else _MOST_ADDRESSES * caps.waiting
    if len(unfinished) >= most:
        raise StoreError(
            f"jobs: the queue is full ({len(unfinished)} waiting or running). Try again in a few "
            "minutes."
        )
    if here >= caps.address_jobs:
        raise StoreError(
            f"jobs: {here} from your network address are unfinished, at most {caps.address_jobs} "
            "are allowed. Wait for one of them."
        )


def _place(
    waiting: Sequence[Entry], served: Mapping[str, int]
) -> Callable[[Entry], tuple[int, int, int, str]]:
    """Return what waiting jobs are sorted by.

    A line stands where its owner's last turn was, or where the owner came if that was later: so
    addresses take turns, and those that come anew do not overtake one that waits for its turn.
    """
    came: dict[str, int] = {}
    for one in waiting:
        for owner in (one.address, one.visitor):
            came[owner] = min(one.status.ticket, came.get(owner, one.status.ticket))

    def place(one: Entry) -> tuple[int, int, int, str]:
        lines = (max(served.get(o, 0), came[o]) for o in (one.address, one.visitor))
        return (*lines, one.status.ticket, one.status.job_id)  # type: ignore[return-value]

    return place


def _name(root: Path, folder: Path) -> str:
    return folder.relative_to(root).as_posix()


def _named_jobs(root: Path, ledger: Ledger) -> list[Path]:
    """Return the folders of jobs that may wait or run."""
    if ledger.unfinished is None:
        return list(_all_jobs(root))
    return [folder for name in ledger.unfinished if _is_folder(folder := root / name)]


def _all_jobs(root: Path) -> Iterator[Path]:
    """Yield the folders of all visitors' jobs."""
    for pattern in ("workspace/jobs", "visitors/*/jobs"):
        for jobs in root.glob(pattern):
            yield from (one for one in job_folders(jobs) if re.fullmatch(_NAMED, _name(root, one)))


def _is_folder(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink()


def _stored_ledger(root: Path) -> Ledger:
    try:
        return Ledger.model_validate(parse_json((root / _LEDGER).read_text(encoding="utf-8")))
    except (OSError, ValueError, RecursionError):
        return Ledger(key=secrets.token_hex(32))


def _keep(root: Path, ledger: Ledger) -> None:
    path = root / _LEDGER
    if _is_folder(path):
        put_aside(path)
    write_json(path, ledger.model_dump())
    with explained(path):
        path.chmod(0o600)
