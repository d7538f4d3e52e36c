//! What the store does in one step: it looks at all rules of a key by its own clock, and charges all of them or none.
//!
//! The arithmetic is that of the rules here, in the numbers that Lua has, which are whole up to 2⁵³. A moment in
//! nanoseconds is more than that, so that it is kept as seconds and the rest.

use std::num::ParseIntError;
use std::sync::{Mutex, PoisonError};

use redis::{FromRedisValue, ParsingError, Value};

use super::super::{Calendar, NamedRule, Now, Rule, Sliding};
use crate::stores::{Call, Script};

/// KEYS: where the words of the key are. ARGV: what to do: `take` where every rule has so much left, `charge` anyway,
/// `add` what was admitted elsewhere, or `look`; with `add` by whom, and the number of what he tells; then for each rule its
/// kind, the cost and its numbers. Gives what came of it, the time, and the words.
///
/// Behind the words are the gateways that told last, with the number of what they told: it counts once, however often it
/// comes. Of more than those somebody who is told nothing may count twice.
const CODE: &str = r"
local time = redis.call('TIME')
local seconds, micros = tonumber(time[1]), tonumber(time[2])
local act, old, at = ARGV[1], {}, 2
local words, marks = string.match(redis.call('GET', KEYS[1]) or '', '^([%d ]*)(.*)$')
for word in string.gmatch(words, '%d+') do old[#old + 1] = tonumber(word) end
local new, life, within, known, sum = {}, 1, true, true, 0

local rules = {}
-- Interval in nanoseconds and burst; the words are the theoretical arrival time.
function rules.g(cost, interval, burst)
  local at = #new
  local ahead = ((old[at + 1] or 0) - seconds) * 1e9 + (old[at + 2] or 0) - micros * 1e3
  local all = interval * burst
  if ahead < 0 then ahead = 0 end
  if act == 'charge' then
    cost = math.min(cost, math.floor(math.max(all * 2 - ahead, 0) / interval))
  end
  -- What was admitted elsewhere is told as the time that it takes to come back.
  if act ~= 'add' then cost = interval * cost end
  local after = ahead + cost
  if after > all then within = false end
  local nanos = micros * 1e3 + after
  local carry = math.floor(nanos / 1e9)
  new[at + 1] = seconds + carry
  new[at + 2] = nanos - carry * 1e9
  life = math.max(life, after / 1e6)
end
-- Length of a slot in microseconds and limit; the words are the last slot and what was taken in each of sixteen.
function rules.s(cost, length, limit)
  local at, used = #new, 0
  local current = math.floor((seconds * 1e6 + micros) / length)
  local last = old[at + 1] or 0
  new[at + 1] = math.max(last, current)
  for place = 0, 15 do new[at + 2 + place] = old[at + 2 + place] or 0 end
  for slot = math.max(last + 1, current - 15), current do new[at + 2 + slot % 16] = 0 end
  for place = 0, 15 do used = used + new[at + 2 + place] end
  if used + cost > limit then within = false end
  local place = at + 2 + current % 16
  new[place] = math.min(new[place] + cost, 4294967295)
  life = math.max(life, length * 16 / 1e3)
end
-- Limit, then when the window before begins, this one, the next and the one after it, in Unix seconds, as the gateway's
-- clock and time zone have them; the words are when the window begins and what was taken in it.
function rules.c(cost, limit, before, this, next, after)
  local at, start, stop = #new, before, this
  if seconds < before or seconds >= after then known = false end
  if seconds >= this then start, stop = this, next end
  if seconds >= next then start, stop = next, after end
  local first, used = old[at + 1] or 0, old[at + 2] or 0
  -- Never back: a gateway that knows the zone otherwise must not make everybody begin anew. What begins after the next
  -- window was begun by a clock that was wrong.
  if start > first or first > stop then first, used = start, 0 end
  if used + cost > limit then within = false end
  new[at + 1] = first
  new[at + 2] = math.min(used + cost, 9007199254740991)
  life = math.max(life, (math.max(stop, first) - seconds + 60) * 1e3)
end

if act == 'add' then
  local gateway, kept, count = ARGV[2], '|' .. ARGV[2] .. '.' .. ARGV[3], 1
  for other, number in string.gmatch(marks, '|(%x+)%.(%d+)') do
    if other == gateway then
      if tonumber(number) >= tonumber(ARGV[3]) then act = 'look' end
    elseif count < 64 then
      kept, count = kept .. '|' .. other .. '.' .. number, count + 1
    end
  end
  if act == 'add' then marks = kept end
  at = 4
end

local numbers = { g = 3, s = 3, c = 6 }
while ARGV[at] do
  local kind, given = ARGV[at], {}
  for index = 1, numbers[kind] do given[index] = tonumber(ARGV[at + index]) end
  rules[kind](unpack(given))
  sum = sum + given[1]
  at = at + 1 + numbers[kind]
end

if not known then return { 2, time[1], time[2], words } end
local taken = act == 'charge' or act == 'add' or act == 'take' and within
if taken and sum > 0 then
  for index = 1, #new do new[index] = string.format('%.0f', new[index]) end
  words = table.concat(new, ' ')
  redis.call('SET', KEYS[1], words .. marks, 'PX', string.format('%.0f', math.ceil(life)))
end
return { taken and 1 or 0, time[1], time[2], words }";

/// What is to be done with the cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Act {
    /// It is charged where every rule has so much left.
    Take,
    /// It is charged anyway, of a rate as a debt of at most two bursts.
    Charge,
    /// It has been admitted elsewhere, and is written down whole, once: see [`Rule::worth`].
    Add(Mark),
    Look,
}

