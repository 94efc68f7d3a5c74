const [second, minute, hour] = [1, 60, 3600];
const day = 24 * hour;

/** Seconds to wait after each failed attempt; they add up to a day, after which a delivery is parked. */
export const waits: readonly number[] = [
  5 * second, 30 * second, 2 * minute, 10 * minute, 30 * minute, 1 * hour, 2 * hour, 4 * hour, 6 * hour, 10 * hour,
];

/** What is known of a delivery whose attempt has failed. */
export type FailedAttempt = {
  /** How often it was tried, this time included. */
  attempts: number;
  /** The seconds it has waited after earlier attempts. */
  waitedSeconds: number;
  /** The seconds that the receiver asks for. */
  retryAfter?: number | undefined;
};

/**
 * The wait after a failed attempt, give or take a tenth so that many do not return at once; undefined: park it. A receiver
 * that asks for more time gets it while the waits do not add up to more than a day.
 */
export function waitAfter(
  { attempts, waitedSeconds, retryAfter = 0 }: FailedAttempt, schedule: readonly number[] = waits, random: () => number = Math.random,
): number | undefined {
  const scheduled = schedule[attempts - 1];
  if (scheduled === undefined) return undefined;
  const wait = scheduled * (0.9 + 0.2 * random());
  if (retryAfter <= wait) return wait;
  const left = day - waitedSeconds;
  return left > 0 ? Math.min(retryAfter, left) : undefined;
}
