"""FFmpeg's filters over a whole video, as its command line runs them."""

from pathlib import Path

import av
import numpy as np


def filtered(path: Path, *filters: tuple[str, str]) -> list[np.ndarray]:
    """What `ffmpeg -vf …` makes of a file, as RGB arrays; filters as (name, arguments)."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        graph = av.filter.Graph()
        last = graph.add_buffer(template=stream)
        for name, arguments in (*filters, ("format", "rgb24")):
            added = graph.add(name, arguments)
            last.link_to(added)
            last = added
        last.link_to(graph.add("buffersink"))
        graph.configure()
        pictures = []

        def take():
            while True:
                try:
                    pictures.append(graph.vpull().to_ndarray())
                except (av.error.BlockingIOError, av.error.EOFError):
                    return

        for frame in container.decode(stream):
            graph.vpush(frame)
            take()
        graph.vpush(None)
        take()
    return pictures
