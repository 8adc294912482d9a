"""What the scripts that train quickstart/, classifier/ and restorer/ share: optimizer, schedule, files and report."""

import json
import math

import torch
import transformers

TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json")


def set_up(seed):
    """Returns the device to train on."""
    torch.manual_seed(seed)
    torch.backends.cuda.matmul.allow_tf32 = False  # the float32 figures are float32
    transformers.logging.disable_progress_bar()
    return "cuda" if torch.cuda.is_available() else "cpu"


def make_optimizer(model, args, device, **options):
    """AdamW of args.lr, in which matrices have args.weight_decay, and biases and the weights of norms none."""
    decayed = [p for p in model.parameters() if p.dim() == 2]
    others = [p for p in model.parameters() if p.dim() != 2]
    groups = [dict(params=decayed, weight_decay=args.weight_decay), dict(params=others, weight_decay=0.0)]
    return torch.optim.AdamW(groups, lr=args.lr, fused=device == "cuda", **options)


def progress_of(step, num_steps, warmup):
    """How much of what comes after the warm-up is done, 0 to 1."""
    return max(0.0, (step - warmup) / max(1, num_steps - warmup))


def set_rate(optimizer, peak, step, warmup, progress, floor=0.0):
    """The rate of `step`: a line up to `peak`, then half a cosine down, to `floor` of it at a progress of 1."""
    for group in optimizer.param_groups:
        group["lr"] = peak * min((step + 1) / warmup, 0.5 * (1 + math.cos(math.pi * progress)) + floor)


def clip_and_step(model, optimizer):
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()


def descend(model, optimizer, loss):
    """One step down the gradient of `loss`."""
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    clip_and_step(model, optimizer)


def count_parameters(model):
    return sum(p.numel() for p in model.parameters())


def write_special_tokens(out, **names):
    (out / "special_tokens_map.json").write_text(json.dumps(names, indent=2) + "\n")


def copy_tokenizer(source, out):
    for name in TOKENIZER_FILES:
        (out / name).write_bytes((source / name).read_bytes())


def save_model(model, out):
    model.save_pretrained(out)
    (out / "model.safetensors").chmod(0o644)


def write_lines(path, entries):
    path.write_text("".join(json.dumps(entry) + "\n" for entry in entries))


def read_lines(path):
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def settings_of(args, names):
    return {name: getattr(args, name) for name in names.split()}


def write_report(out, report, history, seconds, device):
    """Writes training.json, and prints it but for the history."""
    report["training_seconds"] = round(seconds, 1)
    report["device"] = torch.cuda.get_device_name() if device == "cuda" else "cpu"
    report["versions"] = {m.__name__: m.__version__.split("+")[0] for m in (torch, transformers)}
    report["history"] = history
    (out / "training.json").write_text(json.dumps(report, indent=1) + "\n")
    print(json.dumps({key: value for key, value in report.items() if key != "history"}, indent=1))
