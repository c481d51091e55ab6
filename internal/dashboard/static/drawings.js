// Plots of one run and of several.

import { h } from "./dom.js";

// frame makes a titled place for a plot, with tools beside the title.
function frame(parent, title, wide, ...tools) {
  const el = h("div", {});
  const figure = h("figure", { class: wide ? "wide" : null }, h("figcaption", {}, h("h2", {}, title), ...tools), el);
  parent.append(figure);
  return { figure, el };
}

// replottable makes a plot from what make returns, and makes it anew when asked to.
function replottable(el, make, data) {
  let plot = null;
  return {
    draw() {
      if (!plot) plot = make();
      plot.setData(data());
    },
    anew() { if (plot) { plot.destroy(); plot = null; this.draw(); } },
    close() { plot?.destroy(); },
  };
}

// logSwitch is a box that makes the y axis logarithmic.
function logSwitch(change) {
  const box = h("input", { type: "checkbox", on: { change: () => change(box.checked) } });
  return h("label", { class: "switch" }, box, "log");
}

// positive leaves out what a logarithmic axis cannot show.
const positive = (values, log) => (log ? values.map((v) => (v > 0 ? v : null)) : values);

export function drawLoss(parent, { sync, zoomed, curves }) {
  let log = false;
  const { el } = frame(parent, "loss", true, logSwitch((on) => { log = on; p.anew(); }));
  const color = () => tunePlots.runColor(0), other = () => tunePlots.runColor(1);
  const p = replottable(el, () => tunePlots.make(el, {
    label: "loss", sync, zoomed, height: 320, x: { format: tunePlots.format.integer, whole: true },
    y: { format: tunePlots.format.loss, log },
    series: [{ label: "loss", color, faint: true }, { label: "smoothed", color },
      { label: "validation", color: other, points: true }],
  }), () => {
    const v = curves.validation;
    return uPlot.join([[curves.step, positive(curves.loss, log), positive(curves.smooth_loss, log)],
      [v.map((e) => e.step), positive(v.map((e) => e.loss), log)]]);
  });
  return p;
}

// drawCurve draws columns of one run. A smooth one has its own points faint behind it.
export function drawCurve(parent, { title, sync, zoomed, curves, series, zero, format, smooth }) {
  const { el, figure } = frame(parent, title, false);
  const shown = smooth
    ? series.flatMap((s) => [{ ...s, faint: true }, { ...s, label: `${s.label}, smoothed`, smooth: true }])
    : series;
  const p = replottable(el, () => tunePlots.make(el, {
    label: title, sync, zoomed, height: 220, x: { format: tunePlots.format.integer, whole: true }, y: { zero, format },
    series: shown,
  }), () => [curves.step, ...shown.map((s) => (s.smooth ? tunePlots.smooth(curves[s.column]) : curves[s.column]))]);
  return {
    draw() {
      figure.hidden = !series.some((s) => curves.any(s.column)); // not measured here
      if (!figure.hidden) p.draw();
    },
    close: () => p.close(),
  };
}

// drawRuns lays one curve of several runs over each other. lines(run) gives [xs, ys] of each run.
export function drawRuns(parent, { title, sync, zoomed, runs, lines, zero, format, points, height = 220, log: canLog }) {
  let log = false;
  const { el, figure } = frame(parent, title, false, canLog ? logSwitch((on) => { log = on; p.anew(); }) : null);
  const p = replottable(el, () => tunePlots.make(el, {
    label: title, sync, zoomed, height, x: { format: tunePlots.format.integer, whole: true }, y: { zero, format, log },
    series: runs.map((r, i) => ({ label: r.label(), color: () => tunePlots.runColor(i), dash: tunePlots.runDash(i), points })),
  }), () => uPlot.join(runs.map((r) => {
    const [xs, ys] = lines(r);
    return [xs, positive(ys, log)];
  })));
  return {
    draw() {
      figure.hidden = !runs.some((r) => lines(r)[1].some(tunePlots.finite));
      if (!figure.hidden) p.draw();
    },
    anew() { if (!figure.hidden) p.anew(); },
    close: () => p.close(),
  };
}
