//! A TCP proxy that delays, swallows and resets connections.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// What the proxy does to traffic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    Pass,
    /// Delays each packet.
    Delay(Duration),
    /// Holds back all traffic until the mode changes.
    Hole,
}

/// A running proxy; it runs until the test process ends.
pub struct Proxy {
    pub address: SocketAddr,
    mode: watch::Sender<Mode>,
    /// Counts how often all connections were reset.
    resets: watch::Sender<u64>,
}

impl Proxy {
    /// Starts a proxy on a free port, on a separate thread.
    pub fn start(target: SocketAddr) -> Self {
        let (mode, of_mode) = watch::channel(Mode::Pass);
        let (resets, of_resets) = watch::channel(0);
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        listener.set_nonblocking(true).expect("for tokio");
        let address = listener.local_addr().expect("an address");
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("a runtime");
            runtime.block_on(async {
                let listener = TcpListener::from_std(listener).expect("a listener");
                while let Ok((client, _)) = listener.accept().await {
                    tokio::spawn(join(client, target, of_mode.clone(), of_resets.clone()));
                }
            });
        });
        Self {
            address,
            mode,
            resets,
        }
    }

    pub fn set(&self, mode: Mode) {
        self.mode.send_replace(mode);
    }

    /// Drops every connection, including data in transit.
    pub fn reset(&self) {
        self.resets.send_modify(|count| *count += 1);
    }
}

async fn join(
    client: TcpStream,
    target: SocketAddr,
    mode: watch::Receiver<Mode>,
    mut resets: watch::Receiver<u64>,
) {
    resets.mark_unchanged();
    let Ok(server) = TcpStream::connect(target).await else {
        return;
    };
    let (client_in, client_out) = client.into_split();
    let (server_in, server_out) = server.into_split();
    tokio::select! {
        () = carry(client_in, server_out, mode.clone()) => {}
        () = carry(server_in, client_out, mode) => {}
        _ = resets.changed() => {}
    }
}

async fn carry(
    mut from: impl AsyncReadExt + Unpin,
    mut to: impl AsyncWriteExt + Unpin,
    mut mode: watch::Receiver<Mode>,
) {
    let mut buffer = vec![0; 16 * 1024];
    while let Ok(count) = from.read(&mut buffer).await {
        let now = *mode.borrow_and_update();
        if let Mode::Delay(time) = now {
            tokio::time::sleep(time).await;
        }
        let open = mode.wait_for(|mode| *mode != Mode::Hole).await.is_ok();
        if count == 0 || !open || to.write_all(&buffer[..count]).await.is_err() {
            return;
        }
    }
}
