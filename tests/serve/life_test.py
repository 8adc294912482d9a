#!/usr/bin/env python3
"""The life of a server: drains, ranks that die or stop, mistakes at the start, and what comes in that is no request.

Run: life_test.py PATH_OF_COHORT [unittest arguments]. Prints how long each end took.
"""

import asyncio
import json
import os
import pathlib
import random
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
import unittest

import server
from server import MODEL, PROMPT, Server, Stream, completion

cohort = None

TERMINAL_S = 10.0  # until every stream under way has its last event
GONE_S = 15.0  # until every process is gone
LONG = {"max_tokens": 1800, "ignore_eos": True}


def run_cohort(*flags):
    """`cohort serve` to its end."""
    return subprocess.run([cohort, "serve", *map(str, flags)], capture_output=True, text=True, timeout=60)


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
        async for _ in events:
            pass
        stream.ended = time.monotonic()

    rests = await asyncio.gather(*(begin(stream) for stream in streams))
    return streams, [asyncio.create_task(finish(stream, rest)) for stream, rest in zip(streams, rests)]


class Life(unittest.TestCase):
    def start(self, *flags, **options):
        running = Server(cohort, *flags, **options)
        self.addCleanup(running.__exit__)
        return running.await_ready()

    def expect_end(self, running, what, since, code=None):
        """Everything is gone in time; code: the exit code, if not just any but 0."""
        _, seconds, left = running.job.await_end(since, GONE_S)
        self.assertEqual(left, [], f"{what}: left after {seconds:.1f} s: {running.job.err}")
        actual = running.job.wait(5)
        print(f"{what}: all gone after {seconds:.1f} s, exit code {actual}", flush=True)
        if code is None:
            self.assertNotEqual(actual, 0, running.job.err)
        else:
            self.assertEqual(actual, code, running.job.err)

    def answers(self, running):
        """That it still does what it should."""
        self.assertEqual(running.complete(PROMPT, max_tokens=4)["text"], " the heaven and the")


class Drain(Life):
    def test_streams_under_way_end_properly_and_new_ones_are_refused(self):
        running = self.start(tensor=2)

        async def drain():
            streams, readers = await open_streams(running, 6, max_tokens=400, ignore_eos=True)
            since = time.monotonic()
            running.terminate()
            health = {}
            while health.get("status") != "draining":
                answer = await asyncio.to_thread(running.get, "/health")
                health = answer.json
                self.assertLess(time.monotonic(), since + 5, health)
            self.assertEqual(answer.status, 503)
            refused = await asyncio.to_thread(running.post, "/v1/completions", completion(PROMPT))
            self.assertEqual(refused.status, 503)
            self.assertIn("retry-after", refused.headers)
            self.assertIn("shutting down", refused.error["message"])
            self.assertTrue(any(not reader.done() for reader in readers), "nothing was left to drain")
            await asyncio.gather(*readers)
            return streams, since

        streams, since = asyncio.run(drain())
        for stream in streams:
            self.assertEqual((stream.error, stream.finish_reason, stream.is_done), (None, "length", True))
            self.assertEqual(len(stream.token_ids), 400)
        self.expect_end(running, "SIGTERM with streams under way", since, code=0)

    def test_what_takes_too_long_is_ended_with_an_error(self):
        running = self.start("--drain-timeout-s", 1)

        async def drain():
            streams, readers = await open_streams(running, 3, **LONG)
            since = time.monotonic()
            running.terminate()
            await asyncio.gather(*readers)
            return streams, since

        streams, since = asyncio.run(drain())
        for stream in streams:
            self.assertTrue(stream.is_done)
            self.assertIn("shutting down", stream.error["message"])
            self.assertLess(stream.ended - since, 4)
        self.expect_end(running, "SIGTERM with a drain cut short", since, code=0)

    def test_second_signal_ends_at_once(self):
        running = self.start()

        async def stop():
            _, readers = await open_streams(running, 2, **LONG)
            os.kill(running.job.rank_pid(0), signal.SIGTERM)
            await asyncio.to_thread(running._await, "draining", lambda: running.get("/health").status == 503)
            since = time.monotonic()
            os.kill(running.job.rank_pid(0), signal.SIGTERM)
            await asyncio.gather(*readers, return_exceptions=True)
            return since

        self.expect_end(running, "a second SIGTERM", asyncio.run(stop()))


