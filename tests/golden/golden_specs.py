"""The checkpoints that make_golden.py writes: their configurations, and how they are drawn and stored."""

import torch

LLAMA = dict(
    hidden_size=48, num_hidden_layers=2, num_attention_heads=6, num_key_value_heads=2, intermediate_size=77,
    vocab_size=131, max_position_embeddings=128, rms_norm_eps=1e-5, bos_token_id=None, eos_token_id=None,
)  # fmt: skip
# Sixteen rotary dimensions a head, so that each scaling rule meets low, middle and high frequencies.
LLAMA_ROPE = LLAMA | dict(hidden_size=32, num_attention_heads=2, num_key_value_heads=1)
GPT2 = dict(
    n_embd=32, n_layer=2, n_head=4, n_positions=128, vocab_size=259, activation_function="gelu_new",
    bos_token_id=None, eos_token_id=None,
)  # fmt: skip

# The other families: what two and four shards can split, an odd part of the MLP on each of four, and few enough numbers.
SMALL = dict(
    model_type="", hidden_size=32, num_hidden_layers=2, num_attention_heads=4, vocab_size=1003,
    max_position_embeddings=128, bos_token_id=None, eos_token_id=None, pad_token_id=None,
)  # fmt: skip
LLAMA_KIN = SMALL | dict(num_key_value_heads=2, intermediate_size=76, rms_norm_eps=1e-5)
OPT = SMALL | dict(model_type="opt", ffn_dim=76, word_embed_proj_dim=32)
NEOX = SMALL | dict(model_type="gpt_neox", intermediate_size=76, rotary_pct=0.5)
FALCON = SMALL | dict(model_type="falcon", ffn_hidden_size=76, alibi=False)
WINDOW = 24  # smaller than the longer prompts

