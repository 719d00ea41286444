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

/// A candidate `a` that claimed the Lease at second 100 and got the answer a second later.
fn leader() -> Election {
    let mut election = Election::new("a");
    election.saw(None, seconds(100));
    election.claiming(at(7));
    election.won(record("a", 7), seconds(100), seconds(101));
    election
}

#[test]
fn absent_lease_is_created() {
    let mut election = Election::new("a");
    assert!(election.must_look(seconds(0)));
    assert_eq!(election.claim(seconds(0)), None);
    election.saw(None, seconds(0));
    let claim = election.claim(seconds(0)).unwrap();
    assert_eq!((claim.base, claim.transitions), (None, 0));
}

#[test]
fn holder_leads_from_the_sending_of_its_claim() {
    let election = leader();
    assert_eq!(election.leads_until(seconds(109)), Some(seconds(110)));
    assert_eq!(election.leads_until(seconds(110)), None);
    assert!(!election.must_look(seconds(109)));
    assert!(election.must_look(seconds(110)));
}

#[test]
fn late_answer_makes_no_leader() {
    let mut election = Election::new("a");
    election.saw(None, seconds(100));
    election.claiming(at(7));
    election.won(record("a", 7), seconds(100), seconds(130));
    assert_eq!(election.leads_until(seconds(130)), None);
}

