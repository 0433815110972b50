"""The web server of `metarl play`: the page, and the calls that it makes. It serves this machine alone."""

from __future__ import annotations

import json
import queue
import secrets
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.resources import files
from typing import Any
from urllib.parse import parse_qs, urlsplit

from envs.errors import EnvironmentFault, InputError, require, unknown
from metarl.backend.errors import NonFiniteError
from metarl.play.curves import curves
from metarl.play.policies import Offer
from metarl.play.trial import Trial

HOST = "127.0.0.1"
PAGE = {
    "/": ("page.html", "text/html"),
    "/page.css": ("page.css", "text/css"),
    "/page.js": ("page.js", "text/javascript"),
    "/scenes.js": ("scenes.js", "text/javascript"),
    "/charts.js": ("charts.js", "text/javascript"),
    "/tasks.js": ("tasks.js", "text/javascript"),
}
MOST_BYTES = 1_000_000
"""In a request."""
MOST_TRIALS = 16
"""That are kept; an older one ends where more begin."""


class Refused(Exception):
    """A request that is answered by a sentence and a status."""

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status


class Worker:
    """One thread does what others ask for, in order: OpenGL and learners belong to one thread."""

    def __init__(self) -> None:
        self.tasks: queue.Queue[tuple[Future, Callable[[], Any]] | None] = queue.Queue()

    def __call__(self, function: Callable[[], Any]) -> Any:
        """Its result, or what it raised."""
        future: Future = Future()
        self.tasks.put((future, function))
        return future.result()

    def work(self) -> None:
        """Work in this thread until `stop`."""
        while (task := self.tasks.get()) is not None:
            future, function = task
            try:
                future.set_result(function())
            except Exception as error:
                future.set_exception(error)

    def stop(self) -> None:
        """What was asked for before is still done."""
        self.tasks.put(None)


class Room:
    """The policies on offer and the trials that are played; its methods answer the calls of the page."""

    def __init__(self, offers: Mapping[str, Offer]) -> None:
        self.offers, self.trials = offers, OrderedDict[str, Trial]()
        self.player, self.comparer = Worker(), Worker()

    def policies(self, asked: Mapping[str, Any]) -> Any:
        return [offer.summary() for offer in self.offers.values()]

    def policy(self, asked: Mapping[str, Any]) -> Any:
        offer = self._offer(asked)
        return self.player(lambda: offer.details)

    def sample(self, asked: Mapping[str, Any]) -> Any:
        offer, split = self._offer(asked), asked.get("split", "test")
        require(isinstance(split, str), "split must be a text.")
        return self.player(lambda: {"task": offer.draw(split, secrets.randbits(62))})

    def begin(self, asked: Mapping[str, Any]) -> Any:
        """Make a trial of a policy on a task. The seed, by default another one each time, repeats a trial."""
        offer, task = self._offer(asked), asked.get("task")
        seed = asked.get("seed", secrets.randbits(40))
        whole = isinstance(seed, int) and not isinstance(seed, bool) and 0 <= seed < 2**62
        require(whole, f"seed must be a whole number from 0, not {seed!r}.")
        require(isinstance(task, dict), "task must be an object with the fields of a task.")
        assert isinstance(task, dict)
        trial = self.player(lambda: Trial(offer.agent, task, seed))
        id = secrets.token_hex(8)
        self.trials[id] = trial
        while len(self.trials) > MOST_TRIALS:
            self.trials.popitem(last=False)
        return {"trial": id, "seed": seed}

    def play(self, asked: Mapping[str, Any]) -> Any:
        trial = self._trial(asked)
        return self.player(trial.play)

    def curves(self, asked: Mapping[str, Any]) -> Any:
        offer, task = self._offer(asked), asked.get("task")
        require(isinstance(task, dict), "task must be an object with the fields of a task.")
        assert isinstance(task, dict)
        return self.comparer(lambda: curves(offer.twin, task))

    def frame(self, asked: Mapping[str, Any]) -> bytes:
        trial = self._trial(asked)
        try:
            stage, step = (int(asked.get(name, "")) for name in ("stage", "step"))
        except ValueError:
            raise InputError("stage and step must be whole numbers.") from None
        return self.player(lambda: trial.frame(stage, step))

    def _offer(self, asked: Mapping[str, Any]) -> Offer:
        name = str(asked.get("policy"))
        if name not in self.offers:
            raise Refused(404, str(unknown("policy", name, self.offers)))
        return self.offers[name]

    def _trial(self, asked: Mapping[str, Any]) -> Trial:
        trial = self.trials.get(str(asked.get("trial")))
        if trial is None:
            raise Refused(404, "There is no such trial; begin a new one.")
        return trial


