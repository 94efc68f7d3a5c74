/** An answer that has begun, and that may be over by the time it is released. */
export type Releasable = { release(): void };

let now: Releasable[] = [];
let soon: Releasable[] = [];
const soonMs = 2;

/**
 * Releases an answer at the end of this turn of the event loop; a `short` one, whose body may still be on its way, within two
 * milliseconds. One immediate or timer serves all answers of the moment: most of them are over by then.
 */
export function releaseLater(answer: Releasable, short: boolean): void {
  if (short) {
    if (soon.push(answer) === 1) setTimeout(releaseSoon, soonMs);
  } else if (now.push(answer) === 1) {
    setImmediate(releaseNow);
  }
}

function releaseNow(): void {
  const answers = now;
  now = [];
  for (const answer of answers) answer.release();
}

function releaseSoon(): void {
  const answers = soon;
  soon = [];
  for (const answer of answers) answer.release();
}
