//! Decodes the usual kind of color JPEG: baseline, with color at half the resolution, in one scan (ITU-T T.81). Anything else, and
//! what is damaged, is left to a general decoder.
#![allow(clippy::inline_always, reason = "only inlined code gets the instructions of its caller")]

use pulp::{Arch, Simd, WithSimd};

use super::encode::{BEGIN, END, SQUARE};
use super::huffman::ZEROS;
use super::transform::{BLOCKS, Numbers, Samples, ZIGZAG, inverse_factors};

/// The bits of a code that are looked up at once.
const AHEAD: u32 = 10;

/// The length of the longest code.
const LONGEST: u32 = 16;

/// Colors that are enlarged together, each for two pixels.
const LANES: usize = 32;

/// A row of blocks that are transformed together.
type Row = [[u8; 8]; BLOCKS];

/// The bytes of such a row: of brightness, or of half as many places of blue and of red.
const ROW_BYTES: usize = 8 * BLOCKS;

/// Decodes a JPEG of this width and height to RGB8. Returns `None` if it is of another kind, or damaged; `pixels` are arbitrary then.
pub(crate) fn decode(data: &[u8], size: (u32, u32), pixels: &mut [u8]) -> Option<()> {
    let head = read_head(data)?;
    let (width, height) = head.size;
    if size != (width as u32, height as u32) || pixels.len() != width * height * 3 {
        return None;
    }
    let bytes = unstuffed(head.scan)?;
    Arch::new().dispatch(Scan { head: &head, bytes: &bytes, pixels })
}

/// The codes of symbols of coefficients, and their numbers of bits.
struct Codes {
    /// By the next bits: see [`Code`]. Zero for longer codes.
    ahead: Box<[Code; 1 << AHEAD]>,
    /// The codes behind the last one of each length, in 16 bits.
    ends: [u32; LONGEST as usize],
    /// The index of the first symbol of each length, minus its code.
    offsets: [u32; LONGEST as usize],
    symbols: [u8; 256],
}

/// A code: its length, that of the number behind it, and the zeros before it.
#[derive(Clone, Copy, Debug, Default)]
struct Code {
    length: u8,
    size: u8,
    zeros: u8,
}

impl Code {
    fn new(length: u32, symbol: u8) -> Self {
        Self { length: length as u8, size: symbol & 15, zeros: symbol >> 4 }
    }
}

impl Codes {
    /// Creates the codes of symbols, of which there are so many of each length.
    fn new(lengths: &[u8; LONGEST as usize], of_length: &[u8]) -> Option<Self> {
        let mut symbols = [0; 256];
        symbols.get_mut(..of_length.len())?.copy_from_slice(of_length);
        let mut ahead = Box::new([Code::default(); 1 << AHEAD]);
        let (mut ends, mut offsets) = ([0; LONGEST as usize], [0; LONGEST as usize]);
        let (mut code, mut next) = (0_u32, 0_u32);
        for (length, &count) in (1..).zip(lengths) {
            let index = length as usize - 1;
            offsets[index] = next.wrapping_sub(code);
            for _ in 0..count {
                if length <= AHEAD {
                    let (first, same) = (code << (AHEAD - length), 1 << (AHEAD - length));
                    let places = ahead.get_mut(first as usize..(first + same) as usize)?;
                    places.fill(Code::new(length, symbols[next as usize & 0xff]));
                }
                code += 1;
                next += 1;
            }
            ends[index] = code << (LONGEST - length);
            code <<= 1;
        }
        Some(Self { ahead, ends, offsets, symbols })
    }

    /// Returns the code at the begin of these bits.
    #[inline(always)]
    fn find(&self, bits: u64) -> Option<Code> {
        let code = self.ahead[(bits >> (64 - AHEAD)) as usize];
        if code.length != 0 { Some(code) } else { self.find_long(bits) }
    }

    #[cold]
    fn find_long(&self, bits: u64) -> Option<Code> {
        let bits = (bits >> (64 - LONGEST)) as u32;
        let length = (AHEAD + 1..=LONGEST).find(|length| bits < self.ends[*length as usize - 1])?;
        let index = (bits >> (LONGEST - length)).wrapping_add(self.offsets[length as usize - 1]);
        Some(Code::new(length, *self.symbols.get(index as usize)?))
    }
}

