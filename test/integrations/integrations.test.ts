import t from 'tap';
import { startSandbox } from '../../sandbox/start.js';
import { createCatalogue } from '../../src/integrations/catalogue.js';
import { createActionDirectory } from '../../src/upstream/action-directory.js';
import type { Action } from '../../src/upstream/actions.js';
import { startGateway } from '../helpers/gateway.js';
import { until } from '../helpers/receiver.js';
import { fault, recordings } from '../helpers/sandbox.js';

t.test('the catalogue is paged, searched and narrowed by category', async (t) => {
  const sandbox = await startSandbox();
  t.teardown(() => sandbox.close());
  const gateway = await startGateway(t, sandbox.url);
  const list = async (query: string) => (await gateway.request('GET', `/integrations?${query}`)).json;

  const first = await list('limit=7');
  t.match(first, { page: 1, rows: { length: 7 } });
  t.ok(first.total >= 40);
  t.equal(first.pages, Math.ceil(first.total / 7));
  const last = await list(`limit=7&page=${first.pages}`);
  t.equal(last.rows.length, first.total - 7 * (first.pages - 1));
  t.same((await list('page=1000')).rows, []);

  const found = await list('q=GMAI');
  t.same(found.rows.map(({ platform }: { platform: string }) => platform), ['gmail']);
  const { category } = found.rows[0];
  const same = await list(`category=${encodeURIComponent(category.toUpperCase())}&limit=300`);
  t.ok(same.total > 1 && same.rows.every((row: { category: string }) => row.category === category));
  const [offered, others] = [await list('authkit=true&limit=300'), await list('authkit=false&limit=300')];
  t.ok(offered.total > others.total && others.total > 0);
  t.equal(offered.total + others.total, first.total);

  const one = await gateway.request('GET', '/integrations/gmail');
  t.match(one.json, { platform: 'gmail', name: 'Gmail', oauth: true });
  const none = await gateway.request('GET', '/integrations/nonesuch');
  t.same([none.status, none.json.code], [404, 'integration_not_found']);
});

t.test('fifty callers of a cold catalogue make one upstream read', async (t) => {
  const sandbox = await startSandbox();
  t.teardown(() => sandbox.close());
  const gateway = await startGateway(t, sandbox.url);
  const answers = await Promise.all(Array.from({ length: 50 }, () => gateway.request('GET', '/integrations?limit=1')));
  t.ok(answers.every(({ status }) => status === 200));
  t.equal((await recordings(sandbox.url, '/v1/available-connectors')).length, 1);
});

t.test('while the upstream is down the catalogue is served stale, and says so', async (t) => {
  const sandbox = await startSandbox();
  t.teardown(() => sandbox.close());
  const gateway = await startGateway(t, sandbox.url, { INTEGRATIONS_TTL_MS: '1' });
  const fresh = await gateway.request('GET', '/integrations?limit=3');
  t.equal(fresh.headers.get('age'), '0');
  await fault(sandbox.url, { path: '/v1/available-connectors', times: 100, kind: 'status', status: 500 });
  await new Promise((resolve) => setTimeout(resolve, 1100));
  for (let call = 0; call < 3; call += 1) {
    const stale = await gateway.request('GET', '/integrations?limit=3');
    t.same([stale.status, stale.json], [200, fresh.json]);
    t.ok(Number(stale.headers.get('age')) >= 1);
    t.equal(stale.headers.get('x-authkit-stale'), 'true');
  }
  const told = () => gateway.log.lines.filter((line) => line.includes('catalogue')).map((line) => JSON.parse(line));
  await until(() => told().length > 0);
  t.match(told()[0], { level: 40, err: { message: /upstream_invalid_response/ } }, 'the operator is told');
});

