#!/usr/bin/env python3
"""Train the classifier: a BERT that tells the King James Bible from Shakespeare by a sentence, in Hugging Face form.

  train.py --data DATA --out configs/classifier    train, judge and save; two minutes of a GPU
  train.py --out configs/classifier --evaluate     judge what is there by its held-out.jsonl; needs no DATA

DATA holds kjv.txt and shakespeare.txt (configs/quickstart/README.md says where they come from); configs/sentences.py
says how they are cut. The tokenizer is BERT's uncased WordPiece, trained on the sentences to be trained on. The weights
start from nothing; there is no masked-language pretraining. Both sources weigh the same in the loss, though the Bible
has more sentences. The weights are saved in bfloat16 and judged as they are read back.
"""

import argparse
import json
import pathlib
import sys
import time

import torch
import torch.nn.functional as F
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers
from transformers import AutoModelForSequenceClassification, AutoTokenizer, BertConfig, BertForSequenceClassification
from transformers import BertTokenizer

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
import training  # noqa: E402
from sentences import SOURCES, read_sentences, sample  # noqa: E402

SPECIAL_TOKENS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]  # their ids are 0 to 4
VOCAB_SIZE = 4096
MAX_POSITIONS = 128
MIN_WORDS, MAX_CHARS = 5, 300
NUM_SAVED_PER_SOURCE = 100


def train_tokenizer(texts, out):
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    trainer = trainers.WordPieceTrainer(vocab_size=VOCAB_SIZE, special_tokens=SPECIAL_TOKENS, show_progress=False)
    tokenizer.train_from_iterator(texts, trainer)
    assert tokenizer.get_vocab_size() == VOCAB_SIZE
    BertTokenizer(vocab=tokenizer.get_vocab(), do_lower_case=True, model_max_length=MAX_POSITIONS).save_pretrained(out)
    names = dict(pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]", mask_token="[MASK]")
    training.write_special_tokens(out, **names)


def build_model(dropout):
    config = BertConfig(
        vocab_size=VOCAB_SIZE,
        hidden_size=128,
        num_hidden_layers=4,
        num_attention_heads=4,
        intermediate_size=512,
        max_position_embeddings=MAX_POSITIONS,
        hidden_dropout_prob=dropout,
        attention_probs_dropout_prob=dropout,
        id2label=dict(enumerate(SOURCES)),
        label2id={name: i for i, name in enumerate(SOURCES)},
    )
    return BertForSequenceClassification(config)


def padded(rows, device):
    """Returns (ids, mask), both [len(rows), longest]."""
    ids = torch.zeros(len(rows), max(len(row) for row in rows), dtype=torch.long)
    mask = torch.zeros_like(ids)
    for i, row in enumerate(rows):
        ids[i, : len(row)] = torch.tensor(row)
        mask[i, : len(row)] = 1
    return ids.to(device), mask.to(device)


def batches(rows, batch_size, generator):
    """One epoch: lists of indices into `rows`, in a random order, a batch being of rows of similar length."""
    order = torch.randperm(len(rows), generator=generator).tolist()
    found = []
    for i in range(0, len(order), 32 * batch_size):
        near = sorted(order[i : i + 32 * batch_size], key=lambda j: len(rows[j]))
        found += [near[j : j + batch_size] for j in range(0, len(near), batch_size)]
    return [found[i] for i in torch.randperm(len(found), generator=generator).tolist()]


