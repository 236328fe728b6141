"""The blob service as the tests use it, through the Azure SDK for Python.

    blob.py container SERVICE_URL NAME     makes a container, prints its address with signature
    blob.py list CONTAINER_URL             every blob as JSON
    blob.py download CONTAINER_URL FOLDER  every blob into a folder
    blob.py upload CONTAINER_URL FILE NAME one file as a page blob
"""
import datetime
import json
import pathlib
import sys

from azure.storage.blob import (
    BlobServiceClient,
    BlobType,
    ContainerClient,
    ContainerSasPermissions,
    generate_container_sas,
)

# The account and key that Azurite documents and every installation of it has.
ACCOUNT = "devstoreaccount1"
KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="


def container(service_url: str, name: str) -> None:
    BlobServiceClient(service_url, credential=KEY).create_container(name)
    now = datetime.datetime.now(datetime.timezone.utc)
    day = datetime.timedelta(days=1)
    signature = generate_container_sas(
        ACCOUNT,
        name,
        account_key=KEY,
        permission=ContainerSasPermissions.from_string("racwdl"),
        start=now - day,
        expiry=now + day,
    )
    print(f"{service_url}/{name}?{signature}")


def pages(blob) -> list[list[int]]:
    """Half-open ranges with pages, neighbours joined: the service keeps them as they were sent."""
    joined = []
    for found in blob.list_page_ranges():
        assert not found.cleared
        if joined and joined[-1][1] == found.start:
            joined[-1][1] = found.end + 1
        else:
            joined.append([found.start, found.end + 1])
    return joined


def list_blobs(url: str) -> None:
    client = ContainerClient.from_container_url(url)
    print(json.dumps([
        {
            "name": blob.name,
            "kind": str(blob.blob_type.value),
            "size": blob.size,
            "pages": pages(client.get_blob_client(blob.name)) if blob.blob_type == BlobType.PAGEBLOB else [],
        }
        for blob in client.list_blobs()
    ]))


def download(url: str, folder: str) -> None:
    client = ContainerClient.from_container_url(url)
    for blob in client.list_blobs():
        target = pathlib.Path(folder, blob.name)
        target.parent.mkdir(parents=True, exist_ok=True)
        with open(target, "wb") as file:
            client.download_blob(blob.name).readinto(file)


def upload(url: str, path: str, name: str) -> None:
    client = ContainerClient.from_container_url(url)
    with open(path, "rb") as file:
        client.upload_blob(name, file, blob_type=BlobType.PAGEBLOB)


if __name__ == "__main__":
    command, *arguments = sys.argv[1:]
    {"container": container, "list": list_blobs, "download": download, "upload": upload}[command](*arguments)
