"""Runs the parts of the benchmark and writes the report; see scripts/bench."""

import argparse
import json
import sys
import time

import parts
import quick
import report
from places import REPO, scratch_folder
from tqdm import tqdm


def main():
    parser = argparse.ArgumentParser(prog="scripts/bench")
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--quick", action="store_true", help="ten ratios against their limits, in three minutes; fails where one is missed")
    how.add_argument("--try", dest="small", action="store_true", help="one run of everything with small images; writes below target/ only")
    how.add_argument("--release-figures", action="store_true", help="all parts but those that the defaults were chosen from, in 20 minutes")
    parser.add_argument("--only", choices=parts.PARTS, action="append", help="only this part; the others keep their figures")
    parser.add_argument("--runs", type=int, help="how often each row is measured; 5, or 7 with --quick")
    options = parser.parse_args()
    if options.quick:
        with scratch_folder() as (scratch, places), tqdm(unit=" runs", file=sys.stdout) as progress:
            raise SystemExit(0 if quick.compare(scratch, places, progress, options.runs or 7) else 1)
    runs = options.runs or (1 if options.small else 5)
    docs = REPO / "target" / "bench-try" if options.small else REPO / "docs"
    results = docs / "benchmarks" / "results.json"
    results.parent.mkdir(parents=True, exist_ok=True)
    rows = json.loads(results.read_text()) if results.exists() else []
    rows = [row for row in rows if row["from"] in parts.PARTS]
    chosen = options.only or [name for name in parts.PARTS if not (options.release_figures and name in parts.FOR_DEFAULTS)]
    for name in chosen:
        rows = [row for row in rows if row["from"] != name]
        began = time.monotonic()
        with scratch_folder() as (scratch, places), tqdm(unit=" runs", file=sys.stdout) as progress:
            rows += [{"from": name, **row} for row in parts.PARTS[name](scratch, places, progress, runs, options.small)]
        print(f"{name}: {time.monotonic() - began:.0f} s", flush=True)
        # After each part: what was measured is not lost where a later one fails.
        results.write_text(json.dumps(rows, indent=1) + "\n")
        report.write(rows, docs)
    print(f"written: {docs / 'BENCHMARKS.md'}")


if __name__ == "__main__":
    main()
