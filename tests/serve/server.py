"""`cohort serve` for the tests: starts it on ranks of this machine, and asks it things, seeing every byte."""

import asyncio
import http.client
import json
import os
import pathlib
import re
import signal
import sys
import tempfile
import time
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests/cluster"))

import job  # noqa: E402

MODEL = ROOT / "configs/quickstart/model"
READY_S = 180
PROMPT = "In the beginning God created"
# What Hugging Face makes of the model.
GOLDEN = json.loads((ROOT / f"tests/data/quickstart/{MODEL.name}.json").read_text())
KEY = "a-key-of-the-tests"
# How long mpirun lets the others live when one rank has died: a busy machine is slow to say so to all clients.
MPIRUN_PATIENCE_S = 3


class Answer:
    """A whole answer."""

    def __init__(self, status, headers, body):
        self.status = status
        self.headers = {name.lower(): value for name, value in headers}
        self.body = body

    @property
    def json(self):
        return json.loads(self.body)

    @property
    def error(self):
        """The error object, whose members are those of every error."""
        error = self.json["error"]
        assert set(error) >= {"message", "type", "param", "code"} and error["code"] == self.status, error
        return error


class Server:
    """A running server. Use as a context, at whose end nothing of it is left.

    tensor, pipeline: the layout; flags: of `cohort serve`, which go before those that are set here."""

    def __init__(self, cohort, *flags, tensor=1, pipeline=1, model=MODEL, command=None):
        program = [cohort, "serve", "--model", model, "--dtype", "float32", "--threads", 1, "--tp", tensor]
        program += ["--pp", pipeline, "--server-port", 0, *flags]
        self.num_ranks = tensor * pipeline
        variables = {"OMPI_MCA_odls_base_sigkill_timeout": str(MPIRUN_PATIENCE_S)}
        self.job = job.Job(command(program) if command else job.OneHost().command(self.num_ranks, *program), variables)
        self.headers = {}  # of every request
        self._port = None

    def __enter__(self):
        return self

    def __exit__(self, *details):
        self.job.__exit__(*details)

    def _await(self, what, condition, limit_s=READY_S):
        end = time.monotonic() + limit_s
        while True:
            # What was said last may be why it ended.
            has_ended = self.job.launcher.poll() is not None
            if result := condition():
                return result
            if has_ended or time.monotonic() > end:
                raise AssertionError(f"not {what}: code {self.job.launcher.poll()}, {self.job.err}")
            time.sleep(0.02)

    @property
    def port(self):
        if self._port is None:
            pattern = r"listening on http://127\.0\.0\.1:(\d+)"
            self._port = int(self._await("listening", lambda: re.search(pattern, self.job.err))[1])
        return self._port

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    def await_ready(self):
        self._await("ready", lambda: self.get("/health").status == 200)
        return self

    def request(self, method, path, body=None, headers=(), timeout_s=120):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout_s)
        try:
            if body is not None and not isinstance(body, bytes):
                body = json.dumps(body).encode()
            connection.request(method, path, body, {"Content-Type": "application/json"} | self.headers | dict(headers))
            answer = connection.getresponse()
            return Answer(answer.status, answer.getheaders(), answer.read())
        finally:
            connection.close()

    def get(self, path, **options):
        return self.request("GET", path, **options)

    def post(self, path, body, **options):
        return self.request("POST", path, body, **options)

    def complete(self, prompt, **fields):
        """The only choice of a greedy completion, with its token ids."""
        answer = self.post("/v1/completions", completion(prompt, **fields))
        assert answer.status == 200, answer.body
        (choice,) = answer.json["choices"]
        return choice

    def metrics(self):
        """Values by name, those of all labels added up, and by name with labels."""
        values = {}
        for line in self.get("/metrics").body.decode().splitlines():
            if line and not line.startswith("#"):
                name, value = line.rsplit(" ", 1)
                values[name] = float(value)
                if "{" in name:
                    plain = name.partition("{")[0]
                    values[plain] = values.get(plain, 0.0) + float(value)
        return values

    def await_metric(self, name, is_right, limit_s=60):
        """The value, as soon as it is as it should be."""
        end = time.monotonic() + limit_s
        while True:
            value = self.metrics()[name]
            if is_right(value):
                return value
            if time.monotonic() > end:
                raise AssertionError(f"{name} is {value} after {limit_s} s")
            time.sleep(0.02)

    def terminate(self):
        """SIGTERM to the launcher, as a user or a batch system sends it."""
        self.job.launcher.send_signal(signal.SIGTERM)

    def stop(self, limit_s=60):
        """The exit code after a SIGTERM, when every process is gone."""
        since = time.monotonic()
        self.terminate()
        _, seconds, left = self.job.await_end(since, limit_s)
        assert not left, f"left after {seconds:.1f} s: {left} {self.job.err}"
        return self.job.wait(5)

    def signal_rank(self, rank, number):
        os.kill(self.job.rank_pid(rank), number)


