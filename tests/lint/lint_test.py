#!/usr/bin/env python3
"""Tests of lint.py: violations are planted in a temporary tree, and each must be caught, and nothing else."""
import contextlib
import io
import os
import re
import subprocess
import sys
import tempfile
import unittest
from unittest import mock

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import lint

HEADER = "// A header.\n#pragma once\n"

# A tree without violations, as path -> text.
GOOD = {
    "CMakeLists.txt": "project(x)\n",
    ".clang-format": "BasedOnStyle: Google\n",
    "kernels/core/status.h": HEADER,
    "kernels/core/status.cc": '#include "kernels/core/status.h"\n',
    "kernels/core/CMakeLists.txt": "library(core SOURCES status.cc)\n",
    "kernels/kv/cache.h": HEADER + '#include "kernels/core/status.h"\n',
    "kernels/norm/norm.h": HEADER + '#include "kernels/kv/cache.h"\n',
    "parallel/comm/comm.h": HEADER + '#include "kernels/norm/norm.h"\n',
    "runtime/engine/engine.h": HEADER + '#include "parallel/comm/comm.h"\n#include "runtime/engine/plan.pb.h"\n',
    "runtime/engine/plan.proto": "// A message.\n",
    "launcher/main.cc": '#include <vector>\n\n#include "runtime/engine/engine.h"\n',
    "launcher/CMakeLists.txt": "foreach(name main)\n  executable(${name} ${name}.cc)\nendforeach()\n",
    "tests/unit/engine_test.cc": '#include "launcher/main.cc"\n',
    "tests/CMakeLists.txt": "test(unit ${CMAKE_CURRENT_SOURCE_DIR}/unit/engine_test.cc)\n",
    "tests/run.sh": "#!/usr/bin/env bash\necho\n",
    "tests/data/large.bin": "\0" * 2_000_000,
}


def run(planted, arguments):
    """lint.py on the good tree with `planted` in it: exit code and what it printed."""
    with tempfile.TemporaryDirectory() as root:
        for name, text in {**GOOD, **planted}.items():
            path = os.path.join(root, name)
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, "w", encoding="utf-8") as file:
                file.write(text)
        for command in (["init", "-q"], ["add", "-A", "-f"]):
            subprocess.run(["git", "-C", root, *command], check=True)
        output = io.StringIO()
        with contextlib.redirect_stdout(output):
            code = lint.main([*arguments, "--root", root])
        return code, output.getvalue()


