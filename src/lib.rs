//! draft

pub mod text;

pub mod identity;
pub mod observability;
pub mod response;

pub mod facts;
pub mod listener;
pub mod upstream;

pub mod actions;
pub mod policies;
pub mod routing;

pub mod admin;
pub mod config;
pub mod proxy;

pub mod gateway;

pub mod cli;
pub mod demo;