/// What is known of one of the three components of color.
struct Component<'a> {
    factors: [f32; 64],
    means: &'a Codes,
    others: &'a Codes,
}

/// What is in front of the coefficients.
struct Head<'a> {
    size: (usize, usize),
    /// By component.
    factors: [[f32; 64]; 3],
    /// Those of means, and of other coefficients, by number.
    codes: [[Option<Codes>; 4]; 2],
    /// The numbers of these by component.
    selected: [[usize; 2]; 3],
    /// The coefficients, and what follows.
    scan: &'a [u8],
}

impl Head<'_> {
    fn component(&self, index: usize) -> Option<Component<'_>> {
        let [means, others] = self.selected[index];
        Some(Component {
            factors: self.factors[index],
            means: self.codes[0][means].as_ref()?,
            others: self.codes[1][others].as_ref()?,
        })
    }
}

/// Reads the segments in front of the coefficients; `None` unless they are of the usual kind.
fn read_head(data: &[u8]) -> Option<Head<'_>> {
    let mut rest = data.strip_prefix(&BEGIN)?;
    let mut divisors: [Option<[u8; 64]>; 4] = [None; 4];
    let mut codes: [[Option<Codes>; 4]; 2] = Default::default();
    let mut frame: Option<&[u8; 15]> = None;
    loop {
        let [0xff, marker, high, low, after @ ..] = rest else { return None };
        let length = usize::from(u16::from_be_bytes([*high, *low])).checked_sub(2)?;
        let mut segment;
        (segment, rest) = after.split_at_checked(length)?;
        match marker {
            0xc0 => frame = Some(segment.try_into().ok()?),
            0xc4 => {
                while let [kind, others @ ..] = segment {
                    let (lengths, others) = others.split_first_chunk()?;
                    let count = lengths.iter().copied().map(usize::from).sum();
                    let symbols;
                    (symbols, segment) = others.split_at_checked(count)?;
                    let class = codes.get_mut(usize::from(kind >> 4))?;
                    *class.get_mut(usize::from(kind & 15))? = Some(Codes::new(lengths, symbols)?);
                }
            }
            0xdb => {
                while let [number, others @ ..] = segment {
                    let bytes;
                    (bytes, segment) = others.split_first_chunk()?;
                    *divisors.get_mut(usize::from(*number))? = Some(*bytes);
                }
            }
            0xda => {
                let &[8, height_high, height_low, width_high, width_low, 3, ref of_frame @ ..] = frame?
                else {
                    return None;
                };
                let (of_frame, &[3, ref of_scan @ .., 0, 63, 0]) = (of_frame.as_chunks::<3>().0, segment)
                else {
                    return None;
                };
                let [luma, blue, red] = of_frame else { return None };
                let ([one, two, three], []) = of_scan.as_chunks::<2>() else { return None };
                // Others than these are those of JFIF.
                let names = [luma[0], blue[0], red[0]];
                if names == *b"RGB"
                    || names != [one[0], two[0], three[0]]
                    || [luma[1], blue[1], red[1]] != [0x22, 0x11, 0x11]
                {
                    return None;
                }
                let divisors = |part: &[u8; 3]| divisors.get(usize::from(part[2])).copied().flatten();
                let factors =
                    [divisors(luma)?, divisors(blue)?, divisors(red)?].map(|it| inverse_factors(&it));
                let selected = [one, two, three].map(|part| [part[1] >> 4, part[1] & 15].map(usize::from));
                let [width, height] =
                    [[width_high, width_low], [height_high, height_low]].map(u16::from_be_bytes);
                let known =
                    width > 0 && height > 0 && selected.as_flattened().iter().all(|&number| number < 4);
                let size = (usize::from(width), usize::from(height));
                return known.then_some(Head { size, factors, codes, selected, scan: rest });
            }
            // Comments, and segments of applications except that which can say that these are other colors.
            0xe0..=0xed | 0xef | 0xfe => {}
            // Restarts too, unless their interval is zero.
            0xdd if segment == [0; 2] => {}
            _ => return None,
        }
    }
}

