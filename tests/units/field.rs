//! Many trees side by side, each on both sides, led through their incidents in step.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::thread::sleep;
use std::time::{Duration, Instant};

use woodward::units::Deviates;

use super::bed::Bed;
use super::equal::{allows, differences};
use super::incident::{Incident, Story};
use super::random_tree::RUN;
use super::shape::Shape;
use super::sides::{Look, Native, Side, Wish, Woodward};
use super::trace::{Reader, line};
use crate::random::Random;

/// A tree that does not come to rest in this time never does.
const PATIENCE: Duration = Duration::from_secs(30);
/// Between two looks.
const PAUSE: Duration = Duration::from_millis(30);
/// So many looks in a row that show the same, with nothing going on.
const AGREE: u32 = 6;

/// A tree to be compared.
pub struct Case {
    /// The tree's own.
    pub id: String,
    /// Its text with [`RUN`] in it.
    pub text: String,
    /// How many incidents.
    pub incidents: usize,
    pub random: Random,
}

/// What came of a case.
#[derive(Debug, Default)]
pub struct Verdict {
    pub id: String,
    /// Incidents after which both sides were the same.
    pub same: usize,
    /// Differences by the name of the deviation that allows them.
    pub deviations: BTreeMap<&'static str, usize>,
    /// What nothing allows; empty: none.
    pub wrong: String,
}

/// The units first.
type Sides = [Box<dyn Side>; 2];

struct Subject {
    case: Case,
    /// The tree for each side.
    texts: [String; 2],
    /// Names and texts.
    units: Vec<(String, String)>,
    shape: Shape,
    deviates: Vec<Deviates>,
    story: Story,
    native: Reader,
    woodward: Reader,
    /// Incidents and what followed, for people.
    told: String,
    verdict: Verdict,
    /// A deviation has brought the sides into different states; a stop of the whole tree ends that.
    apart: bool,
    /// Something was wrong.
    over: bool,
}

/// Who woodward is compared with.
#[derive(Clone, Copy, Debug)]
pub enum Against {
    /// The units of the same tree, each changed by this: name and text.
    Units(fn(&str, String) -> String),
    /// Another woodward.
    Itself,
}

/// Leads these through their incidents.
pub fn run(bed: &mut Bed, cases: Vec<Case>, against: Against) -> Vec<Verdict> {
    let mut subjects: Vec<Subject> = cases.into_iter().map(|case| Subject::new(bed, case)).collect();
    let ids: Vec<String> = subjects.iter().map(|s| s.case.id.clone()).collect();
    let workers: Vec<String> =
        subjects.iter().flat_map(|s| s.shape.workers().map(|worker| worker.path.clone())).collect();
    let files = |side: usize| -> Vec<(String, String)> {
        subjects.iter().map(|s| (s.case.id.clone(), s.texts[side].clone())).collect()
    };
    let woodward = Woodward::up(bed, "w", &files(1));
    let native: Box<dyn Side> = match against {
        Against::Itself => Box::new(Woodward::up(bed, "n", &files(0))),
        Against::Units(change) => {
            let units = subjects.iter().flat_map(|s| s.units.iter().cloned());
            let units: Vec<(String, String)> =
                units.map(|(name, text)| (name.clone(), change(&name, text))).collect();
            Box::new(Native::up(bed, &units, &ids, &workers))
        }
    };
    let sides: Sides = [native, Box::new(woodward)];
    let steps = subjects.iter().map(|s| s.case.incidents).max().unwrap_or_default();
    let begin = subjects.iter().map(|_| Some(Incident::Begin)).collect();
    step(bed, &sides, &mut subjects, begin);
    for at in 0..steps {
        let next = |s: &mut Subject| (!s.over && at < s.case.incidents).then(|| s.next());
        let incidents = subjects.iter_mut().map(next).collect();
        step(bed, &sides, &mut subjects, incidents);
    }
    let last = subjects.iter().map(|s| (!s.over).then(|| Incident::Stop(s.case.id.clone()))).collect();
    step(bed, &sides, &mut subjects, last);
    sides.iter().for_each(|side| side.down(bed));
    subjects.into_iter().map(|s| s.verdict).collect()
}

/// One incident for each tree that has one, rest, and the comparison.
fn step(bed: &mut Bed, sides: &Sides, subjects: &mut [Subject], incidents: Vec<Option<Incident>>) {
    let mut kill = String::new();
    for (subject, incident) in subjects.iter().zip(&incidents) {
        if let Some(Incident::End(how, victims)) = incident {
            for path in victims {
                for alive in [subject.native.alive(), subject.woodward.alive()] {
                    let pid = alive.get(path).expect("a victim lives on both sides");
                    write!(kill, "kill -{} {pid};", how.signal()).expect("a string takes everything");
                }
            }
        }
    }
    if !kill.is_empty() {
        bed.sh(&kill);
        for (subject, incident) in subjects.iter().zip(&incidents).filter_map(|(s, i)| Some((s, i.as_ref()?)))
        {
            super::wait("the victims to end", || subject.have_ended(incident.victims()));
        }
    }
    for wish in [Wish::Stop, Wish::Start] {
        let paths = |incident: &Option<Incident>| match (incident, wish) {
            (Some(Incident::Stop(path)), Wish::Stop) | (Some(Incident::Start(path)), Wish::Start) => {
                Some(path.clone())
            }
            _ => None,
        };
        let paths: Vec<String> = incidents.iter().filter_map(paths).collect();
        sides.iter().for_each(|side| side.ask(bed, wish, &paths));
    }
    let restless = rest(bed, sides, subjects, &incidents);
    for ((subject, incident), restless) in subjects.iter_mut().zip(incidents).zip(restless) {
        if let Some(incident) = incident {
            subject.compare(&incident, restless);
        }
    }
}

