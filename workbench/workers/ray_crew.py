"""Workers as actors on the machines of a Ray cluster: one per graphics card, or one per machine."""

import os
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

from workbench.errors import ConfigError
from workbench.progress import raise_if_stopped
from workbench.runs.experiment import Experiment, ResourceChoice
from workbench.workers.ray_worker import RayWorker
from workbench.workers.work import Answer, Give, Gone, Ready, Stop

_POLL_SECONDS = 20.0  # that a call for news waits on the other side
_LOOK_SECONDS = 3.0  # between two looks at which machines are there
_JOIN_SECONDS = 60.0  # for the first machine with room
_SILENT_SECONDS = 60.0  # for a machine out of reach to come back
_END_SECONDS = 60.0  # for all workers to leave with a checkpoint
_MOST_STARTS = 3  # in a row in one place that end before the worker is ready
_THREADS = 4  # give, news and end at a time

Node = Mapping[str, Any]  # as `ray.nodes` has it


@dataclass(frozen=True)
class Share:
    """What one worker gets of a machine.

    Attributes:
        num_cpus: Cores, which are also its threads.
        num_gpus: Graphics cards, or a part of one.
        count: How many such workers the machine has room for.
    """

    num_cpus: float
    num_gpus: float
    count: int


def share_of(node: Node, asked: ResourceChoice | None, *, use_gpus: bool) -> Share:
    """Return what workers get of a machine: a card each, or all cores, or what was asked for.

    Args:
        node: The machine.
        asked: What the experiment asks for.
        use_gpus: Whether the base goes on a card.
    """
    asked = asked or ResourceChoice()
    cpus = float(node["Resources"].get("CPU", 0))
    gpus = float(node["Resources"].get("GPU", 0)) if use_gpus else 0.0
    labels = node.get("Labels", {})
    if not node["Alive"] or any(labels.get(k) != v for k, v in asked.labels.items()):
        return Share(0, 0, 0)
    each_gpu = (asked.num_gpus or 1.0) if use_gpus else 0.0
    most = int(gpus / each_gpu + 1e-6) if use_gpus else max(1, int(cpus))
    each_cpu = float(asked.num_cpus or 0)
    if not each_cpu:
        each_cpu = max(1.0, cpus // most) if use_gpus and most else cpus
    if each_cpu <= 0:  # a head that only directs
        return Share(0, 0, 0)
    return Share(each_cpu, each_gpu, min(most, int(cpus / each_cpu)))


@dataclass
class _Place:
    """Room for one worker on one machine.

    Attributes:
        node: The machine's id in the cluster.
        where: The worker's name for people.
        share: What it gets.
        num_failed_starts: In a row.
        is_closed: Whether a worker was sent away from here.
    """

    node: str
    where: str
    share: Share
    num_failed_starts: int = 0
    is_closed: bool = False


@dataclass
class _Member:
    """A worker, and what is asked of it.

    Attributes:
        actor: Its handle.
        place: Where it is.
        news: The call that brings its next answers.
        given: Calls that take messages to it and have not come back.
        num_heard: How many of its answers were taken.
        num_sent: How many messages it was sent.
        silent_since: When it could not be reached first; None if it can.
        is_ready: Whether it said so.
    """

    actor: Any
    place: _Place
    news: Any
    given: list[Any] = field(default_factory=list)
    num_heard: int = 0
    num_sent: int = 0
    silent_since: float | None = None
    is_ready: bool = False


class RayCrew:
    """Actors wherever a cluster has room for them; machines that join later get theirs.

    Args:
        ray: The module, connected.
        experiment: Says which device, and what each worker gets.
        store: Folder or address where runs are found and go.
        token: Name of a file there that says that it is ours, "" if none.

    Raises:
        ConfigError: no machine of the cluster has room for a worker.
    """

    def __init__(self, ray: Any, experiment: Experiment, store: str, token: str) -> None:
        self._ray, self._asked = ray, experiment.resources
        self._device, self._store, self._token = experiment.device, store, token
        self._actor_class = ray.remote(RayWorker)
        self._members: dict[str, _Member] = {}
        self._places: dict[str, list[_Place]] = {}  # by node
        self._names: dict[str, int] = {}  # how many places each host has
        self._use_gpus: bool | None = None
        self._looked = 0.0
        until = self.now() + _JOIN_SECONDS
        while not self._members:
            self._fill()
            if not self._members:
                if self.now() > until:
                    raise ConfigError(self._no_room())
                raise_if_stopped()
                time.sleep(_LOOK_SECONDS)

    def __enter__(self) -> "RayCrew":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        frames: TracebackType | None,
    ) -> None:
        self.close()

    def size(self) -> int:
        """Return how many workers there are."""
        return len(self._members)

    def give(self, worker: str, message: Give | Stop) -> None:
        """Send a message to a worker."""
        member = self._members.get(worker)
        if member is not None:
            member.given.append(member.actor.give.remote(member.num_sent, message))
            member.num_sent += 1

    def dismiss(self, worker: str) -> None:
        """End a worker for good."""
        member = self._members.pop(worker, None)
        if member is not None:
            member.place.is_closed = True
            self._kill(member)

    def wait(self, seconds: float) -> Sequence[tuple[str, Answer]]:
        """Return what workers say; see `Crew.wait`."""
        if self.now() - self._looked > _LOOK_SECONDS:
            self._fill()
        calls = self._calls()
        if not calls:
            time.sleep(seconds)
            return []
        self._ray.wait(list(calls), num_returns=1, timeout=seconds, fetch_local=False)
        done, _ = self._ray.wait(list(calls), num_returns=len(calls), timeout=0)
        said: list[tuple[str, Answer]] = []
        for call in done:
            name, member = calls[call]
            if self._members.get(name) is member:  # else of one that was replaced just now
                said += [(name, answer) for answer in self._heard(name, call)]
        return said

    def now(self) -> float:
        """Return the time in seconds."""
        return time.monotonic()

    def close(self) -> None:
        """End all workers; what they were doing has its last checkpoint."""
        members, self._members = list(self._members.values()), {}
        ends = [member.actor.end.remote() for member in members if member.is_ready]
        try:
            if ends:
                self._ray.wait(ends, num_returns=len(ends), timeout=_END_SECONDS)
        finally:
            for member in members:
                self._kill(member)

    # Answers

    def _calls(self) -> dict[Any, tuple[str, _Member]]:
        """Return all calls that have not come back, with their workers."""
        calls: dict[Any, tuple[str, _Member]] = {}
        for name, member in self._members.items():
            calls[member.news] = name, member
            calls |= dict.fromkeys(member.given, (name, member))
        return calls

    def _heard(self, name: str, call: Any) -> list[Answer]:
        """Return what a call brought back from a worker, and make the next one."""
        errors, member = self._ray.exceptions, self._members[name]
        try:
            brought = self._ray.get(call)
        except errors.ActorUnavailableError:
            if call is not member.news:  # whether it has the message, nobody knows
                return [self._lost(name, "a message to it was lost")]
            member.silent_since = member.silent_since or self.now()
            if self.now() - member.silent_since > _SILENT_SECONDS:
                return [self._lost(name, "it cannot be reached")]
            self._ask(member)
            return []
        except errors.RayError as error:
            return [self._lost(name, _reason(error))]
        if call is not member.news:
            member.given.remove(call)
            return []
        said: list[Answer] = list(brought)
        member.num_heard += len(said)
        member.silent_since = None
        if any(isinstance(answer, Ready) for answer in said):
            member.is_ready, member.place.num_failed_starts = True, 0
        self._ask(member)
        return said

    def _ask(self, member: _Member) -> None:
        member.news = member.actor.news.remote(member.num_heard, _POLL_SECONDS)

    def _lost(self, name: str, reason: str) -> Gone:
        """Take a dead worker off the list; another takes its place where its machine lives."""
        member = self._members.pop(name)
        if not member.is_ready:
            member.place.num_failed_starts += 1
        self._kill(member)
        self._fill()
        return Gone(reason)

    def _kill(self, member: _Member) -> None:
        with suppress(self._ray.exceptions.RayError):
            self._ray.kill(member.actor)

    # Places

    def _fill(self) -> None:
        """Start a worker in each free place of the machines that are there now."""
        self._looked = self.now()
        nodes = [node for node in self._ray.nodes() if node["Alive"]]
        if self._use_gpus is None and nodes:
            has_gpus = any(node["Resources"].get("GPU", 0) for node in nodes)
            self._use_gpus = self._device == "cuda" or (self._device == "auto" and has_gpus)
        for node in nodes:
            for place in self._places_of(node):
                is_hopeless = place.num_failed_starts >= _MOST_STARTS
                if place.where not in self._members and not place.is_closed and not is_hopeless:
                    self._start(place)

    def _places_of(self, node: Node) -> list[_Place]:
        """Return the places of a machine, which are named when it is seen first."""
        found = self._places.get(node["NodeID"])
        if found is None:
            share = share_of(node, self._asked, use_gpus=bool(self._use_gpus))
            host, found = str(node["NodeManagerHostname"]), []
            for _ in range(share.count):
                self._names[host] = self._names.get(host, 0) + 1
                found.append(_Place(node["NodeID"], f"{host} {self._names[host]}", share))
            self._places[node["NodeID"]] = found
        return found

    def _start(self, place: _Place) -> None:
        on_node = self._ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(
            place.node, soft=False
        )
        actor = self._actor_class.options(
            num_cpus=place.share.num_cpus,
            num_gpus=place.share.num_gpus,
            max_restarts=0,
            max_concurrency=_THREADS,
            scheduling_strategy=on_node,
        ).remote(place.where, self._store, self._token, os.getcwd())
        member = _Member(actor, place, news=None)
        self._ask(member)
        self._members[place.where] = member

    def _no_room(self) -> str:
        """Return what each worker needs, and what the machines have."""
        wanted = self._asked or ResourceChoice()
        needs = f"{wanted.num_cpus or 1} cores"
        if self._use_gpus:
            needs += f", {wanted.num_gpus or 1:g} of a graphics card"
        needs += "".join(f", label {name}={value}" for name, value in wanted.labels.items())
        there = [node for node in self._ray.nodes() if node["Alive"]]
        has = "; ".join(
            f"{node['NodeManagerHostname']}: {node['Resources'].get('CPU', 0):g} cores, "
            f"{node['Resources'].get('GPU', 0):g} cards"
            for node in there
        )
        return (
            f"--cluster: no machine has room for a worker ({needs}). There are: {has or 'none'}. "
            "Ask for less in `resources`, or start a node with more."
        )


def _reason(error: Exception) -> str:
    """Return how a worker ended, in words, from what Ray says of it."""
    text = str(error)
    if type(error).__name__ == "OutOfMemoryError" or "memory usage threshold" in text:
        return "killed because its machine's memory was full"
    if "Worker exit" in text:
        return "its process was killed or crashed, often for want of memory"
    if "node" in text.lower() and ("died" in text or "dead" in text):
        return "its machine is gone"
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
