"""The two pictures of docs/BENCHMARKS.md."""

import matplotlib

matplotlib.use("svg")
# The same figures give the same file.
matplotlib.rcParams["svg.hashsalt"] = "vhdfs"
import matplotlib.pyplot as plt  # noqa: E402
from goals import find, first  # noqa: E402

OURS, CLONE = "vhdfs, by the daemon", "vhdfs, a clone served by the kernel (XFS)"
NAMES = {"vhdfs": OURS, "qemu-storage-daemon": "qemu-storage-daemon", "nbdfuse + qemu-nbd": "nbdfuse + qemu-nbd"}


def formats(rows, path):
    """Sequential reads of 1 MiB by format, against the peers."""
    names = ["raw", *dict.fromkeys(r["image"] for r in find(rows, part="containers"))]
    speed = lambda **wanted: first(rows, "mb_per_s", block="1m", **wanted) / 1000
    series = {label: [] for label in [CLONE, *NAMES.values()]}
    for name in names:
        series[CLONE].append(speed(part="passthrough", file_system="xfs", target=name))
        for target, label in NAMES.items():
            if name == "raw":
                value = speed(part="containers", target="vhdfs, raw") if target == "vhdfs" else float("nan")
            else:
                value = speed(part="containers", image=name, target=target)
            series[label].append(value)
    figure, axes = plt.subplots(figsize=(9, 4))
    width = 0.8 / len(series)
    for number, (label, values) in enumerate(series.items()):
        places = [place + (number - (len(series) - 1) / 2) * width for place in range(len(names))]
        axes.bar(places, [0 if value != value else value for value in values], width, label=label)
    axes.set_xticks(range(len(names)), names, rotation=20)
    axes.set(yscale="log", ylabel="GB/s", title="Sequential reads of 1 MiB, one reader, image in the page cache")
    axes.grid(axis="y", alpha=0.3)
    axes.legend(fontsize=8, ncols=2, loc="upper center", bbox_to_anchor=(0.5, -0.2))
    save(figure, path)


def job(rows, path):
    """The job as a time line: preparing, until the first byte is sent, sending."""
    ways = [r["way"] for r in rows][::-1]
    row = {r["way"]: r for r in rows}
    figure, axes = plt.subplots(figsize=(9, 3))
    steps = [
        ("`qemu-img convert`", lambda r: 0, lambda r: r.get("prepared_s", 0)),
        ("azcopy, until the first byte is sent", lambda r: r.get("prepared_s", 0), lambda r: r["first_byte_s"]),
        ("azcopy, sending", lambda r: r["first_byte_s"], lambda r: r["wall_s"]),
    ]
    for label, start, end in steps:
        axes.barh(ways, [end(row[way]) - start(row[way]) for way in ways], left=[start(row[way]) for way in ways], label=label)
    for place, way in enumerate(ways):
        written = row[way]["written_bytes"]
        note = f"{written / 1e9:.1f} GB written" if written else "nothing written"
        axes.text(row[way]["wall_s"], place, f" {note}", va="center", fontsize=8)
    axes.set_xlim(0, max(r["wall_s"] for r in rows) * 1.25)
    axes.set(xlabel="seconds", title=f"An image of {rows[0]['image_bytes'] >> 20:,} MiB becomes a page blob")
    axes.legend(fontsize=8, loc="lower right")
    save(figure, path)


def save(figure, path):
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)
