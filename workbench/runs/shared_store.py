"""A run store at an address: runs are worked on here, and brought there while they are.

Many processes on many machines may work on one address, each with a folder of its own or with one
that those of a machine share. Each run is held by a lease there (`workbench/runs/lease.py`). A run
that ended there is brought here when it is looked for; one that was left there half done goes on
here from its last checkpoint. What is where is said in `workbench/runs/run_copy.py`.
"""

import re
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from workbench.atomic import explained
from workbench.errors import BusyRun, LostRun, StoreError
from workbench.runs.address import Address, AddressClaims, is_address
from workbench.runs.folder_lock import LOCK, held
from workbench.runs.lease import Lease, LeaseTimes, leased
from workbench.runs.run_copy import DONE, RunCopy
from workbench.runs.spec import RunSpec
from workbench.runs.store import RECORD, BrokenRun, RunStore, StoredRun
from workbench.sealed import version_of

_RUN_ID = re.compile(r"[\w][\w.-]*", re.ASCII)
_RANKS = {status: 1 + number for number, status in enumerate(DONE)}
_UPLOAD_EVERY = 15.0  # seconds; a checkpoint lost with its machine costs as much again


def open_store(place: str | Path, local: Path, *, lease: LeaseTimes | None = None) -> RunStore:
    """Return the store of a place that several machines share; nothing is asked of it yet.

    Args:
        place: A folder, or an address with "://" of any kind that fsspec knows.
        local: The folder of this machine that runs of an address are worked on in, and come to;
            of a place that is a folder itself it is not used.
        lease: How long leases last; the same for all who share the place.

    Raises:
        StoreError: the address is of no known kind, or a package for it is missing.
    """
    times = lease or LeaseTimes()
    if is_address(str(place)):
        return SharedStore(local, str(place), lease=times)
    return RunStore(Path(place), lease=times)


class SharedStore(RunStore):
    """Runs at an address, with the folder of this machine that they are worked on in.

    `runs` and `everything` list what is here. What is done here and could not be brought to the
    address stays here, and is brought there when it is asked for again.

    Args:
        local: The folder here; made when needed.
        address: As "s3://bucket/folder".
        lease: How long leases last.
        upload_every: Seconds between two looks at what a run that is worked on has new.

    Raises:
        StoreError: the address is of no known kind, or a package for it is missing.
    """

    def __init__(
        self,
        local: Path,
        address: str,
        *,
        lease: LeaseTimes | None = None,
        upload_every: float = _UPLOAD_EVERY,
    ) -> None:
        super().__init__(local)
        self.address = Address(address)
        self._times, self._upload_every = lease or LeaseTimes(), upload_every
        self._held: set[str] = set()
        self._equal: dict[str, tuple[int, ...]] = {}  # version of records that are there too

    @property
    def is_shared(self) -> bool:
        """Whether other machines work on it too: they do."""
        return True

    def look(self, run_id: str) -> StoredRun | BrokenRun | None:
        """Return a run by its id, what is wrong with it, or None; one that ended is here after.

        Raises:
            StoreError: the address cannot be read, or a run that ended here not be brought there.
        """
        here = super().look(run_id)
        if run_id in self._held or _RUN_ID.fullmatch(run_id) is None:
            return here
        record = self.root / run_id / RECORD
        with suppress(OSError):
            if self._equal.get(run_id) == version_of(record):
                return here
        self._make_equal(run_id, here)
        found = super().look(run_id)
        if _rank(found) > 0:
            with suppress(OSError):
                self._equal[run_id] = version_of(record)
        return found

    @contextmanager
    def working_on(self, spec: RunSpec) -> Iterator[Path]:
        """Hold a run for the block, here and at the address, and bring there what it comes to.

        Raises:
            BusyRun: another process works on the run; this may take as long as a lease lasts.
            LostRun: another process has taken it over meanwhile.
            StoreError: the folder or the address cannot be written. What is done stays here.
        """
        run_id = spec.run_id
        claims = AddressClaims(self.address, f"{run_id}/claims")
        with (
            super().working_on(spec) as folder,
            leased(claims, self._times, f"run {run_id}") as lease,
        ):
            copy = RunCopy(self.address, run_id, folder)
            self._fetch_for_work(copy, run_id)
            self._held.add(run_id)
            self._equal.pop(run_id, None)
            try:
                with self._uploading(copy, lease, folder):
                    yield folder
            finally:
                self._held.discard(run_id)

    def delete(self, run_id: str) -> None:
        """Delete a run here and at the address.

        Raises:
            StoreError: no such run, or the address cannot be written.
        """
        found = self.look(run_id)
        if found is None:
            raise StoreError(f"run '{run_id}': not found at {self.address}.")
        RunCopy(self.address, run_id, found.folder).remove()
        shutil.rmtree(found.folder)

    def _make_equal(self, run_id: str, here: StoredRun | BrokenRun | None) -> None:
        """Bring a run that ended to where it did not, or ended earlier."""
        folder = self.root / run_id
        copy = RunCopy(self.address, run_id, folder)
        there = copy.record()
        rank = 0 if there is None else _RANKS[there[0].status]
        own = _rank(here, is_whole=True)
        if isinstance(here, StoredRun) and own > rank:
            copy.publish(here.files)
        elif there is not None and rank > own:
            with explained(folder):
                folder.mkdir(parents=True, exist_ok=True)
            # Who holds it here looks there for himself.
            with suppress(BusyRun), held(folder, LOCK, f"run {run_id}", None):
                copy.fetch(there[1], there[2])

    def _fetch_for_work(self, copy: RunCopy, run_id: str) -> None:
        """Bring here what others left at the address of a run that is held now."""
        own, there = _rank(super().look(run_id), is_whole=True), copy.record()
        is_ahead = there is not None and _RANKS[there[0].status] > own
        if there is not None and is_ahead and copy.fetch(there[1], there[2]):
            return
        if own == 0:
            copy.fetch_unfinished()

    @contextmanager
    def _uploading(self, copy: RunCopy, lease: Lease, folder: Path) -> Iterator[None]:
        """Bring to the address what is new in a folder, again and again and at the end."""
        ended = threading.Event()

        def go_on() -> None:
            while not ended.wait(self._upload_every) and not lease.is_lost:
                with suppress(StoreError, OSError):  # tried again, and said at the end
                    copy.upload(lease.check, ends=False)

        thread = threading.Thread(target=go_on, name="upload", daemon=True)
        thread.start()
        is_done = False
        try:
            yield
            is_done = True
        finally:
            ended.set()
            thread.join()
            try:
                copy.upload(lease.check, ends=True)
            except LostRun:
                if is_done:
                    raise
            except StoreError as error:
                if is_done:
                    raise StoreError(
                        f"{error} What is done so far is in {folder}, and is brought there when "
                        "the run is asked for again."
                    ) from error


def _rank(run: StoredRun | BrokenRun | None, *, is_whole: bool = False) -> int:
    """Return how far a run is: 2 finished, 1 trained, 0 neither, or not whole where that counts."""
    if not isinstance(run, StoredRun) or run.record.status not in DONE:
        return 0
    return 0 if is_whole and run.damaged() else _RANKS[run.record.status]
