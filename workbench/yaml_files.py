"""YAML files checked against a pydantic model; every problem of a file in one message.

Task files, templates and experiments are read here, so that a typo reads the same everywhere.
"""

import difflib
import math
import re
import reprlib
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import deepcopy
from datetime import date
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from workbench.errors import ConfigError
from workbench.options import NUMBER, read_number

Model = TypeVar("Model", bound=BaseModel)

MAX_FILE_BYTES = 1_000_000  # bytes; ours are a few kB, anything bigger is data in the wrong place
_MOST_NODES = 100_000  # values of a file with its references written out; ours have about 100
_MOST_LINES = 20  # of a message; more problems are counted


class _Loader(yaml.SafeLoader):
    """YAML whose numbers are those of YAML 1.2, with "_" between digits.

    The rules of 1.1 read 1e-3 as text, 010 as 8 and 12:30 as 750.
    """

    def construct_scalar(self, node: yaml.ScalarNode | yaml.MappingNode) -> str:
        """Return a scalar's text; JSON writes a character beyond U+FFFF as two halves."""
        text = str(super().construct_scalar(node))
        try:
            return text.encode("utf-16", "surrogatepass").decode("utf-16")
        except UnicodeDecodeError:
            problem = "half a character (a lone surrogate)"
            raise yaml.constructor.ConstructorError(None, None, problem, node.start_mark) from None


_NUMBER_TAG = "tag:yaml.org,2002:number"
_OLD_TAGS = ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float")


def _construct_number(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> object:
    text = str(loader.construct_scalar(node))
    number = read_number(text)
    return text if number is None else number


_Loader.yaml_implicit_resolvers = {
    first: [pair for pair in resolvers if pair[0] not in _OLD_TAGS]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(_NUMBER_TAG, NUMBER, list("-+.0123456789"))
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"(?:[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$"),
    list("-+."),
)
_Loader.add_constructor(_NUMBER_TAG, _construct_number)


class _Dumper(yaml.SafeDumper):
    """Quotes text that `_Loader` would read as a number."""


class Block(str):
    """Text that `yaml_text` writes as a literal block, in which a line break stays one."""


class Quoted(str):
    """Text that `yaml_text` writes in double quotes, in which a line break is a backslash and n."""


def _write_text(style: str) -> Callable[[yaml.SafeDumper, str], yaml.ScalarNode]:
    return lambda dumper, text: dumper.represent_scalar(_TEXT_TAG, str(text), style=style)


_TEXT_TAG = "tag:yaml.org,2002:str"
_Dumper.add_implicit_resolver(_NUMBER_TAG, NUMBER, list("-+.0123456789"))
_Dumper.add_representer(Block, _write_text("|"))
_Dumper.add_representer(Quoted, _write_text('"'))


def yaml_text(content: object, **style: Any) -> str:
    """Return content as YAML that reads back as the same; `style` as for `yaml.dump`."""
    text: str = yaml.dump(content, Dumper=_Dumper, allow_unicode=True, **style)
    return text


def read_yaml_model(path: Path, model: type[Model]) -> Model:
    """Return the content of a YAML file as an instance of `model`.

    Args:
        path: The file; UTF-8.
        model: Pydantic model of the top-level mapping; set `extra="forbid"` on it.

    Raises:
        ConfigError: the file cannot be read, is no YAML mapping, repeats a key, or breaks the
            model; one line per problem, each with the file and the key.
    """
    return check_mapping(read_mapping(path), model, where=str(path))


def check_mapping(data: Mapping[str, object], model: type[Model], *, where: str) -> Model:
    """Return a mapping as an instance of `model`; `where` starts each line of an error.

    Raises:
        ConfigError: the mapping breaks the model; one line per problem.
    """
    try:
        return model.model_validate(data)
    except ValidationError as error:
        raise ConfigError(_joined(_problems(where, error, model, data=data))) from error
    except UnicodeEncodeError as error:  # in what a validator says
        raise ConfigError(
            f"{where}: half a character (a lone surrogate) in a key or value. Write it again."
        ) from error


def sound_part(data: Mapping[str, object], model: type[Model]) -> Model | None:
    """Return a model of a mapping without the keys that break it; None where that is none either.

    For saying what else is wrong, never for use.
    """
    try:
        return model.model_validate(data)
    except ValidationError as error:
        broken = [_real_location(details, data) for details in error.errors()]
    part = deepcopy(dict(data))
    for location in broken:
        _drop(part, location)
    try:
        return model.model_validate(part)
    except (ValidationError, UnicodeEncodeError):
        return None


def _drop(data: dict[str, Any], location: Sequence[str | int]) -> None:
    """Take a key out of nested mappings, with the whole list where it is a member of one."""
    for key in location:
        inner = data.get(str(key))
        if not isinstance(inner, dict) or key == location[-1]:
            data.pop(str(key), None)
            return
        data = inner


