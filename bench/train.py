#!/usr/bin/env python3
"""Measure `tune bench train` beside baseline.py; train.sh prepares it. Prints a table, and adds a line a measurement
to bench/results.jsonl. Ends with an error where the two do not do the same work."""
import datetime, json, os, re, subprocess, sys

# Ratios to baseline.py that are wanted on a quiet machine: tokens/s at least, and peak resident memory at most.
TARGETS = {
    ("270m", "bf16", False): (4, 0.35), ("270m", "fp32", False): (2.3, 0.45),
    ("small", "bf16", False): (3, 0.5), ("small", "fp32", False): (3, 0.5),
    ("tiny", "fp32", False): (3, 0.6), ("270m", "bf16", True): (3, 0.4),
}
AGREE = {"fp32": 1e-4, "bf16": 2e-2}  # first losses, both in four digits
DTYPES = {"bf16": "bfloat16", "fp32": "float32"}
RESULTS = "bench/results.jsonl"


def fail(text):
    sys.exit("bench: error: " + text)


def number(name, otherwise):
    text = os.environ.get(name) or str(otherwise)
    if not text.isdigit() or int(text) < 1:
        fail(f"{name}: want a whole number from 1 on, got {text}")
    return int(text)


def words(name, choices):
    """The words of a variable, none where it is absent."""
    got = os.environ.get(name, "").split()
    for word in got:
        if word not in choices:
            fail(f"{name}: want some of {', '.join(choices)}, got {word}")
    return got


def cases():
    """What is measured: shape, dtype and checkpointing, one after the other."""
    shapes = words("SHAPES", ["tiny", "small", "270m", "1b"])
    dtypes, checkpointing = words("DTYPES", list(DTYPES)), words("CHECKPOINTING", ["no", "yes"])
    for shape in shapes:
        if dtypes or checkpointing:
            for dtype in dtypes or DTYPES:
                for c in checkpointing or ["no", "yes"]:
                    yield shape, dtype, c == "yes"
        elif shape == "1b":  # has no target
            yield from ((shape, "bf16", False), (shape, "bf16", True))
        else:
            yield from (case for case in TARGETS if case[0] == shape)


def run(command):
    done = subprocess.run(command, stdout=subprocess.PIPE, universal_newlines=True)
    if done.returncode != 0:
        fail(f"{' '.join(command)}: exit status {done.returncode}")
    return json.loads(done.stdout.strip().splitlines()[-1])


def physical_cores():
    """Pairs of package and core; hardware threads of one core make products no faster."""
    try:
        with open("/proc/cpuinfo") as f:
            pairs = set(re.findall(r"physical id\s*: (\d+)(?:\n.+)*?\ncore id\s*: (\d+)", f.read()))
        allowed = len(os.sched_getaffinity(0))
        return min(len(pairs) or allowed, allowed)
    except (OSError, AttributeError):
        return os.cpu_count()


def git(*args):
    done = subprocess.run(("git",) + args, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, universal_newlines=True)
    return done.stdout.strip() if done.returncode == 0 else ""


class Results:
    """Adds a line a measurement to the file, with what it was made of."""

    def __init__(self):
        self.about = {"date": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"), "commit": git("rev-parse", "HEAD"),
                      "dirty": git("status", "--porcelain", "-uno", "--", ".", ":!" + RESULTS) != ""}
        self.machine = {}

    def add(self, shape, rows, m):
        if "chip" in m:
            self.machine = {key: m[key] for key in ("chip", "machine", "os")}
        line = dict(m)
        line.update(self.machine)
        line.update(self.about)
        line.update({"shape": shape, "rows": rows, "load_average": round(os.getloadavg()[0], 2)})
        with open(RESULTS, "a") as out:
            out.write(json.dumps(line, sort_keys=True) + "\n")


