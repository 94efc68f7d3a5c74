import { Problem } from '../errors.js';

/** Closed: calls pass. Open: none does. Half-open: one at a time, as a probe. */
export type CircuitState = 'closed' | 'open' | 'half-open';

/**
 * Opens when the upstream mostly fails to answer: then calls are refused at once instead of waiting for their deadline. A
 * provider's errors are answers. After a pause one call is let through to see, and while that goes on another after each further
 * pause, as a slow upload says nothing for long; an answer closes it again.
 */
export type Circuit = {
  /** Whether the call is a probe. 503 `upstream_circuit_open` with Retry-After while it is open. */
  admit(): boolean;
  /**
   * How a call that was admitted went, and whether it was as a probe; `ignored`: it says nothing about the upstream (the caller went away). `owner` is
   * whose connection it used: calls of a single one that fail do not close the way for others that are answered.
   */
  report(result: 'answered' | 'failed' | 'ignored', owner: string, probe?: boolean): void;
  state(): CircuitState;
};

/** What was seen in one half of the window. */
type Half = { answered: number; failed: number; answeredOwners: Few; failedOwners: Few };

const halfMs = 5_000;
const minFailures = 20;
const openMs = 5_000;

/** A closed circuit. */
export function createCircuit(now: () => number = Date.now): Circuit {
  // Two halves, so that a burst of failures is always weighed against at least five seconds of answers.
  let current = newHalf();
  let previous = newHalf();
  let currentSince = now();
  let openUntil = 0;
  // When the last probe began that has not been reported; 0: there is none.
  let probingSince = 0;

  const state = (): CircuitState => (openUntil === 0 ? 'closed' : now() < openUntil ? 'open' : 'half-open');
  const turn = (): void => {
    const age = now() - currentSince;
    if (age < halfMs) return;
    previous = age < 2 * halfMs ? current : newHalf();
    current = newHalf();
    currentSince = now();
  };
  const mostlyFails = (): boolean => {
    const failed = current.failed + previous.failed;
    if (failed < minFailures || failed < current.answered + previous.answered) return false;
    const failing = current.failedOwners.and(previous.failedOwners);
    return failing.many || !current.answeredOwners.and(previous.answeredOwners).hasOtherThan(failing.one!);
  };

  return {
    state,
    admit() {
      if (openUntil === 0) return false;
      if (now() >= openUntil && (probingSince === 0 || now() - probingSince >= openMs)) {
        probingSince = now();
        return true;
      }
      const seconds = Math.max(1, Math.ceil((openUntil - now()) / 1000));
      throw new Problem('upstream_circuit_open', 'The upstream has not been answering; calls are refused until it is seen to answer again.', {
        headers: { 'retry-after': String(seconds) },
      });
    },
    report(result, owner, probe = false) {
      if (probe) probingSince = 0;
      if (result === 'ignored') return;
      turn();
      if (result === 'answered') {
        openUntil = probingSince = 0;
        current.answered += 1;
        current.answeredOwners.add(owner);
        return;
      }
      // Calls from before it opened say nothing new.
      if (openUntil !== 0) {
        if (probe) openUntil = now() + openMs;
        return;
      }
      current.failed += 1;
      current.failedOwners.add(owner);
      if (!mostlyFails()) return;
      openUntil = now() + openMs;
      current = newHalf();
      previous = newHalf();
    },
  };
}

/** Which owners were seen, as far as it matters: none, one, or more than one. */
class Few {
  one: string | undefined;
  many = false;

  add(owner: string): void {
    if (this.one === owner) return;
    if (this.one === undefined) this.one = owner;
    else this.many = true;
  }

  and(other: Few): Few {
    const both = new Few();
    for (const { one, many } of [this, other]) {
      if (one !== undefined) both.add(one);
      both.many ||= many;
    }
    return both;
  }

  hasOtherThan(owner: string): boolean {
    return this.many || (this.one !== undefined && this.one !== owner);
  }
}

function newHalf(): Half {
  return { answered: 0, failed: 0, answeredOwners: new Few(), failedOwners: new Few() };
}

/** What /readyz says of it; undefined while there is nothing to say. */
export function describeCircuit(circuit: Circuit): string | undefined {
  const state = circuit.state();
  return state === 'closed' ? undefined : `circuit ${state}: the upstream has not been answering`;
}
