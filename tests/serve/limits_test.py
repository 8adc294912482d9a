#!/usr/bin/env python3
"""What a server has no room for, and what comes in that is no request: nothing of it harms the others.

Run: limits_test.py PATH_OF_COHORT [unittest arguments]
"""

import asyncio
import contextlib
import json
import os
import pathlib
import random
import re
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import time

import server
from server import MODEL, PROMPT, ServerTest, completion, open_streams, read_all

cohort = None


class Limits(ServerTest):
    def test_full_queue_is_429(self):
        running = self.start("--max-seqs", 1, "--max-waiting", 2)
        body = completion(PROMPT, max_tokens=200, ignore_eos=True)
        streams = asyncio.run(read_all(running.port, [body] * 12))
        refused = [stream for stream in streams if stream.status == 429]
        self.assertGreater(len(refused), 0)
        for stream in streams:
            if stream.status == 429:
                self.assertIn("retry-after", stream.headers)
                self.assertEqual(stream.error["code"], 429)
            else:
                self.assertEqual((stream.status, len(stream.token_ids), stream.is_done), (200, 200, True))
        self.assertGreaterEqual(len(streams) - len(refused), 2)
        self.answers(running)

    def test_client_that_never_reads_is_cut_off(self):
        running = self.start("--max-stream-buffer-bytes", 100_000, "--num-blocks", 512)
        aborted = next(name for name in running.metrics() if "request_success_total" in name and "abort" in name)
        expected = running.complete(PROMPT, max_tokens=100, ignore_eos=True)["token_ids"]
        # More than the system's own buffers hold.
        body = json.dumps(completion(PROMPT, max_tokens=2000, ignore_eos=True, n=4, logprobs=20, stream=True)).encode()
        with socket.socket() as deaf:
            deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            deaf.connect(("127.0.0.1", running.port))
            deaf.sendall(
                b"POST /v1/completions HTTP/1.1\r\nHost: cohort\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
            )
            (other,) = asyncio.run(read_all(running.port, [completion(PROMPT, max_tokens=100, ignore_eos=True)]))
            self.assertEqual((other.token_ids, other.is_done), (expected, True))
            running.await_metric(aborted, lambda value: value == 1)
            running.await_metric("cohort:kv_cache_usage_perc", lambda value: value == 0)

    def test_prompt_that_never_fits_the_cache_is_refused(self):
        running = self.start("--block-size", 16, "--num-blocks", 4)
        self.assertEqual(running.post("/v1/completions", completion([5] * 30, max_tokens=8)).status, 200)
        answer = running.post("/v1/completions", completion([5] * 100, max_tokens=8))
        self.assertEqual((answer.status, answer.error["code"]), (400, 400))
        self.answers(running)

    def test_logits_that_are_no_numbers_fail_their_request_only(self):
        with tempfile.TemporaryDirectory() as name:
            model = pathlib.Path(name) / MODEL.name
            shutil.copytree(MODEL, model)
            poison(model, token=77)
            running = self.start(model=model, tensor=2)
            expected = running.complete(PROMPT, max_tokens=40, ignore_eos=True)["token_ids"]

            bodies = [completion(PROMPT, max_tokens=40, ignore_eos=True)] * 4
            bodies.insert(2, completion([0, 77, 5], max_tokens=40, ignore_eos=True))
            streams = asyncio.run(read_all(running.port, bodies))
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
    """The model reads NaN where it embeds `token`, and writes what it did: its output layer gets its own tensor."""
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


def socket_inodes(pid):
    """As the tables of /proc/net name the sockets of a process."""
    inodes = set()
    for link in pathlib.Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # closed meanwhile
            if match := re.fullmatch(r"socket:\[(\d+)\]", os.readlink(link)):
                inodes.add(match[1])
    return inodes


