#!/usr/bin/env python3
"""Checks of the source tree that no compiler makes. Needs python3 and git, no packages.

    tests/lint/lint.py [check ...] [--root DIR]     all checks, or the named ones; --list names them

Prints one line a violation, "file:line: what is expected". Exits 0, 1 on violations, 77 when all that was asked for
is skipped because a tool is not installed. Only files that git tracks are looked at.
"""
import argparse
import os
import re
import shutil
import subprocess
import sys

from definitions import definitions

# What a folder may include: itself and what stands to its right.
LAYERS = ["launcher", "runtime", "parallel", "kernels"]
# What an op in kernels/<op> may include besides itself.
SHARED_KERNELS = {"activation", "core", "kv"}
# What single ones are built on as well.
BUILT_ON = {"moe": {"gemm"}}
TOP_LEVEL = {"CMakeLists.txt", "CMakePresets.json", "LICENSE", "README.md", "runtime", "parallel", "kernels",
             "launcher", "configs", "tests", "slurm"}
# Where large or binary files belong.
DATA_FOLDERS = ("configs/quickstart/", "configs/classifier/", "configs/restorer/", "tests/data/")
BINARY_FOLDERS = DATA_FOLDERS + ("tests/fuzz/corpus/",)
MAX_DATA_BYTES = 1_000_000
MAX_LINES = 500
# Where tests have their files from.
TEST_FILES = "tests/files.h"
# How files end of which a build has one.
ALTERNATIVE = re.compile(r"_(absent|cuda|portable|x86)\.\w+$")

CXX = (".cc", ".cu", ".h", ".cuh")
HEADERS = (".h", ".cuh")
SOURCES = (".cc", ".cu")
CODE = CXX + (".py", ".sh", ".sbatch", ".cmake", ".proto", "CMakeLists.txt")

SKIPPED = 77


class Skip(Exception):
    """A check cannot be made here; the text says why."""


class Tree:
    """The tracked files below a root, as paths relative to it."""

    def __init__(self, root):
        self.root = os.path.abspath(root)
        listed = subprocess.run(["git", "-C", self.root, "ls-files", "-z"], capture_output=True, check=True).stdout
        names = [name.decode() for name in listed.split(b"\0") if name]
        self.files = sorted(name for name in names if os.path.lexists(self.path(name)))

    def path(self, name):
        return os.path.join(self.root, name)

    def exists(self, name):
        return os.path.isfile(self.path(name))

    def ending(self, suffixes):
        return [name for name in self.files if name.endswith(suffixes) and os.path.isfile(self.path(name))]

    def bytes(self, name):
        with open(self.path(name), "rb") as file:
            return file.read()

    def lines(self, name):
        return self.bytes(name).decode("utf-8", "replace").splitlines()


def layer_error(includer, included):
    """Why `includer` may not include `included`, both relative to the root; None if it may."""
    from_parts, to_parts = includer.split("/"), included.split("/")
    if from_parts[0] == "tests":
        return None
    if to_parts[0] == "tests":
        return "only tests include tests"
    if from_parts[0] not in LAYERS or to_parts[0] not in LAYERS:
        return None
    if LAYERS.index(to_parts[0]) < LAYERS.index(from_parts[0]):
        return f"{from_parts[0]} may not include {to_parts[0]} (launcher -> runtime -> parallel -> kernels)"
    if from_parts[0] == "kernels" and to_parts[1] != from_parts[1]:
        allowed = {"core"} if from_parts[1] in SHARED_KERNELS else SHARED_KERNELS | BUILT_ON.get(from_parts[1], set())
        if from_parts[1] == "core" or to_parts[1] not in allowed:
            return f"kernels/{from_parts[1]} may not include kernels/{to_parts[1]}"
    return None