t.test('actions that cannot be renewed are still answered, and each failure is told once', async (t) => {
  let now = 0;
  const failures: unknown[] = [];
  let load = async (): Promise<Action[]> => [];
  const directory = createActionDirectory(() => load(), 1000, (error, platform) => failures.push([platform, error]), () => now);
  const known = await directory.read('gmail');
  load = async () => { throw new Error('down'); };
  now = 1500;
  t.equal(directory.read('gmail'), known);
  await new Promise(setImmediate);
  t.equal(directory.read('gmail'), known, 'not tried again at once');
  t.match(failures, [['gmail', { message: 'down' }]]);
  now = 9000;
  t.equal(await directory.require('gmail'), known);
  await new Promise(setImmediate);
  t.equal(failures.length, 2);
});

t.test('platforms that do not exist cost the upstream no call, and push no real one\'s actions out', async (t) => {
  const sandbox = await startSandbox();
  t.teardown(() => sandbox.close());
  const gateway = await startGateway(t, sandbox.url);
  const key = await gateway.createKey(['integrations:read'], { identity: 'stranger' });
  for (let i = 0; i < 100; i += 1) {
    t.match(await gateway.request('GET', `/integrations/invented-${i}/actions`, { key }), { status: 404, json: { code: 'integration_not_found' } });
  }
  const asked = async () => (await Promise.all(['/v1/knowledge', '/v1/available-actions', '/v1/available-connectors'].map((path) => recordings(sandbox.url, path)))).map(({ length }) => length);
  t.same(await asked(), [0, 0, 1]);
  t.equal((await gateway.request('GET', '/integrations/gmail/actions', { key })).status, 200);
  t.same(await asked(), [1, 1, 1]);
});

t.test('actions that are used stay in memory, whatever else is asked for', async (t) => {
  const loads: string[] = [];
  const action = { title: 'a', method: 'GET', platform: 'x', id: 'a', path: '/a', baseUrl: undefined, key: undefined, modelName: undefined, custom: false };
  const directory = createActionDirectory(async (platform) => {
    loads.push(platform);
    return platform.startsWith('real') ? [action] : [];
  }, 60_000, () => {}, () => 0);
  await directory.read('real');
  for (let i = 0; i < 1_040; i += 1) await directory.read(`invented-${i}`);
  t.ok(directory.has('real'));
  t.notOk(directory.has('invented-1039'));
  for (let i = 0; i < 999; i += 1) await directory.read(`real-${i}`);
  directory.read('real');
  await directory.read('real-999');
  t.ok(directory.has('real'), 'used last');
  t.notOk(directory.has('real-0'), 'used longest ago');
  t.equal(loads.filter((platform) => platform === 'real').length, 1);
});

t.test('a catalogue that was never read is an upstream problem', async (t) => {
  const sandbox = await startSandbox();
  t.teardown(() => sandbox.close());
  const gateway = await startGateway(t, sandbox.url);
  await fault(sandbox.url, { path: '/v1/available-connectors', times: 1, kind: 'malformed' });
  t.equal((await gateway.request('GET', '/integrations')).json.code, 'upstream_invalid_response');
  t.equal((await gateway.request('GET', '/integrations')).status, 200, 'the failure is not cached');
});

t.test('past its time a catalogue is renewed once for all callers, and a failed try waits', async (t) => {
  let now = 0;
  let loads = 0;
  let fail = false;
  const failures: unknown[] = [];
  const catalogue = createCatalogue(async () => {
    loads += 1;
    if (fail) throw new Error('down');
    return [{ name: `n${loads}`, platform: 'p' }];
  }, 1000, (error) => failures.push(error), () => now);

  t.match(await catalogue.read(true), { stale: false, ageSeconds: 0 });
  now = 1500;
  const both = await Promise.all([catalogue.read(true), catalogue.read(true)]);
  t.same(both.map(({ stale }) => stale), [true, true]);
  t.equal(loads, 2);
  t.equal((await catalogue.read(true)).connectors[0]!.name, 'n2');

  fail = true;
  now = 3000;
  await catalogue.read(true);
  await new Promise(setImmediate);
  await catalogue.read(true);
  t.equal(loads, 3, 'not tried again at once');
  t.match(failures, [{ message: 'down' }]);
  now = 9000;
  t.match(await catalogue.read(true), { stale: true, ageSeconds: 7 });
  t.equal(loads, 4);
});
