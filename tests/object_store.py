"""A real server with the S3 interface (moto's) on the loopback interface."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager

import boto3
from moto.moto_server.threaded_moto_server import ThreadedMotoServer

CREDENTIALS = {"AWS_ACCESS_KEY_ID": "somebody", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_DEFAULT_REGION": "us-east-1"}
REQUESTS = logging.getLogger("werkzeug")


class Requests(logging.Handler):
    """The requests that the server answers, as it logs them; nothing is printed."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[str, str]] = []

    def emit(self, record: logging.LogRecord) -> None:
        if request := re.search(r"([A-Z]+) (\S+) HTTP/", record.getMessage()):
            self.seen.append((request[1], request[2]))

    def gets(self, ending: str) -> int:
        """How often an object was read."""
        return sum(method == "GET" and path.endswith(ending) for method, path in self.seen)


class ObjectStore:
    """A running server.

    Attributes:
        environment: by which clients find it and are let in.
        requests: what it was asked.
    """

    def __init__(self, url: str, requests: Requests) -> None:
        self.environment = {"AWS_ENDPOINT_URL": url, **CREDENTIALS}
        self.requests = requests
        self._client = boto3.client(
            "s3",
            endpoint_url=url,
            aws_access_key_id=CREDENTIALS["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=CREDENTIALS["AWS_SECRET_ACCESS_KEY"],
            region_name=CREDENTIALS["AWS_DEFAULT_REGION"],
        )

    def put(self, bucket: str, objects: dict[str, bytes]) -> None:
        """Writes objects, into a new bucket if there is none of that name."""
        self._client.create_bucket(Bucket=bucket)
        for key, data in objects.items():
            self._client.put_object(Bucket=bucket, Key=key, Body=data)

    def remove(self, bucket: str, key: str) -> None:
        self._client.delete_object(Bucket=bucket, Key=key)


@contextmanager
def serving_objects() -> Iterator[ObjectStore]:
    """Runs a server as long as the block lasts."""
    requests = Requests()
    REQUESTS.addHandler(requests)
    REQUESTS.setLevel(logging.INFO)
    REQUESTS.propagate = False
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        _, port = server.get_host_and_port()
        yield ObjectStore(f"http://127.0.0.1:{port}", requests)
    finally:
        server.stop()
        REQUESTS.removeHandler(requests)
