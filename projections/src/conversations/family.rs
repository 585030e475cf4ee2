//! Level two: a root call with its children is a *family*, and one entry in a thread.
//!
//! Everything here is a function of the legs alone, in no order, so nothing ever "moves": it is computed
//! again. Merging follows seed 000's note on parent and child calls: `total_duration` is the root's,
//! `talk_time` what was spoken with somebody, `wait_time` the rest.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};

use domain::call::CallStatus;
use domain::direction::{Direction, TwilioDirection};
use time::OffsetDateTime;

use super::leg::Leg;

/// The legs of one call from end to end.
#[derive(Debug)]
pub(crate) struct Family<'a> {
    /// The SID of the topmost call, seen or not.
    pub key: &'a str,
    /// The root, once it has been announced.
    pub root: Option<&'a Leg>,
    /// The announced legs below it, in the order of their SIDs.
    pub children: Vec<&'a Leg>,
}

/// Why a family is recorded and not shown (seed 000's sync filters).
const INTERNAL: &str = "internal call";
const NOT_STARTED: &str = "no start time";
const MALFORMED: &str = "malformed number";
const NO_PARTY: &str = "no external party";

/// What a leg came to, seen together with its family. Durations are seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Reached {
    pub status: CallStatus,
    /// Answered, and connected to the other side.
    pub connected: bool,
    /// None while unknown; 0 for a call that Twilio says has ended without one.
    pub duration: Option<i32>,
    pub ended_at: Option<OffsetDateTime>,
}

/// What the whole call came to. Durations are seconds, unknown until the call has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Merged {
    pub display_status: CallStatus,
    pub live: bool,
    pub missed: bool,
    pub total_duration: Option<i32>,
    pub talk_time: Option<i32>,
}

impl<'a> Family<'a> {
    /// Sorts legs into families: a leg belongs to the topmost leg that is reached by parent SIDs.
    pub fn assemble(legs: &'a HashMap<String, Leg>) -> Vec<Self> {
        let mut families: BTreeMap<&str, Self> = BTreeMap::new();
        let mut sids: Vec<&String> = legs.keys().collect();
        sids.sort_unstable();
        for leg in sids.into_iter().filter_map(|sid| legs.get(sid)).filter(|leg| leg.announced) {
            let top = topmost(leg, legs);
            let family =
                families.entry(top).or_insert_with(|| Self { key: top, root: None, children: Vec::new() });
            if leg.call_sid == top {
                family.root = Some(leg);
            } else {
                family.children.push(leg);
            }
        }
        families.into_values().collect()
    }

