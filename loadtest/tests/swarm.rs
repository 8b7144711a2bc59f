//! The binary against real servers: good ones and bad ones.

mod swarm {
    mod faults;
    mod http;
    mod misbehaving;
    mod modes;
    mod run;
}