/// What is told, so that it can be told again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mark {
    pub(super) gateway: u64,
    /// Larger than that of all that this gateway has told of the key before.
    pub(super) number: u64,
}

/// What the store says of a key.
#[derive(Debug)]
pub(super) struct Told {
    pub(super) is_charged: bool,
    /// Whether the windows of the calendar that it was told are around its time. Otherwise it has done nothing.
    pub(super) is_timely: bool,
    /// By its clock.
    pub(super) now: Now,
    /// As they are there.
    text: Box<str>,
}

/// The script, with what it is told of the rules of one limiter.
pub(super) struct Decider {
    script: Script,
    rules: Box<[Given]>,
}

/// What the script is told of one rule.
enum Given {
    Numbers(&'static str, [u64; 2]),
    /// The bounds of four windows, and of which moment they were looked up.
    Calendar(Mutex<[u64; 4]>),
}

impl Decider {
    pub(super) fn new(rules: &[NamedRule]) -> Decider {
        let rules = rules.iter().map(|it| match &it.rule {
            Rule::Gcra(gcra) => Given::Numbers("g", [gcra.interval(), gcra.burst()]),
            Rule::Sliding(sliding) => Given::Numbers("s", [sliding.slot_micros(), sliding.limit()]),
            Rule::Calendar(_) => Given::Calendar(Mutex::default()),
        });
        Decider {
            script: Script::new(CODE),
            rules: rules.collect(),
        }
    }

    /// `rules` are those that it was made for, with the cost of each; `unix` is about the store's time in seconds.
    pub(super) fn call(
        &self,
        key: &str,
        act: Act,
        (rules, costs): (&[NamedRule], &[u64]),
        unix: u64,
    ) -> Call<'_> {
        let mut call = self.script.call();
        if act == Act::Charge {
            // Nobody waits for it, so that it need not be counted twice. Who takes has a request that waits, and what is
            // added has a mark.
            call.once();
        }
        call.key(key).arg(match act {
            Act::Take => "take",
            Act::Charge => "charge",
            Act::Add(_) => "add",
            Act::Look => "look",
        });
        if let Act::Add(mark) = act {
            call.arg(format!("{:x}", mark.gateway)).arg(mark.number);
        }
        for ((given, named), cost) in self.rules.iter().zip(rules).zip(costs) {
            match (given, &named.rule) {
                (Given::Numbers(kind, numbers), _) => {
                    call.arg(*kind).arg(*cost).arg(numbers);
                }
                (Given::Calendar(bounds), Rule::Calendar(calendar)) => {
                    let bounds = current(bounds, calendar, unix);
                    call.arg("c").arg(*cost).arg(calendar.limit());
                    call.arg(&bounds);
                }
                (Given::Calendar(_), _) => {}
            }
        }
        call
    }
}

/// The bounds of the windows around this moment, which are looked up once a window.
fn current(bounds: &Mutex<[u64; 4]>, calendar: &Calendar, unix: u64) -> [u64; 4] {
    let mut bounds = bounds.lock().unwrap_or_else(PoisonError::into_inner);
    let [_, this, next, _] = *bounds;
    if !(this..next).contains(&unix) {
        let (this, next) = calendar.window(unix);
        let (before, _) = calendar.window(this.saturating_sub(1));
        let (_, after) = calendar.window(next);
        *bounds = [before, this, next, after];
    }
    *bounds
}

impl Told {
    /// The words as the rules have them; `None` where they are not theirs.
    pub(super) fn words(&self, rules: &[NamedRule]) -> Option<Vec<u64>> {
        let numbers: Result<Vec<u64>, ParseIntError> =
            self.text.split_ascii_whitespace().map(str::parse).collect();
        let numbers = numbers.ok()?;
        if numbers.is_empty() {
            return Some(vec![0; rules.iter().map(|it| it.rule.words()).sum()]);
        }
        let (mut rest, mut words) = (numbers.as_slice(), Vec::new());
        for named in rules {
            rest = match (&named.rule, rest) {
                (Rule::Gcra(_), [seconds, nanos, rest @ ..]) => {
                    words.push(seconds.saturating_mul(1_000_000_000).saturating_add(*nanos));
                    rest
                }
                (Rule::Sliding(_), [last, rest @ ..]) => {
                    let (counts, rest) = rest.split_at_checked(Sliding::SLOTS)?;
                    words.push(*last);
                    let pairs = counts.chunks_exact(2);
                    words.extend(pairs.map(|pair| match pair {
                        [low, high] => low & u64::from(u32::MAX) | high << 32,
                        _ => 0,
                    }));
                    rest
                }
                (Rule::Calendar(_), [start, used, rest @ ..]) => {
                    words.extend([*start, *used]);
                    rest
                }
                _ => return None,
            };
        }
        rest.is_empty().then_some(words)
    }
}

impl FromRedisValue for Told {
    fn from_redis_value(value: Value) -> Result<Told, ParsingError> {
        let (came, seconds, micros, text): (u8, u64, u64, String) =
            FromRedisValue::from_redis_value(value)?;
        let nanos = seconds.saturating_mul(1_000_000_000);
        Ok(Told {
            is_charged: came == 1,
            is_timely: came != 2,
            now: Now {
                nanos: nanos.saturating_add(micros.saturating_mul(1000)),
                unix: seconds,
            },
            text: text.into(),
        })
    }
}
