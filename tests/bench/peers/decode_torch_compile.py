#!/usr/bin/env python3
"""How fast PyTorch runs a Llama-shaped model: what Cohort's own decode and prefill are compared with.

    decode_torch_compile.py [--parts decode,prefill,transformers] [--batches 1,8,64] [--json FILE]

Three peers, with random weights that are made on the device (of 13B's sizes, if no others are given):
  decode        one token of each sequence by a hand-written model: fused QKV and gate-up products, a static cache, its
                layer compiled by torch.compile once a batch size and all layers replayed as one CUDA graph
  prefill       the prompt of one sequence by the same model, compiled, with PyTorch's flash attention
  transformers  LlamaForCausalLM as it comes: eager decode of one sequence, and its prefill

Decode attends to exactly `--context` positions, so that no mask is read. Batch 1 is measured twice: with cuBLAS, and
with products that the compiler generates (coordinate descent tuning); the table says which. A time is the median of
CUDA events around a step, and of the wall clock on a CPU, which is for trying the script out. Needs PyTorch 2.6 or
later; the part transformers needs transformers 4.56 or later. Exits 0; 77 when PyTorch, or CUDA without --device cpu,
is missing.
"""
import argparse
import json
import platform
import statistics
import sys
import time

try:
    import torch
    import torch.nn.functional as F
except ImportError:
    print("PyTorch is not installed", file=sys.stderr)
    sys.exit(77)

PARTS = ("decode", "prefill", "transformers")
NUM_STEPS = 30
NUM_WARM_UPS = 3


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", default=",".join(PARTS), help="some of " + ",".join(PARTS))
    parser.add_argument("--batches", default="1,8,64", help="sequences of a decode step")
    parser.add_argument("--context", type=int, default=512, help="positions that decode attends to")
    parser.add_argument("--prompt", type=int, default=2048, help="tokens of a prefill")
    parser.add_argument("--layers", type=int, default=40)
    parser.add_argument("--hidden", type=int, default=5120)
    parser.add_argument("--heads", type=int, default=40)
    parser.add_argument("--ffn", type=int, default=13824)
    parser.add_argument("--vocab", type=int, default=32000)
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--no-tuning", action="store_true", help="leave out batch 1 with generated products")
    parser.add_argument("--json", help="a file for the results; the table is printed in any case")
    args = parser.parse_args()
    args.parts = args.parts.split(",")
    args.batches = [int(batch) for batch in args.batches.split(",")]
    args.head_dim = args.hidden // args.heads
    for part in args.parts:
        if part not in PARTS:
            parser.error(f"--parts: expected some of {','.join(PARTS)}, got {part}")
    return args


def median_ms(step, device):
    """The median time of a call of step()."""
    for _ in range(NUM_WARM_UPS):
        step()
    times = []
    if device == "cpu":
        for _ in range(NUM_WARM_UPS):
            start = time.perf_counter()
            step()
            times.append((time.perf_counter() - start) * 1e3)
        return statistics.median(times)
    events = []
    for _ in range(NUM_STEPS):
        start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        start.record()
        step()
        end.record()
        events.append((start, end))
    torch.cuda.synchronize()
    return statistics.median(start.elapsed_time(end) for start, end in events)


def rms_norm(x, weight):
    wide = x.float()
    return (wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + 1e-5)).to(x.dtype) * weight


def rotate(x, cos, sin):  # x [batch, heads, tokens, head_dim]; cos, sin [tokens, head_dim / 2]
    first, second = x.float().chunk(2, -1)
    return torch.cat((first * cos - second * sin, second * cos + first * sin), -1).to(x.dtype)


def layer(x, weights, cache, cos, sin, is_prefill):
    """One layer. x [batch, tokens, hidden]; cache: keys and values, each [batch, heads, positions, head_dim], whose last
    position a decode step writes and a prefill does not touch."""
    batch, tokens, hidden = x.shape
    head_dim = cos.shape[-1] * 2
    qkv = F.linear(rms_norm(x, weights["attn_norm"]), weights["qkv"])
    q, k, v = (part.view(batch, tokens, -1, head_dim).transpose(1, 2) for part in qkv.chunk(3, -1))
    q, k = rotate(q, cos, sin), rotate(k, cos, sin)
    if is_prefill:
        context = F.scaled_dot_product_attention(q, k, v, is_causal=True)
    else:
        keys, values = cache
        keys[:, :, -1:].copy_(k)
        values[:, :, -1:].copy_(v)
        context = F.scaled_dot_product_attention(q, keys, values)
    x = x + F.linear(context.transpose(1, 2).reshape(batch, tokens, hidden), weights["out"])
    gate, up = F.linear(rms_norm(x, weights["mlp_norm"]), weights["gate_up"]).chunk(2, -1)
    return x + F.linear(F.silu(gate) * up, weights["down"])


def make_weights(args):
    def matrix(rows, columns):
        values = torch.empty(rows, columns, dtype=torch.bfloat16, device=args.device)
        return values.normal_(0, columns**-0.5)

    def vector():
        return torch.ones(args.hidden, dtype=torch.bfloat16, device=args.device)

    layers = [{"attn_norm": vector(), "qkv": matrix(3 * args.hidden, args.hidden),
               "out": matrix(args.hidden, args.hidden), "mlp_norm": vector(),
               "gate_up": matrix(2 * args.ffn, args.hidden), "down": matrix(args.hidden, args.ffn)}
              for _ in range(args.layers)]
    return {"embedding": matrix(args.vocab, args.hidden), "layers": layers, "norm": vector(),
            "head": matrix(args.vocab, args.hidden)}


