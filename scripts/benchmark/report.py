"""docs/BENCHMARKS.md and its pictures, from the rows of a run."""

import datetime
import pathlib
import platform

import goals
import pictures
from goals import find, first


def machine():
    cpu = next(line.split(":")[1].strip() for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name"))
    cores = pathlib.Path("/proc/cpuinfo").read_text().count("processor\t")
    memory = int(pathlib.Path("/proc/meminfo").read_text().split()[1]) // (1 << 20)
    return f"{cpu}, {cores} cores, {memory} GiB, Linux {platform.release()}, {datetime.date.today()}"


def table(head, rows):
    lines = ["| " + " | ".join(head) + " |", "| " + " | ".join("---" for _ in head) + " |"]
    return "\n".join(lines + ["| " + " | ".join(str(cell) for cell in row) + " |" for row in rows]) + "\n"


def pattern(row):
    return f"{'random' if row['mode'] == 'randread' else 'sequential'} {row['block']}, {row['readers']} reader{'s' if row['readers'] > 1 else ''}"


def read_tables(rows):
    text = []
    for system, image, cached in dict.fromkeys((r["file_system"], r["image"], r["cached"]) for r in rows):
        group = find(rows, file_system=system, image=image, cached=cached)
        state = "source in the page cache" if cached else "page cache dropped before each run"
        text.append(f"### {system}, {image}, {state}\n")
        text.append(table(["read", "what", "MB/s", "ratio to the first", "daemon CPU s/GiB", "daemon peak MiB"], [
            [pattern(r), r["target"], f"{r['mb_per_s']:,.0f}", f"{r['ratio']:.2f}",
             f"{r['cpu_s_per_gib']:.2f}" if r["peak_mib"] else "", f"{r['peak_mib']:.0f}" if r["peak_mib"] else ""]
            for r in group]))
    return "\n".join(text)


def default_table(rows):
    """A column for each setting: ratios to the source."""
    settings = list(dict.fromkeys(r["target"] for r in rows if r["target"] != "source"))
    patterns = list(dict.fromkeys((pattern(r), r["cached"]) for r in rows))
    cells = {(pattern(r), r["cached"], r["target"]): f"{r['ratio']:.2f}" for r in rows}
    return table(["read", "source", *settings], [
        [name, "cached" if cached else "uncached", *(cells[name, cached, setting] for setting in settings)]
        for name, cached in patterns])


def format_table(rows):
    """MB/s and CPU seconds of the daemon per GiB, by format and block."""
    targets = list(dict.fromkeys(r["target"] for r in find(rows, part="containers")))
    lines = []
    for image, block in dict.fromkeys((r["image"], r["block"]) for r in find(rows, part="containers")):
        cells = []
        for target in targets:
            found = find(rows, part="containers", image=image, block=block, target=target)
            cells.append(f"{found[0]['mb_per_s']:,.0f} / {found[0]['cpu_s_per_gib']:.2f}" if found else "")
        convert = f"{first(rows, 'mb_per_s', part='convert', image=image):,.0f} / {first(rows, 'cpu_s_per_gib', part='convert', image=image):.2f}"
        lines.append([image, block, *cells, convert if block == "1m" else ""])
    return table(["image", "block", *targets, "`qemu-img convert` to nowhere"], lines)


def clone_table(rows):
    """MB/s and ratio to the control, by file system and block."""
    targets = list(dict.fromkeys(r["target"] for r in rows))
    keys = dict.fromkeys((r["file_system"], r["block"]) for r in rows)
    cell = lambda r: f"{r['mb_per_s']:,.0f} ({r['ratio']:.2f})"
    return table(["file system", "block", *targets], [
        [system, block, *(cell(find(rows, file_system=system, block=block, target=target)[0]) for target in targets)] for system, block in keys])


def job_text(jobs):
    return [
        "## The whole job\n",
        "![The whole job as a time line](benchmarks/job.svg)\n",
        f"An image of {jobs[0]['image_bytes'] >> 20:,} MiB, in the page cache, by azcopy as a page blob into a service of the benchmark's own that discards what it gets and compares it with what it should be.\n",
        table(["way", "time s", "of it before azcopy s", "first byte sent after s", "bytes written"],
              [[r["way"], f"{r['wall_s']:.2f}", f"{r.get('prepared_s', 0):.2f}", f"{r['first_byte_s']:.2f}", f"{r['written_bytes']:,}"] for r in jobs]),
    ]  # fmt: skip


def runs_of(rows):
    """How often rows were measured, and which parts how often where that differs."""
    parts = {}
    for row in rows:
        if "runs" in row:
            parts.setdefault(len(row["runs"]), {})[row["from"]] = None
    if len(parts) < 2:
        return f"{next(iter(parts), 1)} interleaved runs"
    return " or ".join(f"{count} interleaved runs ({', '.join(names)})" for count, names in sorted(parts.items(), reverse=True))


def write(rows, docs):
    """Writes the document and its pictures."""
    folder = docs / "benchmarks"
    folder.mkdir(parents=True, exist_ok=True)
    text = ["# Benchmarks\n", f"Made by `scripts/bench`. {machine()}. Medians of {runs_of(rows)} in random order; noise of the machine is in them. "
            "Before each run of a view that the daemon serves, what the kernel had cached of the view was dropped; what it had cached of the source is stated at each table. "
            "What the kernel serves by itself is compared with a reflink copy of the same image that is read without FUSE, the caches of both filled anew before each run.\n"]
    formats, clones = find(rows, part="containers"), find(rows, part="passthrough")
    if formats:
        pictures.formats(rows, folder / "reads.svg")
        text += ["![Sequential reads by format](benchmarks/reads.svg)\n"]
    text += ["## Goals\n", table(["goal", "wanted", "measured", "met"], goals.lines(rows))]
    jobs = find(rows, part="job")
    if jobs:
        pictures.job(jobs, folder / "job.svg")
        text += job_text(jobs)
    if formats:
        text += ["## Formats\n", "By the daemon, on ext4, the images in the page cache: MB/s of the disk's bytes / CPU seconds of the daemon per GiB.\n", format_table(rows)]
    if clones:
        text += ["## Clones that the kernel serves\n", "MB/s, and the ratio to the reflink copy.\n", clone_table(clones)]
    listings = find(rows, part="listing")
    if listings:
        text += [f"## A folder of {listings[0]['images']:,} images\n", "The mount's caches dropped, the source's warm.\n",
                 table(["command", "source s", "vhdfs s", "ratio"], [[r["action"], f"{r['source']:.3f}", f"{r['vhdfs']:.3f}", f"{r['ratio']:.2f}"] for r in listings])]
    facts = find(rows, part="fact")
    if facts:
        text += ["## Single figures\n", table(["what", "measured", "goal"], [[r["name"], f"{r['value']:.2f}", r["goal"]] for r in facts])]
    chosen = find(rows, part="defaults")
    if chosen:
        text += ["## What the defaults were chosen from\n", "Direct engine, ratios to the source. Threads with the read-ahead that vhdfs sets where it may, 1024 KiB; read-ahead with the default number of threads, 4.\n",
                 default_table(chosen)]
    reads = [r for r in rows if r["part"] in ("reads", "sparse")]
    if reads:
        text += ["## Reads in full\n", read_tables(reads)]
    notes = docs / "benchmarks" / "notes.md"
    if notes.exists():
        text.append(notes.read_text())
    (docs / "BENCHMARKS.md").write_text("\n".join(text))
