//! A Unix socket that keeps messages apart (`unix(7)`, `SOCK_SEQPACKET`): one call per message on each
//! side.

use std::thread;
use std::time::Duration;

use anyhow::{Result, bail};
use rustix::fd::OwnedFd;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketAddrUnix, SocketType, accept, bind, connect, listen,
    recv, send, socket,
};

use crate::system::{Place, Processes, Receiver, Sender};

pub struct Socket;

pub struct Connected {
    socket: OwnedFd,
    buffer: Vec<u8>,
}

impl Processes for Socket {
    type Sender = OwnedFd;
    type Receiver = Connected;

    fn sender(place: &Place) -> Result<OwnedFd> {
        let address = SocketAddrUnix::new(place.directory.join("socket"))?;
        let mut tries = 0;
        loop {
            let socket = new()?;
            match connect(&socket, &address) {
                Ok(()) => return Ok(socket),
                Err(error) if tries > 10_000 => return Err(error.into()),
                Err(_) => thread::sleep(Duration::from_millis(1)),
            }
            tries += 1;
        }
    }

    fn receiver(place: &Place) -> Result<Connected> {
        let listening = new()?;
        bind(&listening, &SocketAddrUnix::new(place.directory.join("socket"))?)?;
        listen(&listening, 1)?;
        Ok(Connected { socket: accept(&listening)?, buffer: vec![0; place.size + 1] })
    }

    fn capacity(_size: usize) -> Option<u64> {
        // The default buffer holds few large messages: the reader is not kept behind.
        Some(0)
    }
}

fn new() -> Result<OwnedFd> {
    Ok(socket(AddressFamily::UNIX, SocketType::SEQPACKET, None)?)
}

impl Sender for OwnedFd {
    fn send(&mut self, message: &[u8]) -> Result<()> {
        if send(&*self, message, SendFlags::empty())? != message.len() {
            bail!("half a message was sent");
        }
        Ok(())
    }
}

impl Receiver for Connected {
    fn poll(&mut self, _most: u64, mut each: impl FnMut(&[u8])) -> Result<u64> {
        let (read, _) = recv(&self.socket, &mut *self.buffer, RecvFlags::empty())?;
        each(self.buffer.get(..read).unwrap_or_default());
        Ok(1)
    }
}
