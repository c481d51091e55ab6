// One run.

import { h, setText, chip, statusOf, alive, loss, bytes, rate, duration, clock, wall, ago, when, table, announce } from "./dom.js";
import { listen, showState } from "./live.js";
import { Curves, Zoom } from "./curves.js";
import { drawLoss, drawCurve } from "./drawings.js";

export function showRun(main, id, setTitle) {
  const curves = new Curves();
  const seen = { run: null, settings: [], config: "", samples: new Map(), events: [], artifacts: [] };
  let plots = null, told = null;
  const zoom = new Zoom(id, curves, () => plots?.draw());

  const parts = {
    title: h("h1", {}), chip: h("span", {}), sub: h("p", { class: "sub" }), note: h("p", { class: "run-note", hidden: true }),
    error: h("p", { class: "error", role: "alert", hidden: true }), cards: h("div", { class: "cards" }),
    plots: h("section", { class: "plots", "aria-label": "plots" }),
    samples: h("section", {}), events: h("section", {}), more: h("section", {}),
  };
  const body = [h("div", { class: "tools" }, parts.title, parts.chip), parts.sub, parts.note, parts.error, parts.cards,
    parts.plots, parts.samples, parts.events, parts.more];
  main.replaceChildren(...body);

  function take(m) {
    if (!body[0].isConnected) main.replaceChildren(...body); // it was gone, and is back
    curves.take(m);
    if (m.whole) Object.assign(seen, { samples: new Map(), events: [] });
    seen.run = m.run;
    if (m.settings) Object.assign(seen, { settings: m.settings, config: m.run.config });
    for (const x of m.samples || []) seen.samples.set(`${x.step} ${x.prompt_index}`, x);
    seen.events.push(...(m.events || []));
    if (m.artifacts) seen.artifacts = m.artifacts;
    const status = statusOf(m.run);
    if (told !== null && told !== status) announce(`run ${m.run.name}: ${status}`);
    told = status;
    render(m);
  }

  function render(m) {
    const run = seen.run;
    setTitle(run.name);
    showState(alive(run) ? "live" : "ended");
    head(run);
    cards(run);
    if (!plots) plots = drawPlots(parts.plots, id, curves, zoom);
    plots.draw();
    if (m.whole || m.samples) showSamples(parts.samples, [...seen.samples.values()]);
    if (m.whole || m.events) showEvents(parts.events, seen.events);
    if (m.whole || m.settings || m.artifacts) showMore(parts.more, run, seen);
  }

  function head(run) {
    setText(parts.title, run.name);
    if (parts.chip.textContent !== statusOf(run)) parts.chip.replaceChildren(chip(run));
    const sub = [h("span", { class: "mono" }, run.id), h("span", { title: when(run.created_at) }, ago(run.created_at)),
      h("span", {}, method(run)), h("span", {}, run.model_path), ...(run.tags || []).map((t) => h("span", { class: "tag" }, t))];
    if (parts.sub.textContent !== sub.map((x) => x.textContent).join("")) parts.sub.replaceChildren(...sub);
    parts.note.hidden = !run.note;
    setText(parts.note, run.note || "");
    parts.error.hidden = !run.error;
    setText(parts.error, run.error || "");
  }

  const shown = new Map(); // cards by title
  function card(title, value, detail, extra) {
    if (!shown.has(title)) {
      const el = { value: h("p", { class: "value" }), detail: h("p", { class: "detail" }), extra: h("div", {}) };
      shown.set(title, el);
      parts.cards.append(h("div", { class: "card" }, h("h2", {}, title), el.value, el.extra, el.detail));
    }
    const el = shown.get(title);
    setText(el.value, value);
    el.value.classList.toggle("long", value.length > 11);
    setText(el.detail, detail);
    if (extra) extra(el.extra);
  }

  const whole = tunePlots.format.integer;

  function cards(run) {
    const total = run.total_steps, done = run.steps_done;
    card("status", statusOf(run), alive(run) ? `for ${clock(wall(run))}` : duration(wall(run)));
    card("step", total > 0 ? `${whole(done)} / ${whole(total)}` : whole(done), left(run, curves), (el) => bar(el, run));
    const smooth = curves.last("smooth_loss");
    card("loss, smoothed", loss(smooth ?? run.last_loss), `${loss(run.first_loss)} at the start`);
    const v = curves.validation;
    card("validation", v.length ? loss(v[v.length - 1].loss) : "–", validationDetail(run, v));
    card("speed", `${rate(run.tokens_per_second)} tok/s`, speedDetail(run, curves));
    card("memory", bytes(run.peak_memory_bytes), run.device_peak_memory_bytes > 0 ? `${bytes(run.device_peak_memory_bytes)} in tensors` : "peak");
  }

  const stream = listen([["run", id]], {
    run: take,
    gone() {
      showState("ended");
      main.replaceChildren(h("p", { class: "empty" }, `there is no run ${id}`));
    },
  }, () => showState(!seen.run || alive(seen.run) ? "live" : "ended"));
  const timer = setInterval(() => { if (seen.run) { head(seen.run); cards(seen.run); } }, 1000);

  return {
    close() {
      clearInterval(timer);
      stream.close();
      zoom.close();
      plots?.close();
    },
    key(e) {
      if (e.key !== "Escape") return false;
      location.hash = "#/";
      return true;
    },
  };
}

