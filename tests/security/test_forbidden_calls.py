"""What the package must not contain, whoever writes it: read from its own source."""

import ast
import re
import tomllib
from importlib.metadata import version
from pathlib import Path

import pytest

import workbench
from workbench.service.profile import CPU_SPACE, LOCAL, ZERO_GPU
from workbench.ui import app as app_module
from workbench.ui.app import launch_options, make_context
from workbench.ui.guards import Guard
from workbench.ui.starting import launch

PACKAGE = Path(workbench.__file__).parent
SOURCES = sorted(PACKAGE.rglob("*.py"))
FORBIDDEN = {
    "loads other people's pages": r"\bgr\.load\b|\bgradio\.load\b",
    "shows the server's folders": r"FileExplorer",
    "stores sessions in files": r"DeepLinkButton",
    "runs code of a model": r"trust_remote_code\s*=\s*(?!False\b)",
    "unpickles": r"import pickle|(?<!safetensors\.)torch\.load\(|weights_only\s*=|allow_pickle",
    "runs text": r"(?<![\w.])(eval|exec)\(|os\.system|shell=True",
    "loads any YAML object": r"yaml\.(unsafe_load|full_load|load)\b|UnsafeLoader|FullLoader",
    "shows markup unescaped": r"sanitize_html\s*=\s*False|autoescape\s*=\s*False",
    "renders cells as HTML": r"datatype\s*=\s*[\"']html",
    "watches visitors": r"analytics_enabled\s*=\s*True|enable_monitoring\s*=\s*True",
    "shows errors as they are": r"show_error\s*=\s*True",
    "makes a public tunnel": r"\bshare\s*=\s*True|\"share\":\s*True",
}


@pytest.mark.parametrize("what", FORBIDDEN)
def test_no_module(what):
    pattern = re.compile(FORBIDDEN[what])

    found = [
        f"{path.relative_to(PACKAGE)}:{number}: {line.strip()}"
        for path in SOURCES
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1)
        if pattern.search(line)
    ]

    assert found == []


@pytest.mark.parametrize("path", sorted((PACKAGE / "ui").glob("*.py")), ids=lambda path: path.name)
def test_all_html_of_the_page_comes_from_escaping_templates(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))

    unsafe = [
        f"line {call.lineno}: {ast.unparse(call)}"
        for call in ast.walk(tree)
        if isinstance(call, ast.Call) and called(call) == "gr.HTML" and not is_safe_html(call)
        if path.name != "vector_map.py"  # see the test of the map
    ]

    assert unsafe == []


@pytest.mark.parametrize("path", sorted((PACKAGE / "ui").glob("*.py")), ids=lambda path: path.name)
def test_markdown_of_the_page_is_written_by_us(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))

    values = [
        call.args[0]
        for call in ast.walk(tree)
        if isinstance(call, ast.Call) and called(call) == "gr.Markdown" and call.args
    ]

    assert [ast.unparse(value) for value in values if not isinstance(value, ast.Constant)] == []


@pytest.mark.parametrize(
    ("call", "is_safe"),
    [
        ("gr.HTML(render('hint', text=x))", True),
        ("gr.HTML(visible=False)", True),
        ("gr.HTML(value=problem(error), visible=True)", True),
        ("gr.HTML(x)", False),
        ("gr.HTML(value=f'<p>{x}</p>')", False),
        ("gr.HTML('<b>fixed</b>')", False),
        ("gr.HTML(value=render('x') + y)", False),
        ("gr.HTML(html_template='${value}')", False),
        ("gr.HTML(**options)", False),
    ],
)
def test_the_check_of_html_knows_safe_from_unsafe(call, is_safe):
    assert is_safe_html(ast.parse(call).body[0].value) is is_safe


def test_templates_mark_nothing_as_safe():
    templates = sorted((PACKAGE / "ui" / "templates").glob("*.jinja"))

    assert len(templates) > 10
    for path in templates:
        text = path.read_text(encoding="utf-8")
        assert re.findall(r"\|\s*safe\b|autoescape", text) == [], path.name
        # Values within a tag stand in quotes, or a space would start a new attribute.
        assert re.findall(r"<[^>{]*=\s*{{", text) == [], path.name
        assert re.findall(r"\bon\w+\s*=|javascript:|<script", text) == [], path.name


