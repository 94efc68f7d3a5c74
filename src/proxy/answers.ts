import type { ServerResponse } from 'node:http';

/** Statuses by which a provider says that the connection is no longer good. */
export function isRefusal(status: number): boolean {
  return status === 401 || status === 403;
}

/** Lets the hooks of finished answers run for one that will not finish: Fastify listens for `finish` and `error` only. */
export function reportUnfinished(response: ServerResponse): void {
  // As nginx logs it; nobody is left to read the status.
  if (!response.headersSent) response.statusCode = 499;
  if (response.listenerCount('error') > 0) response.emit('error', new Error('the answer was not finished'));
}

/** A text as JSON; undefined when it is none. */
export function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
