"""What a method has to declare, and where: whatever is forgotten is said here, in one test."""

import ast
import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar, Literal, get_args, get_origin

import pytest
from pydantic import BaseModel, Field

import workbench
import workbench.methods
from workbench.budget.trained import RECIPES, UNPLANNED
from workbench.fitting.base import PACES, Family, needs_run
from workbench.methods.catalog import METHODS, method_class
from workbench.options import FREE, declared_options, option
from workbench.readings.catalog import READERS, reader_class
from workbench.runs.experiment import Experiment, SearchChoice, TaskChoice
from workbench.service.profile import Caps, public_bound
from workbench.training.options import TrainingOptions

PACKAGE = Path(workbench.__file__).parent
NOT_METHODS = {"__init__", "catalog"}


def forgotten(name: str, found: type) -> list[str]:
    """Return, for a method of the catalog, what it does not declare and where that belongs."""
    where = f"{found.__module__.replace('.', '/')}.py, {found.__name__}"
    missing = [] if found.__module__ == f"workbench.methods.{name}" else [
        f"workbench/methods/catalog.py: '{name}' belongs into workbench/methods/{name}.py."
    ]  # fmt: skip
    if getattr(found, "family", None) not in get_args(Family):
        missing.append(f'{where}: say what it changes: family: ClassVar[Family] = "…"')
    if not getattr(found, "summary", ""):
        missing.append(f'{where}: say what it is for lists: summary: ClassVar[str] = "…"')
    if not getattr(found, "gloss", ""):
        missing.append(f'{where}: say what it does, for a layman: gloss: ClassVar[str] = "…."')
    missing += forgotten_options(found)
    if issubclass(found, TrainingOptions):
        missing += forgotten_training(name, found, where)
    elif getattr(found, "offers", None) is None:
        missing.append(
            f"{where}: say which ways of answering pages offer without training (none: an empty "
            "tuple): offers: ClassVar[Sequence[Offer]] = (…)"
        )
    return missing


def forgotten_training(name: str, found: type, where: str) -> list[str]:
    missing = []
    if not hasattr(found, "tiny_rate"):
        missing.append(
            f"{where}: say at which rate it learns on the tiny base of the contract suite (None: "
            "it cannot): tiny_rate: ClassVar[float] = …"
        )
    if name not in RECIPES and name not in UNPLANNED:
        missing.append(
            f"workbench/budget/trained.py: say what '{name}' costs by a Recipe, or why nothing is "
            "said by a line of UNPLANNED."
        )
    elif name in RECIPES and RECIPES[name].kind != found.family:
        missing.append(
            f"workbench/budget/trained.py: the recipe of '{name}' is of kind "
            f"'{RECIPES[name].kind}', the method of family '{found.family}'."
        )
    return missing


UNBOUNDED = (
    "say what a shared server allows strangers, without and with an accelerator: public=(16, 64); "
    "FREE for a number that costs nothing, TEXT for what people write."
)


def forgotten_fields(found: type[BaseModel]) -> list[str]:
    """Return, for what an experiment is made of, the fields that strangers could blow up."""
    where = f"{found.__module__.replace('.', '/')}.py, {found.__name__}"
    missing = []
    for name, field in found.model_fields.items():
        kinds = set(all_kinds(field.annotation))
        is_open = not kinds.isdisjoint((int, float, str, list, tuple, dict))
        is_nested = any(issubclass(kind, BaseModel) for kind in kinds)
        is_said = name in CAPPED_AS_A_WHOLE or public_bound(found, name) is not None
        if is_open and not is_nested and not is_said:
            missing.append(f"{where}.{name}: {UNBOUNDED}")
    return missing


CAPPED_AS_A_WHOLE = {field.name for field in dataclasses.fields(Caps)} & {"methods", "seeds"}


def all_kinds(annotation: object) -> Iterator[type]:
    """Yield the types in an annotation, values of literals left out."""
    if isinstance(annotation, type):
        yield get_origin(annotation) or annotation
    for inner in () if get_origin(annotation) is Literal else get_args(annotation):
        yield from all_kinds(inner)


def forgotten_options(found: type) -> list[str]:
    where = f"{found.__module__.replace('.', '/')}.py, {found.__name__}"
    options = declared_options(found)
    missing = [
        f"{where}.{field.name}: give it a default, bounds and help by workbench.options.option."
        for field in dataclasses.fields(found)
        if field.name not in options
    ]
    for one in options.values():
        if not one.help:
            missing.append(f'{where}.{one.name}: say what it does: option(…, help="…")')
        if one.kind is str and not one.choices and one.holds is None:
            missing.append(
                f"{where}.{one.name}: say whether it is free text or names adapters, which a "
                'public page has to check: option(…, holds="text"), "adapter", "run" or "runs"'
            )
        is_open = one.kind in (int, float) or (one.kind is str and not one.choices)
        if is_open and one.public is None:
            missing.append(f"{where}.{one.name}: {UNBOUNDED}")
    return missing


def test_nothing_that_a_method_has_to_declare_is_forgotten():
    files = {path.stem for path in (PACKAGE / "methods").glob("*.py")} - NOT_METHODS
    missing = [
        f"workbench/methods/catalog.py: add a line for workbench/methods/{name}.py: "
        f'"{name}": "workbench.methods.{name}:<class>",'
        for name in sorted(files - set(METHODS))
    ]
    for name in METHODS:
        missing += forgotten(name, method_class(name))
    for name in READERS:
        missing += forgotten_options(reader_class(name))
    for asked in (Experiment, TaskChoice, SearchChoice):
        missing += forgotten_fields(asked)

    assert not missing, "\n".join(missing)


