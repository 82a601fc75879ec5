"""Names that strangers give: of models, data, wordings and rows; and wordings that try more."""

import psutil
import pytest
from markupsafe import escape

from security.flows import upload_rows
from security.raw import SECRETS, Visitor
from workbench.service.wordings import MOST_CHARS

PATHS = (
    "/etc",
    "../x",
    "..",
    "~",
    "./runs",
    "C:\\windows",
    "//server/share",
    "a/../../b",
    "%2e%2e/x",
    "x\0y",
    "http://169.254.169.254/latest",
    "https://evil.example/model",
    "hf://datasets/stanfordnlp/sst2",
    "zip://a.csv::http://evil.example/b.zip",
    "file:///etc/passwd",
    "csv",
    "json",
    "a::b",
    "*",
)
NO_MODELS = (*PATHS, "someone/else", "smollm2-1.7b-instruct", "HuggingFaceTB/SmolLM2-135M-Instruct")


@pytest.mark.parametrize("name", [*NO_MODELS, "smollm2-135m-instruct", ""])
def test_a_public_page_loads_no_base_but_its_own(anna, name):
    """The tiny model is the only one on this page's list."""
    experiment = {"model": name, "methods": {"zero_shot": {}}}

    answer = anna.call("start_evaluation", experiment=experiment)
    chosen = anna.click("wb-ticket", "change", wb_text="x", wb_model=name)

    assert answer.error is not None
    assert answer.error.startswith(f"base model '{name}': this public page offers")
    assert chosen.data is None


@pytest.mark.parametrize("name", PATHS)
def test_names_of_data_and_wordings_are_names_not_places(anna, name):
    key = upload_rows(anna)
    refused = {
        "task": anna.call("ask", text="x", task=name),
        "upload": anna.call("ask", text="x", task=f"upload:{name}"),
        "wording": anna.call("ask", text="x", task=key, wording=name),
        "edited wording": anna.call("ask", text="x", task=key, wording=f"edited:{name}"),
        "run": anna.call("ask", text="x", ways=[f"run:{name}"]),
        "import": anna.call("ask", text="x", ways=[f"import:{name}"]),
        "example": anna.call("ask", text="x", ways=[f"example:{name}"]),
        "way": anna.call("ask", text="x", ways=[name]),
        "job": anna.call("job_status", job_id=name),
        "comparison": anna.call("export_comparison", job_id=name),
    }

    assert {kind for kind, answer in refused.items() if answer.data is not None} == set()
    for kind, answer in refused.items():
        assert answer.error, kind
        assert "on our side" not in answer.error, kind
        assert SECRETS.search(answer.text) is None, kind


EXPERIMENTS = {
    "a file to train on": {"task": {"train": "/etc/passwd"}},
    "a file to test on": {"task": {"name": "support_intents", "test": "/etc/passwd"}},
    "a wording by path": {"template": "/etc/passwd.yaml"},
    "a wording elsewhere": {"template": "../sst2/plain"},
    "an adapter by path": {"methods": {"imported": {"adapter": "/etc"}}},
    "an adapter by path, renamed": {"methods": {"x": {"method": "imported", "adapter": "."}}},
    "an adapter of the package": {"methods": {"imported": {"adapter": "../examples/lora"}}},
    "a start by path": {
        "methods": {"prompt_tuning": {"init": "prompt", "init_prompt": "/etc"}},
    },
    "a start by path of the package": {
        "methods": {
            "prompt_tuning": {"init": "prompt", "init_prompt": "../examples/soft_prompt/adapter"},
        },
    },
    "a revision": {"revision": "main"},
    "a row with markup": {"methods": {"<b>x</b>": {"method": "zero_shot"}}},
    "a row with a newline": {"methods": {"a\nb": {"method": "zero_shot"}}},
    "an unknown key": {"trust_remote_code": True},
    "code to trust": {"methods": {"lora": {"trust_remote_code": True}}},
    "another device": {"device": "cuda:7"},
    "seeds without end": {"methods": {"few_shot": {"seeds": list(range(4))}}},
    "rows without end": {"methods": {f"r{n}": {"method": "zero_shot"} for n in range(9)}},
}


@pytest.mark.parametrize("what", EXPERIMENTS)
def test_an_experiment_from_outside_names_nothing_of_the_server(anna, what):
    model = anna.component("wb-model")["props"]["value"]
    asked = {"model": model, "precision": "fp32"} | EXPERIMENTS[what]
    asked["methods"] = {"zero_shot": {}} | EXPERIMENTS[what].get("methods", {})

    answer = anna.call("start_evaluation", experiment=asked)

    assert answer.data is None
    assert answer.error
    assert "on our side" not in answer.error
    assert SECRETS.search(answer.text) is None


