"""docs/BENCHMARKS.md and its plots, from the rows of a run."""

import datetime
import math
import pathlib
import platform
import statistics

import matplotlib

matplotlib.use("svg")
# The same figures give the same file.
matplotlib.rcParams["svg.hashsalt"] = "vhdfs"
import matplotlib.pyplot as plt  # noqa: E402

PEERS = ["xmount", "nbdkit + nbdfuse"]

# The same daemon answering without reading or copying: what the kernel leaves possible.
CEILINGS = {"vhdfs": "ceiling: vhdfs, a hole", "vhdfs --direct-io": "ceiling: --direct-io, a hole"}


def machine():
    cpu = next(line.split(":")[1].strip() for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name"))
    cores = pathlib.Path("/proc/cpuinfo").read_text().count("processor\t")
    memory = int(pathlib.Path("/proc/meminfo").read_text().split()[1]) // (1 << 20)
    return f"{cpu}, {cores} cores, {memory} GiB, Linux {platform.release()}, {datetime.date.today()}"


def table(head, rows):
    lines = ["| " + " | ".join(head) + " |", "| " + " | ".join("---" for _ in head) + " |"]
    return "\n".join(lines + ["| " + " | ".join(str(cell) for cell in row) + " |" for row in rows])


def pattern(row):
    return f"{'random' if row['mode'] == 'randread' else 'sequential'} {row['block']}, {row['readers']} reader{'s' if row['readers'] > 1 else ''}"


def read_tables(rows):
    text = []
    for part, system, image, cached in sorted({(r["part"], r["file_system"], r["image"], r["cached"]) for r in rows}):
        group = [r for r in rows if (r["part"], r["file_system"], r["image"], r["cached"]) == (part, system, image, cached)]
        state = "source in the page cache" if cached else "page cache dropped before each run"
        text.append(f"### {system}, {image}, {state}\n")
        text.append(table(["read", "what", "MB/s", "ratio to the source", "daemon CPU s/GiB", "daemon peak MiB"], [
            [pattern(r), r["target"], f"{r['mb_per_s']:,.0f}", f"{r['ratio']:.2f}",
             f"{r['cpu_s_per_gib']:.2f}" if r["peak_mib"] else "", f"{r['peak_mib']:.0f}" if r["peak_mib"] else ""]
            for r in group]) + "\n")
    return "\n".join(text)


def default_table(rows):
    """A column for each setting: ratios to the source."""
    settings = list(dict.fromkeys(r["target"] for r in rows if r["target"] != "source"))
    patterns = list(dict.fromkeys((pattern(r), r["cached"]) for r in rows))
    cells = {(pattern(r), r["cached"], r["target"]): f"{r['ratio']:.2f}" for r in rows}
    return table(["read", "source", *settings], [
        [name, "cached" if cached else "uncached", *(cells[name, cached, setting] for setting in settings)]
        for name, cached in patterns])


def find(rows, **wanted):
    return [r for r in rows if all(r.get(key) == value for key, value in wanted.items())]


def same_read(row):
    """What rows of other targets have in common with this one."""
    return {key: row[key] for key in ("file_system", "image", "mode", "block", "readers", "cached")}


def goals(rows):
    """Each goal with what was measured."""
    lines = []

    def goal(text, value, least, limit=None):
        lines.append([text, f"≥ {least}", f"{value:.2f}", f"{limit:.2f}" if limit else "", "yes" if value >= least else "no"])

    def ratio(system, target, **wanted):
        found = find(rows, file_system=system, target=target, **wanted)
        return found[0]["ratio"] if found else math.nan

    for system in ["xfs", "btrfs"]:
        for block, least in [("4k", 0.9), ("128k", 0.95), ("1m", 0.95), ("4m", 0.95)]:
            goal(f"passthrough on {system}, cached, sequential {block}",
                 ratio(system, "vhdfs, passthrough", mode="read", block=block, readers=1, cached=True), least)
    for block, least in [("4k", 0.35), ("1m", 0.28)]:
        goal(f"direct engine, cached, sequential {block}", ratio("ext4", "vhdfs", mode="read", block=block, readers=1, cached=True), least)
    goal("direct engine, cold, 4 readers × 4m", ratio("ext4", "vhdfs", mode="read", block="4m", readers=4, cached=False), 0.9)
    goal("direct engine, O_DIRECT reader, sequential 4m", ratio("ext4", "vhdfs, O_DIRECT reader", mode="read", block="4m", readers=1, cached=True), 0.75)
    goal("--direct-io, sequential 1m", ratio("ext4", "vhdfs --direct-io", mode="read", block="1m", readers=1, cached=True), 0.45)
    goal("--direct-io, 4 readers × 4m", ratio("ext4", "vhdfs --direct-io", mode="read", block="4m", readers=4, cached=True), 0.45)
    for ours, ceiling in CEILINGS.items():
        shares = [r["mb_per_s"] / c["mb_per_s"] for r in find(rows, target=ours, part="reads", cached=True)
                  for c in find(rows, target=ceiling, **same_read(r))]
        if shares:
            goal(f"{ours}, share of its ceiling: worst row", min(shares), 0.9)
            goal(f"{ours}, share of its ceiling: geometric mean", statistics.geometric_mean(shares), 0.9)
    advantages, limits, best = [], [], []
    for r in find(rows, target="vhdfs", part="reads", file_system="ext4"):
        speed = lambda target: find(rows, target=target, **same_read(r))[0]["mb_per_s"]
        peer = max(map(speed, PEERS))
        advantages.append(r["mb_per_s"] / peer)
        limits.append(speed(CEILINGS["vhdfs"]) / peer)
        best.append(max(map(speed, CEILINGS)) / peer)
    if advantages:
        mean = statistics.geometric_mean
        goal("direct engine against the better peer: worst row", min(advantages), 1.3, min(limits))
        goal("direct engine against the better peer: geometric mean", mean(advantages), 2, mean(limits))
        goal("the better of both modes against the better peer: worst row", min(best), 1.3)
        goal("the better of both modes against the better peer: geometric mean", mean(best), 2)
    for image in ["50 % sparse", "1 TiB, almost empty"]:
        shares = [r["ratio"] for r in find(rows, image=image, target="vhdfs")]
        if shares:
            goal(f"{image}, cold, worst block size", min(shares), 1.0)
    return table(["goal (ratio)", "wanted", "measured", "limit", "met"], lines)


def plot_reads(rows, docs):
    names = {"source": "the source itself", "vhdfs": "vhdfs", "vhdfs --direct-io": "vhdfs --direct-io", "xmount": "xmount", "nbdkit + nbdfuse": "nbdkit + nbdfuse"}
    blocks = ["4k", "32k", "128k", "1m", "4m"]
    figure, axes = plt.subplots(figsize=(8, 4))
    for target, label in names.items():
        values = [found[0]["mb_per_s"] for block in blocks
                  if (found := find(rows, file_system="ext4", target=target, mode="read", block=block, readers=1, cached=True))]
        axes.plot(blocks[: len(values)], values, marker="o", label=label)
    passed = [found[0]["mb_per_s"] for block in blocks
              if (found := find(rows, file_system="xfs", target="vhdfs, passthrough", mode="read", block=block, readers=1, cached=True))]
    axes.plot(blocks[: len(passed)], passed, marker="s", linestyle="--", label="vhdfs, passthrough (XFS)")
    axes.set(yscale="log", ylabel="MB/s", xlabel="block size", title="Sequential reads, one reader, source in the page cache")
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    save(figure, docs / "reads.svg")


def plot_job(rows, docs):
    figure, axes = plt.subplots(1, 2, figsize=(8, 2.4))
    ways = [r["way"] for r in rows]
    axes[0].barh(ways, [r["wall_s"] for r in rows], label="until uploaded")
    axes[0].barh(ways, [r["first_byte_s"] for r in rows], label="until the first byte is sent")
    axes[0].set(xlabel="seconds")
    axes[0].legend(fontsize=7)
    axes[1].barh(ways, [r["written_bytes"] / 1e9 for r in rows])
    axes[1].set(xlabel="GB written to disk")
    figure.suptitle("A raw image into a page blob")
    save(figure, docs / "job.svg")


def save(figure, path):
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)