def check_includes(tree):
    """#include paths are relative to the root, exist, and point the right way."""
    include = re.compile(r'\s*#\s*include\s*([<"])([^>"]+)[>"]')
    for name in tree.ending(CXX):
        for number, line in enumerate(tree.lines(name), 1):
            match = include.match(line)
            if not match:
                continue
            is_quoted, included = match[1] == '"', match[2]
            is_ours = included.split("/")[0] in LAYERS + ["tests"]
            where = f"{name}:{number}: #include {included}"
            if not is_quoted:
                if is_ours:
                    yield f"{where}: expected quotes around a file of this tree"
                continue
            generated = re.fullmatch(r"(.*?)(\.grpc)?\.pb\.h", included)
            if ".." in included.split("/"):
                yield f"{where}: expected a path relative to the root"
            elif generated and tree.exists(generated[1] + ".proto"):
                pass
            elif not tree.exists(included):
                yield f"{where}: no such file below the root"
            error = layer_error(name, included)
            if error:
                yield f"{where}: {error}"


def check_tree(tree):
    """No build products, no large or binary files, nothing unknown at the top."""
    products = re.compile(r"(^|/)(build|CMakeFiles|__pycache__|_deps)/|(^|/)(CMakeCache\.txt|cmake_install\.cmake|"
                          r"compile_commands\.json|build\.ninja|Makefile)$|\.(o|a|so|so\.[\d.]+|pyc|d|gcda|gcno|exe|"
                          r"orig|rej|swp)$")
    for name in tree.files:
        top = name.split("/")[0]
        if top not in TOP_LEVEL and not top.startswith("."):
            yield f"{name}: not expected at the top level"
        if products.search(name):
            yield f"{name}: a product of a build or an editor, expected not to be tracked"
            continue
        if not os.path.isfile(tree.path(name)):
            continue
        size = os.path.getsize(tree.path(name))
        if size > MAX_DATA_BYTES and not name.startswith(DATA_FOLDERS):
            yield f"{name}: {size} bytes, expected at most {MAX_DATA_BYTES} outside {' and '.join(DATA_FOLDERS)}"
        elif not name.startswith(BINARY_FOLDERS) and b"\0" in tree.bytes(name)[:8192]:
            yield f"{name}: a binary file, expected in one of {', '.join(BINARY_FOLDERS)} only"


def check_headers(tree):
    """Every header begins with a comment and has #pragma once."""
    for name in tree.ending(HEADERS):
        lines = tree.lines(name)
        if not lines or not lines[0].startswith(("//", "/*")):
            yield f"{name}:1: expected an opening comment that says what the header is for"
        if "#pragma once" not in lines:
            yield f"{name}:1: expected #pragma once"


def check_length(tree):
    """Source files are read by people: at most 500 lines, unless they are generated and say so at the top."""
    for name in tree.ending(CXX + (".py", ".sh")):
        lines = tree.lines(name)
        if len(lines) > MAX_LINES and "Generated by" not in " ".join(lines[:3]):
            yield f"{name}: {len(lines)} lines, expected at most {MAX_LINES}"


def check_words(tree):
    """Nothing is left for later."""
    words = re.compile(r"\b(" + "|".join(["TO" + "DO", "FIX" + "ME", "X" * 3]) + r")\b")
    for name in tree.ending(CODE):
        for number, line in enumerate(tree.lines(name), 1):
            match = words.search(line)
            if match:
                yield f"{name}:{number}: {match[1]}: expected it done or written down elsewhere"


def check_temporary(tree):
    """Tests run at the same time: what they write is in a directory that no other has."""
    shared = re.compile(r"\bTempDir\(|\btemp_directory_path\(")
    for name in tree.ending(CXX):
        for number, line in enumerate(tree.lines(name), 1):
            if name.startswith("tests/") and name != TEST_FILES and shared.search(line):
                yield f"{name}:{number}: expected TemporaryDirectory of {TEST_FILES}"


def check_scripts(tree):
    """Shell scripts parse."""
    for name in tree.files:
        if not os.path.isfile(tree.path(name)) or name.startswith(BINARY_FOLDERS):
            continue
        first_line = tree.bytes(name)[:80].split(b"\n")[0]
        if not name.endswith((".sh", ".sbatch")) and not re.match(rb"#!.*\b(ba)?sh\b", first_line):
            continue
        result = subprocess.run(["bash", "-n", tree.path(name)], capture_output=True, text=True)
        if result.returncode != 0:
            yield f"{name}: {result.stderr.strip()}"


