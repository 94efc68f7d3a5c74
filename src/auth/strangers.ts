import ipaddr from 'ipaddr.js';
import { Problem } from '../errors.js';

/** Who sends a request, by its address; read only where it matters. */
export type Caller = { readonly ip: string };

/** Limits on what callers without a proven credential may cost. */
export type Strangers = {
  /**
   * Runs the look-up of a credential by its digest. One that was found before goes straight through; the others are looked
   * up a few at once, in order. 429 `rate_limited` for an address with too many failures, 503 `service_unavailable` when too many wait.
   */
  lookUp<T>(caller: Caller | undefined, digest: string, look: () => Promise<T>): Promise<T>;
};

/** `atOnce`: look-ups of unknown digests that run together. `failuresPerMinute`: of one address; 0: no limit. */
export type StrangerLimits = { atOnce: number; failuresPerMinute: number; now?: () => number };

const windowMs = 60_000;
const maxWaiting = 256;
/** One address never fills the line. */
const maxWaitingOfAddress = 192;
const maxRemembered = 10_000;

/** So many look-ups that the pool keeps connections for callers who are known; `poolSize` undefined: the embedded database, which has one. */
export function lookUpsAtOnce(poolSize: number | undefined): number {
  return poolSize === undefined ? 1 : Math.max(1, Math.min(4, poolSize - 2));
}

/** Strangers of one process: every replica counts for itself. */
export function createStrangers({ atOnce, failuresPerMinute, now = Date.now }: StrangerLimits): Strangers {
  const proven = new Set<string>();
  const failures = new Map<string, { count: number; since: number }>();
  const waitingOf = new Map<string, number>();
  const line: (() => void)[] = [];
  let running = 0;

  const refuseFailing = (address: string): void => {
    const failed = failures.get(address);
    if (!failed || failuresPerMinute === 0 || failed.count < failuresPerMinute) return;
    const left = failed.since + windowMs - now();
    if (left <= 0) return void failures.delete(address);
    throw new Problem('rate_limited', 'Too many unknown credentials came from this address.', { headers: { 'retry-after': String(Math.ceil(left / 1000)) } });
  };

  const noteFailure = (address: string): void => {
    const failed = failures.get(address);
    if (failed && failed.since + windowMs > now()) return void (failed.count += 1);
    failures.delete(address);
    remember(failures.size, failures.keys(), (oldest) => failures.delete(oldest));
    failures.set(address, { count: 1, since: now() });
  };

  const enter = async (address: string): Promise<void> => {
    if (running < atOnce) return void (running += 1);
    const waiting = waitingOf.get(address) ?? 0;
    if (line.length >= maxWaiting || waiting >= maxWaitingOfAddress) {
      throw new Problem('service_unavailable', 'Too many unknown credentials are being looked up; try again.', { headers: { 'retry-after': '1' } });
    }
    waitingOf.set(address, waiting + 1);
    await new Promise<void>((resolve) => line.push(resolve));
    const left = waitingOf.get(address)! - 1;
    if (left === 0) waitingOf.delete(address);
    else waitingOf.set(address, left);
  };

  const leave = (): void => {
    const next = line.shift();
    if (next) next();
    else running -= 1;
  };

  return {
    async lookUp(caller, digest, look) {
      if (proven.has(digest)) return look();
      const address = addressOf(caller);
      refuseFailing(address);
      await enter(address);
      try {
        // Others of the same address may have failed meanwhile.
        refuseFailing(address);
        const found = await look();
        remember(proven.size, proven.values(), (oldest) => proven.delete(oldest));
        proven.add(digest);
        return found;
      } catch (error) {
        if (error instanceof Problem && error.code === 'unauthorized') noteFailure(address);
        throw error;
      } finally {
        leave();
      }
    },
  };
}

/** Makes room for one more: the oldest goes. */
function remember(size: number, keys: Iterator<string>, forget: (oldest: string) => void): void {
  if (size >= maxRemembered) forget(keys.next().value as string);
}

/** An IPv6 address counts with the 64 bits that are a network's: whoever has one of them has all. */
function addressOf(caller: Caller | undefined): string {
  const ip = caller?.ip ?? '';
  if (!ip.includes(':') || !ipaddr.isValid(ip)) return ip;
  const parsed = ipaddr.process(ip);
  return parsed.kind() === 'ipv4' ? parsed.toString() : (parsed as ipaddr.IPv6).parts.slice(0, 4).join(':');
}
