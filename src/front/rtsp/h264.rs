//! H.264 in RTP: whole NAL units, or fragments of them (RFC 6184 sections 5.6, 5.8).

use bytes::Bytes;

use super::rtp::{PAYLOAD, Sender};

const FU_A: u8 = 28;

/// Queues one picture; `nals` are its units in order, parameter sets first.
pub(super) fn pack(sender: &mut Sender, time: u64, nals: &[Bytes]) {
    for (at, nal) in nals.iter().enumerate() {
        unit(sender, time, nal, at + 1 == nals.len());
    }
}

/// `last`: the picture ends with this unit.
fn unit(sender: &mut Sender, time: u64, nal: &Bytes, last: bool) {
    let Some(first) = nal.first().copied() else { return };
    if nal.len() <= PAYLOAD {
        return sender.packet(time, last, &[], nal.clone());
    }
    let mut rest = nal.slice(1..);
    let mut start = true;
    while !rest.is_empty() {
        let piece = rest.split_to(rest.len().min(PAYLOAD - 2));
        let end = rest.is_empty();
        let mark = u8::from(start) << 7 | u8::from(end) << 6 | first & 0x1F;
        sender.packet(time, last && end, &[first & 0xE0 | FU_A, mark], piece);
        start = false;
    }
}
