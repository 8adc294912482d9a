#!/usr/bin/env python3
"""Write the golden checkpoints of tests/data/golden_encoders: tiny random encoders and what Hugging Face makes of ids.

Each checkpoint is a folder as `save_pretrained` leaves it (config.json, model.safetensors), with beside it

  golden.json         name, remark, seed, versions, prompt lengths
  golden.safetensors  the numbers (all float32 or int32):
    promptP.ids                [num_tokens]                the input; P = 0..3, lengths 1, 7, 33, 70
    promptP.types              [num_tokens]                token types, where the model has more than one
    promptP.last_hidden_state  [num_tokens, hidden]        of base models
    promptP.pooler_output      [hidden]                    of base models with a pooler
    promptP.logits             [num_logits] or [num_tokens, num_logits]; of masked-token models only of tokens 0, 16, 32, ...

and, of bert-masked with the tokenizer of tests/encode/encoders.py,

  fill_mask.json      [[text, top_k, what the pipeline `fill-mask` makes of it], ...]

Everything is computed on the CPU in float32 with eager attention, from the checkpoint as read back from disk.

Run: python3 tests/golden/make_golden_encoders.py [--out tests/data/golden_encoders] [--only NAME ...]
"""

import json
import math
import pathlib
import shutil
import sys
import tempfile

import torch
import transformers
from safetensors.torch import save_file

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "encode"))

from encoders import copy_with_tokenizer  # noqa: E402
from golden_main import make_all  # noqa: E402

PROMPT_LENGTHS = [1, 7, 33, 70]
MASKED_STEP = 16  # logits over the vocabulary are many: of every so manyth token

BERT = dict(
    vocab_size=1003, hidden_size=24, num_hidden_layers=2, num_attention_heads=4, intermediate_size=77,
    max_position_embeddings=70, type_vocab_size=3, layer_norm_eps=1e-12, pad_token_id=0,
)  # fmt: skip
ROBERTA = BERT | dict(max_position_embeddings=72, type_vocab_size=1, layer_norm_eps=1e-5, pad_token_id=1)
DISTILBERT = dict(
    vocab_size=1003, dim=24, n_layers=2, n_heads=4, hidden_dim=77, max_position_embeddings=70, pad_token_id=0
)
MASKED_TEXTS = [("an ox [MASK] to be", 5), ("[MASK]", 3), ("we [MASK] go [MASK] [MASK] on", 2), ("he is [MASK]", 1)]
LABELS = {i: name for i, name in enumerate(["O", "B-PER", "I-PER", "B-LOC", "I-LOC"])}

# name -> architecture, its config, and what is noteworthy.
SPECS = {
    "bert": ("BertModel", BERT, "hidden states and pooler; three token types"),
    "bert-split": (
        "BertModel",
        BERT | dict(hidden_size=32, num_attention_heads=8, intermediate_size=80, num_hidden_layers=3),
        "two and four shards can split it",
    ),
    "bert-relu": ("BertModel", BERT | dict(hidden_act="relu", num_attention_heads=3), "ReLU, heads of 8"),
    "bert-classifier": ("BertForSequenceClassification", BERT | dict(num_labels=3), "three labels without names"),
    "bert-classifier-split": (
        "BertForSequenceClassification",
        BERT | dict(hidden_size=32, num_attention_heads=8, intermediate_size=80, num_labels=3),
        "as many shards as bert-split",
    ),
    "bert-score": ("BertForSequenceClassification", BERT | dict(num_labels=1), "one label: a cross-encoder"),
    "bert-tokens": ("BertForTokenClassification", BERT | dict(id2label=LABELS), "five named labels of each token"),
    "bert-masked": ("BertForMaskedLM", BERT, "logits over the vocabulary, by the embedding's table"),
    "bert-masked-split": (
        "BertForMaskedLM",
        BERT | dict(hidden_size=32, num_attention_heads=8, intermediate_size=80),
        "as many shards as bert-split, each with a part of the vocabulary",
    ),
    "roberta": ("RobertaModel", ROBERTA, "positions begin behind the padding token's id"),
    "roberta-classifier": ("RobertaForSequenceClassification", ROBERTA | dict(num_labels=4), "a head of two products"),
    "roberta-tokens": ("RobertaForTokenClassification", ROBERTA | dict(id2label=LABELS), ""),
    "roberta-masked": ("RobertaForMaskedLM", ROBERTA, ""),
    "distilbert": ("DistilBertModel", DISTILBERT, "no token types, no pooler"),
    "distilbert-classifier": (
        "DistilBertForSequenceClassification", DISTILBERT | dict(num_labels=2), "a ReLU before the classifier"
    ),
    "distilbert-tokens": ("DistilBertForTokenClassification", DISTILBERT | dict(id2label=LABELS), ""),
    "distilbert-masked": ("DistilBertForMaskedLM", DISTILBERT, ""),
    "split-distilbert": ("DistilBertModel", DISTILBERT | dict(dim=32, n_heads=8, hidden_dim=80), "as many shards as bert-split"),
    "split-roberta": (
        "RobertaModel",
        ROBERTA | dict(hidden_size=32, num_attention_heads=8, intermediate_size=80),
        "as many shards as bert-split",
    ),
    "split-xlm-roberta": (
        "XLMRobertaModel",
        ROBERTA | dict(hidden_size=32, num_attention_heads=8, intermediate_size=80),
        "as many shards as bert-split",
    ),
}  # fmt: skip