def angles(args, begin, end):
    frequencies = 10000.0 ** (-torch.arange(0, args.head_dim, 2, device=args.device) / args.head_dim)
    products = torch.arange(begin, end, device=args.device)[:, None] * frequencies
    return products.cos(), products.sin()


def compiled_layer(is_tuned):
    torch._dynamo.reset()
    return torch.compile(layer, dynamic=False, options={"coordinate_descent_tuning": is_tuned})


def measure_decode(args, weights, batch, is_tuned):
    layer_function = compiled_layer(is_tuned)
    shape = (batch, args.heads, args.context, args.head_dim)
    caches = [[torch.randn(shape, dtype=torch.bfloat16, device=args.device) for _ in range(2)]
              for _ in range(args.layers)]
    cos, sin = angles(args, args.context - 1, args.context)
    tokens = torch.randint(args.vocab, (batch, 1), device=args.device)

    def step():
        x = F.embedding(tokens, weights["embedding"])
        for layer_weights, cache in zip(weights["layers"], caches):
            x = layer_function(x, layer_weights, cache, cos, sin, False)
        logits = F.linear(rms_norm(x, weights["norm"]), weights["head"])
        tokens.copy_(logits.argmax(-1))

    if args.device == "cpu":
        return median_ms(step, args.device)
    side = torch.cuda.Stream()
    with torch.cuda.stream(side):  # compiles, and makes cuBLAS's workspaces before the capture
        for _ in range(NUM_WARM_UPS):
            step()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step()
    return median_ms(graph.replay, args.device)


def measure_prefill(args, weights):
    layer_function = compiled_layer(False)
    cos, sin = angles(args, 0, args.prompt)
    tokens = torch.randint(args.vocab, (1, args.prompt), device=args.device)

    def step():
        x = F.embedding(tokens, weights["embedding"])
        for layer_weights in weights["layers"]:
            x = layer_function(x, layer_weights, None, cos, sin, True)
        return F.linear(rms_norm(x[:, -1:], weights["norm"]), weights["head"])

    return median_ms(step, args.device)


def measure_transformers(args):
    """The decode of one sequence and the prefill, in milliseconds, and the version."""
    import transformers
    config = transformers.LlamaConfig(
        vocab_size=args.vocab, hidden_size=args.hidden, intermediate_size=args.ffn, num_hidden_layers=args.layers,
        num_attention_heads=args.heads, num_key_value_heads=args.heads, max_position_embeddings=4096,
        attn_implementation="sdpa", dtype=torch.bfloat16)
    with torch.device(args.device):
        torch.set_default_dtype(torch.bfloat16)
        model = transformers.LlamaForCausalLM(config).eval()
        torch.set_default_dtype(torch.float32)
    prompt = torch.randint(args.vocab, (1, args.prompt), device=args.device)
    prefill_ms = median_ms(lambda: model(prompt, logits_to_keep=1), args.device)
    cache = transformers.DynamicCache(config=config)
    state = {"tokens": model(prompt[:, :args.context - 1], past_key_values=cache, logits_to_keep=1).logits.argmax(-1)}

    def step():
        logits = model(state["tokens"], past_key_values=cache, logits_to_keep=1).logits
        state["tokens"] = logits.argmax(-1)

    return median_ms(step, args.device), prefill_ms, transformers.__version__


def main():
    args = parse_args()
    if args.device == "cuda" and not torch.cuda.is_available():
        print("no CUDA device", file=sys.stderr)
        return 77
    versions = {"python": platform.python_version(), "torch": torch.__version__, "cuda": torch.version.cuda}
    results = []

    def add(peer, what, batch, ms, start):
        results.append({"peer": peer, "what": what, "batch": batch, "ms": round(ms, 3)})
        print(f"{peer:<28} {what:<20} {batch:>5} {ms:>10.2f} {time.perf_counter() - start:>10.1f}", flush=True)

    print(f"{'peer':<28} {'what':<20} {'batch':>5} {'ms':>10} {'setup s':>10}")
    if {"decode", "prefill"} & set(args.parts):
        weights = make_weights(args)
    if "decode" in args.parts:
        for batch in args.batches:
            for is_tuned in (False, True):
                if is_tuned and (batch > 1 or args.no_tuning):
                    continue
                start = time.perf_counter()
                ms = measure_decode(args, weights, batch, is_tuned)
                add("torch.compile, " + ("generated" if is_tuned else "cuBLAS"), f"decode at {args.context}", batch, ms,
                    start)
    if "prefill" in args.parts:
        start = time.perf_counter()
        add("torch.compile, cuBLAS", f"prefill of {args.prompt}", 1, measure_prefill(args, weights), start)
    if "transformers" in args.parts:
        weights = None
        start = time.perf_counter()
        decode_ms, prefill_ms, versions["transformers"] = measure_transformers(args)
        add("transformers, eager", f"decode at {args.context}", 1, decode_ms, start)
        add("transformers, eager", f"prefill of {args.prompt}", 1, prefill_ms, start)

    if args.device == "cuda":
        versions["device"] = torch.cuda.get_device_name()
    sizes = {name: getattr(args, name) for name in ("layers", "hidden", "heads", "ffn", "vocab", "context", "prompt")}
    print(json.dumps(versions))
    if args.json:
        with open(args.json, "w", encoding="utf-8") as file:
            json.dump({"versions": versions, "sizes": sizes, "results": results}, file, indent=2)
            file.write("\n")
    return 0


if __name__ == "__main__":
    with torch.inference_mode():
        sys.exit(main())
