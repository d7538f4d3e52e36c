//! Text: where it stands in a file, what is wrong with it, and the small values that are written as text.
//!
//! In comes the text of configuration files; out go typed values that remember their place ([`Spanned`]) and
//! every problem found on the way ([`Diagnostics`]), each with its file, line and column. The room knows no
//! configuration key: it must never know what a route or an upstream is. It reads no file but those of a
//! [`Secret`], whose whole point is that the value is not in the configuration; [`open_file`] is for others.
//!
//! A type is read like this. Unknown keys are refused by serde, their nearest neighbour is found here:
//! ```ignore
//! #[derive(Debug, Deserialize, JsonSchema)]
//! #[serde(deny_unknown_fields)]
//! struct Timeouts { connect: Option<Duration>, idle: Spanned<Duration> }
//!
//! let source = sources.add("conf/shop.toml", text);
//! let take = |upstreams: &mut Vec<Named<Upstream>>, mut table: Table<'_, '_>| {
//!     upstreams.extend(table.objects::<Upstream>("upstreams"));
//!     table.finish();
//! };
//! let upstreams = text::read(&mut diagnostics, source, sources.text(source), &["upstreams"], take)?;
//! ```
//!
//! Other rooms define parsed values of their own with [`ParsedText`] and `parsed_text!`, and values with a short
//! and a long form with [`Shorthand`].
//!
//! **Invariant:** nothing in here panics, overflows the stack or prints a secret, whatever the text.

mod address;
mod bounded;
mod byte_size;
mod cidr;
mod de;
mod diagnostic;
mod duration;
mod file;
mod fingerprint;
#[cfg(test)]
pub(crate) mod fuzz;
mod give_way;
mod header;
mod headers;
mod host;
mod host_pattern;
mod invalid;
mod look;
mod method;
mod name;
mod nearest;
mod nesting;
mod object;
pub(crate) mod parsed;
mod path;
mod percent;
mod pieces;
mod problem;
mod rate;
mod ratio;
mod reader;
mod regex_pattern;
mod render;
mod salvage;
mod secret;
mod setting;
mod several;
mod shorthand;
mod sources;
mod span;
mod stable_hash;
pub mod structured;
mod subject;
mod syntax;
mod timestamp;
mod wording;

pub use address::{BindAddress, EndpointAddress};
pub use bounded::Bounded;
pub use byte_size::{ByteSize, SizeUpTo};
pub use cidr::Cidr;
pub use diagnostic::{Diagnostic, Diagnostics, Severity};
pub use duration::Duration;
pub use file::open_file;
pub use fingerprint::Fingerprint;
pub use give_way::give_way;
pub use header::{ENGINE_OWNED, HeaderName, HeaderPattern, is_engine_owned, is_plain, plain};
pub use headers::Headers;
pub use host::Host;
pub use host_pattern::HostPattern;
pub use invalid::{Invalid, quoted};
pub use look::Look;
pub use method::{InvalidMethod, MethodName};
pub use name::Name;
pub use nearest::nearest;
pub use parsed::ParsedText;
pub use path::{
    Backslashes, EncodedSlashes, InvalidUtf8, PathRefusal, PathRules, has_dot_segment,
    normalise_path, refuse_query,
};
pub use percent::Percent;
pub use pieces::read;
pub use rate::Rate;
pub use ratio::Ratio;
pub use reader::{Broken, Named, Read, Section, Table};
pub use regex_pattern::{RegexError, RegexPattern};
pub use render::Report;
pub use salvage::salvage;
pub use secret::{Secret, SecretError, SecretValue};
pub use setting::Setting;
pub use several::Several;
pub use shorthand::{Shorthand, private_shorthand, shorthand, shorthand_schema};
pub use sources::{Position, Sources};
pub use span::{SourceId, Span, Spanned};
pub use stable_hash::{StableHash, mix};
pub use subject::Subject;
pub use timestamp::Timestamp;
pub use wording::write_key;

pub(crate) use parsed::parsed_text;
