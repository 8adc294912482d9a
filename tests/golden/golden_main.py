"""The command line of the scripts that make golden checkpoints."""
import argparse
import pathlib

import torch
import transformers


def make_all(description, folder, specs, make):
    """make(name, spec, root) for each of `specs`, or for those of --only; root is --out, or tests/data/`folder`."""
    parser = argparse.ArgumentParser(description=description.split("\n")[0])
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("tests/data") / folder)
    parser.add_argument("--only", nargs="*", choices=sorted(specs))
    args = parser.parse_args()
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    torch.manual_seed(0)
    torch.set_num_threads(1)
    args.out.mkdir(parents=True, exist_ok=True)
    for name in args.only or specs:
        make(name, specs[name], args.out)
