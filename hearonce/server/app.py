"""The routes of the search server; see docs/search.md for the API."""

from __future__ import annotations

import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal

from anyio import CapacityLimiter
from anyio.to_thread import current_default_thread_limiter, run_sync
from fastapi import FastAPI, Query, Request
from fastapi.encoders import jsonable_encoder
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, JSONResponse
from fastapi.staticfiles import StaticFiles
from pydantic import BaseModel, ConfigDict, Field
from starlette.background import BackgroundTask
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from cache.errors import UserError
from hearonce.ranking import Kind
from hearonce.ranking import Query as SearchQuery
from hearonce.searcher import MOST_BY_INDEX, Searcher
from hearonce.server.clips import Clips
from hearonce.server.conditions import check_condition
from hearonce.server.guard import Guard
from hearonce.server.previews import LONGEST_CUT_S
from hearonce.server.uploads import Busy, Uploads
from hearonce.server.worker import Workers
from pipeline.config import layout
from pipeline.config.subsets import FOLDER
from pipeline.console.text import did_you_mean

STATIC = Path(__file__).parent / "static"
MOST_RESULTS = 200
MOST_THREADS, MEDIA_THREADS, UPLOAD_THREADS = 16, 4, 2
"""That answer; those that wait for images and previews, and for uploads: searches must not wait behind them."""

MIME_TYPES = {".webm": "video/webm", ".jpg": "image/jpeg", ".png": "image/png"}


