// Several runs beside each other.

import { h, chip, statusOf, alive, loss, bytes, rate, duration, wall, runAddress, stepsText, table, announce } from "./dom.js";
import { listen, showState } from "./live.js";
import { Curves, Zoom } from "./curves.js";
import { drawRuns } from "./drawings.js";

export function showCompare(main, ids, setTitle) {
  const runs = ids.map((id) => {
    const curves = new Curves();
    return { id, curves, run: null, settings: [], samples: new Map(), zoom: new Zoom(id, curves, () => draw()), label: () => labelOf(id) };
  });
  const byID = new Map(runs.map((r) => [r.id, r]));
  setTitle(`${ids.length} runs`);

  // Runs of one name are told apart by the last letters of their ids.
  function labelOf(id) {
    const run = byID.get(id).run;
    if (!run) return id;
    const same = runs.filter((r) => r.run && r.run.name === run.name).length > 1;
    return same ? `${run.name} ${id.slice(-3)}` : run.name;
  }

  const plots = h("section", { class: "plots", "aria-label": "plots" });
  const results = h("section", {}), differences = h("section", {}), samples = h("section", {});
  main.replaceChildren(h("div", { class: "tools" }, h("h1", {}, "Compare")), results, plots, differences, samples);

  let drawn = null, waiting = new Set(ids), told = new Map();
  function draw() {
    if (waiting.size > 0) return;
    if (!drawn) drawn = drawAll(plots, runs.filter((r) => r.run));
    drawn.forEach((p) => p.draw());
  }

  function take(m) {
    const r = byID.get(m.run.id);
    if (!r) return;
    r.curves.take(m);
    r.run = m.run;
    if (m.settings) r.settings = m.settings;
    if (m.whole) r.samples = new Map();
    for (const x of m.samples || []) r.samples.set(`${x.step} ${x.prompt_index}`, x);
    const status = statusOf(m.run);
    if (told.has(r.id) && told.get(r.id) !== status) announce(`run ${m.run.name}: ${status}`);
    told.set(r.id, status);
    arrived(r.id, m.settings || m.samples || m.whole);
  }

  function arrived(id, all) {
    waiting.delete(id);
    if (waiting.size > 0) return;
    const here = runs.filter((r) => r.run);
    showLive();
    showResults(results, here);
    if (all) {
      showDifferences(differences, here);
      showSamples(samples, here);
    }
    draw();
  }

  function showLive() { showState(runs.some((r) => r.run && alive(r.run)) ? "live" : "ended"); }

  const stream = listen(ids.map((id) => ["run", id]), {
    run: take,
    gone(id) {
      announce(`there is no run ${id}`);
      const r = byID.get(id);
      if (r) r.run = null;
      drawn?.forEach((p) => p.close());
      drawn = null;
      plots.replaceChildren();
      arrived(id, true);
    },
  }, showLive);

  return {
    close() {
      stream.close();
      runs.forEach((r) => r.zoom.close());
      drawn?.forEach((p) => p.close());
    },
    key(e) {
      if (e.key !== "Escape") return false;
      location.hash = "#/";
      return true;
    },
  };
}

function drawAll(el, runs) {
  const f = tunePlots.format;
  const common = { sync: "compare", runs, zoomed: (low, high) => runs.forEach((r) => r.zoom.look(low, high)) };
  return [
    drawRuns(el, { ...common, title: "loss, smoothed", height: 280, format: f.loss, log: true, lines: (r) => [r.curves.step, r.curves.smooth_loss] }),
    drawRuns(el, { ...common, title: "validation loss", height: 280, format: f.loss, log: true, points: true,
      lines: (r) => [r.curves.validation.map((e) => e.step), r.curves.validation.map((e) => e.loss)] }),
    drawRuns(el, { ...common, title: "tokens a second, smoothed", zero: true, format: f.integer, lines: (r) => [r.curves.step, tunePlots.smooth(r.curves.tokens_per_second)] }),
    drawRuns(el, { ...common, title: "memory of the process", zero: true, format: f.bytes, lines: (r) => [r.curves.step, r.curves.memory_bytes] }),
    drawRuns(el, { ...common, title: "gradient norm, smoothed", zero: true, lines: (r) => [r.curves.step, tunePlots.smooth(r.curves.grad_norm)] }),
    drawRuns(el, { ...common, title: "learning rate", zero: true, lines: (r) => [r.curves.step, r.curves.learning_rate] }),
  ];
}

