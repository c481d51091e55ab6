// Plots of runs with uPlot. Colours are read from theme.css each time a plot is drawn, so that a page follows its reader from
// light to dark. Plots with the same sync key share their cursor.
"use strict";

const tunePlots = (() => {
  const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

  // A colour with some of the background's light in it, as internal/chart mixes it.
  const faint = (color) => color + Math.round(255 * Number(css("--faint"))).toString(16).padStart(2, "0");

  const runColor = (i) => css(`--run-${i % 12}`);

  // Past the twelfth run the colours come again, with dashes.
  const runDash = (i) => (i < 12 ? undefined : i < 24 ? [8, 4] : [2, 3]);

  const finite = (v) => typeof v === "number" && Number.isFinite(v);

  const format = {
    integer: (v) => Math.round(v).toLocaleString("en-US"),
    loss: (v) => {
      const size = Math.abs(v);
      return size >= 1000 || (size < 0.001 && size > 0) ? v.toExponential(1) : v.toFixed(size < 10 ? 3 : 2);
    },
    short: (v) => (v === 0 ? "0" : Math.abs(v) >= 1e5 || Math.abs(v) < 1e-3 ? v.toExponential(1) : String(Number(v.toPrecision(3)))),
    bytes: (v) => {
      for (const [unit, size] of [["TB", 1e12], ["GB", 1e9], ["MB", 1e6], ["kB", 1e3]]) {
        if (Math.abs(v) >= size) return `${Number((v / size).toPrecision(3))} ${unit}`;
      }
      return `${Math.round(v)} B`;
    },
    duration: (v) => {
      if (v < 60) return `${Number(v.toPrecision(3))} s`;
      const s = Math.round(v), h = Math.floor(s / 3600), m = Math.floor((s % 3600) / 60);
      return h > 0 ? `${h} h ${m} min` : `${m} min ${s % 60} s`;
    },
    rate: (v) => `${format.integer(v)} tok/s`,
  };

  // weight and smooth are SmoothingWeight and Smooth of internal/chart.
  const weight = (n) => Math.min(1 - 1 / Math.max(1, n / 15), 0.99);
  const smooth = (values, w = weight(values.filter(finite).length)) => {
    let average = 0, share = 0;
    return values.map((x) => {
      if (!finite(x)) return null;
      average = w * average + (1 - w) * x;
      share = w * share + (1 - w);
      return average / share;
    });
  };

  // How far apart the ticks of whole numbers may stand.
  const wholeTicks = [...Array(12).keys()].flatMap((e) => [1, 2, 5].map((m) => m * 10 ** e));

  const all = new Set();
  const redraw = () => all.forEach((plot) => plot.u.redraw(false));
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
  // Paper is white.
  addEventListener("beforeprint", () => { document.documentElement.dataset.theme = "light"; redraw(); });
  addEventListener("afterprint", () => { delete document.documentElement.dataset.theme; redraw(); });

  // make draws a plot into el, which keeps its width in step. spec has
  //   label    what the plot shows, for those who hear the page
  //   series   [{ label, color: () => "#rrggbb", faint, dash, points, width, format }]
  //   x        { label, format, whole: there is nothing between 1 and 2 }, y { label, format, log, zero }
  //   height   in pixels (260), sync a key, data as uPlot wants it: [xs, ys, ys, ...], null for gaps
  //   zoomed   called with the lowest and the highest x in sight whenever these change
  // It returns { setData(data), destroy(), u }. New data leaves the view of a reader who has zoomed in as it is.
  function make(el, spec) {
    const axis = (a, size) => ({
      stroke: () => css("--muted"),
      grid: { stroke: () => css("--grid"), width: 1 },
      ticks: { show: false },
      font: "12px system-ui, sans-serif",
      label: a.label,
      labelFont: "12px system-ui, sans-serif",
      labelSize: 20,
      size,
      values: (u, ticks) => ticks.map((v) => (v === null ? "" : (a.tick || a.format || format.short)(v))),
    });
    const x = spec.x || {}, y = spec.y || {};
    const last = (values) => {
      for (let i = values.length - 1; i >= 0; i--) if (finite(values[i])) return values[i];
      return null;
    };
    const height = spec.height || 260;
    const options = {
      width: Math.max(200, el.clientWidth),
      height,
      padding: [8, 22, 0, 0], // on the right, for half of the last step's number
      cursor: { sync: spec.sync ? { key: spec.sync } : undefined, drag: { x: true, y: false }, points: { size: 6 } },
      scales: {
        x: { time: false },
        y: y.log
          ? { distr: 3 }
          : { range: (u, low, high) => (low === null || (low === 0 && high === 0) ? [0, 1] : uPlot.rangeNum(y.zero ? Math.min(0, low) : low, high, 0.08, true)) },
      },
      axes: [{ ...axis(x, x.label ? 44 : 32), incrs: x.whole ? wholeTicks : undefined }, axis(y, 72)],
      hooks: { setScale: [(u, key) => { if (key === "x" && spec.zoomed) spec.zoomed(u.scales.x.min, u.scales.x.max); }] },
      series: [
        { label: x.label || "step", value: (u, v, s, i) => (i == null ? "–" : (x.format || format.short)(v)) },
        ...spec.series.map((s) => ({
          label: s.label,
          stroke: () => (s.faint ? faint(s.color()) : s.color()),
          width: s.width ?? (s.faint ? 1 : 2),
          dash: s.dash,
          points: { show: Boolean(s.points), size: 7, fill: () => s.color() },
          spanGaps: Boolean(s.points),
          // Without a cursor the legend has the last value, not a dash.
          value: (u, v, si, i) => {
            const shown = i == null ? last(u.data[si]) : v;
            return shown == null ? "–" : (s.format || y.format || format.short)(shown);
          },
        })),
      ],
    };
    el.classList.add("plot");
    el.setAttribute("role", "img");
    const u = new uPlot(options, spec.data || [[], ...spec.series.map(() => [])], el);
    const say = () => {
      const values = spec.series.filter((s) => !s.faint).map((s) => {
        const v = last(u.data[spec.series.indexOf(s) + 1] || []);
        return `${s.label} ${v === null ? "no value" : (s.format || y.format || format.short)(v)}`;
      });
      el.setAttribute("aria-label", `${spec.label}: ${values.join(", ")}`);
    };
    say();
    const observer = new ResizeObserver(() => {
      const width = Math.max(200, el.clientWidth);
      if (width !== u.width) u.setSize({ width, height });
    });
    observer.observe(el);
    const plot = {
      u,
      setData(data) {
        const { min, max } = u.scales.x, xs = u.data[0];
        if (xs.length > 1 && finite(min) && (min > xs[0] || max < xs[xs.length - 1])) {
          u.batch(() => { u.setData(data, false); u.setScale("x", { min, max }); });
        } else {
          u.setData(data);
        }
        say();
      },
      destroy() { observer.disconnect(); all.delete(plot); u.destroy(); el.replaceChildren(); },
    };
    all.add(plot);
    return plot;
  }

  return { make, smooth, weight, format, css, runColor, runDash, finite, redraw };
})();
