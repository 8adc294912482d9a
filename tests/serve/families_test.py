#!/usr/bin/env python3
"""`cohort serve` and `cohort generate` of every family that generates: the greedy ids of Hugging Face.

The checkpoints are the tiny ones of tests/data/golden and tests/data/golden_encoder_decoders. They have no tokenizer:
their vocabulary is random, and what is asked is asked in token ids.

Run: families_test.py PATH_OF_COHORT [unittest arguments]
"""

import json
import pathlib
import subprocess
import sys
import tempfile
import unittest

from server import ROOT, Server

sys.path.insert(0, str(ROOT / "tests/encode"))

from encoders import copy_with_tokenizer, read_golden  # noqa: E402

FOLDERS = [ROOT / "tests/data" / name for name in ("golden", "golden_encoder_decoders")]
GOLDEN = {path.name: path for folder in FOLDERS for path in folder.iterdir()}
# One of each family, or more where its members differ in kind.
SERVED = [
    "llama-gqa", "gpt2", "opt", "opt-post-norm", "bloom", "gpt-neox", "gptj", "falcon-7b", "falcon-40b", "falcon-rw",
    "mistral", "mixtral", "qwen2", "qwen3", "phi3", "phi3-longrope", "gemma2", "t5", "t5-v1_1", "flan-t5",
]  # fmt: skip
NUM_GREEDY = 32
cohort = None


def prompts_of(tensors):
    """(ids, greedy ids) of every prompt."""
    count = sum(name.endswith(".greedy_ids") for name in tensors)
    return [(tensors[f"prompt{i}.ids"][0], tensors[f"prompt{i}.greedy_ids"][0]) for i in range(count)]


class Families(unittest.TestCase):
    def check(self, name, **layout):
        prompts = prompts_of(read_golden(GOLDEN[name]))
        with tempfile.TemporaryDirectory() as folder:
            model = copy_with_tokenizer(GOLDEN[name], pathlib.Path(folder) / name)
            with Server(cohort, model=model, **layout) as server:
                server.await_ready()
                body = dict(
                    prompt=[ids for ids, _ in prompts], max_tokens=NUM_GREEDY, temperature=0, return_token_ids=True
                )
                answer = server.post("/v1/completions", body)
                self.assertEqual(answer.status, 200, answer.body)
                choices = answer.json["choices"]
                self.assertEqual([choice["token_ids"] for choice in choices], [greedy for _, greedy in prompts])
                self.assertEqual(answer.json["usage"]["completion_tokens"], NUM_GREEDY * len(prompts))
                self.assertEqual(server.stop(), 0)

    def check_generate(self, name):
        ids, greedy = prompts_of(read_golden(GOLDEN[name]))[1]
        flags = ["--prompt-ids", ",".join(map(str, ids)), "--max-tokens", NUM_GREEDY, "--temperature", 0, "--json"]
        command = [cohort, "generate", "--model", GOLDEN[name], "--dtype", "float32", "--threads", 1, "--quiet", *flags]
        done = subprocess.run([*map(str, command)], capture_output=True, text=True, timeout=60)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(json.loads(done.stdout)["token_ids"], greedy)

    def test_serve(self):
        for name in SERVED:
            with self.subTest(name):
                self.check(name)

    def test_serve_on_four_ranks(self):
        for name in ("mixtral", "flan-t5"):
            with self.subTest(name):
                self.check(name, tensor=2, pipeline=2)

    def test_generate(self):
        for name in SERVED:
            with self.subTest(name):
                self.check_generate(name)


if __name__ == "__main__":
    cohort = sys.argv.pop(1)
    unittest.main(verbosity=2)
