const [second, minute, hour] = [1, 60, 3600];

/** Seconds to wait after each failed attempt; they add up to a day, after which a delivery is parked. */
export const waits: readonly number[] = [
  5 * second, 30 * second, 2 * minute, 10 * minute, 30 * minute, 1 * hour, 2 * hour, 4 * hour, 6 * hour, 10 * hour,
];

/** The wait after the given number of failed attempts, give or take a tenth so that many do not return at once; undefined: park it. */
export function waitAfter(attempts: number, schedule: readonly number[] = waits, random: () => number = Math.random): number | undefined {
  const wait = schedule[attempts - 1];
  return wait === undefined ? undefined : wait * (0.9 + 0.2 * random());
}
