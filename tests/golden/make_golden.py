#!/usr/bin/env python3
"""Write the golden checkpoints of tests/data/golden: tiny random models and what Hugging Face computes with them.

Each checkpoint is a folder as `save_pretrained` leaves it (config.json, model.safetensors), with beside it

  golden.json         name, seed, versions, prompt lengths, smallest margin, remarks
  golden.safetensors  the numbers (all float32 or int32):
    promptP.ids            [num_tokens]          the prompt; P = 0..5, lengths 1, 7, 16, 17, 33, 70
    promptP.last_logits    [vocab]               logits after the last prompt token
    promptP.logits         [num_tokens, vocab]   logits after every prompt token (short prompts only)
    promptP.greedy_ids     [32]                  greedy continuation, with the KV cache
    promptP.greedy_margin  [32]                  best minus second-best logit at each of those steps
    probe.NAME             [num_tokens, ...]     intermediates of the 7-token prompt: embed, layers.N.out and logits,
                                                 and of Llama and GPT-2 every one, for NAME in
        embed, layers.N.{attn_norm, q, k, v, attn_context, attn_out, mlp_norm, mlp_out, out}, final_norm, logits
        q, k: [num_tokens, heads, head_dim] after the rotary embedding; v likewise;
        attn_context: [num_tokens, num_heads, head_dim], the input of o_proj; attn_out: its output.

Everything is computed on the CPU in float32 with eager attention, from the checkpoint as read back from disk;
16-bit weights are upcast. The seed is the first whose greedy continuations are varied and keep a margin of
MIN_MARGIN between the two best tokens at every step, so that no rounding can change them.

Run: python3 tests/golden/make_golden.py [--out tests/data/golden] [--only NAME ...]
"""

import json
import math
import shutil

import torch
import transformers
from safetensors.torch import save_file
from transformers import AutoConfig, AutoModelForCausalLM
from transformers.models.llama import modeling_llama

from golden_main import make_all
from golden_specs import SPECS

PROMPT_LENGTHS = [1, 7, 16, 17, 33, 70]
PROBE_PROMPT = 1  # the prompt of 7 tokens
NUM_GREEDY = 32
MIN_MARGIN = 5e-3  # logits have a spread of a few units
MIN_DISTINCT = 10  # distinct tokens among the 32, on average over the prompts
MAX_FULL_LOGITS = 4_600  # floats; longer prompts keep their last row only


def random_model(spec, seed):
    """A model whose intermediates all have a spread near one: random gains and biases too, nothing degenerate."""
    config = AutoConfig.for_model(**({"model_type": model_type(spec)} | spec["config"]))
    model = AutoModelForCausalLM.from_config(config)
    generator = torch.Generator().manual_seed(seed)
    neutral_gain = 0 if config.model_type == "gemma2" else 1  # Gemma stores what a gain has above 1
    for name, p in model.named_parameters():  # tied weights appear once
        noise = torch.randn(p.shape, generator=generator)
        if p.dim() == 1:
            is_gain = "norm" in name or "ln_" in name
            p.data = neutral_gain + 0.2 * noise if name.endswith("weight") and is_gain else 0.2 * noise
        elif any(part in name for part in ("embed_", "wte", "wpe", "word_embeddings")) and "embed_out" not in name:
            p.data = spec.get("embedding_std", 0.5) * noise
        else:
            fan_in = p.shape[0] if config.model_type == "gpt2" else p.shape[-1]  # GPT-2's Conv1D stores [in, out]
            is_output = any(part in name for part in ("attention.dense.", "4h_to_h"))
            gain = spec.get("output_gain", 1.4) if is_output else 1.4
            p.data = (gain / math.sqrt(fan_in)) * noise
    model.tie_weights()
    return model.to(spec.get("dtype", torch.float32 if is_probed_whole(config) else torch.float16))


def model_type(spec):
    return spec["config"].get("model_type", "gpt2" if "n_embd" in spec["config"] else "llama")


def is_probed_whole(config):
    return config.model_type in ("llama", "gpt2")


def rewrite_config_as_v4(path, type_key):
    config = json.loads(path.read_text())
    rope = config.pop("rope_parameters")
    config["rope_theta"] = rope.pop("rope_theta")
    rope_type = rope.pop("rope_type")
    config["rope_scaling"] = None if rope_type == "default" else {type_key: rope_type} | rope
    config["torch_dtype"] = config.pop("dtype")
    config.pop("transformers_version")
    head_dim = config.pop("head_dim", None)
    assert head_dim is None or head_dim * config["num_attention_heads"] == config["hidden_size"]  # then it is left out
    path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")


def save_checkpoint(spec, model, folder):
    if folder.exists():
        shutil.rmtree(folder)
    kwargs = {"max_shard_size": spec["max_shard_size"]} if "max_shard_size" in spec else {}
    model.save_pretrained(folder, **kwargs)
    (folder / "generation_config.json").unlink(missing_ok=True)
    if spec.get("v4"):
        rewrite_config_as_v4(folder / "config.json", spec.get("v4_type_key", "rope_type"))