def median(values):
    values = sorted(values)
    return values[len(values) // 2]


def middle(runs):
    """The run whose speed is the median one."""
    return sorted(runs, key=lambda r: r["tokens_per_s"])[len(runs) // 2]


def share(ours, products):
    """Of the time of a step, what its matrix products alone would take at the machine's own rates."""
    def rate(part):  # as many operations forward as backward
        return 2 / (1 / products[part + "_forward_gflops"] + 1 / products[part + "_backward_gflops"])
    ideal = ours["layers_gflop_per_step"] / rate("layers") + ours["head_gflop_per_step"] / rate("head")
    return ideal * ours["steps"] / ours["wall_s"]


def table(rows):
    """Text in columns, the first ones to the left."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    for row in rows:
        print("  ".join(cell.ljust(w) if i < 3 else cell.rjust(w) for i, (cell, w) in enumerate(zip(row, widths))).rstrip())


def against(ratio, target, good):
    return f"{ratio:.2f}x" + ("" if target is None else f" ({'' if good else 'missed '}{target:g})")


def measure(case, repeat, rows, threads, results):
    """One line for each program, and their ratios."""
    shape, dtype, checkpointing = case
    model = f"build/bench/{shape}-bf16" + ("" if rows == 111 else f"-{rows}")
    more = ["--checkpointing"] if checkpointing else []
    # tune goes first: it names the machine that both are measured on.
    products = run(["bin/tune", "bench", "products", "--json", "--device", "cpu", "--model", model, "--dtype", DTYPES[dtype], "--threads", threads])
    ours, theirs = [], []
    for _ in range(repeat):
        ours.append(run(["bin/tune", "bench", "train", "--json", "--no-record", "--device", "cpu", "--model", model,
                         "--data", model + "/bench.jsonl", "--dtype", DTYPES[dtype], "--threads", threads] + more))
        results.add(shape, rows, ours[-1])
        theirs.append(run([sys.executable, "bench/baseline.py", "--model", model, "--dtype", dtype, "--threads", threads] + more))
        results.add(shape, rows, theirs[-1])
        a, b = ours[-1]["first_loss"], theirs[-1]["first_loss"]
        if not abs(round(a, 4) - b) <= AGREE[dtype] + 1e-9:
            fail(f"{model} {dtype}: the first loss of tune is {a}, that of baseline.py {b}: they do not do the same work, so no speed compares")
    results.add(shape, rows, products)

    a, b = middle(ours), middle(theirs)
    speed, memory = a["tokens_per_s"] / b["tokens_per_s"], median(r["peak_rss_gb"] for r in ours) / median(r["peak_rss_gb"] for r in theirs)
    target = TARGETS.get(case, (None, None))
    name = [shape, dtype + (" ckpt" if checkpointing else "")]

    def common(r):
        return [f"{r['tokens_per_s']:.1f}", f"{r['step_s_median']:.4f}", f"{r['peak_rss_gb']:.2f}", f"{r['first_loss']:.4f}", f"{r['last_loss']:.4f}"]
    return [name + ["baseline.py"] + common(b) + [""] * 5,
            name + ["tune"] + common(a) + [
                against(speed, target[0], target[0] is None or speed >= target[0]),
                against(memory, target[1], target[1] is None or memory <= target[1]),
                str(a["operators_per_step"]), f"{100 * share(a, products):.0f}%", f"{a['startup_s']:.2f}"]], products


def main():
    repeat, rows, threads = number("REPEAT", 1), number("ROWS", 111), str(number("THREADS", physical_cores()))
    results = Results()
    lines = [["shape", "dtype", "program", "tok/s", "step s", "peak GB", "first loss", "last loss", "speed", "memory", "operators", "share", "start-up s"]]
    rates = [["shape", "dtype", "of", "rows", "forward", "backward"]]
    for case in list(cases()):
        print("bench: " + " ".join((case[0], case[1], "checkpointing" if case[2] else "")), file=sys.stderr, flush=True)
        both, products = measure(case, repeat, rows, threads, results)
        lines += both
        if not case[2] or not any(r[:2] == [case[0], case[1]] for r in rates):
            rates += [[case[0], case[1], part, str(products[part + "_shape"][0]), f"{products[part + '_forward_gflops']:.0f}",
                       f"{products[part + '_backward_gflops']:.0f}"] for part in ("layers", "head")]
    print()
    table(lines)
    print("\nmatrix products, GFLOP/s\n")
    table(rates)
    about = results.machine
    print(f"\n{about.get('chip', '')}, {about.get('machine', '')}, {threads} threads; {rows} rows, each measured {repeat}x; lines added to {RESULTS}")
    if rows != 111:
        print("fewer rows than the benchmark's 111: a try, no result")


main()
