#!/usr/bin/env python3
"""When a rank, a link or a launcher fails, `cohort generate` ends in time with a message and leaves nothing behind.

Run: faults_test.py PATH_OF_COHORT [unittest arguments]. Prints how long each took. Exit code 77 where nothing of it can
be tried; OneHost and Refusals only need Open MPI.
"""

import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import unittest

import job
from job import MODEL, Job

cohort = None

NOTICED_S = 5.0 * job.PATIENCE  # a dead rank or a cut link
GONE_S = 15.0 * job.PATIENCE  # every process of the job
# For ranks that are not heard for a while and live: far longer than that.
PATIENT = ["--heartbeat-timeout-ms", 10_000]

# Long enough to be in the middle of it when the fault comes.
LONG = ["--max-tokens", 2000, "--ignore-eos", "--num-blocks", 1024, "--max-seqs", 8, "--threads", 1]
LONG += [word for number in range(8) for word in ("--prompt", f"And the {number} said")]

# For what is waited for to the end.
SHORT = ["--max-tokens", 400, "--ignore-eos", "--threads", 1, "--prompt", "And"]


def generate(*flags, model=MODEL):
    return [cohort, "generate", "--model", model, *flags]


def silent(rank, host):
    """What Cohort's heartbeat says."""
    return rf"rank {rank} \(host {host}\) has not been heard"


def gone(rank, host):
    """What a launcher or Cohort may say of a rank that is dead; whoever is first."""
    return "|".join([
        silent(rank, host),
        rf"rank {rank} with PID \d+ on node {host} exit(ed|ing)",  # mpirun
        rf"srun: error: \w+: task {rank}: (Killed|Exited)",
    ])  # fmt: skip


