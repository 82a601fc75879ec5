() => {
  // Says what fields and entries of lists are for, lets the page's own buttons open tabs, and arrow
  // keys go through choices: Gradio gives each choice a name of its own, so browsers see no group.
  if (document.getElementById("wb-glosses")) return;
  const { fields, ways } = GLOSSES;
  const store = document.createElement("div"); // what descriptions point to; nobody sees it
  store.id = "wb-glosses";
  store.hidden = true;
  document.body.append(store);
  let count = 0;

  const kept = (id, text) => {
    let part = document.getElementById(id);
    if (!part) {
      part = document.createElement("span");
      part.id = id;
      store.append(part);
    }
    if (part.textContent !== text) part.textContent = text;
    return id;
  };
  const put = (part, name, value) => {
    if (value && part.getAttribute(name) !== value) part.setAttribute(name, value);
    if (!value && part.hasAttribute(name)) part.removeAttribute(name);
  };
  const wayOf = text => {
    // A run's title begins with the name that somebody gave it: "monday · lora · seed 0".
    const names = text.split(" · ").flatMap(part => {
      const name = part.trim().split(/[\s:]/)[0];
      return [name, name.replace(/^example_/, "")];
    });
    const known = names.filter(name => Object.hasOwn(ways, name));
    return known.length ? ways[known[text.includes(" · ") ? known.length - 1 : 0]] : "";
  };

  const describe = block => {
    const ids = [];
    const info = block.querySelector(".info-text");
    if (info) ids.push(info.id ||= `wb-info-${++count}`);
    if (fields[block.id]) {
      put(block, "title", fields[block.id]);
      ids.push(kept(`wb-about-${block.id}`, fields[block.id]));
    }
    const chosen = [...block.querySelectorAll(".token")].map(token => {
      const gloss = wayOf(token.textContent);
      put(token, "title", gloss);
      return gloss && `${token.textContent.trim()}: ${gloss}`;
    });
    if (block.id && chosen.some(Boolean)) {
      ids.push(kept(`wb-ways-of-${block.id}`, chosen.filter(Boolean).join(" ")));
    }
    for (const one of block.querySelectorAll("[role=option]")) {
      put(one, "title", wayOf(one.textContent.replace("✓", "")));
    }
    const parts = block.matches("fieldset") ? [block] : block.querySelectorAll("input, textarea");
    const title = block.querySelector("[data-testid=block-info]");
    if (block.matches("fieldset") && title) {
      put(block, "aria-labelledby", (title.id ||= `wb-title-${++count}`)); // Gradio gives it no name
    }
    for (const part of parts) if (ids.length) put(part, "aria-describedby", ids.join(" "));
  };

  let isDue = false;
  const pass = () => {
    isDue = false;
    document.querySelectorAll(".gradio-container .block").forEach(block => {
      if (!block.querySelector(".block")) describe(block);
    });
  };
  const soon = () => {
    if (!isDue) setTimeout(pass, 200);
    isDue = true;
  };
  new MutationObserver(soon).observe(document.body, { childList: true, subtree: true });
  soon();

  document.addEventListener("click", event => {
    const name = event.target.closest?.("[data-tab]")?.dataset.tab;
    if (!name) return;
    const tabs = [...document.querySelectorAll("[role=tab], .overflow-dropdown button")];
    const tab = tabs.find(one => one.textContent.trim() === name);
    tab?.click();
    tab?.closest(".tab-wrapper")?.scrollIntoView({ block: "nearest" });
  });

  const steps = { ArrowDown: 1, ArrowRight: 1, ArrowUp: -1, ArrowLeft: -1 };
  document.addEventListener("keydown", event => {
    const step = steps[event.key];
    const part = event.target;
    if (!step || part.type !== "radio" || event.altKey || event.ctrlKey || event.metaKey) return;
    const all = [...part.closest("fieldset").querySelectorAll("input[type=radio]:enabled")];
    const next = all[(all.indexOf(part) + step + all.length) % all.length];
    event.preventDefault();
    next.focus();
    next.click();
  });
}
