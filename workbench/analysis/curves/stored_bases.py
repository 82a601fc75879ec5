"""Finished runs that ask the same of several bases, found among all that are stored."""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from workbench.analysis.answers import read_answers
from workbench.analysis.curves.lines import CurvePoint, Curves, Place, PlacedRun, point_difference
from workbench.analysis.curves.sizes import AXIS, draw_sizes, places_of
from workbench.analysis.results import BASELINES
from workbench.errors import ConfigError, StoreError, without_folders
from workbench.estimates import NOTHING_SCORED, Estimate
from workbench.models.catalog import find_base_model
from workbench.presentation.display import one_line, shortened
from workbench.runs.spec import BaseIdentity
from workbench.runs.store import StoredRun

MOST_RUNS = 80  # that one picture reads the answers of
_RATE = "learning_rate"
_NAME_LENGTH = 40  # characters of an option in a line's name
_HASH_LENGTH = 8  # of a base's identity, where names do not tell two apart


@dataclass(frozen=True)
class AcrossBases:
    """Finished runs of one task and wording, in one precision, on two or more bases.

    Attributes:
        key: Says which task, wording and precision; the same as long as they are.
        title: What lists call it.
        runs: Oldest first.
    """

    key: str
    title: str
    runs: tuple[StoredRun, ...]


@dataclass(frozen=True)
class RowOnBase:
    """What a row reaches on one base.

    Attributes:
        name: Of the row.
        num_seeds: How many runs it has there.
        quality: Headline metric on test, mean over seeds.
        gap: The same minus that of the row that others are held against, on this base and paired
            by item; without a value for that row itself.
        step: The same minus that of this row on the smallest base, paired by item; without a value
            there.
    """

    name: str
    num_seeds: int
    quality: Estimate
    gap: Estimate
    step: Estimate


@dataclass(frozen=True)
class BaseRows:
    """The rows of one base.

    Attributes:
        base: Its name, and its size where that is known.
        rows: In the order of the lines; those that do not use the base are left out.
    """

    base: str
    rows: tuple[RowOnBase, ...]


@dataclass(frozen=True)
class BasesView:
    """Everything there is to show of runs on several bases.

    Attributes:
        curves: The lines over the bases.
        bases: The rows of each, in the order of the axis.
        left_out: What is missing and why, as sentences.
    """

    curves: Curves
    bases: tuple[BaseRows, ...]
    left_out: tuple[str, ...]


def across_bases(runs: Iterable[StoredRun]) -> list[AcrossBases]:
    """Return what was asked of two bases or more, the newest first.

    Runs belong together where data, wording, precision and the dtype of products are the same: so
    they answered the same items, and only the base is another one.

    Args:
        runs: Oldest first; only finished ones count.
    """
    groups: dict[str, list[StoredRun]] = {}
    for run in runs:
        if run.record.status == "finished":
            groups.setdefault(_key(run), []).append(run)
    several = [
        AcrossBases(key, _title(found), tuple(found))
        for key, found in groups.items()
        if len({run.spec.base.identity for run in found if not _is_baseline(run)}) > 1
    ]
    return sorted(several, key=lambda one: one.runs[-1].record.started, reverse=True)


def bases_view(found: AcrossBases, *, against: str | None = None) -> BasesView:
    """Return rows and lines of runs on several bases, from their files alone.

    Args:
        found: The runs.
        against: Row that others are held against on the same base; that which trains most unless
            there is such a row.

    Raises:
        StoreError: none of the runs that use a base can be read.
    """
    runs, left_out = _readable(found.runs)
    names = row_names(runs)
    newest = {
        (names[run.record.run_id], run.spec.base.identity, run.spec.seed): run for run in runs
    }
    if len(newest) < len(runs):
        left_out.append(
            f"{len(runs) - len(newest)} older runs of the same rows and seeds are left out."
        )
    own = [run for run in newest.values() if not _is_baseline(run)]
    if not own:
        raise StoreError("bases: none of these runs can be read. Make them again with evaluate.")
    titles = _base_titles([run.spec.base for run in own])
    sizes = {identity: _millions(own, identity) for identity in titles}
    at = places_of({identity: (titles[identity], size) for identity, size in sizes.items()})
    # Those that do not use the base may be of one that no other run is of.
    known = [run for run in newest.values() if run.spec.base.identity in at]
    first = {names[run.record.run_id]: place for place, run in reversed([*enumerate(runs)])}
    order = list(at)
    known.sort(
        key=lambda run: (first[names[run.record.run_id]], order.index(run.spec.base.identity))
    )
    placed = [PlacedRun(names[run.record.run_id], at[run.spec.base.identity], run) for run in known]
    curves = draw_sizes(placed, against=against)
    shown = {at[identity]: _with_size(titles[identity], sizes[identity]) for identity in at}
    return BasesView(curves, _rows_by_base(curves, shown), tuple(left_out))


