"""What was to be reached, and what was measured: one line each."""

import math
import statistics

import containers

# The same daemon replying with zeros from memory: what the kernel leaves possible.
CEILINGS = {"vhdfs": "ceiling: vhdfs, a hole", "vhdfs --direct-io": "ceiling: --direct-io, a hole"}
PEERS = ["xmount", "nbdkit + nbdfuse"]
UNCOMPRESSED = ["qcow2", "VHDX", "VDI", "dynamic VHD"]
COMPRESSED = ["qcow2 zlib", "qcow2 zstd", "VMDK stream"]


def find(rows, **wanted):
    return [r for r in rows if all(r.get(key) == value for key, value in wanted.items())]


def first(rows, key, **wanted):
    """What the first row has that is like this; NaN if there is none."""
    found = find(rows, **wanted)
    return found[0][key] if found else math.nan


def same_read(row):
    """What rows of other targets have in common with this one."""
    return {key: row[key] for key in ("file_system", "image", "mode", "block", "readers", "cached")}


def shares(rows, ours, base):
    """The speed of one target in parts of that of another, in every row that both have."""
    bases = [base] if isinstance(base, str) else base
    return [r["mb_per_s"] / max(c["mb_per_s"] for b in bases for c in find(rows, target=b, **same_read(r)))
            for r in find(rows, target=ours) if any(find(rows, target=b, **same_read(r)) for b in bases)]


def least(text, value, wanted):
    return [text, f"≥ {wanted}", f"{value:.2f}", met(value >= wanted, value)]


def most(text, value, wanted):
    return [text, f"≤ {wanted}", f"{value:.2f}", met(value <= wanted, value)]


def met(is_met, value):
    return "not measured" if math.isnan(value) else "yes" if is_met else "no"


def worst(values):
    return min(values, default=math.nan)


def lines(rows):
    """All goals, as the cells of a table."""
    return [*of_clones(rows), *of_the_direct_engine(rows), *of_formats(rows), *of_holes(rows), *of_the_job(rows), *of_facts(rows)]


def of_clones(rows):
    for system in ["xfs", "btrfs"]:
        for block, wanted in [("4k", 0.85), ("128k", 0.95), ("1m", 0.95)]:
            for image in ["raw", "qcow2", "VMDK sparse", "VHDX"]:
                value = first(rows, "ratio", part="passthrough", file_system=system, block=block, target=image)
                yield least(f"passthrough on {system}, {image}, {block}, to a reflink copy", value, wanted)
        for block in ["4k", "1m"]:
            value = first(rows, "ratio", part="reopened", file_system=system, block=block)
            yield least(f"passthrough on {system}, raw, {block}, opened again after its last close", value, 0.9)


def of_the_direct_engine(rows):
    reads = find(rows, part="reads", file_system="ext4", cached=True)
    for ours, ceiling in CEILINGS.items():
        yield least(f"{ours}, raw, share of its ceiling: worst row", worst(shares(reads, ours, ceiling)), 0.9)
    advantages = shares(reads, "vhdfs", PEERS)
    mean = statistics.geometric_mean(advantages) if advantages else math.nan
    yield least("vhdfs, raw, against the better peer: geometric mean", mean, 1.3)


def of_formats(rows):
    read = find(rows, part="containers")
    for names, to_peer, to_raw in [(UNCOMPRESSED, 2, 0.9), (["VMDK sparse"], 1.2, None), (COMPRESSED, 1.5, None)]:
        for name in names:
            mine = find(read, image=name)
            yield least(f"{name}, against qemu-storage-daemon: worst row", worst(shares(mine, "vhdfs", "qemu-storage-daemon")), to_peer)
            if to_raw:
                yield least(f"{name}, to our raw row: worst row", worst(shares(mine, "vhdfs", "vhdfs, raw")), to_raw)
            if name in COMPRESSED:
                ours = first(read, "cpu_s_per_gib", image=name, target="vhdfs", block="1m")
                theirs = first(rows, "cpu_s_per_gib", part="convert", image=name)
                yield least(f"{name}, 1m, per CPU second against `qemu-img convert`", theirs / ours if ours else math.nan, 1.0)
    cpu = lambda **wanted: first(rows, "cpu_s_per_gib", block=containers.UPLOADED, **wanted)
    yield most("CPU of the daemon, raw, 4m (s/GiB)", cpu(part="containers", target="vhdfs, raw"), 0.35)
    yield most("CPU of the daemon, passthrough, 1m (s/GiB)", first(rows, "cpu_s_per_gib", part="passthrough", file_system="xfs", target="raw", block="1m"), 0.05)


def of_holes(rows):
    for ours in ["vhdfs", "vhdfs --direct-io"]:
        mine = find(rows, part="sparse", target=ours, block="1m", **{"from": "holes"})
        yield least(f"{ours}, holes, 1m, cold, to the source", first(mine, "ratio", image="1 TiB, almost empty"), 1.0)
        yield least(f"{ours}, holes, 1m, warm, to a null reply", first(mine, "ratio", image="holes, warm"), 0.9)


def of_the_job(rows):
    wall = lambda way: first(rows, "wall_s", part="job", way=way)
    for image, wanted in [("raw", 1.05), ("qcow2", 1.05), ("qcow2 zlib", 1.15)]:
        value = wall(f"vhdfs, {image}") / wall("a VHD, already converted")
        yield most(f"azcopy of a view of {image}: time, to azcopy of a VHD that is there", value, wanted)
    for image in ["raw", "qcow2"]:
        yield most(f"the same: time, to `qemu-img convert` and azcopy, {image}", wall(f"vhdfs, {image}") / wall(f"qemu-img, {image}"), 0.75)
        yield most(f"the same: bytes written, {image}", first(rows, "written_bytes", part="job", way=f"vhdfs, {image}"), 0)


def of_facts(rows):
    for row in find(rows, part="fact"):
        if "least" in row:
            yield least(row["name"], row["value"], row["least"])
        if "most" in row:
            yield most(row["name"], row["value"], row["most"])
