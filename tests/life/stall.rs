//! A process that stands still (matrix 60 and 66).

use std::iter;
use std::time::Duration;

use fanfare::DriverKind;

use super::child::Child;
use crate::raw::Client;

#[test]
fn m60_the_watchdog_names_the_shard_and_the_handler_that_blocks_it() {
    let child = Child::start(DriverKind::Auto);
    let mut client = child.join();
    client.say(r#"421["block",500]"#);
    let line = child.expect_error("a handler blocks its shard");
    assert!(line.contains("WARN") && line.contains("shard="), "{line}");
    assert!(line.contains(r#"handler="/ \"block\"""#), "{line}");
    assert_eq!(client.text(), "431[]");
}

#[test]
fn m60_while_a_handler_blocks_its_shard_the_clients_of_another_are_served() {
    let mut child = Child::start(DriverKind::Auto);
    let (mut blocked, shard) = child.join_on_some_shard();
    let others = || child.join_on_some_shard();
    // The kernel says which shard a connection is for.
    let mut others = iter::repeat_with(others).take(100);
    let (mut other, _) = others.find(|(_, its)| *its != shard).expect("there are two shards");
    blocked.say(r#"421["hold"]"#);
    child.expect_error("a handler blocks its shard");
    for _ in 0..3 {
        other.say(r#"422["block",0]"#);
        assert_eq!(next_packet(&mut other), "432[]");
    }
    child.tell("go on");
    assert_eq!(next_packet(&mut blocked), "431[]");
    other.say(r#"423["block",0]"#);
    assert_eq!(next_packet(&mut other), "433[]");
}

/// What comes next besides pings, which are answered.
fn next_packet(client: &mut Client) -> String {
    loop {
        match client.text() {
            ping if ping == "2" => client.say("3"),
            packet => return packet,
        }
    }
}

#[test]
fn m66_a_process_that_was_stopped_pings_its_clients_and_loses_none() {
    let child = Child::start(DriverKind::Auto);
    let mut client = child.join();
    assert_eq!(client.text(), "2");
    child.signal("STOP");
    // Longer than the interval of pings and the time to answer one together.
    assert!(!client.arrives_within(Duration::from_secs(4)));
    child.signal("CONT");
    client.say("3");
    assert_eq!(client.text(), "2", "it is pinged again, and not closed");
    client.say("3");
    assert_eq!(client.text(), "2");
}
