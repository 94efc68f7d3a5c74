import { Problem } from '../errors.js';

/** Closed: calls pass. Open: none does. Half-open: one at a time, as a probe. */
export type CircuitState = 'closed' | 'open' | 'half-open';

/**
 * How an attempt went. `answered`: bytes of an answer came, whatever they say. `unheard`: plainly the upstream, which could not
 * be connected to, closed without a byte, or kept silent until the deadline. `failed`: it broke off before the answer had a
 * head. `ignored`: it says nothing (the caller went away).
 */
export type AttemptResult = 'answered' | 'unheard' | 'failed' | 'ignored';

/**
 * Circuit breakers: calls that would only fail are refused at once instead of waiting for their deadline. What a provider does
 * looks like the upstream's doing, and an end user chooses what a provider does, so nothing is concluded from one identity for
 * another:
 *
 * - an identity's own calls on a platform are refused when they mostly fail;
 * - a platform is closed when the calls of several identities do, and hardly any other is answered there;
 * - everything is closed when that holds for several platforms at once, counting only what is plainly the upstream's silence.
 *
 * After a pause one call is let through to see, and while that goes on another after each further pause; an answer closes the
 * circuit again. Through an open platform or upstream, identities that are being answered pass, and one that is not known to
 * fail may be the probe without a pause.
 */
export type Circuits = {
  /** Whether the call is a probe. 503 `upstream_circuit_open` with Retry-After while a circuit is open for it. */
  admit(owner: string, platform: string): boolean;
  /** How an attempt that was admitted went, and whether it was a probe. */
  report(result: AttemptResult, owner: string, platform: string, probe?: boolean): void;
  /** The upstream's own circuit. */
  state(): CircuitState;
  /** Those of the platforms that were called. */
  platforms(): [platform: string, state: CircuitState][];
  /** How many identities have calls of their own refused on a platform. */
  refusedOwners(): number;
};

const halfMs = 5_000;
const openMs = 5_000;
/** Failures at least, within the window, before anything is refused. */
const minFailures = 20;
/** Identities at least that fail, before others are refused for it; and platforms, before all are. */
const minOwners = 3;
const minPlatforms = 2;
/** For each identity that is answered, so many must fail. */
const failingPerServed = 9;
/** An identity that has not come back for so long is forgotten to have been refused. */
const forgetMs = 60_000;
const rememberedOwners = 10_000;
const rememberedPlatforms = 1_000;