const method = (run) => (run.lora_rank > 0 ? `${run.method}, rank ${run.lora_rank}` : run.method);

function bar(el, run) {
  if (!(run.total_steps > 0)) return;
  if (!el.firstChild) el.append(h("progress", { "aria-label": "steps" }));
  el.firstChild.max = run.total_steps;
  el.firstChild.value = run.steps_done;
}

// left says how long the steps that are left will take, as the last ones did.
function left(run, curves) {
  if (!(run.total_steps > 0)) return "";
  const share = `${Math.floor((100 * run.steps_done) / run.total_steps)} %`;
  const each = curves.recent("seconds", 50);
  if (!alive(run) || !tunePlots.finite(each) || run.steps_done >= run.total_steps) return share;
  return `${share}, about ${duration(each * (run.total_steps - run.steps_done))} left`;
}

function validationDetail(run, v) {
  if (v.length === 0) return "none";
  const best = v.reduce((a, b) => (b.loss !== null && (a.loss === null || b.loss < a.loss) ? b : a));
  return `best ${loss(best.loss)} at step ${best.step}`;
}

function speedDetail(run, curves) {
  const each = run.steps_done > 0 ? run.step_seconds / run.steps_done : curves.recent("seconds", 50);
  return tunePlots.finite(each) ? `${duration(each)} a step` : "";
}

function drawPlots(el, id, curves, zoom) {
  const sync = `run ${id}`;
  const zoomed = (low, high) => zoom.look(low, high);
  const color = (i) => () => tunePlots.runColor(i);
  const all = [
    drawLoss(el, { sync, zoomed, curves }),
    drawCurve(el, { title: "memory", sync, zoomed, curves, zero: true, format: tunePlots.format.bytes, series: [
      { column: "memory_bytes", label: "process", color: color(0) },
      { column: "device_memory_bytes", label: "tensors", color: color(2) }] }),
    drawCurve(el, { title: "tokens a second", sync, zoomed, curves, zero: true, format: tunePlots.format.integer, smooth: true, series: [
      { column: "tokens_per_second", label: "tokens/s", color: color(2) }] }),
    drawCurve(el, { title: "gradient norm", sync, zoomed, curves, zero: true, smooth: true, series: [
      { column: "grad_norm", label: "gradient norm", color: color(3) }] }),
    drawCurve(el, { title: "learning rate", sync, zoomed, curves, zero: true, series: [
      { column: "learning_rate", label: "learning rate", color: color(1) }] }),
  ];
  return { draw: () => all.forEach((p) => p.draw()), close: () => all.forEach((p) => p.close()) };
}

