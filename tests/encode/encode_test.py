#!/usr/bin/env python3
"""`cohort encode` as a user runs it: against what Hugging Face computes, on one rank and on several.

Run: encode_test.py PATH_OF_COHORT [unittest arguments]
"""

import json
import math
import pathlib
import subprocess
import sys
import tempfile
import unittest

import encoders
from encoders import CLS, GOLDEN, NUM_PROMPTS, ROOT, SEP, flat, golden, relative_error, token_ids

sys.path.insert(0, str(ROOT / "tests/cluster"))

import job  # noqa: E402

TOLERANCE = 1e-4
cohort = None


def run(*args, stdin=""):
    """Standard output, standard error and exit code of `cohort ARGS`."""
    process = subprocess.run([cohort, *map(str, args)], input=stdin.encode(), capture_output=True, timeout=120)
    return process.stdout.decode(), process.stderr.decode(), process.returncode


def id_flags(tensors):
    """The flags that hand over the golden inputs."""
    flags = []
    for i in range(NUM_PROMPTS):
        flags += ["--input-ids", ",".join(map(str, tensors[f"prompt{i}.ids"][0]))]
        if f"prompt{i}.types" in tensors:
            flags += ["--token-type-ids", ",".join(map(str, tensors[f"prompt{i}.types"][0]))]
    return flags


