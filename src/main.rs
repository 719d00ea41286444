//! Crypto provider, parse, run.

use std::process::ExitCode;
use std::thread::available_parallelism;

use tokio::runtime::{Builder, Runtime};

/// One thread answers some ten thousand reviews a second, and costs memory on a node with many cores.
const THREADS: usize = 4;

fn main() -> ExitCode {
    let threads = available_parallelism().map_or(1, |cores| cores.get().min(THREADS));
    let runtime = Builder::new_multi_thread()
        .worker_threads(threads)
        .enable_all()
        .build();
    match runtime {
        Ok(runtime) => ended(runtime, run()),
        Err(error) => {
            eprintln!("ecr-pull-secrets: cannot start a thread: {error}");
            ExitCode::FAILURE
        }
    }
}

/// The result of the work, at once: a thread that still resolves a name is not waited for.
fn ended<T>(runtime: Runtime, work: impl Future<Output = T>) -> T {
    let result = runtime.block_on(work);
    runtime.shutdown_background();
    result
}

async fn run() -> ExitCode {
    // No provider was installed before, so this cannot fail.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    ecr_pull_secrets::execute().await
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::thread;
    use std::time::Duration;

    use super::*;

    #[test]
    fn hanging_thread_does_not_keep_the_process() {
        let (hold, held) = mpsc::channel::<()>();
        let (tell, told) = mpsc::channel();
        thread::spawn(move || {
            let runtime = Builder::new_multi_thread().build().unwrap();
            let work = async {
                let (begin, begun) = tokio::sync::oneshot::channel();
                tokio::task::spawn_blocking(move || {
                    begin.send(()).unwrap();
                    held.recv()
                });
                begun.await.unwrap();
            };
            ended(runtime, work);
            tell.send(()).unwrap();
        });
        let ended = told.recv_timeout(Duration::from_secs(60));
        drop(hold);
        assert_eq!(ended, Ok(()));
    }
}
