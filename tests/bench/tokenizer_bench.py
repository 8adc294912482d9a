#!/usr/bin/env python3
"""Compares the encoding speed of Cohort with Hugging Face `tokenizers` (and `sentencepiece`), one thread each.

usage: tokenizer_bench.py BENCH_BINARY [MODEL_DIR...]

Without directories: all of tests/data/tokenizer. Needs the PyPI packages; exits with 77 where they are missing.
"""
import argparse
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import time

os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["RAYON_NUM_THREADS"] = "1"
try:
    import sentencepiece
    import tokenizers
except ImportError as e:
    print(f"skipped: {e}")
    sys.exit(77)

DATA_DIR = pathlib.Path(__file__).resolve().parent.parent / "data"
sys.path.insert(0, str(DATA_DIR.parent / "tokenizer"))
from sample_texts import plain_spec  # noqa: E402


def sample_text():
    """Text of 15 languages and source code, with runs of one character; about 1.5 MB."""
    languages = [p.read_text() for p in sorted((DATA_DIR / "udhr").glob("*.txt"))]
    english = (DATA_DIR / "udhr" / "eng.txt").read_text()
    root = DATA_DIR.parent.parent
    code = "".join(p.read_text() for p in sorted((root / "runtime" / "tokenizer").glob("*.cc")))
    return "".join(languages) + english * 30 + code * 4 + "a" * 1000 + " " * 1000 + "🙂👩‍👩‍👧‍👦" * 300


def split_parts(text):
    """As tokenizer_bench.cc: parts of about 2000 bytes, cut at line ends."""
    data = text.encode()
    parts = []
    begin = 0
    while begin < len(data):
        newline = data.find(b"\n", begin + 1999)
        end = len(data) if newline < 0 else newline + 1
        parts.append(data[begin:end].decode())
        begin = end
    return parts


def python_rate(model_dir, text, passes):
    parts = split_parts(text)
    if (model_dir / "tokenizer.json").exists():
        spec = json.loads((model_dir / "tokenizer.json").read_text())
        tokenizer = tokenizers.Tokenizer.from_str(json.dumps(plain_spec(spec)))
        tokenizer.encode_special_tokens = True
        tokenizer.no_truncation()
        tokenizer.no_padding()
        encode = lambda: sum(len(tokenizer.encode(part).ids) for part in parts)
    else:
        processor = sentencepiece.SentencePieceProcessor(model_file=str(model_dir / "tokenizer.model"))
        encode = lambda: sum(1 + len(processor.encode(part)) for part in parts)  # and <s> or </s>
    best = 1e9
    for _ in range(passes):
        start = time.perf_counter()
        num_ids = encode()
        best = min(best, time.perf_counter() - start)
    return num_ids, len(text.encode()) / 1e6 / best


def cohort_rate(bench, model_dir, text_file, passes):
    out = subprocess.run([bench, text_file, str(passes), str(model_dir)], check=True, capture_output=True, text=True).stdout
    return int(re.search(r"(\d+) ids", out)[1]), float(re.search(r"encode ([\d.]+)", out)[1])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bench")
    parser.add_argument("model_dirs", nargs="*", type=pathlib.Path)
    parser.add_argument("--passes", type=int, default=5)
    parser.add_argument("--text", type=pathlib.Path, help="a file to encode instead of the sample")
    args = parser.parse_args()
    text = args.text.read_text() if args.text else sample_text()
    dirs = args.model_dirs or sorted(p for p in (DATA_DIR / "tokenizer").iterdir() if p.is_dir())
    print(f"{len(text.encode()) / 1e6:.2f} MB of text, best of {args.passes} passes, one thread")
    print(f"{'tokenizer':<16} {'cohort MB/s':>12} {'python MB/s':>12} {'ratio':>7}")
    slower = []
    with tempfile.NamedTemporaryFile("w", encoding="utf-8", newline="") as file:
        file.write(text)
        file.flush()
        for model_dir in dirs:
            num_ids, rate = cohort_rate(args.bench, model_dir, file.name, args.passes)
            python_ids, python = python_rate(model_dir, text, args.passes)
            note = "" if num_ids == python_ids else f"  DIFFERENT: {num_ids} and {python_ids} ids"
            print(f"{model_dir.name:<16} {rate:>12.2f} {python:>12.2f} {rate / python:>7.2f}{note}", flush=True)
            if rate < python or note:
                slower.append(model_dir.name)
    print("slower or different: " + ", ".join(slower) if slower else "none is slower")
    return 1 if slower else 0


if __name__ == "__main__":
    sys.exit(main())