class Faults(job.PlacedTest):
    """Each subclass has a place."""

    def start(self, command):
        running = Job(command, self.place.variables)
        self.addCleanup(running.__exit__)
        return running

    def expect_end(self, running, since, what, message, notice_limit_s=NOTICED_S):
        """`message` is what somebody says in time, None if there is nobody left to say it."""
        noticed, ended, left = running.await_end(since, GONE_S, message)
        self.assertEqual(left, [], f"{what}: left after {ended:.1f} s: {running.err}")
        code = running.wait(5)
        if message is not None and noticed is None:
            self.assertRegex(running.words(), message, what)
            noticed = ended
        said = f"said after {noticed:.1f} s, " if message is not None else ""
        print(f"{self.place.name}: {what}: {said}all gone after {ended:.1f} s, exit code {code}", flush=True)
        self.assertNotEqual(code, 0, f"{what}: {running.err}")
        if message is not None:
            self.assertLessEqual(noticed, notice_limit_s, f"{what}: {running.err}")
        return running

    def strike(self, what, fault, message, layout=(2, 1), command=None):
        """Starts a long job, calls fault(job) in the middle of it, and expects its end."""
        tensor, pipeline = layout
        program = generate("--tp", tensor, "--pp", pipeline, *LONG)
        running = self.start(command or self.place.command(tensor * pipeline, *program))
        running.await_output()
        for rank in range(tensor * pipeline):
            running.rank_pid(rank)  # or there is no such rank to fail
        since = time.monotonic()
        fault(running)
        return self.expect_end(running, since, what, message)

    def strike_rank(self, what, signal_number, rank, say, layout=(2, 1), command=None):
        num_ranks = layout[0] * layout[1]
        message = say(rank, self.place.host_of(rank, num_ranks))
        fault = lambda running: os.kill(running.rank_pid(rank), signal_number)
        return self.strike(f"{what} of rank {rank}", fault, message, layout, command)

    def stop(self, rank, layout=(2, 1)):
        running = self.strike_rank("SIGSTOP", signal.SIGSTOP, rank, silent, layout)
        self.assertIn("last collectives and steps", running.err)

    def kill(self, rank, layout=(2, 1)):
        self.strike_rank("SIGKILL", signal.SIGKILL, rank, gone, layout)

    def armed(self, rank, *flags):
        """The command of two ranks, of which one fails when it gets a signal, see fail_on_signal.c."""
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        library = pathlib.Path(folder.name) / "fail_on_signal.so"
        subprocess.run(["cc", "-shared", "-fPIC", "-o", library, job.HERE / "fail_on_signal.c"], check=True)
        programs = [generate("--tp", 2, *LONG, *flags) for _ in range(2)]
        programs[rank] = ["env", f"LD_PRELOAD={library}", *programs[rank]]
        return self.place.command_each(*programs)

    def leave(self, rank):
        """_exit(0) in the middle of a step."""
        self.strike_rank("_exit(0)", signal.SIGUSR1, rank, gone, command=self.armed(rank))

    def hang(self, rank):
        """The main thread hangs while the heartbeat goes on. Which of the ranks, that wait for each other, is to blame,
        shows in their last steps."""

        def overdue(_, host):
            return rf"rank \d \(host {host}\): a step has taken more than 3.0 s"

        command = self.armed(rank, "--step-timeout-s", 3)
        running = self.strike_rank("hang of the main thread", signal.SIGUSR2, rank, overdue, command=command)
        self.assertIn("last collectives and steps of rank", running.err)
        self.assertIn("not done", running.err)

    def broken_weights(self, rank):
        """One rank finds no weights under the path that is good for the other, or half of them."""
        host = self.place.host_of(rank, 2)
        for what in ("missing", "truncated"):
            with tempfile.TemporaryDirectory() as name:
                model = pathlib.Path(name) / MODEL.name
                shutil.copytree(MODEL, model)
                weights = model / "model.safetensors"
                whole = weights.read_bytes()
                weights.unlink()
                if what == "truncated":
                    weights.write_bytes(whole[: len(whole) // 2])
                # The same words for all ranks, in directories of their own.
                program = generate("--tp", 2, "--prompt", "And", model=MODEL.name)
                folders = [MODEL.parent, MODEL.parent]
                folders[rank] = name
                programs = [["sh", "-c", 'cd "$0" && exec "$@"', folder, *program] for folder in folders]
                since = time.monotonic()
                running = self.start(self.place.command_each(*programs))
                message = rf"rank {rank} \(host {host}\): .*model.safetensors"
                self.expect_end(running, since, f"weights of rank {rank} {what}", message, GONE_S)
                self.assertEqual(running.wait(), 1, running.err)
                self.assertEqual(running.out, "")


class OneHost(Faults):
    @classmethod
    def setUpClass(cls):
        cls.prepare(job.OneHost)

    def test_killed_rank(self):
        self.kill(1)
        self.kill(0)
        self.kill(2, layout=(2, 2))

    def test_stopped_rank(self):
        self.stop(1)
        self.stop(0)

    def test_rank_that_leaves(self):
        self.leave(1)

    def test_hung_rank(self):
        self.hang(1)

    def test_rank_that_never_meets_the_others(self):
        place = job.OneHost()
        waiting = generate("--prompt", "And", "--tp", 2, "--startup-timeout-s", 3)
        with Job(place.command_each(waiting, ["sleep", 1000])) as running:
            self.assertNotEqual(running.wait(), 0)
            self.assertIn(f"rank 0 (host {place.host_of(0, 2)}): the ranks have not all met within 3 s", running.words())

    def test_pause_is_no_death(self):
        expected = subprocess.run([*map(str, generate(*SHORT))], capture_output=True, timeout=120, check=True).stdout
        for ranks, pause_s in (((1,), 2.5), ((0, 1), 12)):  # all of them even for longer than they are patient
            running = self.start(self.place.command(2, *generate("--tp", 2, *PATIENT, *SHORT)))
            running.await_output()
            pids = [running.rank_pid(rank) for rank in ranks]
            for number, seconds in ((signal.SIGSTOP, pause_s), (signal.SIGCONT, 0)):
                for pid in pids:
                    os.kill(pid, number)
                time.sleep(seconds)
            self.assertEqual(running.wait(), 0, running.err)
            self.assertEqual(running.out, expected.decode())

    def test_killed_launcher(self):
        # Standard error went through the launcher, so there is nobody to tell.
        self.strike("SIGKILL of mpirun", lambda running: running.launcher.kill(), None)

    def test_terminated_launcher(self):
        self.strike("SIGTERM of mpirun", lambda running: running.launcher.terminate(), None)

    def test_broken_weights(self):
        self.broken_weights(1)
        self.broken_weights(0)

    def test_other_config(self):
        for flag, value in (("--block-size", 32), ("--dtype", "float32")):
            since = time.monotonic()
            plain = generate("--tp", 2, "--prompt", "And")
            running = self.start(self.place.command_each(plain, [*plain, flag, value]))
            message = rf"rank 1 \(host {self.place.host_of(1, 2)}\).*{flag.strip('-').replace('-', '_')}"
            self.expect_end(running, since, f"rank 1 with {flag} {value}", message, GONE_S)
            self.assertEqual(running.out, "")


class TwoHosts(Faults):
    @classmethod
    def setUpClass(cls):
        cls.prepare(job.TwoHosts)

    def test_killed_rank(self):
        self.kill(1, layout=(1, 2))

    def test_stopped_rank(self):
        self.stop(1, layout=(1, 2))
        self.stop(0)
        self.stop(3, layout=(2, 2))

    def test_cut_link(self):
        for rank in (1, 0):
            with self.subTest(rank=rank):
                place = job.TwoHosts()  # its own: what is on the far side outlives the job for a while
                self.addCleanup(place.close)
                host = place.host_of(rank, 2)
                cut = lambda _, place=place, host=host: place.link("cut", host)
                command = place.command(2, *generate("--pp", 2, *LONG))
                self.strike(f"link of rank {rank} cut", cut, silent(rank, host), command=command)

    def test_short_cut_is_no_death(self):
        expected = subprocess.run([*map(str, generate(*SHORT))], capture_output=True, timeout=120, check=True).stdout
        running = self.start(self.place.command(2, *generate("--tp", 2, *PATIENT, *SHORT)))
        running.await_output()
        host = self.place.host_of(1, 2)
        self.place.link("cut", host)
        time.sleep(1)
        self.place.link("mend", host)
        self.assertEqual(running.wait(), 0, running.err)
        self.assertEqual(running.out, expected.decode())

    def test_killed_launcher(self):
        self.strike("SIGKILL of mpirun", lambda running: running.launcher.kill(), None)

    def test_killed_daemon(self):
        def kill(running):
            status = pathlib.Path(f"/proc/{running.rank_pid(1)}/status").read_text()
            os.kill(int(re.search(r"PPid:\s+(\d+)", status)[1]), signal.SIGKILL)

        self.strike("SIGKILL of mpirun's daemon on a host", kill, None)

    def test_broken_weights(self):
        self.broken_weights(1)


class Srun(Faults):
    @classmethod
    def setUpClass(cls):
        cls.prepare(job.Slurm)

    def test_killed_rank(self):
        self.kill(1)
        self.kill(3, layout=(2, 2))

    def test_killed_rank_when_srun_is_not_told_to_care(self):
        command = self.place.command(2, *generate("--tp", 2, *LONG), flags=())
        self.strike_rank("without -K1, SIGKILL", signal.SIGKILL, 1, silent, command=command)

    def test_stopped_rank(self):
        self.stop(1)
        self.stop(0)

    def test_rank_that_leaves(self):
        self.leave(1)

    def test_hung_rank(self):
        self.hang(1)

    def test_killed_launcher(self):
        self.strike("SIGKILL of srun", lambda running: running.launcher.kill(), None)

    def test_terminated_launcher(self):
        self.strike("SIGTERM of srun", lambda running: running.launcher.terminate(), None)

    def test_broken_weights(self):
        self.broken_weights(1)


class Refusals(unittest.TestCase):
    """What is refused before anything is loaded, with exit code 2."""

    def refused(self, num_ranks, *flags, says):
        self.refuses(job.OneHost().command(num_ranks, *generate("--prompt", "And", *flags)), says)

    def refuses(self, command, says):
        with Job(command) as running:
            self.assertEqual(running.wait(), 2, running.err)
            self.assertEqual(running.out, "")
            for text in says:
                self.assertIn(text, running.words())

    def test_sizes_that_are_not_the_number_of_ranks(self):
        self.refused(2, "--tp", 1, says=["needs 1 rank", "started 2"])
        self.refused(2, "--tp", 2, "--pp", 2, says=["needs 4 ranks", "started 2"])

    def test_sizes_that_do_not_divide_the_model(self):
        self.refused(3, "--tp", 3, says=["expected one of 1, 2, 4"])
        self.refused(7, "--pp", 7, says=["expected 1 to 6", "got 7"])

    def test_config_file(self):
        with tempfile.TemporaryDirectory() as name:
            file = pathlib.Path(name) / "cohort.yaml"
            file.write_text("parallel:\n  tensor_paralel_size: 2\n")
            self.refused(2, "--config", file, says=[f"{file}:2", "tensor_paralel_size", "tensor_parallel_size"])
            # Of one rank only.
            file.write_text("device:\n  threads: two\n")
            place = job.OneHost()
            plain = generate("--prompt", "And", "--tp", 2)
            who = f"rank 1 (host {place.host_of(1, 2)})"
            self.refuses(place.command_each(plain, [*plain, "--config", file]), [who, f"{file}:2", "two"])

    def test_a_flag_of_one_rank(self):
        place = job.OneHost()
        plain = generate("--prompt", "And", "--tp", 2)
        who = f"rank 1 (host {place.host_of(1, 2)})"
        self.refuses(place.command_each(plain, [*plain, "--nope"]), [who, "--nope"])


if __name__ == "__main__":
    cohort = str(pathlib.Path(sys.argv.pop(1)).resolve())
    job.main()
