// Draws the last hour over each table of the page, or as long as ?minutes= says, and says what the alerts mean.
const SPAN = 60 * (Number(new URLSearchParams(location.search).get("minutes")) || 60);
const STEP = SPAN / 240, WIDTH = 600, HEIGHT = 150;
const COLORS = ["#3b7dd8", "#e08a00", "#2a9d5c", "#d0455e", "#8a5cd0", "#009fb0", "#a0793d", "#777"];
const UNITS = {
  percentunit: (value) => `${(value * 100).toFixed(1)} %`,
  s: (value) => (value < 1 ? `${(value * 1000).toFixed(0)} ms` : `${value.toFixed(2)} s`),
  reqps: (value) => `${value.toFixed(2)}/s`,
  short: (value) => String(+value.toFixed(2)),
};
const end = Math.floor(Date.now() / 1000);

async function ask(path, values) {
  const answer = await fetch(`../api/v1/${path}?${new URLSearchParams(values)}`);
  return (await answer.json()).data;
}
const history = (query) => ask("query_range", { query, start: end - SPAN, end, step: STEP }).then((data) => data.result);

function element(name, attributes, text) {
  const made = document.createElementNS(name === "svg" || name === "polyline" || name === "line" ? "http://www.w3.org/2000/svg" : "http://www.w3.org/1999/xhtml", name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.textContent = text ?? "";
  return made;
}
const across = (time) => ((time - end + SPAN) / SPAN) * WIDTH;

function draw(section, lines, marks) {
  const numbers = lines.flatMap((line) => line.values.map(([, value]) => +value)).filter(Number.isFinite);
  const top = Math.max(...numbers, 0) || 1;
  const svg = element("svg", { viewBox: `0 -5 ${WIDTH} ${HEIGHT + 6}`, preserveAspectRatio: "none", height: HEIGHT, role: "img" });
  for (const time of marks) svg.append(element("line", { class: "mark", x1: across(time), x2: across(time), y1: 0, y2: HEIGHT }));
  const table = element("table", {});
  lines.forEach(({ name, values }, index) => {
    const stroke = COLORS[index % COLORS.length];
    const points = values.filter(([, value]) => Number.isFinite(+value));
    svg.append(element("polyline", { stroke, points: points.map(([time, value]) => `${across(time)},${HEIGHT * (1 - value / top)}`).join(" ") }));
    const row = element("tr", {});
    row.append(element("td", { style: `color: ${stroke}` }, name));
    row.append(element("td", {}, points.length ? UNITS[section.dataset.unit](+points.at(-1)[1]) : "-"));
    table.append(row);
  });
  section.querySelector("table").replaceWith(svg, table);
}

async function panel(section, marks) {
  const lines = [];
  for (const { expr, legendFormat } of JSON.parse(section.dataset.queries))
    for (const { metric, values } of await history(expr))
      lines.push({ name: legendFormat.replace(/\{(\w+)\}/g, (_, label) => metric[label] ?? ""), values });
  if (lines.length) draw(section, lines, marks);
}

async function alerts() {
  const box = document.getElementById("alerts");
  const { alerts: found } = await ask("alerts", {});
  const { activeTargets } = await ask("targets", { state: "active" });
  const told = found.flatMap(({ labels, state, annotations }) => [
    element("p", { class: state }, `${labels.alertname} is ${state}: ${annotations.meaning}`), element("p", {}, annotations.first_step)]);
  for (const target of activeTargets.filter(({ health }) => health === "down"))
    told.push(element("p", { class: "firing" }, `${target.labels.job} (${target.labels.instance}) does not answer Prometheus: ${target.lastError}`));
  if (told.length) box.replaceChildren(...told);
}

const main = document.querySelector("main");
alerts();
history(main.dataset.marks).then((found) => {
  const marks = found.map(({ values }) => values[0][0]);
  for (const section of main.children) panel(section, marks);
});
