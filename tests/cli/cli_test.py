#!/usr/bin/env python3
"""The `cohort` program as a user runs it: outputs, exit codes, and what it says of mistakes.

Run: cli_test.py PATH_OF_COHORT [unittest arguments]
"""

import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
MODEL = ROOT / "configs/quickstart/model"
DRAFT = ROOT / "configs/quickstart/draft"
RESTORER = ROOT / "configs/restorer"
GOLDEN = ROOT / "tests/data/golden"
PROMPT = "In the beginning God created"
cohort = None


def run(*args, stdin=""):
    """Standard output, standard error and exit code of `cohort ARGS`."""
    process = subprocess.run([cohort, *map(str, args)], input=stdin.encode(), capture_output=True, timeout=120)
    return process.stdout.decode(), process.stderr.decode(), process.returncode


class Generate(unittest.TestCase):
    def ok(self, *args, **kwargs):
        out, err, code = run("generate", *args, **kwargs)
        self.assertEqual(code, 0, err)
        return out, err

    def test_the_quickstart_sentence_in_both_dtypes(self):
        for dtype in ("float32", "bfloat16"):
            out, err = self.ok("--model", MODEL, "--prompt", PROMPT, "--max-tokens", 16, "--dtype", dtype)
            self.assertTrue(out.startswith(" the heaven and the earth"), out)
            for word in ("load", "TTFT", "tokens/s"):
                self.assertIn(word, err)

    def test_json_is_a_line_a_prompt_in_their_order(self):
        prompts = [PROMPT, "And", "Speak, speak."]
        flags = [flag for p in prompts for flag in ("--prompt", p)]
        out, _ = self.ok("--model", MODEL, *flags, "--max-tokens", 5, "--json", "--top-logprobs", 3)
        lines = [json.loads(line) for line in out.splitlines()]
        self.assertEqual(len(lines), 3)
        for line in lines:
            self.assertEqual(list(line), ["prompt_ids", "token_ids", "text", "finish_reason", "top_logprobs"])
            self.assertEqual(len(line["top_logprobs"]), len(line["token_ids"]))
            for step, token in zip(line["top_logprobs"], line["token_ids"]):
                self.assertEqual(step[0]["id"], token)  # greedy takes the first
                self.assertEqual(len(step), 3)
                self.assertEqual(sorted(step, key=lambda t: -t["logprob"]), step)
        self.assertTrue(lines[0]["text"].startswith(" the heaven"))
        self.assertEqual(lines[0]["finish_reason"], "length")
        text, _ = self.ok("--model", MODEL, *flags, "--max-tokens", 5)
        self.assertEqual(text, "".join(line["text"] + "\n" for line in lines))

    def test_prompts_file_and_ids_are_the_same_prompts(self):
        with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
            file.write(f"{PROMPT}\nAnd the king said\n")
            file.flush()
            from_file, _ = self.ok("--model", MODEL, "--prompts-file", file.name, "--max-tokens", 8, "--json")
        from_stdin, _ = self.ok(
            "--model", MODEL, "--prompts-file", "-", "--max-tokens", 8, "--json", stdin=f"{PROMPT}\nAnd the king said"
        )
        self.assertEqual(from_stdin, from_file)
        ids = json.loads(from_file.splitlines()[0])["prompt_ids"]
        from_ids, _ = self.ok(
            "--model", MODEL, "--prompt-ids", ",".join(map(str, ids)), "--max-tokens", 8, "--json"
        )
        self.assertEqual(from_ids.splitlines()[0], from_file.splitlines()[0])

    def test_seeds_reproduce_and_differ(self):
        def draw(seed):
            return self.ok("--model", MODEL, "--prompt", PROMPT, "--temperature", 1.2, "--seed", seed, "--max-tokens", 24)[0]

        self.assertEqual(draw(1), draw(1))
        self.assertNotEqual(draw(1), draw(2))
        top1, _ = self.ok("--model", MODEL, "--prompt", PROMPT, "--temperature", 1.2, "--top-k", 1, "--max-tokens", 24)
        greedy, _ = self.ok("--model", MODEL, "--prompt", PROMPT, "--max-tokens", 24)
        self.assertEqual(top1, greedy)

    def test_ignore_eos_goes_on_to_max_tokens(self):
        out, _ = self.ok("--model", MODEL, "--prompt", PROMPT, "--max-tokens", 300, "--ignore-eos", "--json")
        self.assertEqual(len(json.loads(out)["token_ids"]), 300)

    def test_what_transformers_computes(self):
        for model in (MODEL, DRAFT):
            expected = json.loads((ROOT / f"tests/data/quickstart/{model.name}.json").read_text())
            flags = [flag for p in expected["prompts"] for flag in ("--prompt", p["text"])]
            out, _ = self.ok(
                "--model", model, *flags, "--max-tokens", 32, "--dtype", "float32", "--ignore-eos", "--json",
                "--top-logprobs", 5,
            )  # fmt: skip
            for line, wanted in zip(map(json.loads, out.splitlines()), expected["prompts"], strict=True):
                self.assertEqual(line["prompt_ids"], wanted["ids"])
                self.assertEqual(line["token_ids"], wanted["greedy_ids"])
                for step, wanted_step in zip(line["top_logprobs"], wanted["top5"], strict=True):
                    actual = {t["id"]: t["logprob"] for t in step}
                    for token, logprob in wanted_step:
                        self.assertAlmostEqual(actual[token], logprob, delta=1e-3)
            for case in expected["tokenizer"]:
                out, err, code = run("tokenize", "--model", model, "--file", "-", "--json", "--no-special-tokens", "--parse-special", stdin=case["text"])
                self.assertEqual(code, 0, err)
                self.assertEqual(json.loads(out)["ids"], case["ids"])

    def test_an_encoder_decoder_answers_its_source(self):
        flags = ["--model", RESTORER, "--prompt", "Th swftr spd th bttr.", "--dtype", "float32", "--max-tokens", 64]
        line = json.loads(self.ok(*flags, "--json")[0])
        self.assertEqual(line["text"], "The swifter speed the better.")
        self.assertEqual(line["finish_reason"], "stop")

    def test_random_weights_need_config_json_alone(self):
        with tempfile.TemporaryDirectory() as name:
            shutil.copy(MODEL / "config.json", name)
            args = ("--model", name, "--weights", "random", "--prompt-ids", "1,2,3", "--max-tokens", 4, "--json")
            first, _ = self.ok(*args, "--random-seed", 3)
            self.assertEqual(first, self.ok(*args, "--random-seed", 3)[0])
            self.assertNotEqual(first, self.ok(*args, "--random-seed", 4)[0])
            self.assertIsNone(json.loads(first)["text"])

    def test_every_kind_of_tokenizer_file_makes_text(self):
        tokenizer = json.loads((MODEL / "tokenizer.json").read_text())["model"]
        merges = [merge if isinstance(merge, str) else " ".join(merge) for merge in tokenizer["merges"]]
        with tempfile.TemporaryDirectory() as name:
            folder = pathlib.Path(name)
            shutil.copy(MODEL / "config.json", name)
            (folder / "vocab.json").write_text(json.dumps(tokenizer["vocab"]))
            (folder / "merges.txt").write_text("\n".join(merges))
            (folder / "tokenizer_config.json").write_text('{"tokenizer_class": "GPT2Tokenizer"}')
            args = ("--model", name, "--weights", "random", "--prompt-ids", "1,2,3", "--max-tokens", 4, "--json")
            self.assertIsInstance(json.loads(self.ok(*args)[0])["text"], str)

    def test_threads_do_not_change_logprobs(self):
        args = ("--model", MODEL, "--prompt", PROMPT, "--max-tokens", 8, "--json", "--top-logprobs", 20)
        self.assertEqual(self.ok(*args, "--threads", 1)[0], self.ok(*args, "--threads", 3)[0])


