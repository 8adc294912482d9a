#!/usr/bin/env python3
"""Write the golden checkpoints of tests/data/golden_encoder_decoders: tiny random T5 and what Hugging Face makes of ids.

Each checkpoint is a folder as `save_pretrained` leaves it (config.json, model.safetensors), with beside it

  golden.json         name, remark, seed, versions, prompt lengths, smallest margin
  golden.safetensors  the numbers (all float32 or int32):
    promptP.ids                [num_tokens]           the source; P = 0..3, lengths 1, 7, 33, 70
    promptP.last_hidden_state  [num_tokens, d_model]  of the encoder, behind its final norm
    promptP.decoder_ids        [21]                   decoder_start_token_id (0) and 20 tokens that the decoder is given
    promptP.logits             [21, vocab]            logits after each of them
    promptP.greedy_ids         [32]                   greedy answer, with the KV cache; decoder_start_token_id not among them
    promptP.greedy_margin      [32]                   best minus second-best logit at each of those steps
    encoder.relative_bias      [num_heads, 139]       what is added to a score, by position of key minus query: -69 to 69
    decoder.relative_bias      [num_heads, 70]        likewise, by position of query minus key: 0 to 69
    probe.encoder.NAME         [num_tokens, ...]      intermediates of the 7-token source, for NAME in
        embed, layers.N.{attn_norm, q, k, v, attn_context, attn_out, mlp_norm, mlp_out, out}, final_norm
    probe.NAME                 [21, ...]              intermediates of its 21 decoder tokens, for NAME in
        embed, layers.N.{attn_norm, q, k, v, attn_context, attn_out, cross_norm, cross_q, cross_context, cross_out, mlp_norm,
        mlp_out, out}, final_norm, logits
    probe.layers.N.{cross_k, cross_v}  [7, num_heads, d_kv]  what the decoder's layers make of the encoder's last_hidden_state
        q, k, v and contexts: [num_tokens, num_heads, d_kv]; a context is the input of the projection whose output is `_out`;
        final_norm: before v1.0 scales it by d_model ** -0.5.

Everything is computed on the CPU in float32 with eager attention, from the checkpoint as read back from disk. The seed
is the first whose greedy answers are varied, differ from source to source and keep a margin of MIN_MARGIN between the two
best tokens at every step, so that no rounding can change them.

Run: python3 tests/golden/make_golden_encoder_decoders.py [--out tests/data/golden_encoder_decoders] [--only NAME ...]
"""

import json
import math
import shutil

import torch
import transformers
from safetensors.torch import load_file, save_file
from transformers import T5Config, T5ForConditionalGeneration

from golden_main import make_all

PROMPT_LENGTHS = [1, 7, 33, 70]
PROBE_PROMPT = 1  # the source of 7 tokens
NUM_DECODER_TOKENS = 21
NUM_GREEDY = 32
MIN_MARGIN = 2e-3
MIN_DISTINCT = 8  # distinct tokens among the 32, on average over the sources

COMMON = dict(
    decoder_start_token_id=0, pad_token_id=0, eos_token_id=None, bos_token_id=None, layer_norm_epsilon=1e-6,
)  # fmt: skip
# In config.json of the checkpoints that Google published; transformers 5 writes more.
T5_KEYS = [
    "architectures", "d_ff", "d_kv", "d_model", "decoder_start_token_id", "dropout_rate", "eos_token_id",
    "initializer_factor", "is_encoder_decoder", "layer_norm_epsilon", "model_type", "num_heads", "num_layers",
    "pad_token_id", "relative_attention_max_distance", "relative_attention_num_buckets", "vocab_size",
]  # fmt: skip
FLAN_KEYS = T5_KEYS + ["dense_act_fn", "feed_forward_proj", "is_gated_act", "num_decoder_layers", "use_cache"]

