"""Answers many questions to the oracle in one process: see `ask_oracle` in tests/it/harness/oracle.rs."""
import sys

import fixed_vhd

for line in sys.stdin:
    match line.split(" "):
        case ["geometry", size]:
            print(*fixed_vhd.geometry(int(size)))
        case ["footer", name, size, mtime]:
            footer = fixed_vhd.footer(bytes.fromhex(name), int(size), int(mtime))
            print(fixed_vhd.virtual_size(int(size)), footer.hex())
        case ["layout", size]:
            sys.argv[1:] = ["layout", size.strip()]
            fixed_vhd.main()
        case _:
            sys.exit(f"not a question: {line!r}")