def test_gradio_is_new_enough_to_have_its_holes_closed():
    floor = next(line for line in dependencies() if line.startswith("gradio"))

    assert floor == "gradio>=6.31,<7"
    assert tuple(map(int, version("gradio").split(".")[:2])) >= (6, 31)


def test_the_page_listens_on_this_machine_alone_unless_told_otherwise(monkeypatch, tmp_path):
    launched = []
    monkeypatch.delenv("GRADIO_SERVER_NAME", raising=False)
    monkeypatch.setattr(app_module, "build_app", lambda context: FakeApp(launched))

    launch(tmp_path / "runs")
    launch(tmp_path / "runs", host="0.0.0.0")

    assert [options["server_name"] for options in launched] == ["127.0.0.1", "0.0.0.0"]
    assert [guard(options)["only_local"] for options in launched] == [True, False]


@pytest.mark.parametrize("profile", [LOCAL, CPU_SPACE, ZERO_GPU], ids=lambda profile: profile.name)
def test_every_launch_option_that_safety_needs_is_set(tmp_path, profile):
    context = make_context(tmp_path / "runs", profile)

    options = launch_options(context)

    assert options["show_error"] is False
    assert options["share"] is False
    assert options["strict_cors"] is True
    assert options["enable_monitoring"] is False
    assert options["run_history"] is False
    assert options["ssr_mode"] is False
    assert options["allowed_paths"] == []
    assert options["blocked_paths"] == [str(context.root)]
    assert options["max_file_size"] == profile.caps.upload_bytes
    assert guard(options)["upload_bytes"] == profile.caps.upload_bytes
    assert guard(options)["only_local"] is not profile.is_public


def test_a_space_is_guarded_under_its_own_name(monkeypatch, tmp_path):
    monkeypatch.setenv("SPACE_HOST", "me-workbench.hf.space")

    options = launch_options(make_context(tmp_path / "runs", CPU_SPACE), "0.0.0.0")

    assert guard(options)["space_host"] == "me-workbench.hf.space"


class FakeApp:
    """Notes how it is launched."""

    def __init__(self, launched):
        self._launched = launched

    def launch(self, **options):
        self._launched.append(options)
        self.local_url = "http://127.0.0.1:7860/"

    def block_thread(self):
        """Return at once, as after Ctrl-C."""


def guard(options):
    """Return what the guard of a launch is told."""
    *_, middleware = options["app_kwargs"]["middleware"]
    assert middleware.cls is Guard
    return middleware.kwargs


def called(call):
    """Return what is called, as it is written."""
    return ast.unparse(call.func)


def is_safe_html(call):
    """Return whether the only text given to `gr.HTML` is made by an escaping template."""
    harmless = {"visible", "elem_id", "elem_classes", "show_label", "label", "padding", "scale"}
    values = list(call.args)
    for keyword in call.keywords:
        if keyword.arg == "value":
            values.append(keyword.value)
        elif keyword.arg == "js_on_load":  # a script of ours, never one that is put together
            if not isinstance(keyword.value, ast.Name):
                return False
        elif keyword.arg not in harmless:
            return False
    return all(map(is_escaped, values))


def is_escaped(value):
    """Return whether an expression can only be empty, or what an escaping function returns."""
    makers = {"render", "problem", "run_html", "or_problem", "map_value"}
    if isinstance(value, ast.IfExp):
        return is_escaped(value.body) and is_escaped(value.orelse)
    if isinstance(value, ast.Constant):
        return value.value == ""
    return isinstance(value, ast.Call) and called(value) in makers


def test_the_map_puts_its_value_nowhere_as_html():
    """The one component with a template of its own: the value reaches plotly as JSON alone."""
    from workbench.ui import vector_map

    script = (PACKAGE / "ui" / "vector_map.js").read_text(encoding="utf-8")

    assert "{" not in vector_map._TEMPLATE
    assert "innerHTML" not in script
    assert "insertAdjacentHTML" not in script
    assert "document.write" not in script


def dependencies():
    """Return the dependencies of the project as they are written."""
    text = (PACKAGE.parent / "pyproject.toml").read_text(encoding="utf-8")
    return tomllib.loads(text)["project"]["dependencies"]