class Encode(unittest.TestCase):
    maxDiff = 2000

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)

    def ok(self, *args, **kwargs):
        out, err, code = run("encode", *args, **kwargs)
        self.assertEqual(code, 0, err)
        return out

    def lines(self, *args, **kwargs):
        return [json.loads(line) for line in self.ok(*args, "--json", **kwargs).splitlines()]

    def refused(self, code, *args):
        out, err, got = run(*args)
        self.assertEqual((got, out), (code, ""), err)
        return err

    def test_every_checkpoint_is_encoded_as_transformers_does(self):
        for path in sorted(GOLDEN.iterdir()):
            tensors = golden(path.name)
            lines = self.lines("--model", path, *id_flags(tensors))
            self.assertEqual(len(lines), NUM_PROMPTS)
            for i, line in enumerate(lines):
                self.assertEqual(line["input_ids"], tensors[f"prompt{i}.ids"][0])
                for key in ("last_hidden_state", "pooler_output", "logits"):
                    if f"prompt{i}.{key}" not in tensors:
                        self.assertNotIn(key, line, path.name)
                        continue
                    expected, shape = tensors[f"prompt{i}.{key}"]
                    actual = line[key][:: encoders.MASKED_STEP] if path.name.endswith(("masked", "masked-split")) else line[key]
                    self.assertEqual(len(actual), shape[0])
                    self.assertLess(relative_error(flat(actual), expected), TOLERANCE, f"{path.name} {i} {key}")
                if "last_hidden_state" in line:
                    means = [sum(column) for column in zip(*line["last_hidden_state"])]
                    length = math.sqrt(sum(x * x for x in means))
                    self.assertLess(relative_error(line["embedding"], [x / length for x in means]), TOLERANCE)

    def test_old_names_of_norms_are_known(self):
        model = self.folder / "bert"
        model.mkdir()
        (model / "config.json").symlink_to(GOLDEN / "bert/config.json")
        data = (GOLDEN / "bert/model.safetensors").read_bytes()
        size = int.from_bytes(data[:8], "little")
        header = data[8 : 8 + size].replace(b"LayerNorm.weight", b"LayerNorm.gamma")
        header = header.replace(b"LayerNorm.bias", b"LayerNorm.beta").ljust(size)
        (model / "model.safetensors").write_bytes(data[:8] + header + data[8 + size :])
        flags = id_flags(golden("bert"))
        self.assertEqual(self.ok("--model", model, *flags), self.ok("--model", GOLDEN / "bert", *flags))

    def test_ranks_say_what_one_says(self):
        for name in ("bert-split", "bert-classifier-split", "bert-masked-split"):
            flags = ["encode", "--model", GOLDEN / name, "--json", "--quiet", "--threads", 1, *id_flags(golden(name))]
            alone, err, code = run(*flags)
            self.assertEqual(code, 0, err)
            for tensor, pipeline in ((2, 1), (1, 2), (4, 2)):
                layout = ["--tp", tensor, "--pp", pipeline]
                with job.Job(job.OneHost().command(tensor * pipeline, cohort, *flags, *layout)) as started:
                    self.assertEqual(started.wait(60), 0, started.err)
                    self.assertEqual(started.out, alone, f"{name} tp {tensor} pp {pipeline}")

    def test_texts_become_tokens_with_special_ones_around_them(self):
        model = encoders.with_tokenizer("bert", self.folder / "bert")
        first, second = "an ox to be", "he is it"
        (line,) = self.lines("--model", model, "--text", first)
        self.assertEqual(line["input_ids"], [CLS, *token_ids(first), SEP])
        (by_ids,) = self.lines("--model", model, "--input-ids", line["input_ids"])
        self.assertEqual(by_ids, line)
        (pair,) = self.lines("--model", model, "--text", first, "--text-pair", second)
        self.assertEqual(pair["input_ids"], [CLS, *token_ids(first), SEP, *token_ids(second), SEP])
        types = [0] * (len(token_ids(first)) + 2) + [1] * (len(token_ids(second)) + 1)
        (typed,) = self.lines("--model", model, "--input-ids", pair["input_ids"], "--token-type-ids", types)
        self.assertEqual(typed, pair)
        (untyped,) = self.lines("--model", model, "--input-ids", pair["input_ids"])
        self.assertNotEqual(untyped, pair)
        from_file = self.lines("--model", model, "--texts-file", "-", stdin=f"{first}\n\n{second}\n")
        self.assertEqual(from_file[0], line)
        self.assertEqual(from_file[1]["input_ids"], [CLS, SEP])
        self.assertEqual(from_file[2]["input_ids"], [CLS, *token_ids(second), SEP])

    def test_many_inputs_are_answered_in_their_order(self):
        model = encoders.with_tokenizer("bert", self.folder / "bert")
        texts = [" ".join(encoders.VOCAB[100 + (7 * i + j) % 300] for j in range(i % 60 + 1)) for i in range(200)]
        lines = self.ok("--model", model, "--texts-file", "-", stdin="\n".join(texts)).splitlines()
        self.assertEqual(len(lines), 200)
        for i in (0, 1, 57, 119, 199):
            self.assertEqual(self.ok("--model", model, "--text", texts[i]), lines[i] + "\n")

    def test_people_are_told_the_label(self):
        for name, pattern in (
            ("bert-classifier", r"^LABEL_[012] [01]\.\d{4}$"),
            ("bert-score", r"^LABEL_0 0\.\d{4}$"),
            ("bert-tokens", r"^(O|[BI]-(PER|LOC)) (O|[BI]-(PER|LOC))$"),
            ("distilbert-masked", r"^\d+ \d+$"),
        ):
            self.assertRegex(self.ok("--model", GOLDEN / name, "--input-ids", "5,6"), pattern)
        self.assertEqual(len(self.ok("--model", GOLDEN / "roberta", "--input-ids", "5,6").split()), 24)
        (line,) = self.lines("--model", GOLDEN / "bert-tokens", "--input-ids", "5,6,7")
        self.assertEqual(len(line["labels"]), 3)

    def test_sentence_transformers_files_say_how_to_pool(self):
        states = self.lines("--model", GOLDEN / "distilbert", "--input-ids", "5,6,7")[0]["last_hidden_state"]
        mean = [sum(column) / 3 for column in zip(*states)]
        for pooling, normalizes, expected in (
            ("pooling_mode_mean_tokens", False, mean),
            ("pooling_mode_cls_token", False, states[0]),
            ("pooling_mode_lasttoken", True, states[2]),
        ):
            model = self.folder / pooling
            model.mkdir()
            for path in (GOLDEN / "distilbert").iterdir():
                (model / path.name).symlink_to(path)
            modules = [("", "Transformer"), ("1_Pooling", "Pooling")] + [("2_Normalize", "Normalize")] * normalizes
            modules = [dict(idx=i, path=p, type=f"sentence_transformers.models.{t}") for i, (p, t) in enumerate(modules)]
            (model / "modules.json").write_text(json.dumps(modules))
            (model / "1_Pooling").mkdir()
            (model / "1_Pooling/config.json").write_text(json.dumps({"word_embedding_dimension": 24, pooling: True}))
            length = math.sqrt(sum(x * x for x in expected)) if normalizes else 1
            embedding = [float(x) for x in self.ok("--model", model, "--input-ids", "5,6,7").split()]
            self.assertLess(relative_error(embedding, [x / length for x in expected]), 1e-6, pooling)
        (model / "1_Pooling/config.json").write_text(json.dumps({"pooling_mode_max_tokens": True}))
        self.assertIn("pooling_mode_max_tokens", self.refused(1, "encode", "--model", model, "--input-ids", "5"))

    def test_the_classifier_tells_king_james_from_shakespeare(self):
        model = ROOT / "configs/classifier"
        held_out = [json.loads(line) for line in (model / "held-out.jsonl").read_text().splitlines()]
        labels = ["King James", "Shakespeare"]
        texts = "\n".join(sentence["text"] for sentence in held_out)
        for dtype in ("float32", "bfloat16"):
            lines = self.lines("--model", model, "--dtype", dtype, "--texts-file", "-", stdin=texts)
            right = sum(line["label"] == labels[sentence["label"]] for line, sentence in zip(lines, held_out))
            self.assertGreaterEqual(right / len(held_out), 0.95)
            print(f"{dtype}: {right} of {len(held_out)} held-out sentences are right")
        # In float32, as Hugging Face has them.
        sentences = json.loads((ROOT / "tests/data/classifier.json").read_text())["sentences"]
        texts = "\n".join(sentence["text"] for sentence in sentences)
        for line, sentence in zip(
            self.lines("--model", model, "--dtype", "float32", "--texts-file", "-", stdin=texts), sentences
        ):
            self.assertEqual(line["input_ids"], sentence["ids"])
            self.assertLess(relative_error(line["logits"], sentence["logits"]), TOLERANCE, sentence["text"])

    def test_mistakes(self):
        bert = GOLDEN / "bert"
        for flags, words in (
            ([], ["--text"]),
            (["--input-ids", "5,x"], ["--input-ids", '"x"']),
            (["--input-ids", "1003"], ["1003"]),
            (["--input-ids", ",".join(["5"] * 71)], ["71 tokens", "70"]),
            (["--input-ids", "5,6", "--token-type-ids", "0"], ["token_types", "2", "1"]),
            (["--input-ids", "5,6", "--token-type-ids", "0,1", "--token-type-ids", "0"], ["--token-type-ids"]),
            (["--text", "a", "--text-pair", "b", "--text-pair", "c"], ["--text-pair"]),
        ):
            err = self.refused(2, "encode", "--model", bert, *flags)
            for word in words:
                self.assertIn(word, err)
        self.assertIn("token_types: 3", self.refused(1, "encode", "--model", bert, "--input-ids", "5", "--token-type-ids", "3"))
        decoder = ROOT / "configs/quickstart/model"
        self.assertIn("generates", self.refused(1, "encode", "--model", decoder, "--input-ids", "5"))
        self.assertIn("encode", self.refused(1, "generate", "--model", bert, "--prompt-ids", "5"))
        self.assertIn("tokenizer", self.refused(1, "encode", "--model", bert, "--text", "a"))


if __name__ == "__main__":
    cohort = sys.argv.pop(1)
    unittest.main(verbosity=2)
