//! Responses that are found to have no body after they were given a coding.

use std::any::Any;
use std::sync::LazyLock;

use async_trait::async_trait;
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, TRANSFER_ENCODING};
use pingora::Result;
use pingora::http::ResponseHeader;
use pingora::modules::http::{HttpModule, HttpModuleBuilder, HttpModuleCtx, HttpModules, Module};

/// What takes the coding out of a header that ends its stream. Over HTTP/2 a response without a body need not say so
/// by its length (RFC 9113 section 8.1). The engine knows it, and tells it to modules alone, which run after the
/// hooks of the response.
pub(super) fn modules() -> HttpModuleCtx {
    static MODULES: LazyLock<HttpModules> = LazyLock::new(|| {
        let mut modules = HttpModules::new();
        modules.add_module(Box::new(Bodiless));
        modules
    });
    MODULES.build_ctx()
}

struct Bodiless;

impl HttpModuleBuilder for Bodiless {
    fn init(&self) -> Module {
        Box::new(Bodiless)
    }
}

#[async_trait]
impl HttpModule for Bodiless {
    async fn response_header_filter(
        &mut self,
        response: &mut ResponseHeader,
        ends: bool,
    ) -> Result<()> {
        if ends {
            response.remove_header(&CONTENT_ENCODING);
            response.remove_header(&TRANSFER_ENCODING);
            response.insert_header(CONTENT_LENGTH, 0)?;
        }
        Ok(())
    }

    fn as_any(&self) -> &dyn Any {
        self
    }

    fn as_any_mut(&mut self) -> &mut dyn Any {
        self
    }
}