// showSamples puts what the model said before and says now side by side, prompt by prompt.
function showSamples(el, samples) {
  const open = new Set([...el.querySelectorAll("details[open]")].map((d) => d.dataset.prompt));
  const prompts = [...new Set(samples.map((x) => x.prompt_index))].sort((a, b) => a - b);
  el.replaceChildren();
  if (prompts.length === 0) return;
  el.append(h("h2", {}, "Samples"));
  for (const index of prompts) {
    const all = samples.filter((x) => x.prompt_index === index).sort((a, b) => a.step - b.step);
    const first = all[0], last = all[all.length - 1];
    const reply = (x) => h("div", { class: "reply" },
      h("h4", {}, x.step === 0 ? "before training" : `step ${x.step}`), h("p", {}, x.reply.trim() || "(nothing)"));
    el.append(h("article", { class: "sample" },
      h("h3", {}, first.prompt),
      h("div", { class: "replies" }, reply(first), last === first ? null : reply(last)),
      all.length > 2 ? h("details", { "data-prompt": String(index), open: open.has(String(index)) },
        h("summary", {}, `all ${all.length} steps`), h("div", { class: "all-replies" }, all.map(reply))) : null));
  }
}

function showEvents(el, events) {
  el.replaceChildren();
  if (events.length === 0) return;
  el.append(h("h2", {}, "Log"), table("log of events", ["time", ">step", "level", "kind", "message"], events.map((e) =>
    h("tr", { "data-level": e.level },
      h("td", { class: "time" }, h("time", { datetime: e.at, title: when(e.at) }, new Date(e.at).toLocaleTimeString())),
      h("td", { class: "number" }, e.step ? String(e.step) : "–"), h("td", { class: "level" }, e.level),
      h("td", {}, e.kind), h("td", { class: "message" }, e.message)))));
}

const facts = (rows) => h("dl", { class: "facts" }, rows.filter(([, v]) => v !== "" && v !== null && v !== undefined)
  .flatMap(([name, v]) => [h("dt", {}, name), h("dd", {}, v)]));

const short = (hash) => (hash ? hash.slice(0, 12) : "");

function showMore(el, run, seen) {
  const f = tunePlots.format, api = `/api/runs/${encodeURIComponent(run.id)}`;
  const open = el.querySelector("details")?.open ?? true;
  el.replaceChildren(
    h("div", { class: "columns" },
      h("div", {}, h("h2", {}, "Machine"), facts([
        ["device", [run.device, run.device_name && run.device_name !== run.device ? `(${run.device_name})` : ""].filter(Boolean).join(" ")],
        ["chip", run.chip], ["model", run.machine_model], ["system", [run.os, run.arch].filter(Boolean).join(" ")],
        ["cores", run.cores ? `${run.cores}, ${run.threads} threads used` : ""], ["memory", run.memory_bytes ? f.bytes(run.memory_bytes) : ""],
        ["host", run.host], ["tune", run.tune_version], ["libtorch", run.libtorch_version], ["Go", run.go_version],
        ["commit", run.git_commit ? short(run.git_commit) + (run.git_dirty ? " with changes" : "") : ""],
      ])),
      h("div", {}, h("h2", {}, "Model and data"), facts([
        ["model", run.model_path], ["revision", run.model_revision], ["sha256", short(run.model_sha256)],
        ["method", method(run)],
        ["parameters", run.total_parameters ? `${f.integer(run.trainable_parameters)} of ${f.integer(run.total_parameters)} trained` : ""],
        ["dtype", run.dtype],
        ["train", run.data_train ? `${run.data_train}, ${f.integer(run.train_rows)} rows` : ""],
        ["validation", run.data_validation ? `${run.data_validation}, ${f.integer(run.validation_rows)} rows` : ""],
        ["checkpoint", run.checkpoint], ["resumed", run.attempts > 1 ? `${run.attempts - 1} times, last from step ${run.resumed_from_step}` : ""],
        ["sweep", run.sweep_id ? `${run.sweep_id}, trial ${run.sweep_trial}` : ""],
      ]))),
    seen.artifacts.length ? h("div", {}, h("h2", {}, "Artifacts"), table("artifacts", ["kind", ">size", "path", "sha256"], seen.artifacts.map((a) =>
      h("tr", {}, h("td", {}, a.kind), h("td", { class: "number" }, bytes(a.bytes)), h("td", { class: "mono path" }, a.path),
        h("td", { class: "mono" }, short(a.sha256)))))) : "",
    h("details", { class: "config", open }, h("summary", {}, h("h2", {}, "Config")), h("pre", { tabindex: "0" }, seen.config || "")),
    h("p", { class: "links" }, "raw: ", h("a", { href: api }, "run as JSON"), h("a", { href: `${api}/steps?full=1` }, "steps as JSON")));
}
