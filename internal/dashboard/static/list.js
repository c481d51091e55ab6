// The list of runs.

import { h, setText, chip, statusOf, alive, loss, bytes, rate, duration, clock, change, wall, ago, when, stepsText, progress,
  runAddress, announce } from "./dom.js";
import { listen, showState } from "./live.js";

// A column has a title, the value to sort by, and what its cell holds. right aligns numbers; down sorts high to low first.
const columns = [
  { key: "status", title: "status", value: statusOf, cell: (r) => chip(r) },
  { key: "name", title: "run", value: (r) => `${r.name} ${r.id}`, cell: nameCell },
  { key: "steps", title: "steps", right: true, down: true, value: (r) => r.steps_done, cell: (r) => [stepsText(r), progress(r)] },
  { key: "loss", title: "loss", right: true, value: (r) => r.last_loss, cell: (r) => lossCell(r.first_loss, r.last_loss) },
  { key: "validation", title: "validation", right: true, value: (r) => r.last_validation_loss,
    cell: (r) => lossCell(r.first_validation_loss, r.last_validation_loss) },
  { key: "wall", title: "wall time", right: true, down: true, value: wall, cell: (r) => (alive(r) ? clock(wall(r)) : duration(wall(r))) },
  { key: "memory", title: "memory", right: true, down: true, value: (r) => r.peak_memory_bytes, cell: (r) => bytes(r.peak_memory_bytes) },
  { key: "speed", title: "tok/s", right: true, down: true, value: (r) => r.tokens_per_second, cell: (r) => rate(r.tokens_per_second) },
  { key: "when", title: "when", right: true, down: true, value: created,
    cell: (r) => h("time", { datetime: r.created_at, title: when(r.created_at), text: ago(r.created_at) }) },
];

// created is a number: as text, times with fewer digits of a second would be out of order.
function created(r) { return Date.parse(r.created_at); }

function nameCell(r) {
  return [
    h("a", { href: runAddress(r.id), class: "name", "data-run": r.id }, r.name),
    (r.tags || []).flatMap((t) => [" ", h("span", { class: "tag" }, t)]),
    h("span", { class: "id" }, h("span", { class: "mono" }, r.id), settingsOf(r)),
    r.note ? h("span", { class: "note", title: r.note }, r.note) : null,
  ];
}

// settingsOf are what tells runs of one name apart most often.
function settingsOf(r) {
  const rank = r.lora_rank > 0 ? `rank ${r.lora_rank}` : r.method;
  return r.learning_rate > 0 ? ` · ${rank} · lr ${tunePlots.format.short(r.learning_rate)}` : ` · ${rank}`;
}

// lossCell shows where a loss came from and, stronger, what it has come to.
function lossCell(first, last) {
  if (change(first, last) === "–") return "–";
  return h("span", {}, h("span", { class: "muted" }, `${loss(first)} → `), h("span", { class: "result" }, loss(last)));
}

// What a reader has chosen outlives the visit of a run.
const state = { runs: new Map(), filter: "", sort: "when", down: true, ticked: new Set(), last: "" };

