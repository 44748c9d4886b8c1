//! The network between one gateway and its control plane: connections of ordered streams, and everything that befalls them.
//!
//! Within a stream nothing is reordered or doubled, as TCP promises; between streams any order is possible. A cut takes what had
//! not arrived, and each side learns of it at once, late, or never by itself (half-open). An old connection's last words may
//! arrive after a new one began.

use std::collections::VecDeque;
use std::time::Duration;

use postern_protocol::frame::{self, Decoder};
use postern_protocol::id::Lane;

use crate::random::Random;

/// One stream of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Stream {
    /// Up and down messages.
    Control,
    /// Batches and acknowledgements.
    Lane(Lane),
}

impl Stream {
    /// All that there can be.
    pub(crate) const ALL: [Self; 5] =
        [Self::Control, Self::Lane(Lane::Alerts), Self::Lane(Lane::Samples), Self::Lane(Lane::Inventory), Self::Lane(Lane::Logs)];

    fn index(self) -> usize {
        Self::ALL.iter().position(|stream| *stream == self).unwrap()
    }
}

/// Where a message goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum To {
    /// To the control plane.
    Server,
    /// To the gateway.
    Gateway,
}

/// What the network hands over.
#[derive(Clone, Debug)]
pub(crate) enum Arrival {
    /// A frame.
    Frame(Vec<u8>),
    /// The connection is over.
    End,
}

/// What one side knows of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    Open,
    /// It gets to know at that time that it is over, after what has arrived.
    Ending(Duration),
    Gone,
}

#[derive(Debug)]
struct Pipe {
    frames: VecDeque<(Duration, Vec<u8>)>,
}

/// One connection.
#[derive(Debug)]
pub(crate) struct Connection {
    /// Its number; a later one is greater.
    pub(crate) number: u64,
    up: Vec<Pipe>,
    down: Vec<Pipe>,
    server: Side,
    gateway: Side,
    is_cut: bool,
}

/// All connections that somebody still holds, and the weather.
#[derive(Debug)]
pub(crate) struct Network {
    connections: Vec<Connection>,
    next_number: u64,
    /// Longest time that a frame travels.
    pub(crate) slowness: Duration,
    /// No connection can be made.
    pub(crate) is_down: bool,
    random: Random,
}

impl Network {
    /// Makes a fast network without connections.
    pub(crate) fn new(random: Random) -> Self {
        Self { connections: Vec::new(), next_number: 1, slowness: Duration::from_millis(20), is_down: false, random }
    }

    /// Connects the gateway; `None` when that cannot be.
    pub(crate) fn connect(&mut self) -> Option<u64> {
        if self.is_down {
            return None;
        }
        let pipes = || Stream::ALL.iter().map(|_| Pipe { frames: VecDeque::new() }).collect();
        let number = self.next_number;
        self.next_number += 1;
        let (server, gateway) = (Side::Open, Side::Open);
        self.connections.push(Connection { number, up: pipes(), down: pipes(), server, gateway, is_cut: false });
        Some(number)
    }

    fn find(&mut self, number: u64) -> Option<&mut Connection> {
        self.connections.iter_mut().find(|connection| connection.number == number)
    }

    /// Sends a message; what is sent into a connection that is cut is lost.
    pub(crate) fn send(&mut self, number: u64, (to, stream): (To, Stream), message: &impl prost::Message, now: Duration) {
        let due = now + self.random.time(self.slowness);
        let Some(connection) = self.find(number).filter(|connection| !connection.is_cut) else { return };
        let frame = frame::encode(message).to_vec();
        let pipes = if to == To::Server { &mut connection.up } else { &mut connection.down };
        let frames = &mut pipes[stream.index()].frames;
        let due = frames.back().map_or(due, |(before, _)| due.max(*before));
        frames.push_back((due, frame));
    }