def load(folder):
    # Falcon's eager attention adds ALiBi twice, itself and with the mask (transformers 5.17): its other one does it once.
    attention = "sdpa" if json.loads((folder / "config.json").read_text()).get("alibi") else "eager"
    model = AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32, attn_implementation=attention, experts_implementation="eager"
    )
    return model.eval()


@torch.no_grad()
def greedy(model, ids):
    """Returns the logits of the prompt, 32 greedy ids and the margin of each."""
    out = model(input_ids=ids[None], use_cache=True)
    prompt_logits = out.logits[0]
    chosen, margins = [], []
    logits = prompt_logits[-1]
    for step in range(NUM_GREEDY):
        top = torch.topk(logits, 2)
        chosen.append(int(top.indices[0]))
        margins.append(float(top.values[0] - top.values[1]))
        if step + 1 < NUM_GREEDY:
            token = torch.tensor([[chosen[-1]]])
            out = model(input_ids=token, past_key_values=out.past_key_values, use_cache=True)
            logits = out.logits[0, -1]
    return prompt_logits, chosen, margins


@torch.no_grad()
def probe_llama(model, ids):
    config = model.config
    head_dim = config.head_dim
    probes, handles, rotated = {}, [], []

    def keep(name, heads=None):
        def hook(module, args, out):
            x = (out[0] if isinstance(out, tuple) else out)[0]
            probes[name] = x.reshape(x.shape[0], heads, head_dim) if heads else x

        return hook

    def keep_input(name, heads):
        def hook(module, args):
            probes[name] = args[0][0].reshape(-1, heads, head_dim)

        return hook

    handles.append(model.model.embed_tokens.register_forward_hook(keep("embed")))
    for n, layer in enumerate(model.model.layers):
        p = f"layers.{n}."
        attn = layer.self_attn
        handles += [
            layer.input_layernorm.register_forward_hook(keep(p + "attn_norm")),
            attn.v_proj.register_forward_hook(keep(p + "v", config.num_key_value_heads)),
            attn.o_proj.register_forward_pre_hook(keep_input(p + "attn_context", config.num_attention_heads)),
            attn.o_proj.register_forward_hook(keep(p + "attn_out")),
            layer.post_attention_layernorm.register_forward_hook(keep(p + "mlp_norm")),
            layer.mlp.register_forward_hook(keep(p + "mlp_out")),
            layer.register_forward_hook(keep(p + "out")),
        ]
    handles.append(model.model.norm.register_forward_hook(keep("final_norm")))

    apply_rotary = modeling_llama.apply_rotary_pos_emb

    def recording_apply_rotary(*args, **kwargs):
        q, k = apply_rotary(*args, **kwargs)
        rotated.append((q[0].transpose(0, 1), k[0].transpose(0, 1)))  # [num_tokens, heads, head_dim]
        return q, k

    modeling_llama.apply_rotary_pos_emb = recording_apply_rotary
    try:
        probes["logits"] = model(input_ids=ids[None], use_cache=False).logits[0]
    finally:
        modeling_llama.apply_rotary_pos_emb = apply_rotary
        for handle in handles:
            handle.remove()
    assert len(rotated) == config.num_hidden_layers
    for n, (q, k) in enumerate(rotated):
        probes[f"layers.{n}.q"], probes[f"layers.{n}.k"] = q, k
    return probes


@torch.no_grad()
def probe_gpt2(model, ids):
    heads = model.config.n_head
    probes, handles = {}, []

    def keep(name):
        def hook(module, args, out):
            probes[name] = (out[0] if isinstance(out, tuple) else out)[0]

        return hook

    def keep_qkv(p):
        def hook(module, args, out):
            for name, x in zip("qkv", out[0].chunk(3, dim=-1)):
                probes[p + name] = x.reshape(x.shape[0], heads, -1)

        return hook

    def keep_context(p):
        def hook(module, args):
            x = args[0][0]
            probes[p + "attn_context"] = x.reshape(x.shape[0], heads, -1)

        return hook

    handles.append(model.transformer.drop.register_forward_hook(keep("embed")))
    for n, block in enumerate(model.transformer.h):
        p = f"layers.{n}."
        handles += [
            block.ln_1.register_forward_hook(keep(p + "attn_norm")),
            block.attn.c_attn.register_forward_hook(keep_qkv(p)),
            block.attn.c_proj.register_forward_pre_hook(keep_context(p)),
            block.attn.c_proj.register_forward_hook(keep(p + "attn_out")),
            block.ln_2.register_forward_hook(keep(p + "mlp_norm")),
            block.mlp.register_forward_hook(keep(p + "mlp_out")),
            block.register_forward_hook(keep(p + "out")),
        ]
    handles.append(model.transformer.ln_f.register_forward_hook(keep("final_norm")))
    try:
        probes["logits"] = model(input_ids=ids[None], use_cache=False).logits[0]
    finally:
        for handle in handles:
            handle.remove()
    return probes


