import { randomUUID } from 'node:crypto';
import type { Upstream } from './upstream.js';

/** What one round did to its callers. */
export type Tally = {
  requests: number;
  /** Answers that were no success, by status or error code of the socket; a later retry may have succeeded. */
  failures: Map<string, number>;
};

/** Stored connections that were acknowledged, with the names that a PATCH of each was acknowledged for. */
type Stored = { id: string; names: string[]; tried: string[] };

/**
 * A steady load of honest callers, and a ledger of what they were promised: connections stored and renamed, and writes with
 * an Idempotency-Key that are tried again, with the same key, until an answer is final.
 */
export class Load {
  tally: Tally = { requests: 0, failures: new Map() };
  readonly stored: Stored[] = [];
  readonly writes = new Set<string>();
  /** Milliseconds (`performance.now`) of the answers that were no success, and of those that were. */
  lastFailure = 0;
  lastSuccess = 0;
  #timer: NodeJS.Timeout | undefined;
  #running = new Set<Promise<void>>();
  #count = 0;
  #urls: readonly string[];
  #key: string;
  #upstream: Upstream;

  /** @param urls where to call, in turn @param key an API key with every scope, bound to no identity */
  constructor(urls: readonly string[], key: string, upstream: Upstream) {
    this.#urls = urls;
    this.#key = key;
    this.#upstream = upstream;
  }

  /** Sends `perSecond` requests a second until `stop`, whatever becomes of the earlier ones. */
  start(perSecond: number): void {
    this.#timer = setInterval(() => {
      const work = this.#one(this.#count++).catch(() => {}).finally(() => this.#running.delete(work));
      this.#running.add(work);
    }, 1000 / perSecond);
  }

  /** Stops sending, and resolves when every caller has its final answer. */
  async stop(): Promise<void> {
    clearInterval(this.#timer);
    await Promise.all(this.#running);
  }

  reset(): void {
    this.tally = { requests: 0, failures: new Map() };
  }

  async #one(i: number): Promise<void> {
    const kind = i % 10;
    if (kind < 4) return void await this.#send('GET', '/proxy/gmail/gmail/v1/users/me/profile', undefined, { 'x-user-id': 'reader' });
    if (kind < 6) return this.#write();
    if (kind < 8) return this.#store(i);
    if (kind < 9) return this.#rename();
    await this.#send('GET', '/connections?limit=20');
  }

  /** A proxied write. 409 means that the outcome is not known yet, or never will be: both are final for this caller. */
  async #write(): Promise<void> {
    const key = randomUUID();
    this.writes.add(key);
    const body = { raw: 'aGVsbG8', id: key };
    for (let attempt = 0; attempt < 40; attempt += 1) {
      const answer = await this.#send('POST', '/proxy/gmail/gmail/v1/users/me/messages/send', body, { 'x-user-id': 'reader', 'idempotency-key': key });
      if (answer && (answer.status < 300 || answer.body.includes('idempotency_outcome_unknown'))) return;
      await pause(250);
    }
  }

  async #store(i: number): Promise<void> {
    const key = this.#upstream.seed(`user-${i}`);
    for (let attempt = 0; attempt < 40; attempt += 1) {
      const answer = await this.#send('POST', '/connections', { key, platform: 'gmail' }, { 'x-user-id': `user-${i}` });
      if (answer && answer.status < 300) return void this.stored.push({ id: (JSON.parse(answer.body) as { id: string }).id, names: [], tried: [] });
      await pause(250);
    }
  }

  async #rename(): Promise<void> {
    const connection = this.stored[Math.floor(Math.random() * this.stored.length)];
    // One writer at a time per connection: what two do at once has no order to be kept.
    if (!connection || connection.tried.length > connection.names.length) return;
    const name = String(connection.tried.length + 1);
    connection.tried.push(name);
    for (let attempt = 0; attempt < 40; attempt += 1) {
      const answer = await this.#send('PATCH', `/connections/${connection.id}`, { name });
      if (answer && answer.status < 300) return void connection.names.push(name);
      await pause(250);
    }
  }

  async #send(method: string, path: string, json?: unknown, headers: Record<string, string> = {}): Promise<{ status: number; body: string } | undefined> {
    this.tally.requests += 1;
    let outcome: string;
    try {
      const response = await fetch(this.#urls[this.tally.requests % this.#urls.length] + path, {
        method, headers: { 'x-api-key': this.#key, ...(json === undefined ? {} : { 'content-type': 'application/json' }), ...headers },
        ...(json === undefined ? {} : { body: JSON.stringify(json) }), signal: AbortSignal.timeout(60_000),
      });
      const body = await response.text();
      if (response.status < 300) {
        this.lastSuccess = performance.now();
        return { status: response.status, body };
      }
      outcome = `${response.status} ${response.headers.get('x-authkit-error') ?? ''}`.trim();
      // The protocol's own answer to a repetition that came too early is no failure.
      if (outcome.startsWith('409')) return { status: response.status, body };
    } catch (error) {
      outcome = ((error as Error).cause as NodeJS.ErrnoException | undefined)?.code ?? (error as Error).name;
    }
    this.lastFailure = performance.now();
    this.tally.failures.set(outcome, (this.tally.failures.get(outcome) ?? 0) + 1);
    return undefined;
  }
}

/** Resolves after so many milliseconds. */
export const pause = (milliseconds: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, milliseconds));
