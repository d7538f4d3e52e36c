//! Scripts, which a server does as one command.

use redis::{Cmd, ToRedisArgs, cmd};

/// A script in Lua. Servers keep it, and are sent its digest.
pub struct Script {
    code: &'static str,
    digest: Box<str>,
}

impl Script {
    pub fn new(code: &'static str) -> Script {
        Script {
            code,
            digest: redis::Script::new(code).get_hash().into(),
        }
    }

    /// Begins a call.
    pub fn call(&self) -> Call<'_> {
        Call {
            script: self,
            keys: Vec::new(),
            args: Vec::new(),
            is_repeatable: true,
        }
    }
}

/// A call of a script.
pub struct Call<'s> {
    script: &'s Script,
    keys: Vec<Vec<u8>>,
    args: Vec<Vec<u8>>,
    is_repeatable: bool,
}

impl Call<'_> {
    /// Adds one of `KEYS`. In a cluster all of them are in the slot of the first: braces keep them together.
    pub fn key(&mut self, key: impl ToRedisArgs) -> &mut Self {
        key.write_redis_args(&mut self.keys);
        self
    }

    /// Adds one of `ARGV`.
    pub fn arg(&mut self, arg: impl ToRedisArgs) -> &mut Self {
        arg.write_redis_args(&mut self.args);
        self
    }

    /// It is not done twice: where the connection breaks after it may have been sent, that is an error.
    pub fn once(&mut self) -> &mut Self {
        self.is_repeatable = false;
        self
    }

    pub(super) fn is_repeatable(&self) -> bool {
        self.is_repeatable
    }

    /// For a server that knows the script.
    pub(super) fn by_digest(&self) -> Cmd {
        self.command("EVALSHA", &self.script.digest)
    }

    /// For one that does not, and knows it from then on.
    pub(super) fn whole(&self) -> Cmd {
        self.command("EVAL", self.script.code)
    }

    pub(super) fn first_key(&self) -> &[u8] {
        self.keys.first().map_or(&[], Vec::as_slice)
    }

    fn command(&self, name: &str, script: &str) -> Cmd {
        let mut command = cmd(name);
        command.arg(script).arg(self.keys.len());
        command.arg(&self.keys).arg(&self.args);
        command
    }
}
