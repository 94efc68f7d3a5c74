import Type, { type Static } from 'typebox';
import { ApiError } from '../errors.js';
import { urlMatcher } from '../url-matcher.js';

const MAX_FAULTS = 200;

const FaultKind = Type.Union([
  Type.Literal('status'),
  Type.Literal('delay'),
  Type.Literal('hang'),
  Type.Literal('reset'),
  Type.Literal('stall'),
  Type.Literal('malformed'),
  Type.Literal('rate-limit'),
  Type.Literal('undefined-body'),
]);

/** What `POST /__control/faults` takes: `kind` happens to the next `times` calls whose raw URL matches `path`. */
export const FaultBody = Type.Object(
  {
    path: Type.String({ minLength: 1 }),
    method: Type.Optional(Type.String()),
    times: Type.Optional(Type.Integer({ minimum: 1 })),
    kind: FaultKind,
    status: Type.Optional(Type.Integer({ minimum: 200, maximum: 599 })),
    body: Type.Optional(Type.Unknown()),
    headers: Type.Optional(Type.Record(Type.String(), Type.String())),
    ms: Type.Optional(Type.Integer({ minimum: 0, maximum: 600_000 })),
    afterBytes: Type.Optional(Type.Integer({ minimum: 0, maximum: 16 * 1024 * 1024 })),
    retryAfter: Type.Optional(Type.Union([Type.Integer({ minimum: 0 }), Type.String()])),
  },
  { additionalProperties: false },
);
/** A fault, and for which of the next calls. */
export type Fault = Static<typeof FaultBody>;

interface QueuedFault {
  fault: Fault;
  remaining: number;
  matches: (url: string) => boolean;
}

/** Faults in the order they were asked for; the first that matches a call is used up by it. */
export class FaultQueue {
  #queue: QueuedFault[] = [];

  /** Throws BadRequest for a broken RegExp or a full queue. */
  add(fault: Fault): void {
    if (this.#queue.length >= MAX_FAULTS) throw new ApiError('BadRequest', `more than ${MAX_FAULTS} faults are waiting`);
    this.#queue.push({ fault, remaining: fault.times ?? 1, matches: urlMatcher(fault.path) });
  }

  take(method: string, url: string): Fault | undefined {
    const index = this.#queue.findIndex(({ fault, matches }) => (fault.method?.toUpperCase() ?? method) === method && matches(url));
    const queued = this.#queue[index];
    if (!queued) return undefined;
    queued.remaining -= 1;
    if (queued.remaining === 0) this.#queue.splice(index, 1);
    return queued.fault;
  }

  list(): (Fault & { remaining: number })[] {
    return this.#queue.map(({ fault, remaining }) => ({ ...fault, remaining }));
  }

  clear(): void {
    this.#queue = [];
  }
}
