"""Runs the parts of the benchmark and writes the report; see scripts/bench."""

import argparse
import json
import sys

import parts
import report
from places import REPO, scratch_folder
from tqdm import tqdm


def main():
    parser = argparse.ArgumentParser(prog="scripts/bench")
    parser.add_argument("--quick", action="store_true", help="one run with small images; writes below target/ only")
    parser.add_argument("--only", choices=parts.PARTS, action="append", help="only this part; the others keep their figures")
    parser.add_argument("--runs", type=int, default=5)
    options = parser.parse_args()
    runs = 1 if options.quick else options.runs
    docs = REPO / "target" / "bench-quick" if options.quick else REPO / "docs"
    results = docs / "benchmarks" / "results.json"
    results.parent.mkdir(parents=True, exist_ok=True)
    rows = json.loads(results.read_text()) if results.exists() else []
    for name in options.only or parts.PARTS:
        rows = [row for row in rows if row.get("from") != name]
        with scratch_folder() as (scratch, places), tqdm(unit=" runs", file=sys.stdout) as progress:
            rows += [{"from": name, **row} for row in parts.PARTS[name](scratch, places, progress, runs, options.quick)]
        results.write_text(json.dumps(rows, indent=1) + "\n")
        report.write(rows, docs, runs)
    print(f"written: {docs / 'BENCHMARKS.md'}")


if __name__ == "__main__":
    main()
