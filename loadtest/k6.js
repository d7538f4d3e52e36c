// The same load as wrk's, by k6: CONNECTIONS virtual users as fast as they can, or RATE requests a second.
// By hand: k6 run --env URL=http://127.0.0.1:18080/api/v1/products/42 loadtest/k6.js
import http from 'k6/http';

const connections = Number(__ENV.CONNECTIONS || 64);
const duration = `${__ENV.SECONDS || 10}s`;
const rate = Number(__ENV.RATE || 0);

const closed = { executor: 'constant-vus', vus: connections, duration };
const open = {
  executor: 'constant-arrival-rate',
  rate,
  timeUnit: '1s',
  duration,
  preAllocatedVUs: connections,
  maxVUs: connections * 4,
};

export const options = {
  scenarios: { load: rate ? open : closed },
  summaryTrendStats: ['med', 'p(99)', 'p(99.9)'],
  discardResponseBodies: true,
};

export default function () {
  http.get(__ENV.URL);
}

export function handleSummary({ metrics }) {
  const durations = metrics.http_req_duration.values;
  const result = JSON.stringify({
    requests: metrics.http_reqs.values.count,
    requests_per_second: metrics.http_reqs.values.rate,
    p50_us: Math.round(durations.med * 1000),
    p99_us: Math.round(durations['p(99)'] * 1000),
    p999_us: Math.round(durations['p(99.9)'] * 1000),
    // For http_req_failed, k6 counts as a "pass" each request that did fail.
    errors: metrics.http_req_failed.values.passes,
  });
  return { [__ENV.SUMMARY || 'stdout']: `${result}\n` };
}
