//! JPEG in RTP (RFC 2435): the scan and the quantisation tables travel, all else is implied. So only sequential JPEG with
//! halved colours and the standard's own Huffman tables can be sent as it is.

use bytes::{BufMut, Bytes, BytesMut};

use super::huffman;
use super::rtp::{PAYLOAD, Sender};

/// Largest width and height: they travel in one byte each, in units of 8 pixels.
const LARGEST: u16 = 2040;
/// The tables come with each picture.
const OWN_TABLES: u8 = 255;
/// Added to the type where the scan has restart markers.
const RESTARTS: u8 = 64;

/// One picture in the parts that travel.
#[derive(Debug)]
pub(super) struct Picture {
    /// 0: colours halved across; 1: both ways. With [`RESTARTS`].
    kind: u8,
    /// Units of 8 pixels.
    size: (u8, u8),
    /// Macroblocks from one restart marker to the next; 0 = none.
    restart: u16,
    /// For brightness and for colour.
    tables: [[u8; 64]; 2],
    scan: Bytes,
}

/// Why a picture cannot travel as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Unfit(pub &'static str);

const BROKEN: Unfit = Unfit("it is damaged");

/// What the headers have told so far.
#[derive(Default)]
struct Headers {
    tables: [Option<[u8; 64]>; 4],
    frame: Option<Frame>,
    restart: u16,
}

struct Frame {
    kind: u8,
    size: (u8, u8),
    ids: [u8; 3],
    tables: [u8; 3],
}

impl Picture {
    /// Takes a JPEG file apart.
    pub fn read(jpeg: &Bytes) -> Result<Self, Unfit> {
        let mut headers = Headers::default();
        let mut rest = jpeg.strip_prefix(&[0xFF, 0xD8][..]).ok_or(BROKEN)?;
        loop {
            let [0xFF, marker, after @ ..] = rest else { return Err(BROKEN) };
            if *marker == 0xFF {
                rest = rest.get(1..).unwrap_or_default();
                continue;
            }
            let [high, low, ..] = after else { return Err(BROKEN) };
            let length = usize::from(u16::from_be_bytes([*high, *low]));
            let segment = after.get(2..length).ok_or(BROKEN)?;
            rest = after.get(length..).unwrap_or_default();
            match marker {
                0xDA => {
                    let begin = jpeg.len() - rest.len();
                    return headers.picture(segment, jpeg.slice(begin..begin + scan_length(rest)?));
                }
                _ => headers.take(*marker, segment)?,
            }
        }
    }

    /// Bytes of the scan.
    #[cfg(any(test, fuzzing))]
    pub fn len(&self) -> usize {
        self.scan.len()
    }

    /// Queues the picture.
    pub fn pack(&self, sender: &mut Sender, time: u64) {
        let mut rest = self.scan.clone();
        while !rest.is_empty() {
            let offset = self.scan.len() - rest.len();
            let head = self.head(offset);
            let piece = rest.split_to(rest.len().min(PAYLOAD - head.len()));
            sender.packet(time, rest.is_empty(), &head, piece);
        }
    }

    /// The headers of the packet that begins at `offset`.
    fn head(&self, offset: usize) -> BytesMut {
        let mut head = BytesMut::with_capacity(8 + 4 + 4 + 128);
        // Pictures are below 16 MiB, so the first byte is the type-specific 0.
        head.put_u32(u32::try_from(offset).unwrap_or(0));
        head.put_slice(&[self.kind, OWN_TABLES, self.size.0, self.size.1]);
        if self.restart > 0 {
            head.put_u16(self.restart);
            // Whole pictures are put together before they are decoded.
            head.put_u16(0xFFFF);
        }
        if offset == 0 {
            head.put_slice(&[0, 0, 0, 128]);
            self.tables.iter().for_each(|table| head.put_slice(table));
        }
        head
    }
}

