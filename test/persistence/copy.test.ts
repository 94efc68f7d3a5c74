import { randomUUID } from 'node:crypto';
import { mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gunzipSync, gzipSync } from 'node:zlib';
import t from 'tap';
import { exportDatabase, importDatabase } from '../../src/persistence/copy.js';
import type { Database } from '../../src/persistence/database.js';
import { openDatabase } from '../../src/persistence/database.js';
import { applyMigrations } from '../../src/persistence/migrate.js';
import { createPostgresDatabase, openTestDatabase, postgresUrl } from '../helpers/database.js';
import { runProgram } from '../helpers/process.js';

const directory = await mkdtemp(join(tmpdir(), 'copy-'));
t.teardown(() => rm(directory, { recursive: true, force: true }));
let files = 0;
const newFile = () => join(directory, `${files += 1}.gz`);
const linesOf = async (file: string) => gunzipSync(await readFile(file)).toString().split('\n').slice(1);

/** Rows of every table, with what is hard to copy: bytes, large numbers, arrays, nulls, quotes, line breaks, other scripts. */
async function fill({ prisma }: Database): Promise<void> {
  const key = await prisma.apiKey.create({ data: { name: 'Zoë "the\tmailer"\n', digest: 'd', hint: 'h', scopes: ['proxy', 'a,b{}"'], expiresAt: new Date('2030-01-01T00:00:00.123Z') } });
  await prisma.authkitSession.create({ data: { digest: 's', identity: 'ada', identityType: 'user', madeById: key.id, expiresAt: new Date() } });
  await prisma.userConnection.createMany({ data: Array.from({ length: 1_201 }, (_, i) => ({
    identity: `ädä-${i} 🦉`, key: `k${i}`, platform: 'gmail', environment: 'test', tags: i % 2 ? [] : ['x', ''], metadata: { n: i, nested: { a: [null, '\u2028'] } },
  })) });
  await prisma.idempotencyKey.create({ data: {
    owner: 'user:ada', key: 'i', claim: randomUUID(), fingerprint: 'f', state: 'answered', status: 200, headers: ['a', 'b'], body: new Uint8Array([0, 255, 10, 34, 92]),
    leaseUntil: new Date(), expiresAt: new Date(),
  } });
  const webhook = await prisma.webhook.create({ data: { url: 'https://app.example.com', secret: 'whsec_x' } });
  const event = await prisma.webhookEvent.create({ data: { type: 'connection.created', connectionId: randomUUID(), data: { a: 1 }, sequence: 9_007_199_254_740_993n } });
  await prisma.webhookDelivery.create({ data: { webhookId: webhook.id, eventId: event.id, connectionId: event.connectionId, sequence: event.sequence } });
}

t.test('an export goes into an empty database as it was, and the numbers go on after it', async (t) => {
  const [from, to] = [await openTestDatabase(t), await openTestDatabase(t)];
  await fill(from);
  const [first, second] = [newFile(), newFile()];
  const copied = await exportDatabase(from, first);
  t.match(copied, { user_connections: 1_201, api_keys: 1, authkit_sessions: 1, idempotency_keys: 1, webhooks: 1, webhook_events: 1, webhook_deliveries: 1 });
  t.equal((await stat(first)).mode & 0o777, 0o600);
  t.same(await importDatabase(to, first), copied);
  await exportDatabase(to, second);
  t.same((await linesOf(second)).sort(), (await linesOf(first)).sort());
  const next = await to.prisma.webhookEvent.create({ data: { type: 'connection.updated', connectionId: randomUUID(), data: {} } });
  t.equal(next.sequence, 9_007_199_254_740_994n);
  const [tables] = await from.prisma.$queryRaw<[{ names: string[] }]>`
    SELECT array_agg(table_name::text) AS names FROM information_schema.tables WHERE table_schema = current_schema() AND table_type = 'BASE TABLE'`;
  t.same(tables.names.filter((name) => !(name in copied)).sort(), ['_prisma_migrations', 'reconciler_progress'], 'every other table is exported');
});