@dataclass(frozen=True, kw_only=True)
class Forgetful(TrainingOptions):
    """A method whose author thought of the training alone."""

    folder: str = option("", help="Where it is.")
    count: int = 3
    size: int = option(1, help="")


@dataclass(frozen=True, kw_only=True)
class Wordless:
    """A prompting method without anything."""


@dataclass(frozen=True, kw_only=True)
class Careful(TrainingOptions):
    """A method with everything, in a file that says something else."""

    family: ClassVar[Family] = "vectors"
    summary: ClassVar[str] = "careful"
    gloss: ClassVar[str] = "Nothing is left out."
    tiny_rate: ClassVar[float] = 0.1


HERE = __name__.replace(".", "/") + ".py"


def test_what_is_forgotten_is_said_with_its_place():
    assert forgotten("forgetful", Forgetful) == [
        "workbench/methods/catalog.py: 'forgetful' belongs into workbench/methods/forgetful.py.",
        f'{HERE}, Forgetful: say what it changes: family: ClassVar[Family] = "…"',
        f'{HERE}, Forgetful: say what it is for lists: summary: ClassVar[str] = "…"',
        f'{HERE}, Forgetful: say what it does, for a layman: gloss: ClassVar[str] = "…."',
        f"{HERE}, Forgetful.count: give it a default, bounds and help by workbench.options.option.",
        f"{HERE}, Forgetful.folder: say whether it is free text or names adapters, which a public "
        'page has to check: option(…, holds="text"), "adapter", "run" or "runs"',
        f"{HERE}, Forgetful.folder: {UNBOUNDED}",
        f'{HERE}, Forgetful.size: say what it does: option(…, help="…")',
        f"{HERE}, Forgetful.size: {UNBOUNDED}",
        f"{HERE}, Forgetful: say at which rate it learns on the tiny base of the contract suite "
        "(None: it cannot): tiny_rate: ClassVar[float] = …",
        "workbench/budget/trained.py: say what 'forgetful' costs by a Recipe, or why nothing is "
        "said by a line of UNPLANNED.",
    ]
    assert forgotten("wordless", Wordless)[-1] == (
        f"{HERE}, Wordless: say which ways of answering pages offer without training (none: an "
        "empty tuple): offers: ClassVar[Sequence[Offer]] = (…)"
    )
    assert forgotten("lora", Careful) == [
        "workbench/methods/catalog.py: 'lora' belongs into workbench/methods/lora.py.",
        "workbench/budget/trained.py: the recipe of 'lora' is of kind 'weights', the method of "
        "family 'vectors'.",
    ]


class Careless(BaseModel):
    """What is asked for, by somebody who thought of honest people alone."""

    rows: int = 3
    most: int | None = Field(None, ge=1)
    words: list[str] = []
    way: Literal["short", "long"] = "short"
    is_fast: bool = True
    said: Annotated[int, FREE] = 0


def test_a_field_of_an_experiment_without_a_bound_is_said():
    assert forgotten_fields(Careless) == [
        f"{HERE}, Careless.{name}: {UNBOUNDED}" for name in ("rows", "most", "words")
    ]


@pytest.mark.parametrize("name", METHODS)
def test_only_what_needs_no_run_is_offered_without_one(name):
    offers = method_class(name).offers

    assert not (offers and needs_run(method_class(name)))
    assert all(offer.pace in PACES for offer in offers)


def named_methods(tree: ast.Module) -> list[tuple[int, str]]:
    """Return (line, name) of every comparison of something with names of methods.

    Kinds of adapters, which have names of PEFT's, are compared as `….kind`.
    """
    tables = {
        target.id: node.value
        for node in tree.body
        if isinstance(node, ast.Assign | ast.AnnAssign)
        for target in (node.targets if isinstance(node, ast.Assign) else [node.target])
        if isinstance(target, ast.Name) and node.value is not None
    }
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.MatchValue):
            sides = [node.value]
        elif isinstance(node, ast.Compare):
            sides = [node.left, *node.comparators]
        else:
            continue
        if any(isinstance(side, ast.Attribute) and side.attr == "kind" for side in sides):
            continue
        for named in sides:
            side = tables.get(named.id, named) if isinstance(named, ast.Name) else named
            parts = side.elts if isinstance(side, ast.Tuple | ast.List | ast.Set) else [side]
            found += [
                (part.lineno, str(part.value))
                for part in parts
                if isinstance(part, ast.Constant) and part.value in METHODS
            ]
    return found


def test_nobody_asks_for_a_method_by_its_name():
    found = [
        f"{path.relative_to(PACKAGE)}:{line}: compares with '{name}'. Ask the method or its Recipe "
        "for what differs, by a field of theirs."
        for path in sorted(PACKAGE.rglob("*.py"))
        if path.parent != PACKAGE / "methods"
        for line, name in named_methods(ast.parse(path.read_text(encoding="utf-8")))
    ]

    assert not found, "\n".join(found)


def test_comparisons_with_names_are_seen():
    code = (
        'SOME: tuple[str, ...] = ("dora", "ia3")\n'
        'a = recipe.name == "lora"\n'
        'b = name in ("x", "few_shot")\n'
        "c = name in SOME\n"
        'd = adapter.kind == "lora"\n'
        'e = name == "accuracy"\n'
        'match name:\n    case "bitfit":\n        pass\n'
    )

    assert sorted(named_methods(ast.parse(code))) == [
        (1, "dora"), (1, "ia3"), (2, "lora"), (3, "few_shot"), (8, "bitfit"),
    ]  # fmt: skip
