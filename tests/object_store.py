"""A real server with the S3 interface (moto's) on the loopback interface."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import s3fs
from moto.moto_server.threaded_moto_server import ThreadedMotoServer

CREDENTIALS = {"AWS_ACCESS_KEY_ID": "somebody", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_DEFAULT_REGION": "us-east-1"}
REQUESTS = logging.getLogger("werkzeug")


class Requests(logging.Handler):
    """The requests that the server answers, as it logs them; nothing is printed."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        message = record.getMessage()
        if '"' in message:
            self.seen.append(message.split('"')[1])

    def gets(self, ending: str) -> int:
        """How often an object was read."""
        return sum(one.startswith("GET ") and one.split(" ")[1].endswith(ending) for one in self.seen)


class ObjectStore:
    """A running server.

    Attributes:
        environment: by which clients find it and are let in.
        requests: what it was asked.
    """

    def __init__(self, url: str, requests: Requests) -> None:
        self.environment = {"AWS_ENDPOINT_URL": url, **CREDENTIALS}
        self.requests = requests
        self._files = s3fs.S3FileSystem(
            key=CREDENTIALS["AWS_ACCESS_KEY_ID"],
            secret=CREDENTIALS["AWS_SECRET_ACCESS_KEY"],
            client_kwargs={"endpoint_url": url, "region_name": "us-east-1"},
            use_listings_cache=False,
        )

    def put(self, bucket: str, objects: dict[str, bytes]) -> None:
        """Writes objects, into a new bucket if there is none of that name."""
        if not self._files.exists(bucket):
            self._files.mkdir(bucket)
        for key, data in objects.items():
            self._files.pipe_file(f"{bucket}/{key}", data)

    def remove(self, bucket: str, key: str) -> None:
        self._files.rm_file(f"{bucket}/{key}")


@contextmanager
def serving_objects() -> Iterator[ObjectStore]:
    """Runs a server as long as the block lasts."""
    requests = Requests()
    REQUESTS.addHandler(requests)
    REQUESTS.setLevel(logging.INFO)
    REQUESTS.propagate = False
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=True)
    server.start()
    try:
        _, port = server.get_host_and_port()
        yield ObjectStore(f"http://127.0.0.1:{port}", requests)
    finally:
        server.stop()
        REQUESTS.removeHandler(requests)
