// Runs once per map; `element`, `props`, `trigger` and `watch` are given by gr.HTML.
const part = name => element.querySelector(`.wb-map-${name}`);
const page = location.href.split(/[?#]/)[0].replace(/\/?$/, "/");
const hasWebGL = Boolean(document.createElement("canvas").getContext("webgl"));
const isTouched = matchMedia("(pointer: coarse)").matches;
const SHAPES = ["triangle-up", "diamond", "triangle-down", "cross", "pentagon", "star"];
// The buttons are named one by one: plotly's own choice has one that sends the chart elsewhere.
const CONFIG = {
  displaylogo: false, displayModeBar: true, plotlyServerURL: "",
  modeBarButtons: [["zoom2d", "pan2d", "zoomIn2d", "zoomOut2d", "resetScale2d"]],
};
const LETTER = 6.4, LINE = 13;  // pixels of a token on the map
let drawn = "", isWired = false;

function library() {
  window.workbenchPlotly ??= new Promise((done, failed) => {
    const script = document.createElement("script");
    script.src = page + SCRIPT_ADDRESS;
    script.onload = () => done(window.Plotly);
    script.onerror = () => { window.workbenchPlotly = null; failed(); };
    document.head.append(script);
  });
  return window.workbenchPlotly;
}

function trace(layer, colour, look) {
  return {
    type: "scatter", name: layer.name, x: layer.x, y: layer.y,
    hovertext: layer.about, hoverinfo: "text", customdata: layer.slot, ...look,
  };
}

function traces(layers, colour) {
  const found = [], paths = layers.filter(layer => layer.role === "path");
  let others = 0;
  for (const layer of layers) {
    if (!layer.x.length || layer.role === "path") continue;
    const hasText = layer.text.some(Boolean);
    if (layer.role === "vocabulary" && !hasText) {
      const marker = {size: 4, color: colour("--wb-muted"), opacity: 0.35};
      found.push(trace(layer, colour, {type: hasWebGL ? "scattergl" : "scatter", mode: "markers", marker}));
    } else if (layer.role === "vocabulary") {
      found.push(trace(layer, colour, {
        mode: "markers+text", text: layer.text, textposition: "top center",
        meta: {labels: layer.text, widths: layer.text.map(label => label.replace(/&\w+;/g, "&").length)},
        textfont: {size: 11, color: colour("--body-text-color")},
        marker: {size: 5, color: colour("--wb-muted")},
      }));
    } else if (layer.role === "prompt") {
      found.push(...pathTrace(paths, colour));
      found.push(trace(layer, colour, {
        mode: "markers+text", text: layer.text, textfont: {size: 11, color: colour("--wb-panel")},
        marker: {size: 20, color: colour("--series-1"), line: {width: 1, color: colour("--wb-panel")}},
      }));
    } else if (layer.role === "control") {
      found.push(trace(layer, colour, {
        mode: "markers", marker: {size: 9, symbol: "circle-open", color: colour("--series-0"), line: {width: 2}},
      }));
    } else {
      const marker = {size: 11, symbol: SHAPES[others % SHAPES.length], color: colour(`--series-${2 + others % 5}`)};
      found.push(trace(layer, colour, {mode: "markers", marker}));
      others += 1;
    }
  }
  return found;
}

function pathTrace(paths, colour) {
  const joined = key => paths.flatMap(path => [...path[key], null]);
  if (!paths.length) return [];
  const layer = {name: "way from the start", x: joined("x"), y: joined("y"), about: joined("about"), slot: joined("slot")};
  return [trace(layer, colour, {mode: "lines", connectgaps: false, opacity: 0.6, line: {width: 1.2, color: colour("--series-1")}})];
}

function layout(colour) {
  const hidden = {visible: false, zeroline: false};
  return {
    autosize: true, uirevision: drawn, hovermode: "closest", dragmode: isTouched ? false : "pan",
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", xaxis: hidden, yaxis: hidden,
    margin: {l: 8, r: 8, t: 34, b: 8},
    font: {family: getComputedStyle(element).fontFamily, size: 12, color: colour("--body-text-color")},
    hoverlabel: {bgcolor: colour("--wb-panel"), bordercolor: colour("--wb-line"), font: {size: 13, color: colour("--body-text-color")}, align: "left"},
    legend: {orientation: "h", x: 0, y: 0, yanchor: "top", font: {size: 12}},
    modebar: {bgcolor: "rgba(0,0,0,0)", color: colour("--wb-muted"), activecolor: colour("--wb-accent"), orientation: "h"},
  };
}

// Write as many tokens as have room: those of the vectors first, and more as one comes nearer.
function thinLabels() {
  const plot = part("plot"), {xaxis, yaxis} = plot._fullLayout;
  const number = plot.data.findIndex(one => one.meta?.labels);
  if (number < 0) return;
  const {x, y, meta} = plot.data[number], taken = [];
  const text = meta.labels.map((label, i) => {
    const middle = xaxis.l2p(x[i]), bottom = yaxis.l2p(y[i]) - 4, half = (LETTER * meta.widths[i]) / 2;
    const box = [middle - half, middle + half, bottom - LINE, bottom];
    if (taken.some(one => box[0] < one[1] && one[0] < box[1] && box[2] < one[3] && one[2] < box[3])) return "";
    taken.push(box);
    return label;
  });
  if (text.join("\n") !== plot.data[number].text.join("\n")) window.Plotly.restyle(plot, {text: [text]}, [number]);
}

async function draw() {
  if (!props.value || !element.isConnected) return;
  drawn = props.value;
  const map = JSON.parse(drawn), style = getComputedStyle(element);
  const colour = name => style.getPropertyValue(name).trim();
  part("title").textContent = map.title;
  part("note").textContent = map.note;
  if (!window.Plotly) part("state").textContent = "Drawing the map …";
  try {
    await library();
  } catch {
    part("state").textContent = "The map's script could not be loaded. Reload the page; the tables below say the same.";
    return;
  }
  part("state").textContent = "";
  if (drawn !== props.value) return;  // another one came meanwhile, and draws itself
  await window.Plotly.react(part("plot"), traces(map.layers, colour), layout(colour), CONFIG);
  thinLabels();
  if (isWired) return;
  isWired = true;
  part("plot").on("plotly_click", event => {
    const slot = event.points[0]?.customdata;
    if (Number.isInteger(slot)) trigger("select", {slot});
  });
  part("plot").on("plotly_relayout", thinLabels);
  new ResizeObserver(() => { if (part("plot")?.offsetWidth) window.Plotly.Plots.resize(part("plot")); }).observe(element);
}

watch("value", draw);
let isDark = document.body.classList.contains("dark");
const themes = new MutationObserver(() => {
  if (!element.isConnected) { themes.disconnect(); return; }
  if (document.body.classList.contains("dark") === isDark) return;
  isDark = !isDark;
  draw();
});
themes.observe(document.body, {attributes: true, attributeFilter: ["class"]});
draw();
