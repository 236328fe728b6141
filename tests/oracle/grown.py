#!/usr/bin/env python3
"""The oracle with the unique id that the contract gives to a disk made larger by --min-size.

`fixed_vhd.footer` leaves the minimum out of the id; the rest, and the command line, are the oracle's own.
"""
import struct
import sys

import fixed_vhd

footer_without = fixed_vhd.footer


def footer(name: bytes, raw_size: int, mtime_seconds: int, minimum: int = 0) -> bytes:
    body = bytearray(footer_without(name, raw_size, mtime_seconds, minimum))
    body[68:84] = fixed_vhd.unique_id(name, raw_size, mtime_seconds, minimum)
    body[64:68] = bytes(4)
    body[64:68] = struct.pack(">I", ~sum(body) & 0xFFFFFFFF)
    return bytes(body)


fixed_vhd.footer = footer

if __name__ == "__main__":
    sys.exit(fixed_vhd.main())