/// Returns the bytes of coefficients up to the end of the image, without the zeros behind bytes of ones. `None` if there is another
/// marker among them.
fn unstuffed(mut scan: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(scan.len());
    loop {
        let (chunks, _) = scan.as_chunks::<32>();
        let has_ones = |chunk: &&[u8; 32]| chunk.iter().fold(0, |most, &byte| byte.max(most)) == 0xff;
        let skipped = 32 * chunks.iter().take_while(|chunk| !has_ones(chunk)).count();
        let ones = skipped + scan[skipped..].iter().position(|&byte| byte == 0xff)?;
        bytes.extend_from_slice(&scan[..ones]);
        match &scan[ones..] {
            [0xff, 0, rest @ ..] => {
                bytes.push(0xff);
                scan = rest;
            }
            rest => return rest.starts_with(&END).then_some(bytes),
        }
    }
}

/// Reads bits.
struct BitReader<'a> {
    bytes: &'a [u8],
    /// The bytes that were read.
    at: usize,
    /// The next bits, the first one highest; `count` of them are known, more may be right.
    bits: u64,
    count: u32,
}

impl BitReader<'_> {
    /// Makes at least 56 bits known. Behind the end they are zeros.
    #[inline(always)]
    fn fill(&mut self) {
        let next = match self.bytes.get(self.at..).and_then(<[u8]>::first_chunk) {
            Some(bytes) => u64::from_be_bytes(*bytes),
            None => self.last(),
        };
        self.bits |= next >> self.count;
        let bytes = (63 - self.count) / 8;
        self.at += bytes as usize;
        self.count += bytes * 8;
    }

    #[cold]
    fn last(&self) -> u64 {
        let mut bytes = [0; 8];
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        bytes[..rest.len()].copy_from_slice(rest);
        u64::from_be_bytes(bytes)
    }

    /// Returns a number behind its code, both of which are known, and skips them.
    #[inline(always)]
    fn number(&mut self, code: Code) -> i32 {
        let size = u32::from(code.size);
        let bits = self.bits << code.length;
        // Half of the numbers of a size are negative: those whose first bit is zero are coded as one less.
        let negative = !((bits as i64 >> 63) as i32) & ((1 << size) - 1);
        let number = (bits >> 1 >> (63 - size)) as i32 - negative;
        let length = u32::from(code.length) + size;
        self.bits <<= length;
        self.count -= length;
        number
    }

    /// Reads the coefficients of a block.
    #[inline(always)]
    fn block(
        &mut self,
        component: &Component<'_>,
        before: &mut i32,
        numbers: &mut Numbers,
        block: usize,
    ) -> Option<()> {
        self.fill();
        let code = component.means.find(self.bits)?;
        *before = before.wrapping_add(self.number(Code { zeros: 0, ..code }));
        numbers.set(0, block, *before as i16);
        let mut at = 1;
        while at < 64 {
            if self.count < 32 {
                self.fill();
            }
            let code = component.others.find(self.bits)?;
            let number = self.number(code);
            at += usize::from(code.zeros);
            if code.size == 0 {
                if code.zeros != (ZEROS >> 4) as u8 {
                    break;
                }
            } else {
                numbers.set(usize::from(*ZIGZAG.get(at)?), block, number as i16);
            }
            at += 1;
        }
        Some(())
    }
}

/// The coefficients of an image, and its pixels.
struct Scan<'a> {
    head: &'a Head<'a>,
    bytes: &'a [u8],
    pixels: &'a mut [u8],
}