t.test('nothing is overwritten, and nothing but a whole export of this version or an earlier one is imported', async (t) => {
  const [from, to] = [await openTestDatabase(t), await openTestDatabase(t)];
  await fill(from);
  const file = newFile();
  await exportDatabase(from, file);
  await t.rejects(exportDatabase(from, file), { message: `${file} is there already: an export overwrites nothing.` });
  await t.rejects(importDatabase(from, file), /The database is not empty \(api_keys has rows\)/);
  const lines = gunzipSync(await readFile(file)).toString().split('\n');
  const variant = async (text: string | Buffer) => {
    const path = newFile();
    await writeFile(path, text);
    return path;
  };
  const header = JSON.parse(lines[0]!) as { migrations: string[]; tables: Record<string, string[]> };
  const later = { ...header, migrations: [...header.migrations, '29990101000000_later'] };
  const wider = { ...header, tables: { ...header.tables, webhooks: [...header.tables['webhooks']!, 'colour'] } };
  for (const [what, path, message] of [
    ['no file', join(directory, 'none'), /is not there/],
    ['no gzip', await variant('hello'), /cannot be read as an export/],
    ['something else', await variant(gzipSync('{"format":"x"}\n')), /is no export of this gateway/],
    ['nothing', await variant(gzipSync('')), /is no export of this gateway/],
    ['without its end', await variant(gzipSync(lines.slice(0, -2).join('\n'))), /is not whole/],
    ['without a row', await variant(gzipSync([...lines.slice(0, 5), ...lines.slice(6)].join('\n'))), /is not whole/],
    ['cut', await variant((await readFile(file)).subarray(0, 3_000)), /unexpected end of file|is not whole/],
    ['of a later version', await variant(gzipSync([JSON.stringify(later), ...lines.slice(1)].join('\n'))), /later version.*29990101000000_later/],
    ['with another column', await variant(gzipSync([JSON.stringify(wider), ...lines.slice(1)].join('\n'))), /webhooks \(colour\)/],
  ] as const) {
    await t.rejects(importDatabase(to, path), { message }, what);
    t.equal(await to.prisma.userConnection.count(), 0, what);
  }
  await importDatabase(to, file);
  t.equal(await to.prisma.userConnection.count(), 1_201);
});

t.test('an export of an earlier version takes the defaults of what came later', async (t) => {
  const [from, to] = [await openTestDatabase(t), await openTestDatabase(t)];
  await from.prisma.webhook.create({ data: { url: 'https://app.example.com', secret: 'whsec_x', description: 'kept' } });
  const [file, older] = [newFile(), newFile()];
  await exportDatabase(from, file);
  const [head, ...rows] = gunzipSync(await readFile(file)).toString().split('\n');
  const header = JSON.parse(head!) as { migrations: string[]; tables: Record<string, string[]> };
  header.migrations.pop();
  header.tables['webhooks'] = header.tables['webhooks']!.filter((column) => column !== 'active');
  await writeFile(older, gzipSync([JSON.stringify(header), ...rows].join('\n')));
  await importDatabase(to, older);
  t.match(await to.prisma.webhook.findFirstOrThrow(), { active: true, description: 'kept' });
});

t.test('the commands move an embedded database to Postgres and back', { skip: postgresUrl ? false : 'needs TEST_DATABASE_URL' }, async (t) => {
  const dataDir = join(directory, 'embedded');
  const embedded = await openDatabase({ url: undefined, poolSize: 1, dataDir });
  await applyMigrations(embedded);
  await fill(embedded);
  await embedded.close();
  const url = await createPostgresDatabase(t);
  const run = async (env: Record<string, string>, ...args: string[]) => {
    const program = runProgram(t, 'src/db-copy.ts', env, args);
    return [await program.exit, program.output()] as const;
  };
  const [out, back] = [newFile(), newFile()];
  t.match(await run({ DATA_DIR: dataDir }, 'export', out), [0, /exported .*user_connections 1201/]);
  t.match(await run({ DATABASE_URL: url }, 'import', out), [0, /imported .*user_connections 1201/]);
  t.match(await run({ DATABASE_URL: url }, 'import', out), [1, /^The database is not empty/]);
  t.match(await run({ DATABASE_URL: url }, 'export', back), [0, /exported/]);
  t.same((await linesOf(back)).sort(), (await linesOf(out)).sort());
  const again = join(directory, 'again');
  t.match(await run({ DATA_DIR: again }, 'import', back), [0, /imported/]);
  t.match(await run({}, 'copy'), [1, /^usage: /]);
});
