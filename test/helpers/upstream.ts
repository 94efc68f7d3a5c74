import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { randomBytes } from 'node:crypto';
import type { Test } from 'tap';
import { announceChanges } from '../../src/connections/cached-choice.js';
import { createConnectionStore } from '../../src/connections/store.js';
import type { Gateway } from './gateway.js';

/** What an upstream of a test's own making received. */
export type Received = { method: string; url: string; rawHeaders: string[]; headers: IncomingMessage['headers']; body: Buffer };
export type TestUpstream = { url: string; server: Server; received: Received[] };

export type Handle = (request: IncomingMessage, response: ServerResponse) => void;

/**
 * An upstream on a port of its own that answers passthrough calls with `handle`, and everything else with `others`; closed
 * with the test. `received` gets the passthrough calls whose body has ended.
 */
export async function startUpstream(t: Test, handle: Handle, others: Handle = (_request, response) => void response.writeHead(404).end()): Promise<TestUpstream> {
  const received: Received[] = [];
  const listening = await listen(t, (request, response) => {
    if (!request.url!.includes('/v1/passthrough')) return others(request, response);
    const chunks: Buffer[] = [];
    request.on('data', (chunk: Buffer) => chunks.push(chunk));
    request.on('end', () => received.push({
      method: request.method!, url: request.url!, rawHeaders: request.rawHeaders, headers: request.headers, body: Buffer.concat(chunks),
    }));
    handle(request, response);
  });
  return { ...listening, received };
}

/** A server on a port of its own, closed with the test. It keeps nothing of what it receives. */
export async function listen(t: Test, handle: Handle): Promise<Omit<TestUpstream, 'received'>> {
  const server = createServer(handle);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  t.teardown(() => {
    server.closeAllConnections();
    server.close();
  });
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, server };
}

/** An upstream that answers every call, once its body has come, as a provider does: 200, `ok`. */
export function startOkUpstream(t: Test): Promise<TestUpstream> {
  return startUpstream(t, (request, response) => {
    request.on('end', () => response.writeHead(200, { 'x-pica-passthrough-content-type': 'text/plain' }).end('ok'));
  });
}

/** Stores a connection of an identity, as a sync would. Returns its id and key. */
export async function storeConnection(gateway: Pick<Gateway, 'database'>, platform = 'gmail', identity = 'ada'): Promise<{ id: string; key: string }> {
  const key = `test::${platform}::default::${randomBytes(16).toString('hex')}|${identity}`;
  const { prisma, invalidations } = gateway.database;
  const created = await announceChanges(createConnectionStore(prisma), invalidations).create({
    identity, identityType: 'user', platform, key, environment: 'test', state: 'operational', name: null, tags: [],
  });
  return { id: created!.id, key };
}
