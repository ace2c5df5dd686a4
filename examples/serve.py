"""A small HTTP server that says what is in pictures.

    pip install ".[serve,openvino]"
    python examples/serve.py runs/InceptionResNetV1-digits --port 8000
    curl --data-binary @picture.jpg "http://127.0.0.1:8000/predict?top=3"

It serves whatever `ki.predictor` opens: a run folder, a `.keras` file, an exported network, the id
of public weights; or `none`, a small network with random weights. Requests that come together are
computed together (dynamic batching): the first of a batch waits `--max-delay` at most.

    POST /predict   an encoded image as the body; ?top=N: how many classes to name
    GET /health     what is served; 503 if it computes no more
    GET /metrics    counts and latencies, in Prometheus's text format

Answers are JSON. 400: no image, or a broken one; 408: a body that does not arrive; 413: too large;
503: too many are under way. On SIGTERM or Ctrl-C it takes no new connections, answers every request
that it has received, and ends.
"""

import argparse
import asyncio
import contextlib
import io
import signal
import time
from collections import Counter, deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import uvicorn
from PIL import Image
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, PlainTextResponse
from starlette.routing import Route

import keras_inception as ki
from keras_inception.inference.predictor import Predictor, predictor


@dataclass(frozen=True)
class Limits:
    """What the server takes on.

    Attributes:
        max_delay: seconds that a request waits for others to be computed with.
        max_bytes: of a body.
        max_body_seconds: in which a body must have arrived.
        max_pixels: of an image; a small file can hold a huge one.
        max_waiting: requests that may be under way, from the first byte of the body to the answer.
    """

    max_delay: float = 0.005
    max_bytes: int = 10_000_000
    max_body_seconds: float = 60.0
    max_pixels: int = 50_000_000
    max_waiting: int = 256


class Refused(Exception):
    """A request that is answered with an error: the status and the reason."""


class Batcher:
    """Computes together what arrives together.

    Args:
        network: the predictor; its batch size is the most that is computed together.
        limits: of which `max_delay` counts here.
    """

    def __init__(self, network: Predictor, limits: Limits) -> None:
        self.network = network
        self.limits = limits
        self.batches = self.images = 0
        self._computing: asyncio.Task | None = None
        self._waiting: asyncio.Queue = asyncio.Queue()
        self._compute = ThreadPoolExecutor(1, thread_name_prefix="compute")

    @contextlib.asynccontextmanager
    async def computing(self):
        """Compute batch after batch as long as the context lasts."""
        self._computing = asyncio.create_task(self._run())
        try:
            yield
        finally:
            self._computing.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._computing

    @property
    def computes(self) -> bool:
        """Whether an image that is given now will be computed."""
        return self._computing is not None and not self._computing.done()

    async def outputs(self, inputs: np.ndarray) -> np.ndarray:
        """Return the network's outputs of one prepared image, once its batch is computed."""
        loop = asyncio.get_running_loop()
        answer = loop.create_future()
        try:
            if self.computes:
                self._waiting.put_nowait((loop.time(), inputs, answer))
                ends = (answer, self._computing)
                await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
            if answer.done():
                return answer.result()
        finally:
            answer.cancel()  # if it is open still, nobody waits for it any more
        raise Refused(503, "the server computes no more; it has to be started again")

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            batch = await self._batch()
            rows = [row for _, inputs, _ in batch for row in inputs]
            try:
                outputs = await loop.run_in_executor(self._compute, self.network.run, rows)
            except Exception as error:  # of this batch; the next may go well
                for _, _, answer in batch:
                    if not answer.done():
                        answer.set_exception(error)
                continue
            self.batches += 1
            self.images += len(batch)
            for (_, _, answer), row in zip(batch, outputs, strict=True):
                if not answer.done():
                    answer.set_result(row)

    async def _batch(self) -> list[tuple]:
        """Wait for a request, and for others until it has waited long enough."""
        batch = [await self._waiting.get()]
        end = batch[0][0] + self.limits.max_delay
        while len(batch) < self.network.batch_size:
            left = end - asyncio.get_running_loop().time()
            try:
                if left > 0:
                    batch.append(await asyncio.wait_for(self._waiting.get(), left))
                else:
                    batch.append(self._waiting.get_nowait())
            except (asyncio.QueueEmpty, TimeoutError):
                break
        return batch


