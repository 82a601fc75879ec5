"""Options of a dataclass as fields of a page: what to show, and how to read what was typed."""

from collections.abc import Mapping
from typing import Any

import gradio as gr

from workbench.options import Option, check_options, declared_options
from workbench.training.options import TrainingOptions
from workbench.ui.context import SettingValues


def fields_of(found: type) -> list[Option]:
    """Return the options of a dataclass, its own before those that all trained methods share."""
    shared = declared_options(TrainingOptions)
    return sorted(declared_options(found).values(), key=lambda option: option.name in shared)


def read_options(
    found: type, name: str, values: Mapping[str, object], *, where: str
) -> dict[str, Any]:
    """Return the options that a page's fields `<name>__<option>` give a dataclass.

    Raises:
        ConfigError: every wrong value and unknown name at once.
    """
    prefix, options = f"{name}__", fields_of(found)
    names = [key.removeprefix(prefix) for key in values if key.startswith(prefix)]
    known = {option.name for option in options}
    given = {name[:80]: values[prefix + name] for name in names if name not in known}
    for option in options:
        value = values.get(prefix + option.name, option.default)
        if value is None or (isinstance(value, str) and not value.strip()):
            value = None if option.is_optional else option.default
        given[option.name] = value
    checked = check_options(found, given, where=where)
    return {o.name: checked[o.name] for o in options if checked[o.name] != o.default}


def option_component(method: str, option: Option) -> Any:
    """Return the input for an option; bounds are said, and checked where all doors check them."""
    label = option.name.replace("_", " ")
    bounds = f" {option.bounds}." if option.bounds else ""
    shared: dict[str, Any] = {
        "label": label,
        "info": option.help.replace("null:", "empty:") + bounds,
        "min_width": 170,
        "elem_id": f"wb-{method}-{option.name}",
    }
    if option.kind is bool:
        return gr.Checkbox(option.default, **shared)
    if option.choices:
        return gr.Dropdown(list(option.choices), value=option.default, **shared)
    if option.is_optional and option.kind in (int, float):  # a number field cannot stay empty
        return gr.Textbox("", placeholder="automatic", max_lines=1, **shared)
    if option.kind in (int, float):
        precision = 0 if option.kind is int else None
        return gr.Number(option.default, precision=precision, **shared)
    return gr.Textbox(option.default or "", max_lines=3, **shared)


def split_values(values: Mapping[str, object]) -> tuple[SettingValues, dict[str, object]]:
    """Return the first row's values, and the options'."""
    options = {key: value for key, value in values.items() if "__" in key}
    return SettingValues(**{k: v for k, v in values.items() if "__" not in k}), options
