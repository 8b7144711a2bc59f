use super::*;
use proptest::prelude::*;

const KEPT: Retention =
    Retention { age: Duration::from_secs(120), bytes: 1_000_000, events: 10_000 };

fn event(emitter: u16, sequence: u64) -> Missed {
    let offset = Offset::new(Emitter::ToMany(emitter), sequence);
    Missed { offset, wire: Arc::new(Wire::from(offset.text().to_vec())) }
}

fn seconds(seconds: u64) -> Time {
    Time::ZERO.after(Duration::from_secs(seconds))
}

/// A log of the events 1 to `count` of one emitter, one a second.
fn log_of(count: u64, retention: &Retention) -> Log<()> {
    let mut log = Log::default();
    (1..=count).for_each(|number| log.push(event(0, number), (), seconds(number), retention));
    log
}

fn sequences(missed: Option<Vec<Missed>>) -> Option<Vec<u64>> {
    Some(missed?.iter().map(|event| event.offset.sequence()).collect())
}

fn offset(sequence: u64) -> Option<Offset> {
    Some(Offset::new(Emitter::ToMany(0), sequence))
}

#[test]
fn what_came_after_the_last_event_that_was_received_was_missed() {
    let log = log_of(10, &KEPT);
    let course = Course::default();
    let missed = |received| sequences(course.missed(&log, received, Time::ZERO, |()| true));
    assert_eq!(missed(offset(7)), Some(vec![8, 9, 10]));
    assert_eq!(missed(offset(10)), Some(vec![]));
    assert_eq!(missed(None), Some((1..=10).collect()), "it has received nothing at all");
    let odd = |received| course.missed(&log, received, Time::ZERO, |()| false);
    assert_eq!(sequences(odd(offset(7))), Some(vec![]), "none of it concerns the socket");
}

#[test]
fn what_was_sent_before_the_socket_joined_was_not_missed() {
    let mut log = log_of(5, &KEPT);
    let course = Course::begin(&log, Vec::new());
    log.push(event(0, 6), (), seconds(6), &KEPT);
    assert_eq!(sequences(course.missed(&log, None, Time::ZERO, |()| true)), Some(vec![6]));
    assert_eq!(sequences(course.missed(&log, offset(3), Time::ZERO, |()| true)), Some(vec![6]));
}

#[test]
fn a_log_that_has_forgotten_what_may_be_missing_says_so() {
    let few = Retention { events: 3, ..KEPT };
    let log = log_of(10, &few);
    let course = Course::default();
    let missed = |received, heard| sequences(course.missed(&log, received, heard, |()| true));
    assert_eq!(missed(offset(8), Time::ZERO), Some(vec![9, 10]), "the offset is still there");
    assert_eq!(missed(offset(5), Time::ZERO), None);
    assert_eq!(missed(None, Time::ZERO), None);
    assert_eq!(missed(offset(5), seconds(7)), None, "what was logged at 7 is forgotten");
    // Everything before that moment has reached the client, so it has received up to 7.
    assert_eq!(missed(offset(5), seconds(8)), Some(vec![8, 9, 10]));
}

#[test]
fn b39_21_m44_an_offset_that_nobody_was_sent_is_refused() {
    let log = log_of(5, &KEPT);
    let missed = |received| Course::default().missed(&log, Some(received), Time::ZERO, |()| true);
    assert!(missed(event(0, 5).offset).is_some());
    assert!(missed(event(0, 6).offset).is_none(), "it is not emitted yet");
    assert!(missed(event(7, 1).offset).is_none(), "nobody emits under that number");
}

#[test]
fn events_are_forgotten_by_age_by_number_and_by_bytes() {
    let mut log = log_of(10, &Retention { age: Duration::from_secs(5), ..KEPT });
    assert_eq!(log.entries.len(), 5);
    let due = log.expire(seconds(12), &Retention { age: Duration::from_secs(5), ..KEPT });
    assert_eq!((log.entries.len(), due), (3, Some(seconds(13))));
    assert_eq!(log.end(), 10);
    assert_eq!(log_of(10, &Retention { events: 4, ..KEPT }).entries.len(), 4);
    let few_bytes = log_of(10, &Retention { bytes: 300, ..KEPT });
    assert!(few_bytes.bytes <= 300 && few_bytes.entries.len() == 2);
}

