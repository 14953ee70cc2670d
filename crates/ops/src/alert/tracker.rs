use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::rules::{Incident, IncidentKey};

/// The known problems, so that each incident causes one notice when it begins and one when it ends.
#[derive(Debug)]
pub(super) struct IncidentTracker {
    open: BTreeMap<IncidentKey, OpenIncident>,
    over_after: Duration,
}

#[derive(Debug)]
struct OpenIncident {
    since: Instant,
    seen: Instant,
    text: String,
    notified: bool,
}

/// A notice to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct AlertNotice {
    pub(super) key: IncidentKey,
    pub(super) text: String,
    pub(super) news: NoticeKind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoticeKind {
    Began,
    Over { lasted: Duration },
}

impl IncidentTracker {
    /// Starts without problems. A problem that is absent for `over_after` is over.
    pub(super) fn new(over_after: Duration) -> Self {
        Self { open: BTreeMap::new(), over_after }
    }

    /// The notices to send, given the present problems `found`.
    pub(super) fn step(&mut self, found: BTreeMap<IncidentKey, Incident>, now: Instant) -> Vec<AlertNotice> {
        let mut notices = Vec::new();
        let mut lost: Vec<IncidentKey> =
            self.open.keys().filter(|key| !found.contains_key(key)).cloned().collect();
        for (key, incident) in found {
            let open = self.open.entry(key.clone()).or_insert_with(|| OpenIncident {
                since: now,
                seen: now,
                text: String::new(),
                notified: false,
            });
            (open.seen, open.text) = (now, incident.text);
            if !open.notified && now.saturating_duration_since(open.since) >= incident.after {
                open.notified = true;
                notices.push(AlertNotice { key, text: open.text.clone(), news: NoticeKind::Began });
            }
        }
        // An incident without a notice is forgotten: it must last from the beginning the next time.
        lost.retain(|key| {
            self.open
                .get(key)
                .is_some_and(|o| !o.notified || now.saturating_duration_since(o.seen) >= self.over_after)
        });
        for key in lost {
            let Some(open) = self.open.remove(&key).filter(|open| open.notified) else { continue };
            let lasted = open.seen.saturating_duration_since(open.since);
            notices.push(AlertNotice { key, text: open.text, news: NoticeKind::Over { lasted } });
        }
        notices
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The notices of an incident that counts after 2 s and is over after 5 s; `wrong` lists the seconds at which it
    /// exists.
    fn notices(wrong: &[u64], until: u64) -> Vec<(u64, NoticeKind)> {
        let (start, mut tracker) = (Instant::now(), IncidentTracker::new(Duration::from_secs(5)));
        let key = IncidentKey { kind: "database", of: String::new() };
        let mut seen = Vec::new();
        for second in 0..until {
            let incident = Incident { text: "it is".to_owned(), after: Duration::from_secs(2) };
            let found = wrong.contains(&second).then(|| (key.clone(), incident)).into_iter().collect();
            let notices = tracker.step(found, start + Duration::from_secs(second));
            seen.extend(notices.into_iter().map(|notice| (second, notice.news)));
        }
        seen
    }

    #[test]
    fn an_incident_causes_one_notice_and_one_when_it_is_over() {
        let over = |lasted| NoticeKind::Over { lasted: Duration::from_secs(lasted) };
        assert_eq!(notices(&[1, 2], 20), [], "too short");
        assert_eq!(notices(&[1, 2, 3, 4, 5, 6], 20), [(3, NoticeKind::Began), (11, over(5))]);
        // It comes and goes: one incident.
        assert_eq!(notices(&[1, 2, 3, 7, 11, 12, 15], 30), [(3, NoticeKind::Began), (20, over(14))]);
        // Each time too short.
        assert_eq!(notices(&[1, 2, 4, 5, 7, 8], 30), []);
        // Another one.
        let twice = notices(&[1, 2, 3, 20, 21, 22], 40);
        assert_eq!(twice, [(3, NoticeKind::Began), (8, over(2)), (22, NoticeKind::Began), (27, over(2))]);
    }
}
