//! Captures: packets with their times and link types, out of pcap and pcapng.

use std::collections::HashMap;
use std::io::Read;
use std::path::Path;

use pcap_parser::traits::PcapNGPacketBlock as _;
use pcap_parser::{Block, PcapBlockOwned, PcapError, create_reader};
use postern_protocol::timestamp::Timestamp;

use super::packet::Packets;
use super::{InputError, Item, Reading};

/// Bytes of a capture in memory: at first, and at most for one block.
const BUFFER_BYTES: usize = 256 * 1024;
const MAX_BUFFER_BYTES: usize = 64 * 1024 * 1024;

const NANOS: i128 = 1_000_000_000;

/// One interface of a section.
#[derive(Clone, Copy)]
struct Interface {
    link: i32,
    /// Units of a second.
    resolution: u64,
    offset_secs: i64,
}

/// Reads a capture.
///
/// # Errors
/// [`InputError`].
pub(super) fn read(path: &Path, input: impl Read, reading: &Reading, visit: &mut dyn FnMut(Item<'_>)) -> Result<(), InputError> {
    let damaged = |what: &str| InputError::Capture { path: path.to_owned(), what: what.to_owned() };
    let mut reader = create_reader(BUFFER_BYTES, input).map_err(|error| damaged(&format!("it has no header ({error})")))?;
    let mut packets = Packets::new(reading);
    let (mut capture, mut size) = (Capture::default(), BUFFER_BYTES);
    loop {
        let before = (reader.consumed(), reader.data().len());
        let wants = match reader.next() {
            Ok((length, block)) => {
                match capture.packet(&block) {
                    Found::Nothing => {}
                    Found::Packet(at, link, bytes) => packets.take(at, link, bytes, visit),
                    Found::Unusable => visit(Item::Undecodable),
                }
                reader.consume(length);
                continue;
            }
            Err(PcapError::Eof) => break,
            Err(PcapError::Incomplete(_)) => Wants::Bytes,
            Err(PcapError::BufferTooSmall) => Wants::Room,
            // Whoever wrote it was stopped, or still writes.
            Err(PcapError::UnexpectedEof) => {
                visit(Item::Undecodable);
                break;
            }
            Err(PcapError::ReadError) => return Err(damaged("reading failed")),
            Err(PcapError::HeaderNotRecognized | PcapError::NomError(..) | PcapError::OwnedNomError(..)) => {
                return Err(damaged(&format!("what stands at byte {} is no block", before.0)));
            }
        };
        let is_stuck = match wants {
            Wants::Bytes if reader.reader_exhausted() => {
                visit(Item::Undecodable);
                break;
            }
            Wants::Bytes => reader.refill().is_err() || (reader.consumed(), reader.data().len()) == before,
            Wants::Room => true,
        };
        if is_stuck {
            size = size.saturating_mul(2);
            if size > MAX_BUFFER_BYTES || !reader.grow(size) {
                return Err(damaged("a block is longer than 64 MiB"));
            }
        }
    }
    packets.end(visit);
    Ok(())
}

enum Wants {
    Bytes,
    Room,
}

enum Found<'a> {
    Nothing,
    Packet(Timestamp, i32, &'a [u8]),
    /// A packet without a time, or that the capture cut.
    Unusable,
}

/// What a file said of itself so far.
#[derive(Default)]
struct Capture {
    /// Of pcap: the link type, and units of a second.
    legacy: Option<(i32, u64)>,
    /// Of pcapng's section.
    interfaces: HashMap<u32, Interface>,
}

impl Capture {
    fn packet<'a>(&mut self, block: &'a PcapBlockOwned<'a>) -> Found<'a> {
        match block {
            PcapBlockOwned::LegacyHeader(header) => {
                let resolution = if header.is_nanosecond_precision() { 1_000_000_000 } else { 1_000_000 };
                self.legacy = Some((header.network.0, resolution));
                Found::Nothing
            }
            PcapBlockOwned::Legacy(packet) => {
                let Some((link, resolution)) = self.legacy else { return Found::Unusable };
                let fraction = i128::from(packet.ts_usec).saturating_mul(NANOS) / i128::from(resolution);
                let at = moment(i128::from(packet.ts_sec).saturating_mul(NANOS).saturating_add(fraction));
                match packet.data.get(..packet.caplen as usize) {
                    Some(bytes) => Found::Packet(at, link, bytes),
                    None => Found::Unusable,
                }
            }
            PcapBlockOwned::NG(Block::SectionHeader(_)) => {
                self.interfaces.clear();
                Found::Nothing
            }
            PcapBlockOwned::NG(Block::InterfaceDescription(description)) => {
                let number = u32::try_from(self.interfaces.len()).unwrap_or(u32::MAX);
                let resolution = resolution(description.if_tsresol);
                let interface = Interface { link: description.linktype.0, resolution, offset_secs: description.if_tsoffset };
                self.interfaces.insert(number, interface);
                Found::Nothing
            }
            PcapBlockOwned::NG(Block::EnhancedPacket(packet)) => {
                let Some(interface) = self.interfaces.get(&packet.if_id) else { return Found::Unusable };
                let units = (u64::from(packet.ts_high) << 32) | u64::from(packet.ts_low);
                let nanos = i128::from(units).saturating_mul(NANOS) / i128::from(interface.resolution);
                let at = moment(nanos.saturating_add(i128::from(interface.offset_secs).saturating_mul(NANOS)));
                Found::Packet(at, interface.link, packet.packet_data())
            }
            // It has no time.
            PcapBlockOwned::NG(Block::SimplePacket(_)) => Found::Unusable,
            // Names, statistics, secrets: of no use here.
            PcapBlockOwned::NG(_) => Found::Nothing,
        }
    }
}

fn moment(nanos: i128) -> Timestamp {
    Timestamp::from_nanos(i64::try_from(nanos).unwrap_or(i64::MAX))
}

/// if_tsresol: a power of 10, or with the first bit of 2. One that no number holds counts as nanoseconds.
fn resolution(said: u8) -> u64 {
    let power = u32::from(said & 0x7f);
    let units = if said & 0x80 == 0 { 10_u64.checked_pow(power) } else { 1_u64.checked_shl(power) };
    units.unwrap_or(1_000_000_000)
}
