"""A stranger who wants the whole queue, over HTTP: tokens cost him nothing, an address does.

No job starts meanwhile: the test holds the place of the one that runs.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from filelock import FileLock

from security.raw import Visitor
from security.serving import running_app
from workbench.service.profile import CPU_SPACE

ATTACKER, HONEST = "127.0.0.5", "127.0.0.6"
ASKED = CPU_SPACE.caps.address_jobs + 4


class Caller(Visitor):
    """A visitor who calls from an address of his own."""

    def __init__(self, address: str, token: str, own: str) -> None:
        super().__init__(address, token)
        self.close()
        self.http = httpx.Client(
            base_url=address,
            timeout=60,
            headers={"Connection": "close"},
            transport=httpx.HTTPTransport(local_address=own, verify=False),
        )


@dataclass
class Flood:
    """What came of it.

    Attributes:
        root: Folder of runs of the app.
        refusals: What each invented token was told; None is a job.
        honest: Somebody at another address, who comes last.
        job: What his training was given.
    """

    root: Path
    refusals: list[str | None]
    honest: Visitor
    job: str | None


@pytest.fixture(scope="module")
def flood(tiny_folder, tmp_path_factory) -> Iterator[Flood]:
    """Return what came of a stranger's wish to have every place in the queue."""
    scratch = tmp_path_factory.mktemp("flood")
    root = scratch / "runs"
    root.mkdir()
    (root / ".running.lock").touch()
    with running_app(root, "public", tiny_folder, scratch=scratch) as at, _occupied(root):
        refusals = []
        for number in range(ASKED):
            caller = Caller(at, f"invented-token-{number:04d}", ATTACKER)
            refusals.append(caller.call("start_training", method="lora").error)
            caller.close()
        honest = Caller(at, "an-honest-visitor-0", HONEST)
        job = honest.call("start_training", method="lora").data
        yield Flood(root, refusals, honest, None if job is None else job[0])
        honest.close()


def _occupied(root: Path) -> FileLock:
    """Hold the place of the running job."""
    return FileLock(root / ".running.lock", timeout=0)


def test_one_address_gets_a_share_of_the_places_whatever_its_tokens(flood):
    given = flood.refusals.count(None)

    assert given == CPU_SPACE.caps.address_jobs


def test_the_others_of_its_tokens_are_told_why(flood):
    told = {refusal for refusal in flood.refusals if refusal is not None}

    most = CPU_SPACE.caps.address_jobs
    assert told == {
        f"jobs: {most} from your network address are unfinished, at most {most} are allowed. Wait "
        "for one of them."
    }


def test_somebody_else_finds_a_place_and_is_second_in_line(flood):
    assert flood.job is not None
    handler = flood.honest.handler("wb-train-job", "input")

    shown = flood.honest.run(handler, flood.honest.inputs(handler, wb_train_job=None))

    assert "Waiting: 1 job before this one, each of which may take up to 20 minutes." in shown.text


def test_no_file_and_no_answer_has_an_address(flood):
    assert flood.job is not None
    texts = [path.read_bytes() for path in flood.root.rglob("*") if path.is_file()]

    assert len(texts) > CPU_SPACE.caps.address_jobs
    assert not any(address.encode() in text for address in (ATTACKER, HONEST) for text in texts)
    assert flood.honest.call("job_status", job_id=flood.job).data[0]["address"] == ""


def test_the_programming_interface_asks_for_no_address(flood):
    names = [one["parameter_name"] for one in flood.honest.parameters("start_training")]

    assert names == ["method", "options", "task", "wording", "seed", "visitor", "name"]
