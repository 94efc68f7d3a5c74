import { Problem } from '../errors.js';

/** Slots for calls in flight. */
export type Admission = {
  /** Takes a slot, or 503 `overloaded` with Retry-After. The returned function gives it back, once. */
  enter(owner: string, platform: string): () => void;
  inFlight(): number;
};

/** At most `max` calls at once, and never all of them of one identity (three quarters) or one platform (seven eighths). */
export function createAdmission(max: number): Admission {
  const limits = { owner: shareOf(max, 3 / 4), platform: shareOf(max, 7 / 8) };
  const owners = new Map<string, Share>();
  const platforms = new Map<string, Share>();
  let all = 0;

  return {
    inFlight: () => all,
    enter(owner, platform) {
      if (all >= max) throw overloaded('The gateway is serving as many calls as it can.');
      const ofOwner = find(owners, owner);
      const ofPlatform = find(platforms, platform);
      if (ofOwner.taken >= limits.owner) throw overloaded('The identity has its share of calls in flight already.');
      if (ofPlatform.taken >= limits.platform) throw overloaded('The platform has its share of calls in flight already.');
      all += 1;
      ofOwner.taken += 1;
      ofPlatform.taken += 1;
      let entered = true;
      return () => {
        if (!entered) return;
        entered = false;
        all -= 1;
        ofOwner.taken -= 1;
        ofPlatform.taken -= 1;
      };
    },
  };
}

/** The slots that one identity or platform has. */
type Share = { taken: number };

const rememberedShares = 10_000;

// Shares are kept when they are empty: a Map that is added to and deleted from with every call leaves a trail of outgrown
// tables, each holding the next, which only a full garbage collection clears away.
function find(shares: Map<string, Share>, name: string): Share {
  let share = shares.get(name);
  if (share) return share;
  if (shares.size >= rememberedShares) {
    for (const [other, { taken }] of shares) if (taken === 0) shares.delete(other);
  }
  shares.set(name, share = { taken: 0 });
  return share;
}

function shareOf(max: number, share: number): number {
  return Math.max(1, Math.min(max - 1, Math.ceil(max * share)));
}

function overloaded(detail: string): Problem {
  return new Problem('overloaded', detail, { headers: { 'retry-after': '1' } });
}
