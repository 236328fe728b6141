#!/usr/bin/env python3
"""Upload the view of one image as a page blob: only what holds data, in parallel, and from where it stopped.

    upload.py ~/images/disk.raw 'https://ACCOUNT.blob.core.windows.net/vhds/disk.vhd?SAS'
    upload.py --option=--min-size=30G --view /mnt/vhd/disk.vhd ~/images/disk.raw "$BLOB_URL"

It asks vhdfs which parts of the view hold data, puts those, and writes down each block that has arrived in a
state file (IMAGE.upload beside where it is run, or --state). Killed at any moment and started again, it goes on:
what was on its way, one block for each worker, is sent once more. At the end the pages of the blob must be those
that were sent, and with --manifest each block is downloaded and compared.

Needs vhdfs and the package azure-storage-blob. What the bytes depend on (--min-size, --gpt ...) is given to
vhdfs with --option, and must be what the mount of --view was made with. Without --view no FUSE is needed.
"""
import argparse
import concurrent.futures
import fcntl
import hashlib
import json
import os
import subprocess
import sys
import threading

from azure.core.exceptions import AzureError, ResourceNotFoundError
from azure.storage.blob import BlobClient, ExponentialRetry

BLOCK = 4 << 20  # The most that Put Page takes, and what a manifest has sums of.
GAP = 64 << 10  # Shorter holes are sent along: a request costs more than they do.
SECTOR = 512


class Failed(Exception):
    """A sentence for the user."""


def vhdfs(program, *arguments):
    """Standard output of vhdfs, which says on standard error what is wrong."""
    done = subprocess.run([program, *arguments], stdout=subprocess.PIPE)
    if done.returncode != 0:
        raise Failed(f"`vhdfs {' '.join(arguments)}` failed")
    return done.stdout


class Image:
    """What is uploaded: its size, its identity, and the parts of each block that hold data."""

    def __init__(self, program, path, options, block=BLOCK):
        self.program, self.path, self.options, self.block = program, path, options, block
        listed = json.loads(vhdfs(program, "list", "--json", *options, path))
        if len(listed["images"]) != 1:
            reasons = [skipped["reason"] for skipped in listed["skipped"]]
            raise Failed(f"{path}: name one image that appears {reasons}")
        self.size = listed["images"][0]["view_size"]
        self.unique_id = listed["images"][0]["unique_id"]
        found = json.loads(vhdfs(program, "map", "--json", *options, path))
        self.blocks = blocks_of(found["ranges"], block)

    def read_by_vhdfs(self, offset, length):
        span = f"{offset}-{offset + length}"
        return vhdfs(self.program, "cat", "--range", span, *self.options, self.path)


def blocks_of(ranges, block=BLOCK):
    """{number of a block: [(offset, length) of data in it]}, short holes being taken for data."""
    blocks = {}
    for found in ranges:
        if found["zero"]:
            continue
        start, end = found["offset"], found["offset"] + found["length"]
        while start < end:
            number = start // block
            stop = min(end, (number + 1) * block)
            parts = blocks.setdefault(number, [])
            if parts and start - sum(parts[-1]) < GAP:
                start = parts.pop()[0]
            parts.append((start, stop - start))
            start = stop
    return blocks


def view_reader(path, unique_id):
    """Reads a view on a mount. It is opened once, so that all reads are of one version, or fail."""
    file = os.open(path, os.O_RDONLY)
    footer = os.pread(file, SECTOR, os.fstat(file).st_size - SECTOR)
    found = footer[68:84].hex()
    if footer[:8] != b"conectix" or found != unique_id.replace("-", ""):
        raise Failed(f"{path}: is not the view of that image with those options")

    def read(offset, length):
        data = b""
        while len(data) < length:
            part = os.pread(file, length - len(data), offset + len(data))
            if not part:
                raise Failed(f"{path}: ends at {offset + len(data)}")
            data += part
        return data

    return read