def train(model, rows, labels, weights, args, device):
    optimizer = training.make_optimizer(model, args, device)
    generator = torch.Generator().manual_seed(args.seed)
    num_steps = args.epochs * -(-len(rows) // args.batch_size)
    warmup = min(300, num_steps // 20 + 1)
    history, step, started = [], 0, time.time()
    model.train()
    for epoch in range(args.epochs):
        losses = []
        for chosen in batches(rows, args.batch_size, generator):
            training.set_rate(optimizer, args.lr, step, warmup, training.progress_of(step, num_steps, warmup))
            ids, mask = padded([rows[i] for i in chosen], device)
            with torch.autocast(device, dtype=torch.bfloat16, enabled=device == "cuda"):
                logits = model(input_ids=ids, attention_mask=mask).logits.float()
            loss = F.cross_entropy(logits, torch.tensor([labels[i] for i in chosen], device=device), weights)
            training.descend(model, optimizer, loss)
            losses.append(loss.detach())
            step += 1
        history.append(dict(step=step, train_loss=round(float(torch.stack(losses).mean()), 5)))
        print(f"epoch {epoch + 1}/{args.epochs}  {time.time() - started:.0f} s  {history[-1]}", flush=True)
    return history, time.time() - started


@torch.no_grad()
def predict(model, rows, device):
    model.eval()
    answers = [0] * len(rows)
    order = sorted(range(len(rows)), key=lambda i: len(rows[i]))
    for i in range(0, len(order), 256):
        chosen = order[i : i + 256]
        ids, mask = padded([rows[j] for j in chosen], device)
        for j, answer in zip(chosen, model(input_ids=ids, attention_mask=mask).logits.argmax(-1).tolist()):
            answers[j] = answer
    return answers


def judge(out, texts, labels, device):
    """Reads the checkpoint back; returns the share of right answers, of all and by source, in both number formats."""
    tokenizer = AutoTokenizer.from_pretrained(out)
    rows = tokenizer(texts, truncation=True)["input_ids"]
    report = dict(sentences=len(texts))
    for name, dtype in (("float32", torch.float32), ("bfloat16", torch.bfloat16)):
        model = AutoModelForSequenceClassification.from_pretrained(out, dtype=dtype).to(device)
        right = [answer == label for answer, label in zip(predict(model, rows, device), labels)]
        shares = {
            source: sum(r for r, label in zip(right, labels) if label == i) / max(1, labels.count(i))
            for i, source in enumerate(SOURCES)
        }
        report[name] = dict(accuracy=sum(right) / len(right), **shares)
    return report


def read_saved(out):
    entries = training.read_lines(out / "held-out.jsonl")
    return [e["text"] for e in entries], [e["label"] for e in entries]


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=pathlib.Path, help="the folder of kjv.txt and shakespeare.txt")
    parser.add_argument("--out", type=pathlib.Path, required=True)
    parser.add_argument("--evaluate", action="store_true", help="only judge the model in --out by its held-out.jsonl")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--weight-decay", type=float, default=0.1)
    parser.add_argument("--dropout", type=float, default=0.2)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    device = training.set_up(args.seed)
    if args.evaluate:
        print(json.dumps(judge(args.out, *read_saved(args.out), device), indent=1))
        return
    if args.data is None:
        parser.error("--data is needed to train")

    args.out.mkdir(parents=True, exist_ok=True)
    train_texts, held_out = read_sentences(args.data, MIN_WORDS, MAX_CHARS)
    texts = [text for source in train_texts for text in source]
    labels = [i for i, source in enumerate(train_texts) for _ in source]
    train_tokenizer(texts, args.out)
    tokenizer = AutoTokenizer.from_pretrained(args.out)
    rows = tokenizer(texts, truncation=True)["input_ids"]
    weights = torch.tensor([len(texts) / (len(SOURCES) * labels.count(i)) for i in range(len(SOURCES))], device=device)
    model = build_model(args.dropout).to(device)
    num_parameters = training.count_parameters(model)
    print(f"{num_parameters} parameters, {len(rows)} sentences, {sum(map(len, rows))} tokens", flush=True)
    history, seconds = train(model, rows, labels, weights, args, device)
    training.save_model(model.to(torch.bfloat16), args.out)

    saved = sample(held_out, NUM_SAVED_PER_SOURCE)
    training.write_lines(args.out / "held-out.jsonl", [dict(text=text, label=label) for label, text in saved])
    report = dict(parameters=num_parameters, training_sentences=len(rows), training_tokens=sum(map(len, rows)))
    report["settings"] = training.settings_of(args, "epochs batch_size lr weight_decay dropout seed")
    held_out_texts = [text for source in held_out for text in source]
    held_out_labels = [i for i, source in enumerate(held_out) for _ in source]
    report["held_out"] = judge(args.out, held_out_texts, held_out_labels, device)
    report["saved_held_out"] = judge(args.out, *read_saved(args.out), device)
    training.write_report(args.out, report, history, seconds, device)


if __name__ == "__main__":
    main()