def random_model(architecture, config, seed):
    """A model whose intermediates all have a spread near one: random gains and biases too, nothing degenerate."""
    cls = getattr(transformers, architecture)
    model = cls(cls.config_class(bos_token_id=None, eos_token_id=None, **config))
    generator = torch.Generator().manual_seed(seed)
    for name, p in model.named_parameters():  # tied weights appear once
        noise = torch.randn(p.shape, generator=generator)
        if p.dim() == 1:
            is_gain = name.endswith("weight") and "norm" in name.lower()
            p.data = 1 + 0.2 * noise if is_gain else 0.2 * noise
        elif "embeddings" in name:
            p.data = 0.5 * noise
        else:
            p.data = (1.4 / math.sqrt(p.shape[1])) * noise
    model.tie_weights()
    return model


@torch.no_grad()
def outputs(model, ids, types):
    kwargs = {} if types is None else dict(token_type_ids=types[None])
    out = model(input_ids=ids[None], attention_mask=torch.ones_like(ids[None]), **kwargs)
    if "logits" not in out:
        pooled = out.get("pooler_output")
        return dict(last_hidden_state=out.last_hidden_state[0]) | ({} if pooled is None else dict(pooler_output=pooled[0]))
    logits = out.logits[0]
    return dict(logits=logits[::MASKED_STEP] if "MaskedLM" in type(model).__name__ else logits)


def fill_masks(folder):
    with tempfile.TemporaryDirectory() as temporary:
        model = copy_with_tokenizer(folder, pathlib.Path(temporary) / folder.name)
        pipe = transformers.pipeline("fill-mask", model=str(model), device="cpu")
        answers = [[text, top_k, pipe(text, top_k=top_k)] for text, top_k in MASKED_TEXTS]
    (folder / "fill_mask.json").write_text(json.dumps(answers, indent=1) + "\n")


def make(name, spec, root):
    architecture, config, remark = spec
    folder = root / name
    if folder.exists():
        shutil.rmtree(folder)
    seed = sorted(SPECS).index(name)
    random_model(architecture, config, seed).save_pretrained(folder)
    (folder / "generation_config.json").unlink(missing_ok=True)
    model = getattr(transformers, architecture).from_pretrained(folder, attn_implementation="eager").eval()
    generator = torch.Generator().manual_seed(1_000_000 + seed)
    num_types = config.get("type_vocab_size", 1)
    tensors = {}
    for i, length in enumerate(PROMPT_LENGTHS):
        ids = torch.randint(2, config["vocab_size"], (length,), generator=generator)  # no padding token among them
        types = torch.randint(num_types, (length,), generator=generator) if num_types > 1 else None
        tensors[f"prompt{i}.ids"] = ids.to(torch.int32)
        if types is not None:
            tensors[f"prompt{i}.types"] = types.to(torch.int32)
        tensors |= {f"prompt{i}.{key}": value for key, value in outputs(model, ids, types).items()}
    save_file({key: value.contiguous().clone() for key, value in tensors.items()}, folder / "golden.safetensors")
    meta = dict(
        name=name, remark=remark, seed=seed, transformers=transformers.__version__,
        torch=torch.__version__.split("+")[0], prompt_lengths=PROMPT_LENGTHS, masked_step=MASKED_STEP,
    )  # fmt: skip
    (folder / "golden.json").write_text(json.dumps(meta, indent=2) + "\n")
    if name == "bert-masked":
        fill_masks(folder)
    for path in folder.iterdir():
        path.chmod(0o644)
    print(f"{name:24} {sum(path.stat().st_size for path in folder.iterdir()):7} bytes", flush=True)


if __name__ == "__main__":
    make_all(__doc__, "golden_encoders", SPECS, make)