@torch.no_grad()
def probe_layers(model, ids):
    """What enters the first layer, what leaves each, and the logits."""
    probes, handles = {}, []
    layers = next(m for m in model.modules() if isinstance(m, torch.nn.ModuleList))

    def keep(name):
        def hook(module, args, out):
            probes[name] = (out[0] if isinstance(out, tuple) else out)[0]

        return hook

    def keep_input(module, args, kwargs):
        probes["embed"] = (args[0] if args else kwargs["hidden_states"])[0]

    handles.append(layers[0].register_forward_pre_hook(keep_input, with_kwargs=True))
    handles += [layer.register_forward_hook(keep(f"layers.{n}.out")) for n, layer in enumerate(layers)]
    try:
        probes["logits"] = model(input_ids=ids[None], use_cache=False).logits[0]
    finally:
        for handle in handles:
            handle.remove()
    return {name: x.reshape(len(ids), -1) for name, x in probes.items()}


def expected_probe_names(num_layers):
    per_layer = ["attn_norm", "q", "k", "v", "attn_context", "attn_out", "mlp_norm", "mlp_out", "out"]
    return {"embed", "final_norm", "logits"} | {f"layers.{n}.{name}" for n in range(num_layers) for name in per_layer}


def make(name, spec, root):
    folder = root / name
    vocab = spec["config"]["vocab_size"]
    for seed in range(1000):
        save_checkpoint(spec, random_model(spec, seed), folder)
        generator = torch.Generator().manual_seed(1_000_000 + seed)
        prompts = [torch.randint(vocab, (n,), generator=generator) for n in PROMPT_LENGTHS]
        results = [greedy(load(folder), ids) for ids in prompts]  # a fresh model each: see `dynamic` above
        min_margin = min(min(margins) for _, _, margins in results)
        distinct = sum(len(set(chosen)) for _, chosen, _ in results) / len(results)
        if min_margin >= spec.get("min_margin", MIN_MARGIN) and distinct >= spec.get("min_distinct", MIN_DISTINCT):
            break
    else:
        raise SystemExit(f"{name}: no seed keeps a margin of {MIN_MARGIN}")

    tensors = {}
    for i, (ids, (logits, chosen, margins)) in enumerate(zip(prompts, results)):
        tensors[f"prompt{i}.ids"] = ids.to(torch.int32)
        tensors[f"prompt{i}.last_logits"] = logits[-1]
        if logits.numel() <= MAX_FULL_LOGITS:
            tensors[f"prompt{i}.logits"] = logits
        tensors[f"prompt{i}.greedy_ids"] = torch.tensor(chosen, dtype=torch.int32)
        tensors[f"prompt{i}.greedy_margin"] = torch.tensor(margins, dtype=torch.float32)
        if len(ids) < spec.get("generates_up_to", 0) < len(ids) + NUM_GREEDY:
            continue  # generate() would compute the cache again on its way
        generated = load(folder).generate(
            ids[None], attention_mask=torch.ones_like(ids[None]), do_sample=False, use_cache=True,
            max_new_tokens=NUM_GREEDY, eos_token_id=None, pad_token_id=0,
        )  # fmt: skip
        assert generated[0, len(ids) :].tolist() == chosen, f"{name}: generate() disagrees with prompt {i}"

    model = load(folder)
    probe = {"gpt2": probe_gpt2, "llama": probe_llama}.get(model.config.model_type, probe_layers)
    probes = probe(model, prompts[PROBE_PROMPT])
    if is_probed_whole(model.config):
        assert set(probes) == expected_probe_names(model.config.num_hidden_layers), sorted(probes)
    assert torch.equal(probes["logits"], results[PROBE_PROMPT][0])
    tensors |= {f"probe.{key}": value for key, value in probes.items()}
    save_file({key: value.contiguous().clone() for key, value in tensors.items()}, folder / "golden.safetensors")

    meta = dict(
        name=name,
        remark=spec["remark"],
        seed=seed,
        transformers=transformers.__version__,
        torch=torch.__version__.split("+")[0],
        prompt_lengths=PROMPT_LENGTHS,
        probe_prompt=PROBE_PROMPT,
        num_greedy=NUM_GREEDY,
        min_greedy_margin=round(min_margin, 6),
    )
    rotary = getattr(model.model, "rotary_emb", None) if hasattr(model, "model") else None
    if rotary is not None and rotary.rope_type != "default":
        # What Hugging Face made of the settings, at load time: helps to find a wrong rule.
        meta["rope"] = dict(
            type=rotary.rope_type,
            attention_factor=float(rotary.attention_scaling),
            inv_freq=[float(x) for x in rotary.original_inv_freq],
        )
    (folder / "golden.json").write_text(json.dumps(meta, indent=2) + "\n")
    for path in folder.iterdir():
        path.chmod(0o644)
    num_bytes = sum(path.stat().st_size for path in folder.iterdir())
    logits_std = float(results[-1][0].std())
    print(
        f"{name:24} seed {seed:3}  min margin {min_margin:.4f}  distinct {distinct:4.1f}"
        f"  logits std {logits_std:.2f}  {num_bytes:7} bytes",
        flush=True,
    )


if __name__ == "__main__":
    make_all(__doc__, "golden", SPECS, make)
