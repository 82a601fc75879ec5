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


_PLAIN: Mapping[str, str] = {
    "alpha": "strength of the change",
    "batch_size": "rows in a step",
    "bottleneck": "width of the network",
    "calibrate": "correct what the base prefers",
    "calibration_inputs": "what shows what it prefers",
    "clip_norm": "longest gradient",
    "demonstration_inputs": "what solved rows are about",
    "demonstration_labels": "what solved rows answer",
    "density": "share kept",
    "dev_items": "rows in a look at dev",
    "dropout": "left out by chance",
    "encoder": "network",
    "eval_every": "steps between looks at dev",
    "final_share": "share after taking width away",
    "gradient_checkpointing": "compute again instead of keeping",
    "hidden_size": "width of the network",
    "init": "where training starts",
    "init_prompt": "prompt to start from",
    "init_rank": "width at the start",
    "init_text": "text to start from",
    "learning_rate": "size of a training step",
    "learning_rate_ratio": "speed of the second matrix",
    "micro_batch_size": "rows at once",
    "nonlinearity": "function inside",
    "num_tokens": "learned words",
    "num_virtual_tokens": "learned vectors",
    "orthogonality": "directions kept apart",
    "patience": "looks without a better one",
    "rank": "width of the change",
    "rank_stabilised": "scaling for wide changes",
    "reparametrisation": "trained through a small network",
    "says": "sentence to spell",
    "says_strength": "held to the sentence",
    "schedule": "how steps shrink",
    "target_rank": "width at the end",
    "targets": "which layers",
    "warmup_share": "share before taking width away",
    "warmup_steps": "first, growing steps",
    "weight_decay": "pull towards zero",
}
"""What an option is called for those who do not know its name, which stands behind it."""


def option_label(name: str) -> str:
    """Return what a page calls an option: plain words, and its name, as commands take it."""
    shown = name.replace("_", " ")
    return f"{_PLAIN[name]} ({shown})" if name in _PLAIN else shown


def option_component(method: str, option: Option) -> Any:
    """Return the input for an option; bounds are said, and checked where all doors check them."""
    bounds = f" {option.bounds}." if option.bounds else ""
    shared: dict[str, Any] = {
        "label": option_label(option.name),
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
    """Return the setting's values, and the options'."""
    options = {key: value for key, value in values.items() if "__" in key}
    return SettingValues(**{k: v for k, v in values.items() if "__" not in k}), options
