"""How a named endpoint is called: arguments checked by their types, errors told as messages."""

import inspect
import typing
from collections.abc import Callable, Iterator, Sequence
from functools import update_wrapper
from typing import Any

from pydantic import BaseModel, ConfigDict, create_model

from workbench.ui.context import guarded, told_to_caller
from workbench.yaml_files import check_mapping


def told(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return an endpoint as Gradio shall call it: by position, whatever was sent.

    Its arguments are checked against the function's annotations before it runs, and its errors
    are told to the caller as messages.
    """
    types = _argument_types(function)

    def streamed(*arguments: Any) -> Iterator[Any]:
        yield from function(**_checked(types, arguments))

    def called(*arguments: Any) -> Any:
        return function(**_checked(types, arguments))

    told = streamed if inspect.isgeneratorfunction(function) else called
    return guarded(told_to_caller)(update_wrapper(told, function))


def _argument_types(function: Callable[..., Any]) -> type[BaseModel]:
    """Return a model of an endpoint's arguments: Gradio passes on whatever was sent."""
    hints = typing.get_type_hints(function)
    fields: dict[str, Any] = {
        name: (hints[name], ... if parameter.default is parameter.empty else parameter.default)
        for name, parameter in inspect.signature(function).parameters.items()
    }
    strict = ConfigDict(strict=True, allow_inf_nan=False)
    return create_model(function.__name__, __config__=strict, **fields)


def _checked(types: type[BaseModel], arguments: Sequence[Any]) -> dict[str, Any]:
    """Return an endpoint's arguments by name.

    Raises:
        ConfigError: every argument of a wrong type at once.
    """
    given = dict(zip(types.model_fields, arguments, strict=False))
    return dict(check_mapping(given, types, where=types.__name__))
