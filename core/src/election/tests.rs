use proptest::prelude::*;

use super::*;

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn at(micros: u64) -> Timestamp {
    Timestamp::from_microsecond(i64::try_from(micros).unwrap()).unwrap()
}

fn record(holder: &str, renewed: u64) -> Record {
    Record {
        uid: "uid".to_owned(),
        version: renewed.to_string(),
        holder: holder.to_owned(),
        renewed: Some(at(renewed)),
        duration: Some(DURATION),
        transitions: 3,
    }
}

/// A candidate `a` that took the Lease at second 100 and got the answer a second later.
fn leader() -> Election {
    let mut election = Election::new("a");
    election.saw(None, seconds(100));
    election.claiming(at(7));
    election.won(record("a", 7), seconds(100), seconds(101));
    election
}

#[test]
fn a_lease_that_is_not_there_is_made() {
    let mut election = Election::new("a");
    assert!(election.must_look(seconds(0)));
    assert_eq!(election.claim(seconds(0)), None);
    election.saw(None, seconds(0));
    let claim = election.claim(seconds(0)).unwrap();
    assert_eq!((claim.base, claim.transitions), (None, 0));
}

#[test]
fn a_holder_believes_in_itself_from_when_it_asked() {
    let election = leader();
    assert_eq!(election.leads_until(seconds(109)), Some(seconds(110)));
    assert_eq!(election.leads_until(seconds(110)), None);
    assert!(!election.must_look(seconds(109)));
    assert!(election.must_look(seconds(110)));
}

#[test]
fn an_answer_that_comes_too_late_makes_no_leader() {
    let mut election = Election::new("a");
    election.saw(None, seconds(100));
    election.claiming(at(7));
    election.won(record("a", 7), seconds(100), seconds(130));
    assert_eq!(election.leads_until(seconds(130)), None);
}

#[test]
fn a_lease_is_taken_when_nobody_renewed_it_for_its_duration_by_our_own_clock() {
    let mut election = Election::new("b");
    election.saw(Some(record("a", 7)), seconds(1000));
    assert_eq!(election.claim(seconds(1014)), None);
    // A label, say: another version, and nobody renewed.
    let labelled = Record {
        version: "8".to_owned(),
        ..record("a", 7)
    };
    election.saw(Some(labelled), seconds(1014));
    let claim = election.claim(seconds(1015)).unwrap();
    assert_eq!(claim.base.unwrap().version, "8");
    assert_eq!((claim.transitions, claim.acquires), (4, true));
    election.saw(Some(record("a", 9)), seconds(1015));
    assert_eq!(election.claim(seconds(1029)), None);
}

#[test]
fn a_lease_that_was_given_back_is_taken_at_once() {
    let mut election = Election::new("b");
    election.saw(Some(record("a", 7)), seconds(1000));
    election.saw(Some(record("", 8)), seconds(1002));
    assert_eq!(election.claim(seconds(1002)).unwrap().transitions, 4);
}

#[test]
fn a_duration_that_a_person_wrote_keeps_nobody_waiting_for_ever() {
    let mut election = Election::new("b");
    let forever = Record {
        duration: Some(seconds(1_000_000)),
        ..record("a", 7)
    };
    election.saw(Some(forever), seconds(0));
    assert_eq!(election.claim(seconds(59)), None);
    assert!(election.claim(seconds(60)).is_some());
    let none = Record {
        duration: None,
        ..record("c", 8)
    };
    election.saw(Some(none), seconds(60));
    assert_eq!(election.claim(seconds(74)), None);
    assert!(election.claim(seconds(75)).is_some());
}

#[test]
fn the_holder_renews_in_the_version_that_is_there() {
    let mut election = leader();
    let claim = election.claim(seconds(105)).unwrap();
    assert_eq!(claim.base.unwrap().version, "7");
    assert_eq!((claim.transitions, claim.acquires), (3, false));
    election.doubt();
    assert!(election.must_look(seconds(105)));
    assert_eq!(election.claim(seconds(105)), None);
    let labelled = Record {
        version: "9".to_owned(),
        ..record("a", 7)
    };
    election.saw(Some(labelled), seconds(106));
    assert!(election.leads_until(seconds(106)).is_some());
    assert_eq!(
        election.claim(seconds(106)).unwrap().base.unwrap().version,
        "9"
    );
}