class Faults(Life):
    def strike(self, what, fault, rank=1, **layout):
        """A rank that fails under load: every stream has a last event, health is red, and all ends."""
        running = self.start(*layout.pop("flags", ()), **layout)

        async def load():
            streams, readers = await open_streams(running, 8, **LONG)
            since = time.monotonic()
            running.signal_rank(rank, fault)
            statuses = []

            async def watch_health():
                while True:
                    try:
                        statuses.append((await asyncio.to_thread(running.get, "/health", timeout_s=5)).status)
                    except OSError:
                        return
                    await asyncio.sleep(0.05)

            watch = asyncio.create_task(watch_health())
            results = await asyncio.gather(*readers, return_exceptions=True)
            await watch
            return streams, results, statuses, since

        streams, results, statuses, since = asyncio.run(load())
        for stream, result in zip(streams, results):
            self.assertIsNone(result, f"the stream just broke: {running.job.err}")
            self.assertIsNotNone(stream.error)
            self.assertEqual(stream.error["code"], 503)
            self.assertTrue(stream.is_done)
            self.assertIsNone(stream.finish_reason)
            self.assertLess(stream.ended - since, TERMINAL_S)
        self.assertIn(503, statuses)
        print(f"{what}: every stream ended after {max(s.ended for s in streams) - since:.1f} s", flush=True)
        self.expect_end(running, what, since)

    def test_killed_rank(self):
        self.strike("SIGKILL of rank 1 of 2", signal.SIGKILL, tensor=2)

    def test_killed_rank_of_the_last_stage(self):
        self.strike("SIGKILL of rank 3 of 4", signal.SIGKILL, rank=3, tensor=2, pipeline=2)

    def test_stopped_rank(self):
        self.strike("SIGSTOP of rank 1 of 2", signal.SIGSTOP, tensor=2)

    def test_killed_leader(self):
        running = self.start(tensor=2)

        async def load():
            streams, readers = await open_streams(running, 4, **LONG)
            since = time.monotonic()
            running.signal_rank(0, signal.SIGKILL)
            # Nobody is left to send a last event, but connections do not stay open.
            results = await asyncio.wait_for(asyncio.gather(*readers, return_exceptions=True), TERMINAL_S)
            return results, since

        results, since = asyncio.run(load())
        for result in results:
            self.assertIsInstance(result, (asyncio.IncompleteReadError, OSError, ValueError))
        self.expect_end(running, "SIGKILL of the leader", since)

    def test_pause_is_no_death(self):
        running = self.start(tensor=2)
        expected = running.complete(PROMPT, max_tokens=300, ignore_eos=True)["token_ids"]

        async def load():
            streams, readers = await open_streams(running, 2, max_tokens=300, ignore_eos=True)
            running.signal_rank(1, signal.SIGSTOP)
            await asyncio.sleep(2.0)
            running.signal_rank(1, signal.SIGCONT)
            await asyncio.gather(*readers)
            return streams

        for stream in asyncio.run(load()):
            self.assertEqual((stream.error, stream.is_done, len(stream.token_ids)), (None, True, 300))
        self.assertEqual(running.complete(PROMPT, max_tokens=300, ignore_eos=True)["token_ids"], expected)
        self.assertEqual(running.stop(), 0)