class Strangers(ServerTest):
    def test_random_bytes(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        running = self.start("--link", f"{folder.name}/cohort.sock", tensor=2)
        draw = random.Random(11)
        paths = self.local_sockets(running)
        self.assertTrue(paths, "no local socket of the engine link was found")

        async def load():
            streams, readers = await open_streams(running, 2, max_tokens=100, ignore_eos=True)
            await asyncio.to_thread(self.throw_bytes, draw, running.port, paths)
            await asyncio.gather(*readers)
            return streams

        for stream in asyncio.run(load()):
            self.assertEqual((stream.error, stream.is_done, len(stream.token_ids)), (None, True, 100))
        self.answers(running)
        self.assertEqual(running.stop(), 0)

    def test_nobody_connects_to_a_link_of_its_own(self):
        running = self.start(tensor=2)
        self.answers(running)
        self.assertEqual(self.local_sockets(running), [])

    def local_sockets(self, running):
        """Paths of the local sockets that the leader listens at."""
        inodes = socket_inodes(running.job.rank_pid(0))
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
                    try:
                        connection.connect(address)
                        connection.sendall(data)
                        if number % 2:
                            connection.shutdown(socket.SHUT_WR)
                            connection.recv(4096)
                    except OSError:
                        pass

    def serve_into(self, out, err):
        """A server whose log goes to `err`."""
        process = subprocess.Popen(
            [cohort, "serve", "--model", MODEL, "--server-port", "0", "--threads", "1", "--log-interval-s", "1"],
            stdin=subprocess.DEVNULL, stdout=out, stderr=err, text=True,
        )  # fmt: skip
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        return process

    def find_port(self, process):
        """Where it listens, which is only told to its log."""
        inodes = socket_inodes(process.pid)
        rows = (line.split() for line in pathlib.Path("/proc/net/tcp").read_text().splitlines()[1:])
        for _, address, _, state, *rest in rows:
            if state == "0A" and rest[5] in inodes:  # it listens
                return int(address.partition(":")[2], 16)
        return None

    def serves_without_a_log(self, process):
        """Each request is a line of the log."""
        end = time.monotonic() + server.READY_S
        for _ in range(5):
            while True:  # until it listens and is ready
                if port := self.find_port(process):
                    (stream,) = asyncio.run(read_all(port, [completion(PROMPT, max_tokens=8)]))
                    if stream.status != 503:
                        break
                self.assertIsNone(process.poll())
                self.assertLess(time.monotonic(), end)
                time.sleep(0.05)
            self.assertTrue(stream.is_done, stream.error)
            time.sleep(0.3)
        process.terminate()
        self.assertEqual(process.wait(60), 0)

    def test_closed_log_pipe(self):
        process = self.serve_into(subprocess.PIPE, subprocess.PIPE)
        self.assertIn("20", process.stderr.readline())  # it has begun to log
        process.stdout.close()
        process.stderr.close()
        self.serves_without_a_log(process)

    def test_full_disk_under_the_log(self):
        with open("/dev/full", "w") as full:
            self.serves_without_a_log(self.serve_into(full, full))

    def test_full_disk_under_the_output(self):
        with open("/dev/full", "w") as full:
            for words in (["config", "show"], ["tokenize", "--model", MODEL, "--text", "x"], ["inspect", MODEL]):
                done = subprocess.run([cohort, *words], stdout=full, stderr=subprocess.PIPE, text=True, timeout=60)
                self.assertEqual(done.returncode, 1, words)
                self.assertIn("No space left on device", done.stderr)

    def start_limited(self, limits, num_clients):
        """A server that begins with `limits` of ulimit, and so many connections to it."""
        running = self.start(command=lambda program: ["bash", "-c", f'{limits} && exec "$@"', "bash", *program])
        held = []
        self.addCleanup(lambda: [connection.close() for connection in held])
        for _ in range(num_clients):
            held.append(socket.create_connection(("127.0.0.1", running.port), timeout=60))
        return running, held

    def test_more_clients_than_the_usual_limit_of_files(self):
        running, _ = self.start_limited("ulimit -S -n 64 && ulimit -H -n 512", 200)
        self.answers(running)
        self.assertIn("--max-connections lets in 16384 clients, but this process may open 512 files", running.job.err)
        self.assertEqual(running.stop(), 0)

    def test_no_file_descriptors(self):
        running, held = self.start_limited("ulimit -n 64", 100)
        time.sleep(0.5)
        while held:
            held.pop().close()
        self.answers(running)
        self.assertEqual(running.stop(), 0)


if __name__ == "__main__":
    cohort = ServerTest.cohort = str(pathlib.Path(sys.argv.pop(1)).resolve())
    server.job.main()
