#!/usr/bin/env python3
"""Train the restorer: a T5 that puts the vowels back into an English sentence, written in Hugging Face form.

  train.py --data DATA --out configs/restorer    train, judge and save; some minutes of a GPU
  train.py --out configs/restorer --evaluate     judge what is there by its held-out.jsonl; needs no DATA

DATA holds kjv.txt and shakespeare.txt (configs/quickstart/README.md says where they come from); configs/sentences.py
says how they are cut. The source of a sentence is the sentence without a, e, i, o, u and their capitals; a word of
vowels only leaves nothing, not even its space. So "In the beginning" becomes "n th bgnnng".

The tokenizer is T5's: a Unigram model trained by SentencePiece (on the sentences and on their sources), its Precompiled
normalizer, words marked by U+2581, and </s> after a text. It has no sentinel tokens. --tokenizer DIR takes one that is
there already, and then the package sentencepiece is not needed. The weights are saved in bfloat16 and judged as they
are read back, with greedy decoding. Accuracy is counted in characters:

  character accuracy   1 - (sum of edit distances of answer and sentence) / (sum of lengths of the sentences),
                       the edit distance being Levenshtein's, each of insertion, deletion and substitution costing 1
  exact sentences      share of the answers that are the sentence, character by character
"""

import argparse
import json
import pathlib
import sys
import tempfile
import time

import torch
import torch.nn.functional as F
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer, GenerationConfig, T5Config, T5ForConditionalGeneration
from transformers import T5Tokenizer

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
import training  # noqa: E402
from sentences import SOURCES, read_sentences, sample  # noqa: E402

PAD, EOS, UNK = "<pad>", "</s>", "<unk>"  # their ids are 0 to 2
VOCAB_SIZE = 2048
MIN_WORDS, MAX_CHARS = 3, 160
MAX_NEW_TOKENS = 128
NUM_SAVED_PER_SOURCE = 100
WITHOUT_VOWELS = str.maketrans("", "", "aeiouAEIOU")


def without_vowels(sentence):
    return " ".join(sentence.translate(WITHOUT_VOWELS).split())


def train_tokenizer(texts, out):
    import sentencepiece
    from sentencepiece import sentencepiece_model_pb2

    with tempfile.TemporaryDirectory() as folder:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(texts),
            model_prefix=f"{folder}/spiece",
            model_type="unigram",
            vocab_size=VOCAB_SIZE,
            character_coverage=1.0,
            pad_id=0,
            eos_id=1,
            unk_id=2,
            bos_id=-1,
            num_threads=1,
            minloglevel=1,
        )
        proto = sentencepiece_model_pb2.ModelProto.FromString(pathlib.Path(f"{folder}/spiece.model").read_bytes())
    vocab = [(piece.piece, piece.score) for piece in proto.pieces]
    assert [piece for piece, _ in vocab[:3]] == [PAD, EOS, UNK] and len(vocab) == VOCAB_SIZE
    charsmap = proto.normalizer_spec.precompiled_charsmap
    tokenizer = T5Tokenizer(vocab=vocab, _spm_precompiled_charsmap=charsmap, extra_ids=0, model_max_length=512)
    tokenizer.save_pretrained(out)
    training.write_special_tokens(out, eos_token=EOS, unk_token=UNK, pad_token=PAD)


def build_model(args):
    config = T5Config(
        vocab_size=VOCAB_SIZE,
        d_model=192,
        d_kv=32,
        num_heads=8,
        d_ff=384,
        num_layers=args.encoder_layers,
        num_decoder_layers=args.decoder_layers,
        feed_forward_proj="gated-gelu",
        dropout_rate=args.dropout,
        tie_word_embeddings=True,
        decoder_start_token_id=0,
        pad_token_id=0,
        eos_token_id=1,
    )
    return T5ForConditionalGeneration(config)


