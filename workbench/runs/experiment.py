"""What is asked for: an experiment, from a YAML file, settings and options.

No deep-learning stack is needed to read one.
"""

import reprlib
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    field_validator,
    model_validator,
)

from workbench.errors import ConfigError, StoreError
from workbench.options import FREE, TEXT, Public, read_number, whole_number
from workbench.sealed import DIGEST, is_there, read_sealed, write_sealed
from workbench.yaml_files import check_mapping, parse_value, read_mapping

EXPERIMENT_FILE = "experiment.json"
_ROW_SEEDS = "seeds"
_ROW_RATES = "learning_rates"
_MOST_RATES = 9
_MOST_ROWS = 1_000
_MOST_SEEDS = 1_000  # of all rows, or of one
_MOST_RUNS = 10_000  # months of the fastest method
_MOST_PROCESSES = 1_024
_MOST_KEYS = 100  # of a mapping; no method has half as many options
_RATE_COUNTS = range(3, _MOST_RATES + 1, 2)  # odd, so that the method's own rate is the middle
_DEFAULT_TASK = "support_intents"
_TASK_SOURCES = ("name", "train", "dev", "test")
_DEFAULT_ROWS = ("zero_shot", "few_shot", "chain_of_thought", "prompt_tuning", "lora")


def _whole(value: object) -> object:
    """Return a whole number however it is written; a switch is none."""
    if isinstance(value, bool):
        raise ValueError(f"{str(value).lower()} is no number")
    return whole_number(value)


_Whole = Annotated[int, BeforeValidator(_whole)]
_Text = Annotated[str, TEXT]
_OptionalText = Annotated[str | None, TEXT]
_Limit = Annotated[_Whole | None, FREE]


