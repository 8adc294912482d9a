#!/usr/bin/env python3
"""Real clients of KServe's protocol, the `tritonclient` package and curl, against `cohort serve` on two ranks.

Run: kserve.sh VENV_DIR PATH_OF_COHORT [unittest arguments]
"""

import json
import pathlib
import subprocess
import sys
import unittest

import numpy as np
import tritonclient.http as triton
from tritonclient.utils import InferenceServerException

import server
from server import GOLDEN, KEY, PROMPT, KeyedServer, completion

cohort = None

KEYS = {"Authorization": f"Bearer {KEY}"}  # the client adds to what it is given: it gets copies
NAME = "scripture"
TYPES = {"BYTES": np.object_, "INT32": np.int32, "FP32": np.float32, "BOOL": np.bool_, "UINT64": np.uint64}


def tensors(is_binary=True, **values):
    """Inputs by name: a list of values, or of lists of them, with the batch as their first dimension."""
    types = {"text_input": "BYTES", "stop_words": "BYTES", "temperature": "FP32", "return_log_probs": "BOOL"}
    inputs = []
    for name, rows in values.items():
        datatype = types.get(name, "INT32")
        array = np.array([row if isinstance(row, list) else [row] for row in rows], dtype=TYPES[datatype])
        inputs.append(triton.InferInput(name, list(array.shape), datatype))
        inputs[-1].set_data_from_numpy(array, binary_data=is_binary)
    return inputs


def texts(result, name="text_output"):
    """An output's elements; strings as text."""
    elements = result.as_numpy(name).reshape(-1).tolist()
    return [e.decode() if isinstance(e, bytes) else e for e in elements]


