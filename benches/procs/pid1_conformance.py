#!/usr/bin/env python3
"""Black-box PID-1 behaviour of "init COMMAND..." style programs.

  pid1_conformance.py [--init NAME="tini --" ...] [--json]

Every check starts the init as PID 1 of a fresh PID + mount namespace (own
/proc) with a small command under it and looks from outside.  Needs root.
A new init takes part with --init NAME="program and arguments"; the command
under test is appended.  "none" runs the command itself as PID 1 (control).
With --tree NAME=PROGRAM the command is the essential child of a tree that
"PROGRAM run FILE" runs; what is about commands only is left out there.  It
has stop.kill = "process", else what a service leaves behind is killed with it
and never seen by the init; "group" where a signal shall reach all of it.

--early N does nothing but kill each init 50 times in its first 5 ms, N times
over, beside a program without any library that blocks all signals with its
first instructions ("bare"): what that one loses, nobody can keep.
"""
import argparse
import ctypes
import json
import os
import re
import shlex
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time

libc = ctypes.CDLL(None, use_errno=True)
NEWNS, NEWPID = 0x00020000, 0x20000000
MS_REC, MS_PRIVATE = 0x4000, 1 << 18
DEFAULT = {"none": "", "tini": "tini --", "tini -g": "tini -g --", "dumb-init": "dumb-init --",
           "dumb-init -c": "dumb-init -c --", "catatonit": "catatonit --", "catatonit -g": "catatonit -g --"}
TREE = "tree:"
BARE = r"""
#include <sys/syscall.h>
static long call(long n, long a, long b, long c, long d) {
#ifdef __x86_64__
    register long r10 __asm__("r10") = d;
    long r;
    __asm__ volatile("syscall" : "=a"(r) : "a"(n), "D"(a), "S"(b), "d"(c), "r"(r10) : "rcx", "r11", "memory");
    return r;
#else
    register long x8 __asm__("x8") = n, x0 __asm__("x0") = a, x1 __asm__("x1") = b, x2 __asm__("x2") = c,
                  x3 __asm__("x3") = d;
    __asm__ volatile("svc 0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2), "r"(x3) : "memory");
    return x0;
#endif
}
void _start(void) {
    static const unsigned long all = ~0ul, term = 1ul << 14;
    call(SYS_rt_sigprocmask, 2, (long)&all, 0, 8);
    while (call(SYS_rt_sigtimedwait, (long)&term, 0, 0, 8) != 15) {}
    for (;;) call(SYS_exit_group, 143, 0, 0, 0);
}
"""
# A tree stops at SIGINT as at SIGTERM, SIGHUP is reload, and SIGCONT nobody's: no service has the terminal.
OF_TREES = [3, 10, 12, 14, 15, 28]
SIGS = [1, 2, 3, 10, 12, 14, 15, 18, 28]


