"""HTML of the page, from templates that escape everything that comes from data or a model."""

from functools import cache
from importlib.resources import files

from jinja2 import Environment, FunctionLoader, StrictUndefined
from markupsafe import Markup

from workbench.estimates import Estimate
from workbench.presentation.display import (
    NOTHING,
    byte_size,
    duration,
    interval_text,
    number,
    one_line,
    p_value_text,
    percent,
    points,
)
from workbench.presentation.drawing import Drawing
from workbench.presentation.quantities import metric_of


def render(template: str, **values: object) -> str:
    """Return `templates/<template>.html.jinja` filled with values; they are text, never markup."""
    return _environment().get_template(template).render(**values)


@cache
def _environment() -> Environment:
    environment = Environment(
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        loader=FunctionLoader(_source),
    )
    environment.filters |= {
        "bytes": byte_size,
        "duration": duration,
        "metric_title": lambda name: metric_of(name).title,
        "interval": lambda estimate: interval_text(estimate.low, estimate.high),
        "number": number,
        "one_line": one_line,
        "p_value": p_value_text,
        "percent": percent,
        "points_interval": _points_interval,
        "svg": _trusted_svg,
    }
    environment.globals["nothing"] = NOTHING
    return environment


def _points_interval(estimate: Estimate) -> str:
    """Return "+4.5 [+1.0, +8.0]"; a dash where there is no difference."""
    if estimate.value is None or estimate.low is None:
        return points(estimate.value)
    return f"{points(estimate.value)} {interval_text(estimate.low, estimate.high, sign=True)}"


def _source(name: str) -> str:
    path = files("workbench.ui").joinpath("templates", f"{name}.html.jinja")
    return path.read_text(encoding="utf-8")


def _trusted_svg(drawing: Drawing) -> Markup:
    """Return a drawing's SVG as it is; the text in it is escaped where it is drawn."""
    return Markup(drawing.svg)  # noqa: S704 - made by matplotlib, not by the data