def completion(prompt, **fields):
    """The body of a greedy request."""
    return {"model": MODEL.name, "prompt": prompt, "temperature": 0, "return_token_ids": True} | fields


class Stream:
    """One streamed request over a connection of its own. Read events() to the end, or close() in the middle."""

    def __init__(self, port, path, body):
        self._port = port
        self._message = json.dumps(body | {"stream": True}).encode()
        self._path = path
        self._writer = None
        self.status = None
        self.headers = {}
        self.is_done = False  # [DONE] came
        self.token_ids = []  # of choice 0
        self.text = ""
        self.finish_reason = None
        self.error = None

    async def open(self):
        self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port)
        head = f"POST {self._path} HTTP/1.1\r\nHost: cohort\r\nContent-Type: application/json\r\n"
        self._writer.write(f"{head}Content-Length: {len(self._message)}\r\n\r\n".encode() + self._message)
        lines = (await self._reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        self.status = int(lines[0].split()[1])
        self.headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines[1:])}
        return self

    async def _chunks(self):
        if "chunked" not in self.headers.get("transfer-encoding", ""):
            yield await self._reader.readexactly(int(self.headers["content-length"]))
            return
        while size := int(await self._reader.readline(), 16):
            yield await self._reader.readexactly(size)
            await self._reader.readexactly(2)
        await self._reader.readline()

    async def events(self):
        """Each event's object. What it says is kept in the attributes. A connection that breaks raises
        asyncio.IncompleteReadError, ValueError or OSError."""
        buffer = b""
        async for chunk in self._chunks():
            if self.status != 200:
                self.error = json.loads(chunk)["error"]
                return
            buffer += chunk
            while (end := buffer.find(b"\n\n")) >= 0:
                data, buffer = buffer[:end], buffer[end + 2 :]
                assert data.startswith(b"data: "), data
                assert not self.is_done, data
                if data == b"data: [DONE]":
                    self.is_done = True
                    continue
                yield self._note(json.loads(data[6:]))
        assert not buffer, buffer

    def _note(self, event):
        if "error" in event:
            self.error = event["error"]
        for choice in event.get("choices", ()):
            if choice["index"] == 0:
                self.token_ids += choice.get("token_ids") or []
                self.text += choice.get("text") or choice.get("delta", {}).get("content") or ""
                self.finish_reason = choice["finish_reason"] or self.finish_reason
        return event

    async def read(self):
        """To the end; self."""
        try:
            await self.open()
            async for _ in self.events():
                pass
        finally:
            self.close()
        return self

    def close(self):
        if self._writer is not None:
            self._writer.transport.abort()


async def open_streams(running, count, min_tokens=2, **fields):
    """Streams that each have some tokens, and tasks that read them on."""
    streams = [Stream(running.port, "/v1/completions", completion(f"{PROMPT} {n}", **fields)) for n in range(count)]

    async def begin(stream):
        await stream.open()
        events = stream.events()
        while len(stream.token_ids) < min_tokens:
            await anext(events)
        return events

    async def finish(stream, events):
        try:
            async for _ in events:
                pass
            stream.ended = time.monotonic()
        finally:
            stream.close()

    rests = await asyncio.gather(*(begin(stream) for stream in streams))
    return streams, [asyncio.create_task(finish(stream, rest)) for stream, rest in zip(streams, rests)]


async def read_all(port, bodies):
    """A stream of each body, read to its end, all at once."""
    return await asyncio.gather(*(Stream(port, "/v1/completions", body).read() for body in bodies))


class KeyedServer:
    """For a test case: one server for all its tests, in cls.server, that asks for KEY; cls.folder has its files."""

    @classmethod
    def start_keyed(cls, cohort, *flags, files=None, **options):
        """files: text by name; a flag FOLDER/NAME stands for the path of one."""
        folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(folder.cleanup)
        cls.folder = pathlib.Path(folder.name)
        for name, text in ({"keys": f"{KEY}\n"} | (files or {})).items():
            (cls.folder / name).write_text(text)
        flags = [str(flag).replace("FOLDER", folder.name) for flag in flags]
        cls.server = Server(cohort, "--api-key-file", cls.folder / "keys", *flags, **options)
        cls.addClassCleanup(cls.server.__exit__)
        cls.server.headers = {"Authorization": f"Bearer {KEY}"}
        cls.server.await_ready()

    @classmethod
    def tearDownClass(cls):
        code = cls.server.stop()
        assert code == 0, f"code {code}: {cls.server.job.err}"


class ServerTest(unittest.TestCase):
    """Starts servers of `cohort`, which its module sets."""

    cohort = None

    def start(self, *flags, **options):
        running = Server(self.cohort, *flags, **options)
        self.addCleanup(running.__exit__)
        return running.await_ready()

    def answers(self, running):
        """That it still does what it should."""
        self.assertEqual(running.complete(PROMPT, max_tokens=4)["text"], " the heaven and the")