/** Circuits that are all closed. */
export function createCircuits(now: () => number = Date.now): Circuits {
  const platforms = new Map<string, Platform>();
  const upstream = new Breaker();
  /** Breakers that are not closed: while there are none, nothing is looked up. */
  let open = 0;
  /** Failures to come before owners are counted again: to count them costs more, the more there are. */
  let censusIn = 0;

  const platformOf = (name: string): Platform => {
    let platform = platforms.get(name);
    if (platform) return platform;
    if (platforms.size >= rememberedPlatforms) {
      for (const [other, { breaker, shut }] of platforms) if (breaker.closed && shut.size === 0) platforms.delete(other);
    }
    platforms.set(name, platform = new Platform(now()));
    return platform;
  };
  const setOpen = (breaker: Breaker, time: number): void => {
    if (breaker.closed) open += 1;
    breaker.open(time);
  };
  const setClosed = (breaker: Breaker): void => {
    if (breaker.closed) return;
    open -= 1;
    breaker.close();
  };

  function answered(platform: Platform, owner: string): void {
    if (open === 0) return;
    setClosed(upstream);
    const own = platform.shut.get(owner);
    if (own) {
      setClosed(own);
      platform.shut.delete(owner);
      platform.forget(owner);
    }
    if (platform.breaker.closed) return;
    setClosed(platform.breaker);
    // Calls from before say nothing new.
    platform.forgetAll();
  }

  function failed(platform: Platform, owner: string, time: number): void {
    const { failed: failures, answered: answers } = platform.tallyOf(owner);
    if (failures >= minFailures && failures >= answers && !platform.shut.has(owner)) {
      const own = new Breaker();
      platform.shut.set(owner, own);
      setOpen(own, time);
    }
    if (platform.breaker.closed && platform.mostlyFails()) setOpen(platform.breaker, time);
    if (!upstream.closed || (censusIn -= 1) > 0) return;
    const active = [...platforms.values()].filter((each) => each.turn(time).isActive);
    censusIn = active.reduce((sum, { owners }) => sum + owners, 0) >> 4;
    if (active.filter((each) => each.isUnheard).length >= minPlatforms && areFailing(tallies(active), 'unheard')) setOpen(upstream, time);
  }

  return {
    state: () => upstream.state(now()),
    platforms: () => [...platforms].map(([name, { breaker }]) => [name, breaker.state(now())]),
    refusedOwners: () => [...platforms.values()].reduce((sum, { shut }) => sum + shut.size, 0),
    admit(owner, name) {
      if (open === 0) return false;
      const time = now();
      const platform = platforms.get(name);
      const standing = platform?.turn(time).standing(owner) ?? 'unknown';
      const shared = standing === 'served' ? [] : [upstream, platform?.breaker];
      const own = platform?.shut.get(owner);
      const inTheWay = [...shared, own].filter((breaker) => breaker !== undefined && !breaker.closed) as Breaker[];
      const refusing = inTheWay.find((breaker) => !breaker.mayProbe(time, breaker !== own && standing === 'unknown'));
      if (refusing) throw refused(refusing.secondsLeft(time));
      for (const breaker of inTheWay) breaker.beginProbe(time);
      return inTheWay.length > 0;
    },
    report(result, owner, name, probe = false) {
      const platform = platformOf(name);
      const own = open === 0 ? undefined : platform.shut.get(owner);
      if (probe) for (const breaker of [upstream, platform.breaker, own]) breaker?.endProbe();
      if (result === 'ignored') return;
      const time = now();
      open -= platform.turn(time).forgetShut(time);
      platform.count(owner, result);
      if (result === 'answered') return answered(platform, owner);
      if (result === 'failed') setClosed(upstream);
      if (probe) for (const breaker of [upstream, platform.breaker, own]) if (breaker && !breaker.closed) breaker.open(time);
      failed(platform, owner, time);
    },
  };
}

/** What /readyz says of them; undefined while there is nothing to say. */
export function describeCircuits(circuits: Circuits): string | undefined {
  const state = circuits.state();
  if (state !== 'closed') return `circuit ${state}: the upstream has not been answering`;
  const platforms = circuits.platforms().filter((platform) => platform[1] !== 'closed').length;
  const owners = circuits.refusedOwners();
  if (platforms + owners === 0) return undefined;
  return `circuit open for ${platforms} platforms, and for ${owners} identities on one each: they have not been answered`;
}

/** Open until it is probed, and answered. */
class Breaker {
  #openUntil = 0;
  /** When the last probe began that has not been reported; 0: there is none. */
  #probingSince = 0;

  get closed(): boolean {
    return this.#openUntil === 0;
  }

  state(time: number): CircuitState {
    return this.closed ? 'closed' : time < this.#openUntil ? 'open' : 'half-open';
  }

  open(time: number): void {
    this.#openUntil = time + openMs;
  }

  close(): void {
    this.#openUntil = this.#probingSince = 0;
  }