def read_mapping(path: Path) -> dict[str, Any]:
    """Return the top-level mapping of a YAML file, not checked against any model.

    Raises:
        ConfigError: the file cannot be read, is no YAML mapping, or repeats a key.
    """
    return parse_mapping(_read_text(path), where=str(path))


def parse_mapping(text: str, *, where: str) -> dict[str, Any]:
    """Return the top-level mapping of YAML text; `where` starts each line of an error.

    Raises:
        ConfigError: the text is no YAML mapping, or repeats a key.
    """
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        repeated = [] if node is None else sorted(_duplicate_keys(node))
        if repeated:
            raise ConfigError(
                _joined([f"{where}, line {line}: {problem}" for line, problem in repeated])
            )
    except yaml.YAMLError as error:
        raise ConfigError(_syntax_problem(where, error)) from error
    except RecursionError as error:
        raise ConfigError(f"{where}: nested too deeply. Write fewer levels.") from error
    data = parse_value(text, where=where)
    if not isinstance(data, dict):
        found = "empty" if data is None else f"a {_type_name(data)}"
        raise ConfigError(
            f"{where}: the file is {found}, not a mapping. Write one 'key: value' per line."
        )
    return data


def parse_value(text: str, *, where: str) -> Any:
    """Return what YAML text says, of whatever kind; `where` starts the message of an error.

    Raises:
        ConfigError: the text is no YAML.
    """
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        if node is None:
            return None
        if _size(node) > _MOST_NODES:
            raise ConfigError(
                f"{where}: its references ('*name') stand for more than {_MOST_NODES:,} values, or "
                "for themselves. Write out what is meant."
            )
        return loader.construct_document(node)
    except yaml.YAMLError as error:
        raise ConfigError(_syntax_problem(where, error)) from error
    # A date such as 2026-99-99 passes the grammar, not the calendar; the other three are what
    # PyYAML says of a tag (!!int, !!bool, !!timestamp) before something else.
    except (ValueError, AttributeError, LookupError, OverflowError) as error:
        reason = f": {error}" if isinstance(error, ValueError) else " for its tag"
        raise ConfigError(f"{where}: not valid YAML{reason}. Put the value in quotes.") from error
    except RecursionError as error:
        raise ConfigError(f"{where}: nested too deeply. Write fewer levels.") from error


def _read_text(path: Path) -> str:
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise ConfigError(
                f"{path}: the file has {path.stat().st_size} bytes; at most {MAX_FILE_BYTES} are "
                "read. Keep data in files of its own."
            )
        # "utf-8-sig" would count the places in a message behind the byte order mark.
        return path.read_text(encoding="utf-8").removeprefix("\ufeff")
    except FileNotFoundError as error:
        raise ConfigError(f"{path}: no such file. Check the path.") from error
    except IsADirectoryError as error:
        raise ConfigError(f"{path}: a folder, not a file. Give a YAML file.") from error
    except UnicodeDecodeError as error:
        raise ConfigError(
            f"{path}: byte {error.start} is not UTF-8. Save the file as UTF-8."
        ) from error
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}.") from error
    except ValueError as error:  # a zero byte in the name
        raise ConfigError(f"{str(path)!a}: no file has such a name ({error}).") from error


def _syntax_problem(where: str, error: yaml.YAMLError) -> str:
    mark = getattr(error, "problem_mark", None)
    problem = getattr(error, "problem", None) or str(error).splitlines()[0]
    place = f", line {mark.line + 1}, column {mark.column + 1}" if mark is not None else ""
    return (
        f"{where}{place}: not valid YAML: {problem}. "
        "Check the indentation and quote values that hold ':' or '#'."
    )


def _size(root: yaml.Node) -> float:
    """Return how many nodes there are where every reference is written out; infinite in a circle.

    A few hundred bytes of references to references stand for billions of values.
    """
    sizes: dict[int, float] = {}
    pending = [root]
    while pending:
        node = pending[-1]
        children = _children(node)
        if id(node) not in sizes:
            sizes[id(node)] = math.inf  # until it is known; met below itself, it is a circle
            pending += [child for child in children if id(child) not in sizes]
            continue
        sizes[id(node)] = 1 + sum(sizes[id(child)] for child in children)
        pending.pop()
    return sizes[id(root)]


def _children(node: yaml.Node) -> list[yaml.Node]:
    if isinstance(node, yaml.MappingNode):
        return [part for pair in node.value for part in pair]
    return list(node.value) if isinstance(node, yaml.SequenceNode) else []


def _joined(lines: Sequence[str]) -> str:
    """Return the lines of a message, the first few of very many."""
    more = len(lines) - _MOST_LINES
    rest = [f"and {more} more problems."] if more > 0 else []
    return "\n".join([*lines[:_MOST_LINES], *rest])


