import t, { type Test } from 'tap';
import { startSandbox } from '../../sandbox/start.js';
import { startGateway } from '../helpers/gateway.js';
import { seed, settings } from '../helpers/sandbox.js';
import { startVaultFront } from '../helpers/vault-front.js';

const keyOf = (row: { key: string }) => row.key;

/** A gateway whose vault can be changed between two answers, and a way to fill and read both. */
async function start(t: Test) {
  const sandbox = await startSandbox();
  t.teardown(() => sandbox.close());
  const front = await startVaultFront(t, sandbox.url);
  const gateway = await startGateway(t, front.url, { RECONCILE_RATE_SHARE: '1' });
  const fill = async (identity: string, count: number) => {
    const seeded = await seed(sandbox.url, { identity, platform: 'gmail', count });
    return count === 1 ? [seeded] : seeded['rows'] as { id: string; key: string }[];
  };
  const drop = (id: string) => fetch(`${sandbox.url}/__control/connections/${encodeURIComponent(id)}`, { method: 'DELETE' });
  const sync = async (identity: string) => (await gateway.request('POST', '/connections/sync', { headers: { 'x-user-id': identity } })).json;
  const stored = (identity: string) => gateway.database.prisma.userConnection.findMany({ where: { identity } });
  const failed = async (identity: string) => (await stored(identity)).filter(({ state }) => state === 'failed').map(keyOf);
  const calm = () => {
    front.before = async () => {};
    front.rewrite = (page) => page;
    front.asked.length = 0;
  };
  return { sandbox, front, gateway, fill, drop, sync, stored, failed, calm };
}

t.test('a listing that does not show a connection is not believed before the vault was asked for its key', async (t) => {
  const { front, gateway, fill, drop, sync, failed, stored, calm } = await start(t);
  await gateway.database.prisma.webhook.create({ data: { url: 'https://app.example.com/', secret: 'unused', events: ['connection.state_changed'] } });

  await t.test('a deletion upstream between two pages shifts another row out of sight', async (t) => {
    const rows = await fill('ada', 150);
    t.match(await sync('ada'), { created: 150 });
    calm();
    // The vault lists the newest first: with one of the first page gone, the 101st row is on neither page.
    const gone = rows.at(-1)!;
    front.before = async (_query, call) => {
      if (call === 2) await drop(gone.id);
    };
    t.match(await sync('ada'), { removed: 1, unchanged: 149 });
    t.same(await failed('ada'), [gone.key]);
    t.equal(await gateway.database.prisma.webhookEvent.count(), 1, 'the application hears of that one');
  });

  await t.test('an empty page marks nothing', async (t) => {
    const rows = await fill('bob', 149);
    await sync('bob');
    calm();
    front.rewrite = (page, query) => (query.has('key') ? page : { rows: [], total: 0, pages: 0, page: 1 });
    t.match(await sync('bob'), { removed: 0, unchanged: 149 });
    t.ok(front.asked.length < 20, `${front.asked.length} questions for 149 keys`);
    calm();
    front.rewrite = (page, query, call) => (call === 1 ? { rows: [], total: 0, pages: 0, page: 1 } : page);
    t.match(await sync('bob'), { removed: 0, unchanged: 149 });
    t.same(await failed('bob'), []);
    calm();
    for (const { id } of rows) await drop(id);
    t.match(await sync('bob'), { removed: 149 }, 'all of them really gone');
    calm();
    t.match(await sync('bob'), { removed: 0, unchanged: 149 });
    t.ok(front.asked.length <= 3, 'what is known to be gone is not asked for again and again');
  });

  await t.test('a listing that shrinks from page to page marks nothing', async (t) => {
    await fill('eve', 250);
    await sync('eve');
    calm();
    front.rewrite = (page, query, call) => (query.has('key') || call < 2 ? page : { ...page, rows: [], total: 100, pages: 1 });
    t.match(await sync('eve'), { removed: 0 });
    t.same(await failed('eve'), []);
    calm();
  });

  await t.test('an upstream that takes a list of keys for one key marks nothing, and finds what is gone', async (t) => {
    const rows = await fill('leo', 3);
    await sync('leo');
    calm();
    await drop(rows[0]!.id);
    front.rewrite = (page, query) => (query.get('key')?.includes(',') ? { rows: [], total: 0, pages: 0, page: 1 }
      : query.has('key') ? page : { rows: [], total: 0, pages: 0, page: 1 });
    t.match(await sync('leo'), { removed: 1, unchanged: 2 });
    t.same(await failed('leo'), [rows[0]!.key]);
    calm();
  });

  await t.test('a key that cannot be asked for, because of a comma, takes a second listing to be gone', async (t) => {
    const [row] = await fill('a,b', 1) as [{ id: string; key: string }];
    await sync('a,b');
    calm();
    front.rewrite = (page, query, call) => (call === 1 ? { rows: [], total: 0, pages: 0, page: 1 } : page);
    t.match(await sync('a,b'), { removed: 0, unchanged: 1 });
    calm();
    await drop(row.id);
    t.match(await sync('a,b'), { removed: 1 });
    t.equal((await stored('a,b')).length, 1);
  });
});

t.test('one odd row does not stop the rest: it is skipped, counted and logged, and stays as it was stored', async (t) => {
  const { front, gateway, fill, sync, stored, calm } = await start(t);
  const rows = await fill('ada', 5);
  await sync('ada');
  await gateway.database.prisma.userConnection.updateMany({ data: { state: 'degraded' } });
  calm();
  const odd: ((row: object) => unknown)[] = [(row) => ({ ...row, active: null }), (row) => ({ ...row, tags: [null] }), () => null, (row) => ({ ...row, id: 7 })];
  const place = (row: { key: string }) => rows.findIndex(({ key }) => key === row.key);
  front.rewrite = (page) => ({ ...page, rows: page.rows.map((row: any) => (odd[place(row)] ?? ((same: unknown) => same))(row)) });
  t.match(await sync('ada'), { created: 0, updated: 1, removed: 0, unchanged: 4, skipped: 4 });
  const states = new Map((await stored('ada')).map(({ key, state }) => [key, state]));
  t.same(rows.map(({ key }) => states.get(key)), ['degraded', 'degraded', 'degraded', 'degraded', 'operational']);
  const lines = gateway.log.lines.map((line) => JSON.parse(line)).filter(({ msg }) => /vault.*skipped/.test(msg));
  t.equal(lines[0].connections.length, 4);
  t.ok(lines[0].connections.some(({ id }: { id: string }) => id === rows[0]!.id), 'by the vault\'s id');
  t.notMatch(JSON.stringify(lines), /::gmail::/, 'and without its key');
});

t.test('an open-source vault, where page is a filter that matches nothing, is read to its end', async (t) => {
  const { sandbox, gateway, fill, sync, failed, calm } = await start(t);
  await settings(sandbox.url, { rowShape: 'oss' });
  const [first] = await fill('ada', 250);
  await gateway.request('POST', '/connections', { headers: { 'x-user-id': 'ada' }, json: { key: first!.key, platform: 'gmail' } });
  t.match(await sync('ada'), { created: 249, removed: 0, unchanged: 1 });
  calm();
  t.match(await sync('ada'), { created: 0, removed: 0, unchanged: 250 });
  t.same(await failed('ada'), []);
});
