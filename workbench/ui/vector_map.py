"""The map of a soft prompt that can be zoomed, hovered and clicked, drawn by plotly's own script.

The script comes from plotly's wheel and is asked for when the first map is shown; nothing else is
fetched. Colours are those of the page, read when it is drawn and again when its theme changes.
"""

import html
import json
from importlib.metadata import version
from importlib.resources import files
from typing import Any

import gradio as gr
from starlette.requests import Request
from starlette.responses import FileResponse
from starlette.routing import Route

from workbench.presentation.blocks import Layer, Map
from workbench.presentation.display import shortened

SCRIPT_PATH = "/assets/plotly.min.js"

_KEEP = "public, max-age=31536000, immutable"  # its address names the version
_TEXT_LENGTH = 240  # characters shown when the pointer rests on a point
_NAME_LENGTH = 44
_LABEL_LENGTH = 16
_TEMPLATE = """
<figure class="wb-drawing wb-map">
<h4 class="wb-map-title"></h4>
<p class="wb-muted wb-map-state" role="status"></p>
<div class="wb-map-plot"></div>
<p class="wb-muted wb-map-note"></p>
</figure>
"""


def map_value(chart: Map) -> str:
    """Return what the page's script draws, as JSON; all text in it stays text.

    Plotly reads a little HTML in texts, so they are escaped; no "<" is left for anybody else.
    """
    content = {
        "title": f"{chart.title} ({chart.method})",
        "note": chart.note,
        "layers": [_layer(layer) for layer in chart.layers],
    }
    return json.dumps(content, separators=(",", ":")).replace("<", "\\u003c")


def vector_map(**more: Any) -> gr.HTML:
    """Return the component; its `select` event carries the slot of a clicked vector."""
    address = f"{SCRIPT_PATH.removeprefix('/')}?v={version('plotly')}"
    script = files("workbench.ui").joinpath("vector_map.js").read_text(encoding="utf-8")
    return gr.HTML(
        "",
        html_template=_TEMPLATE,
        js_on_load=script.replace("SCRIPT_ADDRESS", json.dumps(address)),
        apply_default_css=False,
        **more,
    )


def script_route() -> Route:
    """Return the route that serves plotly's script, to be kept by browsers for good."""
    path = str(files("plotly").joinpath("package_data", "plotly.min.js"))

    async def send(_: Request) -> FileResponse:
        return FileResponse(path, media_type="text/javascript", headers={"Cache-Control": _KEEP})

    return Route(SCRIPT_PATH, send)


def _layer(layer: Layer) -> dict[str, Any]:
    points = layer.points
    return {
        "name": _escaped(layer.name, _NAME_LENGTH),
        "role": layer.role,
        "x": [_rounded(point.x) for point in points],
        "y": [_rounded(point.y) for point in points],
        "text": [_escaped(point.text, _LABEL_LENGTH) for point in points],
        "about": [_escaped(point.about or point.text, _TEXT_LENGTH) for point in points],
        "slot": [point.slot for point in points],
    }


def _rounded(value: float) -> float:
    return float(f"{value:.5g}")


def _escaped(text: str, length: int) -> str:
    return html.escape(shortened(text, length), quote=False)