class Server:
    """The endpoints.

    Args:
        network: what predicts.
        limits: what is taken on.
    """

    def __init__(self, network: Predictor, limits: Limits) -> None:
        self.network = network
        self.limits = limits
        self.batcher = Batcher(network, limits)
        self.statuses: Counter[int] = Counter()
        self.seconds: deque[float] = deque(maxlen=10_000)  # of images that were computed
        self.in_flight = 0
        self.dropped = 0

    def app(self) -> Starlette:
        """Return the application, for uvicorn or another ASGI server."""
        routes = [
            Route("/predict", self.predict, methods=["POST"]),
            Route("/health", self.health),
            Route("/metrics", self.metrics),
        ]
        return Starlette(routes=routes, lifespan=self._lifespan)

    @contextlib.asynccontextmanager
    async def _lifespan(self, app: Starlette):
        """Compute between start and end. uvicorn ends this after the last request's answer."""
        async with self.batcher.computing():
            yield

    async def predict(self, request: Request) -> JSONResponse:
        """Answer with the likeliest classes of the image in the body."""
        began = time.perf_counter()
        self.in_flight += 1
        try:
            status, said = 200, await self._answer(request)
        except Refused as refused:
            status, said = refused.args[0], {"error": refused.args[1]}
        except ClientDisconnect:
            status, said = 499, {"error": "the client has closed the connection"}
        except asyncio.CancelledError:
            self.dropped += 1
            raise
        except Exception as error:  # a fault of the server's: said, counted, and it goes on
            status, said = 500, {"error": f"{type(error).__name__}: {error}"}
        finally:
            self.in_flight -= 1
        self.statuses[status] += 1
        if status == 200:
            self.seconds.append(time.perf_counter() - began)
        headers = {"Retry-After": "1"} if status == 503 else None
        return JSONResponse(said, status, headers=headers)

    async def _answer(self, request: Request) -> dict:
        if self.in_flight > self.limits.max_waiting:
            most = self.limits.max_waiting
            raise Refused(503, f"{most} requests are under way already; try again later")
        top = request.query_params.get("top", "5")
        if not (top.isascii() and top.isdigit() and len(top) < 10 and int(top)):
            raise Refused(400, f"top must be a whole number from 1, got {top[:20]!r}")
        seconds = self.limits.max_body_seconds
        try:
            async with asyncio.timeout(seconds):
                content = await self._body(request)
        except TimeoutError:
            raise Refused(408, f"the body had not arrived after {seconds:g} seconds") from None
        inputs = await asyncio.to_thread(self._inputs, content)
        outputs = await self.batcher.outputs(inputs)
        names = self.network.class_names or range(len(outputs))
        best = np.argsort(-outputs, kind="stable")[: int(top)]
        return {
            "classes": [{"name": str(names[i]), "probability": float(outputs[i])} for i in best]
        }

    async def _body(self, request: Request) -> bytes:
        """Return the body, or refuse it as soon as it is known to be too large."""
        content, most = bytearray(), self.limits.max_bytes
        async for chunk in request.stream():
            content += chunk
            if len(content) > most:
                raise Refused(413, f"the body has more than {most} bytes")
        return bytes(content)

    def _inputs(self, content: bytes) -> np.ndarray:
        """Decode and prepare an image; runs in a thread."""
        most = self.limits.max_pixels
        try:
            with contextlib.suppress(OSError), Image.open(io.BytesIO(content)) as image:
                pixels = image.width * image.height
                if pixels > most:  # else the predictor says what is wrong
                    raise Refused(413, f"the image has {pixels} pixels, more than {most}")
        except Image.DecompressionBombError as error:
            raise Refused(413, f"the image has too many pixels: {error}") from error
        try:
            return self.network.inputs(content)
        except ki.InputError as error:
            raise Refused(400, str(error)) from error

    async def health(self, request: Request) -> JSONResponse:
        """Say whether it serves, and what."""
        status = 200 if self.batcher.computes else 503
        return JSONResponse({"network": self.network.description}, status)

    async def metrics(self, request: Request) -> PlainTextResponse:
        """Say what has been done so far."""
        lines = [f'requests_total{{status="{s}"}} {n}' for s, n in sorted(self.statuses.items())]
        lines += [f"requests_in_flight {self.in_flight}"]
        lines += [f"batches_total {self.batcher.batches}", f"images_total {self.batcher.images}"]
        if self.seconds:
            for quantile in (0.5, 0.99):
                seconds = np.quantile(self.seconds, quantile)
                lines.append(f'request_seconds{{quantile="{quantile}"}} {seconds:.6f}')
        return PlainTextResponse("\n".join([*lines, ""]))


def listener(server: Server, host: str, port: int) -> uvicorn.Server:
    """Return what listens, to be started with `run()`; it ends well on SIGTERM and Ctrl-C."""
    return uvicorn.Server(
        uvicorn.Config(
            server.app(),
            host=host,
            port=port,
            log_level="warning",
        )
    )


def main() -> None:
    """Serve until told to end."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", help="what ki.predictor opens, or none: random weights")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--runtime", default="auto")
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--batch-size", type=int, default=16, help="most images of a batch")
    for name, kind in Limits.__annotations__.items():
        flag = f"--{name.replace('_', '-')}"
        parser.add_argument(flag, type=kind, default=getattr(Limits, name))
    options = parser.parse_args()
    model = options.model
    if model == "none":
        print("random weights: the answers mean nothing")
        model = ki.InceptionV3(weights=None, input_shape=(75, 75, 3), width=0.1, classes=10)
    limits = Limits(**{name: getattr(options, name) for name in Limits.__annotations__})
    with predictor(model, options.runtime, options.dtype, options.batch_size) as network:
        print(f"{network.description}, at http://{options.host}:{options.port}", flush=True)
        signal.signal(signal.SIGTERM, lambda *_: None)  # uvicorn ends, then sends it once more
        server = Server(network, limits)
        with contextlib.suppress(KeyboardInterrupt):
            listener(server, options.host, options.port).run()
    left = server.in_flight + server.dropped
    print(f"requests answered: {server.statuses.total()}, left: {left}")


if __name__ == "__main__":
    main()
