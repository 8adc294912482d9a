"""Jobs of several ranks for the tests: starts them, finds their processes, and tells when all are gone."""

import os
import pathlib
import re
import shlex
import signal
import subprocess
import sys
import tempfile
import threading
import time
import unittest
import uuid

ROOT = pathlib.Path(__file__).resolve().parents[2]
HERE = pathlib.Path(__file__).resolve().parent
MODEL = ROOT / "configs/quickstart/model"
MPIRUN = ROOT / "launcher/mpirun.sh"

# Every process of a job has it with the job's own value in its environment, on whatever host and under whatever parent.
MARK = "COHORT_TEST_MARK"


# What is promised in seconds, is promised of a machine with nothing else to do; a busy one is given so many times as long.
PATIENCE = 3


class Skip(Exception):
    """The host cannot do what is asked; the text says why."""


class Process:
    """A process of a job as /proc shows it."""

    def __init__(self, pid, variables):
        self.pid = pid
        self.program = pathlib.Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[0].decode()
        # mpirun's daemons under Slurm have a SLURM_PROCID, too, and so do the ranks below them.
        self.rank = int(variables.get("OMPI_COMM_WORLD_RANK", variables.get("SLURM_PROCID", -1)))

    def __repr__(self):
        return f"{self.program}[{self.pid}]"


def processes(mark):
    """Those that have the mark; dead ones that nobody has waited for yet have no environment left."""
    found = []
    wanted = f"{MARK}={mark}".encode()
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        try:
            variables = pathlib.Path(f"/proc/{entry}/environ").read_bytes().split(b"\0")
            if wanted in variables:
                pairs = (v.decode(errors="replace").partition("=") for v in variables)
                found.append(Process(int(entry), {name: value for name, _, value in pairs}))
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            pass
    return found