class SearchRequest(BaseModel):
    """A query; exactly one of `text`, `clip` and `upload`."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    corpus: str
    text: Annotated[str | None, Field(max_length=2_000)] = None
    clip: str | None = None
    upload: str | None = None
    encoders: Annotated[list[str], Field(max_length=8)] = []
    weights: Annotated[list[float], Field(max_length=8)] | None = None
    words: Annotated[float, Field(ge=0, le=1)] = 0.0
    subset: str | None = None
    where: Annotated[str | None, Field(max_length=2_000)] = None
    group: bool = True
    exact: bool = False
    offset: Annotated[int, Field(ge=0)] = 0
    limit: Annotated[int, Field(ge=1, le=MOST_RESULTS)] = 48


class SubsetRequest(BaseModel):
    """Clips to be kept as a subset."""

    model_config = ConfigDict(extra="forbid")

    corpus: str
    name: Annotated[str, Field(max_length=100)]
    clips: Annotated[list[str], Field(min_length=1, max_length=200_000)]
    note: Annotated[str | None, Field(max_length=2_000)] = None


class NotHere(Exception):
    """What was asked for does not exist; answered with 404."""


def create_app(
    corpora: Sequence[str], token: str | None = None, device: str | None = None, loopback: bool = True
) -> FastAPI:
    """The server of some corpora of the project in the working directory.

    Args:
        corpora: that are served; others are not there.
        token: that every request needs; None for none.
        device: that encodes queries.
        loopback: whether it listens on a loopback address alone.
    """
    searcher = Searcher(device)
    workers = Workers()
    clips = Clips(searcher, workers)
    scratch = tempfile.TemporaryDirectory(prefix="hearonce-uploads-")
    uploads = Uploads(Path(scratch.name), workers)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        current_default_thread_limiter().total_tokens = MOST_THREADS
        yield
        uploads.close()
        workers.close()
        scratch.cleanup()

    media_threads, upload_threads = CapacityLimiter(MEDIA_THREADS), CapacityLimiter(UPLOAD_THREADS)
    app = FastAPI(title="hearonce", docs_url=None, redoc_url=None, lifespan=lifespan, redirect_slashes=False)
    app.add_middleware(Guard, token=token, loopback=loopback)  # type: ignore[arg-type]

    def served(corpus: str) -> str:
        if corpus not in corpora:
            raise NotHere(f"No corpus {corpus!r} is served: {did_you_mean(corpus, corpora)}")
        return corpus

    @app.exception_handler(UserError)
    async def user_error(request: Request, error: UserError) -> JSONResponse:
        return JSONResponse({"error": str(error)}, 422)

    @app.exception_handler(Busy)
    async def busy(request: Request, error: Busy) -> JSONResponse:
        return JSONResponse({"error": str(error)}, 503, {"retry-after": "60", "connection": "close"})

    @app.exception_handler(NotHere)
    async def not_here(request: Request, error: NotHere) -> JSONResponse:
        return JSONResponse({"error": str(error)}, 404)

    @app.exception_handler(HTTPException)
    async def http_error(request: Request, error: HTTPException) -> JSONResponse:
        return JSONResponse({"error": str(error.detail)}, error.status_code)

    @app.exception_handler(Exception)
    async def unforeseen(request: Request, error: Exception) -> JSONResponse:  # uvicorn prints the traceback
        return JSONResponse({"error": f"The server failed ({type(error).__name__}); its terminal tells more."}, 500)

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        first = jsonable_encoder(error.errors())[0]
        where = ".".join(str(part) for part in first["loc"][1:])
        return JSONResponse({"error": f"{where or 'body'}: {first['msg']}."}, 422)

    @app.get("/api/corpora", summary="Corpora, their encoders, subsets and maps")
    def list_corpora() -> list[dict[str, Any]]:
        return [_corpus(name) for name in corpora]

    def _corpus(name: str) -> dict[str, Any]:
        try:
            corpus = searcher.corpus(name)
        except UserError as error:
            return {"name": name, "clips": 0, "duration_s": 0.0, "captions": False, "subsets": [], "encoders": [],
                    "maps": [], "problem": str(error)}  # fmt: skip
        encoders = []
        try:
            default = searcher.default_encoder(name, "text")
        except UserError:
            default = None
        for encoder in searcher.encoders_of(name):
            problem = searcher.problem(name, encoder, "clip")
            able: dict[str, bool] = {
                kind: problem is None and searcher.problem(name, encoder, kind) is None for kind in _KINDS
            }
            dim = None
            try:
                dim = searcher.takes(encoder).dim
            except UserError as error:
                problem = problem or str(error)
            encoders.append({"name": encoder, **able, "dim": dim, "default": encoder == default, "problem": problem})
        table = corpus.table
        return {
            "name": name,
            "clips": len(table),
            "duration_s": round(float((table["stop_s"] - table["start_s"]).sum()), 3),
            "captions": bool((table["captions"].list.len() > 0).any()),
            "subsets": list(clips.subsets(corpus)),
            "encoders": encoders,
            "maps": [encoder for encoder in searcher.encoders_of(name) if layout.map_of(name, encoder).is_file()],
            "problem": None,
        }

    def _search(request: SearchRequest) -> dict[str, Any]:
        started = time.perf_counter()
        served(request.corpus)
        known = searcher.encoders_of(request.corpus)
        for encoder in request.encoders:
            if encoder not in known:
                raise NotHere(f"Corpus {request.corpus!r} has no encoder {encoder!r}: {did_you_mean(encoder, known)}")
        names = [path.stem for path in (FOLDER / request.corpus).glob("*.yaml")]
        if request.subset is not None and request.subset not in names:
            raise NotHere(
                f"Corpus {request.corpus!r} has no subset {request.subset!r}: {did_you_mean(request.subset, names)}"
            )
        if request.where:
            check_condition(request.where)
        given = [(kind, value) for kind in ("text", "clip", "upload") if (value := getattr(request, kind)) is not None]
        if len(given) != 1:
            raise UserError("Give one query: text, clip or upload.")
        kind, value = given[0]
        if kind == "upload":
            value = str(uploads.get(value).path)
        query = SearchQuery(
            request.corpus,
            "file" if kind == "upload" else kind,  # type: ignore[arg-type]
            value,
            tuple(request.encoders),
            None if request.weights is None else tuple(request.weights),
            request.words,
            request.subset,
            request.where,
            request.exact or request.offset + request.limit > MOST_BY_INDEX,
        )
        ranking = searcher.ranking(query)
        results, total = clips.page(ranking, request.offset, request.limit, request.group)
        if ranking.approximate and len(results) < request.limit:  # the rest of the page lies beyond the index
            ranking = searcher.ranking(replace(query, exact=True))
            results, total = clips.page(ranking, request.offset, request.limit, request.group)
        return {
            "corpus": request.corpus,
            "query": {"kind": kind, "value": given[0][1]},
            "encoders": list(ranking.encoders),
            "total": total,
            "approximate": ranking.approximate,
            "offset": request.offset,
            "seconds": round(time.perf_counter() - started, 4),
            "results": results,
        }

    # a response, not a dict: FastAPI would go through all results once more, in the thread of all connections
    @app.post("/api/search", summary="Clips most similar to a text, a clip or an uploaded file")
    def search(request: SearchRequest) -> JSONResponse:
        return JSONResponse(_search(request))

    @app.get("/api/search", summary="The same, for a browser's address line or curl")
    def search_by_get(request: Annotated[SearchRequest, Query()]) -> JSONResponse:
        return JSONResponse(_search(request))

    @app.get("/api/clip", summary="What is known of a clip")
    def clip_by_id(corpus: str, clip: str) -> dict[str, Any]:
        known = searcher.corpus(served(corpus))
        return clips.shown(known, known.row(clip))

    @app.head("/media", include_in_schema=False)
    @app.get("/media", summary="The file of a clip, in ranges", response_class=FileResponse)
    def media(corpus: str, clip: str) -> FileResponse:
        try:
            path = clips.original(served(corpus), clip)
        except UserError as error:
            raise NotHere(str(error)) from None
        return FileResponse(path, content_disposition_type="inline", filename=path.name)

    @app.get("/preview", summary="A small WebM of a clip", response_class=FileResponse)
    async def preview(corpus: str, clip: str) -> FileResponse:
        return await run_sync(_made, "preview", corpus, clip, limiter=media_threads)

    @app.get("/image", summary="A frame, waveform or spectrogram of a clip", response_class=FileResponse)
    async def image(
        corpus: str, clip: str, kind: Literal["frame", "waveform", "spectrogram"] = "waveform"
    ) -> FileResponse:
        return await run_sync(_made, kind, corpus, clip, limiter=media_threads)

    def _made(what: str, corpus: str, clip: str) -> FileResponse:
        path = clips.made(what, clips.media(served(corpus), clip))
        return FileResponse(
            path, media_type=MIME_TYPES[path.suffix], headers={"cache-control": "private, max-age=3600"}
        )

    @app.get("/cut", summary="Exactly a stretch of a clip's file, as FLAC or MP4", response_class=FileResponse)
    async def cut(corpus: str, clip: str, start: float, stop: float) -> FileResponse:
        return await run_sync(_cut, corpus, clip, start, stop, limiter=media_threads)

    def _cut(corpus: str, clip: str, start: float, stop: float) -> FileResponse:
        if not 0 <= start < stop <= start + LONGEST_CUT_S:
            raise UserError(f"A cut begins at 0 s or later and is at most {LONGEST_CUT_S:.0f} s long.")
        wanted = clips.media(served(corpus), clip).cut(start, stop)
        suffix = ".mp4" if wanted.video else ".flac"
        folder = tempfile.TemporaryDirectory(dir=scratch.name)
        path = Path(folder.name) / f"cut{suffix}"
        try:
            workers.run({"what": "cut", "media": wanted.json(), "out": str(path)})
        except UserError:
            folder.cleanup()
            raise
        name = f"{Path(clip).stem}-{start:g}-{stop:g}{suffix}"
        return FileResponse(path, filename=name, background=BackgroundTask(folder.cleanup))

    @app.post("/api/uploads", summary="A file as a query: its bytes are the body")
    async def upload(request: Request) -> dict[str, Any]:
        with uploads.arriving() as raw:
            try:
                with raw.open("wb") as file:
                    async for part in request.stream():
                        await run_in_threadpool(file.write, part)
            except ClientDisconnect:
                raise UserError("The sender has left.") from None
            if not raw.stat().st_size:
                raise UserError("The file is empty.")
            kept = await run_sync(uploads.add, raw, limiter=upload_threads)
        return {
            "upload": kept.id,
            "has_audio": kept.has_audio,
            "has_video": kept.has_video,
            "duration_s": kept.duration_s,
        }

    @app.post("/api/subsets", summary="Keep clips as a subset, to be searched and scored like any other")
    def save_subset(request: SubsetRequest) -> dict[str, Any]:
        from stages.search.saved import save

        corpus = searcher.corpus(served(request.corpus))
        unknown = [clip for clip in request.clips if clip not in corpus.rows]
        if unknown:
            raise UserError(f"Corpus {corpus.name!r} has no clip {unknown[0]!r}.")
        path = save(request.corpus, request.name, request.clips, request.note)
        return {
            "path": str(path),
            "clips": len(set(request.clips)),
            "command": f"hearonce score {request.corpus} {request.name}",
        }

    @app.get("/api/map", summary="All clips of a corpus in two dimensions")
    def clip_map(corpus: str, encoder: str) -> dict[str, Any]:
        from stages.search.map import read_map

        served(corpus)
        known = searcher.encoders_of(corpus)
        if encoder not in known:
            raise NotHere(f"Corpus {corpus!r} has no encoder {encoder!r}: {did_you_mean(encoder, known)}")
        try:
            return read_map(corpus, encoder)
        except UserError as error:
            raise NotHere(str(error)) from None

    @app.get("/", include_in_schema=False)
    def page() -> FileResponse:
        return FileResponse(STATIC / "index.html")

    @app.get("/docs", include_in_schema=False)
    def api_page() -> FileResponse:
        return FileResponse(STATIC / "api.html")

    app.mount("/static", StaticFiles(directory=STATIC), name="static")
    return app


_KINDS: tuple[Kind, ...] = ("text", "audio", "video")
