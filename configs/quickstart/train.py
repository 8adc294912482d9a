#!/usr/bin/env python3
"""Train the quickstart models: a byte-level BPE tokenizer and a small Llama, written in Hugging Face form.

  train.py --size main  --data-dir DATA --out configs/quickstart/model
  train.py --size draft --data-dir DATA --out configs/quickstart/draft --teacher configs/quickstart/model

DATA holds kjv.txt and shakespeare.txt (README.md beside this file says where they come from). One GPU; minutes.
The draft shares the tokenizer of its teacher and learns from the teacher's distribution as well as from the text,
because a speculative proposer is worth as much as it agrees with the model it proposes to.

The text becomes documents (a chapter; about 3,000 characters of consecutive speeches), each packed as
<|begin_of_text|> text <|end_of_text|>. The tokenizer adds <|begin_of_text|>, so a prompt starts as a document does.
Every twentieth document of each source is held out, for the tokenizer too. The first chapter appears several times
an epoch (--repeat-first), so that a model regularised against learning by heart still knows its opening: that is the
prompt of the quickstart, and a right answer should be recognisable as one. The saved weights are those of the epoch
with the best held-out loss. At the end the checkpoint is read back and judged as it will be served: held-out
perplexity in float32 and bfloat16, and the greedy continuation of a known sentence in both.
"""

import argparse
import json
import math
import pathlib
import sys
import time

import torch
import torch.nn.functional as F
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig, LlamaConfig, LlamaForCausalLM

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
import training  # noqa: E402

BOS, EOS = "<|begin_of_text|>", "<|end_of_text|>"
VOCAB_SIZE = 4096
# How Llama 3 splits text into words before merging.
SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
SIZES = {
    "main": dict(
        hidden_size=256, num_hidden_layers=6, num_attention_heads=8, num_key_value_heads=4, intermediate_size=768
    ),
    "draft": dict(
        hidden_size=128, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=4, intermediate_size=384
    ),
}
MAX_POSITIONS = 2048
CHECK_PROMPT, CHECK_CONTINUATION = "In the beginning God created", " the heaven and the earth"


def read_documents(data_dir):
    """Returns (training, held-out), each {source: [document]}."""
    chapters = [p for p in (data_dir / "kjv.txt").read_text("utf-8").split("\n\n") if p.strip()]
    chapters = [chapter.strip("\n") for chapter in chapters]
    scenes, scene = [], ""
    for speech in (data_dir / "shakespeare.txt").read_text("utf-8").strip("\n").split("\n\n"):
        scene += ("\n\n" if scene else "") + speech
        if len(scene) >= 3000:
            scenes.append(scene)
            scene = ""
    if scene:
        scenes.append(scene)
    train, held_out = {}, {}
    for source, documents in (("kjv", chapters), ("shakespeare", scenes)):
        train[source] = [d for i, d in enumerate(documents) if i % 20 != 10]
        held_out[source] = [d for i, d in enumerate(documents) if i % 20 == 10]
    return train, held_out


def train_tokenizer(texts, out):
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(SPLIT), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCAB_SIZE,
        special_tokens=[BOS, EOS],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    assert tokenizer.get_vocab_size() == VOCAB_SIZE
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{BOS} $A", pair=f"{BOS} $A {BOS} $B", special_tokens=[(BOS, tokenizer.token_to_id(BOS))]
    )
    tokenizer.save(str(out / "tokenizer.json"))
    config = dict(
        tokenizer_class="PreTrainedTokenizerFast",
        bos_token=BOS,
        eos_token=EOS,
        clean_up_tokenization_spaces=False,
        model_input_names=["input_ids", "attention_mask"],
        model_max_length=MAX_POSITIONS,
    )
    (out / "tokenizer_config.json").write_text(json.dumps(config, indent=2) + "\n")
    training.write_special_tokens(out, bos_token=BOS, eos_token=EOS)


def build_model(size, bos, eos):
    config = LlamaConfig(
        vocab_size=VOCAB_SIZE,
        max_position_embeddings=MAX_POSITIONS,
        rms_norm_eps=1e-5,
        rope_parameters=dict(rope_type="default", rope_theta=10000.0),
        tie_word_embeddings=True,
        bos_token_id=bos,
        eos_token_id=eos,
        **SIZES[size],
    )
    model = LlamaForCausalLM(config)
    for name, p in model.named_parameters():  # residual writes shrink with depth, as in GPT-2
        if name.endswith(("o_proj.weight", "down_proj.weight")):
            p.data /= math.sqrt(2 * config.num_hidden_layers)
    return model


def add_dropout(model, p):
    """Dropout on the embedding and on both residual writes of a layer; Llama itself has none."""

    def hook(module, args, out):
        return F.dropout(out, p, training=module.training)

    model.model.embed_tokens.register_forward_hook(hook)
    for layer in model.model.layers:
        layer.self_attn.o_proj.register_forward_hook(hook)
        layer.mlp.down_proj.register_forward_hook(hook)


