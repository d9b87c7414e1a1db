"""The search server: routes of the JSON API, media and the page."""

from __future__ import annotations

import logging
import mimetypes
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

from fastapi import FastAPI, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, JSONResponse, Response
from fastapi.staticfiles import StaticFiles
from starlette.exceptions import HTTPException

from cache.errors import UserError
from hearonce.searcher import Searcher
from hearonce.server.answers import Library, NotServed
from hearonce.server.conditions import check_condition
from hearonce.server.guard import Guard
from hearonce.server.requests import SearchRequest, SubsetRequest

STATIC = Path(__file__).parent / "static"

Name = Annotated[str, Query(max_length=300)]
ClipId = Annotated[str, Query(max_length=4000)]

log = logging.getLogger(__name__)


def create_app(
    searcher: Searcher,
    corpora: Sequence[str] = (),
    hosts: frozenset[str] | None = frozenset({"localhost", "127.0.0.1", "::1"}),
    token: str | None = None,
) -> FastAPI:
    """The application, to be run in the folder of a project.

    Args:
        searcher: that searches.
        corpora: that are shown; all of params.yaml by default.
        hosts: see `Guard`.
        token: likewise.
    """
    library = Library(searcher, corpora)
    app = FastAPI(title="hearonce search", docs_url=None, redoc_url=None, openapi_url="/openapi.json")
    app.add_middleware(Guard, hosts=hosts, token=token)
    _answer_errors(app)
    _add_search(app, library)
    _add_files(app, library)
    _add_page(app)
    return app


def _add_search(app: FastAPI, library: Library) -> None:
    @app.get("/api/corpora", tags=["search"])
    def corpora() -> list[dict[str, Any]]:
        """Corpora with their subsets, and with encoders and what each takes as a query."""
        return library.corpora()

    @app.post("/api/search", tags=["search"])
    def search(request: SearchRequest) -> dict[str, Any]:
        """Clips by a text, by a clip or by an uploaded file, best first."""
        start = time.perf_counter()
        library.check(request.corpus, request.encoders, request.subset or None)
        if request.where:
            check_condition(request.where)
        if request.clip is not None:
            library.clip(request.corpus, request.clip)
        file = None if request.upload is None else _upload(request.upload)
        ranking = library.searcher.ranking(request.query(file))
        total, results = library.page(ranking, request.group, request.offset, request.limit)
        return {
            "corpus": request.corpus,
            "query": {"kind": request.kind, "value": request.value},
            "encoders": list(ranking.encoders),
            "total": total,
            "offset": request.offset,
            "seconds": round(time.perf_counter() - start, 6),
            "results": results,
        }

    @app.get("/api/search", tags=["search"])
    def search_by_address(request: Annotated[SearchRequest, Query()]) -> dict[str, Any]:
        """The same with the fields in the address; `encoders` and `weights` may be repeated."""
        return search(request)

    @app.get("/api/clip", tags=["search"])
    def clip(corpus: Name, clip: ClipId) -> dict[str, Any]:
        """One clip, with the length of its file."""
        return library.described(corpus, clip)

    @app.post("/api/subsets", tags=["subsets"])
    def save_subset(request: SubsetRequest) -> dict[str, Any]:
        """Saves clips as `configs/subsets/CORPUS/NAME.yaml`, to be scored like any other subset."""
        raise HTTPException(501, "Subsets cannot be saved by this version.")

    @app.get("/api/map", tags=["map"])
    def map_of(corpus: Name, encoder: Name) -> dict[str, Any]:
        """All clips of a corpus as points of a plane."""
        raise HTTPException(501, "Maps cannot be shown by this version.")

    @app.post("/api/uploads", tags=["search"])
    async def upload(request: Request, name: Annotated[str, Query(max_length=300)] = "") -> dict[str, Any]:
        """Takes a file (the body) to search by."""
        raise HTTPException(501, "Files cannot be uploaded to this version.")


def _upload(upload: str) -> str:
    raise HTTPException(501, "Files cannot be uploaded to this version.")


def _add_files(app: FastAPI, library: Library) -> None:
    @app.api_route("/media", methods=["GET", "HEAD"], tags=["media"], response_class=Response)
    def media(corpus: Name, clip: ClipId) -> Response:
        """The file of a clip, whole or a range of its bytes."""
        source = library.file(corpus, clip)
        if not isinstance(source, Path):
            raise HTTPException(501, f"{source.name} lies on another machine: ask for /preview.")
        if source.is_dir():
            raise NotServed(f"{source.name} is a folder of frames: ask for /preview.")
        kind = mimetypes.guess_type(source.name)[0] or ""
        if not kind.startswith(("audio/", "video/")):
            kind = "application/octet-stream"
        return FileResponse(source, media_type=kind, headers={"cache-control": "private, no-cache"})

    @app.get("/preview", tags=["media"], response_class=Response)
    def preview(corpus: Name, clip: ClipId) -> Response:
        """A small version of a clip that every browser plays."""
        raise HTTPException(501, "Previews cannot be made by this version.")

    @app.get("/cut", tags=["media"], response_class=Response)
    def cut(corpus: Name, clip: ClipId, start: float, stop: float) -> Response:
        """Exactly the seconds from start to stop of the clip's file, as a download."""
        raise HTTPException(501, "Cuts cannot be made by this version.")

    @app.get("/image", tags=["media"], response_class=Response)
    def image(corpus: Name, clip: ClipId, kind: str = "frame") -> Response:
        """A picture of a clip: `frame`, `waveform` or `spectrogram`."""
        raise HTTPException(501, "Pictures cannot be made by this version.")


def _add_page(app: FastAPI) -> None:
    @app.get("/", include_in_schema=False)
    def page() -> Response:
        if not (STATIC / "index.html").is_file():
            raise HTTPException(501, "This version has no page: see /api for the JSON API.")
        return FileResponse(STATIC / "index.html")

    @app.get("/api", include_in_schema=False)
    def documentation() -> Response:
        return FileResponse(STATIC / "api.html")

    app.mount("/static", StaticFiles(directory=STATIC), name="static")


def _answer_errors(app: FastAPI) -> None:
    def answer(status: int, sentence: str, headers: Any = None) -> JSONResponse:
        return JSONResponse({"error": sentence}, status, headers)

    @app.exception_handler(UserError)
    async def mistaken(request: Request, error: UserError) -> Response:
        return answer(404 if isinstance(error, NotServed) else 400, str(error))

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> Response:
        return answer(422, "; ".join(_sentence(one) for one in error.errors()[:3]) + ".")

    @app.exception_handler(HTTPException)
    async def refused(request: Request, error: HTTPException) -> Response:
        return answer(error.status_code, str(error.detail), error.headers)

    @app.exception_handler(Exception)
    async def failed(request: Request, error: Exception) -> Response:
        return answer(500, f"The server failed ({type(error).__name__}); its log says more.")


def _sentence(error: Any) -> str:
    where = ".".join(str(part) for part in error["loc"] if part not in ("body", "query"))
    message = str(error["msg"]).removeprefix("Value error, ")
    return f"{where}: {message}" if where else message
