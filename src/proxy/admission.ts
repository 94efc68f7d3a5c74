import { Problem } from '../errors.js';

/** Slots for calls in flight. */
export type Admission = {
  /** Takes a slot, or 503 `overloaded` with Retry-After. */
  enter(owner: string, platform: string): Slot;
  /** Calls in flight, streams included. */
  inFlight(): number;
  /** Those that have lasted so long that they count apart. */
  streams(): number;
  close(): void;
};

/** A call's place. `leave` gives it back, once. */
export type Slot = { leave(): void };

/** The share of the slots that an identity gets as long as there is one. */
const ownShare = 1 / 64;
/** An identity gets more than that only while more than this share is free for others. */
const keptFree = 1 / 4;
/** And never more than this, streams included. */
const largestShare = 3 / 4;
const platformShare = 7 / 8;
const defaultStreamAfterMs = 60_000;
/** In how many steps a call grows old. */
const steps = 12;

/**
 * At most `max` calls at once. One identity always finds its small share where there is a slot at all, and gets more only while
 * a quarter of the slots stays free, so that a few identities cannot hold them all; one platform never gets them all either.
 * Calls that last longer than a minute are counted apart, by the same rules, and then leave their slots to others: endless
 * answers hold up to `max` places of their own, and only those that find none there stay in a slot.
 */
export function createAdmission(max: number, { streamAfterMs = defaultStreamAfterMs } = {}): Admission {
  const limits: Limits = {
    max, own: Math.ceil(max * ownShare), free: Math.floor(max * keptFree), owner: shareOf(max, largestShare), platform: shareOf(max, platformShare),
  };
  const owners = new Map<string, Share>();
  const platforms = new Map<string, Share>();
  const all: Share = { calls: 0, streams: 0 };
  // By age: the oldest is first. Linked both ways, for a Set that is added to and deleted from with every call leaves a trail
  // of outgrown tables.
  const oldest = new Call(undefined, all, all, all);
  oldest.before = oldest.after = oldest;
  let step = 0;
  let timer: NodeJS.Timeout | undefined;

  const grow = (): void => {
    step += 1;
    for (let call = oldest.after, next = call; call !== oldest && step - call.since > steps; call = next) {
      next = call.after;
      if (hasRoom(all.streams, call.owner.streams, call.owner.streams, limits)) call.becomeStream();
    }
    if (oldest.after === oldest) stop();
  };
  const stop = (): void => {
    clearInterval(timer);
    timer = undefined;
  };

  return {
    inFlight: () => all.calls + all.streams,
    streams: () => all.streams,
    close: stop,
    enter(ownerName, platformName) {
      if (all.calls >= max) throw overloaded('The gateway is serving as many calls as it can.');
      const owner = find(owners, ownerName);
      const platform = find(platforms, platformName);
      if (!hasRoom(all.calls, owner.calls, owner.calls + owner.streams, limits)) throw overloaded('The identity has its share of calls in flight already.');
      if (platform.calls >= limits.platform) throw overloaded('The platform has its share of calls in flight already.');
      timer ??= setInterval(grow, streamAfterMs / steps).unref();
      const call = new Call(oldest, owner, platform, all);
      call.since = step;
      return call;
    },
  };
}

type Limits = { max: number; own: number; free: number; owner: number; platform: number };

/** Whether an identity may have one place more, of which `taken` are taken, `own` by it, and which has `total` of both kinds. */
function hasRoom(taken: number, own: number, total: number, { max, own: small, free, owner }: Limits): boolean {
  return taken < max && (own < small || (max - taken > free && total < owner));
}

/** The places that one identity, one platform, or all have. */
type Share = { calls: number; streams: number };

/** One call in flight. */
class Call implements Slot {
  before!: Call;
  after!: Call;
  /** When it began, in steps. */
  since = 0;
  #kind: 'call' | 'stream' | 'over' = 'call';

  constructor(oldest: Call | undefined, readonly owner: Share, private readonly platform: Share, private readonly all: Share) {
    if (!oldest) return;
    owner.calls += 1;
    platform.calls += 1;
    all.calls += 1;
    this.after = oldest;
    this.before = oldest.before;
    oldest.before.after = this;
    oldest.before = this;
  }

  becomeStream(): void {
    this.#unlink();
    this.#kind = 'stream';
    for (const share of [this.owner, this.platform, this.all]) {
      share.calls -= 1;
      share.streams += 1;
    }
  }

  leave(): void {
    if (this.#kind === 'over') return;
    const counted = this.#kind === 'call' ? 'calls' : 'streams';
    if (this.#kind === 'call') this.#unlink();
    this.#kind = 'over';
    this.owner[counted] -= 1;
    this.platform[counted] -= 1;
    this.all[counted] -= 1;
  }

  #unlink(): void {
    this.before.after = this.after;
    this.after.before = this.before;
    // A stream that lasts would keep every call after it in memory.
    this.before = this.after = this;
  }
}

const rememberedShares = 10_000;

// Shares are kept when they are empty: a Map that is added to and deleted from with every call leaves a trail of outgrown
// tables, each holding the next, which only a full garbage collection clears away.
function find(shares: Map<string, Share>, name: string): Share {
  let share = shares.get(name);
  if (share) return share;
  if (shares.size >= rememberedShares) {
    for (const [other, { calls, streams }] of shares) if (calls + streams === 0) shares.delete(other);
  }
  shares.set(name, share = { calls: 0, streams: 0 });
  return share;
}

function shareOf(max: number, share: number): number {
  return Math.max(1, Math.min(max - 1, Math.ceil(max * share)));
}

function overloaded(detail: string): Problem {
  return new Problem('overloaded', detail, { headers: { 'retry-after': '1' } });
}