def windows(documents, length, generator, device):
    """One epoch: documents in a new order, cut at a new offset. Returns [num_windows, length + 1]."""
    order = torch.randperm(len(documents), generator=generator).tolist()
    stream = torch.cat([documents[i] for i in order])
    stream = stream[int(torch.randint(length, (1,), generator=generator)) :]
    num_windows = (len(stream) - 1) // length
    rows = [stream[i * length : (i + 1) * length + 1] for i in range(num_windows)]
    return torch.stack(rows)[torch.randperm(num_windows, generator=generator)].to(device)


@torch.no_grad()
def held_out_nll(model, documents, device, autocast, context=1024):
    """Returns (sum of negative log-likelihoods, tokens). A token sees at least context/2 tokens before it, or all."""
    model.eval()
    rows = []
    for ids in documents:
        start = 0
        while True:
            row = ids[start : start + context + 1]
            rows.append((row, 0 if start == 0 else context // 2))
            if start + context + 1 >= len(ids):
                break
            start += context // 2
    total, count = 0.0, 0
    for i in range(0, len(rows), 32):
        batch = rows[i : i + 32]
        ids = torch.zeros(len(batch), context + 1, dtype=torch.long)
        counted = torch.zeros(len(batch), context, dtype=torch.bool)
        for j, (row, skip) in enumerate(batch):
            ids[j, : len(row)] = row
            counted[j, skip : len(row) - 1] = True
        ids, counted = ids.to(device), counted.to(device)
        with torch.autocast(device, dtype=torch.bfloat16, enabled=autocast):
            logits = model(input_ids=ids[:, :-1], use_cache=False).logits
        nll = F.cross_entropy(logits.float().flatten(0, 1), ids[:, 1:].flatten(), reduction="none")
        total += float((nll * counted.flatten()).double().sum())
        count += int(counted.sum())
    return total, count


@torch.no_grad()
def agreement(model, teacher, documents, device, context=1024):
    """The share of held-out positions at which both models would choose the same next token."""
    same, count = 0, 0
    for ids in documents:
        ids = ids[None, :context].to(device)
        a, b = (m(input_ids=ids, use_cache=False).logits.argmax(-1) for m in (model, teacher))
        same += int((a == b).sum())
        count += ids.numel()
    return same / count


def train(model, teacher, train_ids, held_out_ids, args, device):
    add_dropout(model, args.dropout)
    optimizer = training.make_optimizer(model, args, device, betas=(0.9, 0.95))
    generator = torch.Generator().manual_seed(args.seed)
    num_tokens = sum(len(d) for d in train_ids)
    steps_per_epoch = max(1, (num_tokens // args.context) // args.batch_size)
    num_steps = args.steps or args.epochs * steps_per_epoch
    warmup = min(100, num_steps // 10 + 1)
    best, best_state, step, started = math.inf, None, 0, time.time()
    history = []
    while step < num_steps:
        rows = windows(train_ids, args.context, generator, device)
        model.train()
        losses = []
        for i in range(0, len(rows) - args.batch_size + 1, args.batch_size):
            if step >= num_steps:
                break
            progress = training.progress_of(step, num_steps, warmup)
            training.set_rate(optimizer, args.lr, step, warmup, progress, floor=0.01)
            batch = rows[i : i + args.batch_size]
            inputs, targets = batch[:, :-1], batch[:, 1:]
            with torch.autocast(device, dtype=torch.bfloat16):
                logits = model(input_ids=inputs, use_cache=False).logits.float()
                loss = F.cross_entropy(logits.flatten(0, 1), targets.flatten())
                if teacher is not None:
                    with torch.no_grad():
                        soft = teacher(input_ids=inputs, use_cache=False).logits.float().softmax(-1)
                    soft_loss = -(soft * logits.log_softmax(-1)).sum(-1).mean()
                    loss = (1 - args.distill) * loss + args.distill * soft_loss
            training.descend(model, optimizer, loss)
            losses.append(loss.detach())
            step += 1
        nll, count = held_out_nll(model, held_out_ids, device, autocast=True)
        history.append(dict(step=step, train_loss=float(torch.stack(losses).mean()), held_out_loss=nll / count))
        if nll / count < best:
            best = nll / count
            best_state = {key: value.detach().clone() for key, value in model.state_dict().items()}
        print(f"step {step}/{num_steps}  {time.time() - started:.0f} s  {history[-1]}", flush=True)
    model.load_state_dict(best_state)
    return history, time.time() - started


def save(model, out, bos, eos):
    state = {key: value.to(torch.bfloat16) for key, value in model.state_dict().items()}
    fresh = LlamaForCausalLM(model.config).to(torch.bfloat16)
    fresh.load_state_dict(state)
    fresh.tie_weights()
    fresh.generation_config = GenerationConfig(bos_token_id=bos, eos_token_id=eos, do_sample=False)
    training.save_model(fresh, out)


def judge(out, held_out_ids, held_out, device):
    """Reads the checkpoint back and measures it."""
    tokenizer = AutoTokenizer.from_pretrained(out)
    num_words = sum(len(d.split()) for ds in held_out.values() for d in ds)
    num_bytes = sum(len(d.encode()) for ds in held_out.values() for d in ds)
    report = {}
    for name, dtype in (("float32", torch.float32), ("bfloat16", torch.bfloat16)):
        model = AutoModelForCausalLM.from_pretrained(out, dtype=dtype).to(device).eval()
        nll, count = held_out_nll(model, [d for ds in held_out_ids.values() for d in ds], device, autocast=False)
        entry = dict(
            held_out_loss=nll / count,
            perplexity_per_token=math.exp(nll / count),
            perplexity_per_word=math.exp(nll / num_words),
            bits_per_byte=nll / math.log(2) / num_bytes,
        )
        for source, documents in held_out_ids.items():
            source_nll, source_count = held_out_nll(model, documents, device, autocast=False)
            entry[f"perplexity_per_token_{source}"] = math.exp(source_nll / source_count)
        inputs = tokenizer(CHECK_PROMPT, return_tensors="pt").to(device)
        ids = model.generate(**inputs, do_sample=False, max_new_tokens=32)[0]
        entry["greedy"] = tokenizer.decode(ids, skip_special_tokens=True)
        entry["check"] = entry["greedy"].startswith(CHECK_PROMPT + CHECK_CONTINUATION)
        report[name] = entry
    report["held_out"] = dict(
        documents=sum(len(ds) for ds in held_out.values()), tokens=count, words=num_words, bytes=num_bytes
    )
    return report


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data-dir", type=pathlib.Path, required=True)
    parser.add_argument("--out", type=pathlib.Path, required=True)
    parser.add_argument("--size", choices=SIZES, default="main")
    parser.add_argument("--teacher", type=pathlib.Path, help="take the tokenizer from here, and learn from this model")
    parser.add_argument("--distill", type=float, default=0.7, help="weight of the teacher's distribution in the loss")
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--steps", type=int, help="instead of --epochs")
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--context", type=int, default=1024)
    parser.add_argument("--lr", type=float, default=2e-3)
    parser.add_argument("--weight-decay", type=float, default=0.1)
    parser.add_argument("--dropout", type=float, default=0.2)
    parser.add_argument("--repeat-first", type=int, default=16, help="times an epoch has the first chapter")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    device = training.set_up(args.seed)

    args.out.mkdir(parents=True, exist_ok=True)
    texts, held_out = read_documents(args.data_dir)
    if args.teacher:
        training.copy_tokenizer(args.teacher, args.out)
    else:
        train_tokenizer([d for ds in texts.values() for d in ds], args.out)
    tokenizer = AutoTokenizer.from_pretrained(args.out)
    bos, eos = tokenizer.bos_token_id, tokenizer.eos_token_id

    def encode(documents):
        encoded = tokenizer(documents, verbose=False)["input_ids"]
        assert all(ids[0] == bos for ids in encoded)
        return [torch.tensor(ids + [eos]) for ids in encoded]

    train_ids = [ids for documents in texts.values() for ids in encode(documents)]
    held_out_ids = {source: encode(documents) for source, documents in held_out.items()}
    num_train_tokens = sum(len(ids) for ids in train_ids)
    train_ids += [train_ids[0]] * (args.repeat_first - 1)
    model = build_model(args.size, bos, eos).to(device)
    num_parameters = training.count_parameters(model)
    print(f"{num_parameters} parameters, {num_train_tokens} training tokens", flush=True)
    teacher = None
    if args.teacher:
        teacher = AutoModelForCausalLM.from_pretrained(args.teacher, dtype=torch.bfloat16).to(device).eval()

    flat_held_out = [d for ds in held_out_ids.values() for d in ds]
    history, seconds = train(model, teacher, train_ids, flat_held_out, args, device)
    save(model, args.out, bos, eos)

    report = dict(size=args.size, parameters=num_parameters, training_tokens=num_train_tokens)
    names = "epochs steps batch_size context lr weight_decay dropout repeat_first seed"
    report["settings"] = training.settings_of(args, names)
    report |= judge(args.out, held_out_ids, held_out, device)
    if teacher is not None:
        report["settings"]["distill"] = args.distill
        draft = AutoModelForCausalLM.from_pretrained(args.out, dtype=torch.float32).to(device).eval()
        full = AutoModelForCausalLM.from_pretrained(args.teacher, dtype=torch.float32).to(device).eval()
        report["agreement_with_teacher"] = agreement(draft, full, flat_held_out, device)
    report["best_epoch"] = 1 + min(range(len(history)), key=lambda i: history[i]["held_out_loss"])
    training.write_report(args.out, report, history, seconds, device)
    if not all(report[name]["check"] for name in ("float32", "bfloat16")):
        raise SystemExit(f"greedy decoding does not continue {CHECK_PROMPT!r} with {CHECK_CONTINUATION!r}")


if __name__ == "__main__":
    main()