class Box:
    """init as PID 1; .pid is its pid out here"""

    def __init__(self, init, cmd, env=None, block=()):
        self.out = tempfile.NamedTemporaryFile(prefix="pid1")
        r, w = os.pipe()
        self.mid = os.fork()
        if self.mid == 0:
            os.close(r)
            if libc.unshare(NEWPID | NEWNS):
                os._exit(120)
            p = os.fork()
            if p == 0:
                os.close(w)
                libc.mount(b"none", b"/", None, MS_REC | MS_PRIVATE, None)
                libc.mount(b"proc", b"/proc", b"proc", 0, None)
                null = os.open("/dev/null", os.O_RDWR)
                os.dup2(null, 0)
                os.dup2(os.open(self.out.name, os.O_WRONLY | os.O_APPEND), 1)
                os.dup2(null, 2)
                os.closerange(3, 256)
                for s in (signal.SIGPIPE, signal.SIGXFSZ):      # Python ignores these two
                    signal.signal(s, signal.SIG_DFL)
                argv = tree(init, cmd, env) if init.startswith(TREE) else shlex.split(init) + cmd
                try:
                    os.execvpe(argv[0], argv, dict(os.environ, **(env or {})))
                finally:
                    os._exit(125)
            os.write(w, str(p).encode())
            os.close(w)
            _, st = os.waitpid(p, 0)
            os._exit(128 + os.WTERMSIG(st) if os.WIFSIGNALED(st) else os.WEXITSTATUS(st))
        os.close(w)
        self.pid = int(os.read(r, 20) or 0)
        os.close(r)

    def wait(self, timeout=6):
        end = time.monotonic() + timeout
        while time.monotonic() < end:
            p, st = os.waitpid(self.mid, os.WNOHANG)
            if p:
                return os.WEXITSTATUS(st)
            time.sleep(0.002)
        self.kill()
        os.waitpid(self.mid, 0)
        return None

    def kill(self, sig=signal.SIGKILL):
        try:
            os.kill(self.pid, sig)
        except ProcessLookupError:
            pass

    def text(self):
        with open(self.out.name) as f:
            return re.sub("^box/main: |^woodward: .*\n", "", f.read(), flags=re.M)

    def until(self, word, timeout=6):
        end = time.monotonic() + timeout
        while time.monotonic() < end:
            if word in self.text():
                return True
            time.sleep(0.002)
        return False


def tree(init, cmd, env):
    """the command line that runs `cmd` as the essential child of a tree; socket and state die with the namespace"""
    libc.mount(b"tmpfs", b"/run", b"tmpfs", 0, None)
    kill = (env or {}).get("KILL", "process")
    with open("/run/box.toml", "w") as f:
        f.write('id = "box"\nshutdown = "5s"\n[[child]]\nid = "main"\nessential = true\nrestart = "temporary"\n'
                f'shutdown = "4s"\noutput = "inherit"\nstop = {{ kill = "{kill}" }}\ncommand = {json.dumps(cmd)}\n')
    os.dup2(1, 2)
    return [init[len(TREE):], "run", "/run/box.toml", "--state", "/run/state", "--socket", "/run/box.sock"]


def sh(s):
    return ["/bin/sh", "-c", s]


def py(s):
    return [sys.executable, "-S", "-c", s]


def exit_codes(i):
    bad = [c for c in (0, 1, 2, 42, 126, 127, 255) if Box(i, sh(f"exit {c}")).wait() != c]
    return not bad, f"wrong for {bad}" if bad else "0 1 2 42 126 127 255"


def exit_by_signal(i):
    got = {s: Box(i, py(f"import os;os.kill(os.getpid(),{s})") if i else sh(f"exit {128 + s}")).wait() for s in (9, 15, 6)}
    return all(v == 128 + k for k, v in got.items()), str(got)


def forwards(i):
    miss = []
    signals = OF_TREES if i.startswith(TREE) else SIGS
    for s in signals:
        b = Box(i, py("import signal,sys,time\n"
                      f"def h(n,f):\n print('got',n,flush=True); sys.exit(5)\nsignal.signal({s},h)\n"
                      "print('ready',flush=True)\nwhile 1: time.sleep(9)"))
        b.until("ready")
        b.kill(s)
        if b.wait(2) != 5:
            miss.append(signal.Signals(s).name[3:])
    return not miss, "not forwarded: " + " ".join(miss) if miss else f"{len(signals)} signals"


def term_default(i):
    b = Box(i, sh("echo ready; exec sleep 100"))
    b.until("ready")
    t = time.monotonic()
    b.kill(signal.SIGTERM)
    c = b.wait(3)
    return c is not None and c != 137, f"code {c} after {(time.monotonic() - t) * 1000:.0f} ms"