class LintTest(unittest.TestCase):
    def expect(self, check, planted, *violations):
        code, output = run(planted, [check])
        self.assertEqual(code, 1, output)
        for violation in violations:
            self.assertIn(violation, output)
        self.assertIn(f"{check}: {len(violations)} violations", output)

    def test_good_tree(self):
        for check in lint.CHECKS:
            code, output = run({}, [check])
            self.assertIn(code, (0, lint.SKIPPED if check == "format" else 0), output)

    def test_includes(self):
        def include(path):
            return f'{HEADER}#include "{path}"\n'
        for includer, included in [
            ("kernels/core/a.h", "parallel/comm/comm.h"), ("kernels/core/a.h", "runtime/engine/engine.h"),
            ("parallel/a.h", "runtime/engine/engine.h"), ("parallel/comm/a.h", "launcher/main.cc"),
            ("runtime/engine/a.h", "launcher/main.cc"), ("runtime/a.h", "tests/unit/engine_test.cc"),
            ("kernels/gemm/a.h", "kernels/norm/norm.h"), ("kernels/core/a.h", "kernels/kv/cache.h"),
            ("kernels/kv/a.h", "kernels/norm/norm.h"),
        ]:
            self.expect("includes", {includer: include(included)}, f"{includer}:3: #include {included}: ")
        self.expect("includes", {"kernels/core/a.h": include("status.h")}, "status.h: no such file")
        self.expect("includes", {"kernels/core/a.h": include("../core/status.h")}, "expected a path relative")
        self.expect("includes", {"kernels/core/a.h": HEADER + "#include <kernels/core/status.h>\n"}, "expected quotes")
        self.expect("includes", {"runtime/engine/a.h": include("runtime/engine/none.pb.h")}, "no such file")

    def test_tree(self):
        for name in ["build/x.txt", "kernels/a.o", "kernels/liba.a", "liba.so.1", "CMakeCache.txt",
                     "tests/__pycache__/x.txt", "runtime/x.pyc"]:
            code, output = run({name: "x"}, ["tree"])
            self.assertEqual(code, 1)
            self.assertIn(f"{name}: a product of a build", output)
        self.expect("tree", {"notes.md": "x"}, "notes.md: not expected at the top level")
        self.expect("tree", {"docs/x.md": "x"}, "docs/x.md: not expected at the top level")
        self.expect("tree", {"configs/x.txt": "x" * 1_000_001}, "configs/x.txt: 1000001 bytes")
        self.expect("tree", {"runtime/program": "\x7fELF\0"}, "runtime/program: a binary file")
        self.assertEqual(run({"tests/fuzz/corpus/x": "\0", "configs/quickstart/w": "\0" * 2_000_000}, ["tree"])[0], 0)

    def test_headers(self):
        self.expect("headers", {"runtime/a.h": "#pragma once\n"}, "runtime/a.h:1: expected an opening comment")
        self.expect("headers", {"runtime/a.h": "// A.\n"}, "runtime/a.h:1: expected #pragma once")
        self.expect("headers", {"runtime/a.h": ""}, "an opening comment", "#pragma once")

    def test_length(self):
        self.expect("length", {"runtime/a.cc": "\n" * 501}, "runtime/a.cc: 501 lines")
        self.assertEqual(run({"runtime/a.cc": "\n" * 500}, ["length"])[0], 0)
        self.assertEqual(run({"runtime/a.cc": "// Generated by x.py.\n" + "\n" * 600}, ["length"])[0], 0)

    def test_words(self):
        for word in ("TO" + "DO", "FIX" + "ME", "X" * 3):
            self.expect("words", {"runtime/a.cc": f"\n// {word}: later\n"}, f"runtime/a.cc:2: {word}")
        self.assertEqual(run({"tests/a.sh": "mktemp /tmp/" + "X" * 6}, ["words"])[0], 0)

    def test_temporary(self):
        for line in ('testing::TempDir() + "x"', "std::filesystem::temp_directory_path()"):
            self.expect("temporary", {"tests/unit/a.cc": f"\n{line};\n"}, "tests/unit/a.cc:2: expected TemporaryDirectory")
            self.assertEqual(run({"tests/files.h": line, "launcher/a.cc": line}, ["temporary"])[0], 0)

    def test_scripts(self):
        self.expect("scripts", {"tests/a.sh": "if true; then\n"}, "tests/a.sh: ")
        self.expect("scripts", {"slurm/a.sbatch": "for\n"}, "slurm/a.sbatch: ")
        self.expect("scripts", {"tests/a": "#!/bin/bash\nfi\n"}, "tests/a: ")

    def test_listed(self):
        self.expect("listed", {"runtime/lost.cc": ""}, "runtime/lost.cc: expected it in a CMakeLists.txt")
        self.expect("listed", {"kernels/core/x/status.cc": ""}, "kernels/core/x/status.cc")
        self.expect("listed", {"runtime/a.cu": "", "runtime/CMakeLists.txt": "# a.cu\n"}, "runtime/a.cu")

    def test_definitions(self):
        def within(text, namespace="namespace cohort {"):
            return f"{HEADER}{namespace}\n{text}\n}}\n"
        for text, name in [
            ("class A final : public B<int> {\n  int x_ = 0;\n};", "cohort::A"),
            ("template <typename T>\nstruct alignas(16) A {};", "cohort::A"),
            ("struct A { struct B {}; };", "cohort::A"),
            ("enum class A { kOne };", "cohort::A"),
            ("class C::A {};", "cohort::C::A"),
            ("std::vector<int> f(const A& a, int n) { return {}; }", "cohort::f(constA&a,intn)"),
            ("template <typename T>\nvoid f() {}", "cohort::f()"),
            ("bool operator==(A a, A b) { return true; }", "cohort::operator==(Aa,Ab)"),
        ]:
            planted = {"runtime/a/one.h": within(text), "launcher/two.cc": within("int x;\n" + text)}
            code, output = run(planted, ["definitions"])
            self.assertEqual(code, 1, output)
            self.assertRegex(output, rf"runtime/a/one.h:\d+: {re.escape(name)}: launcher/two.cc:\d+ has another")
        two_classes = {"runtime/one.cc": within("class A {};"), "runtime/two.cc": within("struct A { int x; };")}
        self.expect("definitions", two_classes, "runtime/two.cc:4: cohort::A: runtime/one.cc:4 has another")
        for one, two in [
            (within("class A {};", "namespace cohort { namespace {") + "}", within("class A {};")),
            (within("class A {};", "namespace cohort::cuda {"), within("class A {};")),
            (within("class A;\nvoid f(int);\nstatic int g() { return 1; }"),
             within("class A {};\nvoid f(int) {}\nstatic int g() { return 2; }")),
            (within("void f() { struct A {}; }"), within("void g() { struct A {}; }")),
            (within("template <>\nstruct A<int> {};"), within("template <>\nstruct A<char> {};")),
            (within("void f(int) {}"), within("void f(char) {}")),
            (within("class B { void f() {} };"), within("class C { void f() {} };")),
            (within("// class A {};"), within("/* { */ class A {};")),
            ("int main() {}", "int main() {}"),
        ]:
            code, output = run({"runtime/one.cc": one, "runtime/two.cc": two}, ["definitions"])
            self.assertEqual(code, 0, output)
        alternatives = {f"runtime/gemm_{end}": within("class A {};") for end in ("cuda.cu", "absent.cc")}
        self.assertEqual(run(alternatives, ["definitions"])[0], 0)

    @unittest.skipUnless(lint.shutil.which("clang-format"), "clang-format is not installed")
    def test_format(self):
        self.expect("format", {"runtime/a.cc": "int  a ;\n"}, "runtime/a.cc:1: expected it as clang-format")

    def test_format_is_skipped_with_its_reason(self):
        with mock.patch.object(lint.shutil, "which", lambda tool: None if tool == "clang-format" else tool):
            code, output = run({}, ["format"])
        self.assertEqual(code, lint.SKIPPED)
        self.assertIn("format: skipped: clang-format is not installed", output)

    def test_untracked_files_are_left_alone(self):
        self.assertEqual(lint.main(["--list"]), 0)
        with tempfile.TemporaryDirectory() as root:
            subprocess.run(["git", "-C", root, "init", "-q"], check=True)
            with open(os.path.join(root, "notes.md"), "w", encoding="utf-8") as file:
                file.write("x")
            self.assertEqual(lint.main(["tree", "--root", root]), 0)


if __name__ == "__main__":
    unittest.main()
