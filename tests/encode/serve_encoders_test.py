#!/usr/bin/env python3
"""`cohort serve` of encoders: /v1/embeddings by the `openai` package, /v1/classify, /v1/score, /v1/rerank and
/v1/fill-mask.

Run: serve_encoders.sh VENV_DIR PATH_OF_COHORT [unittest arguments]
"""

import array
import concurrent.futures
import json
import math
import pathlib
import sys
import tempfile
import unittest

import openai

import encoders
from encoders import CLS, ROOT, SEP, cosine, golden, relative_error, token_ids

sys.path.insert(0, str(ROOT / "tests/serve"))

from server import Server  # noqa: E402

TOLERANCE = 1e-4
cohort = None


def softmax(logits):
    exps = [math.exp(x - max(logits)) for x in logits]
    return [x / sum(exps) for x in exps]


class Encoders(unittest.TestCase):
    maxDiff = 2000

    def serve(self, name, *flags, **layout):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        model = ROOT / name
        if not model.exists():
            model = encoders.with_tokenizer(name, pathlib.Path(folder.name) / name)
        server = Server(cohort, *flags, model=model, **layout)
        self.addCleanup(server.__exit__)
        server.await_ready()
        client = openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0, timeout=60)
        return server, client

    def error(self, answer, status, *words):
        self.assertEqual(answer.status, status, answer.body)
        for word in words:
            self.assertIn(word, answer.error["message"])

    def check_embeddings(self, name, **layout):
        server, client = self.serve(name, **layout)
        # As token ids, several and each alone.
        tensors = golden("bert-split")
        inputs = [tensors[f"prompt{i}.ids"][0] for i in range(encoders.NUM_PROMPTS)]
        answer = client.embeddings.create(model=name, input=inputs)  # base64, which the package asks for
        self.assertEqual([item.index for item in answer.data], list(range(len(inputs))))
        self.assertEqual(answer.usage.prompt_tokens, sum(map(len, inputs)))
        self.assertEqual(answer.usage.total_tokens, sum(map(len, inputs)))
        floats = client.embeddings.create(model=name, input=inputs, encoding_format="float")
        alone = [client.embeddings.create(model=name, input=ids, encoding_format="float").data[0] for ids in inputs]
        for item, plain, one in zip(answer.data, floats.data, alone):
            self.assertAlmostEqual(sum(x * x for x in item.embedding), 1, places=5)
            self.assertEqual(array.array("f", item.embedding), array.array("f", one.embedding))  # as float32
            self.assertEqual(plain.embedding, one.embedding)
        # Texts, one and several, and at once.
        text = client.embeddings.create(model=name, input="an ox to be").data[0].embedding
        ids = client.embeddings.create(model=name, input=[CLS, *token_ids("an ox to be"), SEP]).data[0].embedding
        self.assertEqual(text, ids)
        texts = [" ".join(encoders.VOCAB[100 + (7 * i + j) % 300] for j in range(i % 60 + 1)) for i in range(50)]
        together = client.embeddings.create(model=name, input=texts)
        with concurrent.futures.ThreadPoolExecutor(16) as pool:
            singly = list(pool.map(lambda t: client.embeddings.create(model=name, input=t), texts))
        for item, one in zip(together.data, singly):
            self.assertEqual(item.embedding, one.data[0].embedding)
        return server

    def test_embeddings(self):
        server = self.check_embeddings("bert-split")
        path = "/v1/embeddings"
        self.error(server.post(path, {"model": "other", "input": "a"}), 404, "other")
        for body, word in (
            ({}, "input"),
            ({"input": ""}, "input"),
            ({"input": []}, "input"),
            ({"input": ["a", ""]}, "input[1]"),
            ({"input": [1, "a"]}, "input"),
            ({"input": [1003]}, "1003"),
            ({"input": {"a": 1}}, "input"),
            ({"input": "a", "encoding_format": "int8"}, "encoding_format"),
            ({"input": "a", "dimensions": 7}, "dimensions"),
        ):
            self.error(server.post(path, body), 400, word)
        self.assertEqual(server.post(path, {"input": "a", "dimensions": 32, "user": "me"}).status, 200)
        long = " ".join(["ox"] * 100)
        answer = server.post(path, {"input": ["a", long]})
        self.error(answer, 400, "input[1]", "102", "70")
        self.assertEqual(answer.error["type"], "context_length_exceeded")
        cut = server.post(path, {"input": long, "truncate_prompt_tokens": -1}).json
        same = server.post(path, {"input": " ".join(["ox"] * 68)}).json
        self.assertEqual(cut["data"], same["data"])
        self.assertEqual(cut["usage"]["prompt_tokens"], 70)
        self.assertEqual(cut["object"], "list")
        self.assertEqual(cut["data"][0]["object"], "embedding")
        for path, body in (
            ("/v1/completions", {"prompt": "a"}),
            ("/v1/chat/completions", {"messages": [{"role": "user", "content": "a"}]}),
            ("/v1/classify", {"input": "a"}),
        ):
            self.error(server.post(path, body), 400, "does not support")
        score = server.post("/v1/score", {"text_1": "an ox", "text_2": ["an ox", "to be"]}).json
        embeddings = [x["embedding"] for x in server.post("/v1/embeddings", {"input": ["an ox", "to be"]}).json["data"]]
        self.assertAlmostEqual(score["data"][0]["score"], 1, places=6)
        self.assertAlmostEqual(score["data"][1]["score"], cosine(*embeddings), places=5)
        server.await_metric("cohort:prompt_tokens_total", lambda value: value > 1000)
        self.assertEqual(server.metrics()["cohort:generation_tokens_total"], 0)
        self.assertEqual(server.stop(), 0)

    def test_embeddings_of_four_ranks(self):
        server = self.check_embeddings("bert-split", tensor=2, pipeline=2)
        self.assertEqual(server.stop(), 0)

    def test_embeddings_of_families(self):
        for name, layout in (
            ("roberta", {}),
            ("distilbert", {}),
            ("split-xlm-roberta", {}),
            ("split-roberta", dict(tensor=2, pipeline=2)),
            ("split-distilbert", dict(tensor=2, pipeline=2)),
        ):
            with self.subTest(name):
                server, client = self.serve(name, **layout)
                tensors = golden(name)
                inputs = [tensors[f"prompt{i}.ids"][0] for i in range(encoders.NUM_PROMPTS)]
                answer = client.embeddings.create(model=name, input=inputs)
                for i, item in enumerate(answer.data):
                    states, (num_tokens, hidden) = tensors[f"prompt{i}.last_hidden_state"]
                    mean = [sum(states[j::hidden]) / num_tokens for j in range(hidden)]
                    norm = math.sqrt(sum(x * x for x in mean))
                    self.assertLess(relative_error(item.embedding, [x / norm for x in mean]), TOLERANCE)
                self.assertEqual(server.stop(), 0)

    def test_classes(self):
        server, _ = self.serve("distilbert-classifier")
        tensors = golden("distilbert-classifier")
        inputs = [tensors[f"prompt{i}.ids"][0] for i in range(encoders.NUM_PROMPTS)]
        answer = server.post("/v1/classify", {"model": "distilbert-classifier", "input": inputs}).json
        self.assertEqual(answer["usage"]["prompt_tokens"], sum(map(len, inputs)))
        for i, item in enumerate(answer["data"]):
            expected = softmax(tensors[f"prompt{i}.logits"][0])
            self.assertLess(relative_error(item["probs"], expected), TOLERANCE)
            self.assertEqual(item["label"], f"LABEL_{expected.index(max(expected))}")
            self.assertEqual((item["index"], item["num_classes"]), (i, 2))
        self.error(server.post("/v1/score", {"text_1": "a", "text_2": "b"}), 400, "more than one label")
        self.error(server.post("/v1/fill-mask", {"input": "[MASK]"}), 400, "no head for masked tokens")

    def test_the_classifier(self):
        server, _ = self.serve("configs/classifier", tensor=2)
        held_out = [json.loads(line) for line in (ROOT / "configs/classifier/held-out.jsonl").read_text().splitlines()]
        answer = server.post("/v1/classify", {"input": [sentence["text"] for sentence in held_out]}).json
        labels = ["King James", "Shakespeare"]
        right = sum(item["label"] == labels[sentence["label"]] for item, sentence in zip(answer["data"], held_out))
        self.assertGreaterEqual(right / len(held_out), 0.95)

    def test_classes_of_tokens(self):
        server, _ = self.serve("bert-tokens")
        (item,) = server.post("/v1/classify", {"input": "an ox"}).json["data"]
        self.assertEqual([token["token"] for token in item["tokens"]], ["[CLS]", "an", "ox", "[SEP]"])
        for token in item["tokens"]:
            self.assertIn(token["label"], ("O", "B-PER", "I-PER", "B-LOC", "I-LOC"))
            self.assertAlmostEqual(sum(token["probs"]), 1, places=5)

    def test_masks(self):
        server, client = self.serve("bert-masked")
        expected = json.loads((encoders.GOLDEN / "bert-masked/fill_mask.json").read_text())
        for text, top_k, masks in expected:
            answer = server.post("/v1/fill-mask", {"model": "bert-masked", "input": text, "top_k": top_k}).json
            (item,) = answer["data"]
            masks = masks if isinstance(masks[0], list) else [masks]  # the pipeline of a lone mask has one list
            ids = [CLS, *token_ids(text), SEP]
            positions = [i for i, token in enumerate(ids) if token == encoders.MASK]
            self.assertEqual([mask["position"] for mask in item["masks"]], positions)
            for mask, fills in zip(item["masks"], masks):
                for fill, right in zip(mask["predictions"], fills, strict=True):
                    self.assertAlmostEqual(fill.pop("score"), right.pop("score"), delta=1e-5)
                    self.assertEqual(fill, right)
        # Several inputs, as texts and as ids, and by the package.
        inputs = [text for text, _, _ in expected]
        together = server.post("/v1/fill-mask", {"input": inputs}).json
        ids = [[CLS, *token_ids(text), SEP] for text in inputs]
        self.assertEqual(together["usage"]["prompt_tokens"], sum(map(len, ids)))
        self.assertEqual(client.post("/fill-mask", body={"input": ids}, cast_to=object)["data"], together["data"])
        self.assertEqual([len(mask["predictions"]) for item in together["data"] for mask in item["masks"]], [5] * 6)
        for body, word in (
            ({"input": "an ox"}, "[MASK]"),
            ({"input": ["[MASK]", "an ox"]}, "input[1]"),
            ({"input": "[MASK]", "top_k": 0}, "top_k"),
            ({"input": ["[MASK]"] * 129}, "128"),
            ({}, "input"),
        ):
            self.error(server.post("/v1/fill-mask", body), 400, word)
        self.error(server.post("/v1/classify", {"input": "an ox"}), 400, "no labels")

    def test_masks_in_shards(self):
        server, _ = self.serve("bert-masked-split", tensor=2)
        (item,) = server.post("/v1/fill-mask", {"input": "an ox [MASK] to be"}).json["data"]
        scores = [fill["score"] for fill in item["masks"][0]["predictions"]]
        self.assertEqual(scores, sorted(scores, reverse=True))

    def test_masks_of_a_large_vocabulary(self):
        # The scores of what a step makes of five requests together are more than a message of the engine link has.
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        model = encoders.with_tokenizer("bert-masked", pathlib.Path(folder.name) / "large")
        config = json.loads((model / "config.json").read_text())
        (model / "config.json").write_text(json.dumps(config | {"vocab_size": 250_000, "max_position_embeddings": 512}))
        server, _ = self.serve(model, "--weights", "random")
        body = {"input": " ".join(["[MASK]"] * 16), "top_k": 2}
        with concurrent.futures.ThreadPoolExecutor(5) as pool:
            answers = list(pool.map(lambda _: server.post("/v1/fill-mask", body), range(5)))
        for answer in answers:
            self.assertEqual(answer.status, 200, answer.body)
            self.assertEqual(answer.json["data"], answers[0].json["data"])
        self.error(server.post("/v1/fill-mask", {"input": " ".join(["[MASK]"] * 17)}), 400, "16")
        self.error(server.post("/v1/fill-mask", {"input": "[MASK]", "top_k": 100_000}), 400, "top_k")
        self.assertEqual(server.stop(), 0)

    def test_scores_of_a_cross_encoder(self):
        server, _ = self.serve("bert-score")
        texts = ["an ox", "to be or", "he is"]
        answer = server.post("/v1/score", {"text_1": "we go", "text_2": texts}).json
        self.assertEqual([item["object"] for item in answer["data"]], ["score"] * 3)
        scores = [item["score"] for item in answer["data"]]
        self.assertEqual(len(set(scores)), 3)
        for text, score in zip(texts, scores):
            (item,) = server.post("/v1/score", {"text_1": ["we go"], "text_2": [text]}).json["data"]
            self.assertEqual(item["score"], score)
            self.assertTrue(0 < score < 1)
        ranking = server.post("/v1/rerank", {"query": "we go", "documents": texts, "top_n": 2}).json
        order = sorted(range(3), key=lambda i: -scores[i])
        self.assertEqual([item["index"] for item in ranking["results"]], order[:2])
        self.assertEqual(ranking["results"][0]["document"]["text"], texts[order[0]])
        self.assertEqual(ranking["results"][0]["relevance_score"], scores[order[0]])
        for path, body, word in (
            ("/v1/score", {"text_1": "a"}, "text_2"),
            ("/v1/score", {"text_1": ["a", "b"], "text_2": ["a", "b", "c"]}, "text_2"),
            ("/v1/rerank", {"query": "a"}, "documents"),
            ("/v1/rerank", {"documents": ["a"]}, "query"),
            ("/v1/rerank", {"query": "a", "documents": [1]}, "documents[0]"),
        ):
            self.error(server.post(path, body), 400, word)


if __name__ == "__main__":
    cohort = sys.argv.pop(1)
    unittest.main(verbosity=2)
