#!/usr/bin/env python3
"""Compares Cohort's chat templates with Jinja, set up as Hugging Face transformers sets it up.

usage: compare_jinja.py DRIVER [--verbose] [--random N] [--seed N]

DRIVER is the built chat_driver. The templates of tests/data/chat_templates with the conversations of conversations.py,
the small templates of expressions.py, and random ones. The texts must be equal, what Jinja refuses must be refused, and with the
same words where the template refuses by raise_exception(). Every character that is put into a conversation must be
told as data in what comes out.
Exit code 0: all equal; 1: a difference, printed; 77: skipped, as jinja2 is missing.
"""
import argparse
import datetime
import json
import pathlib
import random
import re
import subprocess
import sys

try:
    import jinja2
    import jinja2.ext
    import jinja2.nodes
    from jinja2.sandbox import ImmutableSandboxedEnvironment
except ImportError as e:
    print(f"skipped: {e}")
    sys.exit(77)

from conversations import CONVERSATIONS
from expressions import EXPRESSIONS, TEMPLATES, VARIABLES
from random_expressions import random_expression, random_statements

TEMPLATE_DIR = pathlib.Path(__file__).resolve().parent.parent / "data" / "chat_templates"
TRUSTED = {"bos_token": "<s>", "eos_token": "</s>"}
NOW = datetime.datetime.fromtimestamp(1_700_000_000)  # as chat_driver.cc has it
# Letters of messages are moved into a private area of Unicode, so that they are known again in the text.
PRIVATE_AREA = 0xE000
# Refused on purpose: printing a function or a generator, of which Python prints the address; and slices of what has
# none, which are undefined in Jinja where the optimizer sees a constant.
REFUSED = re.compile(r"has no text|has no slices")


class Generation(jinja2.ext.Extension):
    """{% generation %}, which transformers adds: the body, in a scope of its own."""

    tags = {"generation"}

    def parse(self, parser):
        line = next(parser.stream).lineno
        body = parser.parse_statements(["name:endgeneration"], drop_needle=True)
        return jinja2.nodes.CallBlock(self.call_method("_call"), [], [], body).set_lineno(line)

    def _call(self, caller):
        return caller()


def make_environment():
    def raise_exception(message):
        raise jinja2.exceptions.TemplateError(message)

    def tojson(x, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
        return json.dumps(x, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)

    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True,
                                                extensions=[Generation, jinja2.ext.loopcontrols])
    environment.filters["tojson"] = tojson
    environment.globals["raise_exception"] = raise_exception
    environment.globals["strftime_now"] = NOW.strftime
    return environment


class Driver:
    """Cohort's side."""

    def __init__(self, binary):
        self.process = subprocess.Popen([binary], stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def render(self, template, data):
        request = {"template": template, "data": data, "trusted": TRUSTED}
        self.process.stdin.write(json.dumps(request).encode() + b"\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        if not answer:
            raise RuntimeError(f"the driver ended with {self.process.wait()} at {template!r}")
        return json.loads(answer)

    def close(self):
        self.process.stdin.close()
        self.process.wait()


def expected(environment, template, data):
    """The text, or the exception."""
    try:
        return environment.from_string(template).render({**data, **TRUSTED}), None
    except Exception as e:  # whatever Python code of a template raises
        return None, e


def move_letters(value, is_moved):
    """`value` with the letters of texts that are not compared by templates in the private area."""
    if isinstance(value, str):
        if not is_moved:
            return value
        return "".join(chr(PRIVATE_AREA + ord(c)) if c.isascii() and c.isalnum() else c for c in value)
    if isinstance(value, list):
        return [move_letters(item, is_moved) for item in value]
    if isinstance(value, dict):
        kept = {"role", "type", "id", "tool_call_id"}
        return {key: move_letters(item, is_moved and key not in kept) for key, item in value.items()}
    return value


def unmarked_data(answer):
    """Characters of the private area that are not told as data."""
    text = answer["text"].encode()
    template_text = bytearray()
    end = 0
    for begin, stop in answer["data"]:
        template_text += text[end:begin]
        end = stop
    template_text += text[end:]
    return [c for c in template_text.decode() if PRIVATE_AREA <= ord(c) < PRIVATE_AREA + 128]


class Comparison:
    def __init__(self, driver, verbose):
        self.driver = driver
        self.environment = make_environment()
        self.verbose = verbose
        self.num_cases = 0
        self.num_errors = 0
        self.num_wrong = 0

    def wrong(self, name, *lines):
        self.num_wrong += 1
        print(f"{name}:", *lines, sep="\n  ")

    def check(self, name, template, data):
        """Compares one case; Cohort's answer."""
        self.num_cases += 1
        text, error = expected(self.environment, template, data)
        answer = self.driver.render(template, data)
        if error is not None:
            self.num_errors += 1
            if self.verbose:
                print(f"{name}: {type(error).__name__}: {error} / {answer.get('error')}")
            if "error" not in answer:
                self.wrong(name, f"Jinja: {type(error).__name__}: {error}", f"Cohort: {answer['text']!r}")
            elif type(error) is jinja2.exceptions.TemplateError and str(error) != answer["error"]:
                self.wrong(name, f"Jinja: {error}", f"Cohort: {answer['error']}")
        elif REFUSED.search(answer.get("error", "")):
            pass
        elif answer.get("text") != text:
            self.wrong(name, f"Jinja:  {text!r}", f"Cohort: {answer.get('text', answer.get('error'))!r}")
        return answer


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("driver")
    parser.add_argument("--verbose", action="store_true")
    parser.add_argument("--random", type=int, default=1500, help="random templates to try")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    driver = Driver(args.driver)
    comparison = Comparison(driver, args.verbose)

    for expression in EXPRESSIONS:
        comparison.check(expression, "{{ " + expression + " }}", VARIABLES)
    for template in TEMPLATES:
        comparison.check(repr(template), template, VARIABLES)
    rng = random.Random(args.seed)
    for i in range(args.random):
        template = "{{ " + random_expression(rng, 1 + i % 4) + " }}" if i % 2 else random_statements(rng, 2)
        comparison.check(repr(template), template, VARIABLES)
    num_small = comparison.num_cases

    templates = sorted(TEMPLATE_DIR.glob("*.jinja"))
    for path in templates:
        # Chat templates come as files, whose last newline is the editor's, and as JSON, without it.
        source = path.read_text()
        for name, data in CONVERSATIONS.items():
            for add_generation_prompt in (True, False):
                variables = {"add_generation_prompt": add_generation_prompt, **data}
                comparison.check(f"{path.stem}, {name}", source, variables)
                moved = {key: move_letters(value, key in ("messages", "tools", "documents")) for key, value in variables.items()}
                answer = comparison.check(f"{path.stem}, {name}, moved", source, moved)
                if "text" in answer and unmarked_data(answer):
                    comparison.wrong(f"{path.stem}, {name}", f"not told as data: {unmarked_data(answer)}")
    driver.close()
    print(f"{num_small} small templates, {len(templates)} chat templates x {len(CONVERSATIONS)} conversations: "
          f"{comparison.num_cases} cases, {comparison.num_errors} refused by Jinja {jinja2.__version__}, "
          f"{comparison.num_wrong} wrong")
    return 1 if comparison.num_wrong else 0


if __name__ == "__main__":
    sys.exit(main())