const swatch = (i) => h("span", { class: `swatch run-${i % 12}`, "aria-hidden": "true" });

// Each result has the value to compare by, its text, and which way is better: -1 lower, 1 higher, 0 neither.
const outcomes = [
  ["steps", (r) => r.run.steps_done, (r) => stepsText(r.run), 0],
  ["loss, smoothed", (r) => r.curves.last("smooth_loss"), (r) => loss(r.curves.last("smooth_loss")), -1],
  ["validation, last", (r) => r.run.last_validation_loss, (r) => loss(r.run.last_validation_loss), -1],
  ["validation, best", (r) => r.run.best_validation_loss, (r) => loss(r.run.best_validation_loss), -1],
  ["wall time", (r) => wall(r.run), (r) => duration(wall(r.run)), -1],
  ["tokens/s", (r) => r.run.tokens_per_second, (r) => rate(r.run.tokens_per_second), 1],
  ["peak memory", (r) => r.run.peak_memory_bytes || null, (r) => bytes(r.run.peak_memory_bytes), -1],
];

function showResults(el, runs) {
  const head = ["run", "status", ...outcomes.map(([title]) => `>${title}`)];
  const best = outcomes.map(([, value, , way]) => {
    const values = runs.map(value).filter(tunePlots.finite);
    if (way === 0 || values.length < 2 || new Set(values).size < 2) return null;
    return way < 0 ? Math.min(...values) : Math.max(...values);
  });
  el.replaceChildren(table("results", head, runs.map((r, i) => h("tr", {},
    h("th", { scope: "row" }, swatch(i), h("a", { href: runAddress(r.id), title: r.id }, r.label())), h("td", {}, chip(r.run)),
    outcomes.map(([, value, text], k) => {
      const winner = best[k] !== null && value(r) === best[k];
      return h("td", { class: winner ? "number best" : "number", title: winner ? "the best of these" : null },
        text(r), h("span", { class: "mark", "aria-label": winner ? "best" : null }, winner ? "✓" : ""));
    })))));
}

// showDifferences lists the settings in which the runs differ, and what else tells them apart.
function showDifferences(el, runs) {
  const keys = [...new Set(runs.flatMap((r) => r.settings.map((s) => s.key)))];
  const of = runs.map((r) => new Map(r.settings.map((s) => [s.key, s.value])));
  const others = [["model", "model_sha256"], ["training data", "data_train_sha256"], ["validation data", "data_validation_sha256"],
    ["device", "device"], ["chip", "chip"], ["tune", "tune_version"], ["libtorch", "libtorch_version"], ["commit", "git_commit"]];
  const rows = [
    ...keys.map((key) => [key, of.map((m) => m.get(key) ?? "–")]),
    ...others.map(([title, column]) => [title, runs.map((r) => String(r.run[column] || "–").slice(0, 32))]),
  ].filter(([, values]) => new Set(values).size > 1);
  el.replaceChildren(h("h2", {}, "What differs"));
  if (runs.length < 2 || rows.length === 0) return el.append(h("p", { class: "muted" }, "nothing: the same settings, model, data and machine"));
  el.append(table("settings that differ", ["setting", ...runs.map((r) => r.label())], rows.map(([key, values]) =>
    h("tr", {}, h("th", { scope: "row", class: "mono" }, key), values.map((v) => h("td", { class: "value" }, v))))));
}

// showSamples puts the last reply of each run below its prompt.
function showSamples(el, runs) {
  el.replaceChildren();
  const prompts = [...new Set(runs.flatMap((r) => [...r.samples.values()].map((x) => x.prompt)))];
  if (prompts.length === 0) return;
  el.append(h("h2", {}, "Last replies"));
  for (const prompt of prompts) {
    el.append(h("article", { class: "sample" }, h("h3", {}, prompt), h("div", { class: "replies" }, runs.map((r, i) => {
      const all = [...r.samples.values()].filter((x) => x.prompt === prompt).sort((a, b) => a.step - b.step);
      const last = all[all.length - 1];
      return h("div", { class: "reply" }, h("h4", {}, swatch(i), r.label(), last ? `, step ${last.step}` : ""),
        h("p", {}, last ? last.reply.trim() || "(nothing)" : "–"));
    }))));
  }
}
