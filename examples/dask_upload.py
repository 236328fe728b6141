#!/usr/bin/env python3
"""Upload a folder of images from many hosts at once, with dask.distributed.

    dask scheduler &                                  on one host
    dask worker tcp://SCHEDULER:8786 --no-nanny       on each host that sees the folder
    dask_upload.py tcp://SCHEDULER:8786 /srv/images 'https://ACCOUNT.blob.core.windows.net/vhds?SAS'

The client asks vhdfs what appears and which parts of it hold data; each worker mounts the folder by itself (or
uses `vhdfs cat --range` where it may not mount) and puts the parts that dask gives it. The bytes of a view are the
same on every host, and every worker makes sure of it by the unique id before it sends any. A worker that dies is
dask's business: its parts go to others. At the end the pages of each blob must be those that were sent, and workers
download and compare every block with the manifest.

Needs vhdfs, distributed and azure-storage-blob on all hosts, and upload.py beside this file.
"""
import argparse
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time

import distributed

import upload

TASK = 16  # Blocks of 4 MiB that a worker is given at once.


class Views(distributed.WorkerPlugin):
    """The views of the folder on a worker, through a mount of its own or `vhdfs cat`."""

    name = "vhdfs"

    def __init__(self, program, source, options):
        self.program, self.source, self.options = program, source, options

    def setup(self, worker):
        self.readers, self.mountpoint = {}, tempfile.mkdtemp(prefix="vhdfs-dask-")
        mounted = subprocess.run([self.program, "mount", *self.options, self.source, self.mountpoint])
        if mounted.returncode != 0:
            os.rmdir(self.mountpoint)
            self.mountpoint = None

    def teardown(self, worker):
        self.readers.clear()
        if self.mountpoint:
            subprocess.run([self.program, "umount", "--lazy", self.mountpoint], check=False)
            os.rmdir(self.mountpoint)

    def reader(self, image):
        """What reads a view; fails where it is not the one that the client saw."""
        key = image["view"], image["unique_id"]
        if key not in self.readers:
            if self.mountpoint:
                view = os.path.join(self.mountpoint, image["view"])
                self.readers[key] = upload.view_reader(view, image["unique_id"])
            else:
                path = os.path.join(self.source, image["source"])
                here = upload.Image(self.program, path, self.options)
                if here.unique_id != image["unique_id"]:
                    raise upload.Failed(f"{path}: is another version on this host")
                self.readers[key] = here.read_by_vhdfs
        return self.readers[key]


def put(image, url, blocks):
    """On a worker: puts these blocks; returns what was sent."""
    read = distributed.get_worker().plugins["vhdfs"].reader(image)
    with upload.BlobClient.from_blob_url(url) as blob:
        return [part for parts in blocks for part in upload.put_block(blob, read, parts)]


def prove(url, blocks):
    """On a worker: compares these blocks of a blob with their sums."""
    with upload.BlobClient.from_blob_url(url) as blob:
        for offset, length, wanted in blocks:
            upload.check_block(blob, offset, length, wanted)


def blob_url(container, view):
    path, signature = container.split("?", 1)
    return f"{path}/{view}?{signature}"


def pieces(values, count):
    return [values[start : start + count] for start in range(0, len(values), count)]


def run(client, what, function, jobs, key):
    """Has the workers do all jobs; returns (job, result) of each."""
    # Each has its number as its key, so that none is taken for another that looks the same.
    futures = {
        client.submit(function, *job[1:], key=f"{key}-{number}", pure=False, retries=5): job
        for number, job in enumerate(jobs)
    }
    done = []
    for future, result in distributed.as_completed(futures, with_results=True):
        done.append((futures[future], result))
        future.release()
        print(f"{what}: {len(done)} of {len(jobs)}", flush=True)
    return done


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scheduler", help="address of dask's scheduler")
    parser.add_argument("source", help="the folder of images, under the same path on all hosts")
    parser.add_argument("container", help="address of the container, with a SAS that may create, read and write")
    parser.add_argument("--option", action="append", default=[], help="an option of vhdfs, such as --min-size=30G")
    parser.add_argument("--task", type=int, default=TASK, help=f"blocks of 4 MiB in a task (default: {TASK})")
    parser.add_argument("--workers", type=int, default=1, help="wait for so many workers (default: 1)")
    parser.add_argument("--vhdfs", default="vhdfs", help="the program, on all hosts")
    args = parser.parse_args()
    try:
        upload_all(args)
    except (upload.Failed, upload.AzureError, OSError) as error:
        sys.exit(f"dask_upload: {error}")


def upload_all(args):
    began = time.monotonic()
    folder = str(pathlib.Path(args.source).resolve())
    images = json.loads(upload.vhdfs(args.vhdfs, "list", "--json", *args.option, folder))["images"]
    with distributed.Client(args.scheduler) as client:
        client.wait_for_workers(args.workers)
        client.upload_file(upload.__file__)
        client.register_plugin(Views(args.vhdfs, folder, args.option))
        sent = put_all(client, args, folder, images)
        # The sums are made here, while nothing else needs this host.
        manifest = json.loads(upload.vhdfs(args.vhdfs, "manifest", "--blocks-only", *args.option, folder))
        prove_all(client, args, images, manifest, sent)
        client.unregister_worker_plugin("vhdfs")
    size = sum(length for parts in sent.values() for _, length in parts)
    print(f"{len(images)} blobs, {size} bytes sent, verified, {time.monotonic() - began:.0f} s")


def put_all(client, args, folder, images):
    """Makes the blobs, and puts what holds data; returns what was sent of each view."""
    jobs, sent = [], {}
    for image in images:
        found = upload.Image(args.vhdfs, os.path.join(folder, image["source"]), args.option)
        url = blob_url(args.container, image["view"])
        with upload.BlobClient.from_blob_url(url) as blob:
            blob.create_page_blob(found.size, metadata={"vhdfs_unique_id": image["unique_id"]})
        sent[image["view"]] = []
        for blocks in pieces(list(found.blocks.values()), args.task):
            jobs.append((image["view"], image, url, blocks))
    for (view, *_), parts in run(client, "put", put, jobs, f"put-{time.time_ns()}"):
        sent[view] += parts
    return sent


def prove_all(client, args, images, manifest, sent):
    sums = {view["view"]: view for view in manifest["views"]}
    jobs = []
    for image in images:
        view, url = sums.get(image["view"]), blob_url(args.container, image["view"])
        if view is None or view["unique_id"] != image["unique_id"]:
            raise upload.Failed(f"{image['source']}: changed while it was uploaded")
        with upload.BlobClient.from_blob_url(url) as blob:
            upload.check_pages(blob, sent[image["view"]])
        size = view["view_size"]
        blocks = [
            (number * upload.BLOCK, min(upload.BLOCK, size - number * upload.BLOCK), wanted)
            for number, wanted in enumerate(view["blocks"])
            if wanted is not None
        ]
        jobs += [(image["view"], url, some) for some in pieces(blocks, args.task)]
    run(client, "prove", prove, jobs, f"prove-{time.time_ns()}")


if __name__ == "__main__":
    main()
