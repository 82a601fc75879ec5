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
    shortened,
)
from workbench.presentation.drawing import Drawing
from workbench.presentation.glossary import glossed, terms_in
from workbench.presentation.quantities import metric_of

_MOST_CHARS = 300  # of a text that is shown to be recognised


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
        "glossed": glossed,
        "metric_title": lambda name: metric_of(name).title,
        "interval": lambda estimate: interval_text(estimate.low, estimate.high),
        "number": number,
        "one_line": one_line,
        "p_value": p_value_text,
        "percent": percent,
        "points_interval": _points_interval,
        "shortened": lambda text: shortened(text, _MOST_CHARS),
        "svg": _trusted_svg,
        "terms": terms_in,
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
    """Return a drawing's SVG as it is; the text in it is escaped where it is drawn.

    A figure that is drawn for wide panels too stands there twice, and style.css shows one of both.
    """
    both = drawing.svg
    if drawing.wide:
        shown = zip(("wb-narrow", "wb-wide"), (drawing.svg, drawing.wide), strict=True)
        both = "".join(svg.replace("<svg ", f'<svg class="{name}" ', 1) for name, svg in shown)
    return Markup(both)  # noqa: S704 - made by matplotlib, not by the data
