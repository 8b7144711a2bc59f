use fanfare::Event;

const GONE: Event<()> = Event::new("disconnect");

fn main() {
    println!("{}", GONE.name());
}