@pytest.mark.parametrize("name", [*PATHS, "someone/else", "no-such-name"])
def test_a_base_that_cannot_be_had_is_refused_without_a_stack_trace(local, name):
    """On one's own machine any base may be named; what is none is said in words."""
    owner = Visitor(local.address, "")

    answer = owner.click("wb-task", "change", wb_model=name)

    assert answer.status == 200
    assert SECRETS.search(answer.text) is None
    shown = owner.click("wb-ticket", "change", wb_text="x", wb_model=name)
    assert shown.data is None or "That did not work." in shown.html
    assert "on our side" not in shown.text
    owner.close()


INJECTIONS = (
    "{labels.__class__}",
    "{labels.__class__.__mro__[1].__subclasses__}",
    "{0}",
    "{}",
    "{{7*7}}",
    "{% for x in (1,2,3) %}{{7*7}}{% endfor %}",
    "${7*7}",
    "#{7*7}",
    "%(labels)s",
    "{labels!r:>1000000000}",
    "{self.__init__.__globals__}",
)


@pytest.mark.parametrize("text", INJECTIONS)
def test_a_wording_is_text_with_fields_and_nothing_else(anna, text):
    wording = f"version: 1\ninstruction: {text!r}\ninput: 'T {{text}}\\nA:'".replace('"', "'")

    preview = anna.click("wb-editor", "change", wb_is_yaml=True, wb_editor=wording)

    assert str(escape(text)) in preview.html, preview.html[:300]
    assert "49" not in preview.html.partition("wb-own")[0]
    assert len(preview.html) < 10_000


REFUSED = {
    "an object": "version: !!python/object/apply:os.system ['touch /tmp/x']\ninput: '{text}'",
    "a name": "version: !!python/name:os.system\ninput: '{text}'",
    "a module": "version: 1\ninput: !!python/module:os\n",
    "an own tag": "version: !include /etc/passwd\ninput: '{text}'",
    "a reference": "version: 1\ninput: &a '{text}'\ninstruction: *a",
    "nine kilobytes": "version: 1\ninput: '{text} " + "x" * 9000 + "'",
    "two documents": "version: 1\n---\nversion: 2",
    "an unknown key": "version: 1\ninput: '{text}'\nimport: os",
    "reserved characters": "version: 1\ninput: '{text} \ue000'",
    "a binary": "version: 1\ninput: !!binary aGVsbG8=",
    "a date out of the calendar": "version: 2026-99-99\ninput: '{text}'",
    "a number without end": "version: 1" + "0" * 6000 + "\ninput: '{text}'",
}


@pytest.mark.parametrize("what", REFUSED)
def test_a_wording_that_is_more_than_text_is_refused_in_words(anna, what):
    preview = anna.click("wb-editor", "change", wb_is_yaml=True, wb_editor=REFUSED[what])
    kept = anna.click("wb-keep-wording", wb_is_yaml=True, wb_editor=REFUSED[what])

    for answer in (preview, kept):
        assert "That did not work." in answer.html, answer.text
        assert "on our side" not in answer.text
        assert SECRETS.search(answer.text) is None


BOMBS = {
    "lists of lists": "a0: &a0 [x,x,x,x,x,x,x,x,x]\n"
    + "".join(f"a{n}: &a{n} [{','.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 60)),
    "merged mappings": "m0: &m0 {k: 1}\n"
    + "".join(f"m{n}: &m{n} {{<<: [{','.join([f'*m{n - 1}'] * 9)}]}}\n" for n in range(1, 60)),
}


@pytest.mark.parametrize("what", BOMBS)
def test_a_few_lines_do_not_grow_into_billions(anna, what):
    bomb = BOMBS[what][: MOST_CHARS - 100]

    preview = anna.click("wb-editor", "change", wb_is_yaml=True, wb_editor=bomb)

    assert "References are not read here; write the text out." in preview.html


def test_levels_are_counted_before_they_are_read(anna):
    """Thousands of them would take PyYAML many seconds."""
    deep = "[" * (MOST_CHARS - 100)

    preview = anna.click("wb-editor", "change", wb_is_yaml=True, wb_editor=deep)

    assert "wording, line 1: nested too deeply." in preview.html


def test_no_worker_of_the_page_was_started_by_any_of_this(public):
    """Refused jobs leave no process behind."""
    folder = str(public.root)
    commands = [
        " ".join(process.info["cmdline"] or []) for process in psutil.process_iter(["cmdline"])
    ]

    assert [line for line in commands if "service.worker" in line and folder in line] == []
