import { randomBytes } from 'node:crypto';
import { setTimeout as wait } from 'node:timers/promises';
import pg from 'pg';
import t, { type Test } from 'tap';
import { createPostgresDatabase, postgresUrl } from '../helpers/database.js';
import { startGatewayProcess } from '../helpers/gateway-process.js';
import { startUpstream } from '../helpers/upstream.js';

t.setTimeout(300_000);

/** Resolves when so many gateways listen for changes. */
async function untilListening(databaseUrl: string, gateways: number): Promise<void> {
  const client = new pg.Client({ connectionString: databaseUrl });
  await client.connect();
  // The second one is the heartbeat of a session that listens already.
  const listening = "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'authkit-gateway listener' AND query ~ '^(LISTEN|SELECT 1)' AND state = 'idle'";
  while ((await client.query(listening)).rowCount! < gateways) await wait(20);
  await client.end();
}

t.test('using a connection on one process after it was changed on another: within a second', { skip: postgresUrl ? false : 'needs Postgres: set TEST_DATABASE_URL' }, async (t) => {
  const databaseUrl = await createPostgresDatabase(t);
  const upstream = await startUpstream(t, (request, response) => {
    request.on('end', () => response.writeHead(200, { 'x-pica-passthrough-content-type': 'application/json' }).end('{}'));
  });
  // It has no vault.
  const unverified = { CONNECTION_VERIFICATION: 'off' };
  const one = await startGatewayProcess(t, databaseUrl, upstream.url, unverified);
  const other = await startGatewayProcess(t, databaseUrl, upstream.url, unverified);
  await untilListening(databaseUrl, 2);

  const newKey = () => `test::gmail::default::${randomBytes(16).toString('hex')}`;
  const save = async (json: Record<string, unknown>) => (await one.request('POST', '/connections', { platform: 'gmail', ...json })).json.id as string;
  /** The key of the connection that a call through the other process used, or the status of its refusal. */
  const call = async (headers: Record<string, string>) => {
    const { status } = await other.request('GET', '/proxy/gmail/x', undefined, headers);
    return status === 200 ? upstream.received.at(-1)!.headers['x-pica-connection-key'] : status;
  };
  const becomes = async (t: Test, expected: string | number, headers: Record<string, string>) => {
    const started = performance.now();
    let found = await call(headers);
    while (found !== expected && performance.now() - started < 10_000) found = await call(headers);
    t.equal(found, expected);
    t.ok(performance.now() - started < 1_000, `${Math.round(performance.now() - started)} ms`);
  };

  await t.test('deleted', async (t) => {
    t.equal(await call({ 'x-user-id': 'nobody' }), 404, 'a process that has just started is slow at its first call');
    for (const user of ['by identity', 'by id']) {
      const key = newKey();
      const id = await save({ key, user_id: user });
      const headers: Record<string, string> = user === 'by id' ? { 'x-connection-id': id } : { 'x-user-id': user };
      for (let i = 0; i < 5; i += 1) await becomes(t, key, headers);
      await one.request('DELETE', `/connections/${id}?upstream=false`);
      await becomes(t, 404, headers);
    }
  });

  await t.test('joined by a second one, which then fails and at last works again', async (t) => {
    const headers = { 'x-user-id': 'bob' };
    const [first, second] = [newKey(), newKey()];
    await save({ key: first, user_id: 'bob' });
    await becomes(t, first, headers);
    const id = await save({ key: second, user_id: 'bob' });
    await becomes(t, 409, headers);
    await becomes(t, second, { 'x-connection-id': id });
    await save({ key: second, user_id: 'bob', state: 'failed' });
    await becomes(t, first, headers);
    await save({ key: second, user_id: 'bob', state: 'operational' });
    await becomes(t, 409, headers);
  });

  await t.test('renamed: it is still the one', async (t) => {
    const key = newKey();
    const id = await save({ key, user_id: 'eve' });
    await becomes(t, key, { 'x-user-id': 'eve' });
    t.equal((await one.request('PATCH', `/connections/${id}`, { name: 'Inbox', tags: ['support'] })).status, 200);
    await becomes(t, key, { 'x-user-id': 'eve' });
    t.match((await other.request('GET', `/connections/${id}`)).json, { name: 'Inbox', tags: ['support'] });
  });
});
