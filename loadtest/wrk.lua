-- Ends a run of wrk with one line that loadtest/run reads: wrk's own summary stops at the 99th percentile.
done = function(summary, latency, requests)
  local errors = summary.errors
  io.write(string.format(
    'RESULT {"requests":%d,"requests_per_second":%.3f,"p50_us":%d,"p99_us":%d,"p999_us":%d,"errors":%d}\n',
    summary.requests,
    summary.requests * 1e6 / summary.duration,
    latency:percentile(50),
    latency:percentile(99),
    latency:percentile(99.9),
    errors.connect + errors.read + errors.write + errors.status + errors.timeout
  ))
end
