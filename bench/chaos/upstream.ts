import { randomBytes } from 'node:crypto';
import { startUpstream } from '../../test/helpers/upstream.js';
import { startReceiver } from '../../test/helpers/receiver.js';
import type { Scope } from './scope.js';

/** The vault and the provider of the replicas: it counts how often each write has arrived. */
export type Upstream = {
  url: string;
  /** Puts a Gmail connection of this user into the vault and returns its key. */
  seed(identity: string): string;
  /** How often the write with this id has been carried out. */
  sent(id: string): number;
};

/** An application that is told by webhook: what it was told about each connection, in the order of first arrival. */
export type Application = { url: string; events: Map<string, { type: string; name: string | null }[]>; deliveries: number; distinct: Set<string> };

/** Starts the upstream. It speaks the vault's list and the passthrough, and answers a write after up to 30 ms. */
export async function startVault(scope: Scope): Promise<Upstream> {
  const rows = new Map<string, Record<string, unknown>>();
  const counts = new Map<string, number>();
  const { url } = await startUpstream(scope.test, (request, response) => {
    const chunks: Buffer[] = [];
    request.on('data', (chunk: Buffer) => chunks.push(chunk)).on('end', () => {
      if (request.method === 'POST') {
        const { id } = JSON.parse(Buffer.concat(chunks).toString()) as { id: string };
        counts.set(id, (counts.get(id) ?? 0) + 1);
      }
      setTimeout(() => response.writeHead(200, { 'x-pica-passthrough-content-type': 'application/json' }).end('{"ok":true}'), Math.random() * 30);
    });
  }, (request, response) => {
    const { pathname, searchParams } = new URL(request.url!, 'http://upstream');
    const key = searchParams.get('key');
    const identity = searchParams.get('identity');
    const found = key === null ? [...rows.values()].filter((row) => identity === null || row['identity'] === identity) : [rows.get(key)].filter(Boolean);
    const limit = Number(searchParams.get('limit') ?? 20);
    const page = Number(searchParams.get('page') ?? 1);
    const answer = pathname === '/v1/vault/connections'
      ? { rows: found.slice((page - 1) * limit, page * limit), total: found.length, pages: Math.max(1, Math.ceil(found.length / limit)), page }
      : { rows: [], total: 0, pages: 1, page: 1 };
    response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(answer));
  });
  return {
    url,
    seed(identity) {
      const key = `test::gmail::default::${randomBytes(16).toString('hex')}|${identity}`;
      rows.set(key, {
        id: randomBytes(12).toString('hex'), key, platform: 'gmail', platformVersion: '1', name: null, type: 'api', environment: 'test', identity, identityType: 'user',
        description: 'Gmail', state: 'operational', tags: [], version: '1', active: true, createdAt: new Date().toISOString(),
      });
      return key;
    },
    sent: (id) => counts.get(id) ?? 0,
  };
}

/** Starts the application that webhooks go to. */
export async function startApplication(scope: Scope): Promise<Application> {
  const application: Application = { url: '', events: new Map(), deliveries: 0, distinct: new Set() };
  const receiver = await startReceiver(scope.test, ({ headers, event }, response) => {
    const id = String(headers['webhook-id']);
    application.deliveries += 1;
    if (!application.distinct.has(id)) {
      application.distinct.add(id);
      const { data, type } = event as { type: string; data: { id: string; name: string | null } };
      application.events.set(data.id, [...(application.events.get(data.id) ?? []), { type, name: data.name }]);
    }
    response.writeHead(204).end();
  });
  application.url = receiver.url;
  return application;
}