class Limits(Life):
    def test_full_queue_is_429(self):
        running = self.start("--max-seqs", 1, "--max-waiting", 2)

        async def fill():
            bodies = [completion(PROMPT, max_tokens=60, ignore_eos=True) for _ in range(12)]
            return await asyncio.gather(*(Stream(running.port, "/v1/completions", body).read() for body in bodies))

        streams = asyncio.run(fill())
        refused = [stream for stream in streams if stream.status == 429]
        self.assertGreater(len(refused), 0)
        for stream in streams:
            if stream.status == 429:
                self.assertIn("retry-after", stream.headers)
                self.assertEqual(stream.error["code"], 429)
            else:
                self.assertEqual((stream.status, len(stream.token_ids), stream.is_done), (200, 60, True))
        self.assertGreaterEqual(len(streams) - len(refused), 3)
        self.answers(running)

    def test_prompt_that_never_fits_the_cache_is_refused(self):
        running = self.start("--block-size", 16, "--num-blocks", 4)
        self.assertEqual(running.post("/v1/completions", completion([5] * 30, max_tokens=8)).status, 200)
        since = time.monotonic()
        answer = running.post("/v1/completions", completion([5] * 100, max_tokens=8))
        self.assertEqual((answer.status, answer.error["code"]), (400, 400))
        self.assertLess(time.monotonic() - since, 5)
        self.answers(running)

    def test_logits_that_are_no_numbers_fail_their_request_only(self):
        with tempfile.TemporaryDirectory() as name:
            model = pathlib.Path(name) / MODEL.name
            shutil.copytree(MODEL, model)
            poison(model, token=77)
            running = self.start(model=model, tensor=2)
            expected = running.complete(PROMPT, max_tokens=40, ignore_eos=True)["token_ids"]

            async def ask():
                bodies = [completion(PROMPT, max_tokens=40, ignore_eos=True) for _ in range(4)]
                bodies.insert(2, completion([0, 77, 5], max_tokens=40, ignore_eos=True))
                return await asyncio.gather(*(Stream(running.port, "/v1/completions", body).read() for body in bodies))

            streams = asyncio.run(ask())
            bad = streams.pop(2)
            self.assertIsNotNone(bad.error)
            self.assertEqual(bad.error["code"], 500)
            self.assertEqual(bad.token_ids, [])
            for stream in streams:
                self.assertEqual((stream.token_ids, stream.is_done), (expected, True))
            failed = [name for name in running.metrics() if name.startswith("cohort:") and "error" in name]
            self.assertGreater(sum(running.metrics()[name] for name in failed), 0, failed)
            self.assertEqual(running.complete(PROMPT, max_tokens=40, ignore_eos=True)["token_ids"], expected)


def poison(model, token):
    """The model reads NaN where it embeds `token`, and writes what it did: its tied output layer gets a tensor of its own."""
    config = json.loads((model / "config.json").read_text())
    config["tie_word_embeddings"] = False
    (model / "config.json").write_text(json.dumps(config))
    file = model / "model.safetensors"
    whole = file.read_bytes()
    (size,) = struct.unpack_from("<Q", whole)
    header, data = json.loads(whole[8 : 8 + size]), bytearray(whole[8 + size :])
    embedding = header["model.embed_tokens.weight"]
    assert embedding["dtype"] == "BF16", embedding
    begin, end = embedding["data_offsets"]
    header["lm_head.weight"] = embedding | {"data_offsets": [len(data), len(data) + end - begin]}
    data += data[begin:end]
    row_bytes = 2 * embedding["shape"][1]
    data[begin + token * row_bytes : begin + (token + 1) * row_bytes] = b"\xc0\x7f" * embedding["shape"][1]
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    file.write_bytes(struct.pack("<Q", len(text)) + text + data)