class Job:
    """A launcher and its ranks. Use as a context, at whose end nothing of the job is left."""

    def __init__(self, command, variables=None, cwd=None):
        self.mark = uuid.uuid4().hex
        # What mpirun keeps under /tmp, and its ranks under /dev/shm, they leave there when they are killed.
        self._scratch = tempfile.TemporaryDirectory(prefix="cohort-test-")
        environment = {name: value for name, value in os.environ.items() if not name.startswith("COHORT_")}
        environment |= {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1", MARK: self.mark}
        environment["OMPI_MCA_orte_tmpdir_base"] = self._scratch.name
        environment["OMPI_MCA_btl_vader_backing_directory"] = self._scratch.name
        self.launcher = subprocess.Popen(
            list(map(str, command)), env=environment | (variables or {}), cwd=cwd,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        self._texts = {"out": b"", "err": b""}
        self._readers = [
            threading.Thread(target=self._read, args=args, daemon=True)
            for args in (("out", self.launcher.stdout), ("err", self.launcher.stderr))
        ]
        for reader in self._readers:
            reader.start()

    def _read(self, name, pipe):
        while chunk := os.read(pipe.fileno(), 65536):
            self._texts[name] += chunk

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for process in processes(self.mark):
            try:
                os.kill(process.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        self.launcher.wait(60)
        for reader in self._readers:
            reader.join(5)
        self.launcher.stdout.close()
        self.launcher.stderr.close()
        self._scratch.cleanup()

    @property
    def out(self):
        return self._texts["out"].decode(errors="replace")

    @property
    def err(self):
        return self._texts["err"].decode(errors="replace")

    def words(self):
        """Standard error with its line breaks as blanks: launchers wrap their sentences."""
        return re.sub(r"\s+", " ", self.err)

    def await_output(self, num_bytes=1, timeout_s=120):
        end = time.monotonic() + timeout_s
        while len(self._texts["out"]) < num_bytes:
            if self.launcher.poll() is not None or time.monotonic() > end:
                raise AssertionError(f"no output: code {self.launcher.poll()}, {self.err}")
            time.sleep(0.02)

    def rank_pid(self, rank, program="cohort"):
        pids = [p.pid for p in processes(self.mark) if p.rank == rank and os.path.basename(p.program) == program]
        if len(pids) != 1:
            raise AssertionError(f"rank {rank}: expected one process, got {pids} of {processes(self.mark)}")
        return pids[0]

    def wait(self, timeout_s=600):
        """The exit code, when everything was said; where a process outlives the launcher, what was said by then."""
        code = self.launcher.wait(timeout_s)
        for reader in self._readers:
            reader.join(10)
        return code

    def await_end(self, since, limit_s, message=None):
        """Seconds from `since` until `message`, a pattern, was on standard error (None: never), and until the launcher
        and every process of the job were gone; and what was left at the limit."""
        noticed = None
        while True:
            if noticed is None and message is not None and re.search(message, self.words()):
                noticed = time.monotonic() - since
            # The launcher is this process's child: it has to be waited for.
            left = [self.launcher]
            if self.launcher.poll() is not None:
                left = processes(self.mark)
            elapsed = time.monotonic() - since
            if not left or elapsed > limit_s:
                return noticed, elapsed, left
            time.sleep(0.02)


class Holder:
    """Runs a script that prepares something, prints a line of it, and undoes it when this process lets go or dies."""

    def __init__(self, *command, show):
        self._process = subprocess.Popen(
            [*map(str, command), "sh", "-c", f'echo "{show}"; exec cat'],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        self.line = self._process.stdout.readline().strip()
        if self.line.startswith("skipped: ") or not self.line:
            code = self._process.wait(60)
            if code == 77:
                raise Skip(self.line.removeprefix("skipped: "))
            raise RuntimeError(f"{command[0]}: code {code}, {self.line}")

    def close(self):
        self._process.stdin.close()
        self._process.stdout.read()
        self._process.stdout.close()
        if self._process.wait(60) != 0:
            raise RuntimeError(f"{self._process.args[0]}: code {self._process.returncode}")


class OneHost:
    """mpirun on this machine."""

    name = "one host"
    variables = {}

    def host_of(self, rank, num_ranks):
        return os.uname().nodename

    def flags(self, num_ranks):
        return ("--oversubscribe",)

    def command(self, num_ranks, *program):
        return [MPIRUN, *self.flags(num_ranks), "-np", num_ranks, *program]

    def command_each(self, *programs):
        """Rank i runs programs[i]."""
        words = [MPIRUN, *self.flags(len(programs))]
        for rank, program in enumerate(programs):
            words += [*([":"] if rank else []), "-np", 1, *program]
        return words

    def close(self):
        pass


class TwoHosts(OneHost):
    """mpirun over two network namespaces, half of the ranks on each."""

    name = "two hosts"
    variables = {"MPIRUN_SSH": str(HERE / "nsrsh")}

    def __init__(self):
        self._holder = Holder(HERE / "hosts.sh", "with", 2, "mn", show="$COHORT_TEST_HOSTS")
        _, self._subnet, *self.hosts = self._holder.line.split()

    def host_of(self, rank, num_ranks):
        return self.hosts[rank // (num_ranks // 2)]

    def flags(self, num_ranks):
        hosts = ",".join(f"{host}:{num_ranks // 2}" for host in self.hosts)
        agent = ("--mca", "plm", "rsh", "--mca", "ras", "^slurm")
        network = ("--mca", "oob_tcp_if_include", self._subnet, "--mca", "btl_tcp_if_include", self._subnet)
        return (*agent, *network, "--mca", "btl", "self,vader,tcp", "--host", hosts)

    def link(self, action, host, *words):
        """cut, mend or slow, see hosts.sh."""
        subprocess.run([HERE / "hosts.sh", action, host, *words], check=True)

    def close(self):
        self._holder.close()


class Slurm:
    """srun on a private Slurm, a rank on each of up to four nodes. All nodes are this machine."""

    name = "srun"

    def __init__(self):
        self._holder = Holder(HERE / "slurm.sh", show="$SLURM_CONF")
        self.variables = {"SLURM_CONF": self._holder.line}

    def host_of(self, rank, num_ranks):
        return os.uname().nodename

    def command(self, num_ranks, *program, flags=("-K1", "--wait=5")):
        return ["srun", f"-N{num_ranks}", f"-n{num_ranks}", "--mpi=pmix", *flags, *program]

    def command_each(self, *programs):
        cases = " ".join(f"{rank}) exec {shlex.join(map(str, program))};;" for rank, program in enumerate(programs))
        return self.command(len(programs), "sh", "-c", f"case $SLURM_PROCID in {cases} esac")

    def close(self):
        self._holder.close()


class PlacedTest(unittest.TestCase):
    """Tests at a place, one of the classes above, which a subclass prepares for all of them."""

    @classmethod
    def prepare(cls, make_place):
        try:
            cls.place = make_place()
        except Skip as skip:
            raise unittest.SkipTest(str(skip)) from None
        cls.addClassCleanup(cls.place.close)


def main():
    """unittest.main(), but for exit code 77 and the reason when all was skipped."""
    result = unittest.main(exit=False).result
    # A class that is skipped as a whole counts no tests as run.
    num_done = result.testsRun - sum(isinstance(test, unittest.TestCase) for test, _ in result.skipped)
    if result.wasSuccessful() and num_done == 0:
        print(f"skipped: {result.skipped[0][1] if result.skipped else 'no such test'}")
        sys.exit(77)
    sys.exit(not result.wasSuccessful())