def write(rows, docs, runs):
    """Writes the document and its plots."""
    plots = docs / "benchmarks"
    plots.mkdir(parents=True, exist_ok=True)
    reads = [r for r in rows if r["part"] in ("reads", "sparse")]
    text = ["# Benchmarks\n", f"Made by `scripts/bench`. {machine()}. Medians of {runs} interleaved runs; noise of the machine is in them. "
            "Before each run of a view, what the kernel had cached of the view was dropped (not where it is passed through, which has no such cache); what it had cached of the source is stated at each table.\n"]
    if reads:
        plot_reads(reads, plots)
        text += ["![Sequential reads](benchmarks/reads.svg)\n", "## Goals\n",
                 "Limit: what the same daemon reaches that answers from a page of zeros, without reading or copying.\n", goals(reads) + "\n"]
    jobs = [r for r in rows if r["part"] == "job"]
    if jobs:
        plot_job(jobs, plots)
        text += ["## The whole job\n", "![The whole job](benchmarks/job.svg)\n",
                 f"A dense raw image of {jobs[0]['image_bytes']:,} bytes into Azurite with azcopy. By qemu-img: copy, resize, convert, upload.\n",
                 table(["way", "wall time s", "first byte sent after s", "bytes written to disk, and needed there at the peak"],
                       [[r["way"], f"{r['wall_s']:.1f}", f"{r['first_byte_s']:.2f}", f"{r['written_bytes']:,}"] for r in jobs]) + "\n"]
    listings = [r for r in rows if r["part"] == "listing"]
    if listings:
        text += [f"## A folder of {listings[0]['images']:,} images\n", "The mount's caches dropped, the source's warm.\n",
                 table(["command", "source s", "vhdfs s", "ratio"], [[r["action"], f"{r['source']:.3f}", f"{r['vhdfs']:.3f}", f"{r['ratio']:.2f}"] for r in listings]) + "\n"]
    facts = [r for r in rows if r["part"] == "fact"]
    if facts:
        text += ["## Single figures\n", table(["what", "measured", "goal (at most)"], [[r["name"], f"{r['value']:.2f}", r["goal"]] for r in facts]) + "\n"]
    chosen = [r for r in rows if r["part"] == "defaults"]
    if chosen:
        text += ["## What the defaults were chosen from\n", "Direct engine, ratios to the source. Threads with the read-ahead that vhdfs sets where it may, 1024 KiB; read-ahead with the default number of threads, 4.\n",
                 default_table(chosen) + "\n"]
    if reads:
        text += ["## Reads in full\n", read_tables(reads)]
    notes = docs / "benchmarks" / "notes.md"
    if notes.exists():
        text.append(notes.read_text())
    (docs / "BENCHMARKS.md").write_text("\n".join(text))