class Strangers(Life):
    def test_random_bytes(self):
        running = self.start(tensor=2)
        draw = random.Random(11)
        paths = self.local_sockets(running)
        self.assertTrue(paths, "no local socket of the engine link was found")

        async def load():
            streams, readers = await open_streams(running, 2, max_tokens=300, ignore_eos=True)
            await asyncio.to_thread(self.throw_bytes, draw, running.port, paths)
            await asyncio.gather(*readers)
            return streams

        for stream in asyncio.run(load()):
            self.assertEqual((stream.error, stream.is_done, len(stream.token_ids)), (None, True, 300))
        self.answers(running)
        self.assertEqual(running.stop(), 0)

    def local_sockets(self, running):
        """Paths of the local sockets that the leader listens at."""
        inodes = set()
        folder = pathlib.Path(f"/proc/{running.job.rank_pid(0)}/fd")
        for link in folder.iterdir():
            match = re.fullmatch(r"socket:\[(\d+)\]", os.readlink(link))
            if match:
                inodes.add(match[1])
        rows = (line.split() for line in pathlib.Path("/proc/net/unix").read_text().splitlines()[1:])
        # Flags 00010000: it listens.
        paths = [row[7] for row in rows if len(row) > 7 and row[3] == "00010000" and row[6] in inodes]
        return [path for path in paths if "cohort" in path]

    def throw_bytes(self, draw, port, paths):
        for number in range(60):
            data = draw.randbytes(draw.randint(1, 3000))
            if number % 3 == 0:
                data = struct.pack("<I", draw.choice([0, 5, len(data), 2**31, 2**32 - 1])) + data
            if number % 3 == 1:
                data = b"POST /v1/completions HTTP/1.1\r\n" + data
            for family, address in [(socket.AF_INET, ("127.0.0.1", port))] + [(socket.AF_UNIX, path) for path in paths]:
                with socket.socket(family) as connection:
                    connection.settimeout(5)
                    connection.connect(address)
                    try:
                        connection.sendall(data)
                        if number % 2:
                            connection.shutdown(socket.SHUT_WR)
                            connection.recv(4096)
                    except OSError:
                        pass

    def test_closed_log_pipe(self):
        process = subprocess.Popen(
            [cohort, "serve", "--model", MODEL, "--server-port", "0", "--threads", "1", "--log-interval-s", "1"],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        while not (match := re.search(r"listening on http://127\.0\.0\.1:(\d+)", process.stderr.readline())):
            self.assertIsNone(process.poll())
        process.stdout.close()
        process.stderr.close()
        url = f"http://127.0.0.1:{match[1]}"
        flags = ["--base-url", url, "--model", MODEL.name, "--num-prompts", "20", "--output-len", "8", "--input-len", "8"]
        subprocess.run(["curl", "-sf", "--retry", "20", "--retry-all-errors", "-o", "/dev/null", f"{url}/health"], check=True)
        done = subprocess.run([cohort, "bench", "serve", *flags, "--request-rate", "10"], capture_output=True, text=True)
        self.assertRegex(done.stdout, r"Failed requests +0\n")
        process.terminate()
        self.assertEqual(process.wait(20), 0)

    def test_no_file_descriptors(self):
        limited = lambda program: ["bash", "-c", 'ulimit -n 64 && exec "$@"', "bash", *program]
        running = self.start(command=limited)
        held = []
        self.addCleanup(lambda: [connection.close() for connection in held])
        for _ in range(100):
            held.append(socket.create_connection(("127.0.0.1", running.port), timeout=5))
        time.sleep(0.5)
        while held:
            held.pop().close()
        self.answers(running)
        self.assertEqual(running.stop(), 0)


class Refusals(unittest.TestCase):
    """What ends a start."""

    def test_config_errors_are_exit_2(self):
        with tempfile.TemporaryDirectory() as name:
            file = pathlib.Path(name) / "cohort.yaml"
            for text, says in [
                ("server:\n  prot: 80\n", [f"{file}:2", "prot", "port"]),
                ("server:\n  port: 80\n  port: 81\n", [f"{file}:3", "port"]),
                ("server:\n  port: 65536\n", [f"{file}:2", "65536"]),
                ("parallel:\n  tensor_parallel_size: 2\n", ["2 ranks"]),
            ]:
                file.write_text(text)
                done = run_cohort("--model", MODEL, "--config", file)
                self.assertEqual(done.returncode, 2, done.stderr)
                for words in says:
                    self.assertIn(words, done.stderr)

    def test_sizes_that_are_not_the_number_of_ranks(self):
        with server.job.Job(server.job.OneHost().command(2, cohort, "serve", "--model", MODEL, "--pp", 3)) as running:
            self.assertEqual(running.wait(30), 2, running.err)
            self.assertIn("needs 3 ranks", running.words())

    def test_files_that_are_not_there(self):
        for flag in ("--api-key-file", "--chat-template"):
            done = run_cohort("--model", MODEL, flag, "/nowhere/file", "--server-port", 0)
            self.assertNotEqual(done.returncode, 0)
            self.assertIn("/nowhere/file", done.stderr)

    def test_port_in_use(self):
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            program = [cohort, "serve", "--model", MODEL, "--tp", 2, "--server-port", port]
            with server.job.Job(server.job.OneHost().command(2, *program)) as running:
                since = time.monotonic()
                _, seconds, left = running.await_end(since, GONE_S)
                self.assertEqual(left, [], running.err)
                self.assertEqual(running.wait(5), 1, running.err)
                self.assertIn(str(port), running.words())
                self.assertIn("in use", running.words())


if __name__ == "__main__":
    cohort = str(pathlib.Path(sys.argv.pop(1)).resolve())
    server.job.main()
