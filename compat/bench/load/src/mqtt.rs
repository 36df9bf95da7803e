//! As much of MQTT 3.1.1 as a printer's broker needs.

/// The first whole packet: its type byte, the range of its body, and where it ends.
pub fn packet(bytes: &[u8]) -> Option<(u8, std::ops::Range<usize>)> {
    let (mut length, mut at) = (0usize, 1);
    loop {
        let byte = *bytes.get(at)?;
        length |= usize::from(byte & 0x7F) << (7 * (at - 1));
        at += 1;
        if byte & 0x80 == 0 || at > 4 {
            break;
        }
    }
    (bytes.len() >= at + length).then(|| (bytes[0], at..at + length))
}

/// A publication with QoS 0.
pub fn publish(topic: &str, payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x30];
    let mut length = 2 + topic.len() + payload.len();
    loop {
        let low = (length & 0x7F) as u8;
        length >>= 7;
        packet.push(if length > 0 { low | 0x80 } else { low });
        if length == 0 {
            break;
        }
    }
    packet.extend_from_slice(&(topic.len() as u16).to_be_bytes());
    packet.extend_from_slice(topic.as_bytes());
    packet.extend_from_slice(payload);
    packet
}

/// The topic of a PUBLISH or the first one of a SUBSCRIBE (`skip` bytes stand before it), and what follows it.
pub fn topic(body: &[u8], skip: usize) -> Option<(&str, &[u8])> {
    let length = usize::from(u16::from_be_bytes(body.get(skip..skip + 2)?.try_into().ok()?));
    let end = skip + 2 + length;
    Some((std::str::from_utf8(body.get(skip + 2..end)?).ok()?, body.get(end..)?))
}
