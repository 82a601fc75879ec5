"""Where the workbench runs and what that allows: hardware, caps, and how training is executed."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import inf
from typing import Literal

from pydantic import BaseModel

from workbench.errors import ConfigError
from workbench.methods.catalog import method_class
from workbench.models.catalog import BASE_MODELS, DEFAULT_BASE_MODEL
from workbench.options import (
    TEXT,
    Option,
    Public,
    PublicSize,
    check_value,
    declared_options,
    read_number,
)
from workbench.runs.experiment import Experiment, SearchChoice

Executor = Literal["process", "chunks"]

_MOST_MEGABYTES = 1e9
_MOST_SHOWN = 1e300  # larger whole numbers have no float to be written as


@dataclass(frozen=True)
class Caps:
    """The most a visitor may ask for; local use is bounded only by what cannot work.

    Attributes:
        text_chars: Characters of a text to answer.
        rows: Rows of an uploaded file.
        upload_bytes: Size of an uploaded file.
        new_tokens: Tokens generated per answer.
        columns: Answers side by side.
        grid_columns: Wordings times ways of one grid.
        cells: Answers of one grid.
        methods: Rows of one evaluation.
        seeds: Seeds of one evaluation.
        jobs: Unfinished jobs of one visitor.
        waiting: Unfinished jobs of all visitors together; an address that has none may add one.
        address_jobs: Unfinished jobs of one network address, whoever its visitors are.
        minutes: Running time of one job; it stops with a checkpoint then.
        stored_bytes: Disk space of one visitor.
        total_bytes: Disk space of all visitors together.
        size: How much of each option a visitor may ask for, as the option itself declares; None:
            as much as works.
    """

    text_chars: int = 20_000
    rows: int = 200_000
    upload_bytes: int = 20_000_000
    new_tokens: int = 512
    columns: int = 12
    grid_columns: int = 32
    cells: int = 5000
    methods: int = 24
    seeds: int = 10
    jobs: int = 20
    waiting: int = 50
    address_jobs: int = 50
    minutes: float | None = None
    stored_bytes: int = 50_000_000_000
    total_bytes: int = 1_000_000_000_000
    size: PublicSize | None = None


@dataclass(frozen=True)
class Bound:
    """How many of something may be there at once.

    Attributes:
        own: From one address.
        total: From all addresses together.
    """

    own: int
    total: int


@dataclass(frozen=True)
class Crowd:
    """What visitors of a public page may hold by their address alone, before they own anything.

    A class of 30 behind one address works: each has a page open (a session and two streams), loads
    it with the six connections of a browser, uploads and asks at the same time as the others, and
    has one job (`Caps.address_jobs`).

    Attributes:
        requests: Requests in work that are neither uploads nor streams: 30 browsers loading a page.
        bodies: Requests other than uploads whose body is on its way, which keeps nobody from the
            places of `requests`. When there are too many in total, the oldest of the address with
            the most is ended.
        body_bytes: Of such bodies, until they are answered; and again of the calls in the queue:
            30 whole files as text.
        streams: Answers that stay open, two of each open page and some of programs.
        sessions: Pages and programs that the server remembers. Where an address has its full
            number, a new page of it takes the place of its own oldest closed one, and is refused
            while all are open.
        uploads: Files on their way. When there are too many in total, the oldest of the address
            with the most is ended.
        held_bytes: Uploaded files that no handler has kept yet. The oldest of an address make room
            for its own; where the disk's share is full, those of the address with the most.
        held_files: How many such files; room is made in the same way. Ten for each of a class.
        waiting: Calls that wait in one line of the queue: six of each page that a class opens at
            once. Addresses take turns in it.
        visitors: Folders of new visitors in a day, of one address and of all together.
        calls: Handlers that run for one address at the same time outside the queue; more wait
            their turn.
        new_sessions: New sessions of an address per second once it has made as many as it may
            have.
        quiet_seconds: A body of which nothing arrives for so long is given up, and so is a reader
            who takes nothing.
        body_seconds: A whole body has to arrive in this time: 5 MB at 0.14 Mbit/s.
        session_seconds: A session whose page is closed is forgotten after this time.
    """

    requests: Bound = Bound(240, 800)
    bodies: Bound = Bound(240, 800)
    body_bytes: Bound = Bound(70_000_000, 280_000_000)
    streams: Bound = Bound(150, 1200)
    sessions: Bound = Bound(60, 600)
    uploads: Bound = Bound(30, 100)
    held_bytes: Bound = Bound(200_000_000, 2_000_000_000)
    held_files: Bound = Bound(300, 3000)
    waiting: Bound = Bound(180, 720)
    visitors: Bound = Bound(60, 600)
    calls: int = 8
    new_sessions: float = 5.0
    quiet_seconds: float = 30.0
    body_seconds: float = 300.0
    session_seconds: float = 900.0


@dataclass(frozen=True)
class Profile:
    """One place the workbench can run in.

    Attributes:
        name: Shown on the page.
        is_public: Visitors do not know each other: runs are private, base models from a list.
        executor: "process" trains in a process of its own, "chunks" inside the handler, as ZeroGPU
            demands.
        models: Base models to choose from; locally any other may be named too.
        caps: The most a visitor may ask for.
        chunk_seconds: Length of one chunk of training.
        crowd: What strangers may hold open; None bounds nothing, for a page of one's own.
    """

    name: str
    is_public: bool = False
    executor: Executor = "process"
    models: tuple[str, ...] = (DEFAULT_BASE_MODEL,)
    caps: Caps = Caps()
    chunk_seconds: float = 25.0
    crowd: Crowd | None = None

    def check_model(self, name: str) -> None:
        """Refuse a base model that is not on the list of a public page.

        Raises:
            ConfigError: not on the list.
        """
        if self.is_public and name not in self.models:
            raise ConfigError(
                f"base model '{name[:80]}': this public page offers {', '.join(self.models)}. "
                "For another one, run the workbench on your own machine or duplicate the Space."
            )

    def check(self, experiment: Experiment) -> None:
        """Refuse an experiment beyond the caps.

        Raises:
            ConfigError: every excess at once.
        """
        self.check_model(experiment.model)
        caps, problems = self.caps, []
        if self.is_public and experiment.revision is not None:
            problems.append("revision: not offered on a public page. Leave it out.")
        if self.is_public and experiment.weights_in_memory == "restored":
            problems.append(
                "weights_in_memory: a public page decides itself what it keeps in memory. Leave "
                "it out; the numbers are the same."
            )
        if self.is_public and experiment.resources is not None:
            problems.append("resources: a public page has no cluster. Leave it out.")
        if len(experiment.methods) > caps.methods:
            problems.append(f"{len(experiment.methods)} rows; at most {caps.methods} here.")
        most_seeds = max(len(experiment.seeds_of(row)) for row in experiment.methods)
        if most_seeds > caps.seeds:
            problems.append(f"{most_seeds} seeds; at most {caps.seeds} here.")
        problems += self._field_problems(experiment, "")
        for row in experiment.methods:
            name, options = experiment.method_of(row)
            problems += self._option_problems(method_class(name), options, where=row)
            search = experiment.search_of(row)
            if search is not None:
                bound = public_bound(SearchChoice, "learning_rates")
                where = f"{row}.learning_rates"
                problems += self._problems(where, search.num_rates, bound)
        if problems:
            raise ConfigError("\n".join(dict.fromkeys(problems)))

    def check_options(self, found: type, options: Mapping[str, object], *, where: str) -> None:
        """Refuse options of a method or a reading beyond what they declare for this place.

        Raises:
            ConfigError: every excess at once.
        """
        problems = self._option_problems(found, options, where=where)
        if problems:
            raise ConfigError("\n".join(problems))

    def most(self, option: Option) -> float:
        """Return the largest value of a number here."""
        most = inf if option.maximum is None else option.maximum
        size = self.caps.size
        return most if size is None or option.public is None else min(most, option.public.on(size))

    def bounded(self, option: Option) -> Option:
        """Return an option as it is shown here: with the smaller bound."""
        most = self.most(option)
        if most == inf or option.kind not in (int, float):
            return option
        return replace(option, maximum=option.kind(most))

    def _option_problems(
        self, found: type, options: Mapping[str, object], *, where: str
    ) -> list[str]:
        known, problems = declared_options(found), []
        for key, value in options.items():
            option = known.get(key)
            read, bound, is_text = value, None, False
            if option is not None:  # a number may come as text
                read, bound = check_value(value, option)[0], option.public
                is_text = option.kind is str and bound is not None
            if isinstance(read, str) and not is_text:
                bound = TEXT
            problems += self._problems(f"{where}.{key}", read, bound)
        return problems

    def _field_problems(self, model: BaseModel, where: str) -> list[str]:
        problems = []
        for name in type(model).model_fields:
            value = getattr(model, name)
            if isinstance(value, BaseModel):
                problems += self._field_problems(value, f"{where}{name}.")
            problems += self._problems(f"{where}{name}", value, public_bound(type(model), name))
        return problems

    def _problems(self, where: str, value: object, bound: Public | None) -> list[str]:
        if bound is None or self.caps.size is None or isinstance(value, bool):
            return []
        most = bound.on(self.caps.size)
        if isinstance(value, str):
            amount: float = len(value)
            shown = f"{amount} characters"
        elif isinstance(value, int | float):
            amount = value
            shown = f"{value:g}" if abs(value) < _MOST_SHOWN else "a number beyond all"
        else:
            return []
        return [] if amount <= most else [f"{where}: {shown}; at most {most:g} here."]


def public_bound(model: type[BaseModel], name: str) -> Public | None:
    """Return what a field of an experiment declares for shared servers; None: nothing."""
    metadata = model.model_fields[name].metadata
    return next((one for one in metadata if isinstance(one, Public)), None)


_PUBLIC_CAPS = Caps(
    text_chars=2000,
    rows=5000,
    upload_bytes=5_000_000,
    new_tokens=96,
    columns=8,
    grid_columns=16,
    cells=320,
    methods=8,
    seeds=3,
    jobs=2,
    waiting=60,
    address_jobs=30,
    stored_bytes=200_000_000,
    total_bytes=20_000_000_000,
)

LOCAL = Profile("on this machine", models=tuple(BASE_MODELS))
CPU_SPACE = Profile(
    "CPU Space",
    is_public=True,
    crowd=Crowd(),
    caps=replace(_PUBLIC_CAPS, minutes=20, size="small"),
)
GPU_SPACE = Profile(
    "GPU Space",
    is_public=True,
    crowd=Crowd(),
    models=(DEFAULT_BASE_MODEL, "smollm2-360m-instruct", "smollm2-1.7b-instruct"),
    caps=replace(_PUBLIC_CAPS, minutes=30, size="large"),
)
ZERO_GPU = Profile(
    "ZeroGPU Space",
    is_public=True,
    crowd=Crowd(),
    executor="chunks",
    caps=replace(_PUBLIC_CAPS, minutes=10, size="small"),
)


def detect_profile(environment: Mapping[str, str] = os.environ) -> Profile:
    """Return the profile of a Space by its hardware, or the local one.

    `WORKBENCH_PUBLIC=1` makes any machine treat its visitors as a public Space does, and
    `WORKBENCH_VISITOR_MB` says how much disk space each of them may take.

    Raises:
        ConfigError: that is no number above 0.
    """
    found = _place(environment)
    asked = environment.get("WORKBENCH_VISITOR_MB", "")
    if not found.is_public or not asked:
        return found
    megabytes = read_number(asked)
    if megabytes is None or not 0 < megabytes < _MOST_MEGABYTES:
        raise ConfigError(
            f"WORKBENCH_VISITOR_MB: {asked[:40]!r} is no space for a visitor; a number of MB above "
            "0 is needed, such as 200."
        )
    return replace(found, caps=replace(found.caps, stored_bytes=int(megabytes * 1_000_000)))


def _place(environment: Mapping[str, str]) -> Profile:
    if environment.get("SPACES_ZERO_GPU", "").lower() in ("1", "true"):
        return ZERO_GPU
    if "SPACE_ID" in environment:
        on_gpu = environment.get("ACCELERATOR", "none").lower() not in ("", "none", "cpu")
        return GPU_SPACE if on_gpu else CPU_SPACE
    if environment.get("WORKBENCH_PUBLIC") == "1":
        return CPU_SPACE
    return LOCAL