# name -> config; the keys of config.json, all where there are none; what config.json says besides; whether the head has
# weights of its own, which transformers 5 does not say in config.json: it ties what is equal.
SPECS = {
    # Buckets for key minus query of 8, 16 and 32 begin where the logarithm is a whole number but for rounding.
    "t5": dict(
        config=dict(
            vocab_size=1003, d_model=32, d_kv=8, d_ff=76, num_layers=2, num_heads=4,
            relative_attention_num_buckets=16, relative_attention_max_distance=64,
        ),
        keys=T5_KEYS,
        gains={"SelfAttention.o": 4, "wo": 12},
        more=dict(n_positions=512, output_past=True),
        remark="v1.0: ReLU, tied head, scaled output; config.json and tensors as published",
    ),
    "t5-v1_1": dict(
        config=dict(
            vocab_size=515, d_model=48, d_kv=10, d_ff=76, num_layers=2, num_heads=4, feed_forward_proj="gated-gelu",
            relative_attention_num_buckets=12, relative_attention_max_distance=30, tie_word_embeddings=False,
        ),
        own_head=True,
        gains={"Attention.o": 4, "wo": 4},
        remark="gated GELU, untied head, heads of 40 in all; config.json as transformers 5 writes it, which says "
        "tie_word_embeddings true and scale_decoder_outputs false",
    ),
    "flan-t5": dict(
        config=dict(
            vocab_size=259, d_model=40, d_kv=8, d_ff=52, num_layers=3, num_decoder_layers=2, num_heads=8,
            feed_forward_proj="gated-gelu", relative_attention_num_buckets=8, relative_attention_max_distance=20,
            tie_word_embeddings=False,
        ),
        keys=FLAN_KEYS,
        more=dict(n_positions=512, output_past=True, tie_word_embeddings=False, torch_dtype="float32"),
        own_head=True,
        gains={"Attention.o": 4, "wo": 4},
        remark="gated GELU, untied head, heads of 64 in all, more encoder layers than decoder layers; config.json as published",
    ),
}  # fmt: skip


def random_model(spec, seed):
    """A model whose intermediates have a spread near one, and relative biases as large as the scores they are added to."""
    model = T5ForConditionalGeneration(T5Config(**(COMMON | spec["config"])))
    if spec.get("own_head"):
        model.lm_head.weight = torch.nn.Parameter(torch.empty_like(model.shared.weight))
    generator = torch.Generator().manual_seed(seed)
    for name, p in model.named_parameters():  # tied weights appear once
        noise = torch.randn(p.shape, generator=generator)
        if p.dim() == 1:
            p.data = 1 + 0.2 * noise
        elif name == "shared.weight" or "relative_attention_bias" in name:
            p.data = noise
        else:
            # Scores are not divided by the square root of d_kv: the weights of q are. The layers have to add more than
            # the embedding, or every token is followed by itself.
            scale = math.sqrt(model.config.d_kv) if name.endswith("ttention.q.weight") else 1
            gain = next((gain for part, gain in spec["gains"].items() if name.endswith(part + ".weight")), 1.4)
            p.data = (gain / math.sqrt(p.shape[1]) / scale) * noise
    return model


def save_checkpoint(spec, model, folder):
    if folder.exists():
        shutil.rmtree(folder)
    model.save_pretrained(folder)
    (folder / "generation_config.json").unlink(missing_ok=True)
    if "keys" not in spec:
        return
    path = folder / "config.json"
    config = json.loads(path.read_text())
    config = {key: config.get(key) for key in spec["keys"]} | spec["more"]
    path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")
    if not spec.get("own_head"):  # the published ones have copies of the table, and a bias that nothing reads
        tensors = load_file(folder / "model.safetensors")
        for copy in ("encoder.embed_tokens.weight", "decoder.embed_tokens.weight", "lm_head.weight"):
            tensors[copy] = tensors["shared.weight"].clone()
        unread = "decoder.block.0.layer.{}.relative_attention_bias.weight"
        tensors[unread.format("1.EncDecAttention")] = 1 + tensors[unread.format("0.SelfAttention")]
        save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def load(folder):
    return T5ForConditionalGeneration.from_pretrained(
        folder, dtype=torch.float32, attn_implementation="eager"
    ).eval()


