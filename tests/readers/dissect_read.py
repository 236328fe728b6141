"""Reads a fixed VHD with dissect.hypervisor, every sector, and compares it with the raw image.

    dissect_read.py RAW VHD VIRTUAL_SIZE
"""
import sys

from dissect.hypervisor.disk.vhd import VHD

STEP = 1 << 20

raw_path, vhd_path, virtual_size = sys.argv[1], sys.argv[2], int(sys.argv[3])
with open(raw_path, "rb") as raw, open(vhd_path, "rb") as file:
    vhd = VHD(file)
    assert vhd.size == virtual_size, f"size {vhd.size}, expected {virtual_size}"
    for offset in range(0, virtual_size, STEP):
        want = raw.read(STEP).ljust(STEP, b"\0")
        assert vhd.read(STEP) == want, f"the MiB at {offset} differs"
    assert vhd.read(1) == b"", "there is more than the disk"