  /** Whether a call may pass to see; `early`: before the pause is over. */
  mayProbe(time: number, early: boolean): boolean {
    return (early || time >= this.#openUntil) && (this.#probingSince === 0 || time - this.#probingSince >= openMs);
  }

  beginProbe(time: number): void {
    this.#probingSince = time;
  }

  endProbe(): void {
    this.#probingSince = 0;
  }

  /** Whether it was opened long ago, and no call has come to see since. */
  isForgotten(time: number): boolean {
    return time - this.#openUntil >= forgetMs && this.#probingSince === 0;
  }

  secondsLeft(time: number): number {
    return Math.max(1, Math.ceil((this.#openUntil - time) / 1000));
  }
}

/** Attempts of one identity. `failed` holds those that were `unheard` too. */
type Tally = { answered: number; failed: number; unheard: number };

/** What was seen in one half of the window: all of it, and for each identity. */
class Half {
  readonly all: Tally = newTally();
  readonly owners = new Map<string, Tally>();

  tally(owner: string): Tally {
    let tally = this.owners.get(owner);
    if (tally) return tally;
    // Those beyond are taken for one.
    const name = this.owners.size < rememberedOwners ? owner : '';
    this.owners.set(name, tally = this.owners.get(name) ?? newTally());
    return tally;
  }
}

/** One platform's calls. Two halves, so that a burst of failures is always weighed against at least five seconds of answers. */
class Platform {
  readonly breaker = new Breaker();
  /** Breakers of identities whose own calls are refused. */
  readonly shut = new Map<string, Breaker>();
  #current = new Half();
  #previous = new Half();
  #since: number;
  #censusIn = 0;

  constructor(time: number) {
    this.#since = time;
  }

  turn(time: number): this {
    const age = time - this.#since;
    if (age < halfMs) return this;
    this.#previous = age < 2 * halfMs ? this.#current : new Half();
    this.#current = new Half();
    this.#since = time;
    return this;
  }

  count(owner: string, result: Exclude<AttemptResult, 'ignored'>): void {
    const { all } = this.#current;
    const tally = this.#current.tally(owner);
    if (result === 'answered') {
      all.answered += 1;
      tally.answered += 1;
      return;
    }
    all.failed += 1;
    tally.failed += 1;
    if (result === 'failed') return;
    all.unheard += 1;
    tally.unheard += 1;
  }

  get halves(): readonly Half[] {
    return [this.#previous, this.#current];
  }

  get owners(): number {
    return this.#previous.owners.size + this.#current.owners.size;
  }

  get isActive(): boolean {
    return this.owners > 0;
  }

  get isUnheard(): boolean {
    const { unheard, answered } = sum([this.#previous.all, this.#current.all]);
    return unheard > answered;
  }

  tallyOf(owner: string): Tally {
    return sum(this.halves.map((half) => half.owners.get(owner)));
  }

  standing(owner: string): 'served' | 'failing' | 'unknown' {
    const { answered, failed } = this.tallyOf(owner);
    return failed > answered ? 'failing' : answered > 0 ? 'served' : 'unknown';
  }

  mostlyFails(): boolean {
    const { failed, answered } = sum([this.#previous.all, this.#current.all]);
    if (failed < minFailures || failed < answered || (this.#censusIn -= 1) > 0) return false;
    this.#censusIn = this.owners >> 4;
    return areFailing(tallies([this]), 'failed');
  }

  forget(owner: string): void {
    for (const { owners } of this.halves) owners.delete(owner);
  }

  forgetAll(): void {
    this.#current = new Half();
    this.#previous = new Half();
  }

  /** Forgets identities that have stayed away; how many. */
  forgetShut(time: number): number {
    if (this.shut.size === 0) return 0;
    const away = [...this.shut].filter(([, breaker]) => breaker.isForgotten(time));
    for (const [owner] of away) this.shut.delete(owner);
    return away.length;
  }
}

/** One tally for each identity that these platforms saw. */
function tallies(platforms: readonly Platform[]): Tally[] {
  const owners = new Map<string, Tally>();
  for (const half of platforms.flatMap(({ halves }) => halves)) {
    for (const [owner, tally] of half.owners) owners.set(owner, sum([owners.get(owner), tally]));
  }
  return [...owners.values()];
}

/** Whether several identities mostly fail, and hardly any is answered: one voice each, however many calls it makes. */
function areFailing(owners: readonly Tally[], what: 'failed' | 'unheard'): boolean {
  const failures = owners.reduce((total, tally) => total + tally[what], 0);
  const failing = owners.filter((tally) => tally[what] > tally.answered).length;
  const served = owners.filter(({ answered, failed }) => answered > 0 && answered >= failed).length;
  return failures >= minFailures && failing >= minOwners && failing >= served * failingPerServed;
}

function sum(tallies: readonly (Tally | undefined)[]): Tally {
  const total = newTally();
  for (const tally of tallies) {
    total.answered += tally?.answered ?? 0;
    total.failed += tally?.failed ?? 0;
    total.unheard += tally?.unheard ?? 0;
  }
  return total;
}

function newTally(): Tally {
  return { answered: 0, failed: 0, unheard: 0 };
}

function refused(seconds: number): Problem {
  return new Problem('upstream_circuit_open', 'The upstream has not been answering; calls are refused until it is seen to answer again.', {
    headers: { 'retry-after': String(seconds) },
  });
}
