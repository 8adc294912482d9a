#!/usr/bin/env python3
"""`cohort generate` over several hosts and under Slurm gives the bytes that one rank gives; `bench scaling` as a job.

Run: cluster_test.py PATH_OF_COHORT [unittest arguments]. Exit code 77 where hosts and Slurm cannot be had.
"""

import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time
import unittest

import job
from job import MODEL, ROOT, Job

cohort = None
PROMPTS = ("In the beginning God created", "And", "Speak, speak.")
LAYOUTS = ((2, 1), (1, 2), (2, 2))  # tensor, pipeline


def flags(tensor=1, pipeline=1, dtype="float32"):
    """Everything that may differ, is asked for: ids, probabilities to the last digit, text."""
    words = ["generate", "--model", MODEL, "--dtype", dtype, "--tp", tensor, "--pp", pipeline, "--num-blocks", 64]
    words += ["--max-tokens", 32, "--json", "--top-logprobs", 5, "--quiet"]
    return words + [word for prompt in PROMPTS for word in ("--prompt", prompt)]


class Layouts(job.PlacedTest):
    """Each subclass prepares a place and calls same()."""

    maxDiff = 2000

    @classmethod
    def prepare(cls, make_place):
        super().prepare(make_place)
        cls.expected = {}
        for dtype in ("float32", "bfloat16"):
            one = subprocess.run([cohort, *map(str, flags(dtype=dtype))], capture_output=True, text=True, timeout=120)
            if one.returncode != 0 or len(one.stdout.splitlines()) != len(PROMPTS):
                raise AssertionError(f"one rank: code {one.returncode}, {one.stderr}")
            cls.expected[dtype] = one.stdout

    def same(self, command, dtype):
        with Job(command, self.place.variables, cwd=ROOT) as running:
            code = running.wait()
            self.assertEqual(code, 0, running.err)
            self.assertEqual(running.out, self.expected[dtype])


class Hosts(Layouts):
    @classmethod
    def setUpClass(cls):
        cls.prepare(job.TwoHosts)

    def test_every_layout_and_dtype(self):
        self.assertNotEqual(self.expected["float32"], self.expected["bfloat16"])
        for tensor, pipeline in LAYOUTS:
            for dtype in self.expected:
                with self.subTest(tensor=tensor, pipeline=pipeline, dtype=dtype):
                    self.same(self.place.command(tensor * pipeline, cohort, *flags(tensor, pipeline, dtype)), dtype)

    def test_slow_link(self):
        place = job.TwoHosts()  # its own, since the link stays slow
        self.addCleanup(place.close)
        for host in place.hosts:
            place.link("slow", host, "5mbit")
        self.same(place.command(2, cohort, *flags(2, 1)), "float32")


class Slurm(Layouts):
    @classmethod
    def setUpClass(cls):
        cls.prepare(job.Slurm)

    def test_srun_a_rank_a_node(self):
        for tensor, pipeline in LAYOUTS:
            with self.subTest(tensor=tensor, pipeline=pipeline):
                self.same(self.place.command(tensor * pipeline, cohort, *flags(tensor, pipeline)), "float32")

    def test_srun_two_ranks_a_node(self):
        # On one node only: Open MPI names shared memory by host, and here all nodes are one host.
        self.same(["srun", "-N1", "-n2", "--mpi=pmix", "-K1", cohort, *flags(2, 1)], "float32")

    def test_mpirun_in_an_allocation(self):
        self.same(["salloc", "-N2", "-n2", job.MPIRUN, "-np", 2, cohort, *flags(2, 1)], "float32")

    def batch(self, script, *words, variables=None):
        """Exit code and output of a script of slurm/."""
        with tempfile.NamedTemporaryFile() as output:
            environment = os.environ | self.place.variables | {"COHORT": cohort} | (variables or {})

            def ask(*command):
                return subprocess.check_output(map(str, command), env=environment, cwd=ROOT, text=True, timeout=60)

            job_flags = ("--parsable", "-N4", "-n4", f"--output={output.name}")
            number = ask("sbatch", *job_flags, f"slurm/{script}", *words)
            # sbatch --wait looks every ten seconds.
            end = time.monotonic() + 200
            while time.monotonic() < end:
                shown = ask("scontrol", "show", "job", number.strip())
                facts = dict(word.partition("=")[::2] for word in shown.split())
                if facts["JobState"] not in ("PENDING", "RUNNING", "COMPLETING"):
                    return int(facts["ExitCode"].split(":")[0]), pathlib.Path(output.name).read_text()
                time.sleep(0.1)
            raise AssertionError(f"the job does not end: {facts}")

    def test_sbatch(self):
        code, output = self.batch("generate.sbatch", *flags(2, 2)[1:])
        self.assertEqual(code, 0, output)
        self.assertEqual(output, self.expected["float32"])
        # With the layout from a file; the one of a flag then does not fit the four tasks.
        from_file = ("--config", "configs/quickstart-tp2-pp2.yaml", "--prompt", "And")
        code, output = self.batch("generate.sbatch", *from_file, "--max-tokens", 4)
        self.assertEqual(code, 0, output)
        code, output = self.batch("generate.sbatch", *from_file, "--pp", 1)
        self.assertNotEqual(code, 0, output)
        self.assertIn("needs 2 ranks", output)

    def test_sbatch_scaling(self):
        with tempfile.TemporaryDirectory() as folder:
            report = pathlib.Path(folder, "report")
            words = ("--model", MODEL, "--layouts", "tp1,tp2pp2", "--input-len", 8, "--output-len", 4, "--quiet")
            code, output = self.batch("scaling.sbatch", *words, variables={"REPORT": str(report)})
            self.assertEqual(code, 0, output)
            self.assertIn("strong, batch 1:", output)
            layouts = json.loads(report.with_suffix(".json").read_text())["layouts"]
            self.assertIn("tp2pp2 (4)", report.with_suffix(".svg").read_text())
        self.assertEqual([[rank["stage"] for rank in layout["ranks"]] for layout in layouts], [[0], [0, 0, 1, 1]])


if __name__ == "__main__":
    cohort = str(pathlib.Path(sys.argv.pop(1)).resolve())
    job.main()
