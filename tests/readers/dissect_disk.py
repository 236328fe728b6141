"""Writes the disk in an image to standard output, as dissect.hypervisor reads it.

    dissect_disk.py FORMAT IMAGE
"""
import sys
from pathlib import Path

from dissect.hypervisor.disk.qcow2 import QCow2
from dissect.hypervisor.disk.vdi import VDI
from dissect.hypervisor.disk.vhd import VHD
from dissect.hypervisor.disk.vhdx import VHDX
from dissect.hypervisor.disk.vmdk import VMDK

READERS = {"qcow2": QCow2, "vdi": VDI, "vpc": VHD, "vhdx": VHDX, "vmdk": VMDK}

kind, image = sys.argv[1], Path(sys.argv[2])
with image.open("rb") as file:
    disk = READERS[kind](file) if kind != "vmdk" else VMDK(image)
    # Some make a stream of themselves when they are asked to.
    stream = disk.open() if hasattr(disk, "open") and not hasattr(disk, "read") else disk
    left = stream.size
    while left:
        part = stream.read(min(left, 1 << 20))
        assert part, f"{left} bytes are missing"
        sys.stdout.buffer.write(part)
        left -= len(part)
