"""Reads ranges of a view in one way and compares each with what the oracle makes of the source.

    read_ranges.py RAW VIEW cached|direct|mapped SEED COUNT
"""
import errno
import mmap
import os
import random
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "oracle"))
import fixed_vhd

MIB = 1 << 20


def expected(raw):
    stat = os.stat(raw)
    with open(raw, "rb") as file:
        body = file.read()
    size = len(body)
    footer = fixed_vhd.footer(os.path.basename(os.fsencode(raw)), size, stat.st_mtime_ns // 10**9)
    return body.ljust(fixed_vhd.virtual_size(size), b"\0") + footer, size


def reader(view, way):
    flags = os.O_RDONLY | (os.O_DIRECT if way == "direct" else 0)
    file = os.open(view, flags)
    if way == "mapped":
        memory = mmap.mmap(file, 0, access=mmap.ACCESS_READ)
        return lambda offset, length: memory[offset:offset + length]
    if way == "direct":
        return direct_reader(file)
    return lambda offset, length: os.pread(file, length, offset)


def direct_reader(file):
    memory = mmap.mmap(-1, 5 * MIB)

    def read(offset, length):
        got = os.preadv(file, [memoryview(memory)[:length]], offset)
        return memory[:got]

    def read_any(offset, length):
        try:
            return read(offset, length)
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
        # What the kernel passes through has to be aligned as the file system below wants it.
        start = offset // 4096 * 4096
        blocks = -(-(offset + length - start) // 4096) * 4096
        return read(start, blocks)[offset - start:][:length]

    return read_any


def main():
    raw, view, way, seed, count = sys.argv[1:]
    want, size = expected(raw)
    end = len(want)
    read = reader(view, way)
    chance = random.Random(int(seed))
    # Where the source, its padding and the footer begin and end, and where holes do.
    borders = [0, 4096, MIB, 2 * MIB, size, end - 512, end]
    for _ in range(int(count)):
        around = chance.choice(borders) if chance.random() < 0.7 else chance.randrange(end)
        offset = min(max(around + chance.randrange(-9000, 9000), 0), end)
        length = int(2 ** chance.uniform(0, 22))
        got = read(offset, length)
        if got != want[offset:offset + length]:
            sys.exit(f"{way}: {length} bytes from {offset}: {len(got)} bytes, and wrong ones")


main()
