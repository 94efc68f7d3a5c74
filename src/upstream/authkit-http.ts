import Type, { type Static } from 'typebox';
import Value from 'typebox/value';
import type { TokenRequest, TokenSource } from './authkit-token.js';
import type { UpstreamClient } from './client.js';
import { invalidResponse } from './errors.js';

const pageSize = 100;
const pagesInFlight = 3;
// Far above what exists (about 200 integrations): a bound on what one wrong number from the upstream can make us do.
const maxPages = 100;

const TokenPage = Type.Object({
  rows: Type.Array(Type.Unknown()),
  total: Type.Integer({ minimum: 0 }),
  pages: Type.Integer({ minimum: 0, maximum: maxPages }),
});
type TokenPage = Static<typeof TokenPage> & Record<string, unknown>;

/**
 * Tokens through our own client for the `authkit` protocol (upstream.md): all pages merged into one, at most three in
 * flight, with `isWhiteLabel` from the flags. A caller that asks for one page gets that page as the upstream sent it.
 */
export function createHttpTokenSource(upstream: UpstreamClient): TokenSource {
  const fetchPage = (request: TokenRequest, page: number, limit: number) => readPage(upstream, '/v1/authkit', request, page, limit);
  return async (request) => {
    if (request.page !== undefined) return fetchPage(request, request.page, request.limit ?? pageSize);
    const [first, isWhiteLabel] = await Promise.all([fetchPage(request, 1, pageSize), readWhiteLabel(upstream)]);
    const rest = await fetchAll(Math.max(0, first.pages - 1), (index) => fetchPage(request, index + 2, pageSize));
    return { ...first, rows: [first, ...rest].flatMap(({ rows }) => rows), pages: 1, page: 1, isWhiteLabel };
  };
}

/** Tokens through One's protocol: the widget pages, each answer is one page (upstream.md; limit is clamped to 150). */
export function createOneTokenSource(upstream: UpstreamClient): TokenSource {
  return (request) => readPage(upstream, '/v1/authkit/token', request, request.page ?? 1, Math.min(request.limit ?? pageSize, 150));
}

async function readPage(upstream: UpstreamClient, path: string, { identity, identityType, group, label }: TokenRequest, page: number, limit: number): Promise<TokenPage> {
  const { body } = await upstream.call('POST', path, { query: { limit, page }, body: { identity, identityType, group, label } });
  if (!Value.Check(TokenPage, body)) throw invalidResponse('it is not a page of integrations');
  return body as TokenPage;
}

async function readWhiteLabel(upstream: UpstreamClient): Promise<boolean> {
  // Cosmetic, and the upstream's own SDK tolerates its failure too.
  const answer = await upstream.call('GET', '/v1/users/flags').catch(() => undefined);
  return (answer?.body as { isWhiteLabel?: unknown } | undefined)?.isWhiteLabel === true;
}

async function fetchAll<T>(count: number, fetchOne: (index: number) => Promise<T>): Promise<T[]> {
  const results = new Array<T>(count);
  let next = 0;
  const worker = async () => {
    while (next < count) {
      const index = next++;
      results[index] = await fetchOne(index);
    }
  };
  await Promise.all(Array.from({ length: Math.min(pagesInFlight, count) }, worker));
  return results;
}
