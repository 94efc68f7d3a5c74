import type { Readable } from 'node:stream';
import type { Target } from './target.js';

/** Headers in order, repeated ones included. */
export type HeaderPairs = [name: string, value: string][];

/** A call as the simulated provider receives it. */
export interface ProviderCall extends Target {
  url: string;
  rawHeaders: HeaderPairs;
  body: Readable;
}

/** What a provider answers; its headers go out in their prefixed form. */
export interface ProviderAnswer {
  status: number;
  headers: HeaderPairs;
  body: Buffer | Readable;
}

/** Answers a call, or leaves it to the next provider. */
export type Provider = (call: ProviderCall) => ProviderAnswer | undefined | Promise<ProviderAnswer>;

/** A provider's answer in JSON. */
export function json(value: unknown, status = 200, headers: HeaderPairs = []): ProviderAnswer {
  return { status, headers: [['content-type', 'application/json; charset=utf-8'], ...headers], body: Buffer.from(JSON.stringify(value)) };
}

/** An integer from the call's query, inside `[0, max]`. */
export function queryNumber(call: ProviderCall, name: string, fallback: number, max: number): number {
  const number = Number(new URLSearchParams(call.query).get(name) ?? fallback);
  return Number.isFinite(number) ? Math.min(Math.max(0, Math.trunc(number)), max) : fallback;
}
