"""Pages that open offline: one HTML file each, no script, no font, no address to load."""

from collections.abc import Mapping

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from workbench.presentation.display import NOTHING
from workbench.presentation.drawing import Drawing
from workbench.presentation.glossary import glossed, terms_in


def render_page(package: str, template: str, content: Mapping[str, object]) -> str:
    """Return a page; everything that comes from data is escaped.

    Args:
        package: Where the template lies: "workbench.analysis". What all pages share lies here.
        template: Its file's name.
        content: Its variables.
    """
    environment = Environment(
        loader=ChoiceLoader(
            [PackageLoader(package, "."), PackageLoader("workbench.presentation", ".")]
        ),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "svg": _trusted_svg,
        "cell": _cell_text,
        "glossed": glossed,
        "terms": terms_in,
    }
    return environment.get_template(template).render(content)


def _trusted_svg(drawing: Drawing) -> Markup:
    """Return a drawing's SVG as it is; `inline_svg` has escaped the text in it."""
    return Markup(drawing.svg)  # noqa: S704 - made by matplotlib, not by the data


def _cell_text(cell: str | int | float | None) -> str:
    return NOTHING if cell is None else str(cell)