/// Waits until all that had an incident are at rest. Says of each that is not what goes on.
fn rest(
    bed: &mut Bed,
    sides: &Sides,
    subjects: &[Subject],
    incidents: &[Option<Incident>],
) -> Vec<Option<String>> {
    let end = Instant::now() + PATIENCE;
    let mut before: Vec<(String, u32)> = subjects.iter().map(|_| (String::new(), 0)).collect();
    loop {
        let looks = sides.each_ref().map(|side| side.look(bed));
        let mut restless: Vec<Option<String>> = Vec::new();
        for ((subject, before), incident) in subjects.iter().zip(&mut before).zip(incidents) {
            let now = subject.state(&looks);
            let seen = match &now {
                Ok(state) if *state == before.0 => before.1 + 1,
                _ => 0,
            };
            restless.push(match &now {
                _ if incident.is_none() => None,
                Err(why) => Some(why.clone()),
                Ok(state) => (seen < AGREE).then(|| state.clone()),
            });
            *before = (now.unwrap_or_default(), seen);
        }
        if restless.iter().all(Option::is_none) || Instant::now() > end {
            return restless;
        }
        sleep(PAUSE);
    }
}

impl Subject {
    fn new(bed: &Bed, case: Case) -> Subject {
        let dirs = ["n", "w"].map(|side| bed.path().join(side).join(&case.id));
        let readers = dirs.each_ref().map(|dir| {
            std::fs::remove_dir_all(dir).ok();
            Reader::new(dir)
        });
        let texts = ["n", "w"].map(|side| case.text.replace(RUN, &format!("/proof/{side}/{}", case.id)));
        let plan = super::plan(&case.id, &texts[0]);
        let rendering = super::render(&plan);
        let units = rendering.units.iter().map(|unit| (unit.name.clone(), unit.to_string())).collect();
        let [native, woodward] = readers;
        let verdict = Verdict { id: case.id.clone(), ..Verdict::default() };
        Subject {
            case,
            texts,
            units,
            shape: Shape::of(&plan),
            deviates: rendering.deviations,
            story: Story::default(),
            native,
            woodward,
            told: String::new(),
            verdict,
            apart: false,
            over: false,
        }
    }

    fn next(&mut self) -> Incident {
        self.story.next(&self.shape, self.woodward.alive(), &mut self.case.random)
    }

    fn have_ended(&self, victims: &[String]) -> bool {
        [&self.native, &self.woodward].into_iter().all(|reader| {
            let Some(same) = reader.unchanged() else { return true };
            victims.iter().all(|victim| !same.contains(victim))
        })
    }

    /// What is seen of it, if nothing goes on and each side knows whose process lives; else what goes on.
    fn state(&self, looks: &[Look; 2]) -> Result<String, String> {
        let mut state = String::new();
        for (look, (reader, name)) in
            looks.iter().zip([(&self.native, "native"), (&self.woodward, "woodward")])
        {
            let living = reader.living();
            if look.busy.contains(&self.case.id) {
                return Err(format!("{name}: something is going on"));
            }
            for worker in self.shape.workers() {
                let (word, runs) = look.workers.get(&worker.path).cloned().unwrap_or_default();
                if runs != living.contains(&worker.path) {
                    return Err(format!("{name}: {} is {word}, lives: {}", worker.path, !runs));
                }
                write!(state, "{name} {} {word};", worker.path).expect("a string takes everything");
            }
            write!(state, "{name} {};", reader.length()).expect("a string takes everything");
        }
        Ok(state)
    }

    fn compare(&mut self, incident: &Incident, restless: Option<String>) {
        let (native, woodward) = (self.native.take(), self.woodward.take());
        writeln!(
            self.told,
            "{incident}\n  native   {}\n  woodward {}",
            line(&native.events),
            line(&woodward.events)
        )
        .expect("a string takes everything");
        let mut found = differences(&self.shape, incident, &native, &woodward);
        let at_root = matches!(incident, Incident::Stop(path) if *path == self.case.id);
        if self.apart {
            // Other processes live: what counts is that they come to be the same again.
            found.retain(|difference| at_root && difference.fate);
        }
        let mut wrong: Vec<String> = restless.map(|why| format!("no rest: {why}")).into_iter().collect();
        for difference in &found {
            let allows =
                |d: &&Deviates| allows(d, &self.shape, &self.story, incident, difference, &native, &woodward);
            match self.deviates.iter().find(allows) {
                Some(deviates) => *self.verdict.deviations.entry(deviates.deviation.name()).or_default() += 1,
                None => wrong.push(difference.text.clone()),
            }
        }
        if !wrong.is_empty() {
            self.over = true;
            self.verdict.wrong = format!("{}{}\n{}", self.about(), self.told, wrong.join("\n"));
        } else if found.is_empty() {
            self.verdict.same += usize::from(!self.apart);
            self.apart &= !at_root;
        } else {
            self.apart = true;
            self.story.blur();
        }
    }

    /// The tree and what is said of its units.
    fn about(&self) -> String {
        let mut text = self.case.text.clone();
        for Deviates { deviation, path, text: means } in &self.deviates {
            writeln!(text, "# {deviation} at {path}: {means}").expect("a string takes everything");
        }
        text
    }
}
