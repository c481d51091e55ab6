// Plots of a report, from the numbers in the element data. All works without it but the plots, which then are still pictures.
"use strict";

(() => {
  const { make, format, css, runColor, runDash, finite } = tunePlots;
  const runs = JSON.parse(document.getElementById("data").textContent);
  document.documentElement.classList.add("js");

  const steps = { format: format.integer, whole: true };
  const any = (values) => values.some(finite);
  // So few that no line would show them.
  const few = (values) => values.filter(finite).length < 2;
  // A logarithmic axis has no place for zero.
  const drawable = (values, log) => (log ? values.map((v) => (v > 0 ? v : null)) : values);
  const places = []; // { el, draw(), plot, height }

  // place notes where a plot goes and what draws it. draw returns a spec for tunePlots.make, or null for nothing to draw.
  const place = (el, draw) => { const p = { el, draw, plot: null }; places.push(p); return p; };
  const draw = (p) => {
    if (p.plot) p.plot.destroy();
    p.spec = p.draw();
    p.plot = p.spec && make(p.el, p.spec);
    if (!p.plot) p.el.closest("figure").hidden = true;
  };

  // The plots of one run, all over the same steps so that their cursors are linked.
  const runPlots = (box) => {
    const i = Number(box.dataset.run), run = runs[i], color = () => runColor(i);
    const spec = (label, series, y) => () => {
      const shown = series.filter((s) => any(s.values));
      return shown.length === 0 ? null : {
        label, sync: `run-${i}`, y, x: steps,
        series: shown.map((s) => ({ ...s, points: s.points || few(s.values) })), data: [run.step, ...shown.map((s) => drawable(s.values, y.log))], height: label === "loss" ? 320 : 210,
      };
    };
    const at = (name) => box.querySelector(`[data-plot="${name}"]`);
    const log = box.querySelector(".log");
    const loss = place(at("loss"), () => spec("loss", [
      { label: "each step", values: run.loss, color, faint: true },
      { label: "smoothed", values: run.smooth, color },
      { label: "validation", values: run.validation, color: () => runColor(i % 12 === 1 ? 0 : 1), points: true, width: 1, dash: [5, 4] },
    ], { format: format.loss, log: log.checked })());
    log.addEventListener("change", () => draw(loss));
    return [
      loss,
      place(at("rate"), spec("learning rate", [{ label: "learning rate", values: run.learning_rate, color }], { format: format.short, zero: true })),
      place(at("grad"), spec("gradient norm", [{ label: "gradient norm", values: run.grad_norm, color }], { format: format.short, zero: true })),
      place(at("speed"), spec("speed", [{ label: "tokens/s", values: run.tokens_per_second, color }], { format: format.integer, zero: true })),
      place(at("memory"), spec("memory", [
        { label: "process", values: run.memory_bytes, color },
        { label: "in tensors, between steps", values: run.device_memory_bytes, color: () => css("--run-2") },
      ], { format: format.bytes, zero: true })),
    ];
  };

  // joined puts the curves of all runs over one axis. Between the steps of a run lies the line that joins them.
  const joined = (against, name, between) => {
    const xs = [...new Set(runs.flatMap((run) => run[against].filter((x, k) => finite(x) && (between || finite(run[name][k])))))].sort((a, b) => a - b);
    return [xs, ...runs.map((run) => {
      const points = run[against].map((x, k) => [x, run[name][k]]).filter(([x, y]) => finite(x) && finite(y));
      const exact = new Map(points);
      let k = 0;
      return xs.map((x) => {
        if (exact.has(x)) return exact.get(x);
        if (!between || points.length === 0 || x < points[0][0] || x > points[points.length - 1][0]) return null;
        while (points[k + 1][0] < x) k++;
        const [[x0, y0], [x1, y1]] = [points[k], points[k + 1]];
        return y0 + ((y1 - y0) * (x - x0)) / (x1 - x0);
      });
    })];
  };

  const axes = {
    step: steps,
    seconds: { label: "training time", format: format.duration },
    tokens: { label: "tokens", format: format.integer, whole: true, tick: (v) => (v >= 1e6 ? `${v / 1e6} M` : format.integer(v)) },
  };

  const comparisonPlots = () => {
    const el = (name) => document.querySelector(`[data-plot="${name}"]`);
    const log = document.getElementById("log-all");
    const against = () => document.querySelector('input[name="against"]:checked').value;
    const spec = (label, name, between) => () => {
      const [xs, ...curves] = joined(against(), name, between);
      const data = [xs, ...curves.map((values) => drawable(values, log.checked))];
      return data.slice(1).some(any) ? {
        label, sync: "all", height: between ? 340 : 280, x: axes[against()], y: { format: format.loss, log: log.checked }, data,
        series: runs.map((run, i) => ({ label: run.label, color: () => runColor(i), dash: runDash(i), points: !between || few(data[i + 1]) })),
      } : null;
    };
    const plots = [place(el("all-loss"), spec("loss in training, smoothed", "smooth", true)), place(el("all-validation"), spec("loss in validation", "validation", false))];
    for (const input of [log, ...document.querySelectorAll('input[name="against"]')]) input.addEventListener("change", () => plots.forEach(draw));
    plots.forEach(draw);
  };

  if (document.querySelector('[data-plot="all-loss"]')) comparisonPlots();
  for (const box of document.querySelectorAll(".plots")) {
    const plots = runPlots(box), folded = box.closest("details.run");
    // What is folded has no width, and many runs would hold much memory: they are drawn when somebody looks.
    const show = () => { for (const p of plots) if (!p.plot && !p.el.closest("figure").hidden) draw(p); };
    if (!folded) show();
    else folded.addEventListener("toggle", () => { if (folded.open) show(); });
    box.show = show;
  }

  // A link to a run unfolds it.
  const unfold = () => {
    const target = location.hash && document.getElementById(decodeURIComponent(location.hash.slice(1)));
    const folded = target && target.closest("details");
    if (folded) folded.open = true;
  };
  addEventListener("hashchange", unfold);
  document.addEventListener("click", (e) => { if (e.target.closest("a[href^='#']")) setTimeout(unfold); });
  unfold();

  // On paper everything is unfolded, and plots are as wide as the paper.
  const paper = { wide: 680, narrow: 334 };
  let opened = [];
  addEventListener("beforeprint", () => {
    opened = [...document.querySelectorAll("details:not([open])")];
    for (const d of opened) d.open = true;
    for (const box of document.querySelectorAll(".plots")) box.show();
    for (const p of places) {
      if (!p.plot) continue;
      const narrow = p.el.closest(".plots") && !p.el.closest(".wide");
      p.plot.u.setSize({ width: narrow ? paper.narrow : paper.wide, height: narrow ? 145 : 200 });
    }
  });
  addEventListener("afterprint", () => {
    for (const d of opened) d.open = false;
    for (const p of places) if (p.plot) p.plot.u.setSize({ width: Math.max(200, p.el.clientWidth), height: p.spec.height });
  });

  const textOf = (button) => document.getElementById(button.dataset.from).textContent;
  const say = (button, text) => { button.parentElement.querySelector(".said-copied").textContent = text; };
  for (const button of document.querySelectorAll("button.copy")) {
    button.addEventListener("click", async () => {
      try {
        await navigator.clipboard.writeText(textOf(button));
        say(button, "copied");
      } catch { // a browser that gives files no clipboard: select it, so that a key does it
        getSelection().selectAllChildren(document.getElementById(button.dataset.from));
        say(button, "selected: copy it with the keyboard");
      }
    });
  }
  for (const button of document.querySelectorAll("button.save")) {
    button.addEventListener("click", () => {
      const link = Object.assign(document.createElement("a"), { href: URL.createObjectURL(new Blob([textOf(button)])), download: button.dataset.name });
      link.click();
      URL.revokeObjectURL(link.href);
    });
  }
})();
