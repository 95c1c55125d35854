#!/usr/bin/env python3
"""What the death of the daemon costs: take-over time, lines lost, longest stall of a writer.

    benches/procs/takeover.py [WOODWARD] [--services 1000] [--kills 5] [--tmp /dev/shm]

First: N services sleep, the daemon is SIGKILLed, and `GET /v1/status` is asked
again and again until it shows every service up with the process it had before.
Then: writers write numbered lines, each timing its own write(2), while the
daemon is SIGKILLed; every line must be in its file once.
Kills are 11 s apart, so that the keeper starts the next daemon at once.
"""
import argparse, http.client, json, os, shutil, signal, socket, subprocess, sys, tempfile, time

WRITER = r"""
import os, signal, sys, time
longest, n, out = 0, 0, sys.argv[1]
def end(*_):
    open(out, 'w').write(f'{n} {longest}')
    sys.exit(0)
signal.signal(signal.SIGTERM, end)
while True:
    line = f'line {n} '.ljust(199, 'x').encode() + b'\n'
    before = time.monotonic_ns()
    os.write(1, line)
    longest = max(longest, time.monotonic_ns() - before)
    n += 1
    time.sleep(0.0005)
"""


class Status(http.client.HTTPConnection):
    def __init__(self, path):
        super().__init__("localhost")
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(5)
        self.sock.connect(self.path)


def workers(path):
    """Path, state and process of every worker; nothing while nobody answers."""
    try:
        ask = Status(path)
        ask.request("GET", "/v1/status")
        rows = json.loads(ask.getresponse().read())
        rows = rows if isinstance(rows, list) else rows["rows"]
        return {row["path"]: (row["state"], row["pid"]) for row in rows if not row["strategy"]}
    except (OSError, http.client.HTTPException, ValueError):
        return {}


class Run:
    def __init__(self, woodward, tmp, tree, files={}):
        self.dir = tempfile.mkdtemp(prefix="takeover", dir=tmp)
        for name, text in files.items():
            open(f"{self.dir}/{name}", "w").write(text)
        self.socket = f"{self.dir}/sock"
        config = f"{self.dir}/t.toml"
        open(config, "w").write(tree.replace("{dir}", self.dir))
        command = [woodward, "run", config, "--socket", self.socket, "--state", f"{self.dir}/state"]
        self.keeper = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def wait(self, condition):
        end = time.monotonic() + 120
        while True:
            rows = workers(self.socket)
            if condition(rows):
                return rows
            if time.monotonic() > end:
                sys.exit("waited in vain")
            time.sleep(0.002)

    def up(self, n):
        return self.wait(lambda rows: len(rows) == n and all(state == "up" for state, _ in rows.values()))

    def kill_daemon(self):
        pid = self.keeper.pid
        for child in open(f"/proc/{pid}/task/{pid}/children").read().split():
            if open(f"/proc/{child}/cmdline").read().split("\0")[1:2] == ["daemon"]:
                os.kill(int(child), signal.SIGKILL)
                return time.monotonic()
        sys.exit("no daemon")

    def stop(self):
        self.keeper.send_signal(signal.SIGTERM)
        self.keeper.wait()


def take_over(args):
    child = '[[child]]\nid = "w{}"\ncommand = ["sleep", "100000"]\n'
    tree = 'id = "t"\n' + "".join(child.format(n) for n in range(args.services))
    run = Run(args.woodward, args.tmp, tree)
    before, times = run.up(args.services), []
    for _ in range(args.kills):
        time.sleep(11)
        killed = run.kill_daemon()
        run.wait(lambda rows: rows == before)
        times.append(time.monotonic() - killed)
    run.stop()
    shutil.rmtree(run.dir)
    shown = " ".join(f"{t * 1000:.0f}" for t in sorted(times))
    print(f"take-over, {args.services} services: status right after {shown} ms ({args.kills} kills)")


def lines(args):
    writers = 4
    child = '[[child]]\nid = "w{0}"\noutput.file = "{{dir}}/out{0}"\ncommand = ["python3", "{{dir}}/writer.py", "{{dir}}/end{0}"]\n'
    tree = 'id = "t"\n' + "".join(child.format(n) for n in range(writers))
    run = Run(args.woodward, args.tmp, tree, {"writer.py": WRITER})
    run.up(writers)
    for _ in range(args.kills):
        time.sleep(11)
        run.kill_daemon()
    time.sleep(2)
    run.stop()
    written = lost = doubled = longest = 0
    for n in range(writers):
        count, stall = map(int, open(f"{run.dir}/end{n}").read().split())
        numbers = [int(line.split()[1]) for line in open(f"{run.dir}/out{n}") if line.startswith("line ")]
        written += count
        lost += len(set(range(count)) - set(numbers))
        doubled += len(numbers) - len(set(numbers))
        longest = max(longest, stall)
    shutil.rmtree(run.dir)
    print(f"lines: {written} written, {lost} lost, {doubled} doubled, longest write {longest / 1e6:.1f} ms ({args.kills} kills)")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    here = os.path.dirname(os.path.abspath(__file__))
    parser.add_argument("woodward", nargs="?", default=f"{here}/../../target/release/woodward")
    parser.add_argument("--services", type=int, default=1000)
    parser.add_argument("--kills", type=int, default=5)
    parser.add_argument("--tmp", default="/dev/shm")
    args = parser.parse_args()
    take_over(args)
    lines(args)


main()