def nonzero(offset, data):
    """The part of some data between the sectors of zeros at its ends; nothing where all is zero."""
    if not data.strip(b"\0"):
        return offset, b""
    head = (len(data) - len(data.lstrip(b"\0"))) // SECTOR * SECTOR
    tail = -(-len(data.rstrip(b"\0")) // SECTOR) * SECTOR
    return offset + head, data[head:tail]


def put_block(blob, read, parts):
    """Puts the parts of a block; returns [offset, length] of what was not zero."""
    sent = []
    for offset, length in parts:
        offset, data = nonzero(offset, read(offset, length))
        if data:
            # With a sum that the service checks. The client tries again by itself.
            blob.upload_page(data, offset, len(data), validate_content=True)
            sent.append([offset, len(data)])
    return sent


class State:
    """What has arrived: a line for the upload, and one for each block. A line that was cut off counts for nothing."""

    def __init__(self, path, head):
        self.file = open(path, "a+b")
        try:
            fcntl.flock(self.file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Failed(f"{path}: another upload is using it") from None
        self.path, self.lock, self.done, self.head = path, threading.Lock(), {}, None
        self.file.seek(0)
        text = self.file.read()
        whole = text[: text.rfind(b"\n") + 1]
        self.file.truncate(len(whole))
        for number, line in enumerate(whole.splitlines()):
            value = json.loads(line)
            if number == 0:
                self.head = value
            else:
                self.done[value["block"]] = value["sent"]
        if self.head not in (None, head):
            raise Failed(
                f"{path}: was made by the upload of another version of the image, or to another place; "
                "remove it to begin anew"
            )

    def begin(self, head):
        """Forgets what was done."""
        self.file.truncate(0)
        self.done = {}
        self.write(head)

    def add(self, block, sent):
        with self.lock:
            self.write({"block": block, "sent": sent})
            self.done[block] = sent

    def write(self, value):
        # One system call: it is there whole, or cut off at its end. What a kill leaves in the page cache
        # lasts; after a power cut some blocks are sent once more.
        os.write(self.file.fileno(), json.dumps(value).encode() + b"\n")


def prepare(blob, state, head, image):
    """Makes the blob, unless it is there from before."""
    try:
        found = blob.get_blob_properties()
        known = found.size == image.size and found.metadata.get("vhdfs_unique_id") == image.unique_id
    except ResourceNotFoundError:
        known = False
    if state.head is None or not known:
        blob.create_page_blob(image.size, metadata={"vhdfs_unique_id": image.unique_id})
        state.begin(head)


def check_pages(blob, sent):
    """Fails where the pages of the blob are not those that were sent."""
    def joined(ranges):
        whole = []
        for start, end in sorted(ranges):
            if whole and whole[-1][1] == start:
                whole[-1][1] = end
            else:
                whole.append([start, end])
        return whole

    # Nothing is cleared in an upload, so a range that is listed holds what was put there.
    found = joined((page.start, page.end + 1) for page in blob.list_page_ranges() if not page.cleared)
    wanted = joined((offset, offset + length) for offset, length in sent)
    if found != wanted:
        differing = [pair for pair in wanted if pair not in found] or [pair for pair in found if pair not in wanted]
        raise Failed(f"the blob's pages are not those that were sent, beginning with {differing[0]}")


def check_block(blob, offset, length, sum_of_block):
    """Fails where a block of the blob is not what the manifest says."""
    data = blob.download_blob(offset, length).readall()
    right = not data.strip(b"\0") if sum_of_block is None else hashlib.sha256(data).hexdigest() == sum_of_block
    if not right:
        raise Failed(f"the blob differs from the manifest in the {length} bytes at offset {offset}")


def check_manifest(blob, manifest, image, pool):
    """Compares all blocks with the manifest that `vhdfs manifest` made of the image."""
    with open(manifest) as file:
        views = [view for view in json.load(file)["views"] if view["unique_id"] == image.unique_id]
    if not views or views[0]["view_size"] != image.size:
        raise Failed(f"{manifest}: has no sums of this version of the image")
    jobs = [
        pool.submit(check_block, blob, number * BLOCK, min(BLOCK, image.size - number * BLOCK), wanted)
        for number, wanted in enumerate(views[0]["blocks"])
        if wanted is not None  # That nothing else has pages was checked before.
    ]
    for job in jobs:
        job.result()


def upload(args):
    image = Image(args.vhdfs, args.image, args.option, args.block)
    read = view_reader(args.view, image.unique_id) if args.view else image.read_by_vhdfs
    head = {"blob": args.url.split("?")[0], "unique_id": image.unique_id, "size": image.size, "block": args.block}
    state = State(args.state or os.path.basename(args.image) + ".upload", head)
    retries = ExponentialRetry(initial_backoff=1, increment_base=2, retry_total=args.retries)
    blob = BlobClient.from_blob_url(args.url, retry_policy=retries)
    prepare(blob, state, head, image)
    left = [number for number in image.blocks if number not in state.done]
    print(f"{len(image.blocks)} blocks hold data, {len(left)} are left", flush=True)
    with concurrent.futures.ThreadPoolExecutor(args.workers) as pool:
        def one(number):
            state.add(number, put_block(blob, read, image.blocks[number]))

        jobs = [pool.submit(one, number) for number in left]
        try:
            for count, job in enumerate(concurrent.futures.as_completed(jobs), 1):
                job.result()
                if sys.stderr.isatty():
                    print(f"\r{count} of {len(jobs)} blocks", end="", file=sys.stderr, flush=True)
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
        check_pages(blob, [part for number in image.blocks for part in state.done[number]])
        if args.manifest:
            check_manifest(blob, args.manifest, image, pool)
    # Without a mount each range opens the image anew, and it may have been another version by then.
    if json.loads(vhdfs(args.vhdfs, "list", "--json", *args.option, args.image))["images"][0]["unique_id"] != image.unique_id:
        raise Failed(f"{args.image}: changed while it was uploaded")
    os.remove(state.path)
    print(f"{head['blob']}: {image.size} bytes, verified")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("image", help="raw image")
    parser.add_argument("url", help="address of the blob, with a SAS that may create, read and write")
    parser.add_argument("--view", help="its view on a mount; by default `vhdfs cat` reads")
    parser.add_argument("--workers", type=int, default=8, help="requests at a time (default: 8)")
    parser.add_argument("--retries", type=int, default=8, help="tries of a request that fails (default: 8)")
    parser.add_argument("--state", help="the state file")
    parser.add_argument("--manifest", help="what `vhdfs manifest` wrote: download and compare all blocks at the end")
    parser.add_argument("--option", action="append", default=[], help="an option of vhdfs, such as --min-size=30G")
    parser.add_argument("--block", type=int, default=BLOCK, help=argparse.SUPPRESS)
    parser.add_argument("--vhdfs", default="vhdfs", help="the program")
    try:
        upload(parser.parse_args())
    except (Failed, AzureError, OSError) as error:
        sys.exit(f"upload: {error}")


if __name__ == "__main__":
    main()
