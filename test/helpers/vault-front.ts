import type { Test } from 'tap';
import { listen } from './upstream.js';

/** What stands between a gateway and a sandbox: `before` runs ahead of each listing, `rewrite` may change its answer. */
export type VaultFront = {
  url: string;
  /** The listings asked for, as their queries. */
  asked: URLSearchParams[];
  before: (query: URLSearchParams, call: number) => Promise<void>;
  rewrite: (page: any, query: URLSearchParams, call: number) => unknown;
};

/** Forwards what our own routes ask of the sandbox; `asked`, `before` and `rewrite` are about its lists of connections. */
export async function startVaultFront(t: Test, sandbox: string): Promise<VaultFront> {
  const front: VaultFront = { url: '', asked: [], before: async () => {}, rewrite: (page) => page };
  const { url } = await listen(t, async (request, response) => {
    const { pathname, searchParams } = new URL(request.url!, 'http://front');
    const isList = request.method === 'GET' && pathname === '/v1/vault/connections';
    const call = isList ? front.asked.push(searchParams) : 0;
    if (isList) await front.before(searchParams, call);
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk as Buffer);
    const { host: _host, connection: _connection, 'content-length': _length, ...headers } = request.headers as Record<string, string>;
    const answer = await fetch(`${sandbox}${request.url}`, { method: request.method!, headers, ...(chunks.length > 0 ? { body: Buffer.concat(chunks) } : {}) });
    const text = await answer.text();
    const limits = [...answer.headers].filter(([name]) => name.includes('rate-limit') || name.includes('passthrough') || name === 'content-type');
    response.writeHead(answer.status, Object.fromEntries(limits));
    response.end(isList && answer.status === 200 ? JSON.stringify(front.rewrite(JSON.parse(text), searchParams, call)) : text);
  });
  front.url = url;
  return front;
}
