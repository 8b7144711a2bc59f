#[cfg(test)]
#[test]
fn placeholder() {}