class Pairs:
    """Token ids of sources and of targets, padded with 0, which no token of a text has."""

    def __init__(self, sources, targets, device):
        self.sides = []  # [num_pairs, longest, up to a multiple of 16], of sources and of targets
        for rows in (sources, targets):
            length = -(-max(len(row) for row in rows) // 16) * 16
            self.sides.append(torch.tensor([row + [0] * (length - len(row)) for row in rows]).to(device))
        self.lengths = torch.tensor([[len(row) for row in rows] for rows in (sources, targets)])  # [2, num_pairs]

    def __len__(self):
        return self.lengths.shape[1]

    def num_target_tokens(self, chosen=slice(None)):
        return int(self.lengths[1, chosen].sum())

    def batch(self, chosen):
        """Returns (source, target), both [len(chosen), longest of the chosen, up to a multiple of 16]."""
        lengths = (-(-self.lengths[:, chosen].max(dim=1).values // 16) * 16).tolist()
        chosen = chosen.to(self.sides[0].device)
        return [side[chosen, :length] for side, length in zip(self.sides, lengths)]

    def epoch(self, batch_size, generator):
        """Yields indices, `batch_size` each, of pairs of similar length, batches in a random order."""
        order = torch.randperm(len(self), generator=generator)
        order = torch.cat([order, order[: -len(order) % batch_size]])
        groups = [g[self.lengths[1, g].argsort()].split(batch_size) for g in order.split(32 * batch_size)]
        found = [batch for group in groups for batch in group]
        yield from (found[i] for i in torch.randperm(len(found), generator=generator))


def summed_loss(model, source, target):
    """Returns the negative log-likelihood of the targets' tokens, summed."""
    device = source.device.type
    with torch.autocast(device, dtype=torch.bfloat16, enabled=device == "cuda"):
        logits = model(
            input_ids=source,
            attention_mask=(source != 0).long(),
            decoder_input_ids=F.pad(target[:, :-1], (1, 0)),
            use_cache=False,
        ).logits
    return F.cross_entropy(logits.float().flatten(0, 1), target.flatten(), ignore_index=0, reduction="sum")


@torch.no_grad()
def held_out_loss(model, pairs):
    """Returns the mean negative log-likelihood of a target's token."""
    model.eval()
    losses = [summed_loss(model, *pairs.batch(chosen)) for chosen in pairs.lengths[1].argsort().split(512)]
    model.train()
    return float(sum(losses)) / pairs.num_target_tokens()


class Gradients:
    """Sets the gradients of the mean loss of a batch; returns its summed loss.

    A step of so small a model is mostly the launching of kernels, so on a GPU forward and backward pass are a CUDA
    graph, captured when a shape is first seen.
    """

    def __init__(self, model):
        self.model = model
        self.graphs = {}
        self.pool = None
        for p in model.parameters():
            p.grad = torch.zeros_like(p)

    def __call__(self, source, target):
        if source.device.type == "cpu":
            return self.compute(source, target)
        shape = (source.shape, target.shape)
        if shape not in self.graphs:
            self.graphs[shape] = self.capture(source, target)
        graph, static_source, static_target, loss = self.graphs[shape]
        static_source.copy_(source)
        static_target.copy_(target)
        graph.replay()
        return loss

    def compute(self, source, target):
        torch._foreach_zero_([p.grad for p in self.model.parameters()])
        loss = summed_loss(self.model, source, target)
        (loss / (target != 0).sum()).backward()
        return loss.detach()

    def capture(self, source, target):
        source, target = source.clone(), target.clone()
        stream = torch.cuda.Stream()  # what is made once, at the first call, must not be in the graph
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            self.compute(source, target)
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=self.pool):
            loss = self.compute(source, target)
        self.pool = graph.pool()
        return graph, source, target, loss


def train(model, pairs, held_out_pairs, args, device):
    optimizer = training.make_optimizer(model, args, device, betas=(0.9, 0.98))
    generator = torch.Generator().manual_seed(args.seed)
    num_steps = args.epochs * -(-len(pairs) // args.batch_size)
    warmup = min(300, num_steps // 20 + 1)
    history, step, started = [], 0, time.time()
    gradients = Gradients(model)
    model.train()
    for epoch in range(args.epochs):
        total, count = torch.zeros((), device=device), 0
        for chosen in pairs.epoch(args.batch_size, generator):
            progress = training.progress_of(step, num_steps, warmup)
            if args.max_seconds:
                progress = max(progress, (time.time() - started) / args.max_seconds)
                if progress >= 1:
                    break
            training.set_rate(optimizer, args.lr, step, warmup, progress)
            total += gradients(*pairs.batch(chosen))
            count += pairs.num_target_tokens(chosen)
            training.clip_and_step(model, optimizer)
            step += 1
        if not count:
            break
        held_out = held_out_loss(model, held_out_pairs)
        history.append(dict(step=step, train_loss=round(float(total) / count, 5), held_out_loss=round(held_out, 5)))
        print(f"epoch {epoch + 1}/{args.epochs}  {time.time() - started:.0f} s  {history[-1]}", flush=True)
    return history, time.time() - started


def edit_distance(a, b):
    while a and b and a[-1] == b[-1]:
        a, b = a[:-1], b[:-1]
    while a and b and a[0] == b[0]:
        a, b = a[1:], b[1:]
    row = list(range(len(b) + 1))
    for i, x in enumerate(a):
        previous, row = row, [i + 1]
        for j, y in enumerate(b):
            row.append(min(previous[j] + (x != y), previous[j + 1] + 1, row[j] + 1))
    return row[-1]


@torch.no_grad()
def restore(model, tokenizer, sources, device):
    """Returns the greedy answers to `sources`."""
    answers = [""] * len(sources)
    order = sorted(range(len(sources)), key=lambda i: len(sources[i]))
    for i in range(0, len(order), 256):
        chosen = order[i : i + 256]
        batch = tokenizer([sources[j] for j in chosen], padding=True, return_tensors="pt").to(device)
        inputs = dict(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"])
        ids = model.generate(**inputs, do_sample=False, num_beams=1, max_new_tokens=MAX_NEW_TOKENS)
        for j, answer in zip(chosen, tokenizer.batch_decode(ids, skip_special_tokens=True)):
            answers[j] = answer
    return answers


def judge(out, held_out, device, dtypes=("float32", "bfloat16")):
    """Reads the checkpoint back; returns what is right of all answers and by source. `held_out`: (source, sentence)."""
    tokenizer = AutoTokenizer.from_pretrained(out)
    texts = [text for _, text in held_out]
    report = dict(sentences=len(texts), characters=sum(map(len, texts)))
    for name in dtypes:
        model = AutoModelForSeq2SeqLM.from_pretrained(out, dtype=getattr(torch, name)).to(device).eval()
        answers = restore(model, tokenizer, [without_vowels(text) for text in texts], device)
        distances = [edit_distance(answer, text) for answer, text in zip(answers, texts)]
        report[name] = {}
        for label, wanted in (("all", SOURCES), *((source, (source,)) for source in SOURCES)):
            chosen = [i for i, (source, _) in enumerate(held_out) if SOURCES[source] in wanted]
            num_chars = max(1, sum(len(texts[i]) for i in chosen))
            report[name][label] = dict(
                character_accuracy=1 - sum(distances[i] for i in chosen) / num_chars,
                exact_sentences=sum(distances[i] == 0 for i in chosen) / max(1, len(chosen)),
            )
    return report


def read_saved(out):
    entries = training.read_lines(out / "held-out.jsonl")
    return [(SOURCES.index(e["source"]), e["target"]) for e in entries]


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=pathlib.Path, help="the folder of kjv.txt and shakespeare.txt")
    parser.add_argument("--out", type=pathlib.Path, required=True)
    parser.add_argument("--evaluate", action="store_true", help="only judge the model in --out by its held-out.jsonl")
    parser.add_argument("--tokenizer", type=pathlib.Path, help="take the tokenizer from this folder")
    parser.add_argument("--encoder-layers", type=int, default=4)
    parser.add_argument("--decoder-layers", type=int, default=2)
    parser.add_argument("--epochs", type=int, default=34)
    parser.add_argument("--max-seconds", type=float, help="end after so long, the learning rate falling accordingly")
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--weight-decay", type=float, default=0.01)
    parser.add_argument("--dropout", type=float, default=0.1)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    device = training.set_up(args.seed)
    if args.evaluate:
        print(json.dumps(judge(args.out, read_saved(args.out), device), indent=1))
        return
    if args.data is None:
        parser.error("--data is needed to train")

    args.out.mkdir(parents=True, exist_ok=True)
    train_texts, held_out = read_sentences(args.data, MIN_WORDS, MAX_CHARS)
    texts = [text for source in train_texts for text in source]
    if args.tokenizer:
        training.copy_tokenizer(args.tokenizer, args.out)
    else:
        train_tokenizer(texts + [without_vowels(text) for text in texts], args.out)
    tokenizer = AutoTokenizer.from_pretrained(args.out)

    def encode(sentences):
        sources = tokenizer([without_vowels(s) for s in sentences])["input_ids"]
        return Pairs(sources, tokenizer(sentences)["input_ids"], device)

    pairs, held_out_pairs = encode(texts), encode([text for source in held_out for text in source])
    model = build_model(args).to(device)
    num_parameters = training.count_parameters(model)
    num_tokens = pairs.lengths.sum(dim=1).tolist()
    print(f"{num_parameters} parameters, {len(pairs)} sentences, {num_tokens} tokens", flush=True)
    history, seconds = train(model, pairs, held_out_pairs, args, device)
    model.generation_config = GenerationConfig(decoder_start_token_id=0, pad_token_id=0, eos_token_id=1)
    training.save_model(model.to(torch.bfloat16), args.out)

    saved = sample(held_out, NUM_SAVED_PER_SOURCE)
    lines = [dict(input=without_vowels(text), target=text, source=SOURCES[i]) for i, text in saved]
    training.write_lines(args.out / "held-out.jsonl", lines)
    report = dict(parameters=num_parameters, training_sentences=len(pairs), training_tokens=num_tokens[1])
    names = "encoder_layers decoder_layers epochs max_seconds batch_size lr weight_decay dropout seed"
    report["settings"] = training.settings_of(args, names)
    report["held_out"] = judge(args.out, [(i, s) for i, source in enumerate(held_out) for s in source], device)
    report["saved_held_out"] = judge(args.out, saved, device)
    training.write_report(args.out, report, history, seconds, device)


if __name__ == "__main__":
    main()