class _Checked(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _few_keys(cls, data: Any) -> Any:
        if isinstance(data, dict) and len(data) > _MOST_KEYS:
            raise ValueError(f"{len(data)} keys; at most {_MOST_KEYS} are read")
        return data


class TaskChoice(_Checked):
    """Which labelled data: a task of the catalog by `name`, or the user's own files.

    Attributes:
        name: A task of the catalog; with `train`, the name the files' task gets.
        train: File with labelled rows (CSV, TSV, JSONL, JSON, Parquet).
        dev: File for choices; cut off train when absent.
        test: File to report on; cut off train when absent.
        kind: "classification", "short_answer" or "generation"; for files.
        text_column: Column of the text; for files, like the five below.
        text_b_column: Column of a second text.
        label_column: Column of the label, the answer or the text to be written.
        references_column: Column of lists with all correct texts or short answers; a file without
            it has that of `label_column` alone. Both may name one column of lists, of which the
            first is learned.
        id_column: Column of ids.
        separator: What stands between the cells of CSV and TSV files: the character or its name;
            found out unless given.
        limit_train: The most labelled rows to use: a dev split that is cut off train is part of
            them, unless `limit_dev` is given; then, or with dev rows of their own, the most
            training rows.
        limit_dev: The most dev rows to use; absent, a dev split that is cut off train keeps its
            share of the rows, at most 500 of them.
        limit_test: The most test rows to use.
        split_seed: Decides splits and limits; not the runs' seed, so that all seeds share items.
    """

    name: _OptionalText = None
    train: Path | None = None
    dev: Path | None = None
    test: Path | None = None
    kind: Literal["classification", "short_answer", "generation"] = "classification"
    text_column: _Text = "text"
    text_b_column: _OptionalText = None
    label_column: _Text = "label"
    references_column: _OptionalText = None
    id_column: _OptionalText = None
    separator: Literal[",", ";", "\t", "|", "comma", "semicolon", "tab", "bar"] | None = None
    limit_train: _Limit = Field(None, ge=1)
    limit_dev: _Limit = Field(None, ge=1)
    limit_test: _Limit = Field(None, ge=1)
    split_seed: Annotated[_Whole, FREE] = Field(0, ge=0)

    @model_validator(mode="after")
    def _name_or_files(self) -> "TaskChoice":
        if self.train is None and (self.dev or self.test):
            raise ValueError("dev and test files need a train file beside them")
        if self.train is None and self.name is None:
            raise ValueError("give the name of a task, or a train file")
        return self


class SearchChoice(_Checked):
    """How every trained row looks for its learning rate, on dev only.

    Attributes:
        learning_rates: How many are tried: the method's own and as many below it as above, each
            three times the one before.
        extend: How often the grid may grow by one rate while the best one lies at its edge.
    """

    learning_rates: Annotated[_Whole, Public(5, 9)] = 5
    extend: Annotated[_Whole, Public(1, 2)] = Field(1, ge=0, le=5)

    @field_validator("learning_rates")
    @classmethod
    def _odd(cls, count: int) -> int:
        if count not in _RATE_COUNTS:
            raise ValueError(f"{count} learning rates; {_counts_text()} can be tried")
        return count


class ResourceChoice(_Checked):
    """What each worker of a cluster gets, and where it may be; decides how fast runs are made.

    Attributes:
        num_cpus: Cores, which are also the threads of its products; unless given, those of the
            machine, shared by its graphics cards if the base goes on cards.
        num_gpus: Graphics cards, or a part of one; unless given, 1 if the base goes on cards.
        labels: What a machine's labels must say.
    """

    num_cpus: Annotated[_Whole | None, FREE] = Field(None, ge=1)
    num_gpus: Annotated[float | None, FREE] = Field(None, gt=0)
    labels: Annotated[dict[_Text, _Text], FREE] = Field(default_factory=dict)

    @field_validator("num_gpus")
    @classmethod
    def _whole_or_part(cls, count: float | None) -> float | None:
        if count is not None and count > 1 and count != int(count):
            raise ValueError(f"{count:g} cards; a whole number, or a part of one below 1")
        return count


@dataclass(frozen=True)
class RateSearch:
    """The search of one row.

    Attributes:
        rates: How many around the method's own, or which ones, lowest first.
        extend: How often the grid may grow by one rate.
        seed: What the trainings draw from; the row's other seeds use the rate found.
        is_asked: Whether the row itself asks for it; else only rows that train take part.
    """

    rates: int | tuple[float, ...]
    extend: int
    seed: int
    is_asked: bool

    @property
    def num_rates(self) -> int:
        """How many rates are tried before the grid grows."""
        return self.rates if isinstance(self.rates, int) else len(self.rates)


def _default_rows() -> dict[str, dict[str, Any]]:
    return {name: {} for name in _DEFAULT_ROWS}


class Experiment(_Checked):
    """A comparison: one base, one task, one wording, several methods and seeds.

    `methods` maps a row's name to its options. A row whose name is not a method's says which one
    with the key `method`, so that one method can appear several times; the key `seeds` gives a row
    seeds of its own, and `learning_rates` lets it look for its rate: a list, or how many around
    the method's own. `search` does so for all trained rows that have no rate set. `processes` cuts
    each training into so many parts, for as many processes. `resources` says what each worker of a
    cluster gets; it changes no number and is no part of a run's spec.
    """

    model: _Text = "smollm2-135m-instruct"
    revision: _OptionalText = None
    precision: _Text = "nf4"
    compute_dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    device: Literal["auto", "cpu", "cuda"] = "auto"
    weights_in_memory: Literal["auto", "packed", "restored"] = "auto"
    task: TaskChoice = TaskChoice(name=_DEFAULT_TASK)
    template: _Text = "plain"
    chat: bool = False
    seeds: tuple[_Whole, ...] = Field((0,), min_length=1)
    reference: _Text = "zero_shot"
    search: SearchChoice | None = None
    resources: ResourceChoice | None = None
    processes: Annotated[_Whole, Public(1, 1)] = Field(1, ge=1, le=_MOST_PROCESSES)
    methods: dict[str, dict[str, Any]] = Field(default_factory=_default_rows, min_length=1)

    @model_validator(mode="before")
    @classmethod
    def _short_forms(cls, data: Any) -> Any:
        """Accept `task: sst2`, `task: {limit_test: 20}` and `methods: {lora: null}`."""
        if not isinstance(data, dict):
            return data
        _check_size(data.get("methods"), data.get(_ROW_SEEDS))
        data = dict(data)
        if isinstance(data.get("task"), str):
            data["task"] = {"name": data["task"]}
        task = data.get("task")
        if isinstance(task, dict) and not any(task.get(key) for key in _TASK_SOURCES):
            data["task"] = {**task, "name": _DEFAULT_TASK}
        methods = data.get("methods")
        if isinstance(methods, list) and all(isinstance(name, str) for name in methods):
            methods = dict.fromkeys(methods)
        if isinstance(methods, dict):
            data["methods"] = {name: _with_numbers(o) for name, o in methods.items()}
        return data

    @model_validator(mode="after")
    def _row_seeds(self) -> "Experiment":
        for row, options in self.methods.items():
            seeds = options.get(_ROW_SEEDS, list(self.seeds))
            is_list = isinstance(seeds, list | tuple) and len(seeds) > 0
            if not is_list or not all(type(seed) is int and seed >= 0 for seed in seeds):
                raise ValueError(f"methods.{row}.seeds: a list of numbers from 0 up is needed")
        return self

    @model_validator(mode="after")
    def _row_rates(self) -> "Experiment":
        problems = [_rates_problem(options) for options in self.methods.values()]
        found = [
            f"methods.{row}.{_ROW_RATES}: {problem}"
            for row, problem in zip(self.methods, problems, strict=True)
            if problem
        ]
        if found:
            raise ValueError(" ".join(found))
        return self

    @model_validator(mode="after")
    def _can_be_kept(self) -> "Experiment":
        """Refuse what no file could hold: half a character, or a thousand levels of options."""
        try:
            self.model_dump_json()
        except ValueError as error:
            reason = "half a character (a lone surrogate), or levels without end"
            raise ValueError(f"an option has {reason}. Write it again") from error
        return self

    def method_of(self, row: str) -> tuple[str, dict[str, Any]]:
        """Return the method's name and its options for a row of the comparison."""
        options = dict(self.methods[row])
        options.pop(_ROW_SEEDS, None)
        options.pop(_ROW_RATES, None)
        return str(options.pop("method", row)), options

    def seeds_of(self, row: str) -> tuple[int, ...]:
        """Return the seeds of a row: its own, or the experiment's."""
        return tuple(self.methods[row].get(_ROW_SEEDS, self.seeds))

    def search_of(self, row: str) -> RateSearch | None:
        """Return how a row looks for its learning rate; None if it does not."""
        options, seed = self.methods[row], self.seeds_of(row)[0]
        own = options.get(_ROW_RATES)
        extend = (self.search or SearchChoice()).extend
        if isinstance(own, list | tuple):
            rates = tuple(sorted(map(float, own)))
            return RateSearch(rates, extend, seed, is_asked=True)
        if own is not None:
            return RateSearch(int(own), extend, seed, is_asked=True)
        if self.search is None or options.get("learning_rate") is not None:
            return None
        return RateSearch(self.search.learning_rates, extend, seed, is_asked=False)


def _check_size(methods: object, seeds: object) -> None:
    """Refuse what no machine would run, before anything is made of each row, seed or option.

    Raises:
        ValueError: says what there is too much of.
    """
    rows = methods if isinstance(methods, dict) else {}
    count = len(methods) if isinstance(methods, dict | list) else 1
    if count > _MOST_ROWS:
        raise ValueError(f"methods: {count} rows; at most {_MOST_ROWS:,} are run together")
    counts = {"": _num_seeds(seeds)}
    for row, options in rows.items():
        given = options if isinstance(options, dict) else {}
        if len(given) > _MOST_KEYS:
            raise ValueError(f"methods.{row}: {len(given)} options; at most {_MOST_KEYS} are read")
        counts[f"methods.{row}."] = _num_seeds(given.get(_ROW_SEEDS, seeds))
    for where, found in counts.items():
        if found > _MOST_SEEDS:
            raise ValueError(f"{where}seeds: {found} seeds; at most {_MOST_SEEDS:,} are run")
    total = sum(counts.values()) - counts[""]
    if total > _MOST_RUNS:
        raise ValueError(
            f"methods: {len(rows)} rows with their seeds are {total:,} runs; at most "
            f"{_MOST_RUNS:,} are run together. Ask for fewer rows or seeds"
        )


def _num_seeds(seeds: object) -> int:
    return len(seeds) if isinstance(seeds, list | tuple) else 1


def _with_numbers(options: object) -> object:
    """Return the options of a row, its seeds and learning rates read as numbers where they are."""
    if options is None:
        return {}
    if not isinstance(options, dict):
        return options
    read: dict[str, Callable[[Any], object]] = {_ROW_SEEDS: whole_number, _ROW_RATES: _number}
    found = {key: read[key](options[key]) for key in read if key in options}
    for key, value in found.items():
        if isinstance(value, list | tuple):
            found[key] = [read[key](one) for one in value]
    return {**options, **found}


def _number(value: object) -> object:
    number = read_number(value) if isinstance(value, str) else None
    return value if number is None else number


def _rates_problem(options: Mapping[str, Any]) -> str | None:
    """Return what is wrong with a row's learning rates."""
    rates = options.get(_ROW_RATES)
    if rates is None:
        return None
    if options.get("learning_rate") is not None:
        return "a row with a learning_rate does not look for one. Remove one of the two."
    if type(rates) is int and rates in _RATE_COUNTS:
        return None
    if isinstance(rates, list | tuple) and all(type(rate) in (int, float) for rate in rates):
        known = {float(rate) for rate in rates if 0 < rate < sys.float_info.max}
        if 2 <= len(known) == len(rates) <= _MOST_RATES:
            return None
    return (
        f"got {reprlib.repr(rates)}; a list of 2 to {_MOST_RATES} different numbers above 0 is "
        f"needed, or how many around the method's own: {_counts_text()}."
    )


def _counts_text() -> str:
    return f"{', '.join(map(str, _RATE_COUNTS[:-1]))} or {_RATE_COUNTS[-1]}"


def read_experiment(
    path: Path | None, settings: Sequence[str] = (), changes: Mapping[str, object] | None = None
) -> Experiment:
    """Return the experiment of a YAML file, changed by `key=value` settings and by options.

    See `asked_mapping`.

    Raises:
        ConfigError: every problem of the file, the settings and the options at once.
    """
    data = asked_mapping(path, settings, changes)
    return check_mapping(data, Experiment, where=where_asked(path))


def where_asked(path: Path | None) -> str:
    """Return what the lines about an experiment start with."""
    return "experiment" if path is None else str(path)


def asked_mapping(
    path: Path | None, settings: Sequence[str], changes: Mapping[str, object] | None
) -> dict[str, Any]:
    """Return what a file, settings and options say, not checked yet.

    Args:
        path: The file, also one that was kept beside runs; None starts from the defaults.
        settings: "task.limit_test=50", "methods.lora.rank=16": dotted keys, values read as YAML.
        changes: Dotted keys to values, applied last; None values are skipped.

    Raises:
        ConfigError: a file that is no mapping or not what was kept, or a setting of another form.
    """
    data = {} if path is None else _asked_in(path)
    for setting in settings:
        key, sign, text = setting.partition("=")
        if not sign or not key.strip():
            raise ConfigError(
                f"--set {setting}: not of the form key=value. Example: --set methods.lora.rank=16"
            )
        where_set = f"--set {setting}"
        _put(data, key.strip(), parse_value(text, where=where_set), where=where_set)
    for key, value in (changes or {}).items():
        if value is not None:
            _put(data, key, value, where=key)
    return data


def _asked_in(path: Path) -> dict[str, Any]:
    """Return what a file says, without the digest that `store_experiment` wrote at its end."""
    data = read_mapping(path)
    if path.suffix != ".json" or DIGEST not in data:
        return data
    try:
        return read_sealed(path, name=EXPERIMENT_FILE)
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"{path}: is damaged or was edited: its digest does not fit. If it says what you mean, "
            "take the line with the digest out."
        ) from error


