// Elements and words. Text from runs reaches the page as text nodes only, so that none of it is ever read as HTML.

const format = tunePlots.format;

// h makes an element. attributes may hold class, text, on (a map of listeners) and any other attribute; false and null
// leave one out. Children are elements or text.
export function h(tag, attributes = {}, ...children) {
  const el = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name === "class") el.className = value;
    else if (name === "text") el.textContent = value;
    else if (name === "on") for (const [type, f] of Object.entries(value)) el.addEventListener(type, f);
    else el.setAttribute(name, value === true ? "" : value);
  }
  el.append(...children.flat().filter((c) => c !== null && c !== undefined && c !== false));
  return el;
}

// setText changes text only where it differs: what did not change is not selected or read aloud anew.
export function setText(el, text) {
  if (el.textContent !== text) el.textContent = text;
}

export const statusOf = (run) => (run.stale ? "interrupted?" : run.status);
export const alive = (run) => !run.stale && (run.status === "running" || run.status === "queued");

export function chip(run) {
  const status = statusOf(run);
  return h("span", { class: "chip", "data-status": status.replace("?", ""), text: status });
}

export const loss = (v) => (tunePlots.finite(v) ? format.loss(v) : "–");
export const bytes = (v) => (v > 0 ? format.bytes(v) : "–");
export const rate = (v) => (tunePlots.finite(v) ? format.integer(v) : "–");
export const duration = (v) => (tunePlots.finite(v) ? format.duration(v) : "–");

// Whole seconds: a clock that ticks needs no fractions.
export const clock = (v) => (tunePlots.finite(v) ? format.duration(Math.floor(v)) : "–");

export function change(first, last) {
  if (!tunePlots.finite(first) && !tunePlots.finite(last)) return "–";
  return `${loss(first)} → ${loss(last)}`;
}

const seconds = (from, to) => (Date.parse(to) - Date.parse(from)) / 1000;

// wall is how long a run took, or has taken so far.
export function wall(run) {
  if (tunePlots.finite(run.wall_seconds)) return run.wall_seconds;
  if (!run.started_at) return NaN;
  if (!alive(run)) return Math.max(0, seconds(run.started_at, run.last_seen_at || run.started_at));
  return Math.max(0, (Date.now() - Date.parse(run.started_at)) / 1000);
}

export function ago(at) {
  if (!at) return "–";
  const s = (Date.now() - Date.parse(at)) / 1000;
  if (s < 5) return "now";
  if (s < 60) return `${Math.floor(s)} s ago`;
  if (s < 3600) return `${Math.floor(s / 60)} min ago`;
  if (s < 86400) return `${Math.floor(s / 3600)} h ago`;
  if (s < 86400 * 14) return `${Math.floor(s / 86400)} d ago`;
  return at.slice(0, 10);
}

export const when = (at) => (at ? new Date(at).toLocaleString(undefined, { dateStyle: "medium", timeStyle: "medium" }) : "");

export const stepsText = (run) =>
  run.total_steps > 0 ? `${format.integer(run.steps_done)}/${format.integer(run.total_steps)}` : format.integer(run.steps_done);

// progress is a bar for a run that is at work.
export function progress(run) {
  if (!alive(run) || !(run.total_steps > 0)) return null;
  return h("progress", { max: run.total_steps, value: run.steps_done, "aria-label": `steps of ${run.name}` });
}

export const runAddress = (id) => `#/run/${encodeURIComponent(id)}`;

// announce says something to those who hear the page, when they are not in the middle of something else.
export function announce(text) { document.getElementById("announce").textContent = text; }

// table makes a table that scrolls by itself where the page is too narrow for it. A header that begins with ">" stands
// above numbers.
export function table(label, headers, rows) {
  return h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": label },
    h("table", {},
      h("thead", {}, h("tr", {}, headers.map((text) => h("th", { scope: "col", class: text.startsWith(">") ? "number" : null }, text.replace(/^>/, ""))))),
      h("tbody", {}, rows)));
}
