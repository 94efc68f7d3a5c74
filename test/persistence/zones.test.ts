import t from 'tap';
import { openDatabase } from '../../src/persistence/database.js';
import { applyMigrations } from '../../src/persistence/migrate.js';
import { startCluster, withoutCluster } from '../helpers/cluster.js';
import { startGateway } from '../helpers/gateway.js';
import { startReceiver, until } from '../helpers/receiver.js';
import { startOkUpstream, storeConnection } from '../helpers/upstream.js';

t.setTimeout(300_000);
const minute = 60_000;

for (const zone of ['Asia/Kolkata', 'America/New_York']) {
  t.test(`on a server in ${zone} that writes dates the German way, every instant is the one it was`, { skip: withoutCluster }, async (t) => {
    const cluster = await startCluster(t, { timezone: zone, datestyle: 'German, DMY' });
    await cluster.run('CREATE ROLE owner LOGIN SUPERUSER', `ALTER ROLE owner SET timezone TO '${zone}'`);
    await cluster.createDatabase('authkit');
    const url = cluster.urlOf({ user: 'owner', database: 'authkit', query: { options: '-c timezone=Pacific/Chatham' } });
    const database = await openDatabase({ url, poolSize: 2, dataDir: undefined });
    t.teardown(() => database.close());
    await applyMigrations(database);
    const near = (instant: string | Date) => Math.abs(new Date(instant).getTime() - Date.now()) < 2 * minute;

    await t.test('what SQL says and what the client says agree, both ways', async (t) => {
      const { id } = await storeConnection({ database });
      const [row] = await database.prisma.$queryRaw<{ created: boolean; now: Date; zone: string }[]>`
        SELECT abs(extract(epoch FROM now() - created_at)) < 120 AS created, now() AS now, current_setting('TimeZone') AS zone FROM user_connections WHERE id = ${id}::uuid`;
      t.equal(row!.zone, 'UTC');
      t.ok(row!.created, 'written as the instant it was');
      t.ok(near(row!.now), 'read as the instant it is');
      t.ok(near((await database.prisma.userConnection.findUnique({ where: { id } }))!.createdAt));
      const exact = new Date('2026-03-08T07:30:00.123Z');
      await database.prisma.userConnection.update({ where: { id }, data: { lastUsedAt: exact } });
      const [stored] = await database.prisma.$queryRaw<{ ms: string }[]>`SELECT (extract(epoch FROM last_used_at) * 1000)::bigint::text AS ms FROM user_connections WHERE id = ${id}::uuid`;
      t.equal(Number(stored!.ms), exact.getTime());
    });

    await t.test('migrations, the listener and the locks are on UTC too', async (t) => {
      const [applied] = await database.prisma.$queryRaw<{ far: bigint }[]>`SELECT count(*) AS far FROM _prisma_migrations WHERE abs(extract(epoch FROM now() - finished_at)) > 120`;
      t.equal(Number(applied!.far), 0);
      const zones: string[] = [];
      await database.exclusively(1, async () => {
        // Another role's sessions show no settings; what a session says itself is asked through its own kind.
        zones.push(...(await cluster.rows<{ application_name: string }>('SELECT application_name FROM pg_stat_activity WHERE datname = \'authkit\'')).map((row) => row.application_name));
      });
      t.ok(zones.some((name) => name.includes('lock')));
    });

    await t.test('a webhook\'s first retry is due within its wait, and both secrets sign inside the overlap', async (t) => {
      const upstream = await startOkUpstream(t);
      const gateway = await startGateway(t, upstream.url, { WEBHOOK_ALLOW_PRIVATE: 'true' }, database);
      let failures = 1;
      const receiver = await startReceiver(t, (_, response) => void response.writeHead(failures-- > 0 ? 500 : 204).end());
      const hook = await gateway.request('POST', '/webhooks', { json: { url: receiver.url } });
      t.equal(hook.status, 201);
      t.ok(near(hook.json.createdAt));
      await gateway.request('PATCH', `/webhooks/${hook.json.id}`, { json: { rotateSecret: true, overlapSeconds: 600 } });
      await storeConnection({ database });
      await until(() => receiver.received.length > 0, 2 * minute);
      t.equal(String(receiver.received[0]!.headers['webhook-signature']).split(' ').length, 2, 'signed with both');
      t.ok(near(receiver.received[0]!.event.timestamp));
      const delivery = async () => (await database.prisma.webhookDelivery.findFirst())!;
      await until(async () => (await delivery()).lastStatus === 500, 2 * minute);
      t.equal(receiver.received.length, 1, 'not at once again');
      const wait = (await delivery()).nextAttemptAt.getTime() - Date.now();
      t.ok(wait < 2 * minute, `the first retry is in ${wait} ms`);
      await until(async () => (await delivery()).status === 'delivered', 2 * minute);
    });

    await t.test('an idempotent write is answered once and replayed', async (t) => {
      const upstream = await startOkUpstream(t);
      const gateway = await startGateway(t, upstream.url, { ACTION_RESOLUTION: 'off' }, database);
      const { id } = await storeConnection({ database });
      const headers = { 'x-user-id': 'ada', 'x-connection-id': id, 'idempotency-key': 'k', 'content-type': 'text/plain' };
      const write = () => gateway.request('POST', '/proxy/gmail/send', { headers, body: 'hello' });
      t.equal((await write()).status, 200);
      await until(async () => (await database.prisma.idempotencyKey.findFirst())?.state === 'answered', minute);
      t.equal((await write()).status, 200);
      t.equal(upstream.received.length, 1);
      const row = (await database.prisma.idempotencyKey.findFirst())!;
      t.ok(Math.abs(row.expiresAt.getTime() - Date.now() - 24 * 60 * minute) < 2 * minute, 'kept for a day');
      const session = await gateway.request('POST', '/authkit/sessions', { json: { identity: 'ada', expiresIn: 600 } });
      t.equal(session.status, 201);
      t.equal((await gateway.request('GET', '/connections', { key: null, headers: { authorization: `Bearer ${session.json.token}` } })).status, 200);
    });
  });
}
