"""What the routes of the JSON API are given."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, model_validator

from cache.errors import UserError
from hearonce.ranking import Query

MOST_RESULTS = 200
"""Of one answer; further ones by `offset`."""

Name = Annotated[str, Field(max_length=300)]


class _Request(BaseModel):
    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)


class SearchRequest(_Request):
    """A query; see `POST /api/search`."""

    corpus: Name
    text: Annotated[str | None, Field(max_length=2000, description="A query in words.")] = None
    clip: Annotated[str | None, Field(max_length=4000, description="Id of a clip: more like this.")] = None
    upload: Annotated[str | None, Field(max_length=100, description="Id that `POST /api/uploads` gave.")] = None
    encoders: Annotated[list[Name], Field(max_length=8, description="Fused; none for the default.")] = []
    weights: Annotated[list[float] | None, Field(max_length=8, description="Of each encoder.")] = None
    words: Annotated[float, Field(ge=0, le=1, description="Share of the captions' full text.")] = 0.0
    subset: Name | None = None
    where: Annotated[str | None, Field(max_length=4000, description="Condition in SQL, as in a subset's YAML.")] = None
    group: Annotated[bool, Field(description="Neighbouring windows of a file as one result.")] = True
    offset: Annotated[int, Field(ge=0, le=100_000_000)] = 0
    limit: Annotated[int, Field(ge=1, le=MOST_RESULTS)] = 48

    @model_validator(mode="after")
    def _one_query(self) -> SearchRequest:
        if sum(one is not None for one in (self.text, self.clip, self.upload)) != 1:
            raise ValueError("give one query: text, clip or upload")
        return self

    @property
    def kind(self) -> str:
        """`text`, `clip` or `upload`."""
        return next(kind for kind in ("text", "clip", "upload") if getattr(self, kind) is not None)

    @property
    def value(self) -> str:
        """The query itself."""
        return str(getattr(self, self.kind))

    def query(self, file: str | None = None) -> Query:
        """The query for a searcher.

        Args:
            file: path of the upload.

        Raises:
            UserError: more weights than encoders, or the other way round.
        """
        weights = None if self.weights is None else tuple(self.weights)
        if weights is not None and len(weights) != max(1, len(self.encoders)):
            raise UserError(f"{len(self.encoders)} encoders take as many weights: got {len(weights)}.")
        return Query(
            self.corpus,
            "file" if file is not None else "text" if self.text is not None else "clip",
            file if file is not None else self.value,
            tuple(self.encoders),
            weights,
            self.words,
            self.subset or None,
            self.where or None,
        )


class SubsetRequest(_Request):
    """Clips to save as a subset."""

    corpus: Name
    name: Annotated[str, Field(max_length=100, description="Of the new file, without suffix.")]
    clips: Annotated[list[Annotated[str, Field(max_length=4000)]], Field(min_length=1, max_length=200_000)]
    note: Annotated[str | None, Field(max_length=2000)] = None