@torch.no_grad()
def greedy(model, ids):
    """Returns the encoder's output, 32 greedy ids and the margin of each."""
    mask = torch.ones_like(ids[None])
    encoded = model.encoder(input_ids=ids[None], attention_mask=mask)
    token, past, chosen, margins = model.config.decoder_start_token_id, None, [], []
    for _ in range(NUM_GREEDY):
        out = model(
            encoder_outputs=encoded, attention_mask=mask, decoder_input_ids=torch.tensor([[token]]),
            past_key_values=past, use_cache=True,
        )  # fmt: skip
        past = out.past_key_values
        top = torch.topk(out.logits[0, -1], 2)
        token = int(top.indices[0])
        chosen.append(token)
        margins.append(float(top.values[0] - top.values[1]))
    return encoded.last_hidden_state[0], chosen, margins


@torch.no_grad()
def probe(model, ids, decoder_ids):
    """Every intermediate of one pass over the source and over the decoder's tokens."""
    config = model.config
    probes, handles = {}, []

    def keep(name, heads=False):
        def hook(module, args, out):
            x = (out[0] if isinstance(out, tuple) else out)[0]
            probes[name] = x.reshape(x.shape[0], config.num_heads, config.d_kv) if heads else x

        return hook

    def keep_input(name):
        def hook(module, args):
            probes[name] = args[0][0].reshape(-1, config.num_heads, config.d_kv)

        return hook

    def keep_attention(layer, norm, attention, prefix, names):
        q, k, v, context, out = names
        handles.extend([
            norm.register_forward_hook(keep(layer + prefix + "norm")),
            attention.q.register_forward_hook(keep(layer + q, heads=True)),
            attention.k.register_forward_hook(keep(layer + k, heads=True)),
            attention.v.register_forward_hook(keep(layer + v, heads=True)),
            attention.o.register_forward_pre_hook(keep_input(layer + context)),
            attention.o.register_forward_hook(keep(layer + out)),
        ])  # fmt: skip

    for stack, prefix in ((model.encoder, "encoder."), (model.decoder, "")):
        handles.append(stack.dropout.register_forward_hook(keep(prefix + "final_norm")))  # called twice: the last stays
        for n, block in enumerate(stack.block):
            layer = f"{prefix}layers.{n}."
            keep_attention(
                layer, block.layer[0].layer_norm, block.layer[0].SelfAttention, "attn_",
                ("q", "k", "v", "attn_context", "attn_out"),
            )  # fmt: skip
            if stack is model.decoder:
                keep_attention(
                    layer, block.layer[1].layer_norm, block.layer[1].EncDecAttention, "cross_",
                    ("cross_q", "cross_k", "cross_v", "cross_context", "cross_out"),
                )  # fmt: skip
            handles += [
                block.layer[-1].layer_norm.register_forward_hook(keep(layer + "mlp_norm")),
                block.layer[-1].DenseReluDense.register_forward_hook(keep(layer + "mlp_out")),
                block.register_forward_hook(keep(layer + "out")),
            ]
    try:
        logits = model(
            input_ids=ids[None], attention_mask=torch.ones_like(ids[None]), decoder_input_ids=decoder_ids[None],
            use_cache=False,
        ).logits[0]  # fmt: skip
    finally:
        for handle in handles:
            handle.remove()
    return probes | {"encoder.embed": model.shared(ids), "embed": model.shared(decoder_ids), "logits": logits}


