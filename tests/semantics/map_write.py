"""Overwrites bytes of a file through a shared mapping: map_write.py FILE OFFSET TEXT"""
import mmap
import os
import sys

path, offset, text = sys.argv[1:]
file = os.open(path, os.O_RDWR)
memory = mmap.mmap(file, 0)
start = int(offset)
memory[start:start + len(text)] = text.encode()
memory.flush()