# name -> config, and how it is stored and drawn: where logits share a table with embeddings of full size, the layers have
# to add more than they, or every token is followed by itself (`embedding_std`, `output_gain`). `v4`: config.json is rewritten in the form of transformers 4
# (rope_theta, rope_scaling, torch_dtype), which most published checkpoints have.
SPECS = {
    "llama-gqa": dict(config=LLAMA | dict(vocab_size=259), v4=True, remark="grouped heads, untied"),
    "llama-head-dim": dict(
        config=LLAMA | dict(num_attention_heads=4, head_dim=16), remark="head_dim 16, not hidden / heads = 12"
    ),
    "llama-tied": dict(
        config=LLAMA
        | dict(hidden_size=32, num_attention_heads=4, num_key_value_heads=1, vocab_size=1003, tie_word_embeddings=True),
        remark="tied embeddings, one KV head",
    ),
    "llama-bias": dict(
        config=LLAMA | dict(num_key_value_heads=6, attention_bias=True, mlp_bias=True),
        remark="multi-head attention, biases in attention and MLP",
    ),
    "llama-rope-linear": dict(
        config=LLAMA_ROPE | dict(rope_parameters=dict(rope_type="linear", rope_theta=10000.0, factor=4.0)),
        v4=True,
        v4_type_key="type",
        remark="config.json has the oldest form: rope_scaling.type",
    ),
    # Hugging Face's rule for `dynamic`, as read in modeling_rope_utils.dynamic_frequency_update and observed here:
    #   seq_len = (largest position of this forward call) + 1, over the whole batch.
    #   If seq_len > max_position_embeddings, the base becomes
    #     theta * (factor * seq_len / max_position_embeddings - (factor - 1)) ** (dim / (dim - 2));
    #   at or below it the plain base is used.
    # In prefill every prompt token is rotated with the base of the prompt's length. In cached decoding each new
    # token is rotated with the base of the length so far, while the keys in the cache keep the rotation they had
    # when they were written. The largest seq_len seen is kept in the module until a call shorter than
    # max_position_embeddings resets it, so one sequence would influence the next: here every prompt starts from a
    # freshly loaded model.
    "llama-rope-dynamic": dict(
        config=LLAMA_ROPE
        | dict(
            max_position_embeddings=32, rope_parameters=dict(rope_type="dynamic", rope_theta=10000.0, factor=4.0)
        ),
        remark="max_position_embeddings 32 is the length before scaling; prompts of 33 and 70 go past it in prefill, "
        "all in decoding. Cached keys keep the rotation of the step that wrote them",
    ),
    "llama-rope-yarn": dict(
        config=LLAMA_ROPE
        | dict(
            rope_parameters=dict(
                rope_type="yarn", rope_theta=10000.0, factor=4.0, original_max_position_embeddings=32
            )
        ),
        remark="all options at their defaults",
    ),
    "llama-rope-yarn-options": dict(
        config=LLAMA_ROPE
        | dict(
            rope_parameters=dict(
                rope_type="yarn", rope_theta=500.0, factor=4.0, original_max_position_embeddings=32, beta_fast=4.0,
                beta_slow=0.5, mscale=1.0, mscale_all_dim=0.5, truncate=False,
            )
        ),
        remark="beta_fast, beta_slow, mscale, mscale_all_dim, truncate=false",
    ),  # fmt: skip
    "llama-rope-llama3": dict(
        config=LLAMA_ROPE
        | dict(
            rope_parameters=dict(
                rope_type="llama3", rope_theta=10000.0, factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0,
                original_max_position_embeddings=32,
            ),
            max_position_embeddings=256,
        ),
        v4=True,
        v4_type_key="rope_type",
        remark="config.json has the form of the published Llama 3.1 checkpoints",
    ),  # fmt: skip
    "llama-sharded": dict(config=LLAMA, max_shard_size="40KB", remark="several files and an index"),
    "llama-f16": dict(config=LLAMA | dict(vocab_size=259), dtype=torch.float16, remark="weights stored as float16"),
    "llama-bf16": dict(
        config=LLAMA | dict(vocab_size=259), dtype=torch.bfloat16, v4=True, remark="weights stored as bfloat16"
    ),
    "llama-even": dict(
        config=LLAMA | dict(num_attention_heads=4, intermediate_size=80, num_key_value_heads=2),
        remark="two shards can split it, KV heads and all",
    ),
    "llama-even-one-kv": dict(
        config=LLAMA
        | dict(num_attention_heads=4, num_key_value_heads=1, intermediate_size=80, attention_bias=True, mlp_bias=True),
        remark="two shards share its one KV head; biases",
    ),
    "gpt2": dict(config=GPT2, remark="n_inner null (4 * n_embd)"),
    "opt": dict(config=OPT, remark="pre-norm, positions from row 2"),
    "opt-post-norm": dict(
        config=OPT | dict(do_layer_norm_before=False, word_embed_proj_dim=20, vocab_size=259),
        remark="as OPT-350m: post-norm, an embedding narrower than the model",
    ),
    "bloom": dict(
        config=SMALL | dict(model_type="bloom", hidden_size=48, n_layer=2, n_head=12),
        output_gain=12,
        min_distinct=6,
        remark="heads that are no power of two, for the slopes of ALiBi",
    ),
    "gpt-neox": dict(config=NEOX, remark="parallel blocks, half of a head rotary"),
    "gpt-neox-sequential": dict(config=NEOX | dict(use_parallel_residual=False, vocab_size=259), remark="as its name"),
    "gptj": dict(
        config=dict(
            model_type="gptj", n_embd=32, n_layer=2, n_head=4, n_positions=128, n_inner=76, rotary_dim=4,
            vocab_size=1003, bos_token_id=None, eos_token_id=None,
        ),
        remark="parallel blocks with one norm, interleaved rotary, a head with biases",
    ),
    "falcon-7b": dict(config=FALCON, remark="one KV head, parallel blocks with one norm"),
    "falcon-40b": dict(
        config=FALCON | dict(new_decoder_architecture=True, num_kv_heads=2), remark="groups, two norms, one a sublayer"
    ),
    "falcon-rw": dict(
        config=FALCON | dict(multi_query=False, parallel_attn=False, bias=True, alibi=True),
        output_gain=6,
        min_distinct=6,
        remark="multi-head, sequential, ALiBi, biases",
    ),
    "mistral": dict(config=LLAMA_KIN | dict(model_type="mistral", sliding_window=WINDOW), remark="a window"),
    "mixtral": dict(
        config=LLAMA_KIN | dict(model_type="mixtral", num_local_experts=8, num_experts_per_tok=2, intermediate_size=27),
        remark="eight experts of an odd size, two a token",
    ),
    "qwen2": dict(
        config=LLAMA_KIN
        | dict(model_type="qwen2", use_sliding_window=True, sliding_window=WINDOW, max_window_layers=1),
        remark="biases of q, k, v; a window in the second layer",
    ),
    "qwen3": dict(config=LLAMA_KIN | dict(model_type="qwen3", head_dim=12), remark="norms of heads"),
    "phi3": dict(
        config=LLAMA_KIN | dict(model_type="phi3", sliding_window=WINDOW, pad_token_id=0),
        remark="fused q, k, v and gate, up; a window",
    ),
    # Hugging Face's rule for `longrope`, as read in modeling_rope_utils.longrope_frequency_update: a forward call whose
    # largest position is at or beyond original_max_position_embeddings rotates by long_factor, any other by short_factor;
    # keys in the cache keep the rotation they had when they were written. Its generate() throws the cache away at the step
    # that goes beyond, and computes all keys again: the stored continuations are of calls with the cache.
    "phi3-longrope": dict(
        config=LLAMA_KIN
        | dict(
            model_type="phi3", pad_token_id=0, max_position_embeddings=256, original_max_position_embeddings=40,
            rope_parameters=dict(
                rope_type="longrope", rope_theta=10000.0, original_max_position_embeddings=40,
                short_factor=[1.0, 1.05, 1.3, 1.9], long_factor=[1.1, 1.7, 3.2, 6.0],
            ),
        ),
        v4=True,
        v4_type_key="type",
        generates_up_to=40,
        remark="config.json has the form of the published Phi-3 checkpoints; prompts of 16, 17 and 33 pass 40 in decoding, "
        "that of 70 in prefill",
    ),  # fmt: skip
    "gemma2": dict(
        config=LLAMA_KIN
        | dict(
            model_type="gemma2", head_dim=12, query_pre_attn_scalar=20, sliding_window=WINDOW,
            attn_logit_softcapping=3.0, final_logit_softcapping=5.0, pad_token_id=0,
        ),
        embedding_std=0.12,
        min_distinct=5,
        min_margin=2e-3,
        remark="four norms a layer, soft caps that matter, a window in the first layer",
    ),
    "gpt2-odd": dict(config=GPT2 | dict(n_embd=48, n_head=6, vocab_size=131, n_inner=77), remark="odd n_inner"),
}
