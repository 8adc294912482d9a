#!/usr/bin/env python3
"""Tokens a second of `cohort generate` with the quickstart model on this machine's CPU.

Run: tests/bench/quickstart_bench.py [--cohort build/release/launcher/cohort] [--out FILE.json]
Each figure is the best of --repeat runs: other work on the machine only ever makes one slower.
"""

import argparse
import json
import os
import pathlib
import platform
import re
import subprocess

ROOT = pathlib.Path(__file__).resolve().parents[2]
MODEL = ROOT / "configs/quickstart/model"
PROMPT = "In the beginning God created"
NUM_TOKENS = 256


def cpu_name():
    for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.processor()


def vector_units():
    flags = pathlib.Path("/proc/cpuinfo").read_text()
    return [unit for unit in ("avx2", "avx512f", "avx512_bf16", "amx_bf16") if re.search(rf"\b{unit}\b", flags)]


def measure(cohort, dtype, batch):
    """Time to the first token in ms, and output tokens a second."""
    command = [cohort, "generate", "--model", MODEL, "--dtype", dtype, "--max-tokens", NUM_TOKENS, "--ignore-eos"]
    command += ["--prompt", PROMPT] * batch
    process = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=True)
    match = re.search(r"TTFT ([\d.]+) ms, .* in ([\d.]+) s, ([\d.]+) tokens/s", process.stderr)
    return float(match[1]), float(match[3])


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cohort", default=ROOT / "build/release/launcher/cohort")
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--commit", help="of the binary; default the checkout's")
    parser.add_argument("--out", type=pathlib.Path)
    args = parser.parse_args()

    commit = subprocess.run(["git", "-C", ROOT, "rev-parse", "--short=12", "HEAD"], capture_output=True, text=True)
    result = {
        "command": "tests/bench/quickstart_bench.py",
        "commit": args.commit or commit.stdout.strip(),
        "cpu": cpu_name(),
        "num_cpus": len(os.sched_getaffinity(0)),
        "vector_units": vector_units(),
        "output_tokens": NUM_TOKENS,
        "rows": [],
    }
    print(f"{result['cpu']}, {result['num_cpus']} CPUs, {' '.join(result['vector_units'])}, commit {result['commit']}")
    print(f"{'dtype':>10} {'sequences':>10} {'TTFT ms':>10} {'tokens/s':>10}")
    for dtype in ("float32", "bfloat16", "float16"):
        for batch in (1, 8, 32):
            runs = [measure(args.cohort, dtype, batch) for _ in range(args.repeat)]
            row = {
                "dtype": dtype,
                "sequences": batch,
                "ttft_ms": min(ttft for ttft, _ in runs),
                "tokens_per_second": max(rate for _, rate in runs),
            }
            result["rows"].append(row)
            print(f"{dtype:>10} {batch:>10} {row['ttft_ms']:>10.1f} {row['tokens_per_second']:>10.1f}", flush=True)
    if args.out:
        args.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
