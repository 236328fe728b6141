#!/usr/bin/env python3
"""Reads views through memory mappings for a while, and judges every byte but the footers'.

usage: map_views.py MOUNTPOINT SECONDS READERS STABLE REPLACED IMAGES

The views are stable0.vhd ... and replaced0.vhd ..., STABLE and REPLACED of them. The files 0, 1, ...
in the folder IMAGES hold what may be in them; each begins with its own number in the upper 24 bits
of a little-endian word of 64 bits. A stable view holds the image of its own number. Prints the
number of reads.
"""

import mmap
import os
import random
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

MOUNTPOINT = sys.argv[1]
SECONDS = float(sys.argv[2])
READERS, STABLE, REPLACED = map(int, sys.argv[3:6])
IMAGES = sys.argv[6]
LENGTHS = (8, 4096, 65_536, 1 << 20)


def read_body(number):
    """All of a view but its footer."""
    with open(os.path.join(IMAGES, str(number)), "rb") as file:
        image = file.read()
    return image.ljust(-(-len(image) // (1 << 20)) * (1 << 20), b"\0")


# Read before the fork, so that all readers share them.
BODIES = [read_body(number) for number in range(len(os.listdir(IMAGES)))]


def read_view(rng):
    """Maps one view and reads it in some places; answers the number of reads."""
    stable = rng.randrange(STABLE) if rng.randrange(2) else None
    name = f"replaced{rng.randrange(REPLACED)}.vhd" if stable is None else f"stable{stable}.vhd"
    try:
        file = open(os.path.join(MOUNTPOINT, name), "rb")
    except OSError:
        # The version that the name stood for may be gone by now.
        if stable is not None:
            raise
        return 0
    kind = rng.choice((mmap.MAP_SHARED, mmap.MAP_PRIVATE))
    with file, mmap.mmap(file.fileno(), 0, flags=kind, prot=mmap.PROT_READ) as view:
        number = int.from_bytes(view[:8], "little") >> 40
        if stable not in (None, number) or number >= len(BODIES):
            raise AssertionError(f"{name}: holds image {number}")
        body = BODIES[number]
        in_order, reads = rng.randrange(2), 32
        for step in range(reads):
            length = rng.choice(LENGTHS)
            last = len(body) - length
            offset = step * length % (last + 1) if in_order else rng.randrange(last + 1)
            if view[offset : offset + length] != body[offset : offset + length]:
                raise AssertionError(f"{name}: wrong bytes at {offset}, image {number}")
    return reads


def read_views(seed):
    rng = random.Random(seed)
    end = time.monotonic() + SECONDS
    reads = 0
    while time.monotonic() < end:
        reads += read_view(rng)
    return reads


if __name__ == "__main__":
    with ProcessPoolExecutor(READERS, mp_context=get_context("fork")) as pool:
        print(sum(pool.map(read_views, range(READERS))))
