#!/usr/bin/env python3
"""A greedy answer depends neither on what else the server does nor on the number of its ranks: 200 requests at once,
with random arrivals and lengths, some cancelled, in a cache far too small for them, are answered token for token as
each alone.

Run: equality_test.py PATH_OF_COHORT [unittest arguments]
"""

import asyncio
import dataclasses
import pathlib
import random
import sys
import time
import unittest

import server
from server import Server, Stream, completion

cohort = None

NUM_REQUESTS = 200
NUM_CANCELLED = 30
ARRIVAL_S = 1.5  # over which they come
VOCAB = 4096
# 24 blocks of 8 positions: two of the longest sequences below, of which 24 may run.
SMALL_CACHE = ["--block-size", 8, "--num-blocks", 24, "--max-seqs", 24, "--max-tokens-per-step", 64]


@dataclasses.dataclass
class Case:
    """A request, when it comes, and after how many tokens its client goes away, if it does."""

    body: dict
    arrival_s: float
    cancelled_after: int | None = None

    expected: list = dataclasses.field(default_factory=list)  # token ids, alone
    reason: str = ""


def make_cases(seed):
    draw = random.Random(seed)

    def ids(count):
        return [draw.randrange(2, VOCAB) for _ in range(count)]

    prefixes = [ids(length) for length in (16, 24, 24, 40)]
    cases = []
    for number in range(NUM_REQUESTS):
        prompt = draw.choice(prefixes) + ids(draw.randint(1, 24)) if number % 3 else ids(draw.randint(1, 48))
        fields = {
            "max_tokens": draw.randint(1, 40),
            "ignore_eos": draw.random() < 0.8,
            "priority": draw.choice([0, 0, 0, 5]),
        }
        if draw.random() < 0.2:
            fields["repetition_penalty"] = 1.3
        cases.append(Case(completion(prompt, **fields), draw.uniform(0, ARRIVAL_S)))
    for case in draw.sample(cases, NUM_CANCELLED):
        case.cancelled_after = draw.randint(0, 12)
    return cases


async def ask(running, case, start):
    """A stream of the case, read as far as its client reads."""
    await asyncio.sleep(max(0.0, start + case.arrival_s - time.monotonic()))
    stream = Stream(running.port, "/v1/completions", case.body)
    try:
        if case.cancelled_after == 0:  # before its first token, maybe in the queue
            opening = asyncio.ensure_future(stream.open())
            await asyncio.sleep(0.05)
            opening.cancel()
            return stream
        await stream.open()
        async for _ in stream.events():
            if case.cancelled_after is not None and len(stream.token_ids) >= case.cancelled_after:
                break
    finally:
        stream.close()
    return stream


class Equality(unittest.TestCase):
    maxDiff = 2000

    @classmethod
    def setUpClass(cls):
        """The answers alone: one after another, on one rank, with nothing preempted and nothing found in the cache."""
        cls.cases = make_cases(seed=7)
        with Server(cohort, "--num-blocks", 256) as running:
            running.await_ready()
            for number, case in enumerate(cls.cases):
                choice = running.complete(**case.body, cache_salt=f"alone {number}")
                case.expected = choice["token_ids"]
                case.reason = choice["finish_reason"]
            metrics = running.metrics()
            for name in ("num_preemptions", "prefix_cache_hits"):
                assert metrics[f"cohort:{name}_total"] == 0, name

    def ask_all(self, running, cases):
        async def gather():
            start = time.monotonic()
            return await asyncio.gather(*(ask(running, case, start) for case in cases))

        return asyncio.run(gather())

    def check(self, cases, streams):
        for number, (case, stream) in enumerate(zip(cases, streams, strict=True)):
            with self.subTest(number=number, case=case):
                self.assertIsNone(stream.error)
                if case.cancelled_after is not None:
                    self.assertEqual(stream.token_ids, case.expected[: len(stream.token_ids)])
                    continue
                self.assertEqual(stream.status, 200)
                self.assertEqual(stream.token_ids, case.expected)
                self.assertEqual(stream.finish_reason, case.reason)
                self.assertTrue(stream.is_done)

    def run_layout(self, tensor, pipeline):
        with Server(cohort, *SMALL_CACHE, tensor=tensor, pipeline=pipeline) as running:
            running.await_ready()
            before = running.metrics()
            since = time.monotonic()
            streams = self.ask_all(running, self.cases)
            seconds = time.monotonic() - since
            self.check(self.cases, streams)
            for gauge in ("cohort:kv_cache_usage_perc", "cohort:num_requests_running", "cohort:num_requests_waiting"):
                self.assertEqual(before[gauge], 0, gauge)
                running.await_metric(gauge, lambda value: value == 0)
            after = running.metrics()
            grown = {
                name: after[f"cohort:{name}_total"] - before[f"cohort:{name}_total"]
                for name in ("num_preemptions", "prefix_cache_hits", "generation_tokens")
            }
            print(f"{tensor} x {pipeline}: {len(streams)} requests in {seconds:.1f} s, {grown}", flush=True)
            self.assertGreater(grown["num_preemptions"], 0)
            self.assertGreater(grown["prefix_cache_hits"], 0)
            self.assertEqual(running.stop(), 0, running.job.err)

    def test_two_ranks_that_share_layers(self):
        self.run_layout(2, 1)

    def test_four_ranks_that_share_layers_in_two_stages(self):
        self.run_layout(2, 2)


if __name__ == "__main__":
    cohort = str(pathlib.Path(sys.argv.pop(1)).resolve())
    server.job.main()