export function showList(main) {
  main.replaceChildren();
  const rows = new Map(); // by id: { tr, text, tick }
  let told = null; // the statuses that were told to those who hear the page

  const filter = h("input", { type: "search", id: "filter", placeholder: "filter: name, status, tag", "aria-label": "filter the runs",
    autocomplete: "off", spellcheck: "false", value: state.filter,
    on: { input: () => { state.filter = filter.value; render(); } } });
  const count = h("span", { class: "muted", id: "count" });
  const compare = h("button", { type: "button", class: "primary", on: { click: () => compareTicked() } });
  const clear = h("button", { type: "button", on: { click: () => { state.ticked.clear(); render(); } } }, "clear");
  const heads = columns.map((c) => h("th", { scope: "col", class: c.right ? "number" : null },
    h("button", { type: "button", class: "sort", on: { click: () => sortBy(c) } }, c.title)));
  const body = h("tbody", { role: "rowgroup" });
  const empty = h("p", { class: "empty", hidden: true });
  main.append(
    h("div", { class: "tools" }, h("h1", {}, "Runs"), count, h("span", { class: "grow" }), filter, compare, clear),
    h("div", { class: "scroll" },
      h("table", { class: "runs", role: "table" },
        h("caption", { class: "unseen" }, "all runs"),
        h("thead", { role: "rowgroup" }, h("tr", { role: "row" }, h("th", { scope: "col", class: "tick" }, h("span", { class: "unseen" }, "compare")), heads)),
        body)),
    empty);

  function sortBy(c) {
    state.down = state.sort === c.key ? !state.down : Boolean(c.down);
    state.sort = c.key;
    render();
  }

  function compareTicked() {
    if (state.ticked.size < 2) return announce("tick two runs or more to compare them");
    location.hash = `#/compare/${[...state.ticked].map(encodeURIComponent).join(",")}`;
  }

  function tick(id, on) {
    if (on) state.ticked.add(id);
    else state.ticked.delete(id);
    showTicked();
  }

  function showTicked() {
    const n = state.ticked.size;
    compare.hidden = clear.hidden = n === 0;
    compare.disabled = n < 2;
    compare.title = n < 2 ? "tick one more run" : "";
    setText(compare, n < 2 ? "tick one more to compare" : `compare ${n} runs`);
    for (const [id, row] of rows) {
      row.tick.checked = state.ticked.has(id);
      row.tr.classList.toggle("ticked", row.tick.checked);
    }
  }

  function newRow(id) {
    const box = h("input", { type: "checkbox", on: { change: () => tick(id, box.checked) } });
    const tr = h("tr", { role: "row", on: { click: (e) => {
      if (!e.target.closest("a, input, label") && String(getSelection()) === "") location.hash = runAddress(id);
    } } }, h("td", { class: "tick", role: "cell" }, h("label", {}, box)), columns.map((c) =>
      h("td", { role: "cell", class: c.right ? `number ${c.key}` : c.key, "data-title": c.title })));
    return { tr, tick: box, cells: [...tr.children].slice(1), texts: [] };
  }

  // fill writes cells that have changed; a link that has the focus keeps it.
  function fill(row, run) {
    row.tick.setAttribute("aria-label", `compare ${run.name}, ${run.id}`);
    columns.forEach((c, i) => {
      const fresh = [].concat(c.cell(run)).flat().filter(Boolean);
      const text = fresh.map((x) => (typeof x === "string" ? x : x.outerHTML)).join("");
      if (row.texts[i] === text) return;
      row.texts[i] = text;
      const focused = row.cells[i].contains(document.activeElement);
      row.cells[i].replaceChildren(...fresh);
      if (focused) row.cells[i].querySelector("a")?.focus();
    });
  }

  function render() {
    const shown = [...state.runs.values()].filter(matcher(state.filter));
    sort(shown, columns.find((c) => c.key === state.sort), state.down);
    columns.forEach((c, i) => {
      const mine = c.key === state.sort;
      if (mine) heads[i].setAttribute("aria-sort", state.down ? "descending" : "ascending");
      else heads[i].removeAttribute("aria-sort");
    });
    const keep = new Set(shown.map((r) => r.id));
    for (const [id, row] of rows) if (!keep.has(id)) { row.tr.remove(); rows.delete(id); }
    let before = null;
    for (const run of shown) {
      let row = rows.get(run.id);
      if (!row) rows.set(run.id, (row = newRow(run.id)));
      fill(row, run);
      const place = before ? before.nextSibling : body.firstChild;
      if (row.tr !== place) body.insertBefore(row.tr, place);
      before = row.tr;
    }
    setText(count, shown.length === state.runs.size ? `${shown.length}` : `${shown.length} of ${state.runs.size}`);
    empty.hidden = shown.length > 0;
    setText(empty, state.runs.size > 0 ? "no run fits the filter" : "no runs yet: tune run configs/bluey.yaml makes the first, and it shows up here");
    showTicked();
  }

  function tellStatuses() {
    const now = new Map([...state.runs.values()].map((r) => [r.id, statusOf(r)]));
    if (told) for (const [id, status] of now) if (told.get(id) !== status) announce(`run ${state.runs.get(id).name}: ${status}`);
    told = now;
  }

  const stream = listen([], {
    runs(m) {
      if (m.all) state.runs.clear();
      for (const id of m.removed || []) { state.runs.delete(id); state.ticked.delete(id); }
      for (const run of m.runs) state.runs.set(run.id, run);
      if (m.all) for (const id of state.ticked) if (!state.runs.has(id)) state.ticked.delete(id);
      tellStatuses();
      render();
      if (state.last) { links().find((a) => a.dataset.run === state.last)?.focus(); state.last = ""; }
    },
  }, () => showState("live"));
  if (state.runs.size > 0) render();
  // What says how long ago or how long so far changes by itself.
  const timer = setInterval(() => {
    for (const [id, row] of rows) fill(row, state.runs.get(id));
  }, 1000);

  const links = () => [...body.querySelectorAll("a.name")];
  const current = () => body.contains(document.activeElement) ? document.activeElement.closest("tr") : null;
  function move(by) {
    const all = links(), tr = current();
    const at = tr ? all.findIndex((a) => tr.contains(a)) : -1;
    const next = all[Math.min(all.length - 1, Math.max(0, at < 0 ? 0 : at + by))];
    if (next) { next.focus(); next.scrollIntoView({ block: "nearest" }); }
  }

  return {
    close() {
      const tr = current();
      state.last = tr ? tr.querySelector("a.name").dataset.run : "";
      clearInterval(timer);
      stream.close();
    },
    key(e) {
      const tr = current();
      switch (e.key) {
        case "j": case "ArrowDown": move(1); break;
        case "k": case "ArrowUp": move(-1); break;
        case "/": filter.focus(); filter.select(); break;
        case "c": compareTicked(); break;
        case "Escape":
          if (document.activeElement === filter && filter.value) { filter.value = state.filter = ""; render(); }
          else document.activeElement.blur();
          break;
        case "Enter":
          if (document.activeElement !== filter) return false;
          move(0);
          break;
        case " ":
          if (!tr || document.activeElement.matches("input")) return false;
          { const id = tr.querySelector("a.name").dataset.run; tick(id, !state.ticked.has(id)); }
          break;
        default: return false;
      }
      return true;
    },
  };
}

// matcher tells runs that have every word of a filter in their name, id, status, tags or note.
function matcher(text) {
  const words = text.toLowerCase().split(/\s+/).filter(Boolean);
  return (r) => words.every((word) => {
    const [place, value] = word.includes(":") ? word.split(/:(.*)/) : ["", word];
    const tags = (r.tags || []).map((t) => t.toLowerCase());
    switch (place) {
      case "status": return statusOf(r).startsWith(value);
      case "tag": return tags.some((t) => t.startsWith(value));
      case "name": return r.name.toLowerCase().includes(value);
    }
    return [r.name, r.id, statusOf(r), r.note || "", ...tags].some((x) => x.toLowerCase().includes(word));
  });
}

// sort puts what has no value last, whichever way.
function sort(runs, column, down) {
  const missing = (v) => v === null || v === undefined || Number.isNaN(v) || v === "";
  runs.sort((a, b) => {
    const x = column.value(a), y = column.value(b);
    if (missing(x) || missing(y)) return missing(x) - missing(y);
    const order = typeof x === "string" ? x.localeCompare(y) : x - y;
    return (down ? -order : order) || created(b) - created(a) || b.id.localeCompare(a.id);
  });
}