#[test]
fn events_that_were_sent_again_can_be_sent_again_once_more() {
    let mut log: Log<()> = log_of(5, &KEPT);
    (1..=3).for_each(|number| log.push(event(1, number), (), seconds(5), &KEPT));
    let mut course = Course::begin(&log, vec![event(1, 1), event(1, 2), event(1, 3)]);
    log.push(event(0, 6), (), seconds(6), &KEPT);
    let of = |course: &Course, received: Offset| {
        course.missed(&log, Some(received), Time::ZERO, |()| true).map(|missed| missed.len())
    };
    assert_eq!(of(&course, event(1, 2).offset), Some(2), "one that was carried, and the 6");
    assert_eq!(of(&course, event(0, 6).offset), Some(0));
    assert_eq!(of(&course, event(0, 5).offset), Some(4), "older than all that: nothing came");
    course.forget_carried(true);
    assert_eq!(of(&course, event(1, 3).offset), Some(1), "it has received them all");
    let mut course = Course::begin(&log_of(8, &KEPT), vec![event(1, 1)]);
    course.forget_carried(false);
    assert_eq!(of(&course, event(1, 1).offset), None, "it may not have received them");
    assert_eq!(of(&course, event(0, 6).offset), Some(0));
}

/// Two shards that are told of the same events of three emitters, each in its own order.
fn two_orders() -> impl Strategy<Value = (Vec<u16>, Vec<u16>)> {
    let counts = prop::collection::vec(0_u16..3, 0..40);
    counts.prop_flat_map(|emitters| {
        (Just(emitters.clone()).prop_shuffle(), Just(emitters).prop_shuffle())
    })
}

fn log_in_order(emitters: &[u16]) -> Log<()> {
    let (mut log, mut counts) = (Log::default(), [0; 3]);
    for &emitter in emitters {
        counts[usize::from(emitter)] += 1;
        let event = event(emitter, counts[usize::from(emitter)]);
        log.push(event, (), Time::ZERO, &KEPT);
    }
    log
}

proptest! {
    /// The client receives a part of what its old shard sends; that shard is at some point of its
    /// order when it gives the session away, and the new one at a point where it has seen as much.
    #[test]
    fn a_socket_that_changes_its_shard_is_sent_every_event_once_and_in_the_order_of_its_emitter(
        (old, new) in two_orders(), received: prop::sample::Index, given: prop::sample::Index,
    ) {
        let given = given.index(old.len() + 1);
        let received = received.index(given + 1);
        let (old_log, course) = (log_in_order(&old[..given]), Course::default());
        let mut delivered: Vec<Offset> =
            old_log.entries.iter().take(received).map(|entry| entry.event.offset).collect();
        let last = delivered.last().copied();
        let missed = course.missed(&old_log, last, Time::ZERO, |()| true).unwrap();
        delivered.extend(missed.iter().map(|event| event.offset));
        let reached = (0..=new.len())
            .find(|&length| log_in_order(&new[..length]).seen.covers(&old_log.seen))
            .unwrap();
        let new_log = log_in_order(&new[..reached]);
        let rest = new_log.beyond(&old_log.seen, new_log.end(), |()| true).unwrap();
        delivered.extend(rest.iter().map(|event| event.offset));
        let whole = log_in_order(&new);
        delivered.extend(whole.from(new_log.end()).map(|entry| entry.event.offset));
        for emitter in 0..3 {
            let of_emitter: Vec<u64> = delivered
                .iter()
                .filter(|offset| offset.emitter() == Emitter::ToMany(emitter))
                .map(|offset| offset.sequence())
                .collect();
            let emitted = new.iter().filter(|&&other| other == emitter).count() as u64;
            prop_assert_eq!(of_emitter, (1..=emitted).collect::<Vec<_>>());
        }
    }
}