impl WithSimd for Scan<'_> {
    type Output = Option<()>;

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) -> Option<()> {
        let Self { head, bytes, pixels } = self;
        let (width, height) = head.size;
        let groups = width.div_ceil(ROW_BYTES);
        let squares = height.div_ceil(SQUARE);
        let components = [head.component(0)?, head.component(1)?, head.component(2)?];
        let mut reader = BitReader { bytes, at: 0, bits: 0, count: 0 };
        let mut before = [0; 3];
        // Colors are enlarged with those above and below, so rows of squares are written one later.
        let mut halves = [Planes::new(groups), Planes::new(groups)];
        let mut blocks = Blocks::default();
        let mut enlarged = Enlarged::new(groups);
        let mut above = vec![0; groups * ROW_BYTES];
        for square in 0..=squares {
            let [planes, other] = &mut halves;
            let (planes, other) = if square % 2 == 0 { (planes, other) } else { (other, planes) };
            if square < squares {
                let last = |group: usize| (width.div_ceil(SQUARE) - group * (BLOCKS / 2)).min(BLOCKS / 2);
                for group in 0..groups {
                    blocks.read(&mut reader, &components, &mut before, last(group))?;
                    blocks.transform(&components, planes, group, groups);
                }
            }
            let Some(done) = square.checked_sub(1) else { continue };
            let rows = pixels[done * SQUARE * width * 3..].chunks_exact_mut(width * 3).take(SQUARE);
            let colors = (height - done * SQUARE).min(SQUARE).div_ceil(2);
            if done == 0 {
                above.copy_from_slice(other.colors(0, groups));
            }
            for (y, row) in rows.enumerate() {
                let near = y / 2;
                let far = match y % 2 {
                    0 if near == 0 => &above,
                    0 => other.colors(near - 1, groups),
                    _ if near + 1 < colors => other.colors(near + 1, groups),
                    _ if square < squares => planes.colors(0, groups),
                    _ => other.colors(near, groups),
                };
                enlarged.blend(other.colors(near, groups), far, width.div_ceil(2));
                enlarged.write(other.luma[y * groups..][..groups].as_flattened().as_flattened(), row);
            }
            above.copy_from_slice(other.colors(SQUARE / 2 - 1, groups));
        }
        (reader.at * 8 <= bytes.len() * 8 + reader.count as usize).then_some(())
    }
}

/// The coefficients of a group of squares.
#[derive(Default)]
struct Blocks {
    above: Numbers,
    below: Numbers,
    colors: Numbers,
    samples: Samples,
}

