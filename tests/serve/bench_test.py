#!/usr/bin/env python3
"""`cohort bench serve` against `cohort serve`.

Run: bench_test.py PATH_OF_COHORT [unittest arguments]
"""

import json
import os
import pathlib
import socket
import subprocess
import sys
import unittest
import xml.etree.ElementTree

import server
from server import KEY, MODEL, KeyedServer

cohort = None


def bench(*flags, key=KEY):
    command = [cohort, "bench", "serve", *map(str, flags)]
    variables = {name: value for name, value in os.environ.items() if name not in ("COHORT_API_KEY", "OPENAI_API_KEY")}
    variables |= {"COHORT_API_KEY": key} if key else {}
    return subprocess.run(command, capture_output=True, text=True, timeout=300, env=variables)


class Bench(KeyedServer, unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        # Room for all requests of a sweep, however slow it is, and not for those of test_requests_that_are_refused().
        cls.start_keyed(cohort, "--num-blocks", 256, "--max-seqs", 4, "--max-waiting", 16)

    def measured(self, *flags):
        """Standard output and the object of --save-json."""
        file = self.folder / "result.json"
        done = bench("--base-url", self.server.url, "--save-json", file, "--ignore-eos", "--quiet", *flags)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(done.stderr, "")
        return done.stdout, json.loads(file.read_text())

    def test_a_sweep(self):
        picture = self.folder / "picture.svg"
        out, result = self.measured(
            "--request-rates", "10,40", "--num-prompts", 20, "--input-len", 32, "--output-len", 12, "--num-warmups", 2,
            "--random-prefix-len", 16, "--goodput", "ttft:60000", "tpot:0.000001", "--svg", picture,
            "--title", "A picture & more", "--metadata", "ranks=1", "--seed", 3, "--metric-percentiles", "50,99",
        )  # fmt: skip
        for words in ("Successful requests", "Median TTFT", "P99 ITL", "Request goodput", "rate 1/s"):
            self.assertIn(words, out)
        self.assertEqual((result["model"], result["metadata"]), (MODEL.name, {"ranks": "1"}))
        for name in ("build", "date", "client_device", "server_version"):
            self.assertTrue(result[name], name)
        self.assertEqual([load["request_rate"] for load in result["results"]], [10, 40])
        for load in result["results"]:
            self.assertEqual((load["completed"], load["failed"], load["answers_without_usage"]), (20, 0, 0))
            self.assertEqual((load["total_input_tokens"], load["total_output_tokens"]), (20 * 48, 20 * 12))
            self.assertEqual(load["request_goodput"], 0)
            self.assertAlmostEqual(load["request_throughput"] * load["duration"], 20, places=6)
            self.assertLessEqual(load["median_ttft_ms"], load["p99_ttft_ms"])
            self.assertGreater(load["mean_itl_ms"], 0)
            self.assertGreater(load["median_e2el_ms"], load["median_ttft_ms"])
        root = xml.etree.ElementTree.parse(picture).getroot()
        texts = [element.text for element in root.iter("{http://www.w3.org/2000/svg}text")]
        for text in (
            "A picture & more",
            "request rate (requests/s)",
            "ms, logarithmic",
            "output tokens/s",
            "p99",
            "10",
            "40",
        ):
            self.assertIn(text, texts)

    def test_chats_and_prompts_of_a_file(self):
        prompts = self.folder / "prompts.jsonl"
        prompts.write_text(
            'And the king said\n{"prompt": "In the beginning", "output_len": 3}\n{"prompt": [5, 6, 7]}\n'
        )
        _, result = self.measured(
            "--dataset-name", "file", "--dataset-path", prompts, "--num-prompts", 6, "--output-len", 5
        )
        (load,) = result["results"]
        self.assertEqual((load["completed"], load["total_output_tokens"]), (6, 2 * (5 + 3 + 5)))
        # Text of random tokens, in a completion: the model has no chat template.
        flags = ("--tokenizer", MODEL, "--num-prompts", 4, "--input-len", 20, "--output-len", 4)
        _, result = self.measured(*flags)
        self.assertEqual((result["prompts_are"], result["results"][0]["completed"]), ("text", 4))
        done = bench("--base-url", self.server.url, "--endpoint", "/v1/chat/completions", *flags)
        self.assertEqual(done.returncode, 1)
        self.assertIn("HTTP 400", done.stdout)
        self.assertIn("no request went well", done.stderr)

    def test_requests_that_are_refused_are_counted(self):
        _, result = self.measured("--num-prompts", 40, "--input-len", 16, "--output-len", 40)
        (load,) = result["results"]
        self.assertGreater(load["completed"], 0)
        self.assertEqual(load["completed"] + load["failures"]["HTTP 429"]["count"], 40)
        self.assertEqual(load["failed"], load["failures"]["HTTP 429"]["count"])
        # No more at once than it can take: none is refused.
        out, result = self.measured("--num-prompts", 40, "--input-len", 16, "--output-len", 8, "--max-concurrency", 8)
        (load,) = result["results"]
        self.assertEqual((load["completed"], load["max_concurrent_requests"]), (40, 8))
        self.assertIn("Held back", out)

    def test_servers_that_do_not_answer(self):
        done = bench("--base-url", self.server.url, key="another")
        self.assertEqual(done.returncode, 1)
        self.assertIn("HTTP 401", done.stderr)
        with socket.socket() as deaf:  # nobody else can listen there
            deaf.bind(("127.0.0.1", 0))
            done = bench("--port", deaf.getsockname()[1])
        self.assertEqual(done.returncode, 1)
        self.assertIn("refused", done.stderr)
        with socket.create_server(("127.0.0.1", 0)) as silent:
            done = bench("--port", silent.getsockname()[1], "--model", "x", "--num-prompts", 2, "--timeout-s", 1)
        self.assertEqual(done.returncode, 1)
        self.assertIn("timeout", done.stdout)

    def test_mistakes(self):
        for flags, words in [
            (("--base-url", "https://x"), "https"),
            (("--request-rate", "0"), "--request-rate"),
            (("--request-rate", "fast"), "fast"),
            (("--goodput", "ttft"), "--goodput"),
            (("--goodput", "speed:3"), "speed"),
            (("--svg", "x.svg"), "--svg"),
            (("--duration-s", 3), "--duration-s"),
            (("--dataset-name", "file"), "--dataset-path"),
            (("--endpoint", "/v1/chat/completions"), "--tokenizer"),
            (("--extra-body", "[]"), "--extra-body"),
            (("--metadata", "x"), "--metadata"),
            (("--percentile-metrics", "speed"), "speed"),
            (("--metric-percentiles", "101"), "101"),
        ]:
            with self.subTest(flags=flags):
                done = bench(*flags)
                self.assertEqual(done.returncode, 2, done.stderr)
                self.assertIn(words, done.stderr)


if __name__ == "__main__":
    cohort = str(pathlib.Path(sys.argv.pop(1)).resolve())
    server.job.main()