GET = {name: f"/api/{name}" for name in ("policies", "policy", "frame")}
POST = {name: f"/api/{name}" for name in ("sample", "begin", "play", "curves")}


class Server(ThreadingHTTPServer):
    """Listens on the loopback address. Raises `OSError` where the port is taken; 0 takes a free one."""

    daemon_threads = True

    def __init__(self, offers: Mapping[str, Offer], port: int = 0) -> None:
        self.room = Room(offers)
        super().__init__((HOST, port), Handler)

    def run(self) -> None:
        """Serve until `stop` or an interrupt. Pictures are drawn in this thread, which also closes OpenGL at exit."""
        for target in (self.serve_forever, self.room.comparer.work):
            threading.Thread(target=target, daemon=True).start()
        try:
            self.room.player.work()
        finally:
            self.shutdown()
            self.room.comparer.stop()

    def stop(self) -> None:
        """End `run`."""
        self.room.player.stop()

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.server_port}/"

    @property
    def names(self) -> set[str]:
        """What a browser on this machine calls it."""
        return {f"{host}:{self.server_port}" for host in (HOST, "localhost")}


class Handler(BaseHTTPRequestHandler):
    server: Server
    server_version, sys_version = "metarl", ""

    def do_GET(self) -> None:
        self._answer(GET)

    def do_POST(self) -> None:
        self._answer(POST)

    def _answer(self, calls: Mapping[str, str]) -> None:
        """Do what a request asks for; a mistake becomes JSON with one sentence, `error`."""
        try:
            content, kind = self._content(calls)
        except Refused as error:
            self.send_error(error.status, str(error))
        except InputError as error:
            self.send_error(400, str(error))
        except (NonFiniteError, EnvironmentFault) as error:
            self.send_error(422, str(error))
        else:
            self._send(200, content, kind)

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Also what the base class refuses, such as other methods."""
        self._send(code, json.dumps({"error": message or f"Status {int(code)}."}).encode(), "application/json")

    def _send(self, status: int, content: bytes, kind: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind if kind == "image/png" else f"{kind}; charset=utf-8")
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Cache-Control", "no-store")
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Content-Security-Policy", "default-src 'self'; img-src 'self' data:; frame-ancestors 'none'")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def _content(self, calls: Mapping[str, str]) -> tuple[bytes, str]:
        self._check_sender()
        place = urlsplit(self.path)
        if place.path in PAGE:
            if self.command == "POST":
                raise Refused(405, f"{place.path} is a page to read, with GET.")
            name, kind = PAGE[place.path]
            return files("metarl.play").joinpath("page", name).read_bytes(), kind
        name = place.path.removeprefix("/api/")
        if calls.get(name) != place.path:
            known = {**GET, **POST}
            if known.get(name) == place.path:
                raise Refused(405, f"{place.path} takes {'POST' if name in POST else 'GET'}.")
            raise Refused(404, f"There is nothing at {place.path[:80]}.")
        asked = self._body() if calls is POST else {key: values[-1] for key, values in parse_qs(place.query).items()}
        found = getattr(self.server.room, name)(asked)
        return (found, "image/png") if isinstance(found, bytes) else (json.dumps(found).encode(), "application/json")

    def _check_sender(self) -> None:
        """Refuse what another site's page sends, also under a name that it lets point to this machine."""
        names, origin = self.server.names, self.headers.get("Origin")
        if self.headers.get("Host", "") not in names:
            raise Refused(403, f"This server answers to {' and '.join(sorted(names))} alone.")
        if origin is not None and origin not in {f"http://{name}" for name in names}:
            raise Refused(403, "This server answers its own page alone.")
        if self.headers.get("Sec-Fetch-Site", "same-origin") not in ("same-origin", "none"):
            raise Refused(403, "This server answers its own page alone.")

    def _body(self) -> dict[str, Any]:
        if self.headers.get_content_type() != "application/json":
            raise Refused(415, "A request must be application/json.")
        length = self.headers.get("Content-Length", "")
        if not length.isdecimal():
            raise Refused(411, "A request must say its Content-Length.")
        if int(length) > MOST_BYTES:
            self.close_connection = True
            raise Refused(413, f"A request may hold {MOST_BYTES:,} bytes.")
        try:
            asked = json.loads(self.rfile.read(int(length)))
        except (ValueError, RecursionError):
            raise InputError("The request is not JSON.") from None
        require(isinstance(asked, dict), "A request must be a JSON object.")
        return asked

    def log_message(self, format: str, *args: Any) -> None:
        """A page makes many requests: the terminal stays quiet."""

    def handle(self) -> None:
        try:
            super().handle()
        except ConnectionError:  # the page was closed meanwhile
            self.close_connection = True