impl Blocks {
    #[inline(always)]
    fn read(
        &mut self,
        reader: &mut BitReader<'_>,
        [luma, blue, red]: &[Component<'_>; 3],
        [before_luma, before_blue, before_red]: &mut [i32; 3],
        squares: usize,
    ) -> Option<()> {
        let Self { above, below, colors, .. } = self;
        above.clear();
        below.clear();
        colors.clear();
        for square in 0..squares {
            for numbers in [&mut *above, &mut *below] {
                reader.block(luma, before_luma, numbers, 2 * square)?;
                reader.block(luma, before_luma, numbers, 2 * square + 1)?;
            }
            reader.block(blue, before_blue, colors, square)?;
            reader.block(red, before_red, colors, BLOCKS / 2 + square)?;
        }
        Some(())
    }

    #[inline(always)]
    fn transform(
        &mut self,
        components: &[Component<'_>; 3],
        planes: &mut Planes,
        group: usize,
        groups: usize,
    ) {
        let Self { above, below, colors, samples } = self;
        let [luma, blue, red] = components;
        for (numbers, top) in [(above, 0), (below, 8)] {
            samples.transform(numbers, [&luma.factors; 2]);
            for y in 0..8 {
                samples.write(y, &mut planes.luma[(top + y) * groups + group]);
            }
        }
        samples.transform(colors, [&blue.factors, &red.factors]);
        for y in 0..8 {
            samples.write(y, &mut planes.chroma[y * groups + group]);
        }
    }
}

/// Sixteen rows as brightness and color, as wide as whole groups of blocks.
struct Planes {
    luma: Vec<Row>,
    /// Of each group those to blue, then those to red.
    chroma: Vec<Row>,
}

impl Planes {
    fn new(groups: usize) -> Self {
        let plane = |rows: usize| vec![[[0; 8]; BLOCKS]; rows * groups];
        Self { luma: plane(SQUARE), chroma: plane(SQUARE / 2) }
    }

    #[inline(always)]
    fn colors(&self, row: usize, groups: usize) -> &[u8] {
        self.chroma[row * groups..][..groups].as_flattened().as_flattened()
    }
}

/// Colors of a row: four times their numbers, between one more at either end.
struct Enlarged {
    blue: Vec<i16>,
    red: Vec<i16>,
}

impl Enlarged {
    fn new(groups: usize) -> Self {
        let row = vec![0; groups * ROW_BYTES / 2 + 2];
        Self { blue: row.clone(), red: row }
    }

    /// Sets them to three parts of one row and one of another, `width` of them.
    #[inline(always)]
    fn blend(&mut self, near: &[u8], far: &[u8], width: usize) {
        const HALF: usize = ROW_BYTES / 2;
        let (near, far) = (near.as_chunks::<HALF>().0, far.as_chunks::<HALF>().0);
        let to = [&mut self.blue, &mut self.red];
        for (channel, to) in to.into_iter().enumerate() {
            let rows = near.iter().zip(far).skip(channel).step_by(2);
            for ((near, far), to) in rows.zip(to[1..].as_chunks_mut::<HALF>().0) {
                for ((to, &near), &far) in to.iter_mut().zip(near).zip(far) {
                    *to = 3 * i16::from(near) + i16::from(far);
                }
            }
            to[0] = to[1];
            to[width + 1] = to[width];
        }
    }

    /// Writes a row as RGB8, whose brightness this is.
    #[inline(always)]
    fn write(&self, luma: &[u8], row: &mut [u8]) {
        let pixels = row.chunks_mut(2 * LANES * 3).zip(luma.as_chunks::<{ 2 * LANES }>().0);
        for (index, (pixels, luma)) in pixels.enumerate() {
            let at = index * LANES;
            let colors = colors(luma, window(&self.blue, at), window(&self.red, at));
            let colors = colors.as_flattened();
            match pixels.as_chunks_mut::<{ 2 * LANES * 3 }>().0 {
                [whole] => whole.copy_from_slice(colors),
                _ => pixels.copy_from_slice(&colors[..pixels.len()]),
            }
        }
    }
}

/// Returns colors from this one on, and one more at either end.
#[inline(always)]
fn window(row: &[i16], at: usize) -> &[i16; LANES + 2] {
    row[at..].first_chunk().unwrap_or(&[0; LANES + 2])
}

/// Returns pixels of this brightness, of two for each color. Colors are three parts of the nearest one and one of the next.
#[inline(always)]
fn colors(luma: &[u8; 2 * LANES], blue: &[i16; LANES + 2], red: &[i16; LANES + 2]) -> [[u8; 3]; 2 * LANES] {
    let mut channels = [[0_u16; LANES]; 3];
    let [reds, greens, blues] = &mut channels;
    let (pairs, _) = luma.as_chunks::<2>();
    for lane in 0..LANES {
        let pair = u16::from_le_bytes(pairs[lane]);
        let (b, r) = (3 * blue[lane + 1], 3 * red[lane + 1]);
        let (b_left, r_left) = (b + blue[lane] + 8, r + red[lane] + 8);
        let (b_right, r_right) = (b + blue[lane + 2] + 7, r + red[lane + 2] + 7);
        let left = rgb((pair & 0xff) as i16, (b_left >> 4) - 128, (r_left >> 4) - 128);
        let right = rgb((pair >> 8) as i16, (b_right >> 4) - 128, (r_right >> 4) - 128);
        reds[lane] = left[0] | right[0] << 8;
        greens[lane] = left[1] | right[1] << 8;
        blues[lane] = left[2] | right[2] << 8;
    }
    let mut bytes = [[[0; 2]; LANES]; 3];
    for (bytes, channel) in bytes.iter_mut().zip(&channels) {
        for (bytes, both) in bytes.iter_mut().zip(channel) {
            *bytes = both.to_le_bytes();
        }
    }
    let [reds, greens, blues] = &bytes;
    let mut colors = [[0; 3]; 2 * LANES];
    let channels = reds.as_flattened().iter().zip(greens.as_flattened()).zip(blues.as_flattened());
    for (color, ((&red, &green), &blue)) in colors.iter_mut().zip(channels) {
        *color = [red, green, blue];
    }
    colors
}

/// Converts by the inverse of the matrix of JFIF, with 16 bits.
#[inline(always)]
fn rgb(y: i16, blue: i16, red: i16) -> [u16; 3] {
    let part = |value: i16, factor: i16| ((i32::from(value) * i32::from(factor)) >> 16) as i16;
    // 1.402 is 1 and 0.402; 1.772 is 2 less 0.228; the factors are those of half of the products, so that they can be rounded.
    let channels = [
        y + red + ((part(2 * red, 26_345) + 1) >> 1),
        y - ((part(2 * blue, 22_554) + part(4 * red, 23_401) + 1) >> 1),
        y + 2 * blue + ((part(2 * blue, -14_942) + 1) >> 1),
    ];
    let [red, green, blue] = channels;
    [red.clamp(0, 255) as u16, green.clamp(0, 255) as u16, blue.clamp(0, 255) as u16]
}

#[cfg(test)]
mod tests {
    use super::super::encode::{Channels, encode, tests::image};
    use super::*;

    const SIZES: [(usize, usize); 8] =
        [(1, 1), (7, 3), (16, 16), (17, 33), (127, 5), (128, 17), (129, 31), (424, 240)];

    fn encoded(size: (usize, usize), quality: u8) -> Vec<u8> {
        let mut file = Vec::new();
        let pixels = image(size.0, size.1, 3);
        encode(&pixels, (size.0 as u32, size.1 as u32), Channels::Rgb, quality, &mut file).unwrap();
        file
    }

    fn decoded(file: &[u8], (width, height): (usize, usize)) -> Option<Vec<u8>> {
        let mut pixels = vec![0xee; width * height * 3];
        decode(file, (width as u32, height as u32), &mut pixels).map(|()| pixels)
    }

    #[test]
    fn pixels_are_those_of_a_general_decoder() {
        for size in SIZES {
            for quality in [1, 50, 80, 100] {
                let file = encoded(size, quality);
                let found = decoded(&file, size).unwrap();
                let mut general = vec![0; found.len()];
                crate::light::decode_any(
                    &file,
                    (size.0 as u32, size.1 as u32),
                    camrig_frame::PixelFormat::Rgb8,
                    &mut general,
                )
                .unwrap();
                let far = found.iter().zip(&general).map(|(a, b)| u32::from(a.abs_diff(*b)));
                let (most, sum) = (far.clone().max().unwrap(), far.sum::<u32>());
                let mean = f64::from(sum) / found.len() as f64;
                assert!(most <= 6 && mean < 1.0, "{size:?} {quality}: {most} at most, {mean} on average");
            }
        }
    }

    #[test]
    fn every_kind_of_vector_instructions_gives_the_same_pixels() {
        for size in SIZES {
            let file = encoded(size, 80);
            let head = read_head(&file).unwrap();
            let bytes = unstuffed(head.scan).unwrap();
            let mut pixels = vec![0; size.0 * size.1 * 3];
            Scan { head: &head, bytes: &bytes, pixels: &mut pixels }.with_simd(pulp::Scalar).unwrap();
            assert!(decoded(&file, size).unwrap() == pixels, "{size:?}");
        }
    }

    #[test]
    fn what_is_cut_or_of_another_kind_is_left_to_the_general_decoder() {
        let size = (33, 20);
        let file = encoded(size, 80);
        assert!(decoded(&file, size).is_some() && decoded(&file, (33, 21)).is_none());
        for length in 0..file.len() {
            assert!(decoded(&file[..length], size).is_none(), "{length}");
        }
        let at = |marker: u8| file.windows(2).position(|two| two == [0xff, marker]).unwrap();
        let change = |place: usize, byte: u8| {
            let mut file = file.clone();
            file[place] = byte;
            decoded(&file, size)
        };
        // Progressive; 12 bits; color in full; one table with 16 bits; another order of components; colors as Adobe's programs tell.
        for (place, byte) in [
            (at(0xc0) + 1, 0xc2),
            (at(0xc0) + 4, 12),
            (at(0xc0) + 11, 0x11),
            (at(0xdb) + 4, 0x10),
            (at(0xda) + 5, 2),
            (at(0xe0) + 1, 0xee),
        ] {
            assert!(change(place, byte).is_none(), "{place}");
        }
    }

    /// Every byte is changed: no input may cause a panic or take long.
    #[test]
    fn damaged_files_are_decoded_or_refused() {
        let size = (33, 20);
        let file = encoded(size, 30);
        for place in 0..file.len() {
            for change in [1, 0x10, 0x80, 0xff] {
                let mut damaged = file.clone();
                damaged[place] ^= change;
                decoded(&damaged, size);
            }
        }
    }
}
