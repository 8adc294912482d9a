#!/usr/bin/env python3
"""The life of a server: drains, ranks that die or stop, and mistakes at its start.

Run: life_test.py PATH_OF_COHORT [unittest arguments]. Prints how long each end took.
"""

import asyncio
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import unittest

import server
from server import MODEL, PROMPT, Server, ServerTest, completion, open_streams

cohort = None

TERMINAL_S = 10.0 * server.job.PATIENCE  # until every stream under way has its last event
GONE_S = 15.0 * server.job.PATIENCE  # until every process is gone
LONG = {"max_tokens": 1800, "ignore_eos": True}


def run_cohort(*flags):
    """`cohort serve` to its end."""
    return subprocess.run([cohort, "serve", *map(str, flags)], capture_output=True, text=True, timeout=120)


class Life(ServerTest):
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


class Drain(Life):
    def test_streams_under_way_end_properly_and_new_ones_are_refused(self):
        running = self.start("--drain-timeout-s", 500, tensor=2)

        async def drain():
            streams, readers = await open_streams(running, 4, max_tokens=400, ignore_eos=True)
            since = time.monotonic()
            running.terminate()
            health = {}
            while health.get("status") != "draining":
                answer = await asyncio.to_thread(running.get, "/health")
                health = answer.json
                self.assertLess(time.monotonic(), since + TERMINAL_S, health)
            self.assertEqual(answer.status, 503)
            refused = await asyncio.to_thread(running.post, "/v1/completions", completion(PROMPT))
            self.assertEqual(refused.status, 503)
            self.assertIn("retry-after", refused.headers)
            self.assertIn("shutting down", refused.error["message"])
            self.assertTrue(any(not reader.done() for reader in readers), "nothing was left to drain")
            await asyncio.gather(*readers)
            return streams

        streams = asyncio.run(drain())
        for stream in streams:
            self.assertEqual((stream.error, stream.finish_reason, stream.is_done), (None, "length", True))
            self.assertEqual(len(stream.token_ids), 400)
        since = max(stream.ended for stream in streams)
        self.expect_end(running, "SIGTERM, and the last stream's end", since, code=0)

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
            self.assertLess(stream.ended - since, TERMINAL_S)
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


class Loading(Life):
    def make_model(self, folder):
        """One with as many layers as take a while."""
        model = pathlib.Path(folder) / MODEL.name
        shutil.copytree(MODEL, model)
        config = json.loads((model / "config.json").read_text())
        config["num_hidden_layers"] = 200
        (model / "config.json").write_text(json.dumps(config))
        return model

    def test_a_signal_ends_it_at_once(self):
        for flags, begun in [((), "listening"), (("--engine-only", "--link", "engine.sock"), "waiting for gateways")]:
            with tempfile.TemporaryDirectory(prefix="cohort-test-") as name:
                flags = [flag.replace("engine.sock", f"{name}/engine.sock") for flag in flags]
                flags += ["--weights", "random", "--num-blocks", 64, "--heartbeat-timeout-ms", 600_000]
                running = Server(cohort, *flags, model=self.make_model(name), tensor=2)
                self.addCleanup(running.__exit__)
                running._await(begun, lambda: begun in running.job.err)
                running.signal_rank(1, signal.SIGSTOP)  # without it the engine is never ready
                since = time.monotonic()
                os.kill(running.job.rank_pid(0), signal.SIGTERM)
                self.expect_end(running, "SIGTERM while the model is loaded", since)
                self.assertIn("asked to end before the engine was ready", running.job.err)

    def test_how_far_it_is(self):
        with tempfile.TemporaryDirectory() as name:
            model = self.make_model(name)
            running = Server(cohort, "--weights", "random", "--num-blocks", 64, model=model, tensor=2)
            self.addCleanup(running.__exit__)
            told = []
            while (answer := running.get("/health")).status == 503:
                told.append(answer.json)
                refused = running.post("/v1/completions", completion(PROMPT))
                if refused.status == 503:
                    self.assertIn("loading", refused.error["message"])
                    self.assertIn("retry-after", refused.headers)
                time.sleep(0.02)
            self.assertEqual(answer.status, 200)
            self.assertTrue(told, "it was ready at once")
            for health in told:
                self.assertEqual(health["status"], "loading")
            fractions = [health["progress"] for health in told]
            self.assertTrue(all(0 <= fraction <= 1 for fraction in fractions), fractions)
            self.assertEqual(len(running.complete(PROMPT, max_tokens=3, ignore_eos=True)["token_ids"]), 3)
            self.assertEqual(running.stop(), 0)


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
                        statuses.append((await asyncio.to_thread(running.get, "/health", timeout_s=60)).status)
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
        running = self.start("--heartbeat-timeout-ms", 10_000, tensor=2)
        expected = running.complete(PROMPT, max_tokens=120, ignore_eos=True)["token_ids"]

        async def load():
            streams, readers = await open_streams(running, 2, max_tokens=120, ignore_eos=True)
            running.signal_rank(1, signal.SIGSTOP)
            await asyncio.sleep(2.0)
            running.signal_rank(1, signal.SIGCONT)
            await asyncio.gather(*readers)
            return streams

        for stream in asyncio.run(load()):
            self.assertEqual((stream.error, stream.is_done, len(stream.token_ids)), (None, True, 120))
        self.assertEqual(running.complete(PROMPT, max_tokens=120, ignore_eos=True)["token_ids"], expected)
        self.assertEqual(running.stop(), 0)