#[test]
fn logs_of_shards_that_ended_at_different_moments_know_the_same_after_they_are_levelled() {
    let mut logs: [Log<()>; 3] = Default::default();
    let pushes: [&[(u16, u64)]; 3] =
        [&[(0, 1), (1, 1), (0, 2)], &[(1, 1), (0, 1), (1, 2), (2, 1)], &[]];
    for (log, pushes) in logs.iter_mut().zip(pushes) {
        for &(emitter, sequence) in pushes {
            log.push(event(emitter, sequence), (), seconds(1), &KEPT);
        }
    }
    let mut images = logs.each_ref().map(|log| log.image(seconds(9)));
    assert_eq!(level(&mut images), [true; 3]);
    for (image, before) in images.iter().zip(pushes) {
        let names = |offset: Offset| match offset.emitter() {
            Emitter::ToMany(emitter) => (emitter, offset.sequence()),
            Emitter::ToOne(_) => unreachable!("there is none"),
        };
        let after: Vec<(u16, u64)> = image.offsets().map(names).collect();
        assert_eq!(&after[..before.len()], before, "what came first is first");
        for emitter in 0..3 {
            let of_emitter = |list: &[(u16, u64)]| -> Vec<u64> {
                list.iter().filter(|event| event.0 == emitter).map(|event| event.1).collect()
            };
            let count = [2, 2, 1][usize::from(emitter)];
            assert_eq!(of_emitter(&after), (1..=count).collect::<Vec<u64>>(), "{after:?}");
        }
    }
}

#[test]
fn a_log_lacks_something_when_the_others_have_forgotten_what_it_was_not_told_of() {
    let few = Retention { events: 3, ..KEPT };
    let mut images = [log_of(10, &few).image(seconds(10)), log_of(6, &few).image(seconds(10))];
    assert_eq!(level(&mut images), [true, false]);
    let mut images = [log_of(10, &few).image(seconds(10)), log_of(7, &few).image(seconds(10))];
    assert_eq!(level(&mut images), [true, true]);
}

proptest! {
    #[test]
    fn a_course_means_the_same_after_a_restart(
        count in 0_u64..12, joined_after in 0_u64..12, more in 0_u64..6, kept in 1_usize..16,
        received in proptest::option::of(1_u64..18), heard in 0_u64..20, carries: bool,
    ) {
        let retention = Retention { events: kept, ..KEPT };
        let mut log = log_of(joined_after, &retention);
        let carried = if carries { vec![event(7, 1), event(7, 2)] } else { Vec::new() };
        let course = Course::begin(&log, carried.clone());
        for number in joined_after + 1..=joined_after + count {
            log.push(event(0, number), (), seconds(number), &retention);
        }
        let received = received.and_then(offset);
        let before = sequences(course.missed(&log, received, seconds(heard), |()| true));

        let (image, mark) = (log.image(seconds(30)), course.image(&log, seconds(heard)));
        let all = |offset: Offset| match offset.emitter() {
            Emitter::ToMany(emitter) => Some(event(emitter, offset.sequence())),
            Emitter::ToOne(_) => None,
        };
        let logged = |offset| Some((all(offset)?, ()));
        let mut log = Log::restore(&image, Time::ZERO, Duration::ZERO, logged).unwrap();
        let course = Course::restore(&mark, |name| all(*name)).unwrap();
        // Nothing is known there of when the client was heard of.
        let after = sequences(course.missed(&log, received, Time::ZERO, |()| true));
        prop_assert_eq!(after, before.clone());

        let roomy = Retention { events: 100, ..KEPT };
        let next = joined_after + count + 1;
        for number in next..next + more {
            log.push(event(0, number), (), seconds(1), &roomy);
        }
        let later = before.map(|before| before.into_iter().chain(next..next + more).collect());
        let after = sequences(course.missed(&log, received, Time::ZERO, |()| true));
        if received.is_none_or(|offset| offset.sequence() < next) {
            prop_assert_eq!(after, later);
        }
    }
}