@torch.no_grad()
def relative_biases(model):
    longest = max(PROMPT_LENGTHS)
    encoder = model.encoder.block[0].layer[0].SelfAttention.compute_bias(longest, longest)[0]
    decoder = model.decoder.block[0].layer[0].SelfAttention.compute_bias(longest, longest)[0]
    last_to_first = encoder[:, -1, :]  # key minus query: -69 to 0
    return {
        "encoder.relative_bias": torch.cat([last_to_first, encoder[:, 0, 1:]], dim=1),
        "decoder.relative_bias": decoder[:, -1, :].flip(1),
    }


@torch.no_grad()
def make(name, spec, root):
    folder = root / name
    vocab = spec["config"]["vocab_size"]
    for seed in range(1000):
        save_checkpoint(spec, random_model(spec, seed), folder)
        generator = torch.Generator().manual_seed(1_000_000 + seed)
        prompts = [torch.randint(2, vocab, (n,), generator=generator) for n in PROMPT_LENGTHS]
        model = load(folder)
        results = [greedy(model, ids) for ids in prompts]
        min_margin = min(min(margins) for _, _, margins in results)
        distinct = sum(len(set(chosen)) for _, chosen, _ in results) / len(results)
        num_answers = len({tuple(chosen) for _, chosen, _ in results})
        if min_margin >= MIN_MARGIN and distinct >= MIN_DISTINCT and num_answers == len(prompts):
            break
    else:
        raise SystemExit(f"{name}: no seed keeps a margin of {MIN_MARGIN}")
    assert model.config.scale_decoder_outputs == (model.lm_head.weight is model.shared.weight)

    tensors = relative_biases(model)
    for i, (ids, (encoded, chosen, margins)) in enumerate(zip(prompts, results)):
        mask = torch.ones_like(ids[None])
        generated = model.generate(ids[None], attention_mask=mask, do_sample=False, max_new_tokens=NUM_GREEDY)
        assert generated[0, 1:].tolist() == chosen, f"{name}: generate() disagrees with source {i}"
        decoder_ids = torch.randint(2, vocab, (NUM_DECODER_TOKENS,), generator=generator)
        decoder_ids[0] = model.config.decoder_start_token_id
        probes = probe(model, ids, decoder_ids)
        tensors[f"prompt{i}.ids"] = ids.to(torch.int32)
        tensors[f"prompt{i}.last_hidden_state"] = encoded
        tensors[f"prompt{i}.decoder_ids"] = decoder_ids.to(torch.int32)
        tensors[f"prompt{i}.logits"] = probes["logits"]
        tensors[f"prompt{i}.greedy_ids"] = torch.tensor(chosen, dtype=torch.int32)
        tensors[f"prompt{i}.greedy_margin"] = torch.tensor(margins, dtype=torch.float32)
        if i == PROBE_PROMPT:
            assert torch.equal(probes["encoder.final_norm"], encoded)
            tensors |= {f"probe.{key}": value for key, value in probes.items()}
    save_file({key: value.contiguous().clone() for key, value in tensors.items()}, folder / "golden.safetensors")

    meta = dict(
        name=name, remark=spec["remark"], seed=seed, transformers=transformers.__version__,
        torch=torch.__version__.split("+")[0], prompt_lengths=PROMPT_LENGTHS, probe_prompt=PROBE_PROMPT,
        num_decoder_tokens=NUM_DECODER_TOKENS, num_greedy=NUM_GREEDY, min_greedy_margin=round(min_margin, 6),
    )  # fmt: skip
    (folder / "golden.json").write_text(json.dumps(meta, indent=2) + "\n")
    for path in folder.iterdir():
        path.chmod(0o644)
    num_bytes = sum(path.stat().st_size for path in folder.iterdir())
    print(
        f"{name:10} seed {seed:3}  min margin {min_margin:.4f}  distinct {distinct:4.1f}"
        f"  logits std {float(tensors['prompt3.logits'].std()):.2f}  {num_bytes:7} bytes",
        flush=True,
    )


if __name__ == "__main__":
    make_all(__doc__, "golden_encoder_decoders", SPECS, make)
