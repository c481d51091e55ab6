#!/usr/bin/env python3
"""Fold the ids of bench.jsonl into a smaller vocabulary, so that its rows go with that vocabulary's tokenizer.

    fold_rows.py IN.jsonl OUT.jsonl SIZE

Lengths and labels stay where they were, and with them what a run needs: memory and time do not depend on which ids the
rows have. Ids below 4 are special and stay.
"""
import json, os, sys


def fold(i, size):
    return i if i < 4 else 4 + (i - 4) % (size - 4)


def main():
    source, target, size = sys.argv[1], sys.argv[2], int(sys.argv[3])
    with open(source) as rows, open(target + ".part", "w") as out:
        for row in rows:
            row = json.loads(row)
            out.write(json.dumps({key: [fold(i, size) for i in ids] for key, ids in row.items()}) + "\n")
    os.replace(target + ".part", target)


main()