#[test]
fn a_claim_that_was_granted_without_an_answer_is_ours() {
    let mut election = leader();
    for renewed in 20..23 {
        election.claiming(at(renewed));
        election.doubt();
    }
    election.saw(Some(record("a", 20)), seconds(120));
    // Nobody else leads, and it may at once.
    assert!(!election.claim(seconds(120)).unwrap().acquires);
}

#[test]
fn the_name_alone_is_not_ours() {
    let mut restarted = Election::new("a");
    restarted.saw(Some(record("a", 7)), seconds(0));
    assert_eq!(restarted.claim(seconds(14)), None);
    // The time between the two was nobody's.
    let claim = restarted.claim(seconds(15)).unwrap();
    assert_eq!((claim.transitions, claim.acquires), (4, true));
    assert_eq!(restarted.resign(), None);
}

#[test]
fn whoever_sees_another_holder_does_not_lead_any_more() {
    let mut election = leader();
    election.saw(Some(record("b", 8)), seconds(102));
    assert_eq!(election.leads_until(seconds(102)), None);
    assert_eq!(election.claim(seconds(102)), None);
    assert_eq!(election.resign(), None);
}

#[test]
fn a_lease_that_somebody_deleted_is_made_by_its_holder_first() {
    let mut follower = Election::new("b");
    follower.saw(Some(record("a", 7)), seconds(0));
    follower.saw(None, seconds(2));
    assert_eq!(follower.claim(seconds(14)), None);
    assert_eq!(follower.claim(seconds(15)).unwrap().transitions, 4);
    let mut holder = leader();
    holder.saw(None, seconds(105));
    let claim = holder.claim(seconds(105)).unwrap();
    assert_eq!((claim.base, claim.transitions), (None, 3));
}

#[test]
fn what_is_given_back_is_what_we_hold() {
    let mut election = leader();
    assert_eq!(election.resign().unwrap().version, "7");
    assert_eq!(election.leads_until(seconds(101)), None);
    assert_eq!(Election::new("a").resign(), None);
    let mut in_doubt = leader();
    in_doubt.doubt();
    assert_eq!(in_doubt.resign(), None);
}

/// What happens to one candidate at a point in time.
#[derive(Clone, Copy, Debug)]
enum Happens {
    /// It does what is due: a look, a claim, both answered.
    Round,
    /// The same, and its claim reaches the API server and the answer does not come.
    Deaf,
    /// Its claim leaves and is on its way; whatever was on its way before arrives.
    Late,
    /// It dies, and starts anew under its name.
    Restarts,
    /// It gives the Lease back.
    Resigns,
    /// Somebody labels the Lease.
    Labelled,
}

fn happenings() -> impl Strategy<Value = Vec<(usize, Happens, u64)>> {
    let what = prop_oneof![
        10 => Just(Happens::Round),
        2 => Just(Happens::Deaf),
        2 => Just(Happens::Late),
        1 => Just(Happens::Restarts),
        1 => Just(Happens::Resigns),
        1 => Just(Happens::Labelled),
    ];
    let pause = prop_oneof![8 => 0..3000_u64, 1 => 0..40_000_u64];
    prop::collection::vec((0..3_usize, what, pause), 1..200)
}

/// A claim on its way.
struct Letter {
    claim: Claim,
    renewed: Timestamp,
}

/// The API server, and three candidates whose clocks have nothing to do with each other.
struct Trial {
    /// Milliseconds.
    now: u64,
    written: u64,
    lease: Option<Record>,
    candidates: Vec<(Election, Option<Letter>)>,
}

impl Trial {
    fn new() -> Self {
        Self {
            now: 0,
            written: 0,
            lease: None,
            candidates: (0..3)
                .map(|index| (Election::new(&name(index)), None))
                .collect(),
        }
    }

