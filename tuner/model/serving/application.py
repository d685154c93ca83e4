"""The addresses of the KServe v2 protocol, and what each answers."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import numpy as np
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from tuner.model.serving import protocol
from tuner.model.serving.intake import Intake, header_bytes
from tuner.model.serving.protocol import HEADER, Refused, Tensor
from tuner.model.serving.refusals import body_of, crashed, headers_of, no_answer
from tuner.model.serving.scheduler import Scheduler
from tuner.model.serving.statistics import exposition
from tuner.model.serving.waiting import Job, Outcome, Waiting

# Of all bodies that are read or wait, at least; a server of larger requests holds four of the largest.
_LEAST_HELD = 2**28
EXTENSIONS = ("binary_tensor_data", "model_configuration", "model_repository", "parameters",
              "schedule_policy", "statistics")  # fmt: skip


class Answers:
    """What each address answers.

    Args:
        scheduler: runs what is asked for.
        version: of the server.
    """

    def __init__(self, scheduler: Scheduler, version: str) -> None:
        self.scheduler, self.version = scheduler, version
        most = max((w.model.signature.most_body for w in scheduler.models.values()), default=0)
        self.intake = Intake(max(_LEAST_HELD, 4 * most))

    def routes(self) -> list[Route]:
        """Addresses, each with what answers it."""
        model, version = "/v2/models/{name}", "/v2/models/{name}/versions/{version}"
        found = [
            Route("/v2", self.server),
            Route("/v2/health/live", self.live),
            Route("/v2/health/ready", self.ready),
            Route("/v2/models/stats", self.all_statistics),
            Route("/v2/repository/index", self.index, methods=["POST"]),
            Route("/metrics", self.metrics),
        ]
        for base in (model, version):
            found += [
                Route(base, self.metadata),
                Route(f"{base}/ready", self.model_ready),
                Route(f"{base}/config", self.config),
                Route(f"{base}/stats", self.statistics),
                Route(f"{base}/infer", self.infer, methods=["POST"]),
            ]
        return found

    async def server(self, request: Request) -> Response:
        """What this server is."""
        return JSONResponse({"name": "tuner", "version": self.version, "extensions": list(EXTENSIONS)})

    async def live(self, request: Request) -> Response:
        """200 as long as it answers."""
        return JSONResponse({"live": True})

    async def ready(self, request: Request) -> Response:
        """200 while it takes requests."""
        ready = not self.scheduler.draining
        return JSONResponse({"ready": ready}, 200 if ready else 503)

    async def index(self, request: Request) -> Response:
        """The models there are."""
        return JSONResponse(
            [
                {"name": name, "version": w.model.version, "state": "READY", "reason": ""}
                for name, w in self.scheduler.models.items()
            ]
        )

    async def metadata(self, request: Request) -> Response:
        """A model's inputs and outputs; -1 is the batch, or a size that is known only when it runs."""
        model = self._model(request).model
        signature = model.signature

        def said(tensor: Tensor) -> dict[str, Any]:
            own = [-1] if tensor.shape is None else list(tensor.shape)
            shape = [-1, *own] if signature.most_rows else own
            return {"name": tensor.name, "datatype": tensor.datatype, "shape": shape}

        return JSONResponse(
            {
                "name": model.name,
                "versions": [model.version],
                "platform": "tuner_onnx",
                "inputs": [said(tensor) for tensor in signature.inputs],
                "outputs": [said(tensor) for tensor in signature.outputs],
            }
        )

    async def model_ready(self, request: Request) -> Response:
        """200 while a model takes requests."""
        name = self._model(request).model.name
        return JSONResponse({"name": name, "ready": not self.scheduler.draining},
                            503 if self.scheduler.draining else 200)  # fmt: skip

    async def config(self, request: Request) -> Response:
        """As Triton's model configuration, as far as there is something to say."""
        waiting = self._model(request)
        model = waiting.model

        def said(tensor: Tensor) -> dict[str, Any]:
            dims = [-1] if tensor.shape is None else list(tensor.shape)
            return {"name": tensor.name, "data_type": f"TYPE_{tensor.datatype}", "dims": dims}

        found: dict[str, Any] = {
            "name": model.name,
            "platform": "tuner_onnx",
            "max_batch_size": model.signature.most_rows,
            "input": [said(tensor) for tensor in model.signature.inputs],
            "output": [said(tensor) for tensor in model.signature.outputs],
        }
        if model.batches:
            found["dynamic_batching"] = {
                "preferred_batch_size": model.batches,
                "max_queue_delay_microseconds": round(waiting.most_delay_s * 1e6),
            }
        return JSONResponse(found)

    async def statistics(self, request: Request) -> Response:
        """A model's counts and times."""
        return JSONResponse({"model_stats": [_statistics(self._model(request))]})

    async def all_statistics(self, request: Request) -> Response:
        """Those of all models."""
        return JSONResponse({"model_stats": [_statistics(w) for w in self.scheduler.models.values()]})

    async def metrics(self, request: Request) -> Response:
        """For Prometheus."""
        models = {n: (w.model.version, w.statistics, len(w)) for n, w in self.scheduler.models.items()}
        return PlainTextResponse(exposition(models), media_type="text/plain; version=0.0.4")

    async def infer(self, request: Request) -> Response:
        """Runs a model on what is sent."""
        came = time.monotonic()
        waiting = self._model(request)
        try:
            body = await self.intake.read(request, waiting.model.signature.most_body)
        except ClientDisconnect:
            waiting.statistics.refused("gone")
            return Response(status_code=400)
        except Refused as why:
            waiting.statistics.refused("memory" if why.status == 503 else "invalid")
            raise
        try:
            asked = self._parsed(request, waiting, body)
            outputs = await self._outcome(request, waiting, asked, came)
            if outputs is None:
                return Response(status_code=400)  # nobody reads it
            pieces, json_bytes = protocol.answer(waiting.model.name, waiting.model.version, asked, outputs)
        finally:
            self.intake.release(len(body))
        binary = json_bytes is not None
        return Response(
            b"".join(pieces),
            headers={HEADER: str(json_bytes)} if binary else None,
            media_type="application/octet-stream" if binary else "application/json",
        )

    def _model(self, request: Request) -> Waiting:
        name = request.path_params["name"]
        waiting = self.scheduler.models.get(name)
        if waiting is None:
            raise Refused(404, f"there is no model {name[:100]!r}: {', '.join(self.scheduler.models)}")
        version = request.path_params.get("version", waiting.model.version)
        if version != waiting.model.version:
            raise Refused(
                404, f"model {name} has no version {version[:40]!r}: it has {waiting.model.version}"
            )
        return waiting

    def _parsed(self, request: Request, waiting: Waiting, body: bytes) -> protocol.Request:
        try:
            return protocol.parse(waiting.model.signature, body, header_bytes(request))
        except Refused:
            waiting.statistics.refused("invalid")
            raise

    async def _outcome(
        self, request: Request, waiting: Waiting, asked: protocol.Request, came: float
    ) -> Mapping[str, np.ndarray] | None:
        """The outputs; `None` where the client has gone.

        Raises:
            Refused: 429 where too much waits, 503 at the end of the request's own time, or while the server
                ends, 500 where the model fails.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Mapping[str, np.ndarray]] = loop.create_future()

        def settle(found: Outcome) -> None:
            if future.done():
                return
            if isinstance(found, Exception):
                future.set_exception(found)
            else:
                future.set_result(found)

        def done(found: Outcome) -> None:
            loop.call_soon_threadsafe(settle, found)

        job = Job(asked.arrays, asked.rows, done)
        try:
            self.scheduler.submit(waiting, job)
        except Refused as why:
            waiting.statistics.refused("queue" if why.status == 429 else "draining")
            raise
        left = None if asked.timeout_s is None else max(0.0, came + asked.timeout_s - time.monotonic())
        gone = loop.create_task(_disconnected(request))
        try:
            both: set[asyncio.Future[Any]] = {future, gone}
            await asyncio.wait(both, timeout=left, return_when=asyncio.FIRST_COMPLETED)
            if future.done():
                return future.result()
            waiting.statistics.refused("gone" if gone.done() else "timeout")
            if gone.done():
                return None
            raise no_answer(asked.timeout_s or 0.0)
        finally:
            gone.cancel()
            if not future.done():
                future.cancel()
                self.scheduler.drop(waiting, job)


def _statistics(waiting: Waiting) -> dict[str, Any]:
    return waiting.statistics.plain(waiting.model.name, waiting.model.version)


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def application(answers: Answers) -> Starlette:
    """The application; errors are `{"error": "one line"}`."""
    handlers: dict[Any, Callable[[Request, Exception], Awaitable[Response]]] = {
        Refused: _refused, HTTPException: _http, Exception: _crashed,
    }  # fmt: skip
    app = Starlette(routes=answers.routes(), exception_handlers=handlers)
    app.router.redirect_slashes = False
    return app


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, Refused)
    return Response(body_of(error), error.status, headers_of(error))


async def _http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    text = f"there is nothing at {request.url.path[:200]}"
    if error.status_code != 404:
        text = f"{request.method} {request.url.path[:200]} is not answered"
    return JSONResponse({"error": text}, error.status_code, error.headers)


async def _crashed(request: Request, error: Exception) -> Response:
    return await _refused(request, crashed())
