"""The measurements of bench/growth.sh: `tune bench train` at one batch, length and rank after the other."""
import datetime, json, os, random, subprocess, sys, tempfile


def numbers(name, usual):
    return [int(word) for word in os.environ.get(name, usual).split()]


def write_rows(path, rows, length, vocab):
    """Rows of random ids, all of one length; every token but the prompt's, a quarter of the row, is learned."""
    rng = random.Random(length)
    with open(path, "w") as out:
        for _ in range(rows):
            ids = [2] + [rng.randrange(4, vocab) for _ in range(length - 1)]
            prompt = length // 4
            out.write(json.dumps({"input_ids": ids, "labels": [-100] * prompt + ids[prompt:]}) + "\n")


def main():
    shape, model = sys.argv[1:]
    vocab = json.load(open(os.path.join(model, "config.json")))["vocab_size"]
    steps = numbers("STEPS", "5")[0]
    cases = [("batch", n, 128, 16) for n in numbers("BATCHES", "1 2 4 8 16")]
    cases += [("length", 1, n, 16) for n in numbers("LENGTHS", "64 128 256 512 1024 2048")]
    cases += [("rank", 4, 128, n) for n in numbers("RANKS", "4 8 16 32 64 128")]
    run = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")
    print(f"{'':8}{'dtype':10}{'batch':>6}{'length':>8}{'rank':>6}{'tok/s':>9}{'step s':>9}{'peak GB':>9}  load")
    with tempfile.TemporaryDirectory() as work, open("bench/growth.jsonl", "a") as results:
        rows = os.path.join(work, "rows.jsonl")
        for dtype in os.environ.get("DTYPES", "float32 bfloat16").split():
            for sweep, batch, length, rank in cases:
                write_rows(rows, batch * steps, length, vocab)
                load = round(os.getloadavg()[0], 2)
                command = ["bin/tune", "bench", "train", "--model", model, "--data", rows, "--dtype", dtype, "--json", "--no-record",
                           "--batch", str(batch), "--rank", str(rank), "--threads", os.environ.get("THREADS", "0")]
                done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
                if done.returncode != 0:
                    sys.exit(f"bench: error: {' '.join(command)}: exit status {done.returncode}")
                found = json.loads(done.stdout)
                line = {"run": run, "sweep": sweep, "shape": shape, "length": length, "load": load, **found}
                results.write(json.dumps(line) + "\n")
                results.flush()
                median = found["step_s_median"]
                print(f"{sweep:8}{found['dtype']:10}{batch:6}{length:8}{rank:6}{batch * length / median:9.0f}{median:9.4f}"
                      f"{found['peak_rss_gb']:9.3f}  {load}", flush=True)


main()
