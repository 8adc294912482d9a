#!/usr/bin/env python3
"""`cohort bench scaling` over the ranks of mpirun: its numbers add up, and what cannot be is said before anything runs.

Run: scaling_test.py PATH_OF_COHORT [unittest arguments]
"""

import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import unittest
import xml.etree.ElementTree

ROOT = pathlib.Path(__file__).resolve().parents[2]
MODEL = ROOT / "configs/quickstart/model"
LAYOUTS = {"tp1": (1, 1), "tp2": (2, 1), "pp2": (1, 2), "tp4": (4, 1), "tp2pp2": (2, 2)}  # tensor, pipeline
BATCHES = (1, 3)
cohort = None


def run(num_ranks, *args):
    """Standard output, standard error and exit code of `cohort bench scaling ARGS` on so many ranks."""
    environment = os.environ | {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
    process = subprocess.run(
        ["mpirun", "--oversubscribe", "--bind-to", "none", "-np", str(num_ranks), cohort, "bench", "scaling",
         "--model", MODEL, "--device", "cpu", *map(str, args)],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=800, env=environment,
    )  # fmt: skip
    return process.stdout, process.stderr, process.returncode


@unittest.skipIf(shutil.which("mpirun") is None, "mpirun is not installed")
class Scaling(unittest.TestCase):
    def close(self, value, expected):
        self.assertAlmostEqual(value, expected, delta=1e-6 * max(abs(expected), 1e-3))

    def check_result(self, result, layout, config):
        batch = result["batch"]
        self.assertEqual(result["output_length"], 6)  # all prompts are computed in one step
        self.close(result["decode_tokens_per_second"] * result["step_ms"] / 1e3, batch)
        self.close(result["floor_share"] * result["step_ms"], result["floor_ms"])
        self.close(result["all_reduce_share"] * result["step_ms"], result["all_reduce_ms"])
        self.close(result["pipeline_share"] * result["step_ms"], result["pipeline_ms"])
        for name in ("all_reduce_share", "pipeline_share", "idle_share"):
            self.assertTrue(0 <= result[name] < 1, result)
        self.assertLessEqual(result["all_reduce_share"] + result["pipeline_share"], 1)
        self.assertEqual(result["all_reduce_share"] > 0, layout["tensor_parallel_size"] > 1)
        self.assertEqual(result["pipeline_share"] > 0, layout["pipeline_parallel_size"] > 1)
        for name in ("ttft_ms", "itl_ms"):
            self.assertTrue(0 < result[name]["p50"] <= result[name]["p99"], result)
        self.assertLessEqual(result["step_ms"], result["step_p99_ms"])
        self.assertLessEqual(result["ttft_ms"]["p99"], result["prefill_ms"])
        # Everything takes as long as the prefill and the steps after it.
        total_ms = batch * result["output_length"] * 1e3 / result["output_tokens_per_second"]
        self.assertGreater(total_ms, result["prefill_ms"])
        self.assertGreater(result["floor_ms"], 0)
        self.assertLessEqual(result["floor_together_ms"], result["floor_ms"] * (1 + 1e-9))

    def check_ranks(self, layout):
        tensor, pipeline = layout["tensor_parallel_size"], layout["pipeline_parallel_size"]
        places = [(rank["stage"], rank["shard"]) for rank in layout["ranks"]]
        self.assertEqual(places, [(stage, shard) for stage in range(pipeline) for shard in range(tensor)])
        for rank in layout["ranks"]:
            parts = ("weight_bytes", "cache_bytes", "activation_bytes", "graph_bytes", "library_bytes")
            self.assertEqual(sum(rank[part] for part in parts), rank["total_bytes"])
            self.assertGreater(rank["weight_bytes"], 0)
            self.assertGreater(rank["cache_bytes"], 0)
        start = layout["start_up_s"]
        self.assertGreaterEqual(start["total"], max(start["weights"], start["communicators"], start["graphs"]))
        # Each is of the rank that it took longest on.
        self.assertLessEqual(start["total"], start["weights"] + start["communicators"] + start["graphs"] + 1e-9)

    def check_series(self, series, layouts, batch_of):
        self.assertEqual([point["layout"] for point in series["points"]], list(LAYOUTS))
        first = series["points"][0]
        self.assertEqual((first["speed_up"], first["efficiency"], first["prefill_speed_up"]), (1, 1, 1))
        for point in series["points"]:
            self.assertEqual(point["batch"], batch_of(point["num_ranks"]))
            layout = layouts[point["layout"]]
            result = next(r for r in layout["results"] if r["batch"] == point["batch"])
            self.assertEqual(point["decode_tokens_per_second"], result["decode_tokens_per_second"])
            self.close(point["speed_up"] * first["decode_tokens_per_second"], point["decode_tokens_per_second"])
            self.close(point["efficiency"] * point["num_ranks"], point["speed_up"] * first["num_ranks"])

    def test_the_report_adds_up(self):
        with tempfile.TemporaryDirectory() as folder:
            svg = pathlib.Path(folder, "scaling.svg")
            out, err, code = run(4, "--layouts", ",".join(LAYOUTS), "--batch", "1,3", "--input-len", 20, "--output-len", 6,
                                 "--weak", "--quiet", "--json", "-", "--svg", svg)  # fmt: skip
            self.assertEqual(code, 0, err)
            picture = xml.etree.ElementTree.parse(svg).getroot()
        report = json.loads(out)
        self.assertEqual((report["num_ranks"], report["input_length"], report["output_length"]), (4, 20, 6))
        layouts = {layout["layout"]: layout for layout in report["layouts"]}
        self.assertEqual(list(layouts), list(LAYOUTS))
        config = json.loads((MODEL / "config.json").read_text())
        for name, layout in layouts.items():
            tensor, pipeline = LAYOUTS[name]
            with self.subTest(layout=name):
                self.assertEqual((layout["tensor_parallel_size"], layout["pipeline_parallel_size"]), (tensor, pipeline))
                self.assertEqual(layout["num_ranks"], tensor * pipeline)
                self.check_ranks(layout)
                wanted = set(BATCHES) | {batch * tensor * pipeline for batch in BATCHES}
                self.assertEqual([result["batch"] for result in layout["results"]], sorted(wanted))
                for result in layout["results"]:
                    self.check_result(result, layout, config)
        # A shard of two has half of what a shard of one has, but for what every shard has whole.
        weights = {name: max(r["weight_bytes"] for r in layouts[name]["ranks"]) for name in LAYOUTS}
        self.assertLess(weights["tp2"], 0.6 * weights["tp1"])
        self.assertLess(weights["tp2pp2"], 0.6 * weights["pp2"])
        # The same weights over more ranks that read together.
        self.assertEqual([series["batch"] for series in report["strong"]], list(BATCHES))
        self.assertEqual([series["batch_of_a_rank"] for series in report["weak"]], list(BATCHES))
        for series in report["strong"]:
            self.check_series(series, layouts, lambda _, batch=series["batch"]: batch)
        for series in report["weak"]:
            self.check_series(series, layouts, lambda n, batch=series["batch_of_a_rank"]: batch * n)
        texts = [text.text for text in picture.iter("{http://www.w3.org/2000/svg}text")]
        for name, (tensor, pipeline) in LAYOUTS.items():
            self.assertEqual(texts.count(f"{name} ({tensor * pipeline})"), 3)  # charts

    def test_table_and_files(self):
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder, "scaling.json")
            out, err, code = run(2, "--layouts", "tp2,pp1", "--input-len", 8, "--output-len", 4, "--json", path,
                                 "--weights", "random", "--tp", 2)  # fmt: skip
            self.assertEqual(code, 0, err)
            report = json.loads(path.read_text())
        # The first is what others are compared with, whatever its size, and the configuration's sizes do not count.
        self.assertEqual([layout["layout"] for layout in report["layouts"]], ["tp2", "tp1"])
        self.assertEqual(report["strong"][0]["points"][0]["speed_up"], 1)
        self.assertNotIn("weak", report)
        lines = out.splitlines()
        self.assertIn("random weights", lines[0])
        self.assertEqual([line.split()[0] for line in lines if line.startswith("tp")], ["tp2", "tp1"] * 2)
        self.assertIn("strong, batch 1:", lines[-1])

    def test_what_cannot_be_is_said_first(self):
        for layouts, expected in (
            ("tp1,tp4", "--layouts: tp4 needs 4 ranks, but there are 2: expected mpirun -np 4"),
            ("tp1,x2", '--layouts: "x2" is no layout; expected tensor and pipeline sizes, like tp4, pp2 or tp2pp2'),
            ("tp0", '"tp0" is no layout'),
            ("pp2tp1", '"pp2tp1" is no layout'),
            ("tp99999999999", '"tp99999999999" is no layout'),
            ("tp2,pp2,tp2pp1", "--layouts: tp2 is there twice, once as tp2pp1"),
        ):
            with self.subTest(layouts=layouts):
                _, err, code = run(2, "--layouts", layouts)
                self.assertEqual(code, 2, err)
                self.assertIn(expected, " ".join(err.split()))
                self.assertEqual(err.count("cohort: "), 1, err)

    def test_layouts_that_the_model_cannot_have(self):
        # tp1 could run, but nothing is loaded before all layouts are known to be possible.
        _, err, code = run(3, "--layouts", "tp1,tp3")
        self.assertEqual(code, 2, err)
        self.assertRegex(err, r"--layouts: tp3: .*3 shards cannot split this model evenly.*expected one of 1, 2, 4")
        self.assertNotIn("read", err)
        _, err, code = run(2, "--layouts", "tp1,tp2", "--input-len", 100000)
        self.assertEqual(code, 1, err)
        self.assertIn("leave no room for output", err)
        _, err, code = run(2, "--layouts", "tp1", "--json", "/no/such/folder/report.json")
        self.assertEqual(code, 1, err)
        self.assertIn("/no/such/folder/report.json: No such file", err)
        self.assertNotIn("read", err)

    def test_dry_run_shows_every_layout(self):
        out, err, code = run(2, "--layouts", "tp2,tp1,pp2", "--dry-run")
        self.assertEqual(code, 0, err)
        self.assertEqual([line for line in out.splitlines() if line.endswith(":")], ["tp2:", "tp1:", "pp2:"])
        self.assertEqual(len(out.splitlines()), 3 + 3 + 2 + 1 + 2)


if __name__ == "__main__":
    cohort = sys.argv.pop(1)
    unittest.main()
