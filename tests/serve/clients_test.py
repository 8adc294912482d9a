#!/usr/bin/env python3
"""Real clients of the OpenAI API, the `openai` package and curl, against `cohort serve` on two and on four ranks.

Run: clients.sh VENV_DIR PATH_OF_COHORT [unittest arguments]
"""

import asyncio
import gzip
import json
import pathlib
import subprocess
import sys
import unittest

import openai

import server
from server import GOLDEN, KEY, PROMPT, KeyedServer, completion

cohort = None

NAME = "scripture"
TEMPLATE = (
    "{% for message in messages %}<{{ message.role }}> {{ message.content }}\n{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)
MESSAGES = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "And the king said"}]
# What goes beyond OpenAI's own API.
EXACT = {"ignore_eos": True, "return_token_ids": True}


def pieces(stream):
    """The text of each choice of a streamed completion, and the chunk with the usage."""
    texts, usage = {}, None
    for chunk in stream:
        if chunk.usage is not None:
            assert chunk.choices == [], chunk
            usage = chunk.usage
        for choice in chunk.choices:
            text = choice.text if hasattr(choice, "text") else choice.delta.content
            texts.setdefault(choice.index, []).append(text or "")
    return {index: "".join(parts) for index, parts in texts.items()}, usage


class Clients(KeyedServer):
    """Each subclass has a layout."""

    maxDiff = 2000

    @classmethod
    def setUpClass(cls):
        flags = ["--served-model-name", NAME, "--num-blocks", 256, "--chat-template", "FOLDER/template.jinja"]
        files = {"template.jinja": TEMPLATE}
        cls.start_keyed(cohort, *flags, files=files, tensor=cls.tensor, pipeline=cls.pipeline)
        cls.client = openai.OpenAI(base_url=f"{cls.server.url}/v1", api_key=KEY, max_retries=0, timeout=60)

    def complete(self, prompt=PROMPT, **fields):
        return self.client.completions.create(model=NAME, prompt=prompt, **({"temperature": 0} | fields))

    def chat(self, **fields):
        return self.client.chat.completions.create(model=NAME, messages=MESSAGES, **({"temperature": 0} | fields))

    def curl(self, path, *flags, key=KEY):
        words = ["curl", "-sS", "--max-time", "60", "-H", "Content-Type: application/json", *flags]
        words += ["-H", f"Authorization: Bearer {key}"] if key else []
        return subprocess.run(
            [*words, self.server.url + path], capture_output=True, text=True, timeout=90, check=True
        ).stdout

    def test_models(self):
        models = self.client.models.list().data
        self.assertEqual([model.id for model in models], [NAME])
        self.assertEqual(self.client.models.retrieve(NAME).id, NAME)
        with self.assertRaises(openai.NotFoundError):
            self.client.models.retrieve("another")

    def test_completions_are_what_transformers_computes(self):
        for wanted in GOLDEN["prompts"]:
            answer = self.complete(wanted["text"], max_tokens=32, extra_body=EXACT)
            (choice,) = answer.choices
            self.assertEqual(choice.token_ids, wanted["greedy_ids"])
            self.assertEqual(choice.finish_reason, "length")
            self.assertEqual(answer.usage.prompt_tokens, len(wanted["ids"]))
            self.assertEqual(answer.usage.completion_tokens, 32)
            self.assertEqual(answer.usage.total_tokens, len(wanted["ids"]) + 32)
            self.assertEqual((answer.object, answer.model), ("text_completion", NAME))

    def test_streamed_completion_is_the_whole_one(self):
        whole = self.complete(max_tokens=24)
        options = {"stream": True, "stream_options": {"include_usage": True}}
        texts, usage = pieces(self.complete(max_tokens=24, **options))
        self.assertEqual(texts, {0: whole.choices[0].text})
        self.assertEqual(usage.completion_tokens, 24)
        self.assertEqual(usage.prompt_tokens, whole.usage.prompt_tokens)

    def test_prompts_of_every_kind(self):
        one, two = (prompt for prompt in GOLDEN["prompts"][:2])
        expected = [self.complete(prompt["text"], max_tokens=8).choices[0].text for prompt in (one, two)]
        for prompt in ([one["text"], two["text"]], [one["ids"], two["ids"]]):
            choices = self.complete(prompt, max_tokens=8).choices
            self.assertEqual([choice.text for choice in sorted(choices, key=lambda c: c.index)], expected)
        self.assertEqual(self.complete(one["ids"], max_tokens=8).choices[0].text, expected[0])
        self.assertEqual(self.complete(one["text"], max_tokens=8, echo=True).choices[0].text, one["text"] + expected[0])

    def test_chat(self):
        answer = self.chat(max_tokens=16, extra_body=EXACT)
        (choice,) = answer.choices
        self.assertEqual((choice.message.role, choice.finish_reason), ("assistant", "length"))
        self.assertEqual(answer.object, "chat.completion")
        self.assertTrue(choice.message.content)
        chunks = list(self.chat(max_tokens=16, extra_body=EXACT, stream=True, stream_options={"include_usage": True}))
        self.assertEqual(chunks[0].choices[0].delta.role, "assistant")
        texts, usage = pieces(chunks)
        self.assertEqual(texts, {0: choice.message.content})
        self.assertEqual(usage.total_tokens, answer.usage.total_tokens)
        # The same messages again: their first block is in the cache.
        self.assertEqual(usage.prompt_tokens_details.cached_tokens, 16)
        self.assertEqual([c.choices[0].finish_reason for c in chunks if c.choices][-1], "length")

    def test_chat_is_its_template_filled_in(self):
        prompt = json.loads(self.curl("/tokenize", "-d", json.dumps({"model": NAME, "messages": MESSAGES})))["tokens"]
        text = json.loads(self.curl("/detokenize", "-d", json.dumps({"model": NAME, "tokens": prompt})))["prompt"]
        self.assertIn("<system> Be brief.\n<user> And the king said\n<assistant>", text)
        chat = self.chat(max_tokens=12, extra_body=EXACT)
        self.assertEqual(chat.usage.prompt_tokens, len(prompt))
        self.assertEqual(
            chat.choices[0].message.content, self.complete(prompt, max_tokens=12, extra_body=EXACT).choices[0].text
        )

    def test_tokenize_and_back(self):
        for wanted in GOLDEN["prompts"]:
            answer = json.loads(self.curl("/tokenize", "-d", json.dumps({"model": NAME, "prompt": wanted["text"]})))
            self.assertEqual(answer["tokens"], wanted["ids"])
            self.assertEqual(answer["count"], len(wanted["ids"]))
            body = json.dumps({"model": NAME, "tokens": wanted["ids"][1:]})
            self.assertEqual(json.loads(self.curl("/detokenize", "-d", body))["prompt"], wanted["text"])

    def test_seeds(self):
        def draw(**fields):
            answer = self.complete(temperature=1.1, max_tokens=12, **fields)
            return [choice.text for choice in sorted(answer.choices, key=lambda c: c.index)]

        self.assertEqual(draw(seed=5), draw(seed=5))
        self.assertNotEqual(draw(seed=5), draw(seed=6))
        three = draw(seed=5, n=3)
        self.assertEqual(len(set(three)), 3)
        self.assertEqual(draw(seed=5, n=3), three)
        texts, _ = pieces(self.complete(temperature=1.1, max_tokens=12, seed=5, n=3, stream=True))
        self.assertEqual([texts[index] for index in range(3)], three)

    def test_stop_strings(self):
        whole = self.complete(max_tokens=24).choices[0].text
        stop = whole[20:26]
        expected = whole[: whole.index(stop)]
        answer = self.complete(max_tokens=24, stop=["never said", stop])
        self.assertEqual(answer.choices[0].text, expected)
        self.assertEqual(answer.choices[0].finish_reason, "stop")
        self.assertEqual(answer.choices[0].stop_reason, stop)
        self.assertEqual(pieces(self.complete(max_tokens=24, stop=stop, stream=True))[0], {0: expected})

    def test_logprobs(self):
        wanted = GOLDEN["prompts"][0]
        logprobs = self.complete(wanted["text"], max_tokens=32, logprobs=5, extra_body=EXACT).choices[0].logprobs
        self.assertEqual(len(logprobs.tokens), 32)
        for value, top, step in zip(logprobs.token_logprobs, logprobs.top_logprobs, wanted["top5"], strict=True):
            self.assertAlmostEqual(value, step[0][1], delta=1e-3)
            expected = sorted((logprob for _, logprob in step), reverse=True)
            for one, other in zip(sorted(top.values(), reverse=True), expected):
                self.assertAlmostEqual(one, other, delta=1e-3)
        content = self.chat(max_tokens=4, logprobs=True, top_logprobs=2).choices[0].logprobs.content
        self.assertEqual(len(content), 4)
        for token in content:
            self.assertEqual(len(token.top_logprobs), 2)
            self.assertEqual(token.top_logprobs[0].token, token.token)  # greedy takes the first
            self.assertAlmostEqual(token.top_logprobs[0].logprob, token.logprob, delta=1e-6)
            self.assertEqual(bytes(token.bytes).decode(errors="replace"), token.token)

    def test_errors_name_the_field(self):
        for param, fields in [
            ("max_tokens", {"max_tokens": -1}),
            ("temperature", {"temperature": -1}),
            ("top_p", {"top_p": 2}),
            ("n", {"n": 1_000_000}),
            ("logprobs", {"logprobs": 1_000_000}),
            ("stop", {"stop": ["x"] * 10_000}),
            ("prompt", {"prompt": []}),
            ("logit_bias", {"logit_bias": {"99999": 1}}),
            ("top_k", {"extra_body": {"top_k": "many"}}),
        ]:
            with self.subTest(param=param), self.assertRaises(openai.BadRequestError) as raised:
                self.complete(**fields)
            self.assertEqual(raised.exception.param, param)
            self.assertIn(param, raised.exception.message)

    def test_errors_of_every_kind(self):
        with self.assertRaises(openai.NotFoundError):
            self.client.completions.create(model="../model", prompt="x")
        with self.assertRaises(openai.BadRequestError) as raised:
            self.complete([5] * 2048)
        self.assertEqual(raised.exception.type, "context_length_exceeded")
        with self.assertRaises(openai.AuthenticationError):
            self.client.with_options(api_key="another").models.list()
        with self.assertRaises(openai.BadRequestError):
            self.client.chat.completions.create(model=NAME, messages=[])
        with self.assertRaises(openai.BadRequestError) as raised:
            self.client.embeddings.create(model=NAME, input="x")
        self.assertIn("embeddings", raised.exception.message)

    def test_cancelled_by_disconnect(self):
        stream = self.complete(max_tokens=1500, stream=True, extra_body={"ignore_eos": True})
        for _ in zip(range(3), stream):
            pass
        self.server.await_metric("cohort:kv_cache_usage_perc", lambda value: value > 0)
        (aborted,) = (name for name in self.server.metrics() if "request_success_total" in name and "abort" in name)
        before = self.server.metrics()[aborted]
        stream.close()
        self.server.await_metric("cohort:num_requests_running", lambda value: value == 0)
        self.server.await_metric("cohort:kv_cache_usage_perc", lambda value: value == 0)
        self.assertEqual(self.server.metrics()[aborted], before + 1)

    def test_many_at_once(self):
        async def ask_all():
            async with openai.AsyncOpenAI(base_url=f"{self.server.url}/v1", api_key=KEY, max_retries=0) as client:
                prompts = [prompt["text"] for prompt in GOLDEN["prompts"]] * 6
                fields = {"model": NAME, "temperature": 0, "max_tokens": 16, "extra_body": EXACT}
                answers = [client.completions.create(prompt=prompt, **fields) for prompt in prompts]
                return await asyncio.gather(*answers)

        for answer, wanted in zip(asyncio.run(ask_all()), GOLDEN["prompts"] * 6, strict=True):
            self.assertEqual(answer.choices[0].token_ids, wanted["greedy_ids"][:16])

    def test_curl(self):
        body = json.dumps(completion(PROMPT, model=NAME, max_tokens=6, stream=True))
        lines = self.curl("/v1/completions", "-N", "-d", body).splitlines()
        self.assertEqual(lines[-2:], ["data: [DONE]", ""])
        text = "".join(json.loads(line[6:])["choices"][0]["text"] for line in lines[:-2] if line)
        self.assertEqual(text, self.complete(max_tokens=6).choices[0].text)
        self.assertEqual(json.loads(self.curl("/health", key=None))["status"], "ready")
        self.assertIn("version", json.loads(self.curl("/version")))
        heads = self.curl("/v1/models", "-o", "/dev/null", "-D", "-", "-H", "X-Request-Id: mine")
        self.assertIn("x-request-id: mine", heads.lower())
        self.assertIn("# TYPE", self.curl("/metrics"))
        for path, key, status in (("/v1/models", None, "401"), ("/nowhere", KEY, "404"), ("/health", None, "200")):
            self.assertEqual(self.curl(path, "-o", "/dev/null", "-w", "%{http_code}", key=key), status)

    def test_curl_with_a_compressed_body(self):
        file = self.folder / "body.gz"
        file.write_bytes(gzip.compress(json.dumps(completion(PROMPT, model=NAME, max_tokens=2)).encode()))
        answer = self.curl("/v1/completions", "-H", "Content-Encoding: gzip", "--data-binary", f"@{file}")
        self.assertEqual(json.loads(answer)["choices"][0]["text"], self.complete(max_tokens=2).choices[0].text)


class TwoRanks(Clients, unittest.TestCase):
    tensor, pipeline = 2, 1


class FourRanks(Clients, unittest.TestCase):
    tensor, pipeline = 2, 2


if __name__ == "__main__":
    cohort = str(pathlib.Path(sys.argv.pop(1)).resolve())
    server.job.main()