def _duplicate_keys(root: yaml.Node) -> Iterator[tuple[int, str]]:
    """Yield line and problem of each repeated key; plain YAML keeps the last in silence."""
    pending, seen = [root], set[int]()
    while pending:
        node = pending.pop()
        if id(node) in seen:  # an alias may point back to a parent
            continue
        seen.add(id(node))
        if isinstance(node, yaml.SequenceNode):
            pending.extend(reversed(node.value))
        elif isinstance(node, yaml.MappingNode):
            first_lines: dict[str, int] = {}
            for key, _ in node.value:
                line = key.start_mark.line + 1
                name = str(key.value)
                if name in first_lines:
                    first = first_lines[name]
                    problem = (
                        f"key '{name}' was given on line {first} already. Keep one of the two."
                    )
                    yield line, problem
                first_lines.setdefault(name, line)
            pending.extend(value for _, value in reversed(node.value))


def _problems(
    where: str, error: ValidationError, model: type[BaseModel], *, data: object
) -> list[str]:
    """Return one line per key; the branches of a union complain apart and are joined again."""
    reasons: dict[str, list[str]] = {}
    found_at = [details["loc"] for details in error.errors()]
    for details in error.errors():
        own = details["loc"]
        below = (other for other in found_at if len(other) > len(own) and other[: len(own)] == own)
        if details["type"] == "too_short" and any(below):
            continue  # its members are wrong, and pydantic counts those that are right
        location = _real_location(details, data)
        reason = _reason(details, model, location)
        key = _key_path(location)
        if reason not in reasons.setdefault(key, []):
            reasons[key].append(reason)
    return [
        f"{where}, {key}: {' Or: '.join(found)}" if key else f"{where}: {' Or: '.join(found)}"
        for key, found in reasons.items()
    ]


def _real_location(details: ErrorDetails, data: object) -> tuple[str | int, ...]:
    """Return the part of the error's location that the file has: without the tags of a union."""
    location = details["loc"]
    if details["type"] == "invalid_key":
        return location[:-1]
    if location[-1:] == ("[key]",):
        return location[:-2]
    here: object = data
    for depth, part in enumerate(location):
        known = (
            here if isinstance(here, dict) else range(len(here)) if isinstance(here, list) else ()
        )
        if part not in known:
            return location if details["type"] == "missing" else location[:depth]
        here = here[part]  # type: ignore[index]  # `known` is empty for all but dict and list
    return location


def _reason(details: ErrorDetails, model: type[BaseModel], location: tuple[str | int, ...]) -> str:
    if details["type"] == "missing":
        return "missing key. Add it."
    if details["type"] == "extra_forbidden":
        known = _known_keys(model, location[:-1])
        close = difflib.get_close_matches(str(location[-1]), known, n=1)
        hint = f" Did you mean '{close[0]}'?" if close else ""
        return f"unknown key.{hint} Known: {', '.join(known)}."
    if details["type"] == "invalid_key" or details["loc"][-1:] == ("[key]",):
        return f"key {details['input']!r} is no text. Put it in quotes."
    message = details["msg"]
    if details["type"] == "value_error":
        return _sentence(message.removeprefix("Value error, "))
    if details["type"] == "string_type" and (way := _unquoted(details["input"])):
        return (
            f"got {details['input']!r}; YAML reads {way} without quotes so. Text is wanted: put it "
            "in quotes."
        )
    expected = re.sub(r"^\w+ should", "should", message)
    for python_word, yaml_word in (("valid tuple", "list"), ("valid dictionary", "mapping")):
        expected = expected.replace(python_word, yaml_word)
    return f"got {reprlib.repr(details['input'])}; {_sentence(expected)}"


def _unquoted(value: object) -> str | None:
    """Return what YAML takes for such a value although it may have been meant as a word."""
    if isinstance(value, bool):
        return "yes, on and true" if value else "no, off and false"
    if isinstance(value, int | float):
        return "a number"
    if isinstance(value, date):
        return "a date"
    return "null, ~ and nothing" if value is None else None


def _known_keys(model: type[BaseModel], location: Sequence[str | int]) -> list[str]:
    models = [model]
    for part in location:
        inner = [
            found
            for candidate in models
            if part in candidate.model_fields
            for found in _models_in(candidate.model_fields[str(part)].annotation)
        ]
        models = inner or models  # a list position or a mapping's own key names no field
    return sorted({name for candidate in models for name in candidate.model_fields})


def _models_in(annotation: object) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in typing.get_args(annotation):
        yield from _models_in(argument)


def _key_path(location: Sequence[str | int]) -> str:
    path = ""
    for part in location:
        path += f"[{part}]" if isinstance(part, int) else f".{part}" if path else part
    return path


def _sentence(text: str) -> str:
    return text if text.endswith((".", "?", "!")) else f"{text}."


def _type_name(value: object) -> str:
    return "list" if isinstance(value, list) else f"single value ({reprlib.repr(value)})"
