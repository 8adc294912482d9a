#!/usr/bin/env python3
"""Times PyTorch's causal attention, by its flash and its cuDNN backend, on the shapes of attention_prefill_cuda_bench.

    attention_torch.py [--json FILE]

Needs PyTorch with CUDA. bfloat16, [sequence, head, token, dim] as these backends like it best; CUDA graphs over several
sets of tensors, so that no call finds its own in the L2 cache; medians. Prints JSON; operations above the diagonal are
not counted.
"""
import argparse
import json
import statistics

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

BACKENDS = {"flash": SDPBackend.FLASH_ATTENTION, "cudnn": SDPBackend.CUDNN_ATTENTION}
HEADS = [(40, 40), (64, 8)]
LENGTHS = [(1, 2048), (1, 8192), (4, 4096)]
HEAD_DIM = 128
ROTATED_BYTES = 512 << 20
NUM_REPLAYS = 9


def random(shape):
    """Of magnitude 1 to 2 and either sign, like the bench: zeros would be faster."""
    magnitude = torch.rand(shape, device="cuda") + 1
    return (magnitude * torch.randint(0, 2, shape, device="cuda").mul(2).sub(1)).to(torch.bfloat16)


def time_us(calls):
    """Microseconds of one of `calls`, replayed as a CUDA graph."""
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        calls[0]()
    stream.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, stream=stream):
        for call in calls:
            call()
    graph.replay()
    times = []
    for _ in range(NUM_REPLAYS):
        start, stop = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        start.record()
        graph.replay()
        stop.record()
        stop.synchronize()
        times.append(start.elapsed_time(stop) * 1000 / len(calls))
    return statistics.median(times)


def measure(backend, num_heads, num_kv_heads, num_seqs, length):
    kv_bytes = 2 * num_seqs * num_kv_heads * length * HEAD_DIM * 2
    num_sets = max(4, min(16, -(-ROTATED_BYTES // kv_bytes)))
    sets = [[random((num_seqs, heads, length, HEAD_DIM)) for heads in (num_heads, num_kv_heads, num_kv_heads)]
            for _ in range(num_sets)]

    def call_of(tensors):
        return lambda: torch.nn.functional.scaled_dot_product_attention(
            *tensors, is_causal=True, enable_gqa=num_heads != num_kv_heads)

    with sdpa_kernel([backend]), torch.no_grad():
        us = time_us([call_of(tensors) for tensors in sets])
    flops = 4 * num_seqs * num_heads * HEAD_DIM * length * (length + 1) / 2
    return us, flops / us * 1e-6


def main():
    parser = argparse.ArgumentParser(description="Times PyTorch's causal attention.")
    parser.add_argument("--json", help="write the results to this file as well")
    args = parser.parse_args()
    results = []
    for num_heads, num_kv_heads in HEADS:
        for num_seqs, length in LENGTHS:
            for name, backend in BACKENDS.items():
                result = {"backend": name, "heads": num_heads, "kv_heads": num_kv_heads, "seqs": num_seqs,
                          "queries": length, "head_dim": HEAD_DIM}
                try:
                    us, tflops = measure(backend, num_heads, num_kv_heads, num_seqs, length)
                    result |= {"us": us, "tflops": tflops}
                except RuntimeError as error:  # a backend may lack a shape
                    result["error"] = str(error).splitlines()[0]
                results.append(result)
    text = json.dumps({"device": torch.cuda.get_device_name(), "torch": torch.__version__,
                       "cudnn": torch.backends.cudnn.version(), "results": results}, indent=1)
    print(text)
    if args.json:
        with open(args.json, "w", encoding="utf-8") as file:
            file.write(text + "\n")


if __name__ == "__main__":
    main()