class Clients(KeyedServer, unittest.TestCase):
    maxDiff = 2000

    @classmethod
    def setUpClass(cls):
        cls.start_keyed(cohort, "--served-model-name", NAME, "--num-blocks", 256, tensor=2)
        cls.client = triton.InferenceServerClient(cls.server.url.removeprefix("http://"), network_timeout=60)
        cls.addClassCleanup(cls.client.close)
        prompts = GOLDEN["prompts"][:3]
        cls.prompts = [prompt["text"] for prompt in prompts]
        # What the OpenAI side answers, whose tokens are compared with Hugging Face's elsewhere.
        cls.expected = [cls.openai(prompt, max_tokens=8) for prompt in cls.prompts]

    @classmethod
    def openai(cls, prompt, **fields):
        answer = cls.server.post("/v1/completions", completion(prompt, model=NAME, **fields))
        assert answer.status == 200, answer.body
        return answer.json["choices"][0]["text"]

    def infer(self, inputs, **options):
        return self.client.infer(NAME, inputs, headers=dict(KEYS), **options)

    def generate(self, action="generate", key=KEY, **body):
        words = ["curl", "-sSN", "--max-time", "60", f"{self.server.url}/v2/models/{NAME}/{action}"]
        words += ["-d", json.dumps(body), "-w", "\n%{http_code}"]
        words += ["-H", f"Authorization: Bearer {key}"] if key else []
        out = subprocess.run(words, capture_output=True, text=True, timeout=90, check=True).stdout
        answer, _, status = out.rpartition("\n")
        return int(status), answer

    def test_health_needs_no_key(self):
        self.assertTrue(self.client.is_server_live())
        self.assertTrue(self.client.is_server_ready())
        with self.assertRaises(InferenceServerException) as raised:
            self.client.get_server_metadata()
        self.assertIn("API key", str(raised.exception))
        self.assertEqual(self.generate(key=None, text_input="x")[0], 401)

    def test_metadata(self):
        self.assertTrue(self.client.is_model_ready(NAME, headers=dict(KEYS)))
        self.assertTrue(self.client.is_model_ready(NAME, "1", headers=dict(KEYS)))
        self.assertFalse(self.client.is_model_ready("another", headers=dict(KEYS)))
        self.assertEqual(self.client.get_server_metadata(headers=dict(KEYS))["name"], "cohort")
        metadata = self.client.get_model_metadata(NAME, headers=dict(KEYS))
        self.assertEqual((metadata["name"], metadata["versions"]), (NAME, ["1"]))
        config = self.client.get_model_config(NAME, headers=dict(KEYS))
        self.assertEqual([i["name"] for i in config["input"]], [i["name"] for i in metadata["inputs"]])
        index = self.client.get_model_repository_index(headers=dict(KEYS))
        self.assertEqual([(m["name"], m["state"]) for m in index], [(NAME, "READY")])
        with self.assertRaises(InferenceServerException) as raised:
            self.client.unload_model(NAME, headers=dict(KEYS))
        self.assertEqual(raised.exception.status(), "501")

    def test_infer_in_json_and_binary(self):
        for is_binary in (False, True):
            for binary_output in (False, True):
                with self.subTest(is_binary=is_binary, binary_output=binary_output):
                    outputs = [triton.InferRequestedOutput("text_output", binary_data=binary_output)]
                    inputs = tensors(is_binary, text_input=[self.prompts[0]], max_tokens=[8], temperature=[0])
                    result = self.infer(inputs, outputs=outputs, request_id="mine")
                    self.assertEqual(texts(result), self.expected[:1])
                    self.assertEqual(result.get_response()["id"], "mine")

    def test_a_batch(self):
        count = len(self.prompts)
        fields = {"max_tokens": [8] * count, "temperature": [0.0] * count, "return_log_probs": [True] * count}
        result = self.infer(tensors(text_input=self.prompts, **fields), priority=1, timeout=50_000_000)
        self.assertEqual(texts(result), self.expected)
        self.assertEqual(list(result.as_numpy("text_output").shape), [count, 1])
        for row, prompt in zip(result.as_numpy("output_log_probs"), GOLDEN["prompts"]):
            np.testing.assert_allclose(row, [step[0][1] for step in prompt["top5"][:8]], atol=1e-3)
        sums = result.as_numpy("output_log_probs").sum(axis=1)
        np.testing.assert_allclose(result.as_numpy("cum_log_probs")[:, 0], sums, rtol=1e-5)

    def test_outputs_and_stop_words(self):
        whole = self.expected[0]
        stop = whole[len(whole) // 2 :][:4]
        names = ("text_output", "finish_reason", "num_input_tokens", "num_output_tokens")
        outputs = [triton.InferRequestedOutput(name, binary_data=name != "finish_reason") for name in names]
        inputs = tensors(
            text_input=[self.prompts[0]], max_tokens=[8], temperature=[0], stop_words=[[stop, "never said"]]
        )
        result = self.infer(inputs, outputs=outputs)
        self.assertEqual(texts(result), [whole[: whole.index(stop)]])
        self.assertEqual(texts(result, "finish_reason"), ["stop"])
        self.assertEqual(texts(result, "num_input_tokens"), [len(GOLDEN["prompts"][0]["ids"])])
        self.assertLessEqual(texts(result, "num_output_tokens")[0], 8)

    def test_compressed(self):
        inputs = tensors(text_input=[self.prompts[0]], max_tokens=[8], temperature=[0])
        result = self.infer(inputs, request_compression_algorithm="gzip")
        self.assertEqual(texts(result), self.expected[:1])

    def test_many_at_once(self):
        address = self.server.url.removeprefix("http://")
        with triton.InferenceServerClient(address, concurrency=8, network_timeout=60) as client:
            asked = []
            for prompt in self.prompts * 8:
                inputs = tensors(text_input=[prompt], max_tokens=[8], temperature=[0])
                asked.append(client.async_infer(NAME, inputs, headers=dict(KEYS)))
            self.assertEqual([texts(one.get_result())[0] for one in asked], self.expected * 8)

    def test_errors(self):
        good = {"text_input": ["x"], "max_tokens": [4]}
        wrong_type = triton.InferInput("max_tokens", [1, 1], "INT64")
        wrong_type.set_data_from_numpy(np.array([[4]], dtype=np.int64))
        text_only = tensors(text_input=["x"])
        for message, ask in [
            ("max_tokens", lambda: self.infer(tensors(**good | {"max_tokens": [-1]}))),
            ("max_tokens", lambda: self.infer([*text_only, wrong_type])),
            ("temperature", lambda: self.infer(tensors(**good, temperature=[float("nan")]))),
            ("no input", lambda: self.infer(tensors(**good, unknown=[1]))),
            ("no output", lambda: self.infer(text_only, outputs=[triton.InferRequestedOutput("logits")])),
            ("once", lambda: self.infer(text_only, outputs=[triton.InferRequestedOutput("text_output")] * 2)),
            ("once", lambda: self.infer(text_only * 2)),
            ("timeout", lambda: self.infer(tensors(text_input=["x"], max_tokens=[1900]), timeout=1000)),
        ]:
            with self.subTest(message=message), self.assertRaises(InferenceServerException) as raised:
                ask()
            self.assertIn(message, str(raised.exception))
            self.assertEqual(raised.exception.status(), "503" if message == "timeout" else "400")
        with self.assertRaises(InferenceServerException) as raised:
            self.client.infer("../model", text_only, headers=dict(KEYS))
        self.assertEqual(raised.exception.status(), "404")

    def test_header_lengths_that_are_wrong(self):
        body = json.dumps({"inputs": []}).encode()
        for length in (len(body) + 1, 2**31, 2**64, -1):
            headers = {"Inference-Header-Content-Length": str(length)}
            answer = self.server.post(f"/v2/models/{NAME}/infer", body, headers=headers)
            self.assertEqual(answer.status, 400, answer.body)
            self.assertIn("Inference-Header-Content-Length", answer.json["error"])

    def test_generate(self):
        status, answer = self.generate(
            text_input=self.prompts[0], id="mine", parameters={"max_tokens": 8, "temperature": 0}
        )
        self.assertEqual(status, 200, answer)
        self.assertEqual(
            json.loads(answer),
            {
                "model_name": NAME,
                "model_version": "1",
                "id": "mine",
                "text_output": self.expected[0],
                "finish_reason": "length",
            },
        )
        status, answer = self.generate(text_input=PROMPT, max_tokens=-1)
        self.assertEqual(status, 400)
        self.assertTrue(json.loads(answer)["error"].startswith("max_tokens"))

    def test_generate_stream(self):
        body = {"text_input": self.prompts[0], "max_tokens": 8, "temperature": 0, "bad_words": "", "stop_words": ""}
        status, answer = self.generate("generate_stream", **body)
        self.assertEqual(status, 200)
        events = answer.split("\n\n")
        self.assertEqual(events.pop(), "")
        pieces = [json.loads(event.removeprefix("data: ")) for event in events]
        self.assertEqual("".join(piece["text_output"] for piece in pieces), self.expected[0])
        self.assertGreater(len(pieces), 1)
        self.assertEqual([piece.get("finish_reason") for piece in pieces], [None] * (len(pieces) - 1) + ["length"])

    def test_statistics(self):
        def success():
            (stats,) = self.client.get_inference_statistics(NAME, headers=dict(KEYS))["model_stats"]
            return stats["inference_stats"]["success"]["count"], stats["inference_count"]

        before = success()
        self.infer(tensors(text_input=self.prompts, max_tokens=[2] * len(self.prompts)))
        self.assertEqual(success(), (before[0] + 1, before[1] + len(self.prompts)))
        self.assertEqual(self.server.metrics()["nv_inference_request_success"], before[0] + 1)


if __name__ == "__main__":
    cohort = str(pathlib.Path(sys.argv.pop(1)).resolve())
    server.job.main()
