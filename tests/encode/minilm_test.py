#!/usr/bin/env python3
"""The sentence encoder all-MiniLM-L6-v2 gives the embeddings of tests/data/minilm.json, which are Hugging Face's.

Run: minilm.sh VENV_DIR PATH_OF_COHORT, or minilm_test.py PATH_OF_COHORT MODEL_DIR
"""

import base64
import json
import pathlib
import struct
import subprocess
import sys

import encoders

REFERENCE = encoders.ROOT / "tests/data/minilm.json"
MIN_COSINE = 0.9999


def encode(cohort, model, *flags):
    """The objects of `cohort encode`, an input each."""
    command = [cohort, "encode", "--model", model, "--quiet", *flags]
    process = subprocess.run(command, capture_output=True, timeout=300)
    assert process.returncode == 0, process.stderr.decode()
    return process.stdout.decode().splitlines()


def main():
    cohort, model = sys.argv[1:]
    sentences = json.loads(REFERENCE.read_text())["sentences"]
    flags = [flag for sentence in sentences for flag in ("--text", sentence["text"])]
    worst = 1.0
    for dtype, least in (("float32", MIN_COSINE), ("bfloat16", 0.999)):
        lines = encode(cohort, pathlib.Path(model), "--dtype", dtype, *flags)
        assert len(lines) == len(sentences), (len(lines), len(sentences))
        cosines = []
        for sentence, line in zip(sentences, lines):
            data = base64.b64decode(sentence["embedding"])
            expected = struct.unpack(f"<{len(data) // 2}e", data)
            actual = [float(x) for x in line.split()]
            assert abs(sum(x * x for x in actual) - 1) < 1e-5
            cosines.append(encoders.cosine(actual, expected))
        worst = min(cosines)
        print(f"{dtype}: {len(cosines)} sentences, the smallest cosine is {worst:.7f}")
        assert worst > least, sentences[cosines.index(worst)]["text"]
    texts = [sentence["text"] for sentence in sentences[2:5]]
    for line, sentence in zip(encode(cohort, model, "--json", *(f for t in texts for f in ("--text", t))), sentences[2:5]):
        assert json.loads(line)["input_ids"] == sentence["ids"], sentence["text"]


if __name__ == "__main__":
    main()
