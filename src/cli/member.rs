//! This node's part in a cluster, as the daemon takes it up: only if one of its trees has `[failover]`.

use std::path::Path;
use std::sync::Arc;

use tokio::task::JoinHandle;
use woodward_engine::cluster::{Name, Request, Timing};

use super::report::{Code, Failure};
use crate::cluster::mail::{self, Mail};
use crate::cluster::{self, Prepared};
use crate::os::Os;
use crate::record::Record;
use crate::runtime::Handle;
use crate::runtime::groups::Groups;
use crate::settings::Settings;
use crate::store::Store;
use crate::store::etcd::{self, Etcd};
use crate::store::tls::Files;
use crate::tree::Plan;

/// A node that has not joined yet.
pub(super) struct Member {
    prepared: Prepared,
    store: Arc<dyn Store>,
    mail: Mail,
}

/// A node that takes part.
pub(super) struct Joined {
    /// What the rest of the house sees of it.
    pub(super) handle: cluster::Handle,
    task: JoinHandle<()>,
}

/// Looks at the settings, and at what an earlier daemon left. `None`: no tree is a cluster's.
pub(super) async fn of(
    plans: &[Plan],
    settings: &Settings,
    at: Option<&str>,
    os: &Os,
    run: &Path,
) -> Result<Option<Member>, Failure> {
    let Some(first) = plans.iter().find(|plan| plan.failover.is_some()) else { return Ok(None) };
    let id = &first.tree.id;
    let wrong = |why: String| Failure::new(Code::Config, format!("cannot run {id}: {why}"));
    if let Some(at) = at {
        let why = format!("it has [failover], and a cluster places whole trees, not {at} alone");
        return Err(wrong(why).hint("take [failover] away for this run: failover = false in a layer"));
    }
    if settings.etcd.0.is_empty() {
        let why = "it has [failover], and the setting `etcd` names no member of a store".to_owned();
        return Err(
            wrong(why).hint("etcd = [\"http://10.0.0.1:2379\", ...] in the settings: woodward settings")
        );
    }
    let host = nix::unistd::gethostname().unwrap_or_default().to_string_lossy().into_owned();
    let node: Name = settings.node(&host).into();
    if node.is_empty() || node.contains('/') {
        return Err(wrong(format!("this node has no name that can be used: \"{node}\""))
            .hint("node = \"h1\" in the settings"));
    }
    let beat = first.failover.as_ref().map_or(Timing::NORMAL, |failover| failover.timing).beat;
    let store = Etcd::open(store(settings, beat)?).map_err(|error| wrong(error.to_string()))?;
    let prepared = cluster::prepare(os, run, &node, plans).await.map_err(|problem| {
        let failure = Failure::new(Code::NotPermitted, problem.to_string());
        problem.hint().map_or(failure.clone(), |hint| failure.hint(hint))
    })?;
    if !settings.watchdog_device.as_os_str().is_empty() {
        watchdog(os, settings, first)?;
    }
    let mail = Mail::start(mail_of(settings, &node), os.clone()).map_err(wrong)?;
    Ok(Some(Member { prepared, store: Arc::new(store), mail }))
}

/// Who is told of moves.
fn mail_of(settings: &Settings, node: &str) -> mail::Settings {
    let to = settings.mail_to.split(',').map(str::trim).filter(|to| !to.is_empty());
    mail::Settings {
        to: to.map(str::to_owned).collect(),
        from: Some(settings.mail_from.clone()).filter(|from| !from.is_empty()),
        sendmail: vec![settings.sendmail.display().to_string()],
        webhook: settings.webhook.0.first().cloned(),
        node: node.to_owned(),
        cluster: settings.cluster.clone(),
    }
}

/// What the settings say of the store.
fn store(settings: &Settings, beat: std::time::Duration) -> Result<etcd::Settings, Failure> {
    let file = |path: &std::path::PathBuf| Some(path.clone()).filter(|path| !path.as_os_str().is_empty());
    let tls = Files {
        ca: file(&settings.etcd_ca),
        certificate: file(&settings.etcd_certificate),
        key: file(&settings.etcd_key),
    };
    let any = tls.ca.is_some() || tls.certificate.is_some();
    Ok(etcd::Settings {
        members: settings.etcd.0.clone(),
        cluster: settings.cluster.as_str().into(),
        beat,
        user: user(settings)?,
        tls: any.then_some(tls),
    })
}

fn user(settings: &Settings) -> Result<Option<etcd::User>, Failure> {
    if settings.etcd_user.is_empty() {
        return Ok(None);
    }
    let file = &settings.etcd_password_file;
    let text = match file.as_os_str().is_empty() {
        true => String::new(),
        false => std::fs::read_to_string(file).map_err(|error| {
            let message = format!("cannot log in to etcd: {}: {error}", file.display());
            Failure::new(Code::Config, message).hint("setting `etcd_password_file`")
        })?,
    };
    let password = text.lines().next().unwrap_or_default().to_owned();
    Ok(Some(etcd::User { name: settings.etcd_user.clone(), password }))
}

/// The device resets this host when the keeper cannot end what it must.
fn watchdog(os: &Os, settings: &Settings, first: &Plan) -> Result<(), Failure> {
    let timing = first.failover.as_ref().map_or(Timing::NORMAL, |failover| failover.timing);
    let timeout = timing.wait.saturating_sub(timing.hold);
    os.guard().use_watchdog(&settings.watchdog_device, timeout).map_err(|error| {
        let failure = Failure::new(Code::NotPermitted, error.to_string());
        error.hint().map_or(failure.clone(), |hint| failure.hint(hint))
    })
}

impl Member {
    /// What the kernel shares with it.
    pub(super) fn groups(&self) -> Groups {
        self.prepared.groups()
    }

    /// Joins.
    pub(super) fn join(self, kernel: Handle, record: Record) -> Joined {
        let (handle, task) = self.prepared.start(kernel, record, self.store, self.mail);
        Joined { handle, task }
    }
}

impl Joined {
    /// Its groups go to others; resolves when it has left.
    pub(super) async fn leave(handle: cluster::Handle) {
        // One that is gone has left.
        let _ = handle.request(Request::Leave).await;
    }

    /// Resolves when it has failed.
    pub(super) async fn failed(&mut self) {
        if (&mut self.task).await.is_ok() {
            std::future::pending().await
        }
    }
}