def store_experiment(folder: Path, experiment: Experiment) -> None:
    """Keep the resolved experiment beside its runs."""
    write_sealed(folder / EXPERIMENT_FILE, experiment.model_dump(mode="json"))


def stored_experiment(folder: Path) -> Experiment | None:
    """Return the experiment kept in a folder, or None.

    Raises:
        StoreError: the file cannot be read.
    """
    path = folder / EXPERIMENT_FILE
    if not is_there(path):
        return None
    try:
        return Experiment(**read_sealed(path, is_digest_needed=False))
    except (OSError, TypeError, ValueError, RecursionError) as error:
        raise StoreError(
            f"{path}: is damaged or of another version. Start the same again: the file is written "
            "anew, and finished runs are found."
        ) from error


def _put(data: dict[str, Any], key: str, value: object, *, where: str) -> None:
    """Set a dotted key in nested mappings, expanding the short forms on the way."""
    *parents, last = key.split(".")
    for parent in parents:
        inner = data.get(parent)
        if isinstance(inner, str) and parent == "task":
            inner = {"name": inner}
        if isinstance(inner, list) and parent == "methods":
            inner = dict.fromkeys(inner)
        if inner is None:
            inner = _default_rows() if parent == "methods" else {}
        if not isinstance(inner, dict):
            raise ConfigError(f"{where}: '{parent}' is {inner!r}, which has no keys below it.")
        data[parent] = inner
        data = inner
    data[last] = value
