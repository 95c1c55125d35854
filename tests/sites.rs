//! The trees of a monitor of alerts and of a Grid site, with their real programs: what dies loses no work.
//!
//! Need what `examples/integral/install` and `examples/grid/install` install; without it these tests fail, they do not
//! skip.

use std::collections::BTreeSet;
use std::fs;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Command, Output};

use crate::bed::{Bed, kill, repository};

/// A tree of `supervisors/` that runs, with ports of its own.
struct Site {
    bed: Bed,
    ports: Vec<u16>,
}

impl Site {
    fn up(tree: &str, ports: &[&str]) -> Site {
        let listeners: Vec<TcpListener> =
            ports.iter().map(|_| TcpListener::bind("127.0.0.1:0").expect("a free port")).collect();
        let port = |listener: &TcpListener| listener.local_addr().expect("an address").port();
        let mut site = Site { bed: Bed::new(), ports: listeners.iter().map(port).collect() };
        drop(listeners);
        let mut args = vec![repository(&format!("supervisors/{tree}.toml")).display().to_string()];
        args.extend(["--var".to_owned(), format!("state={}", site.state().display())]);
        for (name, port) in ports.iter().zip(&site.ports) {
            args.extend(["--var".to_owned(), format!("{name}={port}")]);
        }
        site.bed.run(&args);
        site.bed.wait_until_up();
        site
    }

    fn state(&self) -> PathBuf {
        self.bed.path().join("state")
    }

    /// A program of the site that must succeed.
    fn ask(&self, mut command: Command) -> String {
        let Output { status, stdout, stderr } =
            command.output().unwrap_or_else(|e| panic!("{command:?}: {e}"));
        assert!(status.success(), "{command:?}: {}", String::from_utf8_lossy(&stderr));
        String::from_utf8_lossy(&stdout).into_owned()
    }

    /// `kill -9`; the paths of what has another process when all is up again.
    fn kill(&self, victim: &str, all: &[&str]) -> Vec<String> {
        let before: Vec<u64> = all.iter().map(|path| self.bed.generation(path)).collect();
        let own = self.bed.generation(victim);
        kill(self.bed.pid(victim), libc::SIGKILL);
        self.bed.wait(&format!("{victim} to be started again"), |bed| bed.generation(victim) > own);
        self.bed.wait_until_up();
        let new = all.iter().zip(before).filter(|(path, before)| self.bed.generation(path) != *before);
        new.map(|(path, _)| (*path).to_owned()).collect()
    }

    fn files(&self, dir: &str) -> usize {
        let names = fs::read_dir(self.state().join(dir)).into_iter().flatten().flatten();
        names.filter(|entry| !entry.file_name().to_string_lossy().starts_with('.')).count()
    }
}

#[test]
fn an_alert_is_analysed_whatever_dies() {
    let broker = repository("examples/integral/python/bin/comet-sendvo");
    assert!(broker.exists(), "{} is missing: examples/integral/install makes it", broker.display());
    let site = Site::up("integral", &["queue", "backup", "alerts"]);
    let mut put = Command::new(repository("examples/integral/jobq.py"));
    put.env("BEANSTALK", format!("127.0.0.1:{}", site.ports[0])).args(["put", "--tube", "osa"]);
    put.args((0..60).map(|n| format!("job {n}")));
    site.ask(put);
    let all =
        ["integral/analysis/queue", "integral/analysis/workers/worker0", "integral/analysis/workers/worker1"];
    assert_eq!(site.kill(all[0], &all), all, "a new queue has new workers");
    assert_eq!(site.kill(all[1], &all), [all[1]], "a worker comes back alone");

    assert_eq!(
        site.kill("integral/alert-receiver", &["integral/alert-receiver", all[0]]),
        ["integral/alert-receiver"]
    );
    let mut send = Command::new(broker);
    send.args(["--host=127.0.0.1", &format!("--port={}", site.ports[2]), "-f"]);
    send.arg(repository("examples/integral/event.xml"));
    site.ask(send);
    site.bed.wait("60 jobs and an alert to be analysed", |_| site.files("results") == 61);

    fs::write(site.state().join("archive/one"), "first").expect("data");
    site.bed.wait("the first data to be copied", |_| site.files("backup") == 1);
    let archive = ["integral/archive/backup-store", "integral/archive/mirror"];
    assert_eq!(site.kill(archive[1], &archive), [archive[1]]);
    fs::write(site.state().join("archive/two"), "second").expect("data");
    site.bed.wait("what arrived meanwhile to be copied", |_| site.files("backup") == 2);
    site.bed.stop();
}

#[test]
fn a_site_loses_no_job_when_its_batch_controller_dies() {
    let site = Site::up("grid", &["controller", "node", "storage"]);
    let slurm = |program: &str, args: &[&str]| {
        let mut command = Command::new(program);
        command.env("SLURM_CONF", site.state().join("slurm.conf")).env("JOB_SECONDS", "0.5").args(args);
        site.ask(command)
    };
    let job = site.state().join("job.sh").display().to_string();
    slurm("sbatch", &["--array=0-59", &job]);
    site.bed.wait("some jobs to end", |_| site.files("out") > 5);
    let element = ["munge", "controller", "node"].map(|id| format!("grid/computing-element/{id}"));
    let element: Vec<&str> = element.iter().map(String::as_str).collect();
    assert_eq!(site.kill(element[1], &element), element[1..], "a new controller has a new node daemon");
    // A job that was just being launched or just ending stays *running* in slurm's books, for twenty minutes if need be, and
    // is then queued again: it is late, and not lost.
    let before = site.files("out");
    site.bed.wait("all jobs to have ended or to be in slurm's books, and more of them to end", |_| {
        let queue = slurm("squeue", &["-h", "-r", "-o", "%K"]);
        let ended = fs::read_dir(site.state().join("out")).into_iter().flatten().flatten();
        let ended: BTreeSet<String> =
            ended.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
        let known: BTreeSet<&str> = ended.iter().map(String::as_str).chain(queue.lines()).collect();
        (ended.len() > before || ended.len() == 60) && known.len() == 60
    });
    assert_eq!(
        site.kill("grid/storage-element", &[element[0], "grid/storage-element"]),
        ["grid/storage-element"]
    );
    site.bed.stop();
}
