"""/static/: what the page needs beside itself, each file by its name and nothing else."""

from collections.abc import Mapping
from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

_FOLDER = Path(__file__).parent / "static"
TYPES: Mapping[str, str] = {
    "icon.svg": "image/svg+xml",
    "page.css": "text/css; charset=utf-8",
    "page.js": "text/javascript; charset=utf-8",
    "uPlot.iife.min.js": "text/javascript; charset=utf-8",
    "uPlot.min.css": "text/css; charset=utf-8",
}


def routes() -> list[Route]:
    """One for each file, which is read once."""
    return [_route(name, kind) for name, kind in TYPES.items()]


def _route(name: str, kind: str) -> Route:
    kept: list[bytes] = []

    async def file(_: Request) -> Response:
        if not kept:
            kept.append((_FOLDER / name).read_bytes())
        return Response(kept[0], headers={"Content-Type": kind})

    return Route(f"/static/{name}", file, methods=["GET"])