def row_names(runs: Sequence[StoredRun]) -> dict[str, str]:
    """Return what the line of each run is called, by its id.

    Rows of one name with other options are other lines, named by what differs. A learning rate
    that was found for each base does not make two lines of one.
    """
    by_row: dict[str, list[StoredRun]] = {}
    for run in runs:
        by_row.setdefault(run.record.row, []).append(run)
    return {
        run.record.run_id: name
        for row, found in by_row.items()
        for run, name in zip(found, _variants(row, found), strict=True)
    }


def _variants(row: str, runs: Sequence[StoredRun]) -> list[str]:
    asked = [_asked(run) for run in runs]
    keys = [key for key in dict.fromkeys(name for one in asked for name in one) if key != _RATE]
    differing = [key for key in keys if len({_plain(one.get(key)) for one in asked}) > 1]
    rates: dict[tuple[str, ...], set[str]] = {}
    for run, one in zip(runs, asked, strict=True):
        place = (run.spec.base.identity, *(_plain(one.get(key)) for key in keys))
        rates.setdefault(place, set()).add(_plain(one.get(_RATE)))
    if max(map(len, rates.values())) > 1:
        differing.append(_RATE)
    if not differing:
        return [row] * len(runs)
    return [f"{row} ({_options_text(one, differing)})" for one in asked]


def _options_text(asked: Mapping[str, Any], keys: Sequence[str]) -> str:
    return ", ".join(f"{key} {shortened(_plain(asked.get(key)), _NAME_LENGTH)}" for key in keys)


def _asked(run: StoredRun) -> dict[str, Any]:
    return {"method": run.spec.method, **run.spec.options}


def _plain(value: object) -> str:
    text = value if isinstance(value, str) else json.dumps(value, default=str, sort_keys=True)
    return without_folders(text)


def _key(run: StoredRun) -> str:
    spec = run.spec
    parts = (
        spec.task.digest,
        spec.template.digest,
        spec.template.chat,
        spec.base.precision,
        spec.base.compute_dtype,
        spec.schema_version,  # other rules come to other numbers
    )
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]


def _title(runs: Sequence[StoredRun]) -> str:
    spec = runs[-1].spec
    num = len({run.spec.base.identity for run in runs if not _is_baseline(run)})
    chat = ", chat template" if spec.template.chat else ""
    return one_line(
        f"{spec.task.name} ({spec.task.num_train} train, {spec.task.num_test} test), "
        f"{spec.template.name}{chat}, {spec.base.precision}: {num} bases"
    )


def _is_baseline(run: StoredRun) -> bool:
    return run.spec.method in BASELINES


def _readable(runs: Sequence[StoredRun]) -> tuple[list[StoredRun], list[str]]:
    """Return the newest runs whose answers can be read, and what is said of the others."""
    newest, left_out = runs[-MOST_RUNS:], []
    if len(newest) < len(runs):
        left_out.append(f"Only the newest {MOST_RUNS} of {len(runs)} runs are shown.")
    found = []
    for run in newest:
        try:
            read_answers(run)
        except StoreError as error:
            left_out.append(one_line(without_folders(str(error))))
        else:
            found.append(run)
    return found, left_out


def _base_titles(bases: Sequence[BaseIdentity]) -> dict[str, str]:
    """Return what bases are called, by their identity: folders by their last part."""
    names = {base.identity: base.name.rstrip("/\\") for base in bases}
    short = {identity: without_folders(name) or name for identity, name in names.items()}
    return {
        identity: one_line(name)
        if list(short.values()).count(name) == 1
        else one_line(f"{name} {identity.removeprefix('sha256:')[:_HASH_LENGTH]}")
        for identity, name in short.items()
    }


def _millions(runs: Sequence[StoredRun], identity: str) -> float | None:
    """Return a base's parameters in millions, as its runs or the catalog know them."""
    for run in reversed(runs):
        known = run.record.environment.get("base_parameters")
        if run.spec.base.identity == identity and isinstance(known, int):
            return round(known / 1e6, 1)
    name = next(run.spec.base.name for run in runs if run.spec.base.identity == identity)
    try:
        entry = find_base_model(name)
    except ConfigError:  # a name that this version does not know
        return None
    return None if entry is None else round(entry.num_parameters / 1e6, 1)


def _with_size(title: str, millions: float | None) -> str:
    return title if millions is None else f"{title}, {millions:,g} {AXIS}"


def _rows_by_base(curves: Curves, titles: Mapping[Place, str]) -> tuple[BaseRows, ...]:
    (reference,) = [line for line in curves.lines if line.name == curves.gap_to]
    own = [line for line in curves.lines if not line.is_baseline]
    found = []
    for place in curves.places:
        rows = []
        for line in own:
            here, first = line.at(place), line.at(curves.places[0])
            if here is not None:
                gap = NOTHING_SCORED if line is reference else _minus(here, reference.at(place))
                step = NOTHING_SCORED if here is first else _minus(here, first)
                rows.append(RowOnBase(line.name, len(here.runs), here.quality, gap, step))
        found.append(BaseRows(titles[place], tuple(rows)))
    return tuple(found)


def _minus(ours: CurvePoint, theirs: CurvePoint | None) -> Estimate:
    return NOTHING_SCORED if theirs is None else point_difference(ours, theirs)