class TwoProcesses(Life):
    """Ranks without HTTP, and a gateway beside them."""

    def start_both(self, *engine_flags):
        folder = tempfile.TemporaryDirectory(prefix="cohort-test-")
        self.addCleanup(folder.cleanup)
        link = f"{folder.name}/engine.sock"
        engine = Server(cohort, "--engine-only", "--link", link, *engine_flags, tensor=2)
        self.addCleanup(engine.__exit__)
        gateway = self.start("--link", link, tensor=2, command=lambda program: [cohort, "gateway", *program[2:]])
        return engine, gateway

    def test_do_what_one_does(self):
        engine, gateway = self.start_both()
        self.answers(gateway)
        since = time.monotonic()
        gateway.terminate()
        self.expect_end(gateway, "SIGTERM of a gateway", since, code=0)
        self.assertIsNone(engine.job.launcher.poll())
        since = time.monotonic()
        engine.terminate()
        self.expect_end(engine, "SIGTERM of an engine without a gateway", since, code=0)

    def test_engine_that_dies_ends_streams_and_the_gateway(self):
        engine, gateway = self.start_both()

        async def kill():
            streams, readers = await open_streams(gateway, 3, **LONG)
            since = time.monotonic()
            os.kill(engine.job.rank_pid(0), signal.SIGKILL)
            await asyncio.gather(*readers)
            return streams, since

        streams, since = asyncio.run(kill())
        for stream in streams:
            self.assertTrue(stream.is_done)
            self.assertIn("the engine has ended", stream.error["message"])
            self.assertLess(stream.ended - since, TERMINAL_S)
        self.expect_end(gateway, "SIGKILL of the leader, seen by a gateway", since, code=1)
        self.expect_end(engine, "SIGKILL of the leader", since)

    def streams_of_an_ending_engine(self, engine, gateway, **fields):
        """Two that were under way when the engine got SIGTERM, once they have ended."""

        async def stop():
            streams, readers = await open_streams(gateway, 2, **fields)
            engine.terminate()
            await asyncio.gather(*readers)
            return streams

        return asyncio.run(stop())

    def test_engine_that_ends_lets_streams_end(self):
        engine, gateway = self.start_both("--drain-timeout-s", 500)
        streams = self.streams_of_an_ending_engine(engine, gateway, max_tokens=400, ignore_eos=True)
        since = max(stream.ended for stream in streams)
        for stream in streams:
            self.assertEqual((stream.error, stream.finish_reason, len(stream.token_ids)), (None, "length", 400))
        self.expect_end(engine, "SIGTERM of an engine at work", since, code=0)
        self.expect_end(gateway, "the end of an engine, seen by a gateway", since, code=1)

    def test_engine_that_drains_too_long_ends_streams(self):
        engine, gateway = self.start_both("--drain-timeout-s", 1)
        streams = self.streams_of_an_ending_engine(engine, gateway, **LONG)
        for stream in streams:
            self.assertTrue(stream.is_done)
            self.assertIn("the engine has ended", stream.error["message"])
        since = max(stream.ended for stream in streams)
        self.expect_end(engine, "SIGTERM of an engine, with a drain cut short", since, code=0)
        self.expect_end(gateway, "the end of an engine that drained too long, seen by a gateway", since, code=1)

    def test_second_signal_ends_an_engine_at_once(self):
        engine, gateway = self.start_both("--drain-timeout-s", 200)

        async def stop():
            _, readers = await open_streams(gateway, 2, **LONG)
            os.kill(engine.job.rank_pid(0), signal.SIGTERM)
            await asyncio.to_thread(engine._await, "draining", lambda: "draining" in engine.job.err)
            since = time.monotonic()
            os.kill(engine.job.rank_pid(0), signal.SIGTERM)
            await asyncio.gather(*readers, return_exceptions=True)
            return since

        since = asyncio.run(stop())
        self.expect_end(engine, "a second SIGTERM of an engine", since)
        self.expect_end(gateway, "the end of an engine by two signals, seen by a gateway", since, code=1)


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
            self.assertEqual(running.wait(), 2, running.err)
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
    cohort = ServerTest.cohort = str(pathlib.Path(sys.argv.pop(1)).resolve())
    server.job.main()
