"""The page's address says what is shown, so that reload, Back and a link show the same again.

`?tab=inspect&task=sst2&what=run:...&reading=nearest`: the setting, the tab, and of that tab what is
opened. What is as usual is left out. The browser writes the address; what is asked of it comes to
`on_address` when the page opens, and on Back and Forward. A link is as hostile as any other text:
it chooses among what the visitor may see, no more.
"""

import json
import secrets
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any
from urllib.parse import parse_qs

import gradio as gr

from workbench.errors import ConfigError, WorkbenchError
from workbench.service.workspace import new_token
from workbench.ui.context import AppContext, problem
from workbench.ui.wiring import AT_ONCE

Asked = Mapping[str, Sequence[str]]
"""What an address asks for: values by name."""
Show = Callable[[str, Sequence[str], Asked], dict[str, Any]]
"""Returns a component's `gr.update` for a visitor's token, its values and all that is asked for.

For no values it is that of what is usual.
"""
Known = Callable[[str], Collection[str]]
"""Returns what the visitor of a token may choose."""

_MOST_CHARS, _MOST_VALUES, _MOST_ADDRESS, _MOST_FIELDS = 200, 6, 4000, 100

# Nothing is written over an address before the page shows what it asks for. Where somebody goes
# back twice at once, that is what the second address asks for: the turn says which one is shown.
_NOTES = "const at = window.workbenchAddress ??= {tab: null, isRead: false, turn: 0};"
_WRITE = """(shown, ...values) => {
  NOTES
  SET
  if (!at.isRead) return;
  const tab = TABS.includes(at.tab) ? at.tab : TABS[0];
  const parts = PARTS, asked = new URLSearchParams(location.search);
  const isOwn = parts.some(([name, , where], n) => name === "run" && where === tab && values[n]);
  if (isOwn) asked.delete("key");
  const isLink = name => name === "run" && asked.has("key");  // to somebody else's
  for (const [name] of parts) if (!isLink(name)) asked.delete(name);
  asked.delete("tab");
  if (tab !== TABS[0]) asked.set("tab", tab);
  parts.forEach(([name, usual, where], number) => {
    if (isLink(name) || (where !== null && where !== tab)) return;
    for (const one of [values[number]].flat())
      if (one !== null && one !== undefined && one !== "" && String(one) !== usual)
        asked.append(name, one);
  });
  const search = String(asked) && "?" + asked;
  if (search !== location.search) history.HOW({}, "", search || location.pathname);
  return shown;
}"""
_READ = """
  if (Number.parseInt(shown) !== at.turn) return;
  at.tab = new URLSearchParams(location.search).get("tab");
  at.isRead = true;"""
_SHOWN = """
  const title = document.querySelector("#wb-tabs [role=tab][aria-selected=true]")?.textContent;
  const open = title?.trim().toLowerCase();
  at.tab = TABS.includes(open) ? open : NAME;"""  # such events may come late, and out of order
_LISTEN = """
const read = () => {
  const at = window.workbenchAddress ??= {tab: null, isRead: false, turn: 0};
  at.isRead = false;
  at.turn += 1;
  trigger("select", {search: location.search, turn: at.turn});
};
window.addEventListener("popstate", read);
"""


@dataclass(frozen=True)
class Part:
    """Something of the page that its address says.

    Attributes:
        name: Of the parameter.
        component: Whose value it is.
        usual: The value that the address leaves out.
        tab: Where it is shown; None: in all tabs.
        show: Makes the component's update.
    """

    name: str
    component: Any
    usual: str
    tab: str | None
    show: Show


@dataclass
class PageAddress:
    """Collects what the address says while the page is laid out, and is wired at its end.

    Attributes:
        token: The visitor's.
        known: Changes whenever the page shows what an address asked for.
        note: Says what an address asks for that cannot be had.
        parts: What the address says.
    """

    token: gr.BrowserState
    known: gr.Textbox
    note: gr.HTML
    parts: list[Part] = field(default_factory=list)

    def keep(
        self,
        name: str,
        component: Any,
        *,
        tab: str | None = None,
        usual: str = "",
        show: Show | None = None,
        known: Known | None = None,
    ) -> None:
        """Let the address say a component's value.

        Args:
            name: Of the parameter.
            component: Whose value it is.
            tab: Where it is shown; None: in all tabs.
            usual: The value that the address leaves out.
            show: Makes the component's update; None: that of a list that is filled later, which
                drops what is not in it.
            known: Returns what a visitor may choose in such a list: of anything else it is said
                that it is not there.
        """
        show = show or partial(_later, name, component, known)
        self.parts.append(Part(name, component, usual, tab, show))

    def wire(
        self,
        context: AppContext,
        app: gr.Blocks,
        tabs: gr.Tabs,
        each: Mapping[str, gr.Tab],
    ) -> None:
        """Let the address follow the page, and the page the address.

        Args:
            context: What the tabs share.
            app: The page.
            tabs: Its tabs.
            each: They, by id; the first is shown by itself.
        """
        asks = gr.HTML(visible="hidden", js_on_load=_LISTEN, elem_id="wb-address")
        components = [part.component for part in self.parts]
        sign = gr.Textbox(visible=False)
        outputs = [self.token, sign, self.note, tabs, *components]
        read = partial(on_address, context, self.parts, list(each))

        def begun(token: object, request: gr.Request) -> list[Any]:
            return read(token, asked=asked_of(str(request.query_params)), turn=0)

        def went(token: object, event: gr.EventData) -> list[Any]:
            asked = asked_of(getattr(event, "search", ""))
            return read(token, asked=asked, turn=getattr(event, "turn", None))

        values = [self.known, *components]
        script = self._script(each, "replace", noted=_READ)
        for event, function in ((app.load, begun), (asks.select, went)):
            shown = event(function, self.token, outputs, trigger_mode="multiple", **AT_ONCE)
            # What follows the page looks when all of it is shown: the browser changes one component
            # after the other, and whoever looked meanwhile saw half of it.
            shown.then(None, [sign, *components], self.known, js=script, **AT_ONCE)
        for name, tab in each.items():
            noted = _SHOWN.replace("NAME", json.dumps(name))
            script = self._script(each, "push", noted=noted)
            tab.select(None, values, None, js=script, **AT_ONCE)
        for how, events in (
            ("push", [one.input for one in components]),
            ("replace", [one.change for one in components]),
        ):
            gr.on(events, None, values, None, js=self._script(each, how), **AT_ONCE)

    def _script(self, tabs: Iterable[str], how: str, *, noted: str = "") -> str:
        """Return the script that writes the address, after it noted where the page is."""
        parts = json.dumps([[part.name, part.usual, part.tab] for part in self.parts])
        script = _WRITE.replace("NOTES", _NOTES).replace("SET", noted)
        script = script.replace("HOW", f"{how}State").replace("TABS", json.dumps([*tabs]))
        return script.replace("PARTS", parts)


