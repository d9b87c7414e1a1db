from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest
import yaml
from language_server import SECRET, LanguageServer, serving

from cache import tables
from pipeline.config import layout
from pipeline.monitor.problems import EXIT_PROBLEMS
from stages.describe.command import describe


class Corpora:
    """Corpora with ingested tables, described by a server on loopback."""

    def __init__(self, server: LanguageServer) -> None:
        self.server = server
        self.described: dict[str, list[str]] = {}

    def add(self, corpus: str, captions: list[str], *names: str) -> None:
        """Writes tables with one clip per caption, each caption under an id of its own."""
        ids = [f"c{number}" for number in range(len(captions))]
        clips = [f"{number}.mp4" for number in range(len(captions))]
        rows = {
            "captions": [
                {"caption_id": one, "text": text, "source": "visual"} for one, text in zip(ids, captions, strict=True)
            ],
            "pairs": [{"clip_id": clip, "caption_id": one} for one, clip in zip(ids, clips, strict=True)],
            "relevancy": [
                {"clip_id": clip, "caption_id": one, "relevancy": 0.5} for one, clip in zip(ids, clips, strict=True)
            ],
            "questions": [
                {"question_id": "q0", "caption_id": ids[0], "clip_ids": clips[:5], "answer": 0, "type": "inter"}
            ],
            "subsets": [],
        }
        for name, found in rows.items():
            schema = getattr(tables, name.upper())
            tables.write_table(tables.table(found, schema), schema, layout.table(corpus, name))
        self.described[corpus] = list(names or ["fake"])
        self.params()

    def params(self) -> None:
        corpora = {corpus: {"media": "videos", "annotations": "captions.csv"} for corpus in self.described}
        descriptions = {corpus: names for corpus, names in self.described.items() if names}
        data = {"corpora": corpora, "embeddings": {}, "subsets": {}, "descriptions": descriptions}
        Path("params.yaml").write_text(yaml.safe_dump(data))

    def config(self, name: str = "fake", **changes) -> None:
        endpoint = {"base_url": self.server.url, "key_variable": "FAKE_KEY", "timeout_s": 20, "backoff_s": 0.01}
        endpoint |= changes.pop("endpoint", {})
        settings = {"model": "fake-1", "relevancy_prompt": None, "endpoint": endpoint} | changes
        Path(f"configs/descriptions/{name}.yaml").write_text(yaml.safe_dump(settings))

    def run(self, corpus: str = "mine", **options) -> list[str]:
        """Describes; the captions that were asked about."""
        before = len(self.server.requests)
        try:
            describe(corpus, **{"keep_going": True, **options})
        except SystemExit as stop:  # a budget that is used up
            assert stop.code == EXIT_PROBLEMS
        return self.server.asked()[before:]

    def table(self, name: str, corpus: str = "mine") -> pl.DataFrame:
        return tables.read_table(layout.described(corpus, name), getattr(tables, name.upper()))

    def texts(self, corpus: str = "mine") -> dict[str, str]:
        return dict(self.table("captions", corpus).select("caption_id", "text").iter_rows())

    def reasons(self, corpus: str = "mine") -> dict[str, str]:
        found = tables.read_table(layout.problems(corpus, "describe"), tables.PROBLEMS)
        return dict(found.select("id", "reason").iter_rows())


@pytest.fixture
def server():
    with serving(LanguageServer()) as one:
        yield one


@pytest.fixture
def corpora(project, server, monkeypatch) -> Corpora:
    monkeypatch.setenv("FAKE_KEY", SECRET)
    for variable in ("HEARONCE_MAX_REQUESTS", "HEARONCE_MAX_TOKENS", "OPENAI_BASE_URL", "OPENAI_API_KEY"):
        monkeypatch.delenv(variable, raising=False)
    made = Corpora(server)
    made.config()
    return made