    /// Says which connections have something for that side now: a frame of one stream, or their end.
    pub(crate) fn ready(&self, to: To, now: Duration) -> Vec<(u64, Option<Stream>)> {
        let mut ready = Vec::new();
        for connection in &self.connections {
            let (pipes, side) = if to == To::Server { (&connection.up, connection.server) } else { (&connection.down, connection.gateway) };
            if side == Side::Gone {
                continue;
            }
            let frames = |pipe: &Pipe| pipe.frames.front().is_some_and(|(due, _)| *due <= now);
            let streams = Stream::ALL.into_iter().zip(pipes).filter(|(_, pipe)| frames(pipe));
            let before = ready.len();
            ready.extend(streams.map(|(stream, _)| (connection.number, Some(stream))));
            let nothing_left = pipes.iter().all(|pipe| pipe.frames.is_empty());
            if before == ready.len() && nothing_left && matches!(side, Side::Ending(at) if at <= now) {
                ready.push((connection.number, None));
            }
        }
        ready
    }

    /// Returns when something becomes ready that is not ready yet.
    pub(crate) fn next_due(&self) -> Option<Duration> {
        let frames = |connection: &Connection| {
            let up = (connection.server != Side::Gone).then_some(&connection.up);
            let down = (connection.gateway != Side::Gone).then_some(&connection.down);
            let pipes = up.into_iter().chain(down).flatten();
            let dues: Vec<_> = pipes.filter_map(|pipe| pipe.frames.front().map(|(due, _)| *due)).collect();
            let ends = [connection.server, connection.gateway].into_iter().filter_map(|side| match side {
                Side::Ending(at) => Some(at),
                Side::Gone | Side::Open => None,
            });
            ends.chain(dues).min()
        };
        self.connections.iter().filter_map(frames).min()
    }

    /// Takes what [`Network::ready`] named.
    pub(crate) fn take(&mut self, to: To, number: u64, stream: Option<Stream>) -> Arrival {
        let connection = self.find(number).unwrap();
        let Some(stream) = stream else {
            if to == To::Server {
                connection.server = Side::Gone
            } else {
                connection.gateway = Side::Gone
            }
            self.sweep();
            return Arrival::End;
        };
        let pipes = if to == To::Server { &mut connection.up } else { &mut connection.down };
        Arrival::Frame(pipes[stream.index()].frames.pop_front().unwrap().1)
    }

    /// Cuts every connection somewhere in what is under way. Each side learns of it at once, late, or by its own patience only.
    pub(crate) fn cut(&mut self, now: Duration) {
        let numbers: Vec<_> = self.connections.iter().filter(|connection| !connection.is_cut).map(|connection| connection.number).collect();
        for number in numbers {
            self.cut_one(number, now);
        }
    }

    fn cut_one(&mut self, number: u64, now: Duration) {
        let mut random = self.random.fork();
        let Some(connection) = self.find(number) else { return };
        connection.is_cut = true;
        for pipe in connection.up.iter_mut().chain(&mut connection.down) {
            let kept = random.index(pipe.frames.len() + 1);
            pipe.frames.truncate(kept);
        }
        let learns = |random: &mut Random| match random.below(3) {
            0 => now,
            1 => now + random.time(Duration::from_secs(20)),
            _ => Duration::MAX,
        };
        for side in [&mut connection.server, &mut connection.gateway] {
            if *side == Side::Open {
                *side = Side::Ending(learns(&mut random));
            }
        }
        self.sweep();
    }

    /// One side ends a connection in good order, or dies: what it sent before still arrives, and the other side learns of it.
    pub(crate) fn leave(&mut self, number: u64, who: To, now: Duration) {
        let delay = self.random.time(self.slowness);
        let Some(connection) = self.find(number) else { return };
        let (own, other, incoming) = match who {
            To::Server => (&mut connection.server, &mut connection.gateway, &mut connection.up),
            To::Gateway => (&mut connection.gateway, &mut connection.server, &mut connection.down),
        };
        *own = Side::Gone;
        incoming.iter_mut().for_each(|pipe| pipe.frames.clear());
        if !connection.is_cut && *other == Side::Open {
            *other = Side::Ending(now + delay);
        }
        connection.is_cut = true;
        self.sweep();
    }

    fn sweep(&mut self) {
        self.connections.retain(|connection| connection.server != Side::Gone || connection.gateway != Side::Gone);
    }
}

/// Decodes a frame.
pub(crate) fn decode<M: prost::Message + Default>(frame: &[u8]) -> Result<M, String> {
    let mut decoder = Decoder::default();
    decoder.push(frame);
    decoder.next().map_err(|error| error.to_string())?.ok_or_else(|| "a frame is short".to_owned())
}
