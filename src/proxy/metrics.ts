import { Gauge, type Registry } from 'prom-client';
import type { CacheCounts } from '../cache.js';
import { counter, histogram, remember, seconds } from '../observability/series.js';
import type { Admission } from './admission.js';
import type { Circuits } from './circuit.js';
import type { RetryDecision } from './retry.js';

/** Who answered a call: the provider, the upstream itself, or we; or nobody, because the caller left or the answer broke off. */
export type Outcome = 'provider' | 'upstream' | 'gateway' | 'caller_gone' | 'broken_off';

/**
 * What is counted of a call. `platform` undefined: it ended before its connection was known. `upstreamMs`: from sending it to
 * headers, failure or the caller's leaving; `ownMs`: what was spent on it before that, and on keeping its answer. Time in which
 * a body comes or goes is nobody's: caller and upstream set its pace.
 */
export type CallRecord = { platform: string | undefined; method: string; outcome: Outcome; attempts: number; upstreamMs: number; ownMs: number; replayed: boolean };

/** Counts and times the calls that are over. */
export type ProxyMetrics = {
  record(call: CallRecord): void;
  /** An attempt failed, and was followed by another, or not. */
  decided(decision: RetryDecision): void;
};

const ownSeconds = [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.05, 0.25, 1];
const circuitStates = { closed: 0, 'half-open': 1, open: 2 } as const;

/** What a platform is called: names that callers make up must not become labels. `pending`: until then, none can be told. */
export type PlatformNames = { of(platform: string): string; pending(): Promise<void> | undefined };

/** What is read when metrics are asked for. */
export type ProxyGauges = { admission: Pick<Admission, 'inFlight' | 'streams'>; circuits: Circuits; caches: Record<string, CacheCounts> };

/** The proxy's metrics. Labels hold a connection's platform, as `names` has it, the method and who answered: no identity, key or path. */
export function createProxyMetrics(registry: Registry, names: PlatformNames, gauges: ProxyGauges): ProxyMetrics {
  const calls = counter({ name: 'proxy_calls_total', help: 'Calls, by who answered.', registry }, ['platform', 'method', 'outcome']);
  const upstream = histogram({ name: 'proxy_upstream_seconds', help: 'Time to the upstream\'s headers, or until it failed or the caller left; retries included.', registry }, seconds);
  const own = histogram({
    name: 'proxy_own_seconds', help: 'Time of a call that was ours: authentication, look-ups, keeping answers; not waiting for the upstream, nor passing bodies on.', registry,
  }, ownSeconds);
  const retries = counter({ name: 'proxy_retries_total', help: 'Attempts beyond the first.', registry }, ['platform']);
  const decisions = counter({
    name: 'proxy_retry_decisions_total', help: 'Failed attempts, by whether another followed, and why or why not.', registry,
  }, ['retried', 'reason']);
  const replays = counter({ name: 'proxy_replays_total', help: 'Writes answered with their first answer.', registry }, ['platform']);
  gauge('proxy_in_flight', 'Calls in flight.', (set) => set({}, gauges.admission.inFlight()));
  gauge('proxy_streams', 'Calls in flight that have lasted for more than a minute, and are counted apart.', (set) => set({}, gauges.admission.streams()));
  gauge('upstream_circuit', 'State of the upstream\'s circuit: 0 closed, 1 half-open, 2 open.', (set) => set({}, circuitStates[gauges.circuits.state()]));
  gauge('platform_circuit', 'State of a platform\'s circuit: 0 closed, 1 half-open, 2 open.', (set) => {
    const worst = new Map<string, number>();
    for (const [platform, state] of gauges.circuits.platforms()) {
      const name = names.of(platform);
      worst.set(name, Math.max(worst.get(name) ?? 0, circuitStates[state]));
    }
    for (const [platform, state] of worst) set({ platform }, state);
  }, ['platform']);
  gauge('refused_identities', 'Identities whose own calls on a platform are refused, since they mostly failed.', (set) => set({}, gauges.circuits.refusedOwners()));
  gauge('cache_lookups', 'Look-ups since the start, by cache and whether they hit.', (set) => {
    for (const [cache, counts] of Object.entries(gauges.caches)) {
      set({ cache, result: 'hit' }, counts.hits);
      set({ cache, result: 'miss' }, counts.misses);
    }
  }, ['cache', 'result']);

  function gauge(name: string, help: string, read: (set: (labels: Record<string, string>, value: number) => void) => void, labelNames: string[] = []): void {
    new Gauge({ name, help, labelNames, registers: [registry], collect() {
      read((labels, value) => this.set(labels, value));
    } });
  }

  const timed = remember((platform, method) => ({ upstream: upstream({ platform, method }), own: own({ platform, method }) }));
  const counted = remember((platform, method, outcome) => calls({ platform, method, outcome }));
  const retried = remember((platform) => retries({ platform }));
  const decidedFor = remember((reason, retried) => decisions({ retried, reason }));
  const replayedBy = remember((platform) => replays({ platform }));

  const count = ({ platform, method, outcome, attempts, upstreamMs, ownMs, replayed }: CallRecord): void => {
    const name = platform === undefined ? 'unknown' : names.of(platform);
    counted(name, method, outcome).inc();
    if (attempts > 0 && upstreamMs > 0) {
      const series = timed(name, method);
      series.upstream.observe(upstreamMs / 1000);
      series.own.observe(ownMs / 1000);
    }
    if (attempts > 1) retried(name).inc(attempts - 1);
    if (replayed) replayedBy(name).inc();
  };

  return {
    record(call) {
      const pending = names.pending();
      if (pending) void pending.then(() => count(call));
      else count(call);
    },
    decided: ({ reason, retry }) => decidedFor(reason, String(retry)).inc(),
  };
}