#[test]
fn unrenewed_lease_is_taken_after_its_duration() {
    let mut election = Election::new("b");
    election.saw(Some(record("a", 7)), seconds(1000));
    assert_eq!(election.claim(seconds(1014)), None);
    // A label, for example, changes the version without a renewal.
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
fn released_lease_is_taken_at_once() {
    let mut election = Election::new("b");
    election.saw(Some(record("a", 7)), seconds(1000));
    election.saw(Some(record("", 8)), seconds(1002));
    assert_eq!(election.claim(seconds(1002)).unwrap().transitions, 4);
}

#[test]
fn huge_lease_duration_is_capped_at_a_minute() {
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
fn holder_renews_the_current_version() {
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
fn granted_claim_is_ours_without_its_answer() {
    let mut election = leader();
    for renewed in 20..23 {
        election.claiming(at(renewed));
        election.doubt();
    }
    election.saw(Some(record("a", 20)), seconds(120));
    // No other candidate leads, so this one may claim at once.
    assert!(!election.claim(seconds(120)).unwrap().acquires);
}

#[test]
fn lease_with_our_name_alone_is_not_ours() {
    let mut restarted = Election::new("a");
    restarted.saw(Some(record("a", 7)), seconds(0));
    assert_eq!(restarted.claim(seconds(14)), None);
    // The Lease had no leader between the two processes.
    let claim = restarted.claim(seconds(15)).unwrap();
    assert_eq!((claim.transitions, claim.acquires), (4, true));
    assert_eq!(restarted.resign(), None);
}

#[test]
fn leader_stops_when_it_sees_another_holder() {
    let mut election = leader();
    election.saw(Some(record("b", 8)), seconds(102));
    assert_eq!(election.leads_until(seconds(102)), None);
    assert_eq!(election.claim(seconds(102)), None);
    assert_eq!(election.resign(), None);
}

#[test]
fn deleted_lease_is_recreated_by_its_holder_first() {
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
fn only_a_held_lease_is_released() {
    let mut election = leader();
    assert_eq!(election.resign().unwrap().version, "7");
    assert_eq!(election.leads_until(seconds(101)), None);
    assert_eq!(Election::new("a").resign(), None);
    let mut in_doubt = leader();
    in_doubt.doubt();
    assert_eq!(in_doubt.resign(), None);
}

#[test]
fn candidate_that_handed_over_lets_others_go_first() {
    let mut election = leader();
    assert!(election.may_hand_over(seconds(105)));
    election.resign().unwrap();
    election.handed_over(seconds(105));
    election.saw(Some(record("", 8)), seconds(107));
    assert_eq!(election.claim(seconds(136)), None);
    assert!(election.claim(seconds(137)).is_some());
    // Another holder died.
    election.saw(Some(record("b", 9)), seconds(200));
    assert_eq!(election.claim(seconds(244)), None);
    assert!(election.claim(seconds(245)).is_some());
    // It leads again, and keeps the Lease for the rest of the hour.
    election.claiming(at(10));
    election.won(record("a", 10), seconds(245), seconds(246));
    assert!(!election.may_hand_over(seconds(247)));
    assert!(!election.claim(seconds(247)).unwrap().acquires);
    election.won(record("a", 10), seconds(3705), seconds(3705));
    assert!(election.may_hand_over(seconds(3705)));
}

#[test]
fn only_a_leader_hands_over() {
    assert!(!Election::new("a").may_hand_over(seconds(0)));
    assert!(!leader().may_hand_over(seconds(110)));
}

/// An event at one candidate.
#[derive(Clone, Copy, Debug)]
enum ElectionEvent {
    /// The candidate reads and claims as due, and gets both answers.
    Round,
    /// The claim reaches the API server, but the answer does not come.
    Deaf,
    /// The candidate sends a claim that stays in flight; its earlier claim arrives.
    Late,
    /// The candidate dies and restarts under the same name.
    Restarts,
    /// The candidate releases the Lease.
    Resigns,
    /// A user labels the Lease.
    Labelled,
}

fn events() -> impl Strategy<Value = Vec<(usize, ElectionEvent, u64)>> {
    let what = prop_oneof![
        10 => Just(ElectionEvent::Round),
        2 => Just(ElectionEvent::Deaf),
        2 => Just(ElectionEvent::Late),
        1 => Just(ElectionEvent::Restarts),
        1 => Just(ElectionEvent::Resigns),
        1 => Just(ElectionEvent::Labelled),
    ];
    let pause = prop_oneof![8 => 0..3000_u64, 1 => 0..40_000_u64];
    prop::collection::vec((0..3_usize, what, pause), 1..200)
}

/// A claim in flight.
struct ClaimInFlight {
    claim: Claim,
    renewed: Timestamp,
}

/// The API server and three candidates with independent clocks.
struct Trial {
    /// Current time in milliseconds.
    now: u64,
    written: u64,
    lease: Option<Record>,
    candidates: Vec<(Election, Option<ClaimInFlight>)>,
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

    /// The API server's answer to a claim: the new Lease, or a refusal.
    fn write(&mut self, index: usize, sent: &ClaimInFlight) -> Option<Record> {
        let base = self.lease.as_ref().map(|lease| ObjectVersion {
            uid: lease.uid.clone(),
            version: lease.version.clone(),
        });
        if sent.claim.base != base {
            return None;
        }
        self.written += 1;
        let lease = Record {
            uid: "uid".to_owned(),
            version: self.written.to_string(),
            holder: name(index),
            renewed: Some(sent.renewed),
            duration: Some(DURATION),
            transitions: sent.claim.transitions,
        };
        let before = self.lease.as_ref().map_or(0, |lease| lease.transitions);
        assert!(lease.transitions >= before);
        self.lease = Some(lease.clone());
        Some(lease)
    }

    fn claim(&mut self, index: usize) -> Option<ClaimInFlight> {
        let now = self.clock(index);
        let renewed = at(1_000_000 + self.now * 1000);
        let (election, _) = &mut self.candidates[index];
        if election.must_look(now) {
            election.saw(self.lease.clone(), now);
        }
        let claim = election.claim(now)?;
        election.claiming(renewed);
        Some(ClaimInFlight { claim, renewed })
    }

    fn apply(&mut self, index: usize, event: ElectionEvent) {
        match event {
            ElectionEvent::Round => {
                if let Some(sent) = self.claim(index) {
                    let asked = self.clock(index);
                    // The answer takes up to four seconds.
                    let lease = self.write(index, &sent);
                    self.now += sent.renewed.as_millisecond().unsigned_abs() * 7 % 4000;
                    let now = self.clock(index);
                    let (election, _) = &mut self.candidates[index];
                    match lease {
                        Some(lease) => election.won(lease, asked, now),
                        None => election.doubt(),
                    }
                }
            }
            ElectionEvent::Deaf => {
                if let Some(sent) = self.claim(index) {
                    self.write(index, &sent);
                    self.candidates[index].0.doubt();
                }
            }
            ElectionEvent::Late => {
                let next = self.claim(index);
                if let Some(sent) = std::mem::replace(&mut self.candidates[index].1, next) {
                    self.write(index, &sent);
                }
                self.candidates[index].0.doubt();
            }
            ElectionEvent::Restarts => self.candidates[index].0 = Election::new(&name(index)),
            ElectionEvent::Resigns => {
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
            ElectionEvent::Labelled => {
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
    fn leader_is_unique_and_always_followed(events in events()) {
        let mut trial = Trial::new();
        for (index, event, pause) in events {
            trial.apply(index, event);
            prop_assert!(trial.leaders().len() <= 1, "{:?}", trial.leaders());
            trial.now += pause;
            prop_assert!(trial.leaders().len() <= 1, "{:?}", trial.leaders());
        }
        // Quiet: every candidate does its rounds until a Lease's duration and a retry have passed.
        let end = trial.now + 20_000;
        while trial.now < end && trial.leaders().is_empty() {
            for index in 0..3 {
                trial.apply(index, ElectionEvent::Round);
            }
            trial.now += 2000;
        }
        prop_assert_eq!(trial.leaders().len(), 1);
    }
}
