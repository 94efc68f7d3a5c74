import pg from 'pg';
import t from 'tap';
import { createPostgresDatabase, postgresUrl } from '../helpers/database.js';
import { startGatewayProcess } from '../helpers/gateway-process.js';

t.setTimeout(300_000);

/** Milliseconds until `stopped` holds; fails the test by time-out when it never does. */
async function until(stopped: () => Promise<boolean>): Promise<number> {
  const started = performance.now();
  while (!await stopped()) await new Promise((resolve) => setTimeout(resolve, 20));
  return performance.now() - started;
}

t.test('using a key on one replica after it was revoked on another', { skip: postgresUrl ? false : 'needs Postgres: set TEST_DATABASE_URL' }, async (t) => {
  const url = await createPostgresDatabase(t);
  const first = await startGatewayProcess(t, url, 'http://127.0.0.1:9');
  const second = await startGatewayProcess(t, url, 'http://127.0.0.1:9');
  const make = async () => (await first.request('POST', '/api-keys', { name: 'x', scopes: ['connections:read'] })).json as { id: string; key: string };
  const works = async (key: string) => (await second.request('GET', '/connections', undefined, { 'x-api-key': key })).status === 200;

  await t.test('revoked: within a second', async (t) => {
    const { id, key } = await make();
    for (let call = 0; call < 5; call += 1) t.ok(await works(key));
    t.equal((await first.request('DELETE', `/api-keys/${id}`)).status, 204);
    t.ok(await until(async () => !await works(key)) < 1_000);
  });

  await t.test('rotated without an overlap: within a second', async (t) => {
    const { id, key } = await make();
    t.ok(await works(key));
    const { json: next } = await first.request('POST', `/api-keys/${id}/rotate`, { overlapSeconds: 0 });
    t.ok(await until(async () => !await works(key)) < 1_000);
    t.ok(await works(next.key));
  });

  await t.test('revoked, and the notification lost: when the cache\'s own limit of five seconds is over', async (t) => {
    const { id, key } = await make();
    t.ok(await works(key));
    const client = new pg.Client({ connectionString: url });
    await client.connect();
    await client.query('UPDATE api_keys SET revoked_at = now() WHERE id = $1', [id]);
    await client.end();
    const took = await until(async () => !await works(key));
    t.ok(took < 6_000, `${Math.round(took)} ms`);
  });

  await t.test('a session ended on one replica: at once', async (t) => {
    const { json: session } = await first.request('POST', '/authkit/sessions', { identity: 'ada' });
    const list = async () => (await fetch(`${second.url}/connections`, { headers: { authorization: `Bearer ${session.token}` } })).status;
    t.equal(await list(), 200);
    await first.request('DELETE', `/authkit/sessions/${session.id}`);
    t.equal(await list(), 401);
  });
});