def asked_of(search: object) -> Asked:
    """Return what the query of an address asks for, bounded; of anything else, nothing."""
    if not isinstance(search, str) or len(search) > _MOST_ADDRESS:
        return {}
    try:
        found = parse_qs(search.removeprefix("?"), max_num_fields=_MOST_FIELDS)
    except ValueError:  # more of them
        return {}
    return {
        name: [value for value in values if len(value) <= _MOST_CHARS][:_MOST_VALUES]
        for name, values in found.items()
    }


def on_address(
    context: AppContext,
    parts: Sequence[Part],
    tabs: Sequence[str],
    token: object,
    *,
    asked: Asked,
    turn: object,
) -> list[Any]:
    """Return token, turn with a sign of change, what cannot be had, tab, and every part's update.

    Whoever has no token, or none of ours, gets a new one. When the page opens it shows what is
    usual already, and somebody may have chosen something meanwhile: what the address does not ask
    for is left as it is.
    """
    known = known_visitor(context, token)
    if "key" in asked:  # a run of somebody else, which is shown above everything
        asked = {name: values for name, values in asked.items() if name != "run"}
    tab = next(iter(asked.get("tab", ())), "runs" if _is_own_run(context, asked) else tabs[0])
    notes = []
    if tab not in tabs:
        notes.append(ConfigError(f"address: there is no tab {tab!r}. Choose one of those shown."))
        tab = tabs[0]
    shown = []
    for part in parts:
        if part.tab not in (None, tab):
            shown.append(gr.skip())
            continue
        values = asked.get(part.name, ())
        try:
            update = part.show(known, values, asked)
        except WorkbenchError as error:
            notes.append(ConfigError(f"address: {error}"))
            update = part.show(known, (), asked)
        shown.append(update if values or turn else _without_value(update))
    note = "".join(problem(error) for error in notes)
    sign = f"{turn if isinstance(turn, int) else 0} {secrets.token_hex(8)}"
    tabs_shown = gr.Tabs(selected=tab) if turn or tab != tabs[0] else gr.skip()
    return [known, sign, note, tabs_shown, *shown]


def _without_value(update: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in update.items() if key != "value"}


def known_visitor(context: AppContext, token: object) -> str:
    """Return a visitor's token: a new one for somebody without, or with one that is not ours."""
    if isinstance(token, str) and token:
        with suppress(WorkbenchError):
            context.workspace(token)
            return token
    return new_token()


def one_of(component: Any, usual: Any, what: str) -> Show:
    """Return what makes the update of a component whose choices never change.

    Args:
        component: A list or a choice.
        usual: What is chosen where the address says nothing.
        what: What it chooses, for messages.
    """
    keys = {str(key): key for _, key in component.choices}

    def show(_token: str, values: Sequence[str], _asked: Asked) -> dict[str, Any]:
        if not values:
            return gr.update(value=usual)
        if values[0] not in keys:
            raise ConfigError(f"{what}: {values[0]!r} is not to be had here. Choose from the list.")
        return gr.update(value=keys[values[0]])

    return show


def _later(
    name: str,
    component: Any,
    known: Known | None,
    token: str,
    values: Sequence[str],
    _asked: Asked,
) -> dict[str, Any]:
    """Return the update of a list whose choices come later, and then without what is not there.

    Raises:
        ConfigError: the visitor has nothing of that name.
    """
    keys = values if known is None or not values else known(token)
    missing = next((one for one in values if one not in keys), None)
    if missing is not None:
        raise ConfigError(
            f"{name}: {missing!r} is not among yours; it may be somebody else's or deleted. "
            "Choose one from the list."
        )
    choices = [(one, one) for one in values]
    value = list(values) if component.multiselect else next(iter(values), None)
    return gr.update(choices=choices, value=value)


def _is_own_run(context: AppContext, asked: Asked) -> bool:
    """Return whether an address of one's own page names a run and no tab."""
    return "run" in asked and not context.profile.is_public
