// The curves of one run, by column, in the order of steps.

const columns = ["step", "loss", "smooth_loss", "learning_rate", "grad_norm", "tokens_per_second", "memory_bytes",
  "device_memory_bytes", "seconds"];

export class Curves {
  constructor() { this.clear(); }

  clear() {
    for (const c of columns) this[c] = [];
    this.thinned = false;
    this.evaluations = [];
  }

  get length() { return this.step.length; }

  // take puts in what a message of the stream has of the run.
  take(message) {
    if (message.whole) {
      this.clear();
      this.thinned = message.thinned;
    }
    if (message.steps) this.merge(message.steps);
    for (const e of message.evaluations || []) {
      const i = this.evaluations.findIndex((x) => x.step === e.step && x.split === e.split);
      if (i < 0) this.evaluations.push(e);
      else this.evaluations[i] = e;
    }
    this.evaluations.sort((a, b) => a.step - b.step);
  }

  // merge puts steps in; one of the same number, from before a resume, is replaced.
  merge(steps) {
    let first = this.length;
    for (let i = 0; i < steps.step.length; i++) {
      const at = this.place(steps.step[i]);
      const replace = this.step[at] === steps.step[i] ? 1 : 0;
      for (const c of columns) {
        const value = steps[c] ? steps[c][i] : null;
        if (at === this[c].length) this[c].push(value);
        else this[c].splice(at, replace, value);
      }
      first = Math.min(first, at);
    }
    if (!this.thinned) this.smooth_loss = tunePlots.smooth(this.loss);
    else if (!steps.smooth_loss) this.goOn(first);
  }

  // goOn continues the average of a long run, most of whose steps are not here. Its weight no longer changes.
  goOn(from) {
    const w = 0.99;
    let average = null;
    for (let i = 0; i < from; i++) if (tunePlots.finite(this.smooth_loss[i])) average = this.smooth_loss[i];
    for (let i = from; i < this.length; i++) {
      const x = this.loss[i];
      if (!tunePlots.finite(x)) { this.smooth_loss[i] = null; continue; }
      average = average === null ? x : w * average + (1 - w) * x;
      this.smooth_loss[i] = average;
    }
  }

  // place is where a step is, or belongs.
  place(step) {
    const n = this.length;
    if (n === 0 || this.step[n - 1] < step) return n;
    let low = 0, high = n - 1;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.step[middle] < step) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  last(column) {
    for (let i = this.length - 1; i >= 0; i--) if (tunePlots.finite(this[column][i])) return this[column][i];
    return null;
  }

  // recent is the mean of the last n values of a column.
  recent(column, n) {
    const values = this[column].slice(-n).filter(tunePlots.finite);
    return values.length ? values.reduce((a, b) => a + b, 0) / values.length : NaN;
  }

  any(column) { return this[column].some(tunePlots.finite); }

  get validation() { return this.evaluations.filter((e) => e.split === "validation"); }
}

// Zoom fetches the steps that a thinned curve leaves out, once a reader looks closely.
export class Zoom {
  constructor(id, curves, redraw) { Object.assign(this, { id, curves, redraw, timer: 0, low: 0, high: -1 }); }

  look(low, high) {
    const c = this.curves;
    if (!c.thinned || !tunePlots.finite(low) || c.length < 2) return;
    const from = Math.max(1, Math.floor(low)), to = Math.ceil(high);
    if ((from <= c.step[0] && to >= c.step[c.length - 1]) || (from >= this.low && to <= this.high)) return;
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.fetch(from, to), 150);
  }

  async fetch(from, to) {
    const answer = await fetch(`/api/runs/${encodeURIComponent(this.id)}/steps?from=${from}&to=${to}`);
    if (!answer.ok) return;
    const steps = await answer.json();
    if (!steps.thinned) [this.low, this.high] = [from, to];
    this.curves.merge(steps);
    this.redraw();
  }

  close() { clearTimeout(this.timer); }
}