    pub fn legs(&self) -> impl Iterator<Item = &'a Leg> {
        self.root.into_iter().chain(self.children.iter().copied())
    }

    /// The leg whose external party is the family's: the root's, or a child's where the root has none.
    pub fn placed_by(&self) -> Option<&'a Leg> {
        let root = self.root?;
        if root.party_key.is_some() {
            return Some(root);
        }
        let known = |leg: &&&Leg| leg.party_key.is_some();
        self.children.iter().filter(known).min_by_key(|leg| (leg.started_at, &leg.call_sid)).copied()
    }

    /// Our number in the call: the one that was called, or that called. A softphone has none, so there it is the number
    /// by which its first child went out.
    pub fn line(&self) -> Option<&'a str> {
        let party = self.placed_by()?.party_key.as_deref();
        let line_of = |leg: &'a Leg| leg.numbers_on_our_side().find(|number| Some(*number) != party);
        self.root.and_then(line_of).or_else(|| {
            let lines = self.children.iter().filter_map(|leg| Some((leg, line_of(leg)?)));
            lines.min_by_key(|(leg, _)| (leg.started_at, &leg.call_sid)).map(|(_, line)| line)
        })
    }

    /// Why the family is in no thread although its root is known.
    pub fn hidden_reason(&self) -> Option<&'static str> {
        let root = self.root?;
        match self.placed_by() {
            _ if root.is(Direction::Internal) => Some(INTERNAL),
            // A time that nobody stated would be shown as one (seed 000: "prevents epoch dates").
            _ if root.started_at.is_none() => Some(NOT_STARTED),
            Some(_) => None,
            None if root.from_malformed || root.to_malformed => Some(MALFORMED),
            None => Some(NO_PARTY),
        }
    }

    /// A leg's own report, completed by what a dial action said of it: the root's, or that of a child which
    /// was transferred and dialled on.
    pub fn reached(&self, leg: &Leg) -> Reached {
        // With it, when the leg that dialled ended: our TwiML ends both at once.
        let told = self
            .legs()
            .filter_map(|other| Some((other.dial_of(&leg.call_sid)?, Reverse(other.ended_at))))
            .max();
        let dial = told.map(|(dial, _)| dial);
        let own = leg.status();
        let status = if own.is_final() { own } else { dial.map_or(own, |dial| dial.status) };
        let answered = matches!(status, CallStatus::InProgress | CallStatus::Completed);
        let connected = answered && dial.is_none_or(|dial| dial.bridged != Some(false));
        let stated = leg.duration.or_else(|| dial.and_then(|dial| dial.seconds).map(u32::cast_signed));
        // Zero, empty and missing are alike: a call that has ended by Twilio's word lasted zero seconds.
        let ended_without = (own.is_final() && !leg.provisional) || (status.is_final() && !answered);
        let ended_at = match status.is_final() {
            true if own.is_final() => leg.ended_at,
            true => told.and_then(|(_, Reverse(ended_at))| ended_at),
            false => None,
        };
        Reached { status, connected, duration: stated.or(ended_without.then_some(0)), ended_at }
    }

    /// The family as one call; only with a root.
    pub fn merged(&self, root: &Leg) -> Merged {
        let children: Vec<Reached> = self.children.iter().map(|leg| self.reached(leg)).collect();
        // A leg that only a dial action told of counts as well.
        let unseen: Vec<Reached> = self
            .legs()
            .flat_map(|leg| leg.dials.iter())
            .filter(|(dialled, _)| {
                let sid = String::from((*dialled).clone());
                !self.legs().any(|leg| leg.call_sid == sid)
            })
            .map(|(_, dial)| Reached {
                status: dial.status,
                connected: dial.connected(),
                duration: dial.seconds.map(u32::cast_signed),
                ended_at: None,
            })
            .collect();
        let own = self.reached(root);
        // A call placed by the API has its customer on the root itself.
        let speaks = root.twilio_direction.as_deref() == Some(TwilioDirection::OutboundApi.as_str())
            && children.is_empty()
            && unseen.is_empty();
        let spoke_with: Vec<Reached> = if speaks {
            [own].into_iter().filter(|root| root.connected).collect()
        } else {
            children.iter().chain(&unseen).copied().filter(|leg| leg.connected).collect()
        };
        let root_ended = own.status.is_final();
        let live = !root_ended || children.iter().any(|child| !child.status.is_final());
        let display_status = if !root_ended {
            while_live(own.status, &spoke_with)
        } else if !spoke_with.is_empty() {
            CallStatus::Completed
        } else {
            unanswered(own.status, children.iter().chain(&unseen))
        };
        Merged {
            display_status,
            live,
            missed: root.is(Direction::Inbound) && !live && spoke_with.is_empty(),
            total_duration: own.duration,
            talk_time: if live {
                None
            } else {
                spoke_with.iter().try_fold(0_i32, |sum, leg| Some(sum.saturating_add(leg.duration?)))
            },
        }
    }
}

/// Seconds of the whole call that were not spent talking.
pub(crate) fn wait_time(total: Option<i32>, talk: Option<i32>) -> Option<i32> {
    Some(total?.saturating_sub(talk?).max(0))
}

fn while_live(root: CallStatus, spoke_with: &[Reached]) -> CallStatus {
    match root {
        _ if !spoke_with.is_empty() => CallStatus::InProgress,
        CallStatus::Queued | CallStatus::Initiated => root,
        _ => CallStatus::Ringing,
    }
}

/// What an ended call shows that nobody answered: the root's own word, else what the dial said.
fn unanswered<'r>(root: CallStatus, dialled: impl Iterator<Item = &'r Reached>) -> CallStatus {
    if root != CallStatus::Completed {
        return root;
    }
    // Busy tells most, then failed; whoever was answered but never connected was not reached.
    let telling = [CallStatus::Busy, CallStatus::Failed, CallStatus::NoAnswer, CallStatus::Canceled];
    let said: Vec<CallStatus> = dialled.map(|leg| leg.status).collect();
    telling.into_iter().find(|status| said.contains(status)).unwrap_or(CallStatus::NoAnswer)
}

/// The SID at the top of the family of a leg, whether that call has been seen or not.
pub(crate) fn topmost<'a>(leg: &'a Leg, legs: &'a HashMap<String, Leg>) -> &'a str {
    let mut top = leg;
    // A chain of parents is short; one that runs in a circle ends where it has visited every leg.
    for _ in 0..=legs.len() {
        match legs.get(&top.root_call_sid) {
            Some(parent) if parent.call_sid != top.call_sid => top = parent,
            _ => return &top.root_call_sid,
        }
    }
    // Nobody is at the top of a circle: the least SID stands for it, whichever leg was asked about.
    let mut least = top;
    let mut next = top;
    loop {
        match legs.get(&next.root_call_sid) {
            Some(parent) if parent.call_sid != top.call_sid => next = parent,
            _ => return &least.call_sid,
        }
        if next.call_sid < least.call_sid {
            least = next;
        }
    }
}
