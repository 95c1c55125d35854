//! woodward inside a program: a service of the system and tasks of this program under one supervisor.
//!
//!     cargo run --example embed
//!
//! A camera (here `sleep`) and the task that reads it belong together: when the one dies, both are started again. A third
//! child counts the seconds; it is restarted alone.

use std::error::Error;
use std::time::Duration;

use woodward::embed::{Builder, Service, Strategy, Supervisor, Task};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let camera = Supervisor::new("camera")
        .strategy(Strategy::OneForAll)
        .intensity(3, Duration::from_secs(10))
        .child(Service::new("driver", ["sleep", "1"]))
        .child(Task::new("reader", |task| async move {
            println!("reader: generation {}", task.generation());
            task.stopped().await;
            Ok(())
        }));
    let clock = Task::new("clock", |task| async move {
        for second in 1.. {
            task.status(format!("{second} s"));
            tokio::select! {
                () = tokio::time::sleep(Duration::from_secs(1)) => {}
                () = task.stopped() => break,
            }
        }
        Ok(())
    });
    let tree = Supervisor::new("observatory").child(camera).child(clock);
    let mut running = Builder::new(tree).console(true).start().await?;
    running.ready().await;
    println!("everything runs; the driver ends every second, so that its supervisor gives up in the end");
    println!("ended: {:?}", running.ended().await?);
    Ok(())
}