def check_listed(tree):
    """Every source file is built: it is in the CMakeLists.txt of its folder or one above."""
    patterns = []
    for name in tree.ending(("CMakeLists.txt", ".cmake")):
        folder = os.path.dirname(name)
        text = "\n".join(line.split("#")[0] for line in tree.lines(name))
        text = re.sub(r"\$\{(CMAKE_CURRENT_SOURCE_DIR|CMAKE_CURRENT_LIST_DIR)\}/", "", text)
        for token in re.findall(r'[^\s"()]+\.(?:cc|cu)\b', text):
            is_from_root = re.match(r"\$\{(PROJECT|CMAKE)_SOURCE_DIR\}/", token)
            path = token[is_from_root.end():] if is_from_root else os.path.join(folder, token)
            # ${name}_test.cc in a loop stands for any name.
            parts = re.split(r"\$\{[^}]*\}", os.path.normpath(path))
            patterns.append(re.compile("[^/]*".join(re.escape(part) for part in parts)))
    for name in tree.ending(SOURCES):
        if not any(pattern.fullmatch(name) for pattern in patterns):
            yield f"{name}: expected it in a CMakeLists.txt"


def check_definitions(tree):
    """No two files define a class or a function of one name in one namespace: a linker takes either for both."""
    first_of = {}
    for name in tree.ending(CXX):
        for defined, line in definitions("\n".join(tree.lines(name))):
            if "::" not in defined.partition("(")[0]:
                continue  # main, operator new and the like are a program's
            first, first_line = first_of.setdefault(defined, (name, line))
            if ALTERNATIVE.sub("", first) != ALTERNATIVE.sub("", name):
                yield (f"{name}:{line}: {defined}: {first}:{first_line} has another: expected one of them in a namespace "
                       "without a name, or with another name")


def check_format(tree):
    """C++ is formatted as .clang-format says."""
    tool = shutil.which("clang-format")
    if tool is None:
        raise Skip("clang-format is not installed")
    names = tree.ending(CXX)
    for begin in range(0, len(names), 50):
        paths = [tree.path(name) for name in names[begin:begin + 50]]
        result = subprocess.run([tool, "--dry-run", *paths], capture_output=True, text=True, cwd=tree.root)
        lines_of = {}
        for path, line in re.findall(r"^(.+?):(\d+):\d+: (?:warning|error)", result.stderr, re.M):
            lines_of.setdefault(os.path.relpath(path, tree.root), set()).add(int(line))
        for name, lines in sorted(lines_of.items()):
            yield f"{name}:{min(lines)}: expected it as clang-format writes it ({len(lines)} lines differ)"
        if result.returncode != 0 and not lines_of:
            yield f"clang-format fails: {result.stderr.strip()[:200]}"


CHECKS = {function.__name__.removeprefix("check_"): function
          for function in (check_includes, check_tree, check_headers, check_length, check_words, check_temporary,
                           check_scripts, check_listed, check_definitions, check_format)}


def main(arguments):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("check", nargs="*", help="any of: " + " ".join(CHECKS))
    parser.add_argument("--root", default=os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", ".."))
    parser.add_argument("--list", action="store_true", help="name the checks and what they expect")
    options = parser.parse_args(arguments)
    if options.list:
        for name, function in CHECKS.items():
            print(f"{name}: {function.__doc__}")
        return 0
    for name in options.check:
        if name not in CHECKS:
            parser.error(f"no check {name}, there are: {' '.join(CHECKS)}")

    if shutil.which("git") is None or not os.path.exists(os.path.join(options.root, ".git")):
        print("skipped: not a git checkout, so it is not known which files belong to the tree")
        return SKIPPED
    tree = Tree(options.root)
    num_violations, num_skipped = 0, 0
    chosen = options.check or list(CHECKS)
    for name in chosen:
        try:
            violations = list(CHECKS[name](tree))
        except Skip as skip:
            print(f"{name}: skipped: {skip}")
            num_skipped += 1
            continue
        for violation in violations:
            print(violation)
        print(f"{name}: {len(violations) or 'no'} violations")
        num_violations += len(violations)
    if num_violations:
        return 1
    return SKIPPED if num_skipped == len(chosen) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