def early_term(i):
    """SIGTERM within the first 5 ms after the exec of the init must end the whole thing"""
    lost, me = [], os.readlink("/proc/self/exe")
    for k in range(50):
        b = Box(i, sh("exec sleep 100"))
        try:
            while os.readlink(f"/proc/{b.pid}/exe") == me:
                pass
        except OSError:
            pass
        t = time.monotonic()
        while time.monotonic() - t < k * 0.0001:
            pass
        b.kill(signal.SIGTERM)
        if b.wait(8.0 if i.startswith(TREE) else 1.0) is None:
            lost.append(k / 10)
    return not lost, f"{len(lost)} of 50 lost, latest {max(lost, default=0)} ms after exec"


def reaps(i):
    b = Box(i, py("import os,time\nfor k in range(50):\n p=os.fork()\n if p==0:\n  if os.fork()==0: time.sleep(.05); os._exit(0)\n"
                  "  os._exit(0)\n os.waitpid(p,0)\ntime.sleep(.6)\nz=0\nfor d in os.listdir('/proc'):\n"
                  " if d.isdigit():\n  try: z+=open('/proc/'+d+'/stat').read().rsplit(')',1)[1].split()[0]=='Z'\n  except OSError: pass\n"
                  "print('zombies',z,flush=True)"))
    b.wait()
    t = b.text().strip()
    return t == "zombies 0", t or "no output"


def orphan_at_exit(i):
    """main command ends while a grandchild in another session lives: is it told?"""
    f = tempfile.NamedTemporaryFile(prefix="pid1o")
    b = Box(i, py("import os,signal,time\n"
                  "if os.fork()==0:\n os.setsid()\n"
                  f" def h(n,f):\n  open('{f.name}','w').write('TERM'); time.sleep(.3); open('{f.name}','a').write(' done'); os._exit(0)\n"
                  " signal.signal(15,h)\n time.sleep(5)\n os._exit(0)\ntime.sleep(.2)"))
    b.wait()
    time.sleep(0.4)
    t = open(f.name).read()
    return "done" in t, t or "killed by the kernel without notice"


def group_signal(i):
    """SIGTERM at init: does a grandchild in the same group / in its own session get it?"""
    f = tempfile.NamedTemporaryFile(prefix="pid1g")
    b = Box(i, py("import os,signal,time\nme=os.getpid()\n"
                  f"def h(n,f):\n open('{f.name}','a').write(who+' ')\n"
                  "who='child'\nfor w in ('same','session'):\n if os.fork()==0:\n  who=w\n  if w=='session': os.setsid()\n"
                  "  signal.signal(15,h)\n  print('up',w,flush=True)\n  time.sleep(2.5)\n  os._exit(0)\n"
                  "signal.signal(15,h)\nprint('up child',flush=True)\nt=time.time()\nwhile time.time()-t<2.5: time.sleep(.1)"),
            {"KILL": "group"})
    b.until("up same"), b.until("up session"), b.until("up child")
    time.sleep(0.05)
    b.kill(signal.SIGTERM)
    b.wait()
    t = sorted(set(open(f.name).read().split()))
    return "same" in t and "session" in t, "reached: " + " ".join(t)


def whole_tree(i):
    """best of three: on a loaded machine a probe may start too late"""
    r = [group_signal(i) for _ in range(3)]
    return max(r, key=lambda x: (x[0], len(x[1])))


def clean_child(i):
    b = Box(i, sh("grep -E 'SigBlk|SigIgn' /proc/self/status; ls /proc/self/fd | tr '\\n' ' '"))
    b.wait()
    t = b.text()
    m = {l.split(":")[0]: int(l.split(":")[1], 16) for l in t.splitlines() if l.startswith("Sig")}
    fds = t.strip().splitlines()[-1].split() if t else []
    extra = [x for x in fds if int(x) > 3]
    ok = not m.get("SigBlk") and not (m.get("SigIgn", 0) & ~(1 << 24)) and not extra
    return ok, f"SigBlk={m.get('SigBlk', -1):#x} SigIgn={m.get('SigIgn', -1):#x} extra fds={extra}"


def exec_fail(i):
    a, n = Box(i, ["/does/not/exist"]).wait(), Box(i, ["/etc/passwd"]).wait()
    return (a, n) == (127, 126), f"missing {a}, not executable {n}"


