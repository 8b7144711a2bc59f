//! A process that stands still (matrix 60 and 66).

use std::time::Duration;

use fanfare::DriverKind;

use super::child::Child;

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
