//! The binary against real servers: good ones and bad ones.

mod swarm {
    mod faults;
    mod misbehaving;
    mod modes;
    mod run;
}
