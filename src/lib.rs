//! Northgate, an API gateway on Pingora. This page is the map of its code.
//!
//! **What comes in:** TOML files, once; then connections of clients. **What goes out:** requests to upstreams,
//! responses to clients, an access log, metrics, and for whoever runs it the reasons of every decision
//! ([`northgate explain`](cli)). Nothing is kept on disk but the last good configuration and the last endpoints that
//! registries have told ([`discovery`]), and what gateways share is in the stores that they are told of ([`stores`]).
//!
//! # From files to a running gateway
//!
//! ```text
//!  *.toml ── config::load ──► Document ── config::compile ──► Configuration ── gateway::run
//!                             (as written,                    Snapshot: tables, pipelines,
//!                              every place known)             upstreams; Settings: workers, log, admin
//! ```
//!
//! A [`Document`](config::Document) remembers where everything stands, so that a problem can be shown where it is.
//! A [`Snapshot`](routing::Snapshot) has everything resolved and compiled: requests look up no name and parse
//! nothing. Both are plain values; starting is the work of [`gateway`] alone.
//!
//! # The way of a request
//!
//! ```text
//!  client                                                                                        room
//!    │ TCP or Unix socket
//!    ▼
//!  caps ─ PROXY header ─ TLS (name, ALPN) ─ HTTP/1.1 or HTTP/2? ─ deadlines of header and idleness  listener
//!    │ HTTP/1.1: head and chunks are checked, byte for byte, and cut into requests                  http1
//!    │ a stream that carries its Connection; the engine reads the request's header from it
//!    ▼
//!  pin the Snapshot ─ who is the client, request id, trace ─ limits ─ the path's normal form       proxy, facts
//!    ▼
//!  host → path → method → headers → query                                                         routing
//!    │ Route: a Pipeline, an Action, a timeout
//!    ├── none: the fallback, then 404 or 405 ─────────────┐                                       response
//!    ▼                                                    │
//!  request hooks, of the fallback too ─────── Reply ──────┤ 403 and others                        policies
//!    ▼                                                    │
//!  who calls? authenticators, of the fallback too ─ Reply ┤ 401, 503                              policies, identity
//!    ▼                                                    │
//!  hooks that look at who calls ───────────── Reply ──────┤ 403 and others                        policies
//!    ▼                                                    │
//!  limits ─────────────────────────────────── Reply ──────┤ 429, 503                              policies, limits
//!    ├── redirect, respond ──────────────────► Reply ─────┤                                       actions
//!    ▼                                                    │
//!  pick an endpoint ─ connect ─ again elsewhere ──────────┤ 502, 503, 504                         upstream
//!    ▼                                                    │
//!  forwarding headers ─ rewrite ─ upstream request hooks  │                                       proxy, policies
//!    ▼                                                    │
//!  origin ── bodies stream both ways under deadlines      │                                       upstream
//!    ▼                                                    ▼
//!  response hooks in reverse order ─ X-Request-Id, X-Trace-Id                                     policies, proxy
//!    ▼
//!  one access record, one observation, everything released                                        observability
//! ```
//!
//! The engine is Pingora's HTTP proxy: it parses and writes HTTP, pools connections to upstreams and copies bodies.
//! It calls [`proxy`] back at fixed moments, and [`proxy`] calls the rooms; no other room sees the engine's session.
//!
//! # Rooms
//!
//! A room is a folder of `src/`; its `mod.rs` says what comes in, what goes out and what it must never know. A room
//! uses only rooms of lower numbers, and not its neighbours of the same number:
//!
//! | | room | what it is for |
//! |---|---|---|
//! | 1 | [`text`] | places in files, diagnostics, and values that are written as text: durations, sizes, names, secrets |
//! | 2 | [`response`] | the error index, replies, and what errors of the engine mean |
//! | | [`observability`] | metrics and the access log |
//! | | [`trust`] | certificates and keys from files, the authorities of the system |
//! | | [`stores`] | servers that several gateways keep what they share in |
//! | 3 | [`identity`] | consumers, credentials, and what proves who calls |
//! | | [`limits`] | how much a key may take in a time, and what it has taken; how much there may be at a time |
//! | 4 | [`facts`] | what is known of one request, and templates over it |
//! | | [`http1`] | the grammar of HTTP/1.1 messages, checked strictly |
//! | 5 | [`discovery`] | where the endpoints of upstreams are |
//! | | [`listener`] | sockets, the accept loop, TLS, deadlines of clients |
//! | 6 | [`upstream`] | endpoints, balancing, health, attempts and their deadlines |
//! | | [`cache`] | responses that are kept, and what was purged of them |
//! | 7 | [`aggregation`] | one answer made of what several upstreams say |
//! | 8 | [`policies`] | declared behaviour: scopes, order, hooks, pipelines |
//! | | [`actions`] | what answers a request: forward, redirect, respond |
//! | 9 | [`routing`] | matchers, precedence, the table; the snapshot |
//! | 10 | [`config`] | from files to a snapshot; the only room that names the configs of all others |
//! | | [`proxy`] | the engine's callbacks, one request's context, the one reply function |
//! | | [`admin`] | health, metrics and state for operators |
//! | 11 | [`gateway`] | start, signals, end |
//! | 12 | [`cli`] | one file per command |
//! | – | [`demo`] | the sample shop: it uses no room, and only [`cli`] uses it |
//!
//! Beyond the rows: [`config`] may use [`admin`], and only [`gateway`] and [`cli`] may use [`config`].
//!
//! # What must always be true
//!
//! | invariant | held by |
//! |---|---|
//! | Rooms use only what is below them | `tests/structure/`: `rooms_use_only_what_is_below_them` |
//! | The engine's `Session` is seen in [`proxy`] alone, its `HttpPeer` chosen in [`upstream`] alone | `tests/structure/`: `types_of_the_engine_stay_where_they_belong` |
//! | Running code has no `unwrap`, no `panic!` and no blocking sleep; `unsafe` is forbidden | `tests/structure/`: `running_code_neither_panics_nor_blocks`; lints in `Cargo.toml` |
//! | Text from files never panics, whatever it is | `src/text/reader/hostile_tests.rs` |
//! | A large file is read in pieces and says what it says as a whole | `src/text/pieces/tests.rs`; every test of `src/text/reader/tests.rs` compares the two |
//! | Fifty thousand routes load in under 300 MB, a hundred thousand consumers in under 400 | `tests/cli/size.rs` |
//! | Every problem of a configuration has a place, and its words are pinned | `tests/config.rs`: `every_problem_says_where_it_is`, `rejected_files_are_rejected_in_the_words_that_are_pinned` |
//! | The winner among routes is the greatest [`Precedence`](routing::Precedence), whatever the trie does to be quick | `src/routing/property.rs` |
//! | The order in a file decides nothing | `tests/gateway/routing.rs`: `the_order_in_the_file_does_not_matter` |
//! | The nearest scope replaces a policy whole; policies run in the program's order | `tests/gateway/header_policies.rs`: `the_nearest_scope_replaces_and_off_removes`; `src/policies/list.rs` |
//! | Replies of the gateway itself go through the response hooks too | `tests/gateway/header_policies.rs`: `replies_of_the_gateway_itself_are_edited_too` |
//! | Kept connections see a new configuration with their next request, requests in flight keep theirs; what is defined as before is untouched | `tests/gateway/reload.rs` |
//! | A configuration that cannot be served changes nothing | `tests/gateway/reload.rs`: `what_cannot_be_had_changes_nothing`; `tests/cli/reload.rs` |
//! | Reloads, listeners that come and go, new certificates and new binaries lose no request and cut no stream | `tests/gateway/changes.rs` |
//! | Nothing in the configuration and the state folder of a gateway is an API key or a password | `tests/cli/key.rs`: `nothing_in_the_files_of_a_gateway_is_a_key_or_a_password` |
//! | A key proves its consumer, in the places that are looked at alone, and only while it is listed | `tests/gateway/api_key.rs` |
//! | Passwords are checked in bounded turns beside the threads that serve, and nobody learns which names there are | `tests/gateway/basic.rs` |
//! | Guesses count for the client that makes them, and nobody locks out somebody elsewhere | `tests/gateway/basic.rs`: `nobody_locks_out_somebody_elsewhere`; `src/identity/basic/checker.rs` |
//! | No header that credentials are read from is dropped from requests before the gate | `tests/config/reject/forward-credentials.toml`; `tests/gateway/forwarding_identity.rs`: `a_header_of_credentials_can_be_written_and_is_still_read_elsewhere` |
//! | What may have been done is not asked of somebody else; what a step of a fallback has answered says so, and nothing else can | `tests/gateway/fallback.rs` |
//! | Who calls stays with a branch of a split, and a weight that is raised moves no more than it needs | `tests/gateway/split.rs`; `src/actions/split/mod.rs`: `raising_a_weight_moves_only_what_it_needs` |
//! | A branch that has broken its guard gets nothing until an operator or the configuration says otherwise; what others have handed over to it goes back to them | `tests/gateway/canary.rs` |
//! | No client ever waits for a mirror, and no mirror gets half a request | `tests/gateway/mirror.rs` |
//! | Nobody makes requests fail on purpose where the gateway does not allow it | `tests/config/reject/policy-fault.toml`; `tests/gateway/fault_injection.rs` |
//! | Every line that the demo prints works as it is printed | `tests/cli/demo.rs` |
//! | A certificate proves its consumer and nobody else, and no header does | `tests/gateway/mtls.rs` |
//! | A key that a provider publishes is good and one that it has withdrawn is not, whether or not it can be asked; there is one fetch at a time, and none for a request | `tests/gateway/keys.rs`: `rotation_and_outage`, `keys_are_rotated_without_a_new_name`; `src/identity/keys/source_tests.rs` |
//! | A registry that fails takes no endpoint away, nor does one that has lost what it had or names hosts that cannot be resolved; where it is down at a start, what was kept of it is used, and marked so | `tests/gateway/discovery.rs`, `discovery_file.rs`, `discovery_dns.rs`, `discovery_consul.rs`, `etcd.rs`, `kubernetes.rs`: `a_start_without_the_registry_begins_with_what_was_kept`, `whatever_becomes_of_the_file_costs_no_request`, `a_name_server_that_fails_takes_nothing_away`, `a_consul_that_is_killed_or_cut_off_takes_nothing_away`, `an_etcd_that_has_lost_what_it_had_takes_nothing_away`, `slices_that_cannot_be_used_take_nothing_away` |
//! | Endpoints that a registry adds or removes are so for requests within 100 ms; who is removed is drained, and no request waits for a registry | `tests/gateway/discovery.rs`: `a_change_is_soon_in_force_and_nobody_notices`, `who_is_removed_is_drained_and_not_cut`; `discovery_file.rs`: `a_stream_of_http2_goes_on_while_its_endpoint_is_removed`; `discovery_dns.rs`: `no_request_waits_for_a_name_server` |
//! | Keys come from where the configuration says, and from no address that a token chose | `tests/gateway/keys.rs`: `no_token_chooses_where_keys_come_from`; `src/identity/keys/source_tests.rs`: `discovery_finds_the_keys_of_the_issuer_and_of_no_other` |
//! | Other servers that know who calls are verified, hold nobody for long, and send nobody elsewhere | `tests/gateway/identity_client.rs` |
//! | Of several authenticators the first proof decides, a bad credential is never anonymous, and authenticators that contradict one another are refused at load | `tests/gateway/any_of.rs`; `src/policies/authentication/mod.rs`; `tests/config/reject/any-of-ambiguous.toml`, `any-of-missing.toml`, `any-of-unnamed.toml`, `any-of-kept.toml` |
//! | What clients are told of limits others can read, and no `Retry-After` comes too early | `tests/gateway/limit_fields.rs`, by a library of structured fields; `src/limits/property.rs` |
//! | An address that comes too often is refused before anything else is asked, and guesses of credentials end | `tests/gateway/client_limit.rs`, `tests/gateway/failed_authentications.rs` |
//! | Nobody becomes another caller by a second line of a header or another cookie of the name | `tests/gateway/limit_keys.rs` |
//! | Policies of a listener decide before a 404 or 405 does | `tests/gateway/ip_access.rs`: `it_decides_before_routes_are_told_apart` |
//! | The client's address is what trusted hops vouch for, and nothing else opens a door | `tests/gateway/ip_access.rs`: `strangers_cannot_say_who_they_are` |
//! | What a site may do by CORS is said by the route of the method that it asks for, and by no other; every case of the Fetch standard | `tests/gateway/cors.rs`: `every_case_of_the_standard` |
//! | Nobody is redirected to a place that was not asked for | `tests/gateway/https_redirect.rs`: `there_is_no_redirect_without_a_host` |
//! | What an upstream says of its own security stays, unless it is overridden | `tests/gateway/security_headers.rs`: `what_the_upstream_says_stays_unless_it_is_overridden` |
//! | A set of networks is what a walk over them finds | `src/policies/networks.rs` |
//! | Every response carries the request's ids, and they cannot be guessed | `tests/gateway/forwarding.rs`: `every_response_has_both_ids`, `request_ids_are_drawn_and_not_counted` |
//! | No request of HTTP/1.1 that could be read in two ways reaches the engine or an origin | `tests/gateway/strict_http1.rs`: `bad_requests_are_refused_and_never_seen`; `src/http1/` |
//! | No response of HTTP/1.1 that could be read in two ways reaches the engine, and nothing behind a response is taken for another | `tests/gateway/upstream_framing.rs`, in clear text and over TLS |
//! | What leaves towards an origin is a request that keeps every rule | `tests/gateway/upstream_requests.rs` |
//! | Requests in a pipeline are answered in order, and none is taken for the body of another | `tests/gateway/strict_http1.rs`: `good_requests_are_served_as_they_are` |
//! | Every way to choose an endpoint shares requests as the weights say, and goes on doing so when endpoints come and go | `src/upstream/balance/tests.rs`: `every_algorithm_shares_by_weight`, `every_algorithm_goes_on_when_endpoints_come_and_go` |
//! | As long as one endpoint is healthy there is one to choose, and no other is chosen unless all are used in a panic | `src/upstream/balance/tests.rs`: `one_that_is_healthy_is_found` |
//! | A key goes to the same endpoint on every gateway, and when one leaves, few keys move | `tests/gateway/balance.rs`: `the_same_key_goes_to_the_same_endpoint`; `src/upstream/balance/tests.rs`: `keys_stay_and_few_move` |
//! | A cookie that the gateway has not made chooses no endpoint, and none says where one is | `tests/gateway/sticky.rs`: `what_was_made_up_chooses_nothing`, `the_cookie_says_what_it_should_and_no_address` |
//! | An endpoint of which something else is said keeps its requests, its connections and its health | `tests/gateway/balance.rs`: `what_is_said_of_an_endpoint_changes_and_its_state_stays` |
//! | What is routed is what the upstream gets: a path has one form, and no spelling of it gets around a rule | `src/text/path/property.rs`; `tests/gateway/paths.rs`: `no_spelling_gets_around_a_guard` |
//! | Parameters of segments decide no route | `src/routing/property.rs`: `parameters_of_segments_never_matter` |
//! | No rewrite makes a dot segment of what a client sent | `tests/gateway/paths.rs`: `what_is_captured_is_a_name_without_parameters` |
//! | No header says another path or method than was routed | `tests/gateway/paths.rs`: `nobody_says_another_path_or_method_than_was_routed` |
//! | Parsers of ours keep their promises whatever they are given | the `fuzz_` tests, over the seeds in `tests/fuzz/` |
//! | What a stranger claims about itself reaches no upstream | `tests/gateway/forwarding.rs`: `claims_of_strangers_are_replaced` |
//! | Certificates of clients are verified wherever they are asked for, and no session outlives its own | `tests/gateway/tls_clients.rs`: `each_mode_lets_in_whom_it_should`; `tests/gateway/tls_sessions.rs`: `a_session_ends_with_its_certificate`, `a_session_ends_with_the_list_that_covers_it`; `tests/gateway/tls_renewal.rs`: `who_is_revoked_comes_in_no_more_and_resumes_nothing` |
//! | What is said of a client's certificate cannot be forged | `tests/gateway/tls_clients.rs`: `no_client_forges_what_is_said_of_it` |
//! | Nobody reaches a host by the TLS of another | `tests/gateway/tls_names.rs`: `a_host_of_another_certificate_is_misdirected` |
//! | Changed files are taken up whole or not at all, and end no connection | `tests/gateway/tls_renewal.rs`: `a_pair_is_taken_whole_or_not_at_all`, `bad_files_change_nothing`, `a_new_certificate_serves_new_connections_and_leaves_the_others` |
//! | An expression means what CEL says, is as bounded as it is checked, and no text makes one panic; what has no value for a request is never a yes | `src/facts/expression/fuzz.rs`, `src/facts/expression/tests.rs`: `what_has_no_value_is_an_error` |
//! | Nobody but the gateway says who calls: what it tells any upstream of that, no client can send on any route, in any spelling | `tests/gateway/forwarding_identity.rs`: `no_client_says_who_calls_over_http1`, `no_client_says_who_calls_over_http2`, `reloads_know_what_is_reserved` |
//! | Who has not proven everything that an `acl` asks for comes in nowhere, and what cannot be told is a no | `tests/gateway/acl.rs`: `each_requirement_lets_in_whom_it_should` |
//! | Upstreams can verify who calls, and no token of the gateway's outlives the proof that it tells of | `tests/gateway/identity_token.rs`: `an_upstream_verifies_who_calls`, `keys_are_rotated_without_a_token_that_nobody_can_verify` |
//! | What a route's authenticators look at leaves a request with them, and is said nowhere | `src/proxy/credentials.rs`; `tests/gateway/credentials.rs`: `no_response_hook_sees_a_credential`, `a_service_is_shown_credentials_that_upstreams_do_not_get`; `tests/gateway/identity_token.rs`: `secrets_are_said_nowhere` |
//! | No upstream gets a cookie of the gateway's logins, by any route, unless that route keeps it on purpose | `tests/gateway/credentials.rs`: `no_cookie_of_a_login_reaches_an_upstream_by_any_route`; `tests/gateway/oidc/flow.rs`: `no_upstream_gets_the_session_unless_it_should` |
//! | However much the process logs, it logs no credential | `tests/cli/run.rs`: `no_credential_is_logged_however_much_is` |
//! | A 401 says what every authenticator wants, and what was wrong by the one that was shown it | `tests/gateway/any_of.rs`: `every_401_says_what_is_wanted` |
//! | A route's `timeout` ends every wait for who calls, and nothing that others wait for | `tests/gateway/deadlines.rs`; `identity::answers`: `a_question_is_asked_to_the_end_whoever_leaves` |
//! | What a client is told names no cause and no address; every failure is in the index | `tests/gateway/errors.rs`; `src/response/code.rs` |
//! | A place that a request has taken is given back whatever becomes of it: answered, aborted, panicked, too late, reset, become a WebSocket | `src/limits/permits_tests.rs`; `tests/gateway/bulkhead.rs`: `places_return_to_zero_whatever_becomes_of_requests`; `tests/gateway/concurrency.rs`: `what_ends_in_whatever_way_counts_no_more` |
//! | Whoever has an answer of the gateway's has no place at an upstream or of a route any more, however slowly it reads | `tests/gateway/bulkhead.rs`: `who_is_refused_holds_no_place_however_long_the_answer_takes`, `whose_upstream_has_failed_holds_no_place_however_long_the_answer_takes` |
//! | How many places there are is said by the newest configuration, and who waits has what it gives | `src/limits/terms.rs`; `src/limits/bulkhead.rs`; `tests/gateway/concurrency.rs`: `a_higher_limit_holds_for_those_who_wait` |
//! | Queues are bounded, nobody waits longer than it may or in vain, and who matters more comes first | `src/limits/queue.rs`; `tests/gateway/bulkhead.rs` |
//! | The limit that is learned of an upstream stays near what it can do, and follows it; no client that leaves, is slow, has little time or is slowed down makes it smaller, nor does what fails fast change it; a 503 of the upstream does, whoever has brought it about | `src/limits/gradient.rs`: `the_limit_finds_what_the_upstream_can_do_and_stays_there`, `it_follows_an_upstream_that_becomes_slow_or_fast`; `tests/gateway/adaptive_concurrency.rs`: `what_clients_bring_about_makes_nobodys_limit_smaller`, `what_fails_fast_makes_no_limit_larger` |
//! | What was learned of an upstream outlives every change of it but that of its name, for as long as there is `adaptive_concurrency` | `src/limits/bulkhead.rs`: `what_is_learned_outlives_what_says_within_which_bounds`; `tests/gateway/adaptive_concurrency.rs`: `what_was_learned_outlives_changes_of_the_upstream` |
//! | Where there is too much to do, what matters less is refused first, before anybody is asked who calls, and what is critical never; when there is less to do all of it is served again | `src/limits/overload.rs`: `it_neither_latches_nor_swings`; `tests/gateway/overload.rs` |
//! | Bodies that are slowed down arrive whole, no faster than they may, and wait for no more than a minute behind others | `src/limits/flow.rs`; `tests/gateway/bandwidth.rs` |
//! | A body that waits takes nothing from others on its connection, to the upstream or from the client | `tests/gateway/bandwidth.rs`: `bodies_that_wait_take_nothing_from_others_on_their_connection`, `uploads_that_wait_take_nothing_from_others_on_their_connection` |
//! | Who has too many requests at a time is charged for none that is refused for it | `tests/gateway/concurrency.rs`: `who_is_refused_is_charged_for_nothing` |
//! | No address has more than its share of connections, and what is refused or closed gives its places back | `tests/gateway/caps.rs` |
//! | The client is the first from the right who is no trusted hop, and nobody forges what the gateway says of it, in any spelling | `tests/gateway/client_address.rs` |
//! | A PROXY header is believed of trusted proxies alone, and nothing behind it is lost | `tests/gateway/proxy_protocol.rs` |
//! | What HTTP/2 forbids is refused, each in its way, and other clients notice nothing | `tests/gateway/http2_hostile.rs` |
//! | Frames that are allowed one by one and an attack together are cut off and counted | `tests/gateway/http2_floods.rs` |
//! | Connections of HTTP/2 end with a word, and with what was in flight | `tests/gateway/http2_connections.rs` |
//! | A drain loses no request: what is asked for while the news travels is served, on kept, new and half-open connections | `tests/gateway/drain.rs` |
//! | What is still open at the end of the grace ends with a word of its protocol, between two frames, and never as if it were whole | `tests/gateway/drain.rs`: `websockets_are_closed_on_both_sides`, `a_frame_that_has_begun_is_completed_first`, `a_call_of_grpc_ends_with_a_status`, `a_stream_is_broken_off_and_not_ended` |
//! | Where an upgrade fails, at whatever step and for whatever reason, the running process serves on; what it hands over loses no request | `tests/upgrade/` |
//! | The service manager is told what is the case, and gives sockets only to listeners that want them | `tests/upgrade/notify.rs`, `tests/upgrade/activation.rs` |
//! | A WebSocket whose origin answers at once is not cut off | `tests/gateway/streaming.rs`: `an_origin_that_switches_at_once_is_not_cut_off` |
//! | A client that is slow on purpose is cut off, one whose peer has nothing to say is not | `tests/gateway/slow_clients.rs`; `loadtest/slow` |
//! | No wait is endless, on either side | `tests/gateway/client_timeouts.rs`, `tests/gateway/timeouts.rs` |
//! | An exchange that ends too late leaves an HTTP/2 connection to the others | `tests/gateway/timeouts.rs`: `the_end_of_one_exchange_leaves_the_connection_to_the_others` |
//! | A request that may have been acted upon is not sent twice | `tests/gateway/upstreams.rs`: `a_stale_connection_is_not_replaced_for_post` |
//! | Checks verify TLS as requests do | `tests/gateway/health_checks.rs`: `checks_over_tls_verify_as_requests_do` |
//! | Whoever is ejected comes back, asked or not, over reloads, and when nobody else is left; ejection leaves somebody in any case | `tests/gateway/outliers.rs`; `src/upstream/outliers_tests.rs` |
//! | A breaker always finds its way back, lets in no more probes at a time than it may, and a probe that comes to nothing gives its place back; nobody keeps one for ever | `src/upstream/breaker_tests.rs`: `it_always_finds_its_way_back`; `tests/gateway/breaker.rs`: `few_are_let_in_to_see_and_one_that_leaves_makes_room`, `clients_who_take_their_time_cannot_keep_it_half_open` |
//! | An endpoint is back once it is well, whatever has taken it out, alone or together, and whatever is defined anew meanwhile | `tests/gateway/ways_back.rs` |
//! | What an operator says of a breaker holds over every reload, until it is taken back or over | `tests/gateway/breaker.rs`: `an_operator_holds_breakers`; `src/upstream/breaker_tests.rs`: `what_is_said_while_another_takes_over_holds_for_that` |
//! | No client has an endpoint ejected by leaving, by its own deadline, or by asking for what is not there | `tests/gateway/outliers.rs`: `clients_cannot_have_an_endpoint_ejected` |
//! | Upstreams' certificates are verified, and pools of different trust are apart | `tests/gateway/upstream_tls.rs` |
//! | Memory does not grow with a body | `tests/gateway/streaming.rs`: `large_bodies_come_down`, `large_bodies_go_up` |
//! | No origin takes a refused request for a whole one; no bomb is decoded beyond its limit | `tests/gateway/size_limits.rs`: `what_was_refused_is_broken_off_and_not_ended`, `bombs_do_not_go_off`; `src/policies/size_limits/decoding.rs` |
//! | A client that goes on sending can read why it is refused | `tests/gateway/size_limits.rs`: `a_client_that_goes_on_sending_can_read_why_it_is_refused` |
//! | A client gets every byte of a compressed body, in time, and memory does not grow with it | `tests/gateway/compression.rs`: `every_coding_over_each_pair`, `a_stream_arrives_as_it_is_made`, `memory_does_not_grow_with_a_compressed_body` |
//! | What a client writes makes no metric label and forges no line of the log | `tests/gateway/observability.rs`: `metrics_are_labelled_by_the_configuration_alone`, `what_a_client_writes_cannot_forge_a_line` |
//! | What was counted up is counted down | `tests/gateway/observability.rs`: `gauges_return_to_zero` |
//! | A gateway that runs has given up what it does not need, in every thread, and serves all the same | `tests/cli/sandbox.rs`; `src/gateway/sandbox/` |
//! | Whatever became of the files, a gateway that runs serves on, and one that served once serves again where `STATE_DIRECTORY` says what it kept (systemd, the container) or the files can still be read as far as `gateway.state_dir`; an empty file cannot say that | `tests/cli/last_good.rs`: `whatever_became_of_the_file`, `a_file_with_mistakes_can_still_say_where` |
//! | A reload that takes over what has not changed comes out as if everything were read | `src/config/kept.rs` |
//! | A route with mistakes hands its requests to no other route | `tests/gateway/quarantine.rs`: `what_is_bad_answers_503_and_goes_to_nobody_else` |
//! | Nothing that is forged, altered, borrowed, out of time or written in two ways is taken for a token, and no token says how it is checked | `tests/gateway/jwt_attacks.rs`; `src/identity/jwt/token_vectors.rs` and `tests/vectors.rs`: the vectors of Wycheproof and the examples of the RFCs |
//! | A remembered token ends with itself, with its key and with the configuration | `tests/gateway/jwt.rs`: `a_remembered_token_ends_when_it_says`, `a_withdrawn_key_takes_the_remembered_tokens_with_it`, `who_is_whom_is_told_anew_with_each_configuration` |
//! | What is shown of a configuration shows no secret | `src/config/secrets.rs` |
//! | The package installs, serves low ports with a key of root's, reloads, is upgraded without losing a request, comes back after a crash and leaves nothing, under a real systemd | `tests/package/run`; the image: `tests/package/container` |
//! | A signed request is good for what was signed, and once, and a body that is another never becomes whole at an origin | `tests/gateway/hmac.rs`: `no_attack_on_signatures_succeeds`, `nothing_is_shown_twice`, `a_changed_body_is_broken_off`; RFC 9421 appendix B in `src/identity/hmac/signature/tests.rs` |
//! | Who may come in without a credential comes in only where no other authenticator of the route refuses, or wants one; a service that a client can make fail lets nobody in by that | `policies::authentication`: `the_first_proof_decides_and_then_the_weightiest_refusal`; `tests/gateway/forward_auth.rs`: `by_its_absence_a_service_overrules_nobody`, `what_cannot_be_believed_or_asked_is_a_choice`, `filling_the_limit_lets_nobody_in` |
//! | What strangers ask about makes no server's answer about others be forgotten | `identity::answers`: `what_strangers_ask_about_pushes_nobody_out` |
//! | An introspection server lets nobody in by an answer that does not say so, and by its absence nobody beyond the end of a token | `tests/gateway/introspection.rs`: `no_answer_lets_in_whom_it_should_not`, `what_a_server_that_is_down_means_is_a_choice` |
//! | Of what a service of `forward_auth` answers nothing goes on but what is listed, and a body that it sees reaches the upstream whole | `tests/gateway/forward_auth.rs`: `what_the_service_says_is_what_the_upstream_gets`, `a_body_that_the_service_sees_reaches_the_upstream_whole` |
//! | A login ends in the browser that has begun it, nobody is sent elsewhere by it, and no token, cookie or logout of another counts | `tests/gateway/oidc/attacks.rs`, `tests/gateway/oidc/logout.rs` |
//! | Tabs and gateways together renew a session's tokens once, and what the provider gives for them is neither lost nor asked for again | `tests/gateway/oidc/renewal.rs`, `tests/gateway/oidc/shared.rs`, `tests/gateway/oidc/broken_store.rs` |
//! | What a provider does not say of a person any more is not true of the session any more | `tests/gateway/oidc/renewal.rs`: `what_is_not_said_any_more_is_not_true_any_more`, `the_userinfo_endpoint_is_asked_again` |
//! | What has ended stays ended, also for those who are looking it up, and no reload makes a session younger | `src/identity/oidc/memory.rs`; `tests/gateway/oidc/sessions.rs` |
//! | A copy of the configuration, its secrets and the store is no session of anybody | `tests/gateway/oidc/thief.rs`: `a_copy_of_everything_but_the_browser_is_no_session`; `tests/cli/key.rs` |
//! | A limit admits no more than it says, whatever comes when; of several windows all are charged or none | `src/limits/property.rs`; `tests/gateway/rate_limit.rs`: `together_they_never_have_more_than_the_burst`, `of_several_windows_all_have_room_or_none_is_charged` |
//! | A plan is one count for each caller over all routes that apply it, and a changed plan holds at once on each | `tests/gateway/plans.rs` |
//! | Counts outlive reloads, and a configuration that is refused changes none | `tests/gateway/rate_limit.rs`: `counts_outlive_reloads_and_new_numbers_hold_at_once`; `src/limits/room.rs`: `what_never_serves_takes_nobodys_counts_away` |
//! | What only watches refuses nobody, and clients are not told of it | `tests/gateway/rate_limit.rs`: `a_shadow_refuses_nobody_and_tells_operators_alone` |
//! | A store that does not answer costs one deadline and is asked again by itself, whether it is a server, the master of sentinels or a node of a cluster | `tests/gateway/stores.rs`; `tests/gateway/shared_limits.rs`: `no_request_waits_beyond_the_deadline` |
//! | What one server of a store does costs the keys of no other, and a sentinel or a server that is behind leads nobody astray for longer than the others need to answer | `tests/gateway/broken_stores.rs`; `src/stores/slots.rs`: `what_most_say` |
//! | No answer of a store is taken for that to another question, however late it comes | `tests/gateway/broken_stores.rs`: `a_late_answer_is_nobody_elses`, `who_has_little_time_left_says_nothing_of_the_server` |
//! | A server that breaks what it accepts, or is gone, is dialled at most once at a time and less and less often | `tests/gateway/broken_stores.rs`: `connections_that_break_at_once_are_made_less_and_less_often`; `src/stores/node.rs` |
//! | Gateways that count together admit no more than one would in exact mode, and no more than is stated in fast mode, however long they are flooded | `tests/gateway/shared_limits.rs`: `exact_gateways_together_admit_no_more_than_one`, `exact_gateways_admit_no_more_whatever_becomes_of_the_store`, `a_store_that_is_killed_under_a_flood_is_told_when_it_is_there_again`, `a_flood_at_all_gateways_gets_no_more_however_long_it_lasts`, `a_flood_at_all_gateways_gets_a_window_once`; `src/limits/shared/script_tests.rs` |
//! | What a gateway in fast mode could not tell its store it tells afterwards, as far as it counts still, also when it ends or is reloaded, and once, whatever others tell meanwhile; what is reset reaches all of them | `tests/gateway/shared_limits.rs`: `an_outage_gives_nothing_again`, `what_several_have_admitted_in_an_outage_counts_together`, `a_reload_in_an_outage_forgets_nothing`, `who_leaves_tells_what_is_left`, `a_window_of_the_calendar_ends_for_all_at_once`, `what_is_reset_at_one_gateway_is_so_at_all`; `src/limits/shared/change.rs`; `src/limits/shared/script_tests.rs`: `what_is_told_counts_once_however_often_it_comes`, `what_could_not_be_noted_is_told_later` |
//! | Only keys whose server fails count as cut off from the store, and a flood of keys cuts off nobody | `tests/gateway/shared_limits.rs`: `a_cluster_that_has_lost_a_server_counts_what_the_others_have`, `a_flood_of_new_keys_does_not_cut_anybody_off` |
//! | Windows of the calendar that gateways count together are by the store's clock | `src/limits/shared/script_tests.rs`: `windows_are_those_of_the_store_whatever_clock_a_gateway_has` |
//! | A key that an operator writes is the one that requests are counted by; an override holds for it alone and until it ends; no page of the web and nobody without the token changes a limit | `tests/gateway/limits_admin.rs`; `tests/cli/limits.rs`; `src/limits/overrides.rs` |
//! | What etcd and Kubernetes say is in force within 100 ms; what becomes of their servers, connections and memory costs no request, and nothing that happened meanwhile is missed | `tests/gateway/etcd.rs`; `tests/gateway/kubernetes.rs` |
//! | What a registry says that is no endpoint is left out, and the rest is served | `tests/gateway/etcd.rs`: `keys_become_endpoints_and_end_with_their_lease`; `src/discovery/etcd/mod.rs`; `src/discovery/kubernetes/slices.rs` |
//! | Nothing is done twice that was not allowed to be, and no endpoint gets a part of a body for the whole, whatever fault the other has | `tests/gateway/fault_matrix/`; `tests/gateway/retries.rs`: `what_may_do_something_twice_is_sent_once`, `a_body_is_sent_whole_or_not_again` |
//! | What is hedged may be sent twice, comes out of the budget, and is answered whole by one endpoint | `tests/gateway/hedging.rs` |
//! | Of one endpoint of four that fails half of its requests clients see less than one error in a thousand, and of one that is ten times slower no more than half as much again at the 99th percentile | `tests/gateway/figures.rs`; `loadtest/upstreams` |
//! | Each way to choose shares as the weights say, of 3 to 1,000 endpoints and while they come and go; few keys move when one leaves | `src/upstream/balance/tests.rs`; `src/upstream/balance/maglev.rs`: `few_keys_move_when_one_leaves` |
//! | What is kept is served as RFC 9111 and its relatives say, over both protocols, and nobody gets what is somebody else's | `tests/cache/` |
//! | Nothing older than an acknowledged purge is served, whatever happens at the same time, after a restart, by other gateways once they have heard of it, and by the other process of an upgrade | `tests/gateway/cache_stress.rs`; `tests/gateway/cache_disk.rs`; `tests/gateway/cache_fleet.rs`; `tests/upgrade/cache.rs`; `src/cache/marks/stress_tests.rs` |
//! | Who asks for what is being fetched is no second request to the upstream, and a slow reader slows nobody | `tests/gateway/cache_collapse.rs`; `tests/cache/crowds.rs` |
//! | What is torn on the cache's disk is a miss, whenever the process was killed | `src/cache/disk/crash_tests.rs`; `tests/gateway/cache_disk.rs`: `what_is_torn_is_a_miss` |
//! | With every endpoint failing, an upstream gets at most 1.2 times what clients ask for | `tests/gateway/retries.rs`: `a_retry_storm_cannot_happen`; `src/upstream/retry/budget.rs` |
//! | What an aggregation answers depends on how its parts have ended, and not on the order | `src/aggregation/run_tests.rs`: `order_makes_no_difference` |
//! | What goes out as parts come is what would have gone out at once, and nothing goes out before all that is required is there | `src/aggregation/stream.rs`: `what_comes_out_is_what_comes_out_at_once`; `tests/gateway/aggregate_stream.rs` |
//! | Parts are told who calls by policies alone, and nothing else of a request that is not named; a stale answer that stands in is said to be one | `tests/gateway/aggregate_seen.rs`; `tests/gateway/aggregate_stale.rs` |
//! | A call of a batch is checked, limited, kept and logged as if it had come by itself | `tests/gateway/batch.rs` |
//! | What other parts and clients have said is one segment of a path, one value of a query, one value of JSON | `src/aggregation/request_tests.rs` |
//! | A filter of jq ends, whatever it is and whatever it is given | `src/aggregation/shape/filter_tests.rs`: `nothing_goes_on_for_ever`, `nothing_goes_deeper_than_its_stack` |
//! | Every example in the documents compiles | `tests/documents.rs` |
//!
//! # Where to start reading
//!
//! [`proxy`] in its `mod.rs` and `exchange.rs` is one request from beginning to end. From there go to what interests
//! you: [`routing`] for who wins, [`upstream`] for what happens behind, [`policies`] for how behaviour is added.
//! [`config`] shows how the pieces are put together, `tests/gateway/` what they do seen from outside.

// From the command line to a gateway that runs.
pub mod cli;
pub mod config;
pub mod gateway;

// The way in.
pub mod http1;
pub mod listener;
pub mod proxy;
pub mod routing;

// What a route does with a request.
pub mod actions;
pub mod aggregation;
pub mod cache;
pub mod discovery;
pub mod policies;
pub mod upstream;

// What the rooms tell each other of a request and its end.
pub mod facts;
pub mod identity;
pub mod limits;
pub mod response;
pub mod stores;
pub mod trust;

// What operators see.
pub mod admin;
pub mod observability;

// Beneath all of it, and beside it.
pub mod demo;
pub mod text;