impl Headers {
    fn take(&mut self, marker: u8, segment: &[u8]) -> Result<(), Unfit> {
        match marker {
            0xC0 => self.frame = Some(Frame::read(segment)?),
            0xC4 => tables(segment)?,
            0xC1..=0xCF => return Err(Unfit("it is not sequential JPEG of 8 bits")),
            0xDB => self.quantisation(segment)?,
            0xDD => {
                let [high, low] = segment else { return Err(BROKEN) };
                self.restart = u16::from_be_bytes([*high, *low]);
            }
            // Adobe's mark: another colour space than that of video.
            0xEE if segment.starts_with(b"Adobe") && segment.get(11) != Some(&1) => {
                return Err(Unfit("its colours are not those of video"));
            }
            0xE0..=0xEF | 0xFE => {}
            _ => return Err(BROKEN),
        }
        Ok(())
    }

    fn quantisation(&mut self, mut segment: &[u8]) -> Result<(), Unfit> {
        while let [which, rest @ ..] = segment {
            let (table, after) = rest.split_first_chunk::<64>().ok_or(BROKEN)?;
            if which >> 4 != 0 {
                return Err(Unfit("its quantisation has 16 bits"));
            }
            *self.tables.get_mut(usize::from(*which)).ok_or(BROKEN)? = Some(*table);
            segment = after;
        }
        Ok(())
    }

    fn picture(self, segment: &[u8], scan: Bytes) -> Result<Picture, Unfit> {
        let frame = self.frame.ok_or(BROKEN)?;
        let [red, green, blue] = frame.ids;
        if segment != [3, red, 0, green, 0x11, blue, 0x11, 0, 63, 0] {
            return Err(Unfit("its scan has another order"));
        }
        let table = |number: u8| self.tables.get(usize::from(number)).copied().flatten().ok_or(BROKEN);
        let [brightness, colour, other] = frame.tables.map(table);
        if colour? != other? {
            return Err(Unfit("its colours have tables of their own"));
        }
        if scan.is_empty() {
            return Err(BROKEN);
        }
        let kind = if self.restart > 0 { frame.kind + RESTARTS } else { frame.kind };
        Ok(Picture { kind, size: frame.size, restart: self.restart, tables: [brightness?, colour?], scan })
    }
}

impl Frame {
    fn read(segment: &[u8]) -> Result<Self, Unfit> {
        let [8, h1, h2, w1, w2, 3, a, a_size, a_table, b, b_size, b_table, c, c_size, c_table] = segment
        else {
            return Err(Unfit("it has not three colours of 8 bits"));
        };
        let (height, width) = (u16::from_be_bytes([*h1, *h2]), u16::from_be_bytes([*w1, *w2]));
        if !(1..=LARGEST).contains(&width) || !(1..=LARGEST).contains(&height) {
            return Err(Unfit("it is larger than 2040 pixels"));
        }
        let kind = match (a_size, b_size, c_size) {
            (0x21, 0x11, 0x11) => 0,
            (0x22, 0x11, 0x11) => 1,
            _ => return Err(Unfit("its colours are not halved")),
        };
        let units = |pixels: u16| u8::try_from(pixels.div_ceil(8)).unwrap_or(u8::MAX);
        Ok(Self {
            kind,
            size: (units(width), units(height)),
            ids: [*a, *b, *c],
            tables: [*a_table, *b_table, *c_table],
        })
    }
}

/// Refuses Huffman tables that the receiver would not use.
fn tables(mut segment: &[u8]) -> Result<(), Unfit> {
    while let [which, rest @ ..] = segment {
        let (counts, values) = rest.split_first_chunk::<16>().ok_or(BROKEN)?;
        let total: usize = counts.iter().map(|count| usize::from(*count)).sum();
        let values_here = values.get(..total).ok_or(BROKEN)?;
        if huffman::standard(which >> 4, which & 15) != Some((counts, values_here)) {
            return Err(Unfit("its Huffman tables are its own"));
        }
        segment = values.get(total..).unwrap_or_default();
    }
    Ok(())
}

/// Bytes up to the end marker: in a scan FF is followed by 00 or a restart number.
fn scan_length(data: &[u8]) -> Result<usize, Unfit> {
    let mut at = 0;
    while let Some(offset) = data.get(at..).and_then(|rest| rest.iter().position(|byte| *byte == 0xFF)) {
        at += offset;
        match data.get(at + 1) {
            Some(0x00 | 0xD0..=0xD7) => at += 2,
            Some(0xFF) => at += 1,
            Some(0xD9) => return Ok(at),
            Some(_) => return Err(Unfit("it has several scans")),
            None => break,
        }
    }
    Err(BROKEN)
}