def memory(i):
    b = Box(i, sh("echo ready; exec sleep 100"))
    b.until("ready")
    time.sleep(0.3)
    try:
        with open(f"/proc/{b.pid}/smaps_rollup") as f:
            k = next(int(l.split()[1]) for l in f if l.startswith("Pss:"))
    except (OSError, StopIteration):
        k = -1
    b.kill()
    b.wait()
    return k < 1000, f"{k} KiB PSS"


CHECKS = [("exit codes", exit_codes), ("death by signal -> 128+n", exit_by_signal), ("signals forwarded", forwards),
          ("TERM ends a plain command", term_default), ("TERM in the first 5 ms", early_term),
          ("orphans reaped", reaps), ("orphan told at exit", orphan_at_exit),
          ("TERM reaches the whole tree", whole_tree), ("child starts clean", clean_child),
          ("exec failure 127/126", exec_fail), ("memory of PID 1", memory)]


NOT_FOR_TREES = ("exec failure 127/126",)


def early(inits, times):
    """lost of 50, several times, all inits in turn"""
    lost = {name: [] for name in inits}
    for _ in range(times):
        for name, cmd in inits.items():
            lost[name].append(int(early_term(cmd)[1].split()[0]))
            print(f"{name:16} {lost[name][-1]:3} of 50", flush=True)
    print("\n| init | TERM in the first 5 ms: lost of 50 | median |\n|---|---|---|")
    for name, all in lost.items():
        print(f"| {name} | {' '.join(map(str, all))} | {statistics.median(all):g} |")


def bare():
    """builds the bare program"""
    path = tempfile.mkdtemp(prefix="pid1bare")
    with open(path + "/bare.c", "w") as f:
        f.write(BARE)
    subprocess.run(["cc", "-O2", "-static", "-nostdlib", "-o", path + "/bare", path + "/bare.c"], check=True)
    return path + "/bare"


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--init", action="append", default=[])
    p.add_argument("--tree", action="append", default=[])
    p.add_argument("--early", type=int, metavar="N")
    p.add_argument("--only-given", action="store_true")
    p.add_argument("--json", action="store_true")
    o = p.parse_args()
    inits = {} if o.only_given else dict(DEFAULT)
    inits.update(x.split("=", 1) for x in o.init)
    inits.update((name, TREE + program) for name, program in (x.split("=", 1) for x in o.tree))
    os.environ["PATH"] = os.environ.get("BENCH_PATH", "") + ":" + os.environ["PATH"]
    if o.early:
        there = {n: c for n, c in inits.items() if c and shutil.which(shlex.split(c.removeprefix(TREE))[0])}
        return early({"bare": bare(), **there}, o.early)
    res = {}
    for name, cmd in inits.items():
        if cmd and not shutil.which(shlex.split(cmd.removeprefix(TREE))[0]):
            continue
        res[name] = {}
        for label, fn in CHECKS:
            if cmd.startswith(TREE) and label in NOT_FOR_TREES:
                res[name][label] = (True, "about commands")
                continue
            try:
                ok, note = fn(cmd)
            except Exception as e:  # noqa: BLE001
                ok, note = False, repr(e)
            res[name][label] = (ok, note)
            if not o.json:
                print(f"{name:14} {label:28} {'ok  ' if ok else 'FAIL'} {note}", flush=True)
    if o.json:
        print(json.dumps(res, indent=1))
    else:
        res = {n: {k: (v[0], " ".join(v[1].split())[:90]) for k, v in r.items()} for n, r in res.items()}
        print("\n| check | " + " | ".join(res) + " |\n|---|" + "---|" * len(res))
        for label, _ in CHECKS:
            print(f"| {label} | " + " | ".join("-" if res[n][label][1] == "about commands" else "yes" if res[n][label][0] else "**no**: " + res[n][label][1] for n in res) + " |")


if __name__ == "__main__":
    main()