    fn clock(&self, index: usize) -> Duration {
        Duration::from_millis(self.now + 1_000_000 * index as u64)
    }

    fn leaders(&self) -> Vec<usize> {
        let leads = |index: &usize| {
            let (election, _) = &self.candidates[*index];
            election.leads_until(self.clock(*index)).is_some()
        };
        (0..3).filter(leads).collect()
    }

    /// What the API server makes of a claim.
    fn write(&mut self, index: usize, letter: &Letter) -> Option<Record> {
        let base = self.lease.as_ref().map(|lease| ObjectVersion {
            uid: lease.uid.clone(),
            version: lease.version.clone(),
        });
        if letter.claim.base != base {
            return None;
        }
        self.written += 1;
        let lease = Record {
            uid: "uid".to_owned(),
            version: self.written.to_string(),
            holder: name(index),
            renewed: Some(letter.renewed),
            duration: Some(DURATION),
            transitions: letter.claim.transitions,
        };
        let before = self.lease.as_ref().map_or(0, |lease| lease.transitions);
        assert!(lease.transitions >= before);
        self.lease = Some(lease.clone());
        Some(lease)
    }

    fn claim(&mut self, index: usize) -> Option<Letter> {
        let now = self.clock(index);
        let renewed = at(1_000_000 + self.now * 1000);
        let (election, _) = &mut self.candidates[index];
        if election.must_look(now) {
            election.saw(self.lease.clone(), now);
        }
        let claim = election.claim(now)?;
        election.claiming(renewed);
        Some(Letter { claim, renewed })
    }

    fn happen(&mut self, index: usize, happens: Happens) {
        match happens {
            Happens::Round => {
                if let Some(letter) = self.claim(index) {
                    let asked = self.clock(index);
                    // The answer takes up to four seconds, and so may the claim.
                    let lease = self.write(index, &letter);
                    self.now += letter.renewed.as_millisecond().unsigned_abs() * 7 % 4000;
                    let now = self.clock(index);
                    let (election, _) = &mut self.candidates[index];
                    match lease {
                        Some(lease) => election.won(lease, asked, now),
                        None => election.doubt(),
                    }
                }
            }
            Happens::Deaf => {
                if let Some(letter) = self.claim(index) {
                    self.write(index, &letter);
                    self.candidates[index].0.doubt();
                }
            }
            Happens::Late => {
                let next = self.claim(index);
                if let Some(letter) = std::mem::replace(&mut self.candidates[index].1, next) {
                    self.write(index, &letter);
                }
                self.candidates[index].0.doubt();
            }
            Happens::Restarts => self.candidates[index].0 = Election::new(&name(index)),
            Happens::Resigns => {
                let base = self.candidates[index].0.resign();
                let lease = self.lease.as_mut();
                if let Some(lease) = lease.filter(|lease| {
                    base.as_ref()
                        .is_some_and(|base| base.version == lease.version)
                }) {
                    self.written += 1;
                    lease.version = self.written.to_string();
                    lease.holder.clear();
                }
            }
            Happens::Labelled => {
                if let Some(lease) = &mut self.lease {
                    self.written += 1;
                    lease.version = self.written.to_string();
                }
            }
        }
    }
}

fn name(index: usize) -> String {
    format!("replica-{index}")
}

proptest! {
    #[test]
    fn there_is_never_a_second_leader_and_always_a_next_one(happenings in happenings()) {
        let mut trial = Trial::new();
        for (index, happens, pause) in happenings {
            trial.happen(index, happens);
            prop_assert!(trial.leaders().len() <= 1, "{:?}", trial.leaders());
            trial.now += pause;
            prop_assert!(trial.leaders().len() <= 1, "{:?}", trial.leaders());
        }
        // Peace: everybody does its rounds, until the longest Lease and a retry have passed.
        let end = trial.now + 20_000;
        while trial.now < end && trial.leaders().is_empty() {
            for index in 0..3 {
                trial.happen(index, Happens::Round);
            }
            trial.now += 2000;
        }
        prop_assert_eq!(trial.leaders().len(), 1);
    }
}
