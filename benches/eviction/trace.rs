//! What is asked for, after published generators, and always the same for a seed.

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

/// How many objects are wanted; those of scans come on top.
pub const OBJECTS: u64 = 100_000;
/// Each of them runs over so many objects.
const SCAN: usize = 1000;
/// Beyond all objects that are wanted, whichever they are.
const FIRST_SCANNED: u64 = 1 << 40;

/// The Zipfian generator of YCSB (Gray, Sundaresan, Englert, Baclawski and Weinberger, "Quickly generating billion-record
/// synthetic databases", SIGMOD 1994): the object of rank *i* with a probability in proportion to 1/*i*^θ.
struct Zipf {
    theta: f64,
    zeta: f64,
    eta: f64,
}

impl Zipf {
    fn new(theta: f64) -> Zipf {
        let zeta = |count: u64| -> f64 { (1..=count).map(|it| (it as f64).powf(-theta)).sum() };
        let all = zeta(OBJECTS);
        let eta = (1.0 - (2.0 / OBJECTS as f64).powf(1.0 - theta)) / (1.0 - zeta(2) / all);
        Zipf {
            theta,
            zeta: all,
            eta,
        }
    }

    /// A rank, from 0 on.
    fn draw(&self, dice: &mut StdRng) -> u64 {
        let at: f64 = dice.random();
        let scaled = at * self.zeta;
        if scaled < 1.0 {
            return 0;
        }
        if scaled < 1.0 + 0.5_f64.powf(self.theta) {
            return 1;
        }
        let rank = (self.eta * at - self.eta + 1.0).powf(1.0 / (1.0 - self.theta));
        ((OBJECTS as f64 * rank) as u64).min(OBJECTS - 1)
    }
}

/// How large objects are.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Sizes {
    Uniform,
    /// As files of web servers (Barford and Crovella, "Generating representative web workloads for network and server
    /// performance evaluation", SIGMETRICS 1998): half of them below 11.6 kB, 28 kB on average.
    LogNormal,
}

impl Sizes {
    const MU: f64 = 9.357;
    const SIGMA: f64 = 1.318;
    const EACH: u64 = 1024;

    /// Where all objects are of one size.
    pub fn each(self) -> Option<u64> {
        (self == Sizes::Uniform).then_some(Self::EACH)
    }

    /// Bytes of one object, always the same.
    pub fn of(self, object: u64) -> u64 {
        match self {
            Sizes::Uniform => Self::EACH,
            Sizes::LogNormal => {
                let mut dice = StdRng::seed_from_u64(object);
                // Box and Muller's normal distribution, of what is not 0.
                let (one, other): (f64, f64) = (1.0 - dice.random::<f64>(), dice.random());
                let normal = (-2.0 * one.ln()).sqrt() * (std::f64::consts::TAU * other).cos();
                (Self::MU + Self::SIGMA * normal).exp() as u64
            }
        }
    }
}

#[derive(Clone, Copy)]
pub struct Request {
    pub object: u64,
    /// How large it is.
    pub bytes: u64,
}

#[derive(Clone, Copy)]
pub struct Trace {
    pub theta: f64,
    /// Of the requests, so many parts of a hundred are of scans.
    pub scans: usize,
    pub sizes: Sizes,
    /// All that is wanted changes each time a quarter of the trace is over.
    pub does_change: bool,
}

impl Trace {
    pub fn requests(self, count: usize, seed: u64) -> Vec<Request> {
        let (zipf, mut dice) = (Zipf::new(self.theta), StdRng::seed_from_u64(seed));
        let wanted: Vec<u64> = (0..OBJECTS).map(|it| self.sizes.of(it)).collect();
        let mut requests = Vec::with_capacity(count);
        let mut scanned = FIRST_SCANNED;
        let between = match self.scans {
            0 => count,
            scans => SCAN * (100 - scans) / scans,
        };
        while requests.len() < count {
            for _ in 0..between.min(count - requests.len()) {
                let rank = zipf.draw(&mut dice);
                let quarter = (requests.len() * 4 / count) as u64;
                let of = if self.does_change { quarter } else { 0 };
                requests.push(Request {
                    object: of * OBJECTS + rank,
                    bytes: wanted[rank as usize],
                });
            }
            for _ in 0..SCAN.min(count - requests.len()) {
                requests.push(Request {
                    object: scanned,
                    bytes: self.sizes.of(scanned),
                });
                scanned += 1;
            }
        }
        requests
    }
}