class Mistakes(unittest.TestCase):
    def fails(self, code, *args):
        out, err, actual = run(*args)
        self.assertEqual(actual, code, err)
        self.assertEqual(out, "")
        return err

    def test_bad_flags_are_exit_2_and_named(self):
        prompt = ("generate", "--model", MODEL, "--prompt", "x")
        for args, names in [
            (("generate", "--prompt", "x"), ["--model"]),
            (("generate", "--model", MODEL), ["--prompt"]),
            ((*prompt, "--dtype", "int3"), ["--dtype", "int3", "bfloat16"]),
            ((*prompt, "--device", "tpu"), ["--device", "tpu", "cuda"]),
            ((*prompt, "--max-tokens", "many"), ["--max-tokens", "many"]),
            ((*prompt, "--max-tokens", 0), ["--max-tokens", "at least 1"]),
            ((*prompt, "--temperature", -1), ["--temperature"]),
            ((*prompt, "--temperature", "nan"), ["--temperature"]),
            ((*prompt, "--top-p", 1.5), ["--top-p"]),
            ((*prompt, "--top-k", -3), ["--top-k"]),
            ((*prompt, "--repetition-penalty", 0), ["--repetition-penalty"]),
            (("generate", "--model", MODEL, "--prompt-ids", "1,x"), ["--prompt-ids", '"x"']),
            (("generate", "--model", MODEL, "--prompt-ids", "99999"), ["--prompt", "99999"]),
            ((*prompt, "--max-model-len", -1), ["--max-model-len"]),
            (("generate", "--model", MODEL, "--prompt-ids", "1,2,3", "--max-model-len", 3), ["--prompt", "longest", "3"]),
            ((*prompt, "--no-such-flag"), ["--no-such-flag"]),
            (("bench", "serve", "--extra-body", '{"max_tokens": 5}'), ["--extra-body", "max_tokens"]),
            (("bench", "serve", "--ignore-eos", "--extra-body", '{"ignore_eos": true}'), ["--extra-body", "ignore_eos"]),
            (("fly",), ["fly"]),
            ((), ["subcommand"]),
        ]:
            err = self.fails(2, *args)
            for name in names:
                self.assertIn(name, err, args)

    def test_broken_models_are_exit_1_and_named(self):
        self.assertIn("/nowhere", self.fails(1, "generate", "--model", "/nowhere", "--prompt", "x"))
        self.assertIn("/nowhere", self.fails(1, "inspect", "/nowhere"))
        err = self.fails(1, "generate", "--model", MODEL, "--prompt", "x", "--max-model-len", 4096)
        self.assertIn("model.max_model_len: expected at most 2048", err)
        with tempfile.TemporaryDirectory() as name:
            model = pathlib.Path(name) / "model"
            shutil.copytree(MODEL, model)
            weights = model / "model.safetensors"
            whole = weights.read_bytes()
            weights.write_bytes(whole[: len(whole) // 2])
            err = self.fails(1, "generate", "--model", model, "--prompt", "x")
            self.assertIn("model.safetensors", err)
            weights.write_bytes(b"\xff" * 8 + whole[8:])
            self.assertIn("model.safetensors", self.fails(1, "inspect", model))
            weights.write_bytes(whole)
            (model / "config.json").write_text("{")
            self.assertIn("config.json", self.fails(1, "inspect", model))
            shutil.copy(MODEL / "config.json", model)
            (model / "tokenizer.json").write_text('{"model": {"type": "Unknown"}}')
            err = self.fails(1, "generate", "--model", model, "--prompt", "x")
            self.assertIn("tokenizer.json", err)
        self.assertIn("/no/prompts", self.fails(1, "generate", "--model", MODEL, "--prompts-file", "/no/prompts"))

    def test_a_folder_where_a_file_is_wanted_is_named(self):
        with tempfile.TemporaryDirectory() as name:
            for args in [
                ("generate", "--model", MODEL, "--prompts-file", name),
                ("tokenize", "--model", MODEL, "--file", name),
                ("encode", "--model", ROOT / "configs/classifier", "--texts-file", name),
                ("serve", "--model", MODEL, "--server-port", 0, "--api-key-file", name),
                ("serve", "--model", MODEL, "--server-port", 0, "--chat-template", name),
            ]:
                self.assertIn(name, self.fails(1, *args), args)

    def test_a_gateway_says_what_it_cannot_do(self):
        with tempfile.TemporaryDirectory() as name:
            link = ("--link", f"{name}/engine.sock")
            self.assertIn("--model", self.fails(2, "gateway", *link))
            self.assertIn("--link", self.fails(2, "gateway", "--model", MODEL))
            self.assertIn("/nowhere", self.fails(1, "gateway", "--model", "/nowhere", *link))
            config = pathlib.Path(name) / "cohort.yaml"
            config.write_text("server:\n  prot: 80\n")
            self.assertIn(f"{config}:2", self.fails(2, "gateway", "--config", config))
            long_link = f"{name}/{'x' * 150}"
            args = ("gateway", "--model", MODEL, "--server-port", 0, "--link")
            self.assertIn(long_link, self.fails(1, *args, long_link))
            dry = (*args, link[1], "--dry-run")
            self.assertEqual(run(*dry), ("", "", 0))
            self.assertIn("/no/keys", self.fails(1, *dry, "--api-key-file", "/no/keys"))

    def test_a_model_that_does_not_fit_is_refused_at_once(self):
        with tempfile.TemporaryDirectory() as name:
            config = json.loads((MODEL / "config.json").read_text())
            config |= {"hidden_size": 1 << 20, "num_hidden_layers": 1000, "intermediate_size": 1 << 22}
            (pathlib.Path(name) / "config.json").write_text(json.dumps(config))
            err = self.fails(1, "generate", "--model", name, "--weights", "random", "--prompt-ids", "1")
            self.assertIn("GB", err)
            self.assertIn("bfloat16", err)

    def test_output_that_cannot_be_written(self):
        with open("/dev/full", "w") as full:
            process = subprocess.run(
                [cohort, "generate", "--model", str(MODEL), "--prompt", PROMPT],
                stdout=full, stderr=subprocess.PIPE, timeout=60,
            )  # fmt: skip
        self.assertEqual(process.returncode, 1)
        self.assertIn(b"standard output", process.stderr)


class Others(unittest.TestCase):
    def ok(self, *args, **kwargs):
        out, err, code = run(*args, **kwargs)
        self.assertEqual(code, 0, err)
        return out

    def test_tokenize_there_and_back(self):
        text = "Thou shalt not — 日本語 🎉 <|end_of_text|>"
        ids = self.ok("tokenize", "--model", MODEL, "--text", text, "--no-special-tokens").split()
        back = self.ok("tokenize", "--model", MODEL, "--decode", "--file", "-", stdin=" ".join(ids))
        self.assertEqual(back, text + "\n")
        as_json = json.loads(self.ok("tokenize", "--model", MODEL, "--file", "-", "--json", stdin=text))
        self.assertEqual([str(i) for i in as_json["ids"]][-len(ids) :], ids)
        self.assertEqual(len(as_json["tokens"]), len(as_json["ids"]))
        special = self.ok("tokenize", "--model", MODEL, "--text", text, "--no-special-tokens", "--parse-special").split()
        self.assertLess(len(special), len(ids))

    def test_inspect(self):
        facts = json.loads(self.ok("inspect", MODEL, "--json"))
        config = json.loads((MODEL / "config.json").read_text())
        self.assertEqual(facts["family"], "llama")
        self.assertEqual(facts["spec"]["hidden"], config["hidden_size"])
        self.assertEqual(facts["checkpoint"]["bytes_per_dtype"]["BF16"], facts["weight_bytes"]["bfloat16"])
        self.assertEqual(
            facts["kv_bytes_per_token"]["float32"],
            config["num_hidden_layers"] * 2 * config["num_key_value_heads"] * facts["spec"]["head_dim"] * 4,
        )
        self.assertIn("parameters", self.ok("inspect", MODEL))
        for golden in sorted(GOLDEN.iterdir()):
            self.ok("inspect", golden)

    def test_bench_kernels_measures_a_models_operations(self):
        flags = ("bench", "kernels", "--model", MODEL, "--tp", 2, "--device", "cpu", "--dtype", "float32",
                 "--batch", "1,3", "--context", "20,40", "--prompt", 16)  # fmt: skip
        report = json.loads(self.ok(*flags, "--json"))
        self.assertEqual(report["device"]["kind"], "cpu")
        self.assertEqual(report["tensor_parallel_size"], 2)
        self.assertRegex(report["build"], r"^\d+\.\d+\S* \(.+\)$")
        self.assertGreater(report["ceilings"]["copy_gbps"], 0)
        self.assertGreater(report["ceilings"]["product_tflops"], 0)
        loads = {}
        for result in report["results"]:
            self.assertGreater(result["median_us"], 0)
            self.assertGreater(result["percent_of_ceiling"], 0)
            load = (result["sequences"], result["queries"], result["context"])
            loads.setdefault(result["operation"], []).append(load)
        self.assertEqual(loads["norm"], [(1, 1, 20), (3, 1, 20), (1, 16, 16)])
        self.assertEqual(loads["attention"], [(1, 1, 20), (1, 1, 40), (3, 1, 20), (3, 1, 40), (1, 16, 16)])
        self.assertEqual(len(loads), 15)
        self.assertNotIn("experts", loads)
        table = self.ok(*flags, "--operations", "norm,activation").splitlines()
        self.assertIn("tensor parallel 2, float32", table[0])
        self.assertEqual([line.split()[0] for line in table[4:]], ["norm"] * 3 + ["activation"] * 3)

    def test_bench_kernels_of_experts(self):
        flags = ("bench", "kernels", "--model", GOLDEN / "mixtral", "--device", "cpu", "--batch", "1,5",
                 "--prompt", 64)  # fmt: skip
        report = json.loads(self.ok(*flags, "--operations", "router,experts", "--json"))
        experts = [result for result in report["results"] if result["operation"] == "experts"]
        config = json.loads((GOLDEN / "mixtral/config.json").read_text())
        num_experts, per_token = config["num_local_experts"], config["num_experts_per_tok"]
        sizes = f"x {config['hidden_size']} x {config['intermediate_size']}"
        self.assertEqual(experts[0]["sizes"], f"1 to {per_token} of {num_experts} {sizes}")
        self.assertEqual(experts[2]["sizes"], f"64 to {num_experts} of {num_experts} {sizes}")
        for result in experts:
            flops = 6 * config["hidden_size"] * config["intermediate_size"] * per_token
            flops *= result["sequences"] * result["queries"]
            self.assertAlmostEqual(result["tflops"] * result["median_us"] * 1e6 / flops, 1, delta=0.01)
        _, err, code = run(*flags, "--operations", "mlp_up")
        self.assertEqual(code, 2)
        self.assertIn("mlp_up", err)

    def test_bench_latency_measures_each_batch(self):
        flags = ("bench", "latency", "--model", MODEL, "--weights", "random", "--device", "cpu", "--batch", "1,3",
                 "--input-len", 20, "--output-len", 5)  # fmt: skip
        report = json.loads(self.ok(*flags, "--json"))
        self.assertEqual((report["input_length"], report["output_length"]), (20, 5))
        self.assertEqual(report["weights"], "random")
        self.assertRegex(report["build"], r"^\d+\.\d+\S* \(.+\)$")
        self.assertEqual([r["batch"] for r in report["results"]], [1, 3])
        for result in report["results"]:
            self.assertGreater(result["prefill_ms"], 0)
            self.assertGreater(result["step_ms"], 0)
            self.assertGreaterEqual(result["step_p99_ms"], result["step_ms"])
            self.assertGreater(result["device_ms"], 0)
            self.assertGreater(result["floor_ms"], 0)
            self.assertTrue(0 <= result["idle_share"] < 1, result)
        # More sequences read as many weights and more cache.
        self.assertGreater(report["results"][1]["floor_ms"], report["results"][0]["floor_ms"])
        table = self.ok(*flags).splitlines()
        self.assertIn("random weights", table[0])
        self.assertEqual([line.split()[0] for line in table[2:]], ["batch", "1", "3"])

    def test_bench_throughput_counts_tokens(self):
        flags = ("bench", "throughput", "--model", MODEL, "--device", "cpu", "--num-prompts", 6, "--input-len", 9,
                 "--output-len", 4, "--max-seqs", 4)  # fmt: skip
        report = json.loads(self.ok(*flags, "--json"))
        self.assertEqual((report["num_prompts"], report["max_seqs"]), (6, 4))
        self.assertAlmostEqual(report["requests_per_second"] * report["seconds"], 6)
        self.assertAlmostEqual(report["output_tokens_per_second"] * report["seconds"], 6 * 4)
        self.assertAlmostEqual(report["total_tokens_per_second"] * report["seconds"], 6 * (9 + 4))
        self.assertIn("6 prompts of 9 tokens in, 4 out, 4 at once", self.ok(*flags))

    def test_a_bench_that_cannot_write_its_report_does_not_begin(self):
        for flag in ("--save-json", "--svg"):
            _, err, code = run("bench", "serve", "--request-rate", 1, flag, "/no/such/folder/report")
            self.assertEqual(code, 1)
            self.assertIn("/no/such/folder/report", err)

    def test_bench_refuses_what_does_not_fit_the_model(self):
        _, err, code = run("bench", "latency", "--model", MODEL, "--input-len", 100000)
        self.assertEqual(code, 1)
        self.assertIn("100000 tokens leave no room for output", err)
        _, err, code = run("bench", "throughput")
        self.assertEqual(code, 2)
        self.assertIn("--model", err)

    def test_help_version_and_completion(self):
        for command in ((), ("generate",), ("tokenize",), ("inspect",), ("completion",)):
            self.assertIn("--help", self.ok(*command, "--help"))
        self.assertRegex(self.ok("--version"), r"^\d+\.\d+")
        script = self.ok("completion", "bash")
        self.assertIn("--max-tokens", script)
        for words, expected in [
            (["gen"], ["generate"]),
            (["generate", "--max-t"], ["--max-tokens", "--max-tokens-per-step"]),
            (["generate", "--model", ".", "--prompt-"], ["--prompt-ids"]),
            (["bench", "s"], ["scaling", "serve"]),
            (["bench", "serve", "--good"], ["--goodput"]),
            (["bench", "serve", "--quiet", "--lay"], []),
            (["config", "show", "--tp"], ["--tp"]),
        ]:
            line = f"COMP_WORDS=(cohort {' '.join(words)}); COMP_CWORD={len(words)}; _cohort; echo ${{COMPREPLY[@]}}"
            completed = subprocess.run(["bash", "-c", f"{script}\n{line}"], capture_output=True, text=True, check=True)
            self.assertEqual(sorted(completed.stdout.split()), expected, words)


@unittest.skipIf(shutil.which("mpirun") is None, "mpirun is not installed")
class Ranks(unittest.TestCase):
    """What is one process's elsewhere, said once for all ranks."""

    def ok(self, num_ranks, *args):
        environment = os.environ | {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
        process = subprocess.run(
            ["mpirun", "--oversubscribe", "--bind-to", "none", "-np", str(num_ranks), cohort, *map(str, args)],
            stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120, env=environment,
        )  # fmt: skip
        self.assertEqual(process.returncode, 0, process.stderr)
        return process.stdout, process.stderr

    def test_dry_run_tells_each_ranks_part_and_loads_nothing(self):
        out, err = self.ok(4, "generate", "--model", MODEL, "--prompt", PROMPT, "--tp", 2, "--pp", 2, "--dry-run")
        rows = [line.split() for line in out.splitlines()]
        self.assertEqual(rows[0][0], "rank")
        self.assertEqual([row[0] for row in rows[1:]], ["0", "1", "2", "3"])
        self.assertEqual([row[3:5] for row in rows[1:]], [["0", "0"], ["0", "1"], ["1", "0"], ["1", "1"]])
        self.assertEqual([row[5] for row in rows[1:]], ["0-2", "0-2", "3-5", "3-5"])
        self.assertEqual([row[6] for row in rows[1:]], ["0-3", "4-7", "0-3", "4-7"])
        self.assertNotIn("read", err)
        # Without prompts the question is how much would fit: the same of everything, but all the cache there is room for.
        empty, _ = self.ok(2, "generate", "--model", MODEL, "--tp", 2, "--dry-run")
        self.assertGreater(float(empty.splitlines()[1].split()[-1]), 0.01)

    def test_print_config_prints_once(self):
        shown, err, code = run("gateway", "--config", ROOT / "configs/quickstart.yaml", "--tp", 2, "--print-config")
        self.assertEqual((err, code), ("", 0))
        self.assertIn("tensor_parallel_size: 2 ", shown)
        out, _ = self.ok(2, "generate", "--config", ROOT / "configs/quickstart.yaml", "--tp", 2, "--print-config")
        self.assertEqual(out.count("tensor_parallel_size: 2 "), 1, out)
        self.assertIn("# --tensor-parallel-size", out)

    def test_log_lines_name_rank_and_host(self):
        _, err = self.ok(2, "generate", "--model", MODEL, "--prompt", PROMPT, "--max-tokens", 2, "--pp", 2)
        for rank in (0, 1):
            self.assertRegex(err, rf"info rank {rank} \(host \S+\): stage {rank}, shard 0: read 0\.007 GB")

    def test_bench_comm_measures_every_operation(self):
        results = json.loads(self.ok(2, "bench", "comm", "--max-bytes", "1K", "--iterations", 20, "--json")[0])
        self.assertEqual(results["ranks"], 2)
        self.assertEqual({r["operation"] for r in results["results"]},
                         {"all_reduce", "send_receive", "broadcast", "all_gather"})  # fmt: skip
        for result in results["results"]:
            self.assertGreater(result["median_us"], 0)
            self.assertLessEqual(result["min_us"], result["p99_us"])


if __name__ == "__main__":
    cohort = sys.argv.pop(1)
    unittest.main()
