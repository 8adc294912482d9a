#!/usr/bin/env python3
"""`cohort config` as a user runs it.

Run: config_cli_test.py PATH_OF_COHORT [unittest arguments]
"""

import os
import pathlib
import subprocess
import sys
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
cohort = None


def run(*args, **environment):
    """Standard output, standard error and exit code of `cohort config ARGS` with no COHORT_ variables but these."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("COHORT_")}
    process = subprocess.run(
        [cohort, "config", *map(str, args)],
        env=kept | environment, cwd=ROOT, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    return process.stdout, process.stderr, process.returncode


class Config(unittest.TestCase):
    def ok(self, *args, **environment):
        out, err, code = run(*args, **environment)
        self.assertEqual(code, 0, err)
        return out

    def fails(self, expected_code, *args, **environment):
        out, err, code = run(*args, **environment)
        self.assertEqual(code, expected_code, err)
        self.assertEqual(out, "")
        return err

    def test_show_says_where_each_value_came_from(self):
        flags = ("--config", "configs/quickstart-tp2-pp2.yaml", "--tp", 4)
        lines = self.ok("show", *flags, COHORT_MAX_SEQS="8").splitlines()
        for line in (
            '  path: "configs/quickstart/model"  # configs/quickstart-tp2-pp2.yaml:4',
            "  tensor_parallel_size: 4  # --tensor-parallel-size",
            "  max_seqs: 8  # COHORT_MAX_SEQS",
            "  block_size: 16  # default",
        ):
            self.assertIn(line, lines)

    def test_show_can_be_shown_again(self):
        def values(text):
            return [line.split("  #")[0] for line in text.splitlines()]

        first = self.ok("show", "--tp", 2, "--model", "a b", "--cache-memory-fraction", 0.5, "--log-level", "debug")
        with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
            file.write(first)
            file.flush()
            self.assertEqual(values(self.ok("show", "--config", file.name)), values(first))

    def test_schema_is_the_file(self):
        self.assertEqual(self.ok("schema"), (ROOT / "configs/config.schema.json").read_text())

    def test_help_has_every_section(self):
        text = self.ok("show", "--help")
        for word in ("--config", "--print-config", "--dry-run", "Parallel:", "--tensor-parallel-size,--tp", "Health:",
                     "--heartbeat-timeout-ms", "Port of the HTTP server"):  # fmt: skip
            self.assertIn(word, text)

    def test_flags_that_cannot_be_are_exit_2(self):
        for args, message in [
            (("--tp", "0"), "--tensor-parallel-size: expected 1 to 65536, got 0"),
            (("--tp", "2", "--tensor-parallel-size", "2"), "--tensor-parallel-size: given twice, expected once"),
            (("--threads", "-1"), "--threads: expected 0 to 4096, got -1"),
            (("--block-size", "many"), '--block-size: expected an integer, got "many"'),
            (("--weights", "none"), '--weights: expected checkpoint or random, got "none"'),
            (("--config", "a", "--config", "b"), "--config: given twice, expected once"),
            (("--no-such-flag",), "--no-such-flag"),
        ]:
            self.assertIn(message, self.fails(2, "show", *args))
        self.assertIn("subcommand", self.fails(2))

    def test_files_and_variables_that_cannot_be_are_exit_2(self):
        self.assertEqual(self.fails(2, "show", "--config", "/no.yaml"), "cohort: /no.yaml: no such file\n")
        message = "cohort: COHORT_BLOK_SIZE: unknown variable, did you mean COHORT_BLOCK_SIZE?\n"
        self.assertEqual(self.fails(2, "show", COHORT_BLOK_SIZE="2"), message)
        with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
            file.write("cache:\n  block_size: 2\n  block_size: 3\n")
            file.flush()
            message = f"cohort: {file.name}:3: cache.block_size: duplicate key, first on line 2\n"
            self.assertEqual(self.fails(2, "show", "--config", file.name), message)


if __name__ == "__main__":
    cohort = sys.argv.pop(1)
    unittest.main()
